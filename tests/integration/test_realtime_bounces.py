"""Bounce reports on a real realtime process and store: what suppresses, and what is refused and writes nothing."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from carillon.local.servers import LocalServer
from services.realtime.bounces import providers, suppressing, webhooks
from services.realtime.bounces.report import ENTRIES_MOST, Report
from services.realtime.bounces.ses import Ses
from services.realtime.bounces.sns import REFETCH_AFTER_S, Certificates, Sns
from shared.core.errors import StoreUnavailable
from shared.core.model import Channel, EmailAddress, State
from shared.delivery.forgetting import FREE_IN_HOUR
from shared.directory.suppression import Cause, Entry, Suppressions, digest
from shared.ledger.claims import Outcome as Ended
from shared.ledger.confirmations import mail_reference
from shared.ledger.new_records import NewRecord
from shared.ledger.reader import Trace, TracedRow
from shared.store.keys import new_notification_id
from tests.bounces import (
    MAILGUN_KEY,
    POSTMARK_PASSWORD,
    TOPIC,
    Amazon,
    Request,
    SendGrid,
    mailgun,
    mailgun_failed,
    posted,
    postmark,
    postmark_bounce,
    sendgrid_bounce,
    ses_bounce,
    ses_complaint,
)
from tests.conftest import EmptyStore
from tests.fakes.clock import Seconds
from tests.realtime import Realtime, notification, realtime_node
from tests.records import LEASE, delivery
from tests.waiting import eventually

ADDRESS = "user123@example.com"
DAY_S = 86400


@dataclass
class Desk:
    """A realtime process that takes every provider's reports."""

    node: Realtime
    sendgrid: SendGrid
    amazon: Amazon
    seconds: Seconds

    async def post(self, request: Request, **options: Any) -> tuple[int, Any]:
        """Post what a provider posts, and return status and JSON."""
        headers = request.headers | options.pop("headers", {})
        url = self.node.url + request.path
        async with self.node.client.post(url, data=BytesIO(request.body), headers=headers, **options) as answer:
            return answer.status, await answer.json()

    async def code(self, request: Request, **options: Any) -> tuple[int, str]:
        """Post, and return status and code of a refusal."""
        status, answer = await self.post(request, **options)
        return status, answer["error"]["code"]

    @property
    def suppressions(self) -> Suppressions:
        """The list of the mail channel."""
        context = self.node.context
        return Suppressions(context.store, context.keys, Channel.EMAIL, context.clock)

    async def entries(self, address: str = ADDRESS) -> list[Entry]:
        """Return what is noted against an address."""
        return await self.suppressions.entries(digest(address))


@pytest_asyncio.fixture
async def amazon(tmp_path: Path) -> AsyncIterator[Amazon]:
    async with Amazon().running(tmp_path) as running:
        yield running


