"""Whatever happens to digests in whatever order: what came in is in one of them, and the accounts say where it is."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from shared.core.model import State
from shared.ledger.audit import Audit, Depth
from shared.ledger.audit_digests import AuditDigests
from shared.ledger.audit_report import ItemAccounts
from shared.ledger.claims import Claim, Outcome
from shared.ledger.dead_letters import Answer, DeadLetters, Entry
from shared.ledger.digests import Added, Closed, Digests, Item, Opening, StillOpen
from shared.ledger.ledger import Ledger
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.digests import HOUR_MS, item, member, opening
from tests.records import LEASE, accept, delivery, now_ms

pytestmark = pytest.mark.real_store

T = TypeVar("T")

GROUPS = ("one", "another")
TEXTS = 2

OPENINGS: dict[str, dict[str, Any]] = {
    "fixed": {},
    "over": {"ends_ms": 1},
    "sliding": {"sliding": True, "at_most_ms": 2 * HOUR_MS},
    "first_now": {"first_now": True},
    "first_now_over": {"first_now": True, "ends_ms": 1},
}

groups = st.sampled_from(GROUPS)
kinds = st.sampled_from([*OPENINGS])
numbers = st.integers(0, 1000)


@dataclass(slots=True)
class ModelDigest:
    """What a digest must be."""

    group: str
    digest_id: str
    is_sliding: bool
    is_over: bool
    items: list[Item] = field(default_factory=list)
    state: str = "open"
    is_cancelled: bool = False
    left_out: set[tuple[str, str]] = field(default_factory=set)

    @property
    def takes_more(self) -> bool:
        return self.state == "open" and not self.is_cancelled


@dataclass(slots=True)
class Window:
    """A group's window: of a digest, or begun by an item that went out alone."""

    is_over: bool
    digest: ModelDigest | None = None


