"""The router's own parts on a real store, with a clock that is moved: what happens in a year takes minutes.

Planner, tasks, directory, ledger, throttles and digests are the ones that run in production. Replaced are the broker,
over which nothing is decided, and the clocks: the process's by a standing one, and the store's in the text of each
script, which reads the time from a key. A row is claimed when its time has come, as a worker does to whom the sweeper
brings it. Channels deliver at once.

What the store forgets after a real time is not forgotten in between, as a year takes less.
"""

import heapq
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any

from services.router.payloads.notifications import RealtimeGroup, RealtimeUser
from services.router.planning.compose import compose
from services.router.planning.digesting import Digesting
from services.router.planning.holding import Holding
from services.router.planning.lookups import Lookups
from services.router.planning.performer import Performer
from services.router.planning.planner import Planner
from services.router.planning.tasks import CloseDigest, Fold, Recheck, Task
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.errors import Reason
from shared.core.model import Delivery, Notification, Row, State, UserInbox
from shared.core.topics import Kind, Topics
from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category
from shared.directory.directory import Directory
from shared.directory.people import OwnChoices
from shared.directory.person_change import PersonChange
from shared.directory.rulebook import Rulebook
from shared.directory.tenants import Tenant
from shared.inbox.presence import Presence
from shared.ledger.answering import Answering
from shared.ledger.claims import ClaimVerdict, Finish, Outcome
from shared.ledger.digests import Added, Digests, Item, Opening
from shared.ledger.held import Held, Muted
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.call_queue import Script, type_of_arg
from shared.store.keys import SHARDS, Keys
from shared.store.replies import pairs
from shared.store.store import Store
from shared.store.windows import Windows
from tests.fakes.clock import StandingClock
from tests.sim import outcome as outcomes
from tests.sim.world import (
    CATEGORIES,
    DAILY_LIMIT,
    LIFETIME_S,
    TENANTS,
    Cancel,
    Change,
    Choose,
    Event,
    Publish,
    Read,
    Repeat,
    World,
    Write,
)

_LEASE = timedelta(minutes=1)
_RETENTION_S = 7 * 86400
_CLOCK_KEY = "simulated:clock"
_PRELUDE = f"""
local function simulated_time()
  local ms = tonumber(redis.call('GET', '{_CLOCK_KEY}'))
  return {{math.floor(ms / 1000), ms % 1000 * 1000}}
end
"""


@cache
def _simulated(script: Script) -> Script:
    return Script(script.name, _PRELUDE + script.source.replace("redis.call('TIME')", "simulated_time()"))


class SimulatedStore(Store):
    """A store whose scripts read a clock that ``set_clock`` sets."""

    def submit_script(self, script: Script, key: str, *args: type_of_arg, lasting: bool = False) -> Any:
        return super().submit_script(_simulated(script), key, *args, lasting=lasting)

    async def set_clock(self, now_ms: int) -> None:
        await self.command("SET", _CLOCK_KEY, now_ms)


class _WatchedDigests(Digests):
    """Tells which digests were opened: nothing else knows of their rows before a sweep."""

    opened: list[tuple[str, Opening]]

    async def add(self, group: str, item: Item, opening: Opening) -> Added:
        added = await super().add(group, item, opening)
        if added.opened and added.digest_id is not None:
            self.opened.append((added.digest_id, opening))
        return added


