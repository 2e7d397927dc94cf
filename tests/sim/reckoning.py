"""A second reckoning of who hears what when, from what the documentation says.

It shares nothing with the router: no stage, no record's model, no script. Quiet time is a year of minutes, each marked;
a throttle looks at all that it has let in; a digest is a list. Where several things happen at the same moment, what
closes comes before what is released, and what was held first is released first.
"""

import heapq
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from tests.sim.outcome import Heard, Outcome, Told
from tests.sim.world import (
    CATEGORIES,
    DAILY_LIMIT,
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    TENANTS,
    Cancel,
    Change,
    Choose,
    Event,
    Publish,
    Read,
    World,
    Write,
)

CHANNELS = ("realtime", "email", "sms", "push")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DEFAULTS = {"realtime": True, "email": True, "sms": False, "push": True}
UNITS_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}

# What its publisher gave no deadline waits so long at most.
HELD_MOST_MS = 31 * DAY_MS

# The clocks are read from some days before the beginning on, and some days longer than the end.
DAYS_BEFORE, DAYS_AFTER = 4, 10


def length_ms(text: str) -> int:
    return int(text[:-1]) * UNITS_MS[text[-1]]


class WallClock:
    """What the clock of a zone shows in each minute, as minutes since the first one, by a clock of UTC."""

    def __init__(self, zone: str, since: datetime, minutes: int) -> None:
        tz = ZoneInfo(zone)
        self.shown = array("l")
        # No clock has been changed within a quarter of an hour for a hundred years.
        for number in range(0, minutes, 15):
            at = (since + timedelta(minutes=number)).astimezone(tz)
            reading = (at.replace(tzinfo=None) - since.replace(tzinfo=None)) // timedelta(minutes=1)
            self.shown.extend(range(reading, reading + 15))

    def minute_of(self, wall: int) -> int:
        """Tell in which minute the clock first shows a time; a skipped one by a clock that nobody set forward."""
        first, last = max(0, wall - 16 * 60), min(len(self.shown), wall + 16 * 60)
        offsets = {self.shown[minute] - minute for minute in range(first, last, 240)}
        found = [wall - offset for offset in offsets if 0 <= wall - offset < len(self.shown)]
        showing = [minute for minute in found if self.shown[minute] == wall]
        if showing:
            return min(showing)
        return max(found)


