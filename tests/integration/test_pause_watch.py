"""What a process knows of pauses by hand, on a real store: whatever happens to the store, and however much waits."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from shared.core.errors import Reason, RouteUnfit, StoreUnavailable, TemporaryFailure
from shared.core.model import Channel, Content, Delivery, Notification, Priority, State
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.by_hand import LONGEST, MOST, REMEMBERED, ByHand, Pause, PauseKind, Target
from shared.delivery.loop import Deliverer
from shared.delivery.pause_watch import LOOKS_PER_S, PauseWatch
from shared.delivery.retry import RetryPolicy
from shared.delivery.standing import ProviderState, Standing
from shared.ledger.claims import Claim, ClaimVerdict, Outcome
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRow
from shared.ledger.schedule import LONGEST_PAUSED_WAIT_S
from shared.runtime.alive import Process
from shared.runtime.draining import under_way
from shared.store.keys import Keys, new_notification_id
from shared.store.replies import scored
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.fakes.clock import Seconds, StandingClock
from tests.fakes.provider import ScriptedProvider
from tests.records import LEASE, accept, delivery

pytestmark = pytest.mark.real_store

UNFIT = RouteUnfit(Reason.REJECTED, "cannot carry it")
EMAIL, SMTP, OTHER = Target(Channel.EMAIL), Target(Channel.EMAIL, "smtp"), Target(Channel.EMAIL, "smtp-2")


async def paused(hand: ByHand, target: Target, **more: Any) -> Pause:
    return await hand.pause(target, reason="the relay is moved", by="ops", **more)


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest_asyncio.fixture
async def hand(opened: Store) -> ByHand:
    return ByHand(opened, Keys())


class Watched:
    """A watch whose clock the test moves, and how often it said that a pause is over."""

    def __init__(self, store: Store, providers: Collection[str] = ("smtp", "smtp-2")) -> None:
        self.clock = Seconds()
        self.ends = 0
        self.watch = PauseWatch(store, Keys(), Channel.EMAIL, providers, on_end=self._count, monotonic_s=self.clock)

    def _count(self) -> None:
        self.ends += 1

    async def paused(self) -> set[str]:
        await self.watch.look()
        return {name for name in ("smtp", "smtp-2") if self.watch.is_paused(name)}


async def test_a_pause_is_known_at_the_next_look_and_over_at_its_end(opened: Store, hand: ByHand) -> None:
    watched = Watched(opened)
    assert await watched.paused() == set()
    await paused(hand, SMTP)
    assert await watched.paused() == {"smtp"}
    await paused(hand, EMAIL)
    assert await watched.paused() == {"smtp", "smtp-2"}
    assert await hand.resume(EMAIL, by="ops") is not None
    assert await watched.paused() == {"smtp"}
    assert await hand.resume(SMTP, by="ops") is not None
    assert await watched.paused() == set()
    # Once for the other one, and once for this one.
    assert watched.ends == 2


async def test_while_the_store_is_away_what_was_read_last_holds_until_its_end(store: EmptyStore) -> None:
    async with Store(store.url) as opened:
        await paused(ByHand(opened, Keys()), SMTP, length=timedelta(minutes=10))
        watched = Watched(opened)
        await watched.watch.look()
    # This one is closed.
    with pytest.raises(StoreUnavailable):
        await watched.watch.look()
    watched.clock.now_s += 599
    assert watched.watch.is_paused("smtp")
    watched.clock.now_s += 2
    assert not watched.watch.is_paused("smtp")


async def test_a_process_that_begins_lets_go_what_waited_for_a_pause_that_is_over(opened: Store, hand: ByHand) -> None:
    await paused(hand, SMTP)
    await hand.resume(SMTP, by="ops")
    watched = Watched(opened)
    await watched.watch.look()
    await watched.watch.look()
    assert watched.ends == 1
    never = Watched(opened, ["ses"])
    await never.watch.look()
    assert never.ends == 0


async def test_however_much_waits_it_looks_a_few_times_a_second_in_all(opened: Store, hand: ByHand) -> None:
    await paused(hand, EMAIL, length=timedelta(days=2))
    watched = Watched(opened)
    await watched.watch.look()
    waits = [watched.watch.wait(["smtp", "smtp-2"]).total_seconds() for _ in range(10_000)]
    assert min(waits) >= 1
    for second in range(2, 1000, 100):
        assert sum(second <= wait < second + 1 for wait in waits) <= LOOKS_PER_S + 1
    # A million look within an hour, and are brought forward at the end.
    more = [watched.watch.wait(["smtp", "smtp-2"]).total_seconds() for _ in range(100_000)]
    assert max(more) <= LONGEST_PAUSED_WAIT_S
    # What may have arrived is not brought forward.
    assert watched.watch.wait(["smtp", "smtp-2"], in_doubt=True) <= timedelta(minutes=5)


async def test_what_waits_looks_soon_after_the_end(opened: Store, hand: ByHand) -> None:
    await paused(hand, SMTP, length=timedelta(seconds=100))
    await paused(hand, OTHER, length=timedelta(days=1))
    watched = Watched(opened)
    await watched.watch.look()
    waits = [watched.watch.wait(["smtp", "smtp-2"]).total_seconds() for _ in range(3000)]
    assert max(waits) <= 100 + 30


async def test_a_damaged_record_pauses_nothing_and_is_told_once(
    opened: Store, hand: ByHand, caplog: pytest.LogCaptureFixture
) -> None:
    await paused(hand, OTHER)
    await opened.command("HSET", f"{Keys().providers}:paused", "email/smtp", '{"since_ms": "soon"}')
    watched = Watched(opened)
    with caplog.at_level(logging.ERROR):
        assert await watched.paused() == {"smtp-2"}
        assert await watched.paused() == {"smtp-2"}
    assert [record.message for record in caplog.records if record.name != "asyncio"] == ["pause by hand cannot be read"]
    assert [each.target for each in await hand.paused()] == [OTHER]
    # Writing it anew mends it.
    await paused(hand, SMTP)
    assert await watched.paused() == {"smtp", "smtp-2"}


async def test_something_else_in_the_place_of_the_records_stops_nothing(opened: Store) -> None:
    await opened.command("SET", f"{Keys().providers}:paused", "something else")
    watched = Watched(opened)
    assert await watched.paused() == set()


async def test_of_two_changes_at_the_same_moment_none_is_lost(hand: ByHand) -> None:
    targets = [Target(Channel.SMS, f"p{number}") for number in range(20)]
    await asyncio.gather(*(paused(hand, each) for each in targets), *(paused(hand, EMAIL) for _ in range(5)))
    found = await hand.paused()
    assert [each.target for each in found] == sorted([EMAIL, *targets])
    # One of two who resume it has done so.
    resumed = await asyncio.gather(*(hand.resume(EMAIL, by=f"ops-{number}") for number in range(2)))
    assert sum(each is not None for each in resumed) == 1


async def test_pausing_again_keeps_the_beginning_and_changes_the_rest(hand: ByHand) -> None:
    first = await paused(hand, SMTP)
    again = await hand.pause(SMTP, reason="longer", by="other", length=timedelta(hours=3), kind=PauseKind.DRAIN)
    assert again == Pause(SMTP, PauseKind.DRAIN, "longer", "other", first.since, again.until)
    assert again.until > first.until
    assert await hand.paused() == [again]
    await hand.resume(SMTP, by="ops")
    assert await hand.resume(SMTP, by="ops") is None
    later = await paused(hand, SMTP)
    assert later.since > first.since


async def test_the_records_have_a_bound_and_old_ones_go(opened: Store, hand: ByHand) -> None:
    for number in range(MOST):
        await paused(hand, Target(Channel.SMS, f"p{number}"))
    with pytest.raises(ValueError, match=f"{MOST} providers are paused already"):
        await paused(hand, SMTP)
    long_ago = datetime.now(UTC) - REMEMBERED - timedelta(hours=1)
    key = f"{Keys().providers}:paused"
    for number in range(MOST - 1):
        target = Target(Channel.SMS, f"p{number}")
        old = Pause(target, PauseKind.PAUSE, "old", "ops", long_ago - timedelta(hours=1), long_ago)
        await opened.command("HSET", key, str(target), old.written())
    await paused(hand, Target(Channel.SMS, f"p{MOST - 1}"))
    assert await opened.command("HLEN", key) == 1
    assert await paused(hand, SMTP)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"reason": " ", "by": "ops"}, "the reason is needed"),
        ({"reason": "r", "by": ""}, "who pauses it is needed"),
        ({"reason": "two\nlines", "by": "ops"}, "the reason must be one line"),
        ({"reason": "r" * 501, "by": "ops"}, "at most 500 characters"),
    ],
)
async def test_who_and_why_are_needed(hand: ByHand, said: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        await hand.pause(SMTP, reason=said["reason"], by=said["by"])
    assert await hand.paused() == []


async def test_an_end_is_in_the_future_and_not_too_far_away(hand: ByHand) -> None:
    for length in (timedelta(0), -timedelta(hours=1), LONGEST + timedelta(seconds=1)):
        with pytest.raises(ValueError, match="the end must be in the future"):
            await paused(hand, SMTP, length=length)
    with pytest.raises(ValueError, match="the end must be in the future"):
        await paused(hand, SMTP, until=datetime(2020, 1, 1, tzinfo=UTC))


async def test_at_the_end_the_critical_ones_are_brought_forward_first_and_nothing_else(opened: Store) -> None:
    ledger = Ledger(opened, Keys(), 600)
    normal = [delivery(f"email:n{number}") for number in range(150)]
    urgent = NewRow(delivery("email:urgent").row.model_copy(update={"priority": Priority.CRITICAL}))
    other = delivery("email:away")
    rows = [*normal, urgent, other]
    notification_id = await accept(ledger, *rows, shard=3)
    keys = [new.row.key for new in rows]
    for claim in await ledger.claim([(notification_id, key) for key in keys], LEASE):
        reason = Reason.NETWORK if claim.key == "email:away" else Reason.PAUSED
        wait = timedelta(seconds=3000 if claim.key == "email:urgent" else 600)
        await ledger.finish(claim, Outcome(State.PENDING, reason, wait, counts=False))
    assert await ledger.schedule.bring_forward("email") == 0
    assert await ledger.schedule.bring_forward_paused("email") == 151
    due = dict(scored(await opened.command("ZRANGE", f"{Keys().shard(3)}:due:email", 0, -1, "WITHSCORES")))
    order = [member.decode().partition("|")[2] for member, _ in sorted(due.items(), key=lambda each: each[1])]
    assert order[0] == "email:urgent"
    assert order[-1] == "email:away"
    # Another process finds nothing that is left.
    assert await ledger.schedule.bring_forward_paused("email") == 0
    # One after the other.
    brought = sorted(due.values())[:-1]
    assert brought[-1] - brought[0] == pytest.approx(150 * 20, abs=1500)


async def outcome_of(watch: PauseWatch, *providers: ScriptedProvider, in_doubt: bool = False) -> Outcome:
    deliverer = Deliverer(
        Channel.EMAIL, providers, attempt_deadline=timedelta(seconds=30), retry=RetryPolicy(), doubt_wait=timedelta(0),
        clock=StandingClock(), pauses=watch,
    )  # fmt: skip
    notification_id = new_notification_id()
    notification = Notification(
        id=notification_id, kind="email_send", priority=Priority.NORMAL, accepted_ms=0,
        content=Content(title="Subject", message="Body"),
    )  # fmt: skip
    row = delivery("email:ada", recipient="ada").row
    assert isinstance(row, Delivery)
    claim = Claim(notification_id, row.key, ClaimVerdict.CLAIMED, token=1, attempt=1, in_doubt=in_doubt)
    return await deliverer.perform(notification, row, claim)


async def test_what_the_other_provider_cannot_carry_waits_for_the_paused_one(opened: Store, hand: ByHand) -> None:
    await paused(hand, SMTP)
    watched = Watched(opened)
    await watched.watch.look()
    first, second = ScriptedProvider(name="smtp"), ScriptedProvider([UNFIT], name="smtp-2")
    outcome = await outcome_of(watched.watch, first, second)
    assert (outcome.state, outcome.reason, outcome.counts) == (State.PENDING, Reason.PAUSED, False)
    assert outcome.detail == "smtp-2 rejected cannot carry it"
    assert (len(first.attempts), len(second.attempts)) == (0, 1)


async def test_a_provider_that_is_paused_during_an_attempt_is_not_asked_next(opened: Store, hand: ByHand) -> None:
    watched = Watched(opened)
    await watched.watch.look()

    class Pausing(ScriptedProvider):
        async def send(self, attempt: Attempt) -> Receipt:
            await paused(hand, OTHER)
            await watched.watch.look()
            return await super().send(attempt)

    first = Pausing([TemporaryFailure(Reason.UNAVAILABLE)], name="smtp")
    second = ScriptedProvider(name="smtp-2")
    outcome = await outcome_of(watched.watch, first, second)
    assert (outcome.state, outcome.reason, outcome.provider) == (State.PENDING, Reason.UNAVAILABLE, "smtp")
    assert not second.attempts


async def test_what_may_have_arrived_stays_in_doubt_while_it_waits(opened: Store, hand: ByHand) -> None:
    await paused(hand, EMAIL)
    watched = Watched(opened)
    await watched.watch.look()
    outcome = await outcome_of(watched.watch, ScriptedProvider(name="smtp"), in_doubt=True)
    assert (outcome.reason, outcome.in_doubt) == (Reason.PAUSED, True)


def process(heard_s: float, silent_s: float = 0.0, **said: object) -> Process:
    at = datetime(2026, 1, 5, 9, tzinfo=UTC)
    standing = Standing("smtp", ProviderState.WELL, **said)  # type: ignore[arg-type]
    return Process(
        "email", uuid.uuid4().hex, "host", "1", at, at + timedelta(seconds=heard_s), silent_s, standings=(standing,)
    )


@pytest.mark.parametrize(
    ("what", "attempts", "is_over"),
    [
        (process(-1, is_paused_by_hand=True), 0, False),
        (process(1), 0, False),
        (process(1, is_paused_by_hand=True, in_flight=3), 3, False),
        (process(1, is_paused_by_hand=True), 0, True),
        # It has died, or is cut off.
        (process(-1, silent_s=30, in_flight=2), 2, False),
        (process(-1, silent_s=90, in_flight=2), 2, True),
    ],
)
def test_a_drain_is_over_when_each_process_has_said_so_since(what: Process, attempts: int, *, is_over: bool) -> None:
    paused_at = datetime(2026, 1, 5, 9, tzinfo=UTC)
    idle = process(1, is_paused_by_hand=True)
    for target in (EMAIL, SMTP):
        found = under_way([idle, what], target, paused_at)
        assert (found.attempts, found.is_over) == (attempts, is_over)
    # What is under way at another one does not matter.
    assert under_way([what], OTHER, paused_at).is_over
