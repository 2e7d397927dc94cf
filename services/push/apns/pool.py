"""The connections to one APNs server.

Replaces aioapns's pool, which tries again by itself after a second, signs a provider token per connection, and lets
every send wait in turn to fail at the same dead server. Here all waiting sends share one try to connect, and its
failure. Promises one request for each send, and at most MAX_CONNECTIONS connections that take requests. When a
connection closes, no send is left waiting.
"""

import asyncio
import contextlib
import ssl

from aioapns.common import NotificationRequest
from aioapns.connection import AuthorizationHeaderProvider

from services.push.apns.connection import ApnsAnswer, ApnsConnection
from shared.core.errors import DeliveryError, ProviderMisconfigured, Reason, TemporaryFailure
from shared.delivery.attempt import Handover

# Shorter than the deadline of an attempt, so that "never reached them" differs from "no answer".
CONNECT_TIMEOUT_S = 10
CLOSE_TIMEOUT_S = 1
# More than one only while a connection's streams or its flow-control window are used up.
MAX_CONNECTIONS = 10


class ApnsPool:
    """Connections to ``host``, which share one provider token."""

    def __init__(
        self, *, host: str, port: int, tls: ssl.SSLContext, topic: str, token: AuthorizationHeaderProvider
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._topic = topic
        self._token = token
        self.connections: list[ApnsConnection] = []
        self.retired: set[ApnsConnection] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    async def send(self, request: NotificationRequest, handover: Handover) -> ApnsAnswer:
        """Send one request, exactly once.

        Args:
            request: the push.
            handover: is told when the request may be on its way.

        Raises:
            DeliveryError: there is no connection, or no answer.
        """
        connection = await self._acquire(handover)
        handover.leaves()
        answer = await connection.send_notification(request)
        assert isinstance(answer, ApnsAnswer)  # noqa: S101 - what ApnsConnection ends requests with
        return answer

    async def close(self) -> None:
        """Close every connection, and wait a short time for that."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        open_now = [*self.connections, *self.retired]
        for connection in open_now:
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for connection in open_now:
                    await connection.lost.wait()
        for connection in open_now:
            connection.abort()

    async def _acquire(self, handover: Handover) -> ApnsConnection:
        # There is no await between the check and the send, so the connection is still free.
        while True:
            for connection in self.connections:
                if not connection.is_busy:
                    return connection
            if len(self.connections) < MAX_CONNECTIONS:
                with handover.waiting(Reason.TIMEOUT, "a connection to it"):
                    await self._connected()
            else:
                with handover.waiting(Reason.OWN_LIMIT, "room on a connection"):
                    await self._room.wait()

    async def _connected(self) -> None:
        """Wait for the one try to connect. If one of those who wait is cancelled, the try goes on for the others."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="apns connect")
            self._connecting.add_done_callback(self._has_connected)
        await asyncio.shield(self._connecting)

    def _has_connected(self, connecting: asyncio.Task[None]) -> None:
        self._connecting = None
        if not connecting.cancelled():
            # Marks the error as seen, in case nobody waits any more.
            connecting.exception()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        connection = ApnsConnection(self._host, self._topic, self._token, self._changed)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: connection, self._host, self._port, ssl=self._tls)
                # The server's settings say how many requests it takes.
                await connection.greeted.wait()
        except (OSError, TimeoutError) as error:
            raise connect_verdict(error) from error
        finally:
            if not connection.greeted.is_set():
                connection.abort()
        if connection.failure is not None:
            raise connect_verdict(connection.failure)
        self.connections.append(connection)

    def _changed(self, connection: ApnsConnection) -> None:
        """Take note of what a connection tells: it has room again, takes no more requests, or is lost."""
        if connection.retired and connection in self.connections:
            self.connections.remove(connection)
            self.retired.add(connection)
        if connection.lost.is_set():
            self.retired.discard(connection)
        self._room.set()
        self._room = asyncio.Event()


def connect_verdict(error: Exception) -> DeliveryError:
    """Say what a failure to connect means; nothing has been sent."""
    match error:
        case DeliveryError():
            return TemporaryFailure(error.reason, f"connect: {error.detail}")
        case ssl.SSLCertVerificationError():
            return ProviderMisconfigured(Reason.AUTH, "the server's certificate is not trusted")
        case TimeoutError():
            return TemporaryFailure(Reason.TIMEOUT, "connect")
        case _:
            return TemporaryFailure(Reason.NETWORK, f"connect: {type(error).__name__}")
