"""A made-up year: people in several zones, what they want to hear, and what is published to them.

Everything is a document as it stands on the wire, so that the system and the reckoning each read it in their own way.
The same seed makes the same world.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# After today's date, so that what the store keeps until a moment is not over for it.
BEGIN = datetime(2040, 1, 1, tzinfo=UTC)

# How long a delivery without a deadline is tried.
LIFETIME_S = 24 * 3600

# What is more than this is not heard within a day.
DAILY_LIMIT = 9

ZONES = (
    "Europe/Paris", "Europe/London", "America/New_York", "America/Los_Angeles", "America/St_Johns", "America/Sao_Paulo",
    "Asia/Tokyo", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Australia/Adelaide", "Pacific/Auckland",
    "Africa/Casablanca", "Africa/Cairo", "America/Santiago", "UTC", None,
)  # fmt: skip

_NIGHT = {"from": "22:00", "to": "07:00"}
QUIET_HOURS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"windows": [_NIGHT]},
    {"windows": [{"from": "23:30", "to": "06:15"}]},
    {"windows": [{"from": "01:30", "to": "02:30"}]},
    {"windows": [{"from": "02:15", "to": "10:00"}, {"from": "12:00", "to": "13:00"}]},
    {"windows": [_NIGHT, {"days": ["saturday", "sunday"], "from": "00:00", "to": "00:00"}]},
    {
        "windows": [
            {"days": ["friday"], "from": "17:45", "to": "00:00"},
            {"days": ["saturday"], "from": "00:00", "to": "12:00"},
        ]
    },
    {"timezone": "Asia/Tokyo", "windows": [_NIGHT]},
    {"windows": [{"from": "18:00", "to": "09:00"}, {"from": "08:00", "to": "09:00"}]},
    {"windows": []},
)  # fmt: skip

CATEGORIES: dict[str, dict[str, Any]] = {
    "security": {"policy": "required", "channels": {"email": True, "push": True, "sms": True}, "quiet_hours": "ignore"},
    "billing": {"channels": {"email": True, "push": False}},
    "offers": {
        "policy": "opt_in",
        "channels": {"email": True},
        "throttle": {"limit": 2, "per": "7d", "then": "drop"},
    },
    "likes": {"throttle": {"limit": 2, "per": "1h", "then": "hold"}},
    "builds": {
        "channels": {"email": True},
        "throttle": {"limit": 3, "per": "2h", "then": "hold", "key": "data.thread"},
    },
    "comments": {
        "channels": {"email": True},
        "digest": {"window": "15m", "at_most": "1h", "mode": "sliding", "key": "data.thread"},
    },
    "mentions": {"digest": {"window": "30m", "first": "now", "channels": ["push"]}, "channels": {"email": True}},
    "tasks": {"throttle": {"limit": 1, "per": "2h", "then": "fold"}, "digest": {"window": "30m", "first": "now"}},
    "reports": {
        "channels": {"email": True, "push": False},
        "digest": {"schedule": {"at": "09:00", "days": ["monday", "wednesday", "friday"]}, "channels": ["email"]},
    },
    "follows": {
        "channels": {"email": True},
        "throttle": {"limit": 2, "per": "1h", "then": "fold"},
    },
    "reviews": {
        "channels": {"email": True},
        "throttle": {"limit": 4, "per": "1h", "then": "fold"},
        "digest": {"window": "1h", "key": "data.thread"},
    },
    "system": {"priority_at_most": "normal", "channels": {"realtime": False}},
}  # fmt: skip

# What such a category is changed into in the middle of the year.
CHANGED: dict[str, dict[str, Any]] = {
    "comments": {"channels": {"email": True}, "digest": {"window": "1h", "first": "now"}},
    "likes": {"throttle": {"limit": 4, "per": "30m", "then": "drop"}, "channels": {"push": True}},
    "billing": {"channels": {"email": True}, "digest": {"schedule": {"at": "17:00"}, "channels": ["email"]}},
    "offers": {"policy": "opt_out", "channels": {"email": False}},
    "reviews": {"channels": {"email": True}, "throttle": {"limit": 2, "per": "2h", "then": "hold"}},
}

TENANTS: dict[str, dict[str, Any]] = {
    "acme": {
        "timezone": "America/Los_Angeles",
        "quiet_hours": {"windows": [{"from": "20:00", "to": "08:00"}]},
        "categories": {"comments": {"digest": {"window": "1h"}}, "billing": {"channels": {"sms": True}}},
    },
    "globex": {
        "timezone": "Asia/Kolkata",
        "categories": {"likes": {"policy": "required"}, "notes": {"channels": {"email": True}}},
    },
}  # fmt: skip

# With one that the directory does not know, one that only a tenant has, and none.
_ABOUT = (*CATEGORIES, "comments", "likes", "follows", "reviews", "notes", "unheard_of", None)
_PRIORITIES = ("low", "normal", "normal", "normal", "normal", "high", "high", "critical")

# What is folded does not end at its own deadline.
_MAY_EXPIRE = ("security", "likes", "builds", "unheard_of", None)


@dataclass(frozen=True, slots=True)
class Publish:
    """A notification to a person or to a group.

    Attributes:
        label: its idempotency key and title.
        send_at_ms: 0 for at once; deadline_ms: 0 for none.
    """

    at_ms: int
    label: str
    user: str | None
    group: str | None
    priority: str
    category: str | None
    tenant: str | None
    data: dict[str, Any]
    send_at_ms: int = 0
    deadline_ms: int = 0


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same publish again, by a publisher that got no receipt."""

    at_ms: int
    of: Publish


