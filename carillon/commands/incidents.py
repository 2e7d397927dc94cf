"""``carillon incident``: reads incidents from the store and prints them, and writes a note."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from carillon.commands.durations import spoken
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json
from carillon.commands.settings import OperatorSettings
from shared.core.clock import rfc3339
from shared.core.incidents import Way
from shared.directory.directory import Directory
from shared.ledger.alerts import Answered
from shared.ledger.answering import NOTE_CHARS, Answering
from shared.ledger.held import Muted
from shared.ledger.incident_documents import entry_document, incident_document, members_document, moment_of
from shared.ledger.incidents import Entry, Incident, Incidents
from shared.ledger.ledger import Ledger

# Of those whom one line names; an export has them all.
_PEOPLE_SHOWN = 5
# Alerts of a group: as JSON, and in columns.
_MEMBERS_SHOWN, _MEMBERS_LISTED = 200, 20
_OVER_LISTED = 500

# What a line says that has a column of its own, or is shown in another form.
_SHOWN_ELSEWHERE = frozenset({"by", "from", "key", "recipients", "note", "reason", "until"})

_NO_NOTE = {
    Answered.NOT_TOLD: "only somebody who was told of this incident, or an admin, may write a note",
    Answered.FULL: "its timeline is full",
}

_T = TypeVar("_T")


def print_list(*, all_levels: bool, state: str | None, over: bool, as_json: bool) -> None:
    """Print the incidents that are not over, the newest first, or those that were over lately."""

    async def read(incidents: Incidents) -> list[Incident]:
        if over:
            return list((await incidents.page(_OVER_LISTED, None, lambda _: True, over=True)).incidents)
        return [each async for each in incidents.listed() if state in (None, each.word)]

    found = _with_incidents(read)
    shown = [each for each in found if all_levels or each.alert.level == "critical"]
    if as_json:
        print_json([incident_document(each) for each in shown])
        return
    if shown:
        print_columns(
            [("ID", "STATE", "SEVERITY", "TYPE", "FROM", "SINCE", "ALERTS", "REPEATS", "WHO"), *map(_row, shown)]
        )
    if hidden := len(found) - len(shown):
        click.echo(f"{hidden} more below critical: see --all-levels")


def _row(incident: Incident) -> tuple[str, ...]:
    alert = incident.alert
    where = " ".join([*([alert.source] if alert.source else []), ",".join(alert.affected_systems)]).strip()
    severity, since, who = alert.severity or alert.level, rfc3339(incident.opened_at), incident.acknowledged_by or "-"
    counts = str(1 if incident.members_open is None else incident.members_open), str(incident.repeats)
    return incident.id, incident.word, severity, alert.type, where or "-", since, *counts, who


def print_incident(incident_id: str, *, as_json: bool) -> None:
    """Print what an incident is, and its timeline."""
    incident, timeline = read_incident(incident_id)
    members, count = _with_incidents(lambda incidents: incidents.members(incident.id, _MEMBERS_SHOWN))
    if as_json:
        entries = [entry_document(entry) for entry in timeline]
        print_json(incident_document(incident) | members_document(incident, members, count) | {"timeline": entries})
        return
    print_columns(_head(incident))
    if members:
        click.echo()
        shown = members_document(incident, members[:_MEMBERS_LISTED], count)["members"]
        print_columns([("ALERT", "STATE", "FROM", "COUNT", "LAST", "MESSAGE"), *map(_member, shown)])
        if count > len(shown):
            click.echo(f"{count - len(shown)} more alerts of this incident")
    if timeline:
        click.echo()
        heads = ("WHEN", "SINCE", "WHAT", "WHO", "WAY", "CHANNEL", "WHY")
        print_columns([heads, *(_line(entry, timeline[0].at) for entry in timeline)])


def _member(member: dict[str, Any]) -> tuple[str, ...]:
    where = ",".join(member.get("affected_systems", ())) or member.get("source", "-")
    return member["id"], member["state"], where, str(member["count"]), member["last_at"], member["message"]


def _head(incident: Incident) -> list[tuple[str, str]]:
    alert = incident.alert
    labels = ", ".join(f"{name}={value}" for name, value in sorted((alert.labels or {}).items()))
    said: list[tuple[str, str | None]] = [
        ("incident", incident.id),
        ("state", incident.word),
        ("type", alert.type),
        ("severity", alert.severity or alert.level),
        ("source", alert.source),
        ("systems", ", ".join(alert.affected_systems)),
        ("labels", labels),
        ("title", incident.title),
        ("message", incident.message),
        ("publisher", incident.publisher),
        ("opened", rfc3339(incident.opened_at)),
        ("repeats", str(incident.repeats) + _at(", the last one at ", incident.repeated_at)),
        ("acknowledged", _answered(incident.acknowledged_at, incident.acknowledged_by)),
        ("snoozed until", _at("", incident.snoozed_until)),
        ("resolved", _answered(incident.resolved_at, incident.resolved_by)),
        ("tells nobody", incident.muted),
    ]
    return [(name, text) for name, text in said if text]


def _answered(at: datetime | None, by: str | None) -> str:
    return _at("", at) + (f" by {by}" if at and by else "")


def _at(before: str, moment: datetime | None) -> str:
    return before + rfc3339(moment) if moment else ""


def _line(entry: Entry, beginning: datetime) -> tuple[str, ...]:
    told = entry.said.get("recipients")
    told = told if isinstance(told, Mapping) else {}
    channels = dict.fromkeys(str(channel) for each in told.values() for channel in _listed(each))
    who = entry.recipient or _text(entry, "by") or _named(told)
    way, channel = _text(entry, "from"), entry.channel or ", ".join(channels)
    since = _since(entry.at - beginning)
    return rfc3339(entry.at), since, entry.what, who or "-", way or "-", channel or "-", _why(entry) or "-"


def _why(entry: Entry) -> str:
    said = [_text(entry, "reason")]
    said += [f"{name} {value}" for name, value in entry.said.items() if name not in _SHOWN_ELSEWHERE]
    said += [_at("until ", moment_of(entry, "until")), _text(entry, "note")]
    return ", ".join(part for part in said if part)


def _text(entry: Entry, name: str) -> str:
    value = entry.said.get(name)
    return value if isinstance(value, str) else ""


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _named(people: Iterable[str]) -> str:
    names = list(people)
    more = len(names) - _PEOPLE_SHOWN
    return ", ".join(names[:_PEOPLE_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _since(length: timedelta) -> str:
    """Write a length of time as ``+1d 02:03:04``."""
    seconds = max(0, round(length.total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return "+" + (f"{days}d " if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"


def write_note(incident_id: str, text: str, user_id: str, *, as_json: bool) -> None:
    """Write what a person has to say into the timeline of an incident."""
    said = text.strip()
    if not 1 <= len(said) <= NOTE_CHARS:
        raise click.BadParameter(f"must have 1 to {NOTE_CHARS} characters", param_hint="TEXT")
    settings = OperatorSettings.load()

    async def write() -> Answered:
        async with open_store(settings) as (store, keys):
            ledger = Ledger(store, keys, settings.record_retention_s)
            answering = Answering(ledger, Directory(store, keys), Muted(store, keys))
            return await answering.note(incident_id, user_id, said, way=Way.COMMAND_LINE)

    answered = asyncio.run(write())
    if not answered:
        raise AnswerIsNo(_NO_NOTE.get(answered, f"no such incident: {incident_id}"))
    if as_json:
        print_json({"id": incident_id, "written": answered is Answered.DONE})
    else:
        click.echo("written" if answered is Answered.DONE else "it is the last line already")


def read_incident(incident_id: str) -> tuple[Incident, list[Entry]]:
    """Return an incident and its timeline; that of which the alert is a member, if it is one."""

    async def read(incidents: Incidents) -> tuple[Incident | None, list[Entry]]:
        incident = await incidents.get(incident_id)
        return incident, await incidents.timeline(incident.id) if incident is not None else []

    incident, timeline = _with_incidents(read)
    if incident is None:
        kept = spoken(OperatorSettings.load().record_retention_s)
        raise AnswerIsNo(f"no such incident (records are kept {kept} after their end)")
    return incident, timeline


def _with_incidents(read: Callable[[Incidents], Awaitable[_T]]) -> _T:
    settings = OperatorSettings.load()

    async def opened() -> _T:
        async with open_store(settings) as (store, keys):
            return await read(Incidents(store, keys))

    return asyncio.run(opened())
