"""Replies of a relay, however they are cut on the way."""

import asyncio
from itertools import pairwise
from typing import Any

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.email.smtp.dialogue import REPLIES_LIMIT_BYTES, Dialogue


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


_REPLIES = b"250-first\r\n250-2.1.0\r\n250 last\r\n354 \r\n221\r\n"
_READ = [(250, "first\n2.1.0\nlast"), (354, ""), (221, "")]


async def asked(pieces: list[bytes], commands: int) -> tuple[list[tuple[int, str]], Wire]:
    wire = Wire()
    dialogue = Dialogue(wire)
    asking = asyncio.ensure_future(dialogue.ask(*[b"NOOP\r\n"] * commands))
    await asyncio.sleep(0)
    for piece in pieces:
        dialogue.data_received(piece)
    dialogue.connection_lost(None)
    return [(reply.code, reply.message) for reply in await asking], wire


@given(cuts=st.sets(st.integers(0, len(_REPLIES))))
def test_replies_are_read_wherever_they_are_cut(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(_REPLIES)]
    pieces = [_REPLIES[start:end] for start, end in pairwise(edges)]
    replies, wire = asyncio.run(asked(pieces, 3))
    assert replies == _READ
    assert wire.written == b"NOOP\r\n" * 3
    assert not wire.closed


async def test_what_came_before_the_end_is_returned() -> None:
    assert (await asked([b"250 ok\r\n421 closing\r\n"], 3))[0] == [(250, "ok"), (421, "closing")]


async def test_an_end_without_a_reply_is_an_error() -> None:
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await asked([b"250-half"], 1)


@pytest.mark.parametrize(
    "said",
    [
        b"\r\n", b"hello\r\n", b"25 ok\r\n", b"2500 ok\r\n", b"150 preliminary\r\n", b"HTTP/1.1 400 Bad Request\r\n",
        b"\xff\xfe\r\n", b"250-ok\r\nnot a line\r\n", b"x" * (REPLIES_LIMIT_BYTES + 1),
        b"250-more\r\n" * (REPLIES_LIMIT_BYTES // 10 + 1),
    ],
)  # fmt: skip
async def test_what_is_no_reply_is_an_error_that_does_not_quote_it(said: bytes) -> None:
    with pytest.raises(aiosmtplib.SMTPResponseException) as error:
        await asked([said], 1)
    assert (error.value.code, error.value.message) == (-1, "not a reply")


async def test_more_than_was_asked_closes_the_connection() -> None:
    replies, wire = await asked([b"250 ok\r\n250 and more\r\n"], 1)
    assert replies == [(250, "ok")]
    assert wire.closed
