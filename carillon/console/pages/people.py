"""The page Person: what support looks at of one person. Addresses are masked until an operator reveals them."""

from collections.abc import Iterator
from typing import Any

from carillon.console.forms import Form
from carillon.console.page import Action, Done, NotThere, Page, Visit
from carillon.console.pages.find import lines
from carillon.console.roles import Role
from shared.core.clock import rfc3339
from shared.core.model import Channel, EmailAddress, PhoneNumber
from shared.directory.directory import Directory
from shared.directory.masking import masked
from shared.directory.people import Device, Person
from shared.directory.preferences import Preferences
from shared.ledger.about_person import AboutPeople, AboutPerson
from shared.ledger.person_documents import shown_device

_RECENT = 20
_NOTHING = "\N{EN DASH}"
_CAUSES = {
    "bounce": "A message came back: nothing arrives there.",
    "complaint": "Its owner called a message spam.",
    "unsubscribed": "Its owner has unsubscribed.",
}


async def show(visit: Visit) -> dict[str, Any]:
    """Read what is known of a person."""
    backend = visit.backend
    about = await AboutPeople(backend.store, backend.keys, retention_s=backend.record_retention_s).read(
        visit.params["id"], recent=_RECENT
    )
    if not about.is_known:
        raise NotThere("Nothing is known of this person: neither an entry nor a notification.")
    entry = about.entry
    return {
        "about": about,
        "addresses": list(_addresses(entry)) if entry is not None else [],
        "revealed": {},
        "facts": list(_facts(about)),
        "choices": list(_choices(about)),
        "devices": [
            *_devices(about.own.devices, "the person"),
            *_devices(entry.devices if entry else (), "the directory"),
        ],
        "suppressions": [
            (channel.value, each, _CAUSES.get(each.cause.value, each.cause.value))
            for channel, entries in about.suppressions.items()
            for each in entries
        ],
        "held": [(each, lines(each.deliveries)) for each in about.held],
        "recent": [(each, lines(each.deliveries)) for each in about.recent.found],
    }


async def reveal(visit: Visit, _form: Form) -> Done:
    """Show the addresses whole, once."""
    person = await Directory(visit.backend.store, visit.backend.keys).person(visit.params["id"])
    if person is None:
        raise NotThere("The directory knows nobody of this name.")
    shown = {"Mail": person.email, "Phone": person.phone, "Name": person.name}
    return Done(
        "The addresses are shown on this page, this once. It stands in the log of changes.",
        shown={"revealed": {name: text for name, text in shown.items() if text}},
    )


def _addresses(entry: Person) -> Iterator[tuple[str, str]]:
    if entry.email is not None:
        yield "Mail", masked(EmailAddress(email=entry.email))
    if entry.phone is not None:
        yield "Phone", masked(PhoneNumber(phone=entry.phone))
    if entry.name is not None:
        yield "Name", f"{entry.name[:1]}…"


def _facts(about: AboutPerson) -> Iterator[tuple[str, str]]:
    entry, own = about.entry, about.own
    if entry is not None:
        yield from (
            (name, text)
            for name, text in (
                ("Language", entry.locale or ""), ("Time zone", entry.timezone or ""),
                ("Groups", ", ".join(entry.groups)), ("Roles", ", ".join(entry.roles)),
            )
            if text
        )  # fmt: skip
    by_entry = entry.quiet_hours if entry is not None else None
    quiet, by = (own.quiet_hours, "own choice") if own.quiet_hours is not None else (by_entry, "directory")
    if quiet is not None:
        windows = "; ".join(
            f"{'every day' if len(window.days) == 7 else ', '.join(window.days)} "
            f"{window.starts_at:%H:%M} to {window.ends_at:%H:%M}"
            for window in quiet.windows
        )
        yield "Quiet hours", f"{windows} ({by})"
    snooze = own.snooze_until or (entry.snooze_until if entry is not None else None)
    if snooze is not None:
        yield "Not to be disturbed until", rfc3339(snooze)


def _choices(about: AboutPerson) -> Iterator[tuple[str, str, str]]:
    """Yield each channel, and each category with choices: what the directory says, and what the person chose."""
    entry = about.entry.preferences if about.entry is not None else Preferences()
    own = about.own.preferences
    for channel in Channel:
        yield channel.value, _word(entry.of(channel)), _word(own.of(channel))
    for category in sorted({*entry.categories, *own.categories}):
        for channel in Channel:
            said = _word(entry.for_category(category, channel)), _word(own.for_category(category, channel))
            if said != (_NOTHING, _NOTHING):
                yield f"{channel.value} for {category}", *said


def _word(chosen: bool | None) -> str:
    return {None: _NOTHING, True: "on", False: "off"}[chosen]


def _devices(devices: tuple[Device, ...], by: str) -> list[tuple[str, Any, str]]:
    return [(shown_device(device), device.registered_at, by) for device in devices]


PAGES = (
    Page(
        "person", "/people/{id}", "Person", show, within="find",
        actions=(Action("/people/{id}/reveal", Role.OPERATOR, "person.reveal", reveal, target="id"),),
    ),
)  # fmt: skip
