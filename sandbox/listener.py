"""Listening for connections, and ending all of them at once.

Promises that after stop() no connection is open, whatever it was waiting for.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol


class Abortable(Protocol):
    """A connection that can be ended without a word."""

    def abort(self) -> None:
        """End it; connection_lost follows."""


class Connections:
    """The open connections of one listener; each adds itself when made and discards itself when lost."""

    def __init__(self) -> None:
        self._open: set[Abortable] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Abortable) -> None:
        """Count a connection; twice is once."""
        self._open.add(connection)
        self._none_open.clear()

    def discard(self, connection: Abortable) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        if not self._open:
            self._none_open.set()

    async def abort(self) -> None:
        """End every connection; returns when all are gone."""
        for connection in list(self._open):
            connection.abort()
        await self._none_open.wait()


class Listener:
    """A TCP server for one protocol."""

    def __init__(self, make: Callable[[Connections], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> None:
        self._connections = Connections()
        self._make = make
        self._tls = tls
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._make(self._connections), host, port, ssl=self._tls, backlog=512
        )
        bound_port: int = self._server.sockets[0].getsockname()[1]
        return bound_port

    async def stop(self) -> None:
        """Stop listening and end every connection at once."""
        if self._server is not None:
            self._server.close()
            # Not wait_closed() as well: from Python 3.12 on it would wait for a TLS handshake that nobody finishes.
            await self._connections.abort()
