"""A connection to the broker that reconnects by itself.

Promises that it subscribes at every connect, waits longer after each failed try, and logs once when the connection is
lost and once when it is back.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from paho.mqtt.properties import Properties

from carillon_publisher.address import BrokerAddress
from carillon_publisher.connection import Connection, OnMessage, failed
from carillon_publisher.errors import NotConnected

log = logging.getLogger(__name__)

_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 5.0
# A connection that breaks earlier has not ended the trouble: another client has our id, or the broker refuses us.
_STEADY_AFTER_S = 10.0


class Link:
    """A connection that reconnects: connect, subscribe, and again after a back-off when it breaks.

    Args:
        filters: subscribed at every connect; a connection without them is of no use.
        on_up: called when the connection stands and is subscribed.

    Attributes:
        problem: why the connection last broke or did not come about.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        filters: Sequence[str],
        on_message: OnMessage,
        on_up: Callable[[], None],
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._needed = tuple(filters)
        self._filters: set[str] = set()
        self._on_message = on_message
        self._on_up = on_up
        self._connection: Connection | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self.problem = ""
        self._watching: set[asyncio.Future[None]] = set()

    @property
    def is_up(self) -> bool:
        """Tell whether the connection stands and is subscribed."""
        return self._up.is_set() and self._connection is not None and self._connection.is_open

    async def wait_up(self) -> None:
        """Return when the connection stands."""
        await self._up.wait()

    async def wait_tried(self) -> None:
        """Return when the first try to connect has ended, either way."""
        await self._tried.wait()

    async def sendable(self) -> None:
        """Return when the connection stands and has room for a publish."""
        await self.wait_up()
        if self._connection is not None:
            await self._connection.sendable()

    def publish(self, topic: str, payload: bytes, properties: Properties) -> "asyncio.Future[bool]":
        """Publish on the current connection; see ``Connection.publish``."""
        if self._connection is None:
            return failed(asyncio.get_running_loop().create_future(), "not connected")
        return self._connection.publish(topic, payload, properties)

    @contextmanager
    def watched(self) -> "Iterator[asyncio.Future[None]]":
        """Give a future that is done when the connection that stands now is lost.

        One for each caller: hundreds that wait for the same one would each search all the others' callbacks.
        """
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._connection is None:
            lost.set_result(None)
        self._watching.add(lost)
        try:
            yield lost
        finally:
            self._watching.discard(lost)

    def subscribe(self, topic_filter: str) -> None:
        """Ask for this, too, now and at every later connect. A refusal shows in that nothing comes."""
        self._filters.add(topic_filter)
        if self.is_up and self._connection is not None:
            self._connection.ask_for(topic_filter)

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for nothing more."""
        self._filters.discard(topic_filter)
        if self._connection is not None:
            self._connection.unsubscribe(topic_filter)

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        failures = 0
        while True:
            up_since_s = math.inf
            connection = Connection(self._address, self._client_id, self._on_message)
            try:
                await connection.open()
                await connection.subscribe(*self._needed)
                for topic_filter in self._filters:
                    connection.ask_for(topic_filter)
                up_since_s = time.monotonic()
                self._come_up(connection, failures)
                await connection.wait_closed()
                raise NotConnected("connection lost")  # noqa: TRY301 - one way out for every end of a connection
            except NotConnected as error:
                self.problem = str(error)
                if failures == 0 or self._up.is_set():
                    log.warning("broker away", extra={"client_id": self._client_id, "error": str(error)})
                failures = 1 if time.monotonic() - up_since_s >= _STEADY_AFTER_S else failures + 1
            finally:
                self._connection = None
                self._up.clear()
                self._tried.set()
                for lost in self._watching:
                    if not lost.done():
                        lost.set_result(None)
                await connection.close()
            longest = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * math.pow(2, min(failures, 10)))
            await asyncio.sleep(random.uniform(longest / 4, longest))  # noqa: S311 - jitter

    def _come_up(self, connection: Connection, failures: int) -> None:
        self._connection = connection
        self._up.set()
        self._tried.set()
        if failures:
            log.info("broker back", extra={"client_id": self._client_id})
        self._on_up()
