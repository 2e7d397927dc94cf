"""The ledger's promises against a real Redis."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.router.planning.tasks import Fold, Recheck, Task
from shared.core.errors import Reason
from shared.core.incidents import AlertState
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.ledger.alerts import Answered
from shared.ledger.claims import Claim, ClaimVerdict, Outcome
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import GRACE_MS, NewRecord, NewRow
from shared.ledger.reader import Trace
from shared.ledger.schedule import SWEPT_BYTES, DueRow, EndedRow
from shared.store.keys import SHARDS, Keys, new_notification_id, shard_of_key
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

LEASE = timedelta(seconds=30)
SHORT_LEASE = timedelta(milliseconds=60)
DELIVERED = Outcome(State.DELIVERED, provider="smtp", provider_id="abc")


def now_ms() -> int:
    return round(time.time() * 1000)


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.fixture
def ledger(opened: Store) -> Ledger:
    return Ledger(opened, Keys(), record_retention_s=600)


def row(
    key: str = "email:0", *, due_ms: int = 0, lifetime_s: float = 60, priority: Priority = Priority.NORMAL
) -> NewRow:
    return NewRow(
        Delivery(
            key=key,
            channel=Channel.EMAIL,
            priority=priority,
            address=EmailAddress(email="user@example.com"),
            recipient=key.partition(":")[2],
            due_ms=due_ms,
            expires_ms=now_ms() + round(lifetime_s * 1000),
        )
    )


def record(*rows: NewRow, key: str = "", body: str = "", alert: AlertState | None = None, dedup: str = "") -> NewRecord:
    owner = dedup or key
    notification = Notification(
        id=new_notification_id(shard_of_key(owner) if owner else None),
        kind="email_send",
        priority=Priority.NORMAL,
        accepted_ms=now_ms(),
        content=Content(title="Subject", message="Body", data={"empty": None}),
    )
    return NewRecord(notification, rows, fingerprint=body, idempotency_key=key, dedup_key=dedup, alert=alert)


async def claim(ledger: Ledger, accepted: NewRecord, key: str = "email:0", lease: timedelta = LEASE) -> Claim:
    (found,) = await ledger.claim([(accepted.notification.id, key)], lease)
    return found


async def sweep(ledger: Ledger, *arguments: Any, **options: Any) -> list[DueRow]:
    """What a sweep hands out; nothing ends in it."""
    swept = await ledger.schedule.sweep(*arguments, **options)
    assert swept.ended == []
    return swept.due


async def open_rows(ledger: Ledger) -> int:
    return (await open_work(ledger.store, ledger.keys))["email"].count


async def test_the_same_key_is_the_same_notification_and_another_body_is_refused(ledger: Ledger) -> None:
    first = record(row(), key="order-1", body="a")
    assert await ledger.accept(first) == (Verdict.ACCEPTED, first.notification.id)
    assert await ledger.accept(record(row(), key="order-1", body="a")) == (Verdict.DUPLICATE, first.notification.id)
    assert await ledger.accept(record(row(), key="order-1", body="b")) == (Verdict.CONFLICT, first.notification.id)
    assert await open_rows(ledger) == 1


async def test_accepting_the_same_record_again_changes_nothing(ledger: Ledger) -> None:
    once = record(row(), key="order-2", body="a")
    assert await ledger.accept(once) == await ledger.accept(once) == (Verdict.ACCEPTED, once.notification.id)
    assert await open_rows(ledger) == 1


async def test_a_thousand_tries_with_one_key_make_one_notification(ledger: Ledger) -> None:
    answers = await asyncio.gather(*(ledger.accept(record(row(), key="order-3", body="a")) for _ in range(1_000)))
    assert len({notification_id for _, notification_id in answers}) == 1
    assert [verdict for verdict, _ in answers].count(Verdict.ACCEPTED) == 1
    assert await open_rows(ledger) == 1


async def test_an_open_alert_with_the_same_dedup_key_is_not_told_again_until_it_is_resolved(ledger: Ledger) -> None:
    first = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    await ledger.accept(first)
    again = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    assert await ledger.accept(again) == (Verdict.DUPLICATE, first.notification.id)
    assert await ledger.alerts.resolve(first.notification.id)
    assert (await ledger.accept(again))[0] is Verdict.ACCEPTED


async def test_a_row_is_in_one_workers_hands_at_a_time(ledger: Ledger) -> None:
    accepted = record(row())
    await ledger.accept(accepted)
    claims = await asyncio.gather(*(claim(ledger, accepted) for _ in range(20)))
    verdicts = [found.verdict for found in claims]
    assert verdicts.count(ClaimVerdict.CLAIMED) == 1
    assert verdicts.count(ClaimVerdict.HELD) == 19


async def test_a_delivered_row_ends_once_and_its_record_expires_only_then(ledger: Ledger, opened: Store) -> None:
    accepted = record(row("email:0"), row("email:1"))
    await ledger.accept(accepted)
    key = f"{Keys().shard_of(accepted.notification.id)}:n:{accepted.notification.id}"
    first = await claim(ledger, accepted, "email:0")
    assert (first.attempt, first.in_doubt) == (1, False)
    assert await ledger.finish(first, DELIVERED) == "finished"
    assert await opened.command("TTL", key) == -1
    assert (await claim(ledger, accepted, "email:0")).verdict == "ended"
    second = await claim(ledger, accepted, "email:1")
    assert await ledger.finish(second, DELIVERED) == "finished"
    assert 0 < await opened.command("TTL", key) <= 600
    assert await open_rows(ledger) == 0


async def test_a_number_that_no_integer_of_the_store_holds_is_written_as_it_was(ledger: Ledger, opened: Store) -> None:
    accepted = record(row())
    await ledger.accept(accepted)
    name = f"{Keys().shard_of(accepted.notification.id)}:n:{accepted.notification.id}"
    status = (await opened.command("HGET", name, "s:email:0")).decode().split("|")
    status[8] = "100000000000000000000"
    await opened.command("HSET", name, "s:email:0", "|".join(status))
    assert (await claim(ledger, accepted)).verdict == "claimed"
    assert (await opened.command("HGET", name, "s:email:0")).decode().split("|")[8] == status[8]


async def test_a_lapsed_lease_is_taken_over_in_doubt_and_the_late_finish_is_refused(ledger: Ledger) -> None:
    accepted = record(row())
    await ledger.accept(accepted)
    zombie = await claim(ledger, accepted, lease=SHORT_LEASE)

    async def taken_over() -> Claim | None:
        found = await claim(ledger, accepted)
        return found if found.verdict == "claimed" else None

    heir = await eventually(taken_over)
    assert (heir.attempt, heir.in_doubt) == (2, True)
    assert heir.token > zombie.token
    assert await ledger.finish(zombie, DELIVERED) == "stale"
    assert await ledger.finish(heir, Outcome(State.DEAD_LETTERED, Reason.REJECTED)) == "finished"
    assert await ledger.finish(heir, DELIVERED) == "stale"


async def test_what_is_not_wanted_any_more_and_was_in_a_dead_workers_hands_says_so(ledger: Ledger) -> None:
    accepted = record(row())
    await ledger.accept(accepted)
    await claim(ledger, accepted, lease=SHORT_LEASE)
    await ledger.cancel(accepted.notification.id)

    async def ended() -> bool:
        return bool((await ledger.schedule.sweep(100)).ended)

    await eventually(ended)
    (traced,) = [each async for each in Trace(ledger.store, ledger.keys).rows(accepted.notification.id)]
    assert (traced.state, traced.reason) == (State.SUPPRESSED, Reason.CANCELLED)
    # It may have arrived.
    assert [(attempt.outcome, attempt.reason) for attempt in traced.attempts] == [("unknown", "lease_lapsed")]


async def test_a_retry_is_claimed_not_before_its_time(ledger: Ledger) -> None:
    accepted = record(row())
    await ledger.accept(accepted)
    failed = Outcome(State.PENDING, Reason.NETWORK, timedelta(milliseconds=150))
    assert await ledger.finish(await claim(ledger, accepted), failed) == "finished"
    started = time.monotonic()
    assert (await claim(ledger, accepted)).verdict == "early"

    async def again() -> Claim | None:
        found = await claim(ledger, accepted)
        return found if found.verdict == "claimed" else None

    second = await eventually(again)
    assert time.monotonic() - started >= 0.14
    assert (second.attempt, second.in_doubt) == (2, False)


async def test_an_attempt_that_does_not_count_and_a_doubt_are_remembered(ledger: Ledger) -> None:
    accepted = record(row())
    await ledger.accept(accepted)
    paused = Outcome(State.PENDING, Reason.AUTH, counts=False)
    await ledger.finish(await claim(ledger, accepted), paused)
    again = await claim(ledger, accepted)
    assert (again.attempt, again.in_doubt) == (1, False)
    await ledger.finish(again, Outcome(State.PENDING, Reason.TIMEOUT, in_doubt=True))
    third = await claim(ledger, accepted)
    assert (third.attempt, third.in_doubt) == (2, True)


async def test_an_expired_row_ends_at_its_claim_and_a_retry_does_not_outlive_it(ledger: Ledger) -> None:
    accepted = record(row(lifetime_s=2))
    await ledger.accept(accepted)
    hour = Outcome(State.PENDING, Reason.NETWORK, timedelta(hours=1))
    await ledger.finish(await claim(ledger, accepted), hour)

    async def ended() -> bool:
        return (await claim(ledger, accepted)).verdict == "expired"

    await eventually(ended, within_s=30)
    assert await open_rows(ledger) == 0


async def test_two_sweepers_share_what_is_due_and_a_backlog_is_not_multiplied(ledger: Ledger) -> None:
    due_ms = now_ms() + 1_500
    scheduled = [record(row(due_ms=due_ms)) for _ in range(40)]
    await asyncio.gather(*(ledger.accept(each) for each in scheduled))
    assert await sweep(ledger, 100) == []
    found: list[str] = []

    async def all_found() -> bool:
        for due in await asyncio.gather(sweep(ledger, 3), sweep(ledger, 3)):
            found.extend(one.notification_id for one in due)
        return len(found) >= 40

    await eventually(all_found)
    # Nobody has claimed them, and still they are not handed out again before their grace is over.
    assert sorted(found) == sorted(each.notification.id for each in scheduled)
    assert await sweep(ledger, 100) == []


async def test_a_sweep_takes_long_texts_in_portions_and_leaves_none(ledger: Ledger) -> None:
    text = Content(title="Subject", message="x" * 60_000)
    rows = [NewRow(row(f"email:{number}").row.model_copy(update={"content": text})) for number in range(40)]
    await ledger.accept(record(*rows))
    waiting = {new.row.key for new in rows if new.waits}
    found: list[str] = []
    portions = 0

    async def all_swept() -> bool:
        nonlocal portions
        due = (await ledger.schedule.refill(100)).due
        assert sum(len(each.content) + len(each.spec) for each in due) < SWEPT_BYTES + 70_000
        found.extend(each.key for each in due if not each.is_lost)
        portions += 1
        return len(found) >= len(waiting)

    await eventually(all_swept, what="every row that waits")
    assert sorted(found) == sorted(waiting)
    assert portions >= len(waiting) * 60_000 // SWEPT_BYTES


async def test_a_sweep_ahead_tells_when_each_row_is_due(ledger: Ledger) -> None:
    accepted = record(row("email:soon", due_ms=now_ms() + 2_000), row("email:later", due_ms=now_ms() + 60_000))
    await ledger.accept(accepted)
    (soon,) = await sweep(ledger, 10, timedelta(seconds=10))
    assert soon.key == "email:soon"
    assert 0 < soon.wait_s <= 2
    # Nobody else finds it before it is due and its grace is over.
    nearly = timedelta(seconds=soon.wait_s, milliseconds=GRACE_MS[Priority.NORMAL] - 500)
    assert await sweep(ledger, 10, nearly) == []
    assert [due.key for due in await sweep(ledger, 10, nearly + timedelta(seconds=1))] == ["email:soon"]
    assert (await claim(ledger, accepted, "email:soon")).verdict == "early"


async def test_all_that_becomes_due_in_the_same_millisecond_is_brought_forward(ledger: Ledger) -> None:
    keys = [f"email:{number}" for number in range(250)]
    accepted = record(*(row(key) for key in keys))
    await ledger.accept(accepted)
    for key in keys:
        # Every fifth one stays: its provider has asked to wait.
        asked = int(key.partition(":")[2]) % 5 == 0
        outcome = Outcome(State.PENDING, Reason.UNAVAILABLE, timedelta(seconds=40), asked=asked)
        await ledger.finish(await claim(ledger, accepted, key), outcome)
    base = ledger.keys.shard_of(accepted.notification.id)
    members = [f"{accepted.notification.id}|{key}" for key in keys]
    same = now_ms() + 40_000
    await ledger.store.command("ZADD", f"{base}:due:email", *(part for member in members for part in (same, member)))
    assert await ledger.schedule.bring_forward("email") == 200


async def test_what_waits_for_a_provider_is_brought_forward_and_nothing_else(
    ledger: Ledger,
) -> None:
    # All are on one shard, and all are to be handed over.
    ledger.backlog.shard_rows = 1_000
    reasons = {"email:away": Reason.UNAVAILABLE, "email:paused": Reason.AUTH, "email:asked": Reason.UNAVAILABLE}
    planned = row("email:planned", due_ms=now_ms() + 60_000)
    crowd = [f"email:{number}" for number in range(250)]
    accepted = record(planned, *(row(key) for key in (*reasons, "email:doubt", *crowd)))
    await ledger.accept(accepted)
    for key in (*reasons, "email:doubt", *crowd):
        wait = timedelta(seconds=40)
        outcome = Outcome(
            State.PENDING,
            reasons.get(key, Reason.NETWORK),
            wait,
            in_doubt=key == "email:doubt",
            asked=key == "email:asked",
        )
        await ledger.finish(await claim(ledger, accepted, key), outcome)
    assert await sweep(ledger, 1_000, timedelta(seconds=30)) == []
    assert await ledger.schedule.bring_forward("sms") == 0
    assert await ledger.schedule.bring_forward("email") == 2 + len(crowd)
    due = await sweep(ledger, 1_000, timedelta(seconds=30))
    assert {one.key for one in due} == {"email:away", "email:paused", *crowd}
    # One after the other, so that they do not take everything at once that others need.
    waits_s = sorted(one.wait_s for one in due)
    assert waits_s[-1] - waits_s[0] == pytest.approx(len(due) * 0.02, abs=1)


async def test_a_sweep_gives_back_what_was_written(ledger: Ledger) -> None:
    due = row(due_ms=now_ms() + 20, priority=Priority.HIGH)
    accepted = record(due)
    await ledger.accept(accepted)
    (swept,) = await eventually(lambda: sweep(ledger, 10))
    assert (swept.lane, swept.priority, swept.key) == ("email", Priority.HIGH, "email:0")
    assert Notification.model_validate_json(swept.content) == accepted.notification
    assert Delivery.model_validate_json(swept.spec) == due.row


async def test_a_lost_job_is_driven_again_after_its_grace(ledger: Ledger) -> None:
    accepted = record(row(priority=Priority.CRITICAL))
    await ledger.accept(accepted)
    started = time.monotonic()
    await eventually(lambda: sweep(ledger, 10), within_s=30)
    assert time.monotonic() - started >= GRACE_MS[Priority.CRITICAL] / 1000 - 0.1


async def test_a_lane_is_probed_with_one_row_that_waits_no_longer_each_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 100)
    await ledger.accept(record(*(row(f"email:{number}") for number in range(20))))

    async def probed() -> int:
        return len(await sweep(ledger, 10, probed={"email"}))

    for _ in range(30):
        assert await eventually(probed) == 1

    # Had each probe doubled the grace, most of them would wait for some seconds now.
    assert len(await sweep(ledger, 20, timedelta(seconds=1))) == 20


async def test_a_cancellation_ends_what_has_not_left(ledger: Ledger) -> None:
    accepted = record(row("email:0"), row("email:1"), row("email:2", due_ms=now_ms() + 60_000))
    await ledger.accept(accepted)
    in_hand = await claim(ledger, accepted, "email:0")
    cancelled = await ledger.cancel(accepted.notification.id)
    assert cancelled is not None
    assert sorted(cancelled.ended) == [("email", "email", "1"), ("email", "email", "2")]
    assert cancelled.still_open == 1
    assert (await claim(ledger, accepted, "email:1")).verdict == "ended"
    assert await ledger.finish(in_hand, DELIVERED) == "finished"
    assert await open_rows(ledger) == 0
    assert await ledger.cancel(new_notification_id()) is None
    assert await ledger.cancel("no-such-id") is None


async def test_a_retry_of_a_cancelled_notification_is_not_made(ledger: Ledger) -> None:
    accepted = record(row())
    await ledger.accept(accepted)
    in_hand = await claim(ledger, accepted)
    await ledger.cancel(accepted.notification.id)
    assert await ledger.finish(in_hand, Outcome(State.PENDING, Reason.NETWORK)) == "cancelled"
    assert (await claim(ledger, accepted)).verdict == "ended"
    assert await open_rows(ledger) == 0


async def test_what_has_not_left_when_an_alert_is_answered_is_not_sent_any_more(ledger: Ledger) -> None:
    rows = [row(f"email:{name}", due_ms=due_ms) for name, due_ms in
            (("left", 0), ("retried", 0), ("held", now_ms() + 3_600_000))]  # fmt: skip
    accepted = record(*rows, alert=AlertState.OPEN)
    await ledger.accept(accepted)
    left, retried = [await claim(ledger, accepted, f"email:{name}") for name in ("left", "retried")]
    assert await ledger.alerts.acknowledge(accepted.notification.id, "left", "mine", must_be_told=True)
    # What was in hand may have arrived, and then says so; what failed is not tried again.
    assert await ledger.finish(left, DELIVERED) == "finished"
    assert await ledger.finish(retried, Outcome(State.PENDING, Reason.NETWORK)) == "acknowledged"
    # What waited for later ends now, whether or not anybody works on that channel.
    (held,) = (await ledger.schedule.sweep(10)).ended
    assert (held.key, held.state, held.reason) == ("email:held", State.SUPPRESSED, Reason.ACKNOWLEDGED)
    assert await open_rows(ledger) == 0


async def test_time_ends_a_row_that_nobody_works_on(ledger: Ledger) -> None:
    waiting, taken = record(row(lifetime_s=0.2)), record(row(lifetime_s=0.2))
    for one in (waiting, taken):
        await ledger.accept(one)
    # The worker that has one of them never comes back.
    assert (await claim(ledger, taken, lease=SHORT_LEASE)).verdict == "claimed"
    ended: list[EndedRow] = []

    async def both() -> bool:
        ended.extend((await ledger.schedule.sweep(10, probed={"email"})).ended)
        return len(ended) == 2

    await eventually(both, within_s=30)
    assert {(one.notification_id, one.state, one.reason) for one in ended} == {
        (one.notification.id, State.EXPIRED, Reason.EXPIRED) for one in (waiting, taken)
    }
    assert await open_rows(ledger) == 0


async def test_time_ends_a_row_behind_many_others_on_a_lane_where_nobody_works(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GRACE_MS, Priority.NORMAL, 1)
    # All on one shard and due. Of such a lane a sweep hands out one.
    many = 150
    key = next(f"many{number}" for number in range(1000) if shard_of_key(f"many{number}") == shard_of_key("late"))
    await ledger.accept(record(*(row(f"email:{number}") for number in range(many)), key=key))
    late = record(row(lifetime_s=0.01), key="late")
    await ledger.accept(late)
    ended: list[EndedRow] = []
    sweeps = 0

    async def has_ended() -> bool:
        nonlocal sweeps
        sweeps += 1
        swept = await ledger.schedule.sweep(100, probed={"email"})
        assert len(swept.due) <= 1
        ended.extend(swept.ended)
        return bool(ended)

    await eventually(has_ended, within_s=30)
    assert [(one.notification_id, one.reason) for one in ended] == [(late.notification.id, Reason.EXPIRED)]
    assert sweeps < many


async def test_a_row_in_hand_is_left_to_its_worker_beyond_its_deadline(ledger: Ledger) -> None:
    accepted = record(row(lifetime_s=0.01))
    await ledger.accept(accepted)
    in_hand = await claim(ledger, accepted)
    if in_hand.verdict == "claimed":
        assert (await ledger.schedule.sweep(10, timedelta(minutes=5))).ended == []
        assert await ledger.finish(in_hand, DELIVERED) == "finished"


async def _lapse(ledger: Ledger, *accepted: NewRecord) -> list[Claim]:
    """Claim rows together, as one worker does, and let it die; those whose time has not come are waited for."""
    claims: dict[str, Claim] = {}

    async def all_answered() -> bool:
        wanted = [(one.notification.id, "email:0") for one in accepted if one.notification.id not in claims]
        for found in await ledger.claim(wanted, SHORT_LEASE):
            if found.verdict not in ("early", "held"):
                claims[found.notification_id] = found
        return len(claims) == len(accepted)

    await eventually(all_answered, within_s=60)
    return list(claims.values())


async def test_a_delivery_over_which_workers_die_becomes_a_dead_letter_and_its_neighbours_do_not(
    ledger: Ledger,
) -> None:
    """Two rows are in the same hands at first. What kills the worker is claimed again and again."""
    poison, innocent = (record(row(priority=Priority.CRITICAL)) for _ in range(2))
    for one in (poison, innocent):
        await ledger.accept(one)
    for _ in range(2):
        assert {found.verdict for found in await _lapse(ledger, poison, innocent)} == {"claimed"}
    verdicts = [(await _lapse(ledger, poison))[0].verdict for _ in range(4)]
    assert verdicts == ["claimed", "claimed", "claimed", "worker_died"]
    # After two lapses each waits for a time of its own.
    (later,) = await _lapse(ledger, innocent)
    assert later.verdict == "claimed"
    assert later.in_doubt
    trace = Trace(ledger.store, Keys())
    (letter,) = await trace.dead_letters(10)
    assert (letter.notification_id, letter.row and letter.row.reason) == (poison.notification.id, "worker_died")


async def test_an_outcome_says_that_a_worker_lives(ledger: Ledger) -> None:
    accepted = record(row(priority=Priority.CRITICAL))
    await ledger.accept(accepted)
    for _ in range(7):
        (taken,) = await _lapse(ledger, accepted)
        assert taken.verdict == "claimed"
        # Another one takes it, fails, and says so.
        await asyncio.sleep(SHORT_LEASE.total_seconds())
        (again,) = await _lapse(ledger, accepted)
        assert again.verdict == "claimed"
        assert await ledger.finish(again, Outcome(State.PENDING, Reason.NETWORK)) == "finished"


async def test_a_resolve_keeps_who_acknowledged(ledger: Ledger, opened: Store) -> None:
    trace = Trace(opened, Keys())
    accepted, earlier = (record(row(), alert=AlertState.OPEN) for _ in range(2))
    for one in (accepted, earlier):
        await ledger.accept(one)
    await ledger.alerts.acknowledge(accepted.notification.id, "user123", "mine")
    # As the release before wrote it.
    await opened.command(
        "HSET", f"{Keys().shard_of(earlier.notification.id)}:n:{earlier.notification.id}",
        "alert", "acknowledged", "alert_by", "user123", "alert_note", "mine", "alert_at", now_ms(),
    )  # fmt: skip
    for one in (accepted, earlier):
        found = await trace.record(one.notification.id)
        assert found is not None
        assert (found.alert, found.acknowledged_by, found.resolved_at) == ("acknowledged", "user123", None)
        assert await ledger.alerts.resolve(one.notification.id, "over")
        found = await trace.record(one.notification.id)
        assert found is not None
        assert (found.alert, found.acknowledged_by) == ("resolved", "user123")
        assert found.acknowledged_at is not None
        assert found.resolved_at is not None
        assert found.resolved_at >= found.acknowledged_at


async def _cancelled(ledger: Ledger, first: NewRecord) -> None:
    await ledger.cancel(first.notification.id)


async def _forgotten(ledger: Ledger, first: NewRecord) -> None:
    await ledger.store.command("DEL", f"{Keys().shard_of(first.notification.id)}:n:{first.notification.id}")


async def _failed(ledger: Ledger, first: NewRecord) -> None:
    await ledger.finish(await claim(ledger, first), Outcome(State.DEAD_LETTERED, Reason.REJECTED))


@pytest.mark.parametrize("became", [_cancelled, _forgotten, _failed])
async def test_an_alert_that_tells_nobody_any_more_does_not_swallow_the_next_one(
    ledger: Ledger, became: Callable[[Ledger, NewRecord], Awaitable[None]]
) -> None:
    first = record(row(), row("email:held", due_ms=now_ms() + 3_600_000), alert=AlertState.OPEN, dedup="db|disk")
    if became is _failed:
        first = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    await ledger.accept(first)
    following = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    assert await ledger.accept(following) == (Verdict.DUPLICATE, first.notification.id)
    await became(ledger, first)
    assert (await ledger.accept(following))[0] is Verdict.ACCEPTED
    # From now on that one is the open alert.
    again = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    assert await ledger.accept(again) == (Verdict.DUPLICATE, following.notification.id)


@pytest.mark.parametrize(
    "waits",
    [
        Recheck(user_id="ada", channel=Channel.EMAIL, lifetime_ms=1000),
        Fold(user_id="ada", channel=Channel.EMAIL, lifetime_ms=1000),
    ],
)
async def test_an_alert_that_is_held_or_folded_for_somebody_is_still_open(
    ledger: Ledger, waits: Recheck | Fold
) -> None:
    name = "held" if isinstance(waits, Recheck) else "fold"
    due_ms = now_ms() + 3_600_000
    task = Task(key=f"{name}:email:ada", priority=Priority.HIGH, due_ms=due_ms, expires_ms=2 * due_ms, what=waits)
    first = record(NewRow(task), alert=AlertState.OPEN, dedup="db|disk")
    await ledger.accept(first)
    again = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    assert await ledger.accept(again) == (Verdict.DUPLICATE, first.notification.id)


async def test_an_alert_that_stands_in_somebodys_digest_is_still_open(ledger: Ledger) -> None:
    digested = NewRow(row().row, State.SUPPRESSED, Reason.DIGESTED)
    first = record(digested, alert=AlertState.OPEN, dedup="db|disk")
    await ledger.accept(first)
    again = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    assert await ledger.accept(again) == (Verdict.DUPLICATE, first.notification.id)


async def test_an_alert_that_was_told_or_acknowledged_is_still_open(ledger: Ledger) -> None:
    first = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    await ledger.accept(first)
    await ledger.finish(await claim(ledger, first), DELIVERED)
    for _ in range(2):
        again = record(row(), alert=AlertState.OPEN, dedup="db|disk")
        assert await ledger.accept(again) == (Verdict.DUPLICATE, first.notification.id)
        await ledger.alerts.acknowledge(first.notification.id, "user123")


async def test_an_alert_that_somebody_took_before_it_was_delivered_is_still_open(ledger: Ledger) -> None:
    first = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    await ledger.accept(first)
    await ledger.alerts.acknowledge(first.notification.id, "user123")
    assert (await claim(ledger, first)).verdict == "acknowledged"
    again = record(row(), alert=AlertState.OPEN, dedup="db|disk")
    assert await ledger.accept(again) == (Verdict.DUPLICATE, first.notification.id)


async def test_repetitions_of_an_alert_that_was_told_do_not_read_its_rows(ledger: Ledger, opened: Store) -> None:
    first = record(*(row(f"email:{number}") for number in range(300)), alert=AlertState.OPEN, dedup="db|disk")
    await ledger.accept(first)
    await ledger.finish(await claim(ledger, first, "email:7"), DELIVERED)
    read = []
    for _ in range(3):
        again = record(row(), alert=AlertState.OPEN, dedup="db|disk")
        assert await ledger.accept(again) == (Verdict.DUPLICATE, first.notification.id)
        stats = (await opened.command("INFO", "commandstats")).decode()
        read.append(re.findall(r"cmdstat_(?:hgetall|hkeys|hget|hvals):calls=(\d+)", stats))
    assert read[1] == read[2]


async def test_whoever_acknowledged_may_say_so_again(ledger: Ledger) -> None:
    first = record(NewRow(row("email:user123").row), alert=AlertState.OPEN)
    await ledger.accept(first)
    alert_id = first.notification.id
    assert await ledger.alerts.acknowledge(alert_id, "user123", must_be_told=True) is Answered.DONE
    # The delivery by which he was about to be told ends, and a receipt that got lost lets a publisher ask again.
    assert (await claim(ledger, first, "email:user123")).verdict == "acknowledged"
    assert await ledger.alerts.acknowledge(alert_id, "user123", must_be_told=True) is Answered.AGAIN
    await ledger.alerts.resolve(alert_id)
    assert await ledger.alerts.acknowledge(alert_id, "user123", must_be_told=True) is Answered.AGAIN


async def test_rows_that_follow_are_written_with_the_end_or_not_at_all(ledger: Ledger) -> None:
    accepted = record(row("email:task"), alert=AlertState.OPEN)
    await ledger.accept(accepted)
    task = await claim(ledger, accepted, "email:task")
    then = [row("email:next"), NewRow(row("email:never").row, State.SUPPRESSED, Reason.NO_ADDRESS)]
    outcome = Outcome(State.DELIVERED, then=then, guard=AlertState.OPEN)
    assert await ledger.finish(task, outcome) == "finished"
    assert (await claim(ledger, accepted, "email:next")).verdict == "claimed"
    assert (await claim(ledger, accepted, "email:never")).verdict == "ended"


async def test_an_acknowledged_alert_takes_no_further_rows(ledger: Ledger) -> None:
    accepted = record(row("email:task"), alert=AlertState.OPEN)
    await ledger.accept(accepted)
    task = await claim(ledger, accepted, "email:task")
    assert await ledger.alerts.acknowledge(accepted.notification.id, "user123")
    outcome = Outcome(State.DELIVERED, then=[row("email:next")], guard=AlertState.OPEN)
    assert await ledger.finish(task, outcome) == "void"
    assert (await claim(ledger, accepted, "email:next")).verdict == "unknown"
    assert await open_rows(ledger) == 0


@pytest.mark.parametrize("key", ["sms:user123", "email:user123@2", "push:user123:0123456789"])
async def test_whoever_was_told_on_any_channel_may_acknowledge(ledger: Ledger, key: str) -> None:
    told, refused = row(key), NewRow(row("sms:other").row, State.SUPPRESSED, Reason.NO_ADDRESS)
    told.row = told.row.model_copy(update={"recipient": "user123"})
    accepted = record(NewRow(told.row), refused, alert=AlertState.OPEN)
    await ledger.accept(accepted)
    assert await ledger.alerts.acknowledge(accepted.notification.id, "other", must_be_told=True) is Answered.NOT_TOLD
    assert await ledger.alerts.acknowledge(accepted.notification.id, "user123", must_be_told=True) is Answered.DONE


async def test_only_those_who_were_told_may_acknowledge_when_that_is_asked(ledger: Ledger) -> None:
    accepted = record(row("realtime:user123"), alert=AlertState.OPEN)
    await ledger.accept(accepted)
    alert_id = accepted.notification.id
    assert await ledger.alerts.acknowledge(alert_id, "stranger", must_be_told=True) is Answered.NOT_TOLD
    assert await ledger.alerts.acknowledge(alert_id, "user123", must_be_told=True)
    assert await ledger.alerts.acknowledge(alert_id, "user123", must_be_told=True)
    assert not await ledger.alerts.acknowledge(new_notification_id(), "user123")


@pytest.mark.parametrize("key", ["sms:user123", "email:user123@2"])
async def test_whoever_was_told_by_other_ways_than_the_inbox_may_acknowledge(ledger: Ledger, key: str) -> None:
    mine = NewRow(row(key).row.model_copy(update={"recipient": "user123"}))
    accepted = record(mine, row("realtime:user1"), alert=AlertState.OPEN)
    await ledger.accept(accepted)
    alert_id = accepted.notification.id
    for stranger in ("user12", "user123@2", "123", "ser123", ":"):
        assert not await ledger.alerts.acknowledge(alert_id, stranger, must_be_told=True)
    assert await ledger.alerts.acknowledge(alert_id, "user123", must_be_told=True)


async def test_counts_agree_with_what_happened(ledger: Ledger, opened: Store) -> None:
    for state, reason in [
        (State.DELIVERED, Reason.NONE),
        (State.DEAD_LETTERED, Reason.REJECTED),
        (State.SUPPRESSED, Reason.OPTED_OUT),
    ]:
        accepted = record(row())
        await ledger.accept(accepted)
        await ledger.finish(await claim(ledger, accepted), Outcome(state, reason))
    await ledger.accept(record(row()))
    await ledger.accept(record(NewRow(row().row, State.SUPPRESSED, Reason.NO_ADDRESS)))
    tally: dict[str, int] = {}
    for shard in range(SHARDS):
        base = Keys().shard(shard)
        for key in await opened.command("KEYS", f"{base}:tally:*"):
            fields = await opened.command("HGETALL", key)
            pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
            for name, count in pairs:
                tally[name.decode()] = tally.get(name.decode(), 0) + int(count)
    assert tally == {"email|created": 5, "email|delivered": 1, "email|dead_lettered": 1, "email|suppressed": 2}
    assert await open_rows(ledger) == 1


async def test_the_age_of_open_work_counts_from_its_due_time(ledger: Ledger) -> None:
    await ledger.accept(record(row(due_ms=now_ms() + 3_600_000)))
    work = (await open_work(ledger.store, ledger.keys))["email"]
    assert (work.count, work.oldest_age_s) == (1, 0.0)
    await ledger.accept(record(row()))
    assert await eventually(lambda: _older_than(ledger, 1.0), within_s=30)


async def _older_than(ledger: Ledger, age_s: float) -> bool:
    return (await open_work(ledger.store, ledger.keys))["email"].oldest_age_s > age_s


async def test_what_rows_refer_to_is_kept_in_their_record_whichever_way_they_come(ledger: Ledger) -> None:
    first = row("email:0")
    first.needs = {"chain": "as accepted"}
    accepted = record(first, alert=AlertState.OPEN)
    await ledger.accept(accepted)
    assert await ledger.kept(accepted.notification.id, "chain") == "as accepted"
    planned = record(row("email:0"), alert=AlertState.OPEN)
    await ledger.accept(planned)
    assert await ledger.kept(planned.notification.id, "chain") is None
    follows = row("email:1")
    follows.needs = {"chain": "as planned"}
    found = await claim(ledger, planned)
    assert await ledger.finish(found, Outcome(State.DELIVERED, then=[follows], guard=AlertState.OPEN)) == "finished"
    assert await ledger.kept(planned.notification.id, "chain") == "as planned"
    assert (await claim(ledger, planned, "email:1")).verdict == "claimed"
