"""The way over HTTP: ``POST /v1/publish/{topic}`` (the wire contract, section 5), with the same receipts as MQTT's."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from carillon_publisher.address import trusting
from carillon_publisher.door import RECEIPT_TIMEOUT_S, Outgoing
from carillon_publisher.errors import NotConnected, WrongAddress, refused
from carillon_publisher.receipts import Event, Receipt, Refusal, Status

try:
    import httpx
except ImportError:
    raise WrongAddress("an http url needs httpx: pip install 'carillon-publisher[http]'") from None

_CONNECT_S = 5.0
# The service answers 503 after 10 s without a router's receipt.
_ANSWER_S = RECEIPT_TIMEOUT_S + 2.0
_LONGEST_WAIT_S = 30.0
_CONNECTIONS = 50
# How often it is asked what became of a notification, and how much of it is told.
_ASK_EVERY_S = 0.5
_DELIVERIES = 100
# The body did not arrive in time: a matter of the network, and not of the publish.
_TOO_SLOW = HTTPStatus.REQUEST_TIMEOUT

# What a refusal is called where the answer holds no receipt, as over MQTT.
_CODES: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "unauthorized",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limited",
}


class HttpDoor:
    """A pool of connections to the realtime service, see ``Door``. It is always up: only a request shows a trouble.

    Args:
        key: the publisher's; None sends none.
    """

    def __init__(self, url: str, key: str | None, ca_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        headers = {"content-type": "application/json"}
        if key is not None:
            if not key.isascii() or not key.isprintable():
                raise WrongAddress("a key has ASCII letters and digits only")
            headers["authorization"] = f"Bearer {key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=_CONNECTIONS),
            verify=trusting(ca_file) if url.startswith("https:") else True,
        )
        self._not_before_s = 0.0

    @property
    def is_up(self) -> bool:
        """Tell whether a request may be tried, which it always may."""
        return True

    @property
    def problem(self) -> str:
        """Say nothing: each request has its own."""
        return ""

    async def open(self, *, patient: bool) -> None:
        """Find out whether anybody answers; see ``Door.open``."""
        if patient:
            return
        try:
            await self._client.head(self._url)
        except httpx.HTTPError as error:
            raise NotConnected(_words(error)) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ready(self) -> None:
        """Wait as long as the service has asked for."""
        await asyncio.sleep(max(0.0, self._not_before_s - time.monotonic()))

    async def send(self, outgoing: Outgoing, answer: "asyncio.Future[Receipt]") -> str:
        """Make one request; see ``Door.send``."""
        headers = dict(outgoing.trace)
        if outgoing.key is not None:
            headers["idempotency-key"] = outgoing.key
        url = f"{self._url}/v1/publish/{quote(outgoing.topic)}"
        try:
            response = await self._client.post(url, content=outgoing.payload, headers=headers)
        except httpx.HTTPError as error:
            return f"no answer over HTTP ({_words(error)})"
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code == _TOO_SLOW:
            self._not_before_s = time.monotonic() + min(_retry_after_s(response) or 0.0, _LONGEST_WAIT_S)
            return f"the service answers {response.status_code}"
        if not answer.done():
            answer.set_result(_receipt(response))
        return ""

    @asynccontextmanager
    async def events(self, notification_id: str) -> AsyncIterator[AsyncIterator[Event]]:
        """Ask again and again what became of a notification; see ``Door.events``. It misses no delivery's end."""
        yield self._ends(f"{self._url}/v1/notifications/{quote(notification_id, safe='')}")

    async def _ends(self, url: str) -> AsyncIterator[Event]:
        told: Counter[Event] = Counter()
        while True:
            try:
                response = await self._client.get(url, params={"limit": _DELIVERIES})
            except httpx.HTTPError as error:
                raise NotConnected(_words(error)) from None
            if response.is_success:
                outcome = response.json()
                ended = Counter(_event(each) for each in outcome["deliveries"] if each.get("ended_at"))
                for event in sorted((ended - told).elements(), key=lambda event: event.at):
                    yield event
                told = ended
                if not outcome["open"]:
                    return
            elif response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and _retry_after_s(response) is None:
                raise refused(_receipt(response))
            await asyncio.sleep(max(_ASK_EVERY_S, _retry_after_s(response) or 0.0))


def _event(delivery: Mapping[str, Any]) -> Event:
    at = datetime.fromisoformat(delivery["ended_at"])
    return Event(delivery["state"], delivery["channel"], delivery.get("recipient"), delivery.get("reason"), at)


def _receipt(response: httpx.Response) -> Receipt:
    """Read the router's receipt, or make one of an answer that is the service's own."""
    try:
        return Receipt.read(response.content)
    except ValueError:
        pass
    refusal = Refusal("rejected", f"The service answered {response.status_code} without a receipt.")
    with suppress(ValueError, KeyError, TypeError):
        refusal = Refusal.read(response.json()["error"])
    code = _CODES.get(response.status_code, refusal.code)
    return Receipt(Status.REJECTED, error=replace(refusal, code=code, retry_after_s=_retry_after_s(response)))


def _retry_after_s(response: httpx.Response) -> float | None:
    """Read Retry-After in seconds (RFC 9110, 10.2.3); the form with a date is not used by the service."""
    said = response.headers.get("retry-after", "")
    return float(said) if said.isdecimal() else None


def _words(error: BaseException) -> str:
    """Say what went wrong without repeating an address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            # Not its own words: they hold the address.
            return os.strerror(cause.errno)
        # anyio makes one error of those for each address of a host.
        inner = getattr(cause, "exceptions", ())
        cause = inner[0] if inner else cause.__cause__ or cause.__context__
    return type(error).__name__
