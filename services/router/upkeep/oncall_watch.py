"""Watches the on-call entries: says who is on call, and warns of gaps and of people who are out of reach.

Every router can do it, one at a time does. Once a minute it looks at each entry, and

- publishes who is on call as a retained message, if that is another one than before or our connection is new;
- measures the gaps of the next seven days, and warns the admins of each that begins within a day, once;
- looks at the channels of those whose turn begins within an hour, and warns them and the admins, once for each turn, if
  no channel but the inbox would reach them.

What was said and warned of is kept in the store, so it does not matter which router has the turn. A warning is a
notification with an idempotency key of its own: two routers that look at the same time warn once.

A gap is told of when a second look finds it, too: while people and entries are being imported, some are not there yet.
An entry that cannot be read or published is counted, and the others go on.
"""

import asyncio
import json
import logging
import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

from services.router.upkeep.notices import CONFIRMED_WITHIN_S, Notice, Notices
from shared.core.clock import Clock, epoch_ms, from_epoch_ms, rfc3339
from shared.core.errors import PublishRefused, StoreUnavailable
from shared.core.model import Channel
from shared.core.topics import Topics
from shared.core.wall_clock import zone_of
from shared.directory.directory import ANY_TYPE, Directory
from shared.directory.people import OnCall, Person
from shared.directory.reach import reach
from shared.directory.rota import Rota
from shared.directory.shifts import Shift, shift_at, shifts
from shared.directory.suppression import Suppressions
from shared.ledger.failed_lately import FailedLately
from shared.ledger.incidents import Incidents
from shared.mqtt.reconnecting import BrokerLink
from shared.store.first_come import comes_first
from shared.store.keys import Keys
from shared.store.replies import read_object
from shared.store.store import Store
from shared.telemetry import metrics

log = logging.getLogger(__name__)

INTERVAL_S = 60.0
# What part of an interval a turn is taken for; see ``services.router.upkeep.auditor``.
_TURN = 0.8

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_AHEAD = 7 * _DAY
# A gap that goes on is known by its begin, so far back.
_BACK = 2 * _DAY
_WARN_WITHIN = {"24h": _DAY, "7d": _AHEAD}
_REACH_WITHIN = _HOUR
_TURN_KEPT_S = 2 * 3600

# How long what failed at somebody's addresses is good for: a look-up reads the person's newest records. Of how many.
_FAILED_KEPT = timedelta(minutes=10)
_FAILED_MOST = 1000

# Entries in one page, and in one look: those beyond are not watched, and a line in the log says so.
_PAGE = 100
ENTRIES_MOST = 10_000
# Gaps and turns that one look warns of one by one. The rest of the gaps is told of together, that of the turns later.
NOTICES_MOST = 10
# A look publishes so many warnings at most: a publisher has a rate.
ADMINS_MOST = 40


@dataclass(frozen=True, slots=True)
class _Gap:
    """A time at which nobody is on call.

    Attributes:
        names_somebody: the entry names people, and the directory knows none of them.
    """

    rota: Rota
    begin: datetime
    end: datetime
    names_somebody: bool

    @property
    def alert_type(self) -> str:
        return self.rota.alert_type


@dataclass(slots=True)
class _Look:
    """What one look at all entries has found so far.

    Attributes:
        kept_gaps: of types with a gap to warn of: begin (ms) and whether it was warned of.
        turns: person and begin of a turn to the entries that it is for.
    """

    at: datetime
    all_again: bool
    types: set[str] = field(default_factory=set)
    readable: set[str] = field(default_factory=set)
    unwatched: int = 0
    gaps: list[_Gap] = field(default_factory=list)
    unwarned: list[tuple[_Gap, int]] = field(default_factory=list)
    kept_gaps: dict[str, dict[int, bool]] = field(default_factory=dict)
    turns: dict[tuple[str, datetime], list[Rota]] = field(default_factory=dict)


