"""Explains generated notifications, publishes them, and compares what was said with what the ledger then holds.

People live in cells of a few. Within a cell one thing happens after the other, because what a throttle counts and
which digests are open decides what comes next. Nobody is in two cells, so they go on side by side.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from carillon.publisher import Publisher, Receipt, Refused
from services.router.explaining.building import explainer
from services.router.explaining.deciding import Verdict
from services.router.explaining.explainer import Explanation
from services.router.explaining.rules import RouterRules
from shared.core.channels import ROUTER_LANE
from shared.core.clock import SystemClock, from_epoch_ms
from shared.core.model import Channel, State
from shared.core.topics import Topics
from shared.core.wall_clock import WEEKDAYS
from shared.directory.directory import Directory
from shared.directory.people import OwnChoices
from shared.directory.suppression import Cause, Suppressions, digest
from shared.inbox.presence import Presence
from shared.ledger.reader import Trace, TracedRow
from shared.store.keys import Keys
from shared.store.store import Store
from tests.waiting import eventually

DAILY_LIMIT = 5

# What the system must be started with.
SETTINGS = {
    "ROUTER_RELEASE_WITHIN_S": "0",
    "ROUTER_PERSON_DAILY_LIMIT": f"{DAILY_LIMIT}",
    "SMS_CAP_PER_NUMBER": "0",
    "SMS_CAP_PER_NUMBER_CRITICAL": "0",
    "SMS_CAP_PER_PREFIX": "0",
}
RULES = RouterRules(alert_escalation_after_s=300, lifetime_s=86400, person_daily_limit=DAILY_LIMIT, release_within_s=0)

CELL = 5
CATEGORIES = 40
TENANTS = 8
ADMINS = 2
# Cells side by side.
_AT_ONCE = 24
# Of whole hours from each other, so that no schedule comes while the test runs.
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Africa/Lagos")
# What is published, and how often.
_KINDS = {
    "user": 60, "group": 7, "groups": 4, "critical": 3, "warning": 5, "info": 4, "push": 7, "email": 5, "sms": 5,
}  # fmt: skip
# A held or folded row that waits for later than this is where it stays.
_STAYS = timedelta(seconds=60)
_TOLERANCE = timedelta(seconds=3)
_LATER = timedelta(seconds=3)
# What is sent without waiting for anything is explained without a time.
_AT_ONCE_TOO = ("send", "silent")
_ENDED = ("suppressed", "expired")
# What a channel says against an address leaves the planner's rule in the row.
_OF_ADDRESS = ("bounced", "opted_out")


class Heard(NamedTuple):
    """What becomes of one channel of one person; empty words for None."""

    user_id: str
    channel: str
    verdict: str
    reason: str
    rule: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What was explained otherwise than it happened; ``said`` and ``happened`` hold what only one of them has."""

    topic: str
    payload: Mapping[str, Any]
    said: Sequence[object]
    happened: Sequence[object]


@dataclass(slots=True)
class Result:
    """What was compared."""

    notifications: int = 0
    people: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Published:
    topic: str
    payload: Mapping[str, Any]
    explanation: Explanation
    receipt: Receipt
    closes: Mapping[str, datetime]