@pytest_asyncio.fixture
async def desk(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    sendgrid, seconds = SendGrid(), Seconds()
    certificates = Certificates(amazon.open_session, monotonic_s=seconds)
    sns = Sns([TOPIC], certificates, amazon.open_session)
    monkeypatch.setitem(cast("dict[str, Any]", providers.PROVIDERS), "ses", lambda _: Ses(sns))
    async with realtime_node(
        store.url, broker.url, topic_prefix,
        realtime_bounces_sendgrid_public_key=sendgrid.public_key,
        realtime_bounces_postmark_password=POSTMARK_PASSWORD,
        realtime_bounces_mailgun_signing_key=MAILGUN_KEY,
    ) as node:  # fmt: skip
        yield Desk(node, sendgrid, amazon, seconds)


def counted(provider: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("carillon_bounces_total", {"provider": provider, "outcome": outcome}) or 0.0


def body_of(request: Request) -> Any:
    return json.loads(request.body)


Make = Callable[[Desk], Request]
EVERY: dict[str, Make] = {
    "ses": lambda desk: desk.amazon.report(ses_bounce(ADDRESS)),
    "sendgrid": lambda desk: desk.sendgrid.bounce(ADDRESS),
    "postmark": lambda _: postmark(postmark_bounce(ADDRESS)),
    "mailgun": lambda _: mailgun(mailgun_failed(ADDRESS)),
}


@dataclass
class Mailed:
    """A mail that its provider has taken."""

    desk: Desk
    notification_id: str
    key: str

    @property
    def reference(self) -> str:
        """How Carillon calls it."""
        return mail_reference(self.notification_id, self.key)

    @property
    def message_id(self) -> str:
        """Its Message-ID."""
        return f"<{self.reference}@notify.example.com>"

    async def row(self) -> TracedRow:
        """Read its delivery."""
        context = self.desk.node.context
        (row,) = [row async for row in Trace(context.store, context.keys).rows(self.notification_id)]
        return row

    async def said(self) -> list[tuple[str, str]]:
        """Return what its provider said later, and how."""
        return [(each.outcome, each.code) for each in (await self.row()).callbacks]


async def mailed(desk: Desk, address: str = ADDRESS, *, events: bool = False) -> Mailed:
    ledger = desk.node.context.ledger
    key = "email:user123"
    row = delivery(key, recipient="user123", address=EmailAddress(email=address))
    sent = notification("hello", kind="email_send").model_copy(update={"events": events})
    await ledger.accept(NewRecord(sent, [row]))
    (claim,) = await ledger.claim([(sent.id, key)], LEASE)
    assert await ledger.finish(claim, Ended(State.DELIVERED, provider="smtp")) == "finished"
    return Mailed(desk, sent.id, key)


Tell = Callable[[Desk, Mailed], Request]
OF_A_MAIL: dict[str, Tell] = {
    "ses": lambda desk, of: desk.amazon.report(
        ses_bounce(ADDRESS) | {"mail": {"commonHeaders": {"messageId": of.message_id}}}
    ),
    "sendgrid": lambda desk, of: desk.sendgrid.report(sendgrid_bounce(ADDRESS, **{"smtp-id": of.message_id})),
    "postmark": lambda _, of: postmark(postmark_bounce(ADDRESS, Metadata={"carillon": of.reference})),
    "mailgun": lambda _, of: mailgun(mailgun_failed(ADDRESS, message={"headers": {"message-id": of.message_id[1:-1]}})),
}


@pytest.mark.parametrize("provider", OF_A_MAIL)
async def test_a_bounce_after_the_mail_was_taken_stands_beside_its_delivery(desk: Desk, provider: str) -> None:
    other, of = await mailed(desk), await mailed(desk)
    for _ in range(2):
        # Signed anew, so it is another report of the same mail.
        assert (await desk.post(OF_A_MAIL[provider](desk, of)))[0] in (200, 409)
    row = await of.row()
    assert (row.state, row.confirmation and row.confirmation.outcome) == (State.DELIVERED, "failed")
    assert [outcome for outcome, _ in await of.said()] == ["failed"]
    assert (await of.said())[0][1].startswith(provider)
    assert await other.said() == []


async def test_a_complaint_comes_after_a_bounce_and_is_kept_beside_it(desk: Desk) -> None:
    of = await mailed(desk, events=True)
    events: list[tuple[str, Any]] = []

    def publish(topic: str, payload: str) -> "asyncio.Future[bool]":
        events.append((topic, json.loads(payload)))
        return asyncio.get_running_loop().create_future()

    desk.node.context.publish = publish
    named = {"smtp-id": of.message_id, "carillon": of.reference}
    blocked = sendgrid_bounce(ADDRESS, type="blocked", **named)
    status, answer = await desk.post(desk.sendgrid.report(blocked, blocked))
    assert (status, answer["soft"]) == (200, 2)
    # Nothing against the address.
    assert await desk.entries() == []
    complaint = {"email": ADDRESS, "event": "spamreport", **named}
    assert (await desk.post(desk.sendgrid.report(complaint)))[1]["suppressed"] == 1
    assert await of.said() == [("failed", "sendgrid blocked 5.1.1"), ("complained", "sendgrid spamreport")]
    assert [(topic.rpartition("/")[2], step["confirmation"]) for topic, step in events] == [
        (of.notification_id, {"outcome": "failed", "code": "sendgrid blocked 5.1.1"}),
        (of.notification_id, {"outcome": "complained", "code": "sendgrid spamreport"}),
    ]
    assert {(step["state"], step["channel"], step["recipient"]) for _, step in events} == {
        ("delivered", "email", "user123")
    }


async def test_what_is_forged_or_about_no_mail_of_ours_changes_no_delivery(desk: Desk) -> None:
    of, of_another = await mailed(desk), await mailed(desk, "another@example.com")
    unknown = f"<{mail_reference(new_notification_id(), 'email:user123')}@notify.example.com>"
    other_key = f"<{mail_reference(of.notification_id, 'email:user124')}@notify.example.com>"
    assert (await desk.post(SendGrid().report(sendgrid_bounce(ADDRESS, **{"smtp-id": of.message_id}))))[0] == 403
    for message_id in (unknown, other_key, of_another.message_id, "<x@y>"):
        report = desk.sendgrid.report(sendgrid_bounce(ADDRESS, **{"smtp-id": message_id}))
        assert (await desk.post(report))[0] == 200
    assert (await of.said(), await of_another.said()) == ([], [])


async def test_a_bounded_number_of_words_is_kept_of_one_delivery(desk: Desk) -> None:
    of = await mailed(desk)
    events = [
        sendgrid_bounce(ADDRESS, status=f"5.1.{number}", **{"smtp-id": of.message_id}) for number in range(30)
    ]  # fmt: skip
    assert (await desk.post(desk.sendgrid.report(*events)))[0] == 200
    assert len(await of.said()) == 10


async def test_one_mail_of_a_large_fan_out_is_found(desk: Desk) -> None:
    ledger = desk.node.context.ledger
    rows = [
        delivery(
            f"email:user{number}", address=EmailAddress(email=f"user{number}@example.com"), recipient=f"user{number}"
        )
        for number in range(1000)
    ]
    sent = notification("hello", kind="realtime_group")
    await ledger.accept(NewRecord(sent, rows))
    message_id = f"<{mail_reference(sent.id, 'email:user777')}@notify.example.com>"
    report = desk.sendgrid.report(sendgrid_bounce("user777@example.com", **{"smtp-id": message_id}))
    assert (await desk.post(report))[0] == 200
    context = desk.node.context
    told = [row async for row in Trace(context.store, context.keys).rows(sent.id) if row.callbacks]
    assert [row.key for row in told] == ["email:user777"]


@pytest.mark.parametrize("provider", EVERY)
async def test_a_hard_bounce_suppresses_the_address(
    desk: Desk, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = counted(provider, "suppressed")
    caplog.set_level(logging.DEBUG)
    status, answer = await desk.post(EVERY[provider](desk))
    assert (status, answer["suppressed"]) == (200, 1)
    [entry] = await desk.entries()
    assert entry.cause is Cause.BOUNCE
    assert entry.detail.startswith(provider)
    assert counted(provider, "suppressed") == before + 1
    status, answer = await desk.post(EVERY[provider](desk))
    assert (status, answer["suppressed"], answer["known"]) == (200, 0, 1)
    assert "user123" not in caplog.text
    assert not any("user123" in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    "make",
    [
        lambda desk: desk.amazon.report(ses_bounce(ADDRESS, kind="Transient")),
        lambda desk: desk.sendgrid.report(sendgrid_bounce(ADDRESS, type="blocked")),
        lambda _: postmark(postmark_bounce(ADDRESS, "SoftBounce")),
        lambda _: mailgun(mailgun_failed(ADDRESS, severity="temporary")),
    ],
    ids=EVERY,
)
async def test_a_soft_bounce_is_counted_only(desk: Desk, make: Make) -> None:
    status, answer = await desk.post(make(desk))
    assert (status, answer["soft"], answer["suppressed"]) == (200, 1, 0)
    assert await desk.entries() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda desk: desk.amazon.report(ses_complaint(ADDRESS)),
        lambda desk: desk.sendgrid.report({"event": "spamreport", "email": ADDRESS}),
        lambda _: postmark(postmark_bounce(ADDRESS, "SpamComplaint")),
        lambda _: mailgun({"event": "complained", "recipient": ADDRESS}),
    ],
    ids=EVERY,
)
async def test_a_complaint_suppresses_beside_a_bounce(desk: Desk, make: Make) -> None:
    await desk.suppressions.add(digest(ADDRESS), Cause.BOUNCE)
    status, answer = await desk.post(make(desk))
    assert (status, answer["suppressed"]) == (200, 1)
    assert {entry.cause for entry in await desk.entries()} == {Cause.BOUNCE, Cause.COMPLAINT}


# What is refused.


@pytest.mark.parametrize("provider", EVERY)
async def test_a_report_that_comes_again_changes_nothing(desk: Desk, provider: str) -> None:
    report = EVERY[provider](desk)
    assert (await desk.post(report))[0] == 200
    await desk.suppressions.lift(digest(ADDRESS))
    assert await desk.code(report) == (409, "replayed")
    assert await desk.entries() == []


async def test_a_time_and_token_of_mailgun_count_once_whatever_event_they_come_with(desk: Desk) -> None:
    seen = mailgun({"event": "delivered", "recipient": ADDRESS})
    assert (await desk.post(seen))[0] == 200
    forged = json.dumps(body_of(seen) | {"event-data": mailgun_failed("victim@example.com")}).encode()
    assert await desk.code(Request(seen.path, forged)) == (409, "replayed")
    assert await desk.entries("victim@example.com") == []


@pytest.mark.parametrize("age_s", [DAY_S + 60, -600])
async def test_a_signature_that_is_too_old_or_of_the_future_is_refused(desk: Desk, age_s: float) -> None:
    at_s = time.time() - age_s
    for report in (
        desk.sendgrid.report(sendgrid_bounce(ADDRESS), at_s=at_s),
        mailgun(mailgun_failed(ADDRESS), at_s=at_s),
        desk.amazon.report(ses_bounce(ADDRESS), at=datetime.fromtimestamp(at_s, UTC)),
    ):
        assert await desk.code(report) == (403, "stale")
    assert await desk.entries() == []


async def test_a_report_of_this_morning_is_taken(desk: Desk) -> None:
    report = desk.sendgrid.report(sendgrid_bounce(ADDRESS), at_s=time.time() - DAY_S + 600)
    assert (await desk.post(report))[0] == 200
    assert len(await desk.entries()) == 1


async def test_what_is_not_signed_by_the_provider_is_refused(desk: Desk) -> None:
    before = counted("sendgrid", "forged")
    for report in (
        SendGrid().bounce(ADDRESS),
        mailgun(mailgun_failed(ADDRESS), key="another key of the account"),
        Request("/v1/bounces/ses", b"{}"),
        Request("/v1/bounces/sendgrid", b"[]"),
    ):
        assert await desk.code(report) == (403, "bad_signature")
    assert counted("sendgrid", "forged") == before + 2
    assert await desk.entries() == []


async def test_postmark_has_to_know_the_password(desk: Desk) -> None:
    good = postmark(postmark_bounce(ADDRESS))
    before = counted("postmark", "forged")
    async with desk.node.client.post(desk.node.url + good.path, data=good.body) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    # A client may wait for the challenge, so that this is no forgery.
    assert counted("postmark", "forged") == before
    for proof in (
        aiohttp.encode_basic_auth("postmark", "wrong"),
        aiohttp.encode_basic_auth("carillon", POSTMARK_PASSWORD),
        aiohttp.encode_basic_auth("", ""),
        "Basic",
        "Basic %%%",
        f"Bearer {POSTMARK_PASSWORD}",
    ):
        assert await desk.code(good, headers={"Authorization": proof}) == (401, "unauthorized")
    assert counted("postmark", "forged") == before + 6
    assert await desk.entries() == []


@pytest.mark.parametrize("provider", EVERY)
async def test_what_is_too_large_is_refused(desk: Desk, provider: str) -> None:
    report = EVERY[provider](desk)
    report.body += b" " * webhooks.BODY_BYTES
    assert await desk.code(report) == (413, "too_large")
    report.body = report.body[: webhooks.BODY_BYTES]
    assert (await desk.post(report))[0] != 413
    # SendGrid signs the spaces, too.
    assert len(await desk.entries()) == (provider != "sendgrid")


async def test_too_many_entries_in_one_report_are_refused(desk: Desk) -> None:
    events = [{"event": "delivered"}] * ENTRIES_MOST
    assert (await desk.post(desk.sendgrid.report(*events)))[1]["ignored"] == ENTRIES_MOST
    assert await desk.code(desk.sendgrid.report(*events, {})) == (413, "too_large")


async def test_what_cannot_be_read_is_refused(desk: Desk) -> None:
    for report in (
        Request("/v1/bounces/ses", b"not json"),
        Request("/v1/bounces/mailgun", b"[]"),
        desk.sendgrid.report(body=b"not json"),
        postmark("not a record"),
    ):
        assert await desk.code(report) == (400, "invalid_report")


async def test_a_packed_report_is_refused(desk: Desk) -> None:
    assert (await desk.code(EVERY["mailgun"](desk), headers={"Content-Encoding": "gzip"}))[0] == 400


async def test_what_is_no_address_is_counted_and_loses_nothing_else(desk: Desk) -> None:
    events = [sendgrid_bounce(each) for each in ("nobody", ADDRESS, "", "a@b@c", ADDRESS)]
    status, answer = await desk.post(desk.sendgrid.report(*events))
    assert (status, answer["unreadable"], answer["suppressed"], answer["known"]) == (200, 3, 1, 1)
    assert len(await desk.entries()) == 1


async def test_a_provider_without_its_secret_is_not_there(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix) as node:
        for provider in (*EVERY, "other"):
            async with node.client.post(f"{node.url}/v1/bounces/{provider}", data=b"{}") as answer:
                assert answer.status == 404


async def test_a_stranger_cannot_take_all_places_with_slow_reports(desk: Desk) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async def answered(status: int) -> bool:
        return (await desk.post(EVERY["postmark"](desk)))[0] == status

    async def hold() -> None:
        # Again where it got no place.
        while True:
            async with desk.node.client.post(f"{desk.node.url}/v1/bounces/mailgun", data=slow()):
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(hold()) for _ in range(webhooks.IN_HAND_OF_ADDRESS)]
        await eventually(lambda: answered(503), what="no place for another report")
        for task in waiting:
            task.cancel()
    await eventually(lambda: answered(200), what="a place for another report")


