"""The SMTP provider against real relays: the sandbox's, and one that follows a script line by line."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from carillon.local.ports import free_port
from sandbox.authority import server_context
from sandbox.script import Rule
from sandbox.server import Options, Sandbox, running
from services.email.smtp import connection
from services.email.smtp import pool as connections
from services.email.smtp import provider as providers
from services.email.smtp.provider import SmtpProvider
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.core.model import Priority
from shared.delivery.attempt import Receipt
from tests.attempts import cancel_once, outcome
from tests.smtp import ID, attempt, email_settings, open_smtp, relay
from tests.waiting import eventually

PASSWORD = "s3cret,pass/word"
# Planted in everything personal, and looked for in errors and logs.
SECRET = "planted7secret"

Open = Callable[..., SmtpProvider]


@pytest.fixture
async def secured(data: Path) -> AsyncIterator[Sandbox]:
    """A relay that asks for STARTTLS and a password."""
    async with running(Options(data=data, smtp_user="user@example.com", smtp_password=PASSWORD)) as sandbox:
        yield sandbox


@pytest.fixture
async def provider() -> AsyncIterator[Open]:
    """A function that opens a provider for a relay; closed after the test."""
    opened: list[SmtpProvider] = []

    def open_for(url: str, **others: Any) -> SmtpProvider:
        settings = email_settings(url, **others)
        opened.append(open_smtp(settings))
        return opened[-1]

    yield open_for
    for each in opened:
        await each.close()


def play(box: Sandbox, fault: dict[str, object], to: str | None = None) -> None:
    box.script.add(Rule.model_validate({"provider": "smtp", "to": to, "fault": fault}))


def outbox(box: Sandbox) -> list[dict[str, Any]]:
    return [entry.as_json() for entry in box.kept.select()]


async def test_an_accepted_mail_is_with_the_relay(box: Sandbox, provider: Open) -> None:
    receipt = await provider(box.addresses.smtp_url).send(attempt(message="Good morning.\n.dot\n..dots\n"))
    [entry] = outbox(box)
    assert receipt == Receipt(provider_id=entry["id"])
    assert (entry["to"], entry["title"], entry["from"]) == (
        "user123@example.com",
        "Hello",
        "notifications@example.com",
    )
    assert entry["body"] == "Good morning.\n.dot\n..dots\n"
    assert entry["notification_id"] == ID


async def test_a_mail_whose_text_takes_long_does_not_hold_up_the_others(box: Sandbox, provider: Open) -> None:
    smtp = provider(box.addresses.smtp_url)
    await smtp.send(attempt(title="warm"))
    long = attempt(title="long", message="", html_body="<p>" + "a<br>" * 100_000)
    async with asyncio.TaskGroup() as sends:
        sends.create_task(smtp.send(long), name="long")
        for number in range(5):
            sends.create_task(smtp.send(attempt(title=f"short {number}")), name=f"short-{number}")
    titles = [entry["title"] for entry in outbox(box)]
    assert (titles[0], titles[-1], len(titles)) == ("warm", "long", 7)


async def test_starttls_and_password_are_used_where_the_url_says_so(secured: Sandbox, provider: Open) -> None:
    smtp = provider(secured.addresses.smtp_url, email_ca_file=secured.credentials.ca_file)
    assert isinstance(await outcome(smtp, attempt()), Receipt)
    assert len(outbox(secured)) == 1


async def test_a_wrong_password_pauses_the_channel_after_a_single_try(secured: Sandbox, provider: Open) -> None:
    url = f"smtp://user%40example.com:{SECRET}@127.0.0.1:{secured.addresses.smtp_port}?tls=starttls"
    refusal = await outcome(provider(url, email_ca_file=secured.credentials.ca_file), attempt())
    assert isinstance(refusal, ProviderMisconfigured)
    assert (refusal.reason, refusal.detail) == (Reason.AUTH, "535 5.7.8")


async def test_a_certificate_that_nobody_vouches_for_pauses_the_channel(secured: Sandbox, provider: Open) -> None:
    refusal = await outcome(provider(secured.addresses.smtp_url), attempt())
    assert isinstance(refusal, ProviderMisconfigured)
    assert "TLS" in refusal.detail
    assert not outbox(secured)


async def test_starttls_that_is_not_offered_pauses_the_channel(box: Sandbox, provider: Open) -> None:
    url = box.addresses.smtp_url.replace("tls=none", "tls=starttls")
    assert isinstance(await outcome(provider(url), attempt()), ProviderMisconfigured)
    assert not outbox(box)


async def test_tls_from_the_first_byte(box: Sandbox, provider: Open) -> None:
    credentials = box.credentials
    tls = server_context(credentials.ca_key_file, credentials.ca_file, "127.0.0.1")
    async with relay(tls=tls) as scripted:
        assert isinstance(await outcome(provider(scripted.url, email_ca_file=credentials.ca_file), attempt()), Receipt)
        assert isinstance(await outcome(provider(scripted.url), attempt()), ProviderMisconfigured)
        assert len(scripted.mails) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ({"reply": "550 5.1.1 no such user", "at": "rcpt"}, RecipientGone, Reason.GONE),
        ({"reply": "452 4.2.2 full", "at": "rcpt"}, TemporaryFailure, Reason.MAILBOX_FULL),
        ({"reply": "451 4.7.1 greylisted", "at": "rcpt"}, TemporaryFailure, Reason.RATE_LIMITED),
        ({"reply": "421 4.3.2 closing", "at": "rcpt"}, TemporaryFailure, Reason.UNAVAILABLE),
        ({"reply": "421 4.3.2 closing", "at": "mail"}, TemporaryFailure, Reason.UNAVAILABLE),
        ({"reply": "550 5.1.8 not your domain", "at": "mail"}, ProviderMisconfigured, Reason.REJECTED),
        ({"reply": "530 5.7.0 log in first", "at": "mail"}, ProviderMisconfigured, Reason.AUTH),
        ({"reply": "550 5.7.1 relaying denied", "at": "rcpt"}, PermanentFailure, Reason.REJECTED),
        ({"reply": "554 5.7.1 spam", "at": "data"}, PermanentFailure, Reason.REJECTED),
        ({"reply": "550 5.7.1 not your sender", "at": "mail"}, ProviderMisconfigured, Reason.AUTH),
        ({"reply": "554 5.6.0 bad content", "at": "data"}, PermanentFailure, Reason.REJECTED),
        ({"reply": "552 5.3.4 too big", "at": "data"}, PermanentFailure, Reason.TOO_LARGE),
        ({"reply": "451 4.3.0 later", "at": "data"}, TemporaryFailure, Reason.UNAVAILABLE),
        ({"operator": True}, ProviderMisconfigured, Reason.AUTH),
        ({"cut": "before"}, TemporaryFailure, Reason.NETWORK),
        ({"cut": "before", "at": "rcpt"}, TemporaryFailure, Reason.NETWORK),
        ({"cut": "before", "at": "mail"}, TemporaryFailure, Reason.NETWORK),
        ({"cut": "after"}, OutcomeUnknown, Reason.NETWORK),
    ],
)
async def test_a_fault_is_classified_and_the_next_mail_goes_out(
    box: Sandbox, provider: Open, fault: dict[str, object], kind: type[DeliveryError], reason: Reason
) -> None:
    smtp = provider(box.addresses.smtp_url)
    play(box, fault)
    error = await outcome(smtp, attempt())
    assert isinstance(error, DeliveryError)
    assert (type(error), error.reason) == (kind, reason)
    # Only what was cut off after the final dot is there without our knowing.
    assert len(outbox(box)) == (1 if kind is OutcomeUnknown else 0)
    assert isinstance(await outcome(smtp, attempt()), Receipt)


@pytest.mark.parametrize("hang", ["before", "after"])
async def test_a_cancelled_attempt_leaves_no_connection_to_be_misread(box: Sandbox, provider: Open, hang: str) -> None:
    smtp = provider(box.addresses.smtp_url)
    play(box, {"hang": hang})
    await cancel_once(smtp, attempt(), lambda: box.script.rules[0].fired)
    assert isinstance(await outcome(smtp, attempt(title="second")), Receipt)
    assert outbox(box)[-1]["title"] == "second"


async def test_a_cancelled_attempt_closes_its_connection(provider: Open) -> None:
    # An interim line without an end: the relay is never heard of again.
    async with relay({"CONTENT": "250-wait"}) as scripted:
        await cancel_once(provider(scripted.url), attempt(), lambda: scripted.mails)
        await eventually(lambda: scripted.open == 0)
    async with relay({"MAIL": "250-wait"}) as scripted:
        await cancel_once(provider(scripted.url), attempt(), lambda: "MAIL" in scripted.commands)
        await eventually(lambda: scripted.open == 0)


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ({"CONTENT": "HTTP/1.1 200 OK"}, OutcomeUnknown, Reason.BAD_ANSWER),
        ({"CONTENT": "354 go on"}, OutcomeUnknown, Reason.BAD_ANSWER),
        ({"CONTENT": None}, OutcomeUnknown, Reason.NETWORK),
        ({"RCPT": "\x00\xff\x16\x03"}, TemporaryFailure, Reason.BAD_ANSWER),
        ({"DATA": "250 2.0.0 already?"}, TemporaryFailure, Reason.BAD_ANSWER),
        ({"DATA": None}, TemporaryFailure, Reason.NETWORK),
        ({"GREETING": "SSH-2.0-OpenSSH"}, TemporaryFailure, Reason.BAD_ANSWER),
        ({"GREETING": "421 4.3.2 too busy"}, TemporaryFailure, Reason.UNAVAILABLE),
        ({"GREETING": "554 5.7.1 blocked"}, ProviderMisconfigured, Reason.REJECTED),
        ({"GREETING": None}, TemporaryFailure, Reason.NETWORK),
        ({"EHLO": "550 bad name"}, ProviderMisconfigured, Reason.REJECTED),
    ],
)
async def test_a_broken_relay_is_classified(
    provider: Open, script: dict[str, str | None], kind: type[DeliveryError], reason: Reason
) -> None:
    async with relay(script) as scripted:
        error = await outcome(provider(scripted.url), attempt())
        assert isinstance(error, DeliveryError)
        assert (type(error), error.reason) == (kind, reason)


async def test_nobody_at_the_port_is_temporary(provider: Open) -> None:
    error = await outcome(provider(f"smtp://127.0.0.1:{free_port()}"), attempt())
    assert isinstance(error, TemporaryFailure)
    assert error.reason is Reason.NETWORK


async def test_a_relay_that_never_greets_is_temporary(provider: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        error = await outcome(provider(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"), attempt())
        assert isinstance(error, TemporaryFailure)
        assert error.reason is Reason.TIMEOUT


async def test_a_connection_is_used_again_and_closed_politely(provider: Open) -> None:
    async with relay() as scripted:
        smtp = provider(scripted.url)
        for _ in range(3):
            receipt = await smtp.send(attempt())
            assert receipt.provider_id == "4bQ7xyz"
        assert (scripted.connections, len(scripted.mails)) == (1, 3)
        await smtp.close()
        assert scripted.commands[-1] == "QUIT"
        await eventually(lambda: scripted.open == 0)


async def test_connections_are_as_many_as_the_mails_in_flight(provider: Open) -> None:
    async with relay() as scripted:
        # Three quarters of the places are for mails of normal priority.
        smtp = provider(scripted.url, email_concurrency=4)
        async with asyncio.TaskGroup() as sends:
            for number in range(20):
                sends.create_task(smtp.send(attempt(title=f"mail {number}")), name=f"send-{number}")
        assert len(scripted.mails) == 20
        assert scripted.connections == 3


async def test_where_every_connection_is_busy_a_mail_is_put_off_and_a_critical_one_goes(
    provider: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "PLACE_WAIT_S", 0.1)
    async with relay({"MAIL": "250-wait"}, {}) as scripted:
        smtp = provider(scripted.url, email_concurrency=2)
        hanging = asyncio.create_task(smtp.send(attempt()))
        await eventually(lambda: "MAIL" in scripted.commands)
        error = await outcome(smtp, attempt())
        # A limit of ours, and no sign that the relay is away.
        assert isinstance(error, TemporaryFailure)
        assert error.reason is Reason.OWN_LIMIT
        assert isinstance(await outcome(smtp, attempt(priority=Priority.CRITICAL)), Receipt)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging


@pytest.mark.parametrize("farewell", [b"421 4.4.2 idle too long\r\n", b""])
async def test_a_connection_that_the_relay_closed_is_replaced_within_the_attempt(
    provider: Open, farewell: bytes
) -> None:
    async with relay() as scripted:
        smtp = provider(scripted.url)
        await smtp.send(attempt())
        scripted.writers[0].write(farewell)
        scripted.writers[0].close()
        assert isinstance(await outcome(smtp, attempt()), Receipt)
        assert (scripted.connections, len(scripted.mails)) == (2, 2)


@pytest.mark.parametrize("answer", ["421 4.4.2 idle too long", None])
async def test_an_idle_connection_that_ends_at_mail_is_not_a_failed_attempt(provider: Open, answer: str | None) -> None:
    first: dict[str, str | None] = {}
    async with relay(first) as scripted:
        smtp = provider(scripted.url)
        await smtp.send(attempt())
        first["MAIL"] = answer
        assert isinstance(await outcome(smtp, attempt()), Receipt)
        assert (scripted.connections, len(scripted.mails)) == (2, 2)


async def test_a_relay_that_is_away_is_tried_by_one_mail_at_a_time(
    provider: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[dict[str, str | None]] = [{"GREETING": None}] * (connections.FAILED_OPENS + 1)
    async with relay(*away) as scripted:
        smtp = provider(scripted.url)
        ends = [await outcome(smtp, attempt()) for _ in range(20)]
        assert all(isinstance(end, TemporaryFailure) and end.reason is Reason.NETWORK for end in ends)
        assert scripted.connections == connections.FAILED_OPENS
        monkeypatch.setattr(connections, "OPEN_AGAIN_S", 0.0)

        async def arrives() -> bool:
            return isinstance(await outcome(smtp, attempt()), Receipt)

        await eventually(arrives)
        assert scripted.connections == connections.FAILED_OPENS + 2
        assert isinstance(await outcome(smtp, attempt()), Receipt)


async def test_a_connection_is_closed_after_content_that_was_refused(provider: Open) -> None:
    async with relay({"CONTENT": "554 5.6.0 not this one"}) as scripted:
        smtp = provider(scripted.url)
        assert isinstance(await outcome(smtp, attempt()), PermanentFailure)
        await eventually(lambda: scripted.open == 0)
        assert isinstance(await outcome(smtp, attempt()), Receipt)
        assert scripted.connections == 2


async def test_a_connection_is_replaced_after_so_many_mails(provider: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAILS_LIMIT", 2)
    async with relay() as scripted:
        smtp = provider(scripted.url)
        for _ in range(4):
            await smtp.send(attempt())
        assert scripted.connections == 2
        await eventually(lambda: scripted.open == 0)
        assert scripted.commands.count("QUIT") == 2


async def test_an_old_connection_is_replaced(provider: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "AGE_LIMIT_S", 0.0)
    async with relay() as scripted:
        smtp = provider(scripted.url)
        await smtp.send(attempt())
        await smtp.send(attempt())
        assert scripted.connections == 2


async def test_an_idle_connection_is_closed(provider: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_LIMIT_S", 0.1)
    async with relay() as scripted:
        await provider(scripted.url).send(attempt())
        assert scripted.open == 1
        await eventually(lambda: scripted.open == 0)
        assert scripted.commands[-1] == "QUIT"


@pytest.mark.parametrize(
    "script",
    [
        {"RCPT": f"550 5.1.1 <{SECRET}@example.com> is unknown"},
        {"RCPT": f"{SECRET} is no reply"},
        {"MAIL": f"451 4.3.0 {SECRET}"},
        {"CONTENT": f"554 5.6.0 {SECRET}"},
        {"CONTENT": None},
        {"GREETING": f"554 {SECRET}"},
        {"AUTH": f"535 5.7.8 {SECRET} is wrong"},
        {},
    ],
)
async def test_nothing_personal_stands_in_an_error_or_in_a_log(
    provider: Open, caplog: pytest.LogCaptureFixture, script: dict[str, str | None]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with relay({"EHLO": "250-localhost\r\n250 AUTH PLAIN", "AUTH": "235 ok", **script}) as scripted:
        url = scripted.url.replace("smtp://", f"smtp://{SECRET}:{SECRET}@")
        found = await outcome(provider(url), attempt(f"{SECRET}@example.com", f"Title {SECRET}", f"Body {SECRET}"))
        assert isinstance(found, DeliveryError) == bool(script)
        shown = repr(found)
        if isinstance(found, Exception):
            shown += "".join(traceback.format_exception(found))
        assert SECRET not in shown
        assert SECRET not in caplog.text