class OnCallWatch:
    """One router's part in the watch.

    Args:
        lists: the suppression lists of email and SMS.
        link: on which it publishes; somebody else keeps it connected.
        without: channels that this system does without.
    """

    def __init__(
        self,
        *,
        store: Store,
        keys: Keys,
        directory: Directory,
        lists: Mapping[Channel, Suppressions],
        topics: Topics,
        link: BrokerLink,
        clock: Clock,
        without: Collection[Channel] = (),
    ) -> None:
        self._store = store
        self._keys = keys
        self._directory = directory
        self._lists = lists
        self._topics = topics
        self._link = link
        self._clock = clock
        self._without = frozenset(without)
        self._notices = Notices(topics, link)
        self._incidents = Incidents(store, keys)
        base = keys.oncall_watch
        self._said, self._gaps, self._result = f"{base}:said", f"{base}:gaps", f"{base}:result"
        self._turn = f"{base}:turn"
        self._failed_lately = FailedLately(store, keys)
        # By person: when it was looked up, and what was found.
        self._failed_known: dict[str, tuple[datetime, Mapping[Channel, str]]] = {}
        # Which connection has published everything once: a broker may have forgotten what it retained.
        self._connects = 0

    async def work_forever(self, interval_s: float = INTERVAL_S) -> None:
        """Look when it is our turn, and show what the last look found, until cancelled."""
        broken = False
        while True:
            await self._link.wait_up()
            try:
                if await comes_first(self._store, self._keys, "oncall_watched", round(interval_s * _TURN * 1000)):
                    await self.look()
                await self._show()
                broken = False
            except StoreUnavailable:
                log.debug("store away, on-call entries are not looked at")
            except Exception:
                # Seen by the time of the last look; notifications go on.
                if not broken:
                    log.exception("looking at on-call entries failed")
                broken = True
            await asyncio.sleep(interval_s * random.uniform(0.9, 1.1))  # noqa: S311 - jitter

    async def look(self) -> None:
        """Look at every entry once."""
        connects = self._link.connects
        look = _Look(self._clock.now(), all_again=connects != self._connects)
        is_whole = True
        async for page in self._directory.oncall_pages(_PAGE):
            fresh = {name: entry for name, entry in page.items() if name not in look.types}
            look.types.update(fresh)
            await self._look_at_page(fresh, look)
            if len(look.types) >= ENTRIES_MOST:
                log.warning("too many on-call entries; the rest is not watched", extra={"watched": len(look.types)})
                is_whole = False
                break
        if is_whole:
            await self._forget_gone(look)
        self._connects = connects
        admins = (await self._directory.admins())[:ADMINS_MOST]
        # None of the two stops the other, or what the look has measured.
        for what, warn in (("gaps", self._warn_of_gaps), ("turns", self._warn_of_turns)):
            try:
                await warn(look, admins)
            except StoreUnavailable:
                raise
            except Exception:
                log.exception("warning of on-call trouble failed", extra={"about": what})
        await self._write_result(look)

    async def _look_at_page(self, page: Mapping[str, OnCall | None], look: _Look) -> None:
        """Look at some entries together, or one by one where that fails: one bad entry stops none of the others."""
        readable = {name: entry for name, entry in page.items() if entry is not None}
        look.unwatched += len(page) - len(readable)
        try:
            await self._look_at(readable, look)
        except StoreUnavailable:
            raise
        except Exception:
            if len(page) > 1:
                for name, entry in readable.items():
                    await self._look_at_page({name: entry}, look)
            else:
                look.unwatched += 1
                log.exception("an on-call entry cannot be looked at", extra={"alert_type": next(iter(page))})

    async def _look_at(self, page: Mapping[str, OnCall], look: _Look) -> None:
        planned: dict[str, tuple[OnCall, tuple[Shift, ...], Shift, Shift | None]] = {}
        for alert_type, entry in page.items():
            planned[alert_type] = (entry, *_planned(entry, look.at))
            # Working out many turns takes time, in which the router has something else to do.
            await asyncio.sleep(0)
        named = {
            user
            for _, listed, _, later in planned.values()
            for shift in (*listed, *([later] if later else []))
            for user in shift.users
        }
        people = await self._directory.people(sorted(named))
        rotas = {name: Rota(name, entry, people) for name, (entry, *_) in planned.items()}
        await self._say(
            {
                name: json.dumps(rotas[name].told(now, later), ensure_ascii=False)
                for name, (_, _, now, later) in planned.items()
            },
            look,
        )
        gaps = {name: _gaps(rotas[name], listed, look.at) for name, (_, listed, _, _) in planned.items()}
        await self._note_gaps(gaps, look)
        for name, (_, listed, _, _) in planned.items():
            for user, begin in _turns(listed, look.at):
                look.turns.setdefault((user, begin), []).append(rotas[name])
        look.readable.update(page)

    async def _say(self, documents: Mapping[str, str], look: _Look) -> None:
        """Publish who is on call for these types, where it is not what was published before."""
        names = list(documents)
        before = await self._store.command("HMGET", self._said, *names) if names else []
        changed = [
            name
            for name, said in zip(names, before, strict=True)
            if look.all_again or said is None or said.decode(errors="replace") != documents[name]
        ]
        taken = await self._publish({name: documents[name] for name in changed})
        look.unwatched += len(changed) - len(taken)
        if taken:
            flat = [part for name in taken for part in (name, documents[name])]
            await self._store.command("HSET", self._said, *flat, lasting=True)

    async def _publish(self, documents: Mapping[str, str]) -> list[str]:
        """Publish retained messages by alert type; return the types whose message the broker has taken."""
        published = {}
        for name, text in documents.items():
            await self._link.sendable()
            published[name] = self._link.publish(self._topics.oncall(name), text, retain=True)
        if not published:
            return []
        done, _ = await asyncio.wait(published.values(), timeout=CONFIRMED_WITHIN_S)
        # Read before: an error that nobody looks at becomes a line in the log.
        errors = {name: answer.exception() for name, answer in published.items() if answer in done}
        if any(isinstance(error, PublishRefused) for error in errors.values()):
            log.error("the broker refuses to take who is on call; were its roles applied again?")
        return [name for name, error in errors.items() if error is None]

    async def _forget_gone(self, look: _Look) -> None:
        """Take back what was said of entries that are gone, or cannot be read: they serve nobody."""
        said = {name.decode(errors="replace") for name in await self._store.command("HKEYS", self._said)}
        gone = await self._publish(dict.fromkeys(said - look.readable, ""))
        for key in (self._said, self._gaps):
            if gone:
                await self._store.command("HDEL", key, *gone, lasting=True)

    async def _note_gaps(self, gaps: Mapping[str, Sequence[_Gap]], look: _Look) -> None:
        """Compare gaps with those of the look before; one that was there then, and was not told of, is to be told."""
        names = list(gaps)
        before = await self._store.command("HMGET", self._gaps, *names) if names else []
        for name, text in zip(names, before, strict=True):
            look.gaps += gaps[name]
            known = _read_gaps(text)
            kept: dict[int, bool] = {}
            for gap in gaps[name]:
                if gap.begin < look.at + _DAY:
                    begin = _known_begin(gap, known, look.at)
                    kept[begin] = known.get(begin, False)
                    if begin in known and not known[begin]:
                        look.unwarned.append((gap, begin))
            look.kept_gaps[name] = kept
            if kept != known:
                await self._keep_gaps(name, kept)

    async def _keep_gaps(self, name: str, kept: Mapping[int, bool]) -> None:
        if kept:
            text = json.dumps({str(begin): int(told) for begin, told in kept.items()})
            await self._store.command("HSET", self._gaps, name, text, lasting=True)
        else:
            await self._store.command("HDEL", self._gaps, name, lasting=True)

    async def _warn_of_gaps(self, look: _Look, admins: Sequence[str]) -> None:
        unwarned = sorted(look.unwarned, key=lambda found: found[0].begin)
        if not unwarned or not admins:
            return
        told, rest = [], unwarned[NOTICES_MOST:]
        for gap, begin in unwarned[:NOTICES_MOST]:
            if await self._notices.tell(_gap_notice(gap, begin, look.at), admins):
                told.append((gap, begin))
        if rest and await self._notices.tell(_many_gaps_notice(rest, look.at), admins):
            told += rest
        metrics.oncall_warnings.labels("gap").inc(len(told))
        for gap, begin in told:
            look.kept_gaps[gap.alert_type][begin] = True
        for name in {gap.alert_type for gap, _ in told}:
            await self._keep_gaps(name, look.kept_gaps[name])

    async def _warn_of_turns(self, look: _Look, admins: Sequence[str]) -> None:
        warned = 0
        for (user, begin), rotas in sorted(look.turns.items(), key=lambda turn: turn[0][1]):
            key = f"{self._turn}:{sha256(f'{user}|{epoch_ms(begin)}'.encode()).hexdigest()}"
            if warned == NOTICES_MOST or await self._store.command("EXISTS", key):
                continue
            person = rotas[0].people.get(user)
            problems = await self._problems(person, look.at)
            if not problems:
                continue
            # Whoever is not known has no inbox either.
            also = [] if person is None else [user]
            notice = _reach_notice(user, begin, rotas, problems, is_known=person is not None)
            if await self._notices.tell(notice, dict.fromkeys((*also, *admins))):
                await self._store.command("SET", key, 1, "EX", _TURN_KEPT_S, lasting=True)
                metrics.oncall_warnings.labels("reach").inc()
                warned += 1

    async def _problems(self, person: Person | None, at: datetime) -> tuple[str, ...]:
        """Say why no channel but the inbox would reach somebody; nothing where one would."""
        if person is None:
            return ("the directory does not know this user",)
        found = await reach(person, self._lists, await self._failed(person, at), self._without)
        return () if found.channels else found.problems

    async def _failed(self, person: Person, at: datetime) -> Mapping[Channel, str]:
        """Return what failed lately at somebody's addresses; looked up again after a while only."""
        before = self._failed_known.get(person.user_id)
        if before is not None and before[0] <= at < before[0] + _FAILED_KEPT:
            return before[1]
        failed = await self._failed_lately.of(person)
        while len(self._failed_known) >= _FAILED_MOST:
            self._failed_known.pop(next(iter(self._failed_known)))
        self._failed_known[person.user_id] = (at, failed)
        return failed

    async def _write_result(self, look: _Look) -> None:
        counts = await self._incidents.counts()
        first = min((gap.begin for gap in look.gaps), default=None)
        result = {
            "at_s": look.at.timestamp(),
            "unwatched": look.unwatched,
            "gaps": {name: _measured(look.gaps, look.at, look.at + length) for name, length in _WARN_WITHIN.items()},
            "next_gap_s": None if first is None else max(0.0, (first - look.at).total_seconds()),
            "incidents": dict(counts),
        }
        await self._store.command("SET", self._result, json.dumps(result))

    async def _show(self) -> None:
        """Show what the last look of any router has found."""
        result: Mapping[str, Any] = read_object(await self._store.command("GET", self._result) or b"")
        if not result:
            return
        metrics.oncall_last_look.set(result["at_s"])
        metrics.oncall_unwatched.set(result["unwatched"])
        next_gap_s = result["next_gap_s"]
        metrics.oncall_next_gap.set(math.inf if next_gap_s is None else next_gap_s)
        for within, (count, length_s) in result["gaps"].items():
            metrics.oncall_gaps.labels(within).set(count)
            metrics.oncall_gap_time.labels(within).set(length_s)
        for state in metrics.INCIDENT_STATES:
            metrics.open_incidents.labels(state).set(result["incidents"].get(state, 0))