class System:
    """Runs a world."""

    def __init__(self, store: SimulatedStore, world: World) -> None:
        self._store, self._world = store, world
        self._clock = StandingClock(from_epoch_ms(world.begin_ms))
        self._keys = keys = Keys()
        self._directory = Directory(store, keys, self._clock)
        self._catalogues = Catalogues(store, keys)
        self._presence = Presence(store, keys)
        self.ledger = Ledger(store, keys, _RETENTION_S)
        self._digests = _WatchedDigests(store, keys, _RETENTION_S)
        self._digests.opened = []
        lookups = Lookups(
            self._directory,
            self._catalogues,
            keys,
            self._clock,
            300,
            rulebook=Rulebook(store, keys),
            windows=Windows(store),
            daily_limit=DAILY_LIMIT,
            # Which of those that wait for the same moment comes first is then known.
            release_within_s=0,
        )
        self._planner = Planner(lookups)
        digesting = Digesting(self._planner, self._digests)
        self._performer = Performer(
            self._planner,
            digesting,
            self.ledger,
            Topics(),
            self._clock,
            holding=Holding(Held(store, keys), Muted(store, keys), lookups),
            answering=Answering(self.ledger, self._directory, Muted(store, keys)),
        )
        self._later: list[tuple[int, int, int, Notification, Row]] = []
        self._number = count()
        self._ids: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._cancelled: set[str] = set()
        self.outcome = outcomes.Outcome()
        self.rows = 0

    async def run(self) -> outcomes.Outcome:
        """Let everything happen in its order, and then what waits."""
        await self._move_to(self._world.begin_ms)
        for name, record in CATEGORIES.items():
            await self._catalogues.put_category(name, Category.model_validate(record))
        for name, record in TENANTS.items():
            await self._catalogues.put_tenant(name, Tenant.model_validate(record))
        for entry in self._world.people.values():
            await self._directory.put(PersonChange.read(entry))
        for event in self._world.events:
            await self._until(event.at_ms)
            await self._move_to(event.at_ms)
            await self._happens(event)
        await self._until(self._world.end_ms)
        return self.outcome

    async def left_over(self) -> dict[str, int]:
        """Return what is not ended, by lane, and what the digests' accounts do not account for, by channel."""
        left = {lane: work.count for lane, work in (await open_work(self.ledger.store, self.ledger.keys)).items()}
        for shard in range(SHARDS):
            flat = await self._store.command("HGETALL", f"{self._keys.shard(shard)}:items")
            for name, items in pairs(flat):
                channel, _, what = name.decode().partition("|")
                sign = {"in": 1, "out": -1, "taken_out": -1, "waiting": 0}[what]
                digests = f"digests by {channel}"
                left[digests] = left.get(digests, 0) + sign * int(items)
        return {name: count for name, count in left.items() if count}

    @property
    def _now_ms(self) -> int:
        return epoch_ms(self._clock.now())

    async def _move_to(self, at_ms: int) -> None:
        self._clock.move((at_ms - self._now_ms) / 1000)
        await self._store.set_clock(at_ms)

    async def _until(self, at_ms: int) -> None:
        while self._later and self._later[0][0] <= at_ms:
            due_ms, _, _, notification, row = heapq.heappop(self._later)
            if due_ms > self._now_ms:
                await self._move_to(due_ms)
            await self._work(notification, row)

    async def _happens(self, event: Event) -> None:
        match event:
            case Publish():
                await self._publish(event)
            case Repeat():
                await self._publish(event.of)
            case Cancel() if event.label in self._ids:
                await self._cancel(event.label)
            case Read() if event.label in self._ids:
                # As ``shared.inbox`` writes down what was read.
                key = f"{self._keys.user(event.user)}:state"
                await self._store.command("HSET", key, self._ids[event.label], "r")
            case Write():
                await self._directory.put(PersonChange.read({"user_id": event.user, **event.patch}))
            case Choose():
                choices = OwnChoices.model_validate(event.choices)
                await self._directory.choose(event.user, lambda _person, _own: choices)
            case Change():
                await self._catalogues.put_category(event.category, Category.model_validate(event.record))

    async def _publish(self, event: Publish) -> None:
        """Do what the intake does with one publish."""
        said: dict[str, Any] = {
            "id": event.label, "title": event.label, "message": event.label, "priority": event.priority,
            "category": event.category, "tenant": event.tenant, "data": event.data,
        }  # fmt: skip
        for name, at_ms in (("send_at", event.send_at_ms), ("expires_at", event.deadline_ms)):
            if at_ms:
                said[name] = at_ms / 1000
        if event.user is not None:
            publish: RealtimeUser | RealtimeGroup = RealtimeUser.model_validate({**said, "user_id": event.user})
        else:
            publish = RealtimeGroup.model_validate({**said, "group_id": event.group})
        kind = Kind.REALTIME_USER if event.user is not None else Kind.REALTIME_GROUP
        draft = compose(kind, publish, now_ms=self._now_ms, lifetime_s=LIFETIME_S)
        known = await self._planner.look_up([draft])
        draft = self._planner.settled(draft, known)
        rows = self._planner.first_rows(draft, known)
        record = NewRecord(
            draft.notification, rows, fingerprint=draft.fingerprint, idempotency_key=draft.idempotency_key
        )
        verdict, notification_id = await self.ledger.accept(record)
        if verdict is Verdict.ACCEPTED:
            self._ids[event.label] = notification_id
            self._labels[notification_id] = event.label
            await self._take(draft.notification, rows)
        elif self._ids.get(event.label) != notification_id:
            msg = f"{event.label} is taken for another one"
            raise AssertionError(msg)

    async def _cancel(self, label: str) -> None:
        if label in self._cancelled:
            return
        self._cancelled.add(label)
        await self.ledger.cancel(self._ids[label])
        for _, _, _, notification, row in self._later:
            if self._labels.get(notification.id) == label:
                self._ends(notification, row, Reason.CANCELLED)

    async def _take(self, notification: Notification, rows: Iterable[NewRow]) -> None:
        """Note what has ended, do what is due, and keep the rest."""
        for new in rows:
            self.rows += 1
            if new.state.is_end:
                if notification.id not in self._labels:
                    await self._told(notification, new.row, new.reason)
                else:
                    self._ends(notification, new.row, new.reason)
            elif new.row.due_ms <= self._now_ms:
                await self._work(notification, new.row)
            else:
                self._keep(new.row.due_ms, notification, new.row)

    def _keep(self, due_ms: int, notification: Notification, row: Row) -> None:
        # A digest that ends when something is released closes first.
        closes = isinstance(row, Task) and isinstance(row.what, CloseDigest) and not row.what.number
        heapq.heappush(self._later, (due_ms, 0 if closes else 1, next(self._number), notification, row))

    async def _work(self, notification: Notification, row: Row) -> None:
        (claim,) = await self.ledger.claim([(notification.id, row.key)], _LEASE)
        if claim.verdict is ClaimVerdict.EXPIRED:
            self._ends(notification, row, Reason.EXPIRED)
            return
        if claim.verdict is not ClaimVerdict.CLAIMED:
            if self._labels.get(notification.id) not in self._cancelled:
                msg = f"{notification.content.title} {row.key}: {claim.verdict}"
                raise AssertionError(msg)
            return
        if isinstance(row, Task):
            outcome = await self._performer.perform(notification, row, claim)
        else:
            outcome = await self._deliver(notification, row)
        finished = await self.ledger.finish(claim, outcome)
        if finished is not Finish.FINISHED:
            msg = f"{notification.content.title} {row.key}: {finished}"
            raise AssertionError(msg)
        for digest_id, opening in self._digests.opened:
            ends_ms = int(
                await self._store.command("HGET", f"{self._keys.shard_of(digest_id)}:n:{digest_id}", "digest:ends")
            )
            self._keep(ends_ms, opening.notification, opening.close.row)
        self._digests.opened = []
        if isinstance(row, Task) and isinstance(row.what, CloseDigest) and outcome.reason is Reason.DIGEST_EMPTY:
            await self._told(notification, row, outcome.reason)
        await self._take(notification, outcome.then)
        if outcome.part is not None:
            part = outcome.part.notification
            self._labels[part.id] = self._labels[notification.id]
            await self._take(part, outcome.part.rows)

    async def _deliver(self, notification: Notification, row: Row) -> Outcome:
        """Do what a channel's worker does, with a provider that takes everything."""
        if not isinstance(row, Delivery):
            raise TypeError(row)
        if row.unless_seen and row.recipient and await self._presence.has_seen(row.recipient, notification.public_id):
            self._ends(notification, row, Reason.SEEN)
            return Outcome(State.SUPPRESSED, Reason.SEEN)
        label = self._labels.get(notification.id)
        if label is None:
            await self._told(notification, row, Reason.NONE)
        elif row.recipient is not None:
            heard = outcomes.Heard(row.recipient, row.channel.value, (label,), self._now_ms)
            if isinstance(row.address, UserInbox):
                heard = replace(heard, silent=bool(row.address.silent), live=row.address.live)
            self.outcome.hear(heard)
        return Outcome(State.DELIVERED, provider="simulated")

    async def _told(self, digest: Notification, row: Row, why: Reason) -> None:
        """Note a digest: with what it names as its items."""
        left_out = await self._store.command("SMEMBERS", f"{self._keys.shard_of(digest.id)}:left_out:{digest.id}")
        without = {member.decode() for member in left_out}
        members = await self._digests.members(digest.id)
        labels = sorted(self._labels[record] for record, key in members if f"{record}|{key}" not in without)
        user, channel = _whose(row)
        if not why:
            said = row.content.data["count"] if isinstance(row, Delivery) and row.content is not None else None
            if said != len(labels):
                msg = f"a digest of {len(labels)} items says that it has {said}"
                raise AssertionError(msg)
        self.outcome.digest(outcomes.Told(user, channel, tuple(labels), why.value, self._now_ms))

    def _ends(self, notification: Notification, row: Row, why: Reason) -> None:
        if isinstance(row, Task) and not isinstance(row.what, Recheck | Fold):
            return
        user, channel = _whose(row)
        self.outcome.end(self._labels[notification.id], user, channel, why.value, self._now_ms)


def _whose(row: Row) -> tuple[str, str]:
    if isinstance(row, Task) and isinstance(row.what, Recheck | Fold | CloseDigest):
        return row.what.user_id, row.what.channel.value
    if isinstance(row, Delivery) and row.recipient is not None:
        return row.recipient, row.channel.value
    raise TypeError(row)