# Too many at once.


async def test_ten_thousand_bounces_in_a_minute_suppress_a_few_and_hold_the_others(desk: Desk) -> None:
    suppressed = held = 0
    for batch in range(10):
        events = [sendgrid_bounce(f"user{batch}-{number}@example.com") for number in range(1000)]
        _, answer = await desk.post(desk.sendgrid.report(*events))
        suppressed, held = suppressed + answer["suppressed"], held + answer["held"]
    assert (suppressed, held) == (FREE_IN_HOUR, 10_000 - FREE_IN_HOUR)
    assert REGISTRY.get_sample_value("carillon_forgetting_stopped", {"channel": "email"}) == 1
    assert len(await desk.entries("user0-0@example.com")) == 1
    assert await desk.entries("user9-999@example.com") == []
    # What stands on the list already is no new one.
    _, answer = await desk.post(desk.sendgrid.bounce("user0-0@example.com"))
    assert answer["known"] == 1


# A report that is cut off.


async def test_a_report_that_was_cut_off_can_come_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    report = EVERY["mailgun"](desk)

    async def away(*_: object) -> bool:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(Suppressions, "add", away)
        assert await desk.code(report) == (503, "unavailable")
    other = json.dumps(body_of(report) | {"event-data": mailgun_failed("victim@example.com")}).encode()
    assert await desk.code(Request(report.path, other)) == (409, "replayed")
    assert (await desk.post(report))[1]["suppressed"] == 1
    assert await desk.code(report) == (409, "replayed")


