"""A recall adds one row for each delivery that can be taken back, whenever it comes and however often."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from services.router.planning.tasks import Recheck, Task
from shared.core.clock import SystemClock
from shared.core.errors import AttemptOutcome, Reason
from shared.core.model import (
    RECALL,
    Channel,
    Content,
    Delivery,
    Feed,
    MobileToken,
    Notification,
    Platform,
    Priority,
    State,
    UserInbox,
)
from shared.core.topics import Kind
from shared.ledger.audit import Audit, Depth
from shared.ledger.claims import ClaimVerdict, Finish, Outcome
from shared.ledger.dead_letters import Answer, DeadLetters, Wanted
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow, Part
from shared.ledger.reader import Trace, TracedRow
from shared.ledger.recalling import RECALL_LIFETIME, Recalled, Recalling
from shared.ledger.rows import status_field
from shared.store.keys import Keys, new_notification_id, shard_of_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import LEASE, accept, delivery, end, now_ms, record_key
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

RETENTION_S = 600
PHONE = MobileToken(platform=Platform.ANDROID, token="t1")
INBOX = UserInbox(user_id="anna")
SHORT = timedelta(milliseconds=200)


def inbox() -> NewRow:
    return delivery("realtime:anna", recipient="anna", address=INBOX)


def push() -> NewRow:
    return delivery("push:anna", recipient="anna", address=PHONE)


def mail() -> NewRow:
    return delivery("email:anna", recipient="anna")


class Recalls:
    """A ledger in which notifications are recalled."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ledger = Ledger(store, Keys(), RETENTION_S)
        self.recalling = Recalling(self.ledger, SystemClock())
        self.trace = Trace(store, Keys())

    async def recall(self, notification_id: str) -> Recalled:
        found = await self.recalling.recall(notification_id)
        assert found is not None
        return found

    async def rows(self, notification_id: str) -> dict[str, TracedRow]:
        return {row.key: row async for row in self.trace.rows(notification_id)}

    async def balanced(self) -> bool:
        report = await Audit(self.store, Keys(), RETENTION_S).run(timedelta(minutes=5), Depth.RECORDS)
        return report.findings == []


@pytest_asyncio.fixture
async def recalls(store: EmptyStore) -> AsyncIterator[Recalls]:
    async with Store(store.url) as opened:
        yield Recalls(opened)


def counts(found: Recalled) -> tuple[int, dict[str, int], dict[str, int]]:
    return found.stopped, dict(found.taken_back), dict(found.not_recalled)


async def test_what_was_delivered_is_taken_back_and_the_rest_is_stopped(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, inbox(), push(), mail(), delivery("sms:anna", recipient="anna"))
    for key in ("realtime:anna", "push:anna", "email:anna"):
        await end(recalls.ledger, notification_id, key)
    found = await recalls.recall(notification_id)
    assert counts(found) == (1, {"realtime": 1, "push": 1}, {"email": 1})
    assert found.cancelled.ended == (("sms", "sms", "anna"),)
    (due,) = [rows for _, rows in found.due]
    written = {new.row.key: new.row for new in due}
    assert set(written) == {f"realtime:anna{RECALL}", f"push:anna{RECALL}"}
    pushed = written[f"push:anna{RECALL}"]
    assert isinstance(pushed, Delivery)
    assert (pushed.recalls, pushed.address, pushed.version) == (True, PHONE, 3)
    # They are wanted although the notification is cancelled.
    for key in written:
        await end(recalls.ledger, notification_id, key)
    rows = await recalls.rows(notification_id)
    assert {key: (row.state, row.recalls) for key, row in rows.items() if row.recalls} == {
        f"realtime:anna{RECALL}": (State.DELIVERED, True), f"push:anna{RECALL}": (State.DELIVERED, True),
    }  # fmt: skip
    record = await recalls.trace.record(notification_id)
    assert record is not None
    assert record.recalled_at == record.cancelled_at
    assert record.open_rows == 0
    assert await recalls.balanced()


async def test_the_operator_says_what_is_shown_in_the_place_of_a_push(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, inbox(), push())
    for key in ("realtime:anna", "push:anna"):
        await end(recalls.ledger, notification_id, key)
    found = await Recalling(recalls.ledger, SystemClock(), "Zurückgezogen").recall(notification_id)
    assert found is not None
    said = {new.row.key: new.row.content for _, rows in found.due for new in rows if isinstance(new.row, Delivery)}
    shown = said[f"push:anna{RECALL}"]
    assert said[f"realtime:anna{RECALL}"] is None
    assert shown is not None
    assert shown.title == "Zurückgezogen"


async def test_recalling_again_finds_the_same_and_adds_nothing(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, inbox(), push(), mail(), delivery("sms:anna", recipient="anna"))
    for key in ("realtime:anna", "email:anna"):
        await end(recalls.ledger, notification_id, key)
    first = await recalls.recall(notification_id)
    await end(recalls.ledger, notification_id, f"realtime:anna{RECALL}")
    again = await recalls.recall(notification_id)
    assert counts(first) == counts(again) == (2, {"realtime": 1}, {"email": 1})
    assert again.due == []
    assert len(await recalls.rows(notification_id)) == 5
    assert await recalls.balanced()