@dataclass(frozen=True, slots=True)
class Cancel:
    """A publisher takes something back."""

    at_ms: int
    label: str


@dataclass(frozen=True, slots=True)
class Read:
    """A person reads something in the inbox."""

    at_ms: int
    user: str
    label: str


@dataclass(frozen=True, slots=True)
class Write:
    """A write to a person's directory entry: a merge patch."""

    at_ms: int
    user: str
    patch: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choose:
    """A person's own choices, all of them."""

    at_ms: int
    user: str
    choices: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """Another record of a category."""

    at_ms: int
    category: str
    record: dict[str, Any]


Event = Publish | Repeat | Cancel | Read | Write | Choose | Change


@dataclass(frozen=True, slots=True)
class World:
    """What is there at the beginning, and what happens.

    Attributes:
        people: directory entries by user id.
        events: by their time.
    """

    people: dict[str, dict[str, Any]]
    events: list[Event]
    begin_ms: int
    end_ms: int
    groups: dict[str, list[str]] = field(default_factory=dict)


def make(people: int, days: int, seed: int, bursts: float, begin: datetime = BEGIN) -> World:
    """Make a world.

    Args:
        bursts: how often in a year something happens about which a person hears some times in a row.
    """
    chance = random.Random(seed)  # noqa: S311 - the same again
    return _Maker(chance, people, days, round(begin.timestamp() * 1000)).world(bursts)