def _planned(entry: OnCall, at: datetime) -> tuple[tuple[Shift, ...], Shift, Shift | None]:
    """Return the shifts around a moment, the one that it stands in, and the one after that."""
    until = at + _AHEAD
    listed = shifts(entry, at - _BACK, until)
    index = next(index for index, shift in enumerate(listed) if shift.end > at)
    if index + 1 < len(listed):
        return listed, listed[index], listed[index + 1]
    return listed, *shift_at(entry, at)


def _gaps(rota: Rota, listed: Iterable[Shift], at: datetime) -> list[_Gap]:
    """Return the gaps that go on or are still to come; two that touch are one."""
    found: list[_Gap] = []
    for shift in listed:
        if not shift.is_gap(rota.people):
            continue
        if found and found[-1].end == shift.begin:
            names = found[-1].names_somebody or bool(shift.users)
            found[-1] = replace(found[-1], end=shift.end, names_somebody=names)
        else:
            found.append(_Gap(rota, shift.begin, shift.end, bool(shift.users)))
    return [gap for gap in found if gap.end > at]


def _read_gaps(text: bytes | None) -> dict[int, bool]:
    """Read what the look before has noted; what is damaged says nothing."""
    noted = read_object(text or b"")
    return {int(begin): told == 1 for begin, told in noted.items() if begin.isdecimal()}