async def test_a_recall_after_a_cancellation_takes_back_what_was_delivered_before(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, inbox(), push())
    await end(recalls.ledger, notification_id, "realtime:anna")
    await recalls.ledger.cancel(notification_id)
    assert counts(await recalls.recall(notification_id)) == (1, {"realtime": 1}, {})
    # A later cancellation leaves the recall alone.
    await recalls.ledger.cancel(notification_id)
    await end(recalls.ledger, notification_id, f"realtime:anna{RECALL}")


async def test_nothing_is_known_of_an_unknown_notification(recalls: Recalls) -> None:
    assert await recalls.recalling.recall(new_notification_id()) is None
    assert await recalls.recalling.recall("no-such-id") is None


async def test_who_dies_after_the_mark_leaves_the_rest_to_the_next_try(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, inbox(), push())
    for key in ("realtime:anna", "push:anna"):
        await end(recalls.ledger, notification_id, key)
    await recalls.ledger.cancel(notification_id, recall_until_ms=now_ms())
    assert counts(await recalls.recall(notification_id)) == (0, {"realtime": 1, "push": 1}, {})


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(State.DELIVERED),
        Outcome(State.PENDING, Reason.TIMEOUT, in_doubt=True, word=AttemptOutcome.UNKNOWN),
    ],
)
async def test_what_is_in_somebodys_hands_is_taken_back_once_it_has_arrived(recalls: Recalls, outcome: Outcome) -> None:
    notification_id = await accept(recalls.ledger, push(), mail())
    claims = await recalls.ledger.claim([(notification_id, "push:anna"), (notification_id, "email:anna")], LEASE)
    found = await recalls.recall(notification_id)
    assert counts(found) == (0, {"push": 1}, {"email": 1})
    assert found.due == []
    key = f"push:anna{RECALL}"
    (early,) = await recalls.ledger.claim([(notification_id, key)], LEASE)
    assert early.verdict is ClaimVerdict.EARLY
    expected = Finish.FINISHED if outcome.state.is_end else Finish.CANCELLED
    assert await recalls.ledger.finish(claims[0], outcome) == expected
    await end(recalls.ledger, notification_id, key)
    assert await recalls.ledger.finish(claims[1], Outcome(State.DELIVERED)) == Finish.FINISHED
    assert counts(await recalls.recall(notification_id)) == (0, {"push": 1}, {"email": 1})
    assert await recalls.balanced()


async def test_what_did_not_arrive_after_all_is_not_taken_back(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, push())
    (claim,) = await recalls.ledger.claim([(notification_id, "push:anna")], LEASE)
    await recalls.recall(notification_id)
    assert await recalls.ledger.finish(claim, Outcome(State.PENDING, Reason.NETWORK)) == Finish.CANCELLED
    row = (await recalls.rows(notification_id))[f"push:anna{RECALL}"]
    assert (row.state, row.reason) == (State.SUPPRESSED, "cancelled")
    assert counts(await recalls.recall(notification_id)) == (1, {}, {})
    assert await recalls.balanced()


async def test_a_dead_workers_delivery_is_taken_back_when_its_lease_has_lapsed(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, push())
    await recalls.ledger.claim([(notification_id, "push:anna")], SHORT)
    assert counts(await recalls.recall(notification_id)) == (0, {"push": 1}, {})

    async def handed_over() -> bool:
        return f"push:anna{RECALL}" in {row.key for row in (await recalls.ledger.schedule.sweep(10)).due}

    await eventually(handed_over)
    await end(recalls.ledger, notification_id, f"push:anna{RECALL}")
    assert await recalls.balanced()


async def test_what_waits_in_doubt_is_stopped_and_taken_back(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, push(), mail())
    doubt = Outcome(State.PENDING, Reason.TIMEOUT, LEASE, in_doubt=True, word=AttemptOutcome.UNKNOWN)
    for claim in await recalls.ledger.claim([(notification_id, "push:anna"), (notification_id, "email:anna")], LEASE):
        assert await recalls.ledger.finish(claim, doubt) == Finish.FINISHED
    assert counts(await recalls.recall(notification_id)) == (0, {"push": 1}, {"email": 1})