async def test_what_is_remembered_of_a_report_holds_no_address_and_ends(desk: Desk) -> None:
    context = desk.node.context
    taken = suppressing.TakenReports(context.store, context.keys)
    report = Report([], "once")
    await taken.begin("ses", report)
    key = taken._key("ses", report)
    assert 0 < await context.store.command("TTL", key) <= suppressing.REMEMBERED_S
    assert b"@" not in await context.store.command("GET", key)
    await taken.end("ses", report)
    assert 0 < await context.store.command("TTL", key) <= suppressing.REMEMBERED_S


# SNS.


@pytest.mark.parametrize("version", ["1", "2"])
async def test_both_versions_of_sns_signatures_hold_and_the_certificate_is_fetched_once(
    desk: Desk, version: str
) -> None:
    for address in ("a@example.com", "b@example.com"):
        report = desk.amazon.report(ses_bounce(address), version=version, Subject="Amazon SES")
        assert (await desk.post(report))[1]["suppressed"] == 1
    assert desk.amazon.asked == [desk.amazon.path]


async def test_a_subscription_to_our_topic_is_confirmed_once(desk: Desk) -> None:
    report = desk.amazon.subscription()
    assert (await desk.post(report))[0] == 200
    confirmed = [path for path in desk.amazon.asked if "ConfirmSubscription" in path]
    assert len(confirmed) == 1
    assert TOPIC in confirmed[0]
    assert await desk.code(report) == (409, "replayed")
    assert len([path for path in desk.amazon.asked if "ConfirmSubscription" in path]) == 1


