"""The worker's shares of capacity, how rows are packed into jobs, and waiting for the store."""

import asyncio
import json

import pytest

from shared.core.errors import BrokerUnavailable, StoreUnavailable
from shared.core.limits import OBJECT_BYTES, PACKET_BYTES
from shared.core.model import (
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Job,
    Notification,
    PhoneNumber,
    Priority,
    State,
)
from shared.core.topics import Topics
from shared.ledger.jobs import JOB_BYTES, JOB_ROWS, Settled, jobs_of, jobs_of_due, settled
from shared.ledger.new_records import NewRow
from shared.ledger.schedule import DueRow
from shared.store.keys import new_notification_id
from shared.store.until_stored import until_stored

TOPICS = Topics("test/")
NOTIFICATION = Notification(
    id=new_notification_id(),
    kind="email_send",
    priority=Priority.NORMAL,
    accepted_ms=1,
    content=Content(title="t", message="ä"),
)
CONTENT = NOTIFICATION.model_dump_json(exclude_none=True)


def row(
    number: int, *, channel: Channel = Channel.EMAIL, priority: Priority = Priority.NORMAL, due_ms: int = 0
) -> NewRow:
    address = EmailAddress(email="user@example.com") if channel is Channel.EMAIL else PhoneNumber(phone="+15005550006")
    return NewRow(
        Delivery(
            key=f"{channel}:{number}",
            channel=channel,
            priority=priority,
            address=address,
            due_ms=due_ms,
            expires_ms=2**41,
        )
    )


def test_rows_that_are_to_be_done_at_once_travel_in_jobs_of_bounded_size() -> None:
    rows = [row(number) for number in range(JOB_ROWS + 1)]
    rows.insert(7, row(0, channel=Channel.SMS, priority=Priority.CRITICAL))
    jobs = [(topic, Job[Delivery].model_validate_json(payload)) for topic, payload in jobs_of(TOPICS, CONTENT, rows)]
    sizes: dict[str, list[int]] = {}
    for topic, job in jobs:
        assert job.notification == NOTIFICATION
        sizes.setdefault(topic, []).append(len(job.rows))
    assert sizes == {"test/internal/email/normal": [JOB_ROWS, 1], "test/internal/sms/critical": [1]}
    carried = [one for _, job in jobs for one in job.rows]
    assert sorted(one.key for one in carried) == sorted(new.row.key for new in rows)


def test_rows_with_long_texts_of_their_own_travel_in_smaller_jobs() -> None:
    content = Content(title="t", message="m", html_body="x" * (JOB_BYTES // 3))
    long = [NewRow(row(number).row.model_copy(update={"content": content})) for number in range(5)]
    longest = NewRow(row(5).row.model_copy(update={"content": Content(title="", message="x" * 2 * JOB_BYTES)}))
    rows = [*long, longest, row(6)]
    jobs = [Job[Delivery].model_validate_json(payload) for _, payload in jobs_of(TOPICS, CONTENT, rows)]
    assert [len(job.rows) for job in jobs] == [2, 2, 1, 1, 1]
    assert [one.key for job in jobs for one in job.rows] == [new.row.key for new in rows]


def test_a_job_fits_the_brokers_packets_whatever_its_texts_are_made_of() -> None:
    # The largest notification with the largest mails, each of characters that take four bytes.
    text = "\U0001f514" * (OBJECT_BYTES // 4)
    largest = Notification(
        id=new_notification_id(), kind="email_batch", priority=Priority.NORMAL, accepted_ms=1,
        content=Content(title="", message=text),
    )  # fmt: skip
    rows = [
        NewRow(row(number).row.model_copy(update={"content": Content(title="", message=text)})) for number in range(40)
    ]
    sizes = [len(payload.encode()) for _, payload in jobs_of(TOPICS, largest.written(), rows)]
    assert max(sizes) < PACKET_BYTES - 64 * 1024


def test_what_waits_or_has_ended_travels_in_no_job() -> None:
    rows = [row(1, due_ms=500), NewRow(row(2).row, State.SUPPRESSED), row(3)]

    def keys(up_to_ms: int) -> list[str]:
        payloads = [json.loads(payload) for _, payload in jobs_of(TOPICS, CONTENT, rows, up_to_ms)]
        return [one["key"] for payload in payloads for one in payload["rows"]]

    assert keys(0) == keys(499) == ["email:3"]
    assert keys(500) == ["email:1", "email:3"]


def test_rows_that_are_driven_again_travel_by_notification_the_most_urgent_first() -> None:
    def due(notification_id: str, number: int, priority: Priority) -> DueRow:
        new = row(number, priority=priority)
        return DueRow(notification_id, new.row.key, "email", priority, CONTENT, new.spec)

    found = list(
        jobs_of_due(
            TOPICS,
            [
                due("b", 1, Priority.LOW),
                due("a", 1, Priority.NORMAL),
                due("b", 2, Priority.CRITICAL),
                due("a", 2, Priority.NORMAL),
            ],
        )
    )
    assert [topic.rpartition("/")[2] for topic, _, _ in found] == ["critical", "normal", "low"]
    assert [len(json.loads(payload)["rows"]) for _, payload, _ in found] == [1, 2, 1]


async def test_handovers_are_counted_by_what_became_of_them() -> None:
    def ended(answer: bool | Exception) -> "asyncio.Future[bool]":
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    withheld: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    handovers = [ended(True), ended(False), ended(BrokerUnavailable("x")), ended(True), withheld]
    assert await settled(handovers, 0.01) == Settled(taken=2, for_nobody=1, unanswered=2)
    assert await settled([], 0.01) == Settled()
    with pytest.raises(ZeroDivisionError):
        await settled([ended(True), ended(ZeroDivisionError())], 0.01)


async def test_a_call_to_the_store_is_repeated_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.until_stored._STORE_BACKOFF_S", (0.001, 0.002))
    tries = 0

    async def call() -> str:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise StoreUnavailable("ConnectionError")
        return "answer"

    assert await until_stored(call) == "answer"
    assert tries == 5


async def test_another_error_than_an_absent_store_is_not_repeated() -> None:
    async def call() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_stored(call)