class _Maker:
    def __init__(self, chance: random.Random, people: int, days: int, begin_ms: int) -> None:
        self.chance = chance
        self.days = days
        self.begin_ms = begin_ms
        self.changes = [day for day in range(days) if self.changes_a_clock(day)]
        self.users = [f"user{number}" for number in range(people)]
        self.groups = [f"group{number}" for number in range(max(1, people // 25))]
        self.labels = 0

    def world(self, bursts: float) -> World:
        people = {user: self.person(user) for user in self.users}
        groups: dict[str, list[str]] = {group: [] for group in self.groups}
        for user, entry in people.items():
            for group in entry["groups"]:
                groups[group].append(user)
        events: list[Event] = []
        for user in self.users:
            if self.chance.random() < 0.5:
                events.append(Choose(self.near(self.begin_ms), user, self.choices()))
            for _ in range(self.often(bursts)):
                events += self.burst(user)
        for group in self.groups:
            for _ in range(self.often(6)):
                events.append(self.publish(self.moment(), None, group, self.chance.choice(_ABOUT), "t0"))
        middle_ms = self.begin_ms + self.days * DAY_MS // 2
        for number, (name, record) in enumerate(CHANGED.items()):
            events.append(Change(self.near(middle_ms + number * DAY_MS), name, record))
            events.append(
                Change(self.near(middle_ms + (number + 1) * self.days * DAY_MS // 12), name, CATEGORIES[name])
            )
        events.sort(key=lambda event: event.at_ms)
        return World(people, events, self.begin_ms, self.begin_ms + (self.days + 9) * DAY_MS, groups)

    def often(self, in_a_year: float) -> int:
        """How often something happens, that is to happen so often in a year."""
        expected = in_a_year * self.days / 366
        return int(expected) + (self.chance.random() < expected % 1)

    def changes_a_clock(self, day: int) -> bool:
        """Whether somebody's clock is changed on a day."""
        begins, ends = (
            datetime.fromtimestamp((self.begin_ms + each * DAY_MS) / 1000, UTC) for each in (day, day + 1)
        )  # fmt: skip
        zones = [ZoneInfo(zone) for zone in ZONES if zone is not None]
        return any(begins.astimezone(zone).utcoffset() != ends.astimezone(zone).utcoffset() for zone in zones)

    def moment(self) -> int:
        """Any moment, and often one on a day on which clocks are changed, or in the evening before."""
        if self.changes and self.chance.random() < 0.25:
            day = self.chance.choice(self.changes)
            hour = self.chance.randrange(-8 if day else 0, 24)
            return self.near(self.begin_ms + day * DAY_MS + hour * HOUR_MS)
        return self.near(self.begin_ms + self.chance.randrange(self.days * DAY_MS))

    def near(self, at_ms: int) -> int:
        """A moment in the quarter of an hour after another one."""
        return at_ms + self.chance.randrange(1, 15 * MINUTE_MS)

    def person(self, user: str) -> dict[str, Any]:
        chance = self.chance
        entry: dict[str, Any] = {"user_id": user, "groups": sorted(chance.sample(self.groups, 1))}
        if chance.random() < 0.95:
            entry["email"] = f"{user}@example.com"
        if chance.random() < 0.7:
            entry["phone"] = "+15005550006"
        devices = chance.choice((0, 1, 1, 1, 1, 2))
        entry["devices"] = [{"platform": "ios", "token": f"{user}-{number}"} for number in range(devices)]
        entry |= self.patch()
        return {name: value for name, value in entry.items() if value is not None}

    def patch(self, about: str | None = None) -> dict[str, Any]:
        """Some of what a directory entry says; all of it may change in the year."""
        chance = self.chance
        patch: dict[str, Any] = {}
        if chance.random() < 0.6:
            patch["timezone"] = chance.choice(ZONES)
        if chance.random() < 0.6:
            patch["quiet_hours"] = chance.choice(QUIET_HOURS)
        if chance.random() < 0.5:
            patch["preferences"] = self.preferences(about)
        return patch

    def preferences(self, about: str | None) -> dict[str, Any]:
        chance = self.chance
        said: dict[str, Any] = {}
        for channel in ("realtime", "email", "sms", "push"):
            if chance.random() < 0.2:
                said[channel] = chance.random() < 0.6
        names = chance.sample(sorted(CATEGORIES), chance.choice((0, 0, 1, 2, 3)))
        if about in CATEGORIES and about not in names and chance.random() < 0.5:
            names.append(about)
        for name in names:
            of_category: dict[str, Any] = {}
            if chance.random() < 0.5:
                of_category[chance.choice(("email", "push", "sms"))] = chance.random() < 0.7
            if chance.random() < 0.4:
                of_category["digest"] = chance.choice(("instant", "hourly", "daily", "weekly"))
            said.setdefault("categories", {})[name] = of_category
        return said

    def choices(self, about: str | None = None) -> dict[str, Any]:
        chance = self.chance
        choices: dict[str, Any] = {"preferences": self.preferences(about)}
        if chance.random() < 0.4:
            choices["quiet_hours"] = chance.choice(QUIET_HOURS)
        if chance.random() < 0.2:
            choices["snooze_until"] = self.near(self.moment() + DAY_MS) // 1000
        return {name: value for name, value in choices.items() if value is not None}

    def burst(self, user: str) -> Iterator[Event]:
        """Something happens, and a person hears of it some times in a row."""
        chance = self.chance
        about, at_ms, tenant = chance.choice(_ABOUT), self.moment(), chance.choice((None, None, None, "acme", "globex"))
        threads = chance.choice((1, 1, 2))
        for _ in range(min(40, 1 + int(chance.expovariate(0.25)))):
            publish = self.publish(at_ms, user, None, about, f"t{chance.randrange(threads)}", tenant)
            yield publish
            if chance.random() < 0.05:
                # Within every window in which it counts.
                yield Repeat(publish.at_ms + chance.randrange(1, 60_000), publish)
            if chance.random() < 0.06:
                yield Cancel(self.near(at_ms + chance.choice((1, 2, 30)) * chance.randrange(HOUR_MS)), publish.label)
            if chance.random() < 0.2:
                yield Read(self.near(at_ms + chance.randrange(12 * HOUR_MS)), user, publish.label)
            # What is held or folded just now meets another will when its time comes.
            if chance.random() < 0.1:
                yield Write(self.near(at_ms + chance.randrange(8 * HOUR_MS)), user, self.patch(about))
            if chance.random() < 0.15:
                yield Choose(self.near(at_ms + chance.randrange(8 * HOUR_MS)), user, self.choices(about))
            at_ms = self.near(at_ms + chance.choice((1, 1, 1, 3, 12)) * chance.randrange(40 * MINUTE_MS))

    def publish(
        self,
        at_ms: int,
        user: str | None,
        group: str | None,
        category: str | None,
        thread: str,
        tenant: str | None = None,
    ) -> Publish:
        chance = self.chance
        self.labels += 1
        at_ms = self.near(at_ms)
        send_at_ms = self.near(at_ms + chance.randrange(1, 40) * HOUR_MS) if chance.random() < 0.05 else 0
        deadline_ms = 0
        if category in _MAY_EXPIRE and chance.random() < 0.3:
            deadline_ms = self.near(max(at_ms, send_at_ms) + chance.randrange(1, 15) * HOUR_MS)
        data = {} if chance.random() < 0.2 else {"thread": thread}
        priority = chance.choice(_PRIORITIES)
        return Publish(
            at_ms, f"n{self.labels}", user, group, priority, category, tenant, data, send_at_ms, deadline_ms
        )  # fmt: skip