def _known_begin(gap: _Gap, known: Iterable[int], at: datetime) -> int:
    """Return by what begin (ms) a gap is known: of one that began before we look back, the last begin before that."""
    begin = epoch_ms(gap.begin)
    if gap.begin > at - _BACK:
        return begin
    return max((each for each in known if each <= begin), default=begin)


def _turns(listed: Sequence[Shift], at: datetime) -> list[tuple[str, datetime]]:
    """Return who comes on call within the hour, and when."""
    return [
        (user, shift.begin)
        for before, shift in pairwise(listed)
        if at < shift.begin <= at + _REACH_WITHIN
        for user in shift.users
        if user not in before.users
    ]


def _measured(gaps: Iterable[_Gap], at: datetime, until: datetime) -> tuple[int, float]:
    """Count the gaps until a time, and return how long they last until then, in seconds."""
    near = [gap for gap in gaps if gap.begin < until]
    return len(near), sum((min(gap.end, until) - max(gap.begin, at)).total_seconds() for gap in near)


def _gap_notice(gap: _Gap, begin: int, at: datetime) -> Notice:
    since = "Now" if gap.begin <= at else f"From {_local(gap.rota, gap.begin)}"
    is_seen_to_end = gap.end < at + _AHEAD
    until = {"until": rfc3339(gap.end)} if is_seen_to_end else {}
    of_type = "the types without an entry (*)" if gap.alert_type == ANY_TYPE else gap.alert_type
    end = f" until {_local(gap.rota, gap.end)}" if is_seen_to_end else ", for the next days at least,"
    why = " The entry names people whom the directory does not know." if gap.names_somebody else ""
    return Notice(
        key=f"oncall-gap|{gap.alert_type}|{begin}",
        title=f"Nobody is on call for {of_type}",
        message=(
            f"{since}{end} nobody is on call for {of_type}.{why} In a gap, its critical alerts go to the admins. Fill "
            "it with an override. All gaps: carillon oncall gaps"
        ),
        data={"alert_type": gap.alert_type, "from": rfc3339(from_epoch_ms(begin)), **until},
    )


