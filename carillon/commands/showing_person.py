"""``carillon person show``: what is known of a person."""

import asyncio
import json

import click

from carillon.commands.finding import print_found_rows, print_page
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json
from carillon.commands.settings import OperatorSettings
from shared.core.clock import rfc3339
from shared.core.model import Channel
from shared.directory.people import Device, Person
from shared.directory.preferences import Preferences
from shared.ledger.about_person import AboutPeople, AboutPerson
from shared.ledger.person_documents import person_document, shown_address, shown_device


def print_person(user_id: str, *, reveal: bool, limit: int, as_json: bool) -> None:
    """Read and print what is known of a person."""
    settings = OperatorSettings.load()
    about = asyncio.run(_read(settings, user_id, limit))
    if not about.is_known:
        raise AnswerIsNo("nothing is known of this person: neither an entry nor a notification")
    if as_json:
        print_json(person_document(about, reveal=reveal))
    else:
        _print(about, reveal=reveal)


async def _read(settings: OperatorSettings, user_id: str, limit: int) -> AboutPerson:
    async with open_store(settings) as (store, keys):
        return await AboutPeople(store, keys, retention_s=settings.record_retention_s).read(user_id, recent=limit)


def _print(about: AboutPerson, *, reveal: bool) -> None:
    print_columns(_head(about, reveal=reveal))
    _section("preferences", [("CHANNEL", "DIRECTORY", "OWN"), *_preferences(about)])
    devices = [*_devices(about.own.devices, "own"), *_devices(about.entry.devices if about.entry else (), "directory")]
    _section("devices", [("DEVICE", "REGISTERED", "BY"), *devices])
    suppressions = [
        (channel.value, entry.cause.value, entry.category or "-", rfc3339(entry.at), entry.detail or "-")
        for channel, entries in about.suppressions.items()
        for entry in entries
    ]
    _section("suppressions", [("CHANNEL", "CAUSE", "CATEGORY", "SINCE", "DETAIL"), *suppressions])
    click.echo("\nheld" + ("" if about.held else ": nothing"))
    print_found_rows(about.held)
    click.echo("\nlately" + ("" if about.recent.found else ": nothing"))
    print_page(about.recent)


def _section(title: str, rows: list[tuple[str, ...]]) -> None:
    click.echo()
    if len(rows) == 1:
        click.echo(f"{title}: none")
    else:
        click.echo(title)
        print_columns(rows)


def _head(about: AboutPerson, *, reveal: bool) -> list[tuple[str, ...]]:
    entry, own = about.entry, about.own
    head: list[tuple[str, ...]] = [("person", about.user_id)]
    if about.deleted_at is not None:
        head.append(("deleted", f"{rfc3339(about.deleted_at)} (what was said before is not shown)"))
    if entry is None:
        return [*head, ("entry", "none: the directory knows nobody of this name")]
    if entry.email is not None:
        head.append(("email", shown_address(Channel.EMAIL, entry.email, reveal=reveal)))
    if entry.phone is not None:
        head.append(("phone", shown_address(Channel.SMS, entry.phone, reveal=reveal)))
    head += [
        (name, text)
        for name, text in (
            ("name", entry.name or ""),
            ("locale", entry.locale or ""),
            ("timezone", entry.timezone or ""),
            ("groups", ", ".join(entry.groups)),
            ("roles", ", ".join(entry.roles)),
        )
        if text
    ]
    quiet, by = (own.quiet_hours, "own") if own.quiet_hours is not None else (entry.quiet_hours, "directory")
    if quiet is not None:
        head.append(("quiet hours", f"{json.dumps(quiet.model_dump(mode='json', exclude_none=True))} ({by})"))
    snooze, by = (own.snooze_until, "own") if own.snooze_until is not None else (entry.snooze_until, "directory")
    if snooze is not None:
        head.append(("snoozed until", f"{rfc3339(snooze)} ({by})"))
    return head


def _preferences(about: AboutPerson) -> list[tuple[str, str, str]]:
    entry, own = about.entry or Person(user_id=about.user_id), about.own.preferences
    rows = [(channel.value, *_chosen(entry.preferences, own, channel, None)) for channel in Channel]
    for category in sorted({*entry.preferences.categories, *own.categories}):
        rows += [
            (f"{channel.value} for {category}", *chosen)
            for channel in Channel
            if (chosen := _chosen(entry.preferences, own, channel, category)) != ("-", "-")
        ]
    return rows


def _chosen(entry: Preferences, own: Preferences, channel: Channel, category: str | None) -> tuple[str, str]:
    def word(preferences: Preferences) -> str:
        said = preferences.of(channel) if category is None else preferences.for_category(category, channel)
        return {None: "-", True: "on", False: "off"}[said]

    return word(entry), word(own)


def _devices(devices: tuple[Device, ...], by: str) -> list[tuple[str, str, str]]:
    return [
        (shown_device(device), rfc3339(device.registered_at) if device.registered_at is not None else "-", by)
        for device in devices
    ]
