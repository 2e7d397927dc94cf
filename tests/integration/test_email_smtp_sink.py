"""The SMTP provider against Postfix's own test server, ``smtp-sink`` (Debian package postfix)."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from carillon.local.ports import LOOPBACK, free_port
from services.email.smtp.provider import SmtpProvider
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
)
from shared.delivery.attempt import Receipt
from tests.attempts import outcome
from tests.smtp import attempt, email_settings, open_smtp
from tests.waiting import eventually

pytestmark = pytest.mark.smtp_sink

MAILS = 200
CONCURRENCY = 8

Sink = Callable[..., Awaitable[SmtpProvider]]


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    """Where the server, which drops its rights, writes what it gets."""
    folder = tmp_path / "dumps"
    folder.mkdir()
    folder.chmod(0o777)
    # The folders of pytest and of its workers are closed to others.
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent.name.startswith(("pytest-", "popen-")):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o711)
    return folder


@pytest_asyncio.fixture
async def sink(dumps: Path) -> AsyncIterator[Sink]:
    """A function that starts the server with options and opens a provider for it; both ended after the test."""
    servers: list[asyncio.subprocess.Process] = []
    providers: list[SmtpProvider] = []

    async def start(*options: str) -> SmtpProvider:
        port = free_port()
        rights = ("-u", "nobody") if os.getuid() == 0 else ()
        servers.append(
            await asyncio.create_subprocess_exec(
                "smtp-sink", *rights, "-c", "-d", f"{dumps}/%M.", *options, f"{LOOPBACK}:{port}", "100",
                env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        )  # fmt: skip
        await eventually(lambda: listens(port), what="smtp-sink")
        settings = email_settings(f"smtp://{LOOPBACK}:{port}", email_concurrency=CONCURRENCY)
        providers.append(open_smtp(settings))
        return providers[-1]

    yield start
    for provider in providers:
        await provider.close()
    for server in servers:
        server.kill()
        await server.wait()


def dumped(folder: Path) -> list[str]:
    return [file.read_bytes().replace(b"\r\n", b"\n").decode() for file in folder.iterdir()]


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_every_mail_arrives_once_as_it_was_written(sink: Sink, dumps: Path) -> None:
    provider = await sink()
    text = "Mail {0} begins.\n.hidden\n..\n.\nMail {0} ends.\n"
    async with asyncio.TaskGroup() as sends:
        for number in range(MAILS):
            sends.create_task(provider.send(attempt(f"user{number}@example.com", message=text.format(number))))
    await eventually(lambda: len(list(dumps.iterdir())) == MAILS)
    found = Counter[str]()
    for content in dumped(dumps):
        to = content.partition("X-Rcpt-Args: <user")[2].partition("@")[0]
        assert text.format(to).rstrip() in content
        found[to] += 1
    assert found == {str(number): 1 for number in range(MAILS)}


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        (("-r", "MAIL"), TemporaryFailure, Reason.UNAVAILABLE),
        (("-r", "RCPT"), TemporaryFailure, Reason.UNAVAILABLE),
        (("-r", "DATA"), TemporaryFailure, Reason.UNAVAILABLE),
        (("-r", "."), TemporaryFailure, Reason.UNAVAILABLE),
        (("-f", "MAIL"), ProviderMisconfigured, Reason.REJECTED),
        (("-f", "RCPT"), PermanentFailure, Reason.REJECTED),
        (("-f", "DATA"), PermanentFailure, Reason.REJECTED),
        (("-f", "."), PermanentFailure, Reason.REJECTED),
        (("-f", "RCPT", "-B", "550 5.7.1 not to this list"), PermanentFailure, Reason.REJECTED),
        (("-f", "MAIL", "-B", "530 5.7.0 log in first"), ProviderMisconfigured, Reason.AUTH),
        (("-f", ".", "-B", "552 5.3.4 too big"), PermanentFailure, Reason.TOO_LARGE),
        (("-q", "CONNECT"), TemporaryFailure, Reason.NETWORK),
        (("-q", "MAIL"), TemporaryFailure, Reason.NETWORK),
        (("-q", "RCPT"), TemporaryFailure, Reason.NETWORK),
        (("-q", "DATA"), TemporaryFailure, Reason.NETWORK),
        (("-q", "."), OutcomeUnknown, Reason.NETWORK),
    ],
)
async def test_its_faults_are_classified(
    sink: Sink, options: tuple[str, ...], kind: type[DeliveryError], reason: Reason
) -> None:
    error = await outcome(await sink(*options), attempt())
    assert isinstance(error, DeliveryError), error
    assert (type(error), error.reason) == (kind, reason)


async def test_a_server_without_extensions_is_spoken_to(sink: Sink) -> None:
    # No EHLO, no PIPELINING.
    assert isinstance(await outcome(await sink("-e", "-p"), attempt()), Receipt)
