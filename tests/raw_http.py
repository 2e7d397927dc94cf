"""An HTTP server whose answers are raw bytes: chunked, slow, cut, too long, compressed or nonsense."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

Pieces = Iterable[bytes]


class RawServer:
    """Answers each connection's one request with ``pieces``, written one by one.

    Attributes:
        pieces: makes the parts of the next answer; each leaves in a segment of its own.
        pause_s: between two parts.
        asked: how many requests came.
    """

    def __init__(self, pieces: Callable[[], Pieces]) -> None:
        self.pieces = pieces
        self.pause_s = 0.0
        self.asked = 0
        self.url = ""
        self._serving: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, in a task that ``close`` ends."""
        task = asyncio.get_running_loop().create_task(self._answer(reader, writer), name="raw answer")
        self._serving.add(task)

    async def close(self) -> None:
        """End all connections."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._write_answer(reader, writer)
        finally:
            writer.close()

    async def _write_answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
            await reader.readexactly(int(length.partition(b":")[2]))
            self.asked += 1
            for piece in self.pieces():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self.pause_s)


@asynccontextmanager
async def raw_server(pieces: Callable[[], Pieces]) -> AsyncIterator[RawServer]:
    """Run a server on a free port until the end of the context."""
    answers = RawServer(pieces)
    listening = await asyncio.start_server(answers.connected, "127.0.0.1", 0)
    answers.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield answers
    finally:
        listening.close()
        await answers.close()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> list[bytes]:
    """Answer with head and body in one piece."""
    return [_head(status, f"Content-Length: {len(body)}", *headers) + body]


def chunked(body: bytes, size_bytes: int = 100) -> list[bytes]:
    """Answer without a length, in chunks (RFC 9112, 7.1)."""
    parts = [body[start : start + size_bytes] for start in range(0, len(body), size_bytes)]
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    return [_head("200 OK", "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n"]


def byte_by_byte(body: bytes) -> list[bytes]:
    """Answer with every byte of the body apart."""
    return [_head("200 OK", f"Content-Length: {len(body)}"), *(bytes((byte,)) for byte in body)]


def cut(body: bytes) -> list[bytes]:
    """Promise twice as much as comes."""
    return [_head("200 OK", f"Content-Length: {2 * len(body)}") + body]


def packed(body: bytes) -> list[bytes]:
    """Answer with the body under gzip, in two pieces."""
    data = gzip.compress(body)
    head = _head("200 OK", f"Content-Length: {len(data)}", "Content-Encoding: gzip")
    return [head + data[:20], data[20:]]


def _head(status: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