async def test_a_subscription_that_sns_does_not_take_can_come_again(desk: Desk) -> None:
    await desk.post(desk.amazon.report(ses_bounce(ADDRESS)))
    report = desk.amazon.subscription()
    desk.amazon.status = 500
    assert await desk.code(report) == (503, "unavailable")
    desk.amazon.status = 200
    assert (await desk.post(report))[0] == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"TopicArn": "arn:aws:sns:eu-west-1:999999999999:bounces"},
        {"TopicArn": "arn:aws:sns:us-east-1:123456789012:bounces"},
        {"TopicArn": None},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.example.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://example.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://bucket.s3.amazonaws.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com@example.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://example.com\\@sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/?Action=Subscribe"},
        {"SigningCertURL": "https://[::1/SimpleNotificationService-1.pem"},
        {"SigningCertURL": None},
        {"SignatureVersion": "3"},
        {"Type": "Other", "SubscribeURL": "x", "Token": "x"},
    ],
)
async def test_what_sns_did_not_sign_for_our_topic_is_refused_without_a_request(
    desk: Desk, fields: dict[str, Any]
) -> None:
    assert await desk.code(desk.amazon.report(ses_bounce(ADDRESS), **fields)) == (403, "bad_signature")
    assert desk.amazon.asked == []
    assert await desk.entries() == []


