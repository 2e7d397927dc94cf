"""Incidents in words: what the console's pages say about one, about a line of its timeline, and about who was told.

Pure. Whatever a publisher or a later release wrote is shown as it is: a word that is not known here is its own
sentence.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.core.incidents import Happened
from shared.ledger.incident_documents import moment_of
from shared.ledger.incidents import Entry, Incident

_STATE_WORDS = {
    "open": ("Nobody has it", "bad"),
    "acknowledged": ("Taken", "warn"),
    "snoozed": ("Snoozed", "info"),
    "resolved": ("Resolved", "good"),
    "cancelled": ("Cancelled", "none"),
}
_SEVERITY_TONES = {"critical": "bad", "error": "bad", "warning": "warn"}
_WAYS = {
    "mqtt": "over MQTT",
    "http": "over HTTP",
    "inbox": "in the inbox",
    "mail link": "by the link in a mail",
    "push": "from a push",
    "sms": "by SMS",
    "escalation": "",
    "alertmanager": "through Alertmanager",
    "liveness": "by the watch for signs of life",
    "console": "in the console",
    "command line": "on the command line",
}
_PEOPLE_NAMED = 5
_HEADLINE_CHARS = 160

# How a delivery ended, in a word, and its tone. What comes later in the timeline stands, but for these.
_DELIVERY_WORDS = {
    Happened.DELIVERED: ("delivered", "good"),
    Happened.CONFIRMED: ("arrived", "good"),
    Happened.REFUSED: ("refused", "warn"),
    Happened.FAILED: ("failed", "bad"),
    Happened.EXPIRED: ("expired", "bad"),
    Happened.SUPPRESSED: ("not sent", "none"),
}
# What somebody did: the tone, the words before the name, and the words where nobody is named.
_SOMEBODY_DID = {
    Happened.OPENED: ("bad", "Opened by publisher", "Opened"),
    Happened.SEEN: ("good", "Seen by", "Seen"),
    Happened.ACKNOWLEDGED: ("good", "Taken by", "Taken"),
    Happened.SNOOZED: ("info", "Snoozed by", "Snoozed"),
    Happened.REASSIGNED: ("info", "Handed on by", "Handed on"),
    Happened.REOPENED: ("bad", "Open again, after", "Open again"),
    Happened.NOTED: ("none", "Note of", "Note"),
    Happened.RESOLVED: ("good", "Resolved by", "Resolved by its publisher"),
    Happened.CANCELLED: ("none", "Cancelled by", "Cancelled by its publisher"),
    Happened.EXHAUSTED: ("bad", "There is nobody left to tell", "There is nobody left to tell"),
    Happened.FLAPPING: ("warn", "It opens and ends again and again", "It opens and ends again and again"),
}
_SAYS_MORE = (Happened.SNOOZED, Happened.REASSIGNED)
_BETTER = (Happened.DELIVERED, Happened.CONFIRMED)
_CHANNELS = ("push", "sms", "email", "realtime")


@dataclass(frozen=True, slots=True)
class Shown:
    """An incident as a list shows it.

    Attributes:
        who: whose it is; None where nobody has it.
        alerts: how many alerts of it are open.
        quiet: why nobody is told of it at the moment.
    """

    id: str
    state: str
    tone: str
    severity: str
    severity_tone: str
    title: str
    type: str
    where: str
    opened_at: datetime
    age_s: int
    who: str | None
    alerts: int
    repeats: int
    quiet: str | None
    until: datetime | None
    over_at: datetime | None


def shown(incident: Incident, now: datetime) -> Shown:
    """Say what a list says of an incident."""
    alert = incident.alert
    state, tone = state_words(incident)
    severity = alert.severity or alert.level
    quiet = incident.muted or ("told later, with its group" if incident.waits else None)
    return Shown(
        id=incident.id,
        state=state,
        tone=tone,
        severity=severity,
        severity_tone=_SEVERITY_TONES.get(severity.lower(), "info"),
        title=headline(incident),
        type=alert.type,
        where=where(incident),
        opened_at=incident.opened_at,
        age_s=age_s(incident, now),
        who=incident.acknowledged_by if incident.word in ("acknowledged", "snoozed") else None,
        alerts=1 if incident.members_open is None else incident.members_open,
        repeats=incident.repeats,
        quiet=quiet,
        until=incident.snoozed_until,
        over_at=incident.resolved_at,
    )


def headline(incident: Incident) -> str:
    """Say in a line what it is about: its publisher's words, and not the title that every alert of a type has."""
    words = " ".join(incident.message.split()) or incident.title or incident.alert.type
    return words if len(words) <= _HEADLINE_CHARS else f"{words[: _HEADLINE_CHARS - 1]}\N{HORIZONTAL ELLIPSIS}"