def _many_gaps_notice(rest: Sequence[tuple[_Gap, int]], at: datetime) -> Notice:
    names = sorted(f"{gap.alert_type}|{begin}" for gap, begin in rest)
    return Notice(
        key=f"oncall-gaps|{sha256(json.dumps(names).encode()).hexdigest()}",
        title=f"{len(rest)} more times at which nobody is on call",
        message=f"They begin before {rfc3339(at + _DAY)}. All gaps: carillon oncall gaps",
    )


def _reach_notice(
    user: str, begin: datetime, rotas: Sequence[Rota], problems: Sequence[str], *, is_known: bool
) -> Notice:
    names = sorted(rota.alert_type for rota in rotas)
    types = ", ".join(names[:NOTICES_MOST])
    types += f" and {len(names) - NOTICES_MOST} more" if len(names) > NOTICES_MOST else ""
    where = "only the inbox would show an alert" if is_known else "no alert would arrive"
    return Notice(
        key=f"oncall-reach|{user}|{epoch_ms(begin)}",
        title=f"{rotas[0].name(user)} is on call soon and out of reach",
        message=(
            f"{rotas[0].name(user)} ({user}) is on call for {types} from {_local(rotas[0], begin)}, and {where}: "
            f"{'; '.join(problems)}."
        ),
        data={"user_id": user, "from": rfc3339(begin), "alert_types": names[:_PAGE]},
    )


def _local(rota: Rota, at: datetime) -> str:
    return f"{at.astimezone(zone_of(rota.zone)):%a %Y-%m-%d %H:%M %z}"