@pytest.mark.parametrize(
    "change",
    [
        {"Message": json.dumps(ses_bounce("victim@example.com"))},
        {"MessageId": "0" * 32},
        {"Timestamp": "2026-11-28T16:00:00.000Z"},
        {"Subject": "added"},
        {"Signature": "AAAA"},
        {"Signature": "é"},
        {"Type": "UnsubscribeConfirmation", "SubscribeURL": "x", "Token": "x"},
        {"SignatureVersion": "1"},
        {"Message": 7},
    ],
)
async def test_a_message_that_was_changed_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    changed = desk.amazon.message(ses_bounce(ADDRESS)) | change
    assert await desk.code(posted(changed)) == (403, "bad_signature")
    assert await desk.entries() == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/?Action=ConfirmSubscription",
        "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
    ],
)
async def test_a_subscription_is_confirmed_at_sns_alone(desk: Desk, url: str) -> None:
    assert await desk.code(desk.amazon.subscription(SubscribeURL=url)) == (403, "bad_signature")
    assert not any("Confirm" in path for path in desk.amazon.asked)


async def test_an_unsubscription_is_not_taken_back(desk: Desk) -> None:
    report = desk.amazon.subscription(Type="UnsubscribeConfirmation")
    assert (await desk.post(report))[0] == 200
    assert desk.amazon.asked == [desk.amazon.path]


async def test_a_certificate_of_the_past_is_refused(desk: Desk) -> None:
    desk.amazon.certificate = desk.amazon._certificate(timedelta(days=-1))
    assert await desk.code(desk.amazon.report(ses_bounce(ADDRESS))) == (403, "bad_signature")


async def test_what_is_no_certificate_is_refused(desk: Desk) -> None:
    desk.amazon.certificate = b"<html>"
    assert await desk.code(desk.amazon.report(ses_bounce(ADDRESS))) == (403, "bad_signature")


async def test_sns_is_asked_for_certificates_only_now_and_then(desk: Desk) -> None:
    known = desk.amazon.report(ses_bounce(ADDRESS))
    assert (await desk.post(known))[0] == 200
    path = desk.amazon.path.replace("-", "-0")
    unknown = {"SigningCertURL": desk.amazon.subscribe_url.partition("/?")[0] + path}
    assert await desk.code(desk.amazon.report(ses_bounce(ADDRESS), **unknown)) == (403, "bad_signature")
    assert await desk.code(desk.amazon.report(ses_bounce(ADDRESS), **unknown)) == (503, "unavailable")
    assert (await desk.post(desk.amazon.report(ses_bounce(ADDRESS))))[0] == 200
    assert desk.amazon.asked == [desk.amazon.path, path]
    desk.seconds.now_s += REFETCH_AFTER_S
    assert await desk.code(desk.amazon.report(ses_bounce(ADDRESS), **unknown)) == (403, "bad_signature")


async def test_while_sns_is_away_a_report_is_put_off(desk: Desk) -> None:
    report = desk.amazon.report(ses_bounce(ADDRESS))
    desk.amazon.status = 500
    assert await desk.code(report) == (503, "unavailable")
    desk.amazon.status = 200
    desk.seconds.now_s += REFETCH_AFTER_S
    assert (await desk.post(report))[1]["suppressed"] == 1