async def test_a_fan_out_is_recalled_with_all_its_parts(recalls: Recalls) -> None:
    whole = Notification(
        id=new_notification_id(), kind="realtime_group", priority=Priority.NORMAL, accepted_ms=now_ms(),
        content=Content(title="Hello", message="to many"),
    )  # fmt: skip
    feed = delivery("realtime:*", address=Feed(groups=("staff",)))
    await recalls.ledger.accept(NewRecord(whole, [feed, delivery("push:begin", address=PHONE)]))
    await end(recalls.ledger, whole.id, "realtime:*")
    part = whole.model_copy(update={"id": new_notification_id(shard_of_id(whole.id)), "part_of": whole.id})
    people = [delivery(f"push:user{n}", recipient=f"user{n}", address=PHONE) for n in range(250)]
    (claim,) = await recalls.ledger.claim([(whole.id, "push:begin")], LEASE)
    await recalls.ledger.finish(claim, Outcome(State.SUPPRESSED, part=Part(part, people)))
    for n in range(200):
        await end(recalls.ledger, part.id, f"push:user{n}")
    found = await recalls.recall(whole.id)
    assert counts(found) == (50, {"realtime": 1, "push": 200}, {})
    assert {content for content, _ in found.due} == {whole.written(), part.written()}
    for n in range(200):
        await end(recalls.ledger, part.id, f"push:user{n}{RECALL}")
    assert await recalls.balanced()


async def test_a_recalled_record_and_its_parts_are_kept_as_long_as_what_takes_them_back(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, inbox())
    await end(recalls.ledger, notification_id, "realtime:anna")
    await recalls.recall(notification_id)
    assert await recalls.store.command("TTL", record_key(notification_id)) == -1
    await end(recalls.ledger, notification_id, f"realtime:anna{RECALL}")
    assert await recalls.store.command("TTL", record_key(notification_id)) >= RECALL_LIFETIME.total_seconds()


async def test_a_recall_that_failed_is_a_dead_letter_that_can_be_tried_again(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, push())
    await end(recalls.ledger, notification_id, "push:anna")
    await recalls.recall(notification_id)
    key = f"push:anna{RECALL}"
    await end(recalls.ledger, notification_id, key, State.DEAD_LETTERED, Reason.REJECTED)
    letters = DeadLetters(recalls.store, Keys())
    wanted = Wanted(until=datetime.now(UTC) + LEASE, notification_id=notification_id)
    entries = [entry async for page in letters.pages(wanted, None) for entry in page]
    # Nobody has asked the directory: it goes to the device to which the push went.
    assert [await letters.replay(entry) for entry in entries] == [Answer.REOPENED]
    await end(recalls.ledger, notification_id, key)


async def test_a_system_status_stands_until_the_next_one(recalls: Recalls) -> None:
    status = Notification(
        id=new_notification_id(), kind=Kind.SYSTEM_STATUS, priority=Priority.NORMAL, accepted_ms=now_ms(),
        content=Content(title="", message="all is well"),
    )  # fmt: skip
    await recalls.ledger.accept(NewRecord(status, [delivery("realtime:*", address=Feed())]))
    await end(recalls.ledger, status.id, "realtime:*")
    assert counts(await recalls.recall(status.id)) == (0, {}, {"realtime": 1})


async def test_a_person_whose_name_ends_like_a_recall_is_cancelled_like_everybody(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, delivery("push:anna@recall", recipient="anna@recall"))
    assert counts(await recalls.recall(notification_id)) == (1, {}, {})


async def test_a_damaged_row_is_passed_over(recalls: Recalls) -> None:
    notification_id = await accept(recalls.ledger, push(), inbox())
    for key in ("realtime:anna", "push:anna"):
        await end(recalls.ledger, notification_id, key)
    await recalls.store.command("HSET", record_key(notification_id), "d:push:anna", "{")
    await recalls.store.command("HSET", record_key(notification_id), status_field("odd"), "?")
    assert counts(await recalls.recall(notification_id)) == (0, {"realtime": 1}, {"push": 1})


@pytest.mark.parametrize("is_closed", [False, True])
async def test_what_was_folded_is_stopped_until_its_digest_closes(recalls: Recalls, *, is_closed: bool) -> None:
    digest_id = await accept(recalls.ledger, mail())
    await recalls.store.command("HSET", record_key(digest_id), "digest", "closed" if is_closed else "open")
    row = mail().row
    assert isinstance(row, Delivery)
    folded = NewRow(row.model_copy(update={"digest": digest_id}), State.SUPPRESSED, Reason.DIGESTED)
    notification_id = await accept(recalls.ledger, folded)
    expected: tuple[int, dict[str, int], dict[str, int]] = (0, {}, {"email": 1}) if is_closed else (1, {}, {})
    assert counts(await recalls.recall(notification_id)) == expected
    left_out = f"{Keys().shard_of(digest_id)}:left_out:{digest_id}"
    await recalls.store.command("SADD", left_out, f"{notification_id}|fold")
    assert counts(await recalls.recall(notification_id)) == (1, {}, {})


async def test_a_channel_that_is_held_is_stopped(recalls: Recalls) -> None:
    what = Recheck(user_id="anna", channel=Channel.EMAIL, lifetime_ms=1000)
    due_ms = now_ms() + 3_600_000
    task = Task(key="hold:email:anna", priority=Priority.NORMAL, due_ms=due_ms, expires_ms=2 * due_ms, what=what)
    notification_id = await accept(recalls.ledger, NewRow(task), inbox())
    assert counts(await recalls.recall(notification_id)) == (2, {}, {})
    assert counts(await recalls.recall(notification_id)) == (2, {}, {})
