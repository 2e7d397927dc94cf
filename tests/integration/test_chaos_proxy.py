"""A bad link: what passes is unchanged, and each fault is seen as such by both sides."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
import pytest_asyncio

from carillon.local.ports import LOOPBACK
from tests.chaos.proxy import Proxy
from tests.waiting import eventually

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A link to a server that sends back what it gets."""
    server = await asyncio.start_server(_echo, LOOPBACK, 0)
    async with Proxy("client-echo", server.sockets[0].getsockname()[1]) as link:
        yield link
    server.close()


async def _connect(proxy: Proxy) -> Streams:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def _said_back(streams: Streams, text: bytes) -> bytes:
    reader, writer = streams
    writer.write(text)
    await writer.drain()
    async with asyncio.timeout(30):
        return await reader.readexactly(len(text))


async def test_everything_passes_unchanged_and_in_order(proxy: Proxy) -> None:
    streams = await _connect(proxy)
    text = b"".join(b"%08d" % number for number in range(20_000))
    reader, writer = streams

    async def send() -> None:
        writer.write(text)
        await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(send(), name="send")
        back = group.create_task(reader.readexactly(len(text)), name="back")
    assert back.result() == text
    writer.close()


async def test_a_delay_holds_every_answer_back(proxy: Proxy) -> None:
    streams = await _connect(proxy)
    proxy.delay_s = 0.2
    started_s = monotonic()
    assert await _said_back(streams, b"hello") == b"hello"
    assert monotonic() - started_s >= 0.4
    streams[1].close()


async def test_a_black_hole_takes_without_an_answer_and_gives_all_of_it_back_later(proxy: Proxy) -> None:
    streams = await _connect(proxy)
    await _said_back(streams, b"before")
    proxy.black_hole()
    streams[1].write(b"during")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await streams[0].read(1)
    proxy.heal()
    async with asyncio.timeout(30):
        assert await streams[0].readexactly(6) == b"during"
    streams[1].close()


async def test_a_reset_is_seen_as_one(proxy: Proxy) -> None:
    streams = await _connect(proxy)
    await _said_back(streams, b"before")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(30):
            await streams[0].read(1)
    again = await _connect(proxy)
    assert await _said_back(again, b"again") == b"again"
    again[1].close()


async def test_a_cut_link_refuses_connections_until_it_is_back(proxy: Proxy) -> None:
    streams = await _connect(proxy)
    await _said_back(streams, b"before")
    cut = asyncio.create_task(proxy.cut(0.5), name="cut")
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(30):
            await streams[0].read(1)
    with pytest.raises(ConnectionRefusedError):
        await _connect(proxy)
    await cut
    again = await _connect(proxy)
    assert await _said_back(again, b"again") == b"again"
    again[1].close()


async def test_a_server_that_is_away_ends_the_connection(proxy: Proxy) -> None:
    async with Proxy("client-nobody", proxy.port + 1 if proxy.port < 31_999 else proxy.port - 1) as nobody:
        reader, writer = await _connect(nobody)
        async with asyncio.timeout(30):
            assert await reader.read(1) == b""
        writer.close()
        await eventually(lambda: nobody.connections == 0)
