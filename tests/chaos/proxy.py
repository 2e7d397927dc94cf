"""A network link with faults: a TCP proxy between one kind of process and one server.

Promises to pass bytes on unchanged and in order. A fault begins for every connection of the link at once. Memory stays
bounded: bytes that one side does not take are not read from the other. Runs in the rig's own loop.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

from carillon.local.ports import LOOPBACK, free_port

_READ_BYTES = 64 * 1024

# SO_LINGER on with 0 seconds: close() sends RST and forgets what was not sent (socket(7)).
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """One link; use it as an async context manager.

    Args:
        name: which link, for the fault journal.
        target_port: the server's port on the loopback address; another one may be set later, for new connections.
    """

    def __init__(self, name: str, target_port: int) -> None:
        self.name = name
        self.port = free_port()
        self.delay_s = 0.0
        self.target_port = target_port
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._deafen()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def black_hole(self) -> None:
        """Pass nothing on, in either direction, and close nothing: what a broken route looks like."""
        self._passing.clear()

    def heal(self) -> None:
        """Pass everything on again, also what has waited."""
        self._passing.set()

    def reset(self) -> None:
        """End every connection with RST."""
        for writer in list(self._writers):
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()

    async def cut(self, for_s: float) -> None:
        """End every connection and refuse new ones for so long."""
        await self._deafen()
        self.reset()
        try:
            await asyncio.sleep(for_s)
        finally:
            await self._listen()

    @property
    def connections(self) -> int:
        """How many connections pass through it."""
        return len(self._tasks)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, limit=_READ_BYTES)

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer), name=f"link {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        ours = [writer]
        try:
            await self._passing.wait()
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.target_port, limit=_READ_BYTES)
            self._writers.add(far_writer)
            ours.append(far_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer), name=f"link {self.name} out"),
                asyncio.create_task(self._pump(far_reader, writer), name=f"link {self.name} back"),
            ]
            try:
                # If one side ends, the connection ends: none of our protocols uses half-closed connections.
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            # The server is down. Its client sees the connection end.
            pass
        finally:
            for each in ours:
                self._writers.discard(each)
                each.close()
            for each in ours:
                with suppress(OSError):
                    await each.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_BYTES):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
