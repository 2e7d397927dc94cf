"""Commands to a relay in groups where it offers PIPELINING (RFC 2920), and one by one where it does not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.email.smtp.connection import REFUSALS_LIMIT
from services.email.smtp.provider import SmtpProvider
from shared.core.errors import ProviderMisconfigured, Reason, RecipientGone, TemporaryFailure
from tests.smtp import attempt, email_settings, open_smtp
from tests.waiting import eventually

_EHLO = {True: b"250-localhost\r\n250 PIPELINING\r\n", False: b"250 localhost\r\n"}


@dataclass
class ChunkRelay:
    """A relay that keeps what arrives at once as one chunk, and answers each of its lines.

    Attributes:
        replies: to MAIL, RCPT, DATA and the content.
        early: said after an accepted mail, unasked.
        chunks: what came between greeting and content, for each connection.
        mails: the contents that were accepted, dots and all.
    """

    offers: bool = True
    replies: Sequence[bytes] = (b"250 ok", b"250 ok", b"354 go on", b"250 2.0.0 Ok: queued as 4bQ7xyz")
    early: bytes = b""
    chunks: list[list[bytes]] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunks: list[bytes] = []
        self.chunks.append(chunks)
        writer.write(b"220 localhost\r\n")
        try:
            assert (await reader.readuntil(b"\r\n")).startswith(b"EHLO")
            writer.write(_EHLO[self.offers])
            while chunk := await reader.read(65536):
                chunks.append(chunk)
                for line in chunk.splitlines():
                    await self._answer(line, reader, writer)
        finally:
            writer.close()

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mail, rcpt, data, content = self.replies
        reply = {b"MAIL": mail, b"RCPT": rcpt, b"DATA": data}.get(line[:4], b"250 ok")
        writer.write(reply + b"\r\n")
        if line == b"DATA" and reply.startswith(b"354"):
            self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(content + b"\r\n" + self.early)


@asynccontextmanager
async def serving(relay: ChunkRelay) -> AsyncIterator[SmtpProvider]:
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    async with server:
        settings = email_settings(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}?tls=none")
        provider = open_smtp(settings)
        try:
            yield provider
        finally:
            await provider.close()


def verbs(chunk: bytes) -> list[bytes]:
    return [line[:4] for line in chunk.splitlines()]


async def test_where_it_is_offered_a_mail_is_announced_in_one_piece() -> None:
    relay = ChunkRelay()
    async with serving(relay) as provider:
        for number in range(3):
            receipt = await provider.send(attempt(message=f"Mail {number}"))
            assert receipt.provider_id == "4bQ7xyz"
    [chunks] = relay.chunks
    assert [verbs(chunk) for chunk in chunks] == [[b"MAIL", b"RCPT", b"DATA"]] * 3 + [[b"QUIT"]]
    assert [f"Mail {number}".encode() in mail for number, mail in enumerate(relay.mails)] == [True] * 3


async def test_where_it_is_not_offered_each_command_waits_for_its_reply() -> None:
    relay = ChunkRelay(offers=False)
    async with serving(relay) as provider:
        await provider.send(attempt())
    [chunks] = relay.chunks
    assert [verbs(chunk) for chunk in chunks] == [[b"MAIL"], [b"RCPT"], [b"DATA"], [b"QUIT"]]
    assert len(relay.mails) == 1


@pytest.mark.parametrize("data", [b"503 no recipient", b"554 5.5.1 no valid recipients"])
async def test_of_a_group_the_first_refusal_counts(data: bytes) -> None:
    relay = ChunkRelay(replies=(b"250 ok", b"550 5.1.1 no such user", data, b"250 ok"))
    async with serving(relay) as provider:
        with pytest.raises(RecipientGone):
            await provider.send(attempt())
    assert relay.mails == []


@pytest.mark.parametrize("offers", [True, False])
async def test_a_refused_recipient_costs_no_connection(offers: bool) -> None:
    relay = ChunkRelay(offers=offers, replies=(b"250 ok", b"550 5.1.1 no such user", b"503 no recipient", b"250 ok"))
    async with serving(relay) as provider:
        for _ in range(2):
            with pytest.raises(RecipientGone):
                await provider.send(attempt())
        relay.replies = ChunkRelay().replies
        await provider.send(attempt())
    [chunks] = relay.chunks
    told = [verb for chunk in chunks for verb in verbs(chunk)]
    # Of a mail whose recipient is refused DATA is said only where it is said at once.
    announced = [b"MAIL", b"RCPT", b"DATA"] if offers else [b"MAIL", b"RCPT"]
    assert told == [*announced, b"RSET", *announced, b"RSET", b"MAIL", b"RCPT", b"DATA", b"QUIT"]
    assert len(relay.mails) == 1


async def test_a_relay_that_refuses_one_after_the_other_is_connected_to_again() -> None:
    relay = ChunkRelay(replies=(b"250 ok", b"550 5.1.1 no such user", b"503 no recipient", b"250 ok"))
    async with serving(relay) as provider:
        for _ in range(REFUSALS_LIMIT + 1):
            with pytest.raises(RecipientGone):
                await provider.send(attempt())
    assert [len(chunks) for chunks in relay.chunks] == [REFUSALS_LIMIT, 2]


async def test_who_is_refused_for_good_logs_in_anew() -> None:
    relay = ChunkRelay(replies=(b"530 5.7.0 authentication required", b"503 no", b"503 no", b"250 ok"))
    async with serving(relay) as provider:
        for _ in range(2):
            with pytest.raises(ProviderMisconfigured):
                await provider.send(attempt())
    assert len(relay.chunks) == 2


async def test_a_relay_that_asks_for_the_content_of_a_refused_mail_does_not_get_it() -> None:
    # RFC 2920, 3.1: DATA may be answered with 354 although no recipient was taken.
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 localhost\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(_EHLO[True])
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n550 5.1.1 no such user\r\n354 go on\r\n")
        received.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        settings = email_settings(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}?tls=none")
        provider = open_smtp(settings)
        with pytest.raises(RecipientGone):
            await provider.send(attempt())
        await provider.close()
        await eventually(lambda: bool(received))
    assert received == [b""]


async def test_what_a_relay_says_unasked_is_no_answer_to_the_next_mail() -> None:
    relay = ChunkRelay(early=b"421 4.4.2 idle too long\r\n")
    async with serving(relay) as provider:
        for _ in range(2):
            receipt = await provider.send(attempt())
            assert receipt.provider_id == "4bQ7xyz"
    assert len(relay.chunks) == 2
    assert len(relay.mails) == 2


async def test_more_replies_than_commands_end_the_connection() -> None:
    relay = ChunkRelay(replies=(b"250 ok", b"250 ok\r\n250 once more", b"354 go on", b"250 ok"))
    async with serving(relay) as provider:
        # One reply too early, the content is asked for with a 250.
        with pytest.raises(TemporaryFailure) as failure:
            await provider.send(attempt())
        assert failure.value.reason is Reason.BAD_ANSWER
    assert relay.mails == []