def where(incident: Incident) -> str:
    """Say where it comes from, and which systems it is about."""
    alert = incident.alert
    return " ".join(each for each in (alert.source, ", ".join(alert.affected_systems)) if each)


def age_s(incident: Incident, now: datetime) -> int:
    """Return for how many seconds it has been open."""
    return max(0, round((now - incident.opened_at).total_seconds()))


def state_words(incident: Incident) -> tuple[str, str]:
    """Say where an incident stands, and in which tone."""
    return _STATE_WORDS.get(incident.word, (incident.word, "none"))


def severity_tone(severity: str) -> str:
    """Return the tone of a severity's word."""
    return _SEVERITY_TONES.get(severity.lower(), "info")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a timeline, as it is shown.

    Attributes:
        number: its place in the timeline, counted from 0.
        since_s: how long after the beginning.
        words: a sentence without its names and times.
        people: whom it is about; the sentence ends with them.
        after: what follows the names.
        until: a time that the sentence ends with.
        note: what somebody wrote.
    """

    number: int
    at: datetime
    since_s: float
    what: str
    tone: str
    words: str
    people: tuple[str, ...] = ()
    more: int = 0
    after: str = ""
    until: datetime | None = None
    note: str = ""


def lines(entries: Sequence[Entry], first: int, opened_at: datetime) -> list[Line]:
    """Write a part of a timeline, the oldest first.

    Args:
        first: the number of its first line.
    """
    return [_line(entry, number, opened_at) for number, entry in enumerate(entries, start=first)]


def _line(entry: Entry, number: int, opened_at: datetime) -> Line:
    tone, words, people, after = _sentence(entry)
    since_s = max(0.0, (entry.at - opened_at).total_seconds())
    return Line(
        number=number,
        at=entry.at,
        since_s=since_s,
        what=entry.what,
        tone=tone,
        words=words,
        people=tuple(people[:_PEOPLE_NAMED]),
        more=max(0, len(people) - _PEOPLE_NAMED),
        after=after,
        until=moment_of(entry, "until"),
        note=_text(entry, "note"),
    )


def _sentence(entry: Entry) -> tuple[str, str, list[str], str]:
    """Return the tone, the words before the names, the names, and the words behind them."""
    by, way, reason = _text(entry, "by"), _way(entry), _text(entry, "reason")
    who = [] if by in ("", "-") else [by]
    if entry.what in _SOMEBODY_DID:
        tone, words, alone = _SOMEBODY_DID[Happened(entry.what)]
        behind = {Happened.SNOOZED: "until", Happened.REASSIGNED: f"to {_text(entry, 'to')}"}.get(Happened(entry.what))
        after = " ".join(each for each in (way, behind if entry.what in _SAYS_MORE else reason) if each)
        return tone, words if who else alone, who, after
    if entry.what in _DELIVERY_WORDS:
        return _delivery(entry, reason)
    match entry.what:
        case Happened.TOLD:
            people, by_channels = _told(entry)
            level = f"Level {_text(entry, 'level') or '0'}"
            return (
                ("info", f"{level}: told", people, by_channels)
                if people
                else ("bad", f"{level}: nobody to tell", [], "")
            )
        case Happened.ESCALATES:
            because = {"evidence": "nobody of the level before could be reached"}.get(reason, reason)
            words = f"Level {_text(entry, 'level')} is told now"
            return "warn", words, [], f"because {because}" if because else ""
        case Happened.SILENCED | Happened.INHIBITED | Happened.MAINTENANCE:
            return "warn", f"Nobody is told for now: {entry.what}", [], f"by {_text(entry, 'rule')}"
        case Happened.MEMBER | Happened.MEMBER_RESOLVED:
            joined = entry.what == Happened.MEMBER
            words = "One more alert belongs to it" if joined else "One of its alerts is over"
            return "warn" if joined else "good", words, [], _text(entry, "member")
        case other:
            return "none", other, who, " ".join(each for each in (way, reason) if each)


def _delivery(entry: Entry, reason: str) -> tuple[str, str, list[str], str]:
    word, tone = _DELIVERY_WORDS[Happened(entry.what)]
    before = {"delivered": "Delivered to", "arrived": "Arrived, says the provider, at", "not sent": "Not sent to"}
    words = before.get(word, f"{word.capitalize()}:")
    by = f"by {entry.channel}" if entry.channel else ""
    return tone, words, [entry.recipient] if entry.recipient else [], f"{by}: {reason}" if reason else by


def _told(entry: Entry) -> tuple[list[str], str]:
    told = entry.said.get("recipients")
    told = told if isinstance(told, Mapping) else {}
    channels = dict.fromkeys(str(each) for some in told.values() if isinstance(some, list) for each in some)
    return [str(each) for each in told], f"by {', '.join(channels)}" if channels else ""


def _way(entry: Entry) -> str:
    said = _text(entry, "from")
    return _WAYS.get(said, said)


def _text(entry: Entry, name: str) -> str:
    value = entry.said.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


@dataclass(slots=True)
class Told:
    """What became of telling one person: the last word of each channel with its tone, and what the person did."""

    user_id: str
    channels: dict[str, tuple[str, str]] = field(default_factory=dict)
    did: list[tuple[str, datetime]] = field(default_factory=list)


def told_people(entries: Iterable[Entry]) -> list[Told]:
    """Sum up who was told by which channel, what came of it, and who answered, in the order of the timeline."""
    found: dict[str, Told] = {}

    def of(user_id: str) -> Told:
        return found.setdefault(user_id, Told(user_id))

    answers = {
        Happened.SEEN: "seen",
        Happened.ACKNOWLEDGED: "taken",
        Happened.SNOOZED: "snoozed",
        Happened.REASSIGNED: "handed on",
        Happened.RESOLVED: "resolved",
    }
    for entry in entries:
        if entry.what == Happened.TOLD:
            told = entry.said.get("recipients")
            for user_id, channels in (told if isinstance(told, Mapping) else {}).items():
                for channel in channels if isinstance(channels, list) else []:
                    of(str(user_id)).channels.setdefault(str(channel), ("under way", "warn"))
        elif entry.what in _DELIVERY_WORDS and entry.recipient and entry.channel:
            channels_of = of(entry.recipient).channels
            before = channels_of.get(entry.channel)
            is_worse = Happened(entry.what) not in _BETTER and before in [_DELIVERY_WORDS[each] for each in _BETTER]
            if not is_worse:
                channels_of[entry.channel] = _DELIVERY_WORDS[Happened(entry.what)]
        elif (did := answers.get(Happened(entry.what)) if entry.what in list(Happened) else None) is not None:
            by = _text(entry, "by")
            # A publisher's own end of it is nobody's answer.
            if by in found or (by not in ("", "-") and entry.what != Happened.RESOLVED):
                of(by).did.append((did, entry.at))
    return list(found.values())


def channels_of(told: Iterable[Told]) -> list[str]:
    """Return the channels that anybody was told by, in a fixed order."""
    used = {channel for each in told for channel in each.channels}
    return [each for each in _CHANNELS if each in used] + sorted(used - set(_CHANNELS))


def facts(incident: Incident) -> list[tuple[str, Any]]:
    """Name what an incident says of itself, without what does not apply."""
    alert = incident.alert
    labels = ", ".join(f"{name}={value}" for name, value in sorted((alert.labels or {}).items()))
    said: list[tuple[str, Any]] = [
        ("Type", alert.type),
        ("Source", alert.source),
        ("Systems", ", ".join(alert.affected_systems)),
        ("Labels", labels),
        ("Publisher", incident.publisher or "plain topics"),
        ("Tenant", incident.tenant),
        ("Told again", f"{incident.repeats} times" if incident.repeats else ""),
    ]
    return [(name, value) for name, value in said if value]
