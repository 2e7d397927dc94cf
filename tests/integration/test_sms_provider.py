"""The Twilio provider against the sandbox, and against a server that does worse."""

import asyncio
import contextlib
import logging
import socket
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from carillon.local.ports import free_port
from sandbox.authority import server_context
from sandbox.script import Rule
from sandbox.server import Sandbox
from services.sms.twilio.provider import TwilioProvider
from shared.core.clock import SystemClock
from shared.core.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    RouteUnfit,
    TemporaryFailure,
)
from shared.core.model import Channel, Priority, State
from shared.core.topics import Kind
from shared.delivery import http_attempt
from shared.delivery.attempt import Receipt
from shared.delivery.loop import Deliverer
from shared.delivery.retry import RetryPolicy
from shared.ledger.claims import Claim, ClaimVerdict
from tests.attempts import cancel_once, outcome
from tests.sms import PHONE, attempt, open_twilio, outbox, settings_for

# Planted in everything personal, and looked for in errors and logs.
SECRET = "planted7secret"
SECRET_PHONE = "+12025550199"

Open = Callable[..., TwilioProvider]


@pytest.fixture
async def provider(box: Sandbox) -> AsyncIterator[Open]:
    """A function that opens a provider, by default for the sandbox; closed after the test."""
    opened: list[TwilioProvider] = []

    def open_with(**others: Any) -> TwilioProvider:
        opened.append(open_twilio(settings_for(box, **others))[0])
        return opened[-1]

    yield open_with
    for each in opened:
        await each.close()