class Generator:
    """Makes categories, tenants, people and notifications.

    Args:
        seed: the same one makes the same world, apart from its times.
        part: of the world; each has its own numbers, so that it does not matter which one is made first.
    """

    def __init__(self, seed: int, part: str = "") -> None:
        self.random = random.Random(f"{seed}{part}")  # noqa: S311 - no secret
        self.name = f"{seed:x}"
        self.now = datetime.now(UTC)
        self.categories = [f"c-{self.name}-{number}" for number in range(CATEGORIES)]
        self.tenants = [f"t-{self.name}-{number}" for number in range(TENANTS)]
        # Nothing that closes at a whole hour may do so meanwhile.
        self.rhythms = ("instant", "hourly", "daily", "weekly") if self.now.minute < 40 else ("instant",)
        # An admin hears the alerts of all cells, so none of those may be counted or put together.
        self.plain_categories = self.categories[: CATEGORIES // 4]

    def often(self, share: float) -> bool:
        """Say yes as often as this."""
        return self.random.random() < share

    def channels(self, on: float, share: float) -> dict[str, bool]:
        """Switch some channels on or off."""
        return {channel.value: self.often(on) for channel in Channel if self.often(share)}

    def quiet_hours(self) -> dict[str, Any]:
        """Make quiet hours that are on, or not: far from where they begin and end."""
        zone = self.random.choice(_ZONES)
        hours = self.random.choice(((-2, 3), (-5, 1), (-1, 8), (2, 5), (-6, -2)))
        starts, ends = (self.now.astimezone(ZoneInfo(zone)) + timedelta(hours=each) for each in hours)
        window: dict[str, Any] = {"from": f"{starts:%H:%M}", "to": f"{ends:%H:%M}"}
        if self.often(0.3):
            window["days"] = self.random.sample(WEEKDAYS, self.random.randint(1, 7))
        return {"windows": [window], **({"timezone": zone} if self.often(0.7) else {})}

    def category(self, *, plain: bool = False) -> dict[str, Any]:
        """Make a category's record.

        Args:
            plain: it is neither counted nor put together.
        """
        record: dict[str, Any] = {
            "title": "Of what it is",
            "policy": self.random.choices(("opt_out", "opt_in", "required"), (6, 3, 2))[0],
            "channels": self.channels(0.7, 0.5),
        }
        if self.often(0.15):
            record["priority_at_most"] = self.random.choice(("low", "normal", "high"))
        if self.often(0.2):
            record["quiet_hours"] = "ignore"
        if not plain and self.often(0.5):
            record["throttle"] = self._throttle()
        if not plain and self.often(0.5):
            record["digest"] = self._digest()
        return record

    def _throttle(self) -> dict[str, Any]:
        return {
            "limit": self.random.randint(1, 3),
            "per": self.random.choice(("1h", "6h", "1d")),
            "then": self.random.choice(("drop", "hold", "fold")),
            **({"key": "data.thread"} if self.often(0.4) else {}),
        }

    def _digest(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"channels": self.random.sample(["email", "push", "sms"], self.random.randint(1, 3))}
        if self.often(0.3):
            minute = (self.now.minute + 30) % 60
            spec["schedule"] = {"at": f"{self.random.randint(0, 23):02}:{minute:02}"}
        else:
            spec["window"] = self.random.choice(("1h", "2h", "1d"))
            spec["mode"] = self.random.choice(("fixed", "sliding"))
        if self.often(0.4):
            spec["first"] = "now"
        if self.often(0.4):
            spec["key"] = "data.post"
        return spec

    def tenant(self) -> dict[str, Any]:
        """Make a tenant's record."""
        changed = self.random.sample(self.categories[len(self.plain_categories) :], 3)
        record: dict[str, Any] = {"title": "A customer", "categories": {}}
        for name in changed:
            changes: dict[str, Any] = {"channels": self.channels(0.5, 0.4)}
            if self.often(0.3):
                changes["policy"] = self.random.choice(("opt_out", "opt_in", "required"))
            if self.often(0.3):
                changes["throttle"] = self._throttle()
            record["categories"][name] = changes
        if self.often(0.4):
            record["timezone"] = self.random.choice(_ZONES)
        if self.often(0.4):
            record["quiet_hours"] = self.quiet_hours()
        return record

    def preferences(self, share: float) -> dict[str, Any]:
        """Choose some channels, and some for a category."""
        chosen: dict[str, Any] = self.channels(0.6, share)
        named: dict[str, Any] = {}
        for name in self.random.sample(self.categories, self.random.randint(0, 8)):
            named[name] = self.channels(0.5, 0.4)
            if self.often(0.3):
                named[name]["digest"] = self.random.choice(self.rhythms)
        return {**chosen, **({"categories": named} if named else {})}

    def _devices(self, user_id: str) -> list[dict[str, str]]:
        platforms = self.random.choices(("ios", "android"), k=self.random.choice((0, 1, 1, 2)))
        made = []
        for number, platform in enumerate(platforms):
            token = f"{self.random.getrandbits(256):064x}" if platform == "ios" else f"{user_id}-{number}"
            made.append({"platform": platform, "token": token})
        return made

    def person(self, user_id: str, groups: Sequence[str]) -> dict[str, Any]:
        """Make a person's record."""
        record: dict[str, Any] = {"groups": list(groups), "preferences": self.preferences(0.2)}
        if self.often(0.85):
            record["email"] = f"{user_id}@example.com"
        if self.often(0.6):
            record["phone"] = f"+1415555{self.random.randint(0, 9999):04}"
        if devices := self._devices(user_id):
            record["devices"] = devices
        if self.often(0.5):
            record["timezone"] = self.random.choice(_ZONES)
        return record | self._times()

    def _times(self) -> dict[str, Any]:
        record: dict[str, Any] = {}
        if self.often(0.2):
            record["quiet_hours"] = self.quiet_hours()
        if self.often(0.08):
            hours = self.random.choice((-1, 2, 30))
            record["snooze_until"] = (self.now + timedelta(hours=hours)).isoformat()
        return record

    def own(self) -> OwnChoices:
        """Make what a person has chosen."""
        return OwnChoices.model_validate({"preferences": self.preferences(0.15), **self._times()})

    def notification(self, cell: "Cell") -> tuple[str, dict[str, Any]]:
        """Make a notification for somebody of a cell: its topic and payload; ``send_at`` is filled in later."""
        user_id = self.random.choice(cell.people) if self.often(0.97) else f"nobody-{self.name}"
        kind = self.random.choices(list(_KINDS), list(_KINDS.values()))[0]
        said: dict[str, Any] = {"message": "What there is to say"}
        if kind not in ("critical", "warning", "info"):
            said["priority"] = self.random.choices(("low", "normal", "high", "critical"), (2, 5, 4, 1))[0]
        alert = "priority" not in said
        if self.often(0.7):
            # Often the same ones, so that throttles fill up and digests are open.
            known = self.plain_categories if alert else cell.categories if self.often(0.7) else self.categories
            said["category"] = self.random.choice(known) if self.often(0.96) else f"unknown-{self.name}"
        if not alert and self.often(0.3):
            said["tenant"] = self.random.choice(self.tenants) if self.often(0.95) else f"unknown-{self.name}"
        if self.often(0.15) and kind not in ("email", "sms"):
            said["channels"] = self.random.sample([each.value for each in Channel], self.random.randint(1, 3))
        if self.often(0.1):
            said["ttl_s"] = 900
        if self.often(0.02):
            said["send_at"] = None
        data = {"thread": self.random.randint(0, 1), "post": self.random.choice(("a", "b"))}
        if kind not in ("email", "sms"):
            said["data"] = data if self.often(0.98) else {"thread": {}, "post": []}
        match kind:
            case "user":
                return f"notifications/realtime/user/{user_id}", said
            case "group":
                return f"notifications/realtime/group/{cell.group}", said
            case "groups":
                return "notifications/realtime/broadcast", {**said, "target_groups": [cell.group, cell.half]}
            case "push":
                platform = self.random.choice(("ios", "android"))
                return f"notifications/push/mobile/{platform}", {**said, "user_id": user_id}
            case "email":
                mail = {"to": f"{user_id}@example.com", "subject": "Of what it is", "body": said.pop("message")}
                return "notifications/email/send", {**said, **mail}
            case "sms":
                return "notifications/sms/send", {**said, "phone": cell.phone}
            case _:
                return f"notifications/alerts/{kind}/{cell.alert_type}", said


@dataclass(frozen=True, slots=True)
class Cell:
    """A few people, two groups of them, and a type of alerts that some of them answer for."""

    people: Sequence[str]
    group: str
    half: str
    alert_type: str
    phone: str
    categories: Sequence[str]


class Comparison:
    """Compares on one system.

    Args:
        store: the system's.
    """

    def __init__(self, publisher: Publisher, store: Store, seed: int) -> None:
        self._publisher = publisher
        self._store = store
        self._keys = Keys()
        self._trace = Trace(store, self._keys)
        # Admins hear those of all cells.
        self._alerts = asyncio.Lock()
        self._presence = Presence(store, self._keys)
        self._seed = seed
        self._made = Generator(seed)
        self._explainer = explainer(store, self._keys, Topics(), RULES, SystemClock())
        self.result = Result()

    async def run(self, notifications: int, people: int) -> Result:
        """Explain and publish so many, and compare."""
        await self._write_catalogue()
        cells = [self._cell(number) for number in range(max(1, people // CELL))]
        places = asyncio.Semaphore(_AT_ONCE)
        plans = [(cell, notifications // len(cells) + (number < notifications % len(cells)))
                 for number, cell in enumerate(cells)]  # fmt: skip

        async def live(cell: Cell, count: int) -> list[_Published]:
            async with places:
                made = Generator(self._seed, cell.group)
                await self._write_people(cell, made)
                looking = [user_id for user_id in cell.people if made.often(0.15)]
                return [await self._one(*made.notification(cell), looking) for _ in range(count)]

        published = [one for some in await asyncio.gather(*(live(*plan) for plan in plans)) for one in some]

        async def compare(one: _Published) -> None:
            async with places:
                await self._compare(one)

        await asyncio.gather(*(compare(one) for one in published))
        self.result.notifications, self.result.people = len(published), len(cells) * CELL
        return self.result

    async def _write(self, topic: str, record: Mapping[str, Any]) -> None:
        await self._publisher.publish(topic, dict(record))

    async def _write_catalogue(self) -> None:
        made = self._made
        for name in made.categories:
            await self._write(f"directory/category/{name}", made.category(plain=name in made.plain_categories))
        for name in made.tenants:
            await self._write(f"directory/tenant/{name}", made.tenant())
        for number in range(ADMINS):
            user_id = f"admin-{made.name}-{number}"
            await self._write(f"directory/user/{user_id}", {**made.person(user_id, ()), "roles": ["admin"]})

    def _cell(self, number: int) -> Cell:
        name = f"{self._made.name}-{number}"
        people = [f"u-{name}-{place}" for place in range(CELL)]
        others = self._made.categories[len(self._made.plain_categories) :]
        often = [others[(number * 7 + step * 11) % len(others)] for step in range(2)]
        return Cell(people, f"g-{name}", f"h-{name}", f"a-{name}", f"+1415555{number % 10_000:04}", often)

    async def _write_people(self, cell: Cell, made: Generator) -> None:
        directory = Directory(self._store, self._keys)
        lists = [Suppressions(self._store, self._keys, each, SystemClock()) for each in (Channel.EMAIL, Channel.SMS)]
        for place, user_id in enumerate(cell.people):
            record = made.person(user_id, (cell.group, cell.half) if place % 2 else (cell.group,))
            await self._write(f"directory/user/{user_id}", record)
            if made.often(0.5):
                own = made.own()
                await directory.choose(user_id, lambda _person, _own, own=own: own)  # type: ignore[misc]
            for suppressions, address in zip(lists, (record.get("email"), record.get("phone")), strict=True):
                if address is not None and made.often(0.1):
                    category = made.random.choice([None, *made.categories[:10]])
                    cause = made.random.choice(list(Cause))
                    about = category if cause is Cause.UNSUBSCRIBED else None
                    await suppressions.add(digest(address), cause, category=about)
        users = made.random.sample(cell.people, 2)
        steps = [{"after_s": 0, "notify": ["oncall"]}, {"after_s": 900, "notify": ["admins"]}]
        await self._write(f"directory/oncall/{cell.alert_type}", {"users": users, "escalation": steps})

    async def _one(self, topic: str, payload: Mapping[str, Any], looking: Sequence[str]) -> _Published:
        """Explain one, publish it, and wait until it has changed what the next one meets."""
        for user_id in looking:
            await self._presence.keep(user_id, ["a session"])
        async with self._alerts if topic.startswith("notifications/alerts/") else nullcontext():
            if "send_at" in payload:
                payload = {**payload, "send_at": (datetime.now(UTC) + _LATER).isoformat()}
            explanation = await self._explainer.explain(topic, json.dumps(payload).encode())
            try:
                receipt = await self._publisher.publish(topic, dict(payload), timeout_s=60)
            except Refused as refused:
                receipt = refused.receipt
            closes = await self._done(topic, payload, explanation, receipt)
        return _Published(topic, payload, explanation, receipt, closes)

    async def _done(
        self, topic: str, payload: Mapping[str, Any], explanation: Explanation, receipt: Receipt
    ) -> dict[str, datetime]:
        """Wait for what is planned later; return when each digest that it came into closes, before others move that."""
        digests = any(one.verdict is Verdict.DIGEST for one in explanation.decided)
        if receipt.notification_id is None or not (digests or _is_crowd(topic) or "send_at" in payload):
            return {}
        notification_id = str(receipt.notification_id)
        await eventually(lambda: self._tasks_are_done(notification_id), 30, f"the tasks of {topic} {payload}")
        rows = [row async for row in self._trace.rows(notification_id)]
        return {row.digest: await self._closes_at(row.digest) for row in rows if row.digest is not None}

    async def _tasks_are_done(self, notification_id: str) -> bool:
        rows = [row async for row in self._trace.rows(notification_id) if row.lane == ROUTER_LANE]
        return not any(_is_open(row) and not _stays(row) for row in rows)

    async def _compare(self, one: _Published) -> None:
        explanation, receipt = one.explanation, one.receipt
        if explanation.refused is not None or receipt.error is not None:
            said = explanation.refused.code.value if explanation.refused is not None else "accepted"
            happened = receipt.error.code if receipt.error is not None else "accepted"
            self.result.verdicts["refused"] += 1
            if said != happened:
                self._differs(one, [said], [happened])
            return
        warned = {(each.field, each.problem) for each in explanation.warnings}
        told = {(each.field, each.problem) for each in receipt.warnings}
        if warned != told:
            self._differs(one, sorted(warned - told), sorted(told - warned))
        said_at = _said(one)
        happened_at = await self._happened(str(receipt.notification_id), one.closes)
        if _is_crowd(one.topic):
            # Of a crowd what planning ends at once is not written down.
            not_written = {heard for heard in said_at if heard.verdict in _ENDED and heard.reason not in _OF_ADDRESS}
            said_at = {heard: at for heard, at in said_at.items() if heard in happened_at or heard not in not_written}
        self.result.verdicts.update(heard.verdict for heard in happened_at)
        if said_at.keys() != happened_at.keys():
            self._differs(one, sorted(said_at.keys() - happened_at.keys()), sorted(happened_at.keys() - said_at.keys()))
            return
        for heard, at in said_at.items():
            other = happened_at[heard]
            now = at is None and other is not None and "send_at" not in one.payload and heard.verdict in _AT_ONCE_TOO
            is_same = abs(at - other) <= _TOLERANCE if at is not None and other is not None else at is other
            if not (now or is_same):
                self._differs(one, [heard, at], [heard, other])

    def _differs(self, one: _Published, said: Sequence[object], happened: Sequence[object]) -> None:
        self.result.differences.append(Difference(one.topic, one.payload, said, happened))

    async def _happened(self, notification_id: str, closes: Mapping[str, datetime]) -> dict[Heard, datetime | None]:
        """Wait until nothing moves any more, and read what the ledger holds."""

        async def settled() -> tuple[list[TracedRow]] | None:
            rows = [row async for row in self._trace.rows(notification_id)]
            return None if any(_is_open(row) and not _stays(row) for row in rows) else (rows,)

        found: dict[Heard, datetime | None] = {}
        (rows,) = await eventually(settled, 60, f"the deliveries of {notification_id}")
        for row in rows:
            heard = await self._heard(row, closes)
            if heard is not None:
                found[heard[0]] = heard[1]
        return found

    async def _heard(self, row: TracedRow, closes: Mapping[str, datetime]) -> tuple[Heard, datetime | None] | None:
        user_id, rule = row.recipient or "", row.rule or ""
        if row.task is not None:
            if not _is_open(row):
                return None
            if row.task["do"] == "escalate":
                return Heard("", "", "escalates", "", ""), row.until
            channel = str(row.task.get("channel", ""))
            return Heard(user_id, channel, "held" if row.task["do"] == "recheck" else "waits", "", rule), row.until
        if row.state is State.SUPPRESSED:
            if row.digest is not None:
                return Heard(user_id, row.lane, "digest", "", rule), closes.get(row.digest)
            if row.reason == "seen":
                return Heard(user_id, row.lane, "held", "", rule), row.since
            rule = "" if row.reason in _OF_ADDRESS else rule
            return Heard(user_id, row.lane, "suppressed", row.reason, rule), None
        if row.state is State.DELIVERED:
            verdict = "silent" if row.lane == Channel.REALTIME and await self._is_silent(row) else "send"
            # A moment for those who look at the screen.
            verdict = "held" if rule == "presence:focus" else verdict
            return Heard(user_id, row.lane, verdict, "", rule), row.since
        return Heard(user_id, row.lane, row.state.value, row.reason, rule), None

    async def _is_silent(self, row: TracedRow) -> bool:
        key = f"{self._keys.shard_of(row.record_id)}:n:{row.record_id}"
        address = json.loads(await self._store.command("HGET", key, f"d:{row.key}"))["address"]
        return address["to"] == "inbox" and (bool(address.get("silent")) or not address["live"])

    async def _closes_at(self, digest_id: str) -> datetime:
        # The row that closes it stays where it was when an item moves the end.
        key = f"{self._keys.shard_of(digest_id)}:n:{digest_id}"
        return from_epoch_ms(int(await self._store.command("HGET", key, "digest:ends")))


def _said(one: _Published) -> dict[Heard, datetime | None]:
    found: dict[Heard, datetime | None] = {}
    for each in one.explanation.decided:
        if each.verdict is Verdict.ESCALATES and (each.at is None or each.at - datetime.now(UTC) < _STAYS):
            # Its row is done: those of the next level were told.
            continue
        reason = each.reason or ""
        rule = "" if reason in _OF_ADDRESS else each.rule or ""
        found[Heard(each.user_id or "", each.channel, each.verdict.value, reason, rule)] = each.at
    return found


def _is_crowd(topic: str) -> bool:
    return topic.startswith(("notifications/realtime/group/", "notifications/realtime/broadcast"))


def _is_open(row: TracedRow) -> bool:
    return not row.state.is_end


def _stays(row: TracedRow) -> bool:
    return row.state is State.PENDING and row.until > datetime.now(UTC) + _STAYS


@asynccontextmanager
async def comparing(broker_url: str, store_url: str, seed: int) -> AsyncIterator[Comparison]:
    """Connect to a running system."""
    async with Publisher(broker_url) as publisher, Store(store_url) as store:
        yield Comparison(publisher, store, seed)
