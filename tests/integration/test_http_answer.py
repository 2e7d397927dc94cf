"""Reading an HTTP answer: to the end, at most so much, and not for ever."""

import asyncio
import tracemalloc
from collections.abc import Callable

import aiohttp
import pytest

from shared.delivery import http_answer
from tests import raw_http
from tests.raw_http import raw_server

BODY = bytes(range(256)) * 40
# Packed: 64 KiB, more or less.
BOMB_BYTES = 64 * 1024 * 1024

COMPLETE: dict[str, Callable[[], raw_http.Pieces]] = {
    "whole": lambda: raw_http.whole(BODY),
    "chunked": lambda: raw_http.chunked(BODY),
    "byte by byte": lambda: raw_http.byte_by_byte(BODY),
    "packed": lambda: raw_http.packed(BODY),
    "until the connection ends": lambda: [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY[:10], BODY[10:]],
}


@pytest.mark.parametrize("pieces", [pytest.param(answer, id=name) for name, answer in COMPLETE.items()])
async def test_answer_is_read_to_its_end(pieces: Callable[[], raw_http.Pieces]) -> None:
    async with raw_server(pieces) as server, aiohttp.ClientSession() as session:
        async with session.get(server.url) as response:
            assert await http_answer.whole(response, len(BODY), within_s=10) == BODY
        async with session.get(server.url) as response:
            assert await http_answer.beginning(response, 1000, within_s=10) == BODY[:1000]
        async with session.get(server.url) as response:
            with pytest.raises(http_answer.AnswerTooLong):
                await http_answer.whole(response, len(BODY) - 1, within_s=10)


async def test_answer_that_breaks_off_is_no_answer() -> None:
    async with (
        raw_server(lambda: raw_http.cut(BODY)) as server,
        aiohttp.ClientSession() as session,
        session.get(server.url) as response,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await http_answer.beginning(response, 10 * len(BODY), within_s=10)


async def test_answer_that_does_not_end_is_left_at_the_deadline() -> None:
    async with raw_server(lambda: raw_http.byte_by_byte(BODY)) as server, aiohttp.ClientSession() as session:
        server.pause_s = 0.02
        async with asyncio.timeout(30), session.get(server.url) as response:
            with pytest.raises(TimeoutError):
                await http_answer.whole(response, len(BODY), within_s=0.2)


async def test_small_answer_that_unpacks_to_much_takes_no_more_memory_than_its_bound() -> None:
    bomb = list(raw_http.packed(bytes(BOMB_BYTES)))
    async with raw_server(lambda: bomb) as server, aiohttp.ClientSession() as session:
        tracemalloc.start()
        try:
            async with session.get(server.url) as response:
                with pytest.raises(http_answer.AnswerTooLong):
                    await http_answer.whole(response, 64 * 1024, within_s=10)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < BOMB_BYTES / 16