def play(box: Sandbox, fault: dict[str, object]) -> None:
    box.script.add(Rule.model_validate({"provider": "twilio", "fault": fault}))


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[str]:
    """A server that reads a request and answers with these bytes, or closes without a word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        if answer is not None:
            writer.write(answer)
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def test_an_accepted_sms_is_with_the_provider(box: Sandbox, provider: Open) -> None:
    receipt = await provider().send(attempt(message="Größe ok & 100 % +1"))
    [entry] = outbox(box)
    assert receipt == Receipt(provider_id=entry["id"], detail="1 gsm7")
    assert (entry["to"], entry["from"], entry["body"]) == (PHONE, "+15005550006", "Größe ok & 100 % +1")


async def test_a_messaging_service_is_named_by_its_sid(box: Sandbox, provider: Open) -> None:
    sid = "MG" + "a" * 32
    await provider(sms_twilio_from=sid).send(attempt())
    assert outbox(box)[0]["from"] == sid


async def test_a_composed_text_over_the_limit_is_shortened_and_taken(box: Sandbox, provider: Open) -> None:
    composed = attempt(title="Payment", message="it failed " * 300, kind=Kind.REALTIME_USER)
    await provider(sms_max_segments=50).send(composed)
    await provider().send(composed)
    bodies = [entry["body"] for entry in outbox(box)]
    assert [body[:19] for body in bodies] == ["Payment: it failed "] * 2
    assert 1590 < len(bodies[0]) <= 1600
    assert 1520 < len(bodies[1]) <= 10 * 153


async def test_a_written_text_over_the_limit_is_refused_before_it_costs(box: Sandbox, provider: Open) -> None:
    error = await outcome(provider(sms_max_segments=2), attempt(message="x" * 307))
    assert isinstance(error, PermanentFailure)
    assert error.reason is Reason.TOO_LARGE
    assert not outbox(box)


async def test_segments_are_counted_when_they_are_taken(box: Sandbox, provider: Open) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("carillon_sms_segments_total", {"encoding": "ucs2"}) or 0.0

    sms, before = provider(), counted()
    await sms.send(attempt(message="\N{BELL}" * 40))
    play(box, {"status": 400, "code": 30007})
    await outcome(sms, attempt(message="\N{BELL}" * 40))
    assert counted() - before == 2


@pytest.mark.parametrize(("ttl_s", "validity_s"), [(900, 900), (0.2, 1), (86_400, 36_000)])
async def test_twilio_is_told_how_long_it_is_worth_sending(
    box: Sandbox, provider: Open, ttl_s: float, validity_s: int
) -> None:
    await provider().send(attempt(ttl_s=ttl_s))
    # Some of it is gone before it is sent.
    assert validity_s - 60 <= outbox(box)[0]["validity_period_s"] <= validity_s


@pytest.mark.parametrize("code", [21606, 21612, 21660, 21611, 20429])
async def test_what_one_sender_cannot_send_goes_out_by_the_next(box: Sandbox, code: int) -> None:
    providers = open_twilio(settings_for(box, sms_twilio_from="+15005550006,Carillon"))
    deliverer = Deliverer(
        Channel.SMS,
        providers,
        attempt_deadline=timedelta(seconds=10),
        retry=RetryPolicy(),
        doubt_wait=timedelta(0),
        clock=SystemClock(),
    )
    play(box, {"status": 429 if code == 20429 else 400, "code": code})
    sent = attempt(priority=Priority.CRITICAL)
    claim = Claim(sent.notification.id, sent.delivery.key, ClaimVerdict.CLAIMED, token=1, attempt=1)
    ended = await deliverer.perform(sent.notification, sent.delivery, claim)
    for provider in providers:
        await provider.close()
    assert (ended.state, ended.provider) == (State.DELIVERED, "twilio-2")
    assert [entry["from"] for entry in outbox(box)] == ["Carillon"]


async def test_each_sender_is_a_provider_of_its_own(box: Sandbox) -> None:
    first, second = open_twilio(settings_for(box, sms_twilio_from="+15005550006,Carillon"))
    assert (first.name, second.name) == ("twilio", "twilio-2")
    for each in (first, second):
        await each.send(attempt())
        await each.close()
    assert [entry["from"] for entry in outbox(box)] == ["+15005550006", "Carillon"]


@pytest.mark.parametrize(
    ("phone", "kind", "reason"),
    [
        ("+15005550001", RecipientGone, Reason.GONE),
        ("+15005550009", RecipientGone, Reason.GONE),
        ("+15005550004", DeliveryRefused, Reason.OPTED_OUT),
        ("+15005550002", RouteUnfit, Reason.REJECTED),
        ("+15005550003", DeliveryRefused, Reason.COUNTRY_NOT_ALLOWED),
    ],
)
async def test_twilios_magic_numbers_fail_as_they_say(
    provider: Open, phone: str, kind: type[DeliveryError], reason: Reason
) -> None:
    error = await outcome(provider(), attempt(to=phone))
    assert isinstance(error, DeliveryError)
    assert (type(error), error.reason) == (kind, reason)


@pytest.mark.parametrize("name", ["sms_twilio_auth_token", "sms_twilio_from"])
async def test_wrong_credentials_pause_the_channel(box: Sandbox, provider: Open, name: str) -> None:
    if name == "sms_twilio_from":
        play(box, {"operator": True})
        error = await outcome(provider(), attempt())
    else:
        error = await outcome(provider(**{name: "wrong"}), attempt())
    assert isinstance(error, ProviderMisconfigured)
    assert (error.reason, error.detail) == (Reason.AUTH, "401 20003")
    assert not outbox(box)


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ({"status": 429}, TemporaryFailure, Reason.RATE_LIMITED),
        ({"status": 400, "code": 21617}, PermanentFailure, Reason.TOO_LARGE),
        ({"status": 400, "code": 30007}, PermanentFailure, Reason.REJECTED),
        ({"status": 400, "code": 21606}, RouteUnfit, Reason.REJECTED),
        ({"status": 400, "code": 21660}, ProviderMisconfigured, Reason.REJECTED),
        ({"status": 404, "body": "<html>not Twilio</html>"}, ProviderMisconfigured, Reason.REJECTED),
        ({"status": 400, "body": [1, 2]}, PermanentFailure, Reason.REJECTED),
        ({"status": 500}, OutcomeUnknown, Reason.UNAVAILABLE),
        ({"status": 503, "headers": {"Retry-After": "2"}}, OutcomeUnknown, Reason.UNAVAILABLE),
        ({"status": 502, "body": "bad gateway"}, OutcomeUnknown, Reason.UNAVAILABLE),
        ({"status": 200, "body": "OK"}, OutcomeUnknown, Reason.BAD_ANSWER),
        ({"status": 201, "body": {"sid": None}}, OutcomeUnknown, Reason.BAD_ANSWER),
        ({"status": 201, "body": {"sid": "SM1", "date_created": 5}}, OutcomeUnknown, Reason.BAD_ANSWER),
        (
            {"status": 201, "body": {"sid": "SM1", "status": "failed", "error_code": 30006}},
            RecipientGone,
            Reason.GONE,
        ),
        ({"cut": "before"}, OutcomeUnknown, Reason.NETWORK),
        ({"cut": "after"}, OutcomeUnknown, Reason.NETWORK),
    ],
)
async def test_a_fault_is_classified_and_the_next_sms_goes_out(
    box: Sandbox, provider: Open, fault: dict[str, object], kind: type[DeliveryError], reason: Reason
) -> None:
    sms = provider()
    play(box, fault)
    error = await outcome(sms, attempt())
    assert isinstance(error, DeliveryError)
    assert (type(error), error.reason) == (kind, reason)
    # No second try behind our back: what was cut off after it was taken is there once.
    assert len(outbox(box)) == (1 if fault == {"cut": "after"} else 0)
    assert isinstance(await outcome(sms, attempt()), Receipt)


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_rate_limit_carries_the_time_that_twilio_asks_for(box: Sandbox, provider: Open, form: str) -> None:
    value = "60" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    play(box, {"status": 429, "headers": {"Retry-After": value}})
    error = await outcome(provider(), attempt())
    assert isinstance(error, TemporaryFailure)
    assert error.retry_after is not None
    assert 55 < error.retry_after.total_seconds() <= 60


@pytest.mark.parametrize("hang", ["before", "after"])
async def test_a_cancelled_attempt_leaves_no_connection_to_be_misread(box: Sandbox, provider: Open, hang: str) -> None:
    sms = provider(sms_concurrency=1)
    play(box, {"hang": hang})
    await cancel_once(sms, attempt(), lambda: box.script.rules[0].fired)
    assert isinstance(await outcome(sms, attempt(message="second")), Receipt)
    assert outbox(box)[-1]["body"] == "second"


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (None, OutcomeUnknown, Reason.NETWORK),
        (b"220 localhost ESMTP\r\n", OutcomeUnknown, Reason.BAD_ANSWER),
        (b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"sid"', OutcomeUnknown, Reason.BAD_ANSWER),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", OutcomeUnknown, Reason.BAD_ANSWER),
        (b"HTTP/1.1 201 Created\r\n\r\n" + b"[" * 200_000, OutcomeUnknown, Reason.BAD_ANSWER),
        (
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            ProviderMisconfigured,
            Reason.BAD_ANSWER,
        ),
    ],
)
async def test_a_broken_answer_is_classified(
    provider: Open, answer: bytes | None, kind: type[DeliveryError], reason: Reason
) -> None:
    async with server(answer) as url:
        error = await outcome(provider(sms_twilio_base_url=url), attempt())
        assert isinstance(error, DeliveryError)
        assert (type(error), error.reason) == (kind, reason)


async def test_nobody_at_the_port_is_temporary(provider: Open) -> None:
    error = await outcome(provider(sms_twilio_base_url=f"http://127.0.0.1:{free_port()}"), attempt())
    assert isinstance(error, TemporaryFailure)
    assert error.reason is Reason.NETWORK


async def test_a_certificate_that_nobody_vouches_for_pauses_the_channel(box: Sandbox, provider: Open) -> None:
    tls = server_context(box.credentials.ca_key_file, box.credentials.ca_file, "127.0.0.1")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls) as listener:
        port = listener.sockets[0].getsockname()[1]
        error = await outcome(provider(sms_twilio_base_url=f"https://127.0.0.1:{port}"), attempt())
        assert isinstance(error, ProviderMisconfigured)
        assert "TLS" in error.detail


@pytest.mark.parametrize("another_stands_by", [False, True])
async def test_a_connection_that_never_comes_about_is_temporary(
    provider: Open, monkeypatch: pytest.MonkeyPatch, another_stands_by: bool
) -> None:
    hurried = attempt()
    if another_stands_by:
        hurried = replace(hurried, reach_within=timedelta(seconds=0.2))
    else:
        monkeypatch.setattr(http_attempt, "CONNECT_TIMEOUT_S", 0.2)
    started_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        # Nobody accepts, so a full queue leaves further connections neither taken nor refused.
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        error = await outcome(provider(sms_twilio_base_url=f"http://127.0.0.1:{listener.getsockname()[1]}"), hurried)
    assert time.monotonic() - started_s < 5
    assert isinstance(error, TemporaryFailure)
    assert error.reason is Reason.TIMEOUT


async def test_the_process_environment_does_not_redirect_messages(
    box: Sandbox, provider: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_REGION", "au1")
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    await provider().send(attempt())
    assert len(outbox(box)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400, "body": {"code": 21211, "message": f"{SECRET_PHONE} {SECRET}", "status": 400}},
        {"status": 503, "body": SECRET},
        {"status": 201, "body": {"sid": "SM1", "date_created": {SECRET: 1}}},
        {"cut": "after"},
        {"operator": True},
        None,
    ],
)
async def test_nothing_personal_stands_in_an_error_or_in_a_log(
    box: Sandbox, provider: Open, caplog: pytest.LogCaptureFixture, fault: dict[str, object] | None
) -> None:
    caplog.set_level(logging.DEBUG)
    if fault:
        play(box, fault)
    found = await outcome(provider(), attempt(to=SECRET_PHONE, message=f"Body {SECRET}", title=f"Title {SECRET}"))
    assert isinstance(found, DeliveryError) == bool(fault)
    shown = repr(found)
    if isinstance(found, Exception):
        shown += "".join(traceback.format_exception(found))
    for text in (shown, caplog.text):
        assert SECRET not in text
        assert SECRET_PHONE.removeprefix("+") not in text
        assert box.credentials.twilio_sid not in text
        assert box.credentials.twilio_token not in text
