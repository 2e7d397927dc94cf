"""A connection to the broker that reconnects by itself.

Promises that it subscribes at every connect, waits longer after each failed try, and logs once when the connection is
lost and once when it is back. A publish made while it is down ends with BrokerUnavailable.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from shared.core.errors import BrokerUnavailable
from shared.mqtt.address import BrokerAddress
from shared.mqtt.byte_budget import ByteBudget
from shared.mqtt.connection import RECEIVE_MAXIMUM, Broker, failed_publish
from shared.mqtt.packets import UserProperties

log = logging.getLogger(__name__)

_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 5.0
# A connection that breaks earlier has not ended the trouble: another client has our id, or the broker refuses us.
_STEADY_AFTER_S = 10.0

Serve = Callable[[Broker], Coroutine[Any, Any, None]]


class BrokerLink:
    """A connection that reconnects: connect, subscribe, serve, and again after a back-off when it breaks.

    Args:
        filters: subscribed at every connect, because a broker that lost its state may say "session present" and still
            not route shared subscriptions.
        former: unsubscribed at every connect: what a session that the broker keeps may still be subscribed to.
        serve: runs while the connection stands and returns only on cancellation or BrokerUnavailable. With a session
            that the broker keeps it begins before the subscription is confirmed, because what waits in the session
            comes first.
        budget: see ``Broker``.

    Attributes:
        problem: why the connection last broke or did not come about.
        connects: how often the connection has come up.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        *,
        filters: Sequence[str] = (),
        former: Sequence[str] = (),
        serve: Serve | None = None,
        session_expiry_s: int = 0,
        receive_maximum: int = RECEIVE_MAXIMUM,
        budget: ByteBudget | None = None,
    ) -> None:
        self._budget = budget
        self.client_id = client_id
        self._address = address
        self._filters = tuple(filters)
        self._former = tuple(former)
        self._serve = serve
        self._session_expiry_s = session_expiry_s
        self._receive_maximum = receive_maximum
        self._broker: Broker | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._leaving = False
        self._up_since_s = math.inf
        self.problem = ""
        self.connects = 0

    @property
    def is_up(self) -> bool:
        """Tell whether the connection stands and is subscribed."""
        return self._up.is_set() and self._broker is not None and self._broker.is_open

    async def wait_up(self) -> None:
        """Return when the connection stands."""
        await self._up.wait()

    async def wait_tried(self) -> None:
        """Return when the first try to connect has ended, either way."""
        await self._tried.wait()

    def publish(
        self,
        topic: str,
        payload: bytes | str,
        *,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        expiry_s: int | None = None,
        user_properties: UserProperties = (),
        content_type: str | None = None,
        retain: bool = False,
    ) -> "asyncio.Future[bool]":
        """Publish on the current connection; see ``Broker.publish``."""
        if self._broker is None:
            return failed_publish("not connected")
        return self._broker.publish(
            topic,
            payload,
            response_topic=response_topic,
            correlation=correlation,
            expiry_s=expiry_s,
            user_properties=user_properties,
            content_type=content_type,
            retain=retain,
        )

    async def sendable(self) -> None:
        """Return when the connection stands and has room for a publish."""
        await self.wait_up()
        if self._broker is not None:
            await self._broker.sendable()

    @property
    def waiting(self) -> int:
        """How many messages have arrived and were not taken; see ``Broker.waiting``."""
        return self._broker.waiting if self._broker is not None else 0

    async def stop_intake(self) -> None:
        """Unsubscribe, so that no new work arrives while the rest is finished."""
        if self._broker is not None and self._broker.is_open:
            with suppress(BrokerUnavailable):
                await self._broker.unsubscribe(*self._filters)

    async def forget_session(self) -> None:
        """End the connection and its session at the broker, for good; for one that was drained.

        Raises:
            BrokerUnavailable: there is no connection; the broker still has the session.
        """
        self._leaving = True
        if self._broker is None:
            raise BrokerUnavailable("not connected")
        await self._broker.forget_session()

    async def run(self) -> None:
        """Keep the connection until cancelled or forgotten. Logs once when it goes and once when it is back."""
        failures = 0
        while not self._leaving:
            self._up_since_s = math.inf
            try:
                await self._connect_and_serve(failures)
            except BrokerUnavailable as error:
                if self._leaving:
                    return
                self.problem = str(error)
                if failures == 0 or self._up.is_set():
                    log.warning("broker away", extra={"client_id": self.client_id, "error": str(error)})
                is_steady = time.monotonic() - self._up_since_s >= _STEADY_AFTER_S
                failures = 1 if is_steady else failures + 1
            finally:
                self._broker = None
                self._up.clear()
                self._tried.set()
            longest = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * math.pow(2, min(failures, 10)))
            await asyncio.sleep(random.uniform(longest / 4, longest))  # noqa: S311 - jitter

    async def _connect_and_serve(self, failures: int) -> None:
        async with Broker(
            self._address,
            self.client_id,
            session_expiry_s=self._session_expiry_s,
            receive_maximum=self._receive_maximum,
            budget=self._budget,
        ) as broker:
            self._broker = broker
            if self._session_expiry_s and self._serve is not None:
                await self._serve_session(broker, self._serve, failures)
                return
            await broker.subscribe(*self._filters)
            self._come_up(failures)
            if self._serve is None:
                await broker.wait_closed()
                raise BrokerUnavailable("connection lost")
            await self._serve(broker)

    async def _serve_session(self, broker: Broker, serve: Serve, failures: int) -> None:
        serving = asyncio.create_task(serve(broker), name=f"serve-{self.client_id}")
        try:
            await broker.subscribe(*self._filters)
            self._come_up(failures)
            # The embedded broker does not answer where there is no such subscription; it keeps no sessions either.
            with suppress(BrokerUnavailable):
                await broker.unsubscribe(*self._former)
            await serving
        except BrokerUnavailable:
            # Work in hand is finished before the next try to connect.
            broker.hang_up()
            await asyncio.gather(serving, return_exceptions=True)
            raise
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    def _come_up(self, failures: int) -> None:
        self._up.set()
        self.connects += 1
        self._up_since_s = time.monotonic()
        self._tried.set()
        if failures:
            log.info("broker back", extra={"client_id": self.client_id})