class DigestMachine(RuleBasedStateMachine):
    """Adds, closes, cancels and repeats, beside a model in plain Python."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(debug=False)
        self.run(self._open())
        self.windows: dict[str, Window] = {}
        self.digests_known: list[ModelDigest] = []
        self.places: dict[tuple[str, str], str | None] = {}
        self.items: list[tuple[str, Item]] = []
        self.cancelled: set[str] = set()
        self.claims: list[tuple[ModelDigest, Claim]] = []

    async def _open(self) -> None:
        self.store = Store(self.url)
        await self.store.command("FLUSHDB")
        self.ledger = Ledger(self.store, Keys(), record_retention_s=600)
        self.digests = Digests(self.store, Keys(), retention_s=600)
        self.letters = DeadLetters(self.store, Keys())

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    # What comes in.

    @rule(group=groups, kind=kinds, count=st.integers(1, 3))
    def add(self, group: str, kind: str, count: int) -> None:
        for _ in range(count):
            self._add(group, kind)

    def _add(self, group: str, kind: str) -> None:
        new = item(len(self.items), self.run(accept(self.ledger, delivery())))
        how = opening(group, items=TEXTS, **OPENINGS[kind])
        foreseen = self.run(self.digests.foresee(group, how, now_ms=now_ms()))
        expected = self._expect(group, new, how)
        assert self.run(self.digests.add(group, new, how)) == expected
        assert foreseen.alone == (expected.digest_id is None)
        if expected.digest_id is not None:
            record = f"{Keys().shard_of(expected.digest_id)}:n:{expected.digest_id}"
            ends_ms = int(self.run(self.store.command("HGET", record, "digest:ends")))
            # One that is over already has no time to come.
            assert abs(foreseen.ends_ms - ends_ms) < 5_000 or ends_ms < now_ms()
        self.items.append((group, new))
        self.places[member(new)] = expected.digest_id

    def _expect(self, group: str, new: Item, how: Opening) -> Added:
        window = self.windows.get(group)
        if window and window.digest and window.digest.takes_more:
            window.digest.items.append(new)
            if window.digest.is_sliding:
                window.is_over = window.digest.is_over = False
            return Added(window.digest.digest_id, opened=False)
        if window is None or window.is_over:
            window = self.windows[group] = Window(how.ends_ms is not None)
            if how.first_now:
                return Added(None, opened=False)
        window.digest = ModelDigest(group, how.notification.id, how.sliding, window.is_over, [new])
        self.digests_known.append(window.digest)
        return Added(how.notification.id, opened=True)

    @precondition(lambda self: self.items)
    @rule(number=numbers, kind=kinds)
    def add_again(self, number: int, kind: str) -> None:
        group, old = self.items[number % len(self.items)]
        added = self.run(self.digests.add(group, old, opening(group, **OPENINGS[kind])))
        assert added == Added(self.places[member(old)], opened=False)

    # What the time brings.

    @rule(group=groups)
    def time_passes(self, group: str) -> None:
        """Let a group's window be over, as it will be when its time has come."""
        window = self.windows.get(group)
        if window is None or window.is_over:
            return
        window.is_over = True
        base = Keys().shard(Digests.shard_of_group(group))
        # The name of a group's window is the scripts' affair; each of the groups here has a shard of its own.
        (pointer,) = self.run(self.store.command("KEYS", f"{base}:digest:*"))
        self.run(self.store.command("HSET", pointer, "ends", now_ms() - 10))
        if window.digest and window.digest.state == "open":
            window.digest.is_over = True
            record = f"{base}:n:{window.digest.digest_id}"
            self.run(self.store.command("HSET", record, "digest:ends", now_ms() - 10))

    @precondition(lambda self: self.digests_known)
    @rule(number=numbers)
    def close(self, number: int) -> None:
        self._close(self.digests_known[number % len(self.digests_known)])

    def _close(self, digest: ModelDigest) -> bool:
        found = self.run(self.digests.close(digest.digest_id))
        if digest.state == "open" and not digest.is_over:
            assert isinstance(found, StillOpen)
            assert found.ends_ms > now_ms()
            return False
        if digest.state == "open":
            window = self.windows.get(digest.group)
            if window and window.digest is digest:
                del self.windows[digest.group]
        digest.state = "closed"
        members = sorted((each.at_ms, "|".join(member(each))) for each in digest.items)
        assert found == Closed(
            tuple(each.text for each in digest.items[-TEXTS:]),
            len(digest.items),
            tuple((name[:36], name[37:]) for _, name in members),
            members[0][0],
            members[-1][0],
        )
        return True

    # What a router does, which may be killed after each step.

    @precondition(lambda self: self.digests_known)
    @rule(number=numbers, lives=st.booleans())
    def take(self, number: int, *, lives: bool) -> None:
        """Claim the row that closes a digest, for long or for a moment."""
        digest = self.digests_known[number % len(self.digests_known)]
        # Brought forward: closing looks at the digest's own end.
        self.run(self._due_now(digest.digest_id))
        lease = LEASE if lives else timedelta(milliseconds=1)
        (claim,) = self.run(self.ledger.claim([(digest.digest_id, "close")], lease))
        if claim.verdict == "claimed" and lives:
            self.claims.append((digest, claim))
        elif claim.verdict in ("cancelled", "worker_died"):
            self._dropped(digest)

    async def _due_now(self, digest_id: str) -> None:
        base = Keys().shard_of(digest_id)
        key = f"{base}:n:{digest_id}"
        status = await self.store.command("HGET", key, "s:close")
        parts = status.split(b"|")
        if parts[0] == b"p" and int(parts[6]) > now_ms() - 5:
            parts[6] = str(now_ms() - 10).encode()
            await self.store.command("HSET", key, "s:close", b"|".join(parts))
            await self.store.command("ZADD", f"{base}:due:router", int(parts[6]), f"{digest_id}|close")

    @precondition(lambda self: self.claims)
    @rule(number=numbers)
    def perform(self, number: int) -> None:
        digest, claim = self.claims.pop(number % len(self.claims))
        if not self._close(digest):
            again = self.run(self.ledger.finish(claim, Outcome(State.PENDING)))
            assert again == ("cancelled" if digest.is_cancelled else "finished")
            if digest.is_cancelled:
                self._dropped(digest)
            return
        self._leave_out(digest)
        finished = self.run(self.ledger.finish(claim, Outcome(State.DELIVERED, then=[delivery()])))
        assert finished == ("void" if digest.is_cancelled else "finished")

    @precondition(lambda self: any(digest.state == "closed" for digest in self.digests_known))
    @rule(number=numbers)
    def leave_out(self, number: int) -> None:
        closed = [digest for digest in self.digests_known if digest.state == "closed"]
        self._leave_out(closed[number % len(closed)])

    def _leave_out(self, digest: ModelDigest) -> None:
        off = self.run(self.digests.called_off([member(each) for each in digest.items]))
        assert off == {member(each) for each in digest.items if each.notification_id in self.cancelled}
        assert self.run(self.digests.leave_out(digest.digest_id, [*off])) == len(off - digest.left_out)
        digest.left_out |= off

    # What is called off.

    @precondition(lambda self: self.items)
    @rule(number=numbers)
    def cancel_item(self, number: int) -> None:
        _, old = self.items[number % len(self.items)]
        self.run(self.ledger.cancel(old.notification_id))
        self.cancelled.add(old.notification_id)

    @precondition(lambda self: self.digests_known)
    @rule(number=numbers)
    def cancel_digest(self, number: int) -> None:
        digest = self.digests_known[number % len(self.digests_known)]
        found = self.run(self.ledger.cancel(digest.digest_id))
        assert found is not None
        digest.is_cancelled = True
        if not found.still_open:
            self._dropped(digest)

    @precondition(lambda self: self.digests_known)
    @rule(number=numbers, is_replayed=st.booleans())
    def lose_the_row(self, number: int, *, is_replayed: bool) -> None:
        """Put away the row that closes a digest, and perhaps bring it back."""
        digest = self.digests_known[number % len(self.digests_known)]
        if any(held is digest for held, _ in self.claims):
            return
        if self.run(self.ledger.schedule.quarantine("router", [(digest.digest_id, "close")])):
            self._dropped(digest)
        base = Keys().shard_of(digest.digest_id)
        entry = Entry(0, "router", digest.digest_id, "close", base=base)
        if is_replayed and self.run(self.letters.replay(entry)) is Answer.REOPENED:
            assert self.run(self.ledger.claim([(digest.digest_id, "close")], LEASE))
            self._close(digest)

    def _dropped(self, digest: ModelDigest) -> None:
        if digest.state != "open":
            return
        digest.state = "dropped"
        window = self.windows.get(digest.group)
        if window and window.digest is digest and window.is_over:
            del self.windows[digest.group]

    # What must hold.

    @invariant()
    def the_accounts_balance(self) -> None:
        total, findings = self.run(self._audit())
        assert findings == []
        assert total == self._accounts()

    async def _audit(self) -> tuple[ItemAccounts, list[object]]:
        audit = AuditDigests(self.store)
        bases = {Keys().shard(Digests.shard_of_group(group)) for group in GROUPS}
        found = [await audit.check(base, everything=True) for base in bases]
        return sum((accounts["email"] for accounts, _ in found), ItemAccounts()), [
            each for _, some in found for each in some
        ]

    def _accounts(self) -> ItemAccounts:
        counts: Counter[str] = Counter()
        for digest in self.digests_known:
            counts[digest.state] += len(digest.items)
            counts["left_out"] += len(digest.left_out)
        return ItemAccounts(
            came_in=sum(place is not None for place in self.places.values()),
            left=counts["closed"] - counts["left_out"],
            taken_out=counts["dropped"] + counts["left_out"],
            waiting=counts["open"],
            digests=sum(digest.state == "open" for digest in self.digests_known),
        )

    def teardown(self) -> None:
        try:
            found: Counter[tuple[str, str]] = Counter()
            for digest in self.digests_known:
                members = self.run(self.digests.members(digest.digest_id))
                assert {self.places[each] for each in members} == {digest.digest_id}
                found.update(members)
            assert found == Counter(each for each, place in self.places.items() if place)
            report = self.run(Audit(self.store, Keys(), 86400).run(timedelta(minutes=5), Depth.RECORDS))
            assert report.findings == []
        finally:
            self.run(self.store.__aexit__())
            self.runner.close()


def test_each_item_is_in_one_digest_or_alone_in_whatever_order_things_happen(store: EmptyStore) -> None:
    assert len({Digests.shard_of_group(group) for group in GROUPS}) == len(GROUPS)
    machine = type("Machine", (DigestMachine,), {"url": store.url})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=60, stateful_step_count=40, suppress_health_check=[*HealthCheck]),
    )