class Calendar:
    """When it is what time where, and when it is quiet."""

    def __init__(self, begin_ms: int, end_ms: int) -> None:
        self._since_ms = begin_ms - DAYS_BEFORE * DAY_MS
        self._since = datetime.fromtimestamp(self._since_ms / 1000, UTC)
        self._minutes = (end_ms - self._since_ms) // MINUTE_MS + DAYS_AFTER * 1440
        self._clocks: dict[str, WallClock] = {}
        self._marks: dict[tuple[str, str], bytearray] = {}

    def clock(self, zone: str) -> WallClock:
        if zone not in self._clocks:
            self._clocks[zone] = WallClock(zone, self._since, self._minutes)
        return self._clocks[zone]

    def quiet_until(self, quiet: Mapping[str, Any], zone: str, at_ms: int) -> int | None:
        marks = self._marked(quiet, quiet.get("timezone") or zone)
        minute = (at_ms - self._since_ms) // MINUTE_MS
        if not marks[minute]:
            return None
        end_ms = self._since_ms + marks.find(0, minute) * MINUTE_MS
        return min(end_ms, at_ms + 8 * DAY_MS)

    def _marked(self, quiet: Mapping[str, Any], zone: str) -> bytearray:
        key = zone, repr(quiet)
        if key not in self._marks:
            clock, marks = self.clock(zone), bytearray(self._minutes)
            for day in range(1, self._minutes // 1440 - 1):
                weekday = WEEKDAYS[(self._since + timedelta(days=day)).weekday()]
                for window in quiet["windows"]:
                    if weekday in window.get("days", WEEKDAYS):
                        start, end = _minute(window["from"]), _minute(window["to"])
                        begins = clock.minute_of(day * 1440 + start)
                        ends = clock.minute_of(day * 1440 + end + (1440 if end <= start else 0))
                        if begins < ends:
                            marks[begins:ends] = b"\x01" * (ends - begins)
            self._marks[key] = marks
        return self._marks[key]

    def next_time(self, zone: str, after_ms: int, at: str, days: Iterable[str] = WEEKDAYS) -> int:
        """Walk on until the clock shows it."""
        clock = self.clock(zone)
        day = (after_ms - self._since_ms) // DAY_MS - 2
        while True:
            if WEEKDAYS[(self._since + timedelta(days=day)).weekday()] in days:
                moment_ms = self._since_ms + clock.minute_of(day * 1440 + _minute(at)) * MINUTE_MS
                if moment_ms > after_ms:
                    return moment_ms
            day += 1

    def next_hour(self, zone: str, after_ms: int) -> int:
        clock = self.clock(zone)
        minute = (after_ms - self._since_ms) // MINUTE_MS + 1
        while clock.shown[minute] % 60:
            minute += 1
        return self._since_ms + minute * MINUTE_MS


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


class Throttle:
    """The times of what it has let in, or will."""

    def __init__(self) -> None:
        self._times: list[int] = []

    def ask(
        self, now_ms: int, limit: int, per_ms: int, *, reserves_until_ms: int = 0, always: bool = False
    ) -> int | None:
        """Return 0 for in, the time that is reserved, or None.

        Args:
            reserves_until_ms: up to when a time may be reserved; 0 for never.
        """
        self._times = [each for each in self._times if each > now_ms - per_ms]
        if always or self._fits(now_ms, limit, per_ms):
            self._times.append(now_ms)
            return 0
        later = sorted(each + per_ms for each in self._times)
        at_ms = next(each for each in later if self._fits(each, limit, per_ms))
        if at_ms > reserves_until_ms:
            return None
        self._times.append(at_ms)
        return at_ms

    def _fits(self, at_ms: int, limit: int, per_ms: int) -> bool:
        """Whether one more at this time makes no window hold too many."""
        near = [each for each in self._times if abs(each - at_ms) < per_ms]
        begins = [at_ms, *(each for each in near if each <= at_ms)]
        return all(sum(begin <= each < begin + per_ms for each in near) < limit for begin in begins)


@dataclass(slots=True)
class Digest:
    """An open window; ``labels`` is empty when it was begun by one that went out alone."""

    opened_ms: int
    ends_ms: int
    slides_ms: int
    latest_ms: int
    tenant: str | None
    labels: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Person:
    entry: dict[str, Any]
    own: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """A notification that was accepted; the priority is what its category lets it have."""

    publish: Publish
    priority: str
    is_crowd: bool = False


class Reckoning:
    """Runs through a world."""

    def __init__(self, world: World, calendar: Calendar | None = None) -> None:
        self.world = world
        self.calendar = calendar or Calendar(world.begin_ms, world.end_ms)
        self.people = {user: Person(entry) for user, entry in world.people.items()}
        self.categories = dict(CATEGORIES)
        self.throttles: defaultdict[tuple[str, ...], Throttle] = defaultdict(Throttle)
        self.digests: dict[tuple[str, ...], Digest] = {}
        self.cancelled: set[str] = set()
        self.read: set[tuple[str, str]] = set()
        self.accepted: set[str] = set()
        self.waiting: dict[tuple[str, str, str], int] = {}
        self.outcome = Outcome()
        self._later: list[tuple[int, int, int, Callable[[int], None]]] = []
        self._number = count()

    def run(self) -> Outcome:
        for event in self.world.events:
            self._until(event.at_ms)
            self._happens(event)
        self._until(self.world.end_ms)
        return self.outcome

    def _until(self, at_ms: int) -> None:
        while self._later and self._later[0][0] <= at_ms:
            now_ms, _, _, what = heapq.heappop(self._later)
            what(now_ms)

    def _at(self, at_ms: int, order: int, what: Callable[[int], None]) -> None:
        heapq.heappush(self._later, (at_ms, order, next(self._number), what))

    def _happens(self, event: Event) -> None:
        match event:
            case Publish():
                self.accepted.add(event.label)
                if event.send_at_ms:
                    self._at(event.send_at_ms, 2, lambda now_ms: self._plan(event, now_ms))
                else:
                    self._plan(event, event.at_ms)
            case Cancel() if event.label in self.accepted:
                self.cancelled.add(event.label)
                for label, user, channel in [key for key in self.waiting if key[0] == event.label]:
                    del self.waiting[label, user, channel]
                    self.outcome.end(label, user, channel, "cancelled", event.at_ms)
            case Read() if event.label in self.accepted:
                self.read.add((event.user, event.label))
            case Write():
                entry = self.people[event.user].entry
                self.people[event.user].entry = _merged(entry, event.patch)
            case Choose():
                self.people[event.user].own = event.choices
            case Change():
                self.categories[event.category] = event.record

    def _category(self, name: str | None, tenant: str | None) -> dict[str, Any] | None:
        record = self.categories.get(name or "")
        changes = TENANTS.get(tenant or "", {}).get("categories", {}).get(name)
        if changes is None:
            return record
        channels = {**(record or {}).get("channels", {}), **changes.get("channels", {})}
        return {**(record or {}), **changes, "channels": channels}

    def _plan(self, publish: Publish, now_ms: int) -> None:
        if publish.label in self.cancelled:
            return
        category = self._category(publish.category, publish.tenant)
        # What it may be at most is decided when it is accepted; a category of this world never changes that.
        priority = publish.priority
        if category and category.get("priority_at_most") == "normal" and priority in ("high", "critical"):
            priority = "normal"
        sent = Sent(publish, priority, publish.group is not None)
        for user in [publish.user] if publish.user else self.world.groups[publish.group or ""]:
            self._for(sent, user, now_ms)

    def _for(self, sent: Sent, user: str, now_ms: int) -> None:
        publish = sent.publish
        category = self._category(publish.category, publish.tenant)
        limit = self._throttled(sent, user, category, now_ms)
        for channel in CHANNELS:
            if sent.is_crowd and channel == "realtime":
                continue
            on, named = self._wants(user, channel, publish.category, category)
            taken = {"realtime": True, "push": True, "email": sent.priority in ("high", "critical")}.get(
                channel, sent.priority == "critical"
            )
            if not taken and category is not None:
                taken = category.get("channels", {}).get(channel) is True or (on and named)
            if not taken:
                continue
            if channel != "realtime" and not on:
                self._ends(sent, user, channel, "preference_off", now_ms, planned=True)
            elif not self._addresses(user, channel):
                self._ends(sent, user, channel, "no_address", now_ms, planned=True)
            else:
                self._channel(sent, user, channel, category, limit, now_ms)

    def _throttled(
        self, sent: Sent, user: str, category: Mapping[str, Any] | None, now_ms: int
    ) -> tuple[str, int | None] | None:
        """Count, and return what stops it: what then, and from when on it may go."""
        publish, always = sent.publish, sent.priority == "critical"
        stops: tuple[str, int | None] | None = None
        if category is not None and (spec := category.get("throttle")):
            throttle = self.throttles[user, publish.category or "", publish.tenant or "", _key(publish, spec)]
            until_ms = (publish.deadline_ms or now_ms + HELD_MOST_MS) if spec["then"] == "hold" else 0
            at_ms = throttle.ask(
                now_ms, spec["limit"], length_ms(spec["per"]), reserves_until_ms=until_ms, always=always
            )  # fmt: skip
            if at_ms != 0:
                stops = spec["then"], at_ms or publish.deadline_ms
        # What is dropped anyway does not count in the day; what the day drops is not held or folded either.
        dropped = stops is not None and stops[0] == "drop"
        if not dropped and self.throttles[user,].ask(now_ms, DAILY_LIMIT, DAY_MS, always=always) is None:
            stops = "drop", None
        return None if always else stops

    def _channel(
        self,
        sent: Sent,
        user: str,
        channel: str,
        category: Mapping[str, Any] | None,
        limit: tuple[str, int | None] | None,
        now_ms: int,
    ) -> None:
        publish = sent.publish
        if limit is not None and limit[0] == "drop":
            self._ends(sent, user, channel, "throttled", now_ms, planned=True)
            return
        quiet_ms = self._quiet(sent.priority, user, category, publish.tenant, now_ms)
        if channel == "realtime":
            live = self._wants(user, channel, publish.category, category)[0]
            silent = quiet_ms is not None or limit is not None
            self.outcome.hear(Heard(user, channel, (publish.label,), now_ms, silent=silent, live=live))
            return
        if limit == ("hold", None):
            self._ends(sent, user, channel, "throttled", now_ms, planned=True)
            return
        if limit is not None and limit[0] == "fold":
            spec = (category or {}).get("digest") or {"window": (category or {})["throttle"]["per"]}
            self._fold(sent, user, channel, spec, category, now_ms, throttled=True)
            return
        if self._folds(sent, user, channel, category, now_ms):
            return
        release_ms = max(quiet_ms or 0, (limit[1] or 0) if limit is not None else 0)
        if release_ms:
            self._hold(sent, user, channel, release_ms, now_ms)
        else:
            self._send(sent, user, channel, now_ms)

    def _hold(self, sent: Sent, user: str, channel: str, release_ms: int, now_ms: int, *, again: bool = False) -> None:
        publish = sent.publish
        if release_ms >= (publish.deadline_ms or max(publish.at_ms, publish.send_at_ms) + HELD_MOST_MS):
            self._ends(sent, user, channel, "expired", now_ms, planned=not again)
            return
        key = publish.label, user, channel
        self.waiting[key] = release_ms

        def release(then_ms: int) -> None:
            if self.waiting.pop(key, None) is not None:
                self._release(sent, user, channel, then_ms)

        self._at(release_ms, 1, release)

    def _release(self, sent: Sent, user: str, channel: str, now_ms: int) -> None:
        """Ask again, with what is now."""
        publish = sent.publish
        category = self._category(publish.category, publish.tenant)
        if not self._wants(user, channel, publish.category, category)[0]:
            self._ends(sent, user, channel, "preference_off", now_ms)
        elif not self._addresses(user, channel):
            self._ends(sent, user, channel, "no_address", now_ms)
        elif self._folds(sent, user, channel, category, now_ms):
            pass
        elif (quiet_ms := self._quiet(sent.priority, user, category, publish.tenant, now_ms)) is not None:
            self._hold(sent, user, channel, quiet_ms, now_ms, again=True)
        elif (user, publish.label) in self.read:
            for _ in range(self._addresses(user, channel)):
                self._ends(sent, user, channel, "seen", now_ms)
        else:
            self._send(sent, user, channel, now_ms)

    def _send(self, sent: Sent, user: str, channel: str, now_ms: int) -> None:
        for _ in range(self._addresses(user, channel)):
            self.outcome.hear(Heard(user, channel, (sent.publish.label,), now_ms))

    def _ends(self, sent: Sent, user: str, channel: str, why: str, now_ms: int, *, planned: bool = False) -> None:
        # Of a crowd only what is to be sent is written down.
        if not (planned and sent.is_crowd):
            self.outcome.end(sent.publish.label, user, channel, why, now_ms)

    def _folds(
        self,
        sent: Sent,
        user: str,
        channel: str,
        category: Mapping[str, Any] | None,
        now_ms: int,
    ) -> bool:
        spec = (category or {}).get("digest")
        if spec is None or sent.priority == "critical" or channel not in spec.get("channels", ("email", "push")):
            return False
        if self._rhythm(user, sent.publish.category) == "instant":
            return False
        deadline_ms = sent.publish.deadline_ms
        if deadline_ms and deadline_ms <= self._window(user, sent.publish, spec, now_ms)[0]:
            # It cannot wait.
            self._alone(sent, user, channel, category, now_ms)
        else:
            self._fold(sent, user, channel, spec, category, now_ms)
        return True

    def _fold(
        self,
        sent: Sent,
        user: str,
        channel: str,
        spec: Mapping[str, Any],
        category: Mapping[str, Any] | None,
        now_ms: int,
        *,
        throttled: bool = False,
    ) -> None:
        publish = sent.publish
        group = user, publish.tenant or "", publish.category or "", channel, _key(publish, spec)
        digest = self.digests.get(group)
        if digest is None or (not digest.labels and digest.ends_ms <= now_ms):
            ends_ms, slides_ms = self._window(user, publish, spec, now_ms)
            latest_ms = ends_ms
            if slides_ms:
                latest_ms = now_ms + (length_ms(spec["at_most"]) if "at_most" in spec else 6 * slides_ms)
            digest = self.digests[group] = Digest(now_ms, ends_ms, slides_ms, latest_ms, publish.tenant)
            if spec.get("first") == "now" and not throttled:
                # Alone, and by what holds for a digest.
                self._alone(sent, user, channel, category, now_ms)
                return
        if digest.slides_ms:
            digest.ends_ms = max(digest.ends_ms, min(now_ms + digest.slides_ms, digest.latest_ms))
        if not digest.labels:
            digest.opened_ms = now_ms
        digest.labels.append(publish.label)
        self.outcome.end(publish.label, user, channel, "digested", now_ms)
        if len(digest.labels) == 1:
            self._at(digest.ends_ms, 0, lambda then_ms: self._close(group, then_ms))

    def _alone(self, sent: Sent, user: str, channel: str, category: Mapping[str, Any] | None, now_ms: int) -> None:
        quiet_ms = self._quiet(sent.priority, user, category, sent.publish.tenant, now_ms)
        if quiet_ms is None:
            self._send(sent, user, channel, now_ms)
        else:
            self._hold(sent, user, channel, quiet_ms, now_ms, again=True)

    def _window(self, user: str, publish: Publish, spec: Mapping[str, Any], now_ms: int) -> tuple[int, int]:
        """Return when a digest that begins now ends, and by how much each item moves that."""
        zone = self._zone(user, publish.tenant)
        at = spec.get("schedule", {}).get("at", "09:00")
        match self._rhythm(user, publish.category):
            case "hourly":
                return self.calendar.next_hour(zone, now_ms), 0
            case "daily":
                return self.calendar.next_time(zone, now_ms, at), 0
            case "weekly":
                return self.calendar.next_time(zone, now_ms, at, ("monday",)), 0
        if "schedule" in spec:
            return self.calendar.next_time(zone, now_ms, at, spec["schedule"].get("days", WEEKDAYS)), 0
        window_ms = length_ms(spec["window"])
        return now_ms + window_ms, window_ms if spec.get("mode") == "sliding" else 0

    def _close(self, group: tuple[str, ...], now_ms: int) -> None:
        digest = self.digests[group]
        if digest.ends_ms > now_ms:
            self._at(digest.ends_ms, 0, lambda then_ms: self._close(group, then_ms))
            return
        del self.digests[group]
        self._tell(group, digest, now_ms)

    def _tell(self, group: tuple[str, ...], digest: Digest, now_ms: int) -> None:
        """Send a closed digest when it is not quiet."""
        user, _, name, channel, _ = group
        category = self._category(name, digest.tenant)
        labels = tuple(sorted(label for label in digest.labels if label not in self.cancelled))
        if not labels:
            self.outcome.digest(Told(user, channel, labels, "digest_empty", now_ms))
        elif not self._wants(user, channel, name, category)[0]:
            self.outcome.digest(Told(user, channel, labels, "preference_off", now_ms))
        elif not self._addresses(user, channel):
            self.outcome.digest(Told(user, channel, labels, "no_address", now_ms))
        elif (quiet_ms := self._quiet("normal", user, category, digest.tenant, now_ms)) is not None:
            if quiet_ms >= digest.opened_ms + HELD_MOST_MS:
                self.outcome.digest(Told(user, channel, labels, "expired", now_ms))
            else:
                self._at(quiet_ms, 1, lambda then_ms: self._tell(group, digest, then_ms))
        else:
            for _ in range(self._addresses(user, channel)):
                self.outcome.digest(Told(user, channel, labels, "", now_ms))

    def _rhythm(self, user: str, name: str | None) -> str | None:
        for said in self._layers(user):
            chosen: str | None = said.get("categories", {}).get(name or "", {}).get("digest")
            if chosen is not None:
                return chosen
        return None

    def _layers(self, user: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The stronger one first."""
        person = self.people[user]
        return person.own.get("preferences", {}), person.entry.get("preferences", {})

    def _wants(
        self, user: str, channel: str, name: str | None, category: Mapping[str, Any] | None
    ) -> tuple[bool, bool]:
        """Return whether a person wants a channel, and whether that was said of this category."""
        own, entry = self._layers(user)
        policy = None if category is None else category.get("policy", "opt_out")
        of_category = {} if category is None else category.get("channels", {})
        own_named = own.get("categories", {}).get(name or "", {}).get(channel)
        entry_named = entry.get("categories", {}).get(name or "", {}).get(channel)
        known = category is not None
        strongest_first = [
            (own_named, known),
            (own.get(channel), False),
            (entry_named, known),
            (entry.get(channel), False),
            (of_category.get(channel), True),
        ]
        if policy == "required":
            strongest_first = [(of_category.get(channel), True)]
        elif policy == "opt_in":
            strongest_first = [(own_named, True), (entry_named, True), (False, False)]
        for said, named in strongest_first:
            if said is not None:
                return bool(said), named
        return DEFAULTS[channel], False

    def _addresses(self, user: str, channel: str) -> int:
        entry = self.people[user].entry
        found = {"realtime": 1, "email": int("email" in entry), "sms": int("phone" in entry)}
        return found.get(channel, len(entry["devices"]))

    def _zone(self, user: str, tenant: str | None) -> str:
        said = self.people[user].entry.get("timezone") or TENANTS.get(tenant or "", {}).get("timezone")
        return said or "UTC"

    def _quiet(
        self, priority: str, user: str, category: Mapping[str, Any] | None, tenant: str | None, now_ms: int
    ) -> int | None:
        if priority == "critical" or (category or {}).get("quiet_hours") == "ignore":
            return None
        person = self.people[user]
        snoozed_ms = person.own.get("snooze_until", 0) * 1000
        if snoozed_ms > now_ms:
            return int(snoozed_ms)
        for quiet in (
            person.own.get("quiet_hours"),
            person.entry.get("quiet_hours"),
            TENANTS.get(tenant or "", {}).get("quiet_hours"),
        ):
            if quiet is not None:
                return self.calendar.quiet_until(quiet, self._zone(user, tenant), now_ms)
        return None


def _key(publish: Publish, spec: Mapping[str, Any]) -> str:
    return str(publish.data.get("thread", "")) if spec.get("key") == "data.thread" else ""


def _merged(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396."""
    after = dict(before)
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        elif isinstance(value, Mapping):
            after[name] = _merged(after.get(name, {}), value)
        else:
            after[name] = value
    return after
