"""What is cut off while it waits for something of ours has not been sent, and so is not in doubt."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from sandbox.credentials import service_environment
from sandbox.script import Rule
from sandbox.server import Sandbox
from shared.core.clock import SystemClock
from shared.core.errors import Reason
from shared.core.model import State
from shared.delivery.attempt import Attempt
from shared.delivery.provider import Provider
from shared.ledger.claims import Outcome
from tests import sms, smtp
from tests.attempts import perform
from tests.push import android, build_providers, changed, make_attempt, settings_from
from tests.waiting import eventually

DEADLINE = timedelta(seconds=1)

Build = Callable[..., Provider]


def performing(provider: Provider, attempt: Attempt, deadline: timedelta = DEADLINE) -> asyncio.Task[Outcome]:
    """Make an attempt as the delivery loop does, beside the test."""
    return asyncio.create_task(perform(provider, attempt, deadline), name="attempt")


def not_sent(outcome: Outcome, reason: Reason) -> bool:
    """Tell whether an attempt ended as one of which nothing had left us."""
    return (outcome.state, outcome.word, outcome.reason, outcome.in_doubt) == (State.PENDING, "retry", reason, False)


@asynccontextmanager
async def silent_server(first_words: bytes = b"") -> AsyncIterator[int]:
    """A server that takes connections, says this much and no more; yields its port."""
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        writer.write(first_words)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        open_now.discard(writer)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]
        await eventually(lambda: not open_now)


async def test_an_sms_that_waits_for_a_free_connection_was_not_sent(box: Sandbox) -> None:
    provider = sms.open_twilio(sms.settings_for(box, sms_concurrency=1))[0]
    box.script.add(Rule.model_validate({"provider": "twilio", "fault": {"hang": "after"}}))
    try:
        sent = performing(provider, sms.attempt())
        await eventually(lambda: box.script.rules[0].fired)
        waiting = await performing(provider, sms.attempt(), DEADLINE / 2)
        assert not_sent(waiting, Reason.OWN_LIMIT), waiting
        # What was under way is in doubt as ever, and only that was taken.
        assert ((await sent).word, len(sms.outbox(box))) == ("unknown", 1)
    finally:
        await provider.close()


async def test_a_push_that_waits_for_a_free_connection_was_not_sent(box: Sandbox, push: Build) -> None:
    provider = push("fcm", push_concurrency=1)
    box.script.add(Rule.model_validate({"provider": "fcm", "fault": {"hang": "after", "at": "send"}}))
    sent = performing(provider, make_attempt(android()))
    await eventually(lambda: box.script.rules[0].fired)
    waiting = await performing(provider, make_attempt(android()), DEADLINE / 2)
    assert not_sent(waiting, Reason.OWN_LIMIT), waiting
    assert (await sent).word == "unknown"


async def test_a_push_whose_turn_is_too_late_is_not_sent_and_takes_nobodys_turn(push: Build) -> None:
    provider = push("fcm", push_fcm_per_second=1)
    assert (await performing(provider, make_attempt(android()))).word == "ok"
    # A second's worth a second: none of these can go before the deadline, and none may push the next one back.
    late = await asyncio.gather(*(performing(provider, make_attempt(android()), DEADLINE / 4) for _ in range(20)))
    assert [each for each in late if not not_sent(each, Reason.OWN_LIMIT)] == []
    assert (await performing(provider, make_attempt(android()), 4 * DEADLINE)).word == "ok"


async def test_a_push_that_waits_for_an_access_token_was_not_sent(box: Sandbox, push: Build) -> None:
    box.script.add(Rule.model_validate({"provider": "fcm", "fault": {"hang": "before", "at": "token"}}))
    waiting = await performing(push("fcm"), make_attempt(android()))
    assert not_sent(waiting, Reason.TIMEOUT), waiting


async def test_a_mail_that_a_relay_did_not_ask_the_content_of_was_not_sent() -> None:
    async with silent_server(b"220 localhost\r\n") as port:
        settings = smtp.email_settings(f"smtp://127.0.0.1:{port}?tls=none")
        provider = smtp.open_smtp(settings)
        waiting = await performing(provider, smtp.attempt())
        await provider.close()
    assert not_sent(waiting, Reason.TIMEOUT), waiting


@pytest.fixture
async def push(box: Sandbox) -> AsyncIterator[Build]:
    """A function that builds a push provider for the sandbox by its name; closed after the test."""
    built: list[Provider] = []

    def build(name: str, **others: object) -> Provider:
        settings = changed(settings_from(service_environment(box.credentials.data)), **others)
        built.extend(build_providers(settings, SystemClock()))
        return next(provider for provider in reversed(built) if provider.name == name)

    yield build
    for provider in built:
        await provider.close()
