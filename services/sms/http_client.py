"""The HTTP client that Twilio's SDK sends through.

Promises one request for each call: no second try, no redirect, a bounded answer, and the Retry-After header, which the
SDK's own client loses. Logs nothing: the SDK's client writes URLs and headers into its log.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

import aiohttp
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]

from services.sms.verdict import RefusalError, UnreadableAnswerError
from shared import retry_after
from shared.clock import Clock

# Shorter than an attempt's deadline, so that "never reached them" is told from "no answer".
CONNECT_TIMEOUT_S = 10
# A message resource with a body of 1,600 characters is under 10 KB; what is longer is not an answer of Twilio.
_ANSWER_LIMIT_BYTES = 64 * 1024
# twilio.com/docs/messaging/api/message-resource, status values: created, but already known to have failed.
_FAILED = frozenset({"failed", "undelivered"})


# How long the request that is being made may take to find its way out; of the task, because the SDK stands in between.
_reach_within: ContextVar[timedelta | None] = ContextVar("reach_within", default=None)


class MessageClient(AsyncHttpClient):  # type: ignore[misc]  # The SDK has no types.
    """Sends the requests that create messages.

    Args:
        concurrency: connections at most.
        clock: for a Retry-After that is a date.
    """

    def __init__(self, concurrency: int, clock: Clock) -> None:
        logger = logging.getLogger("twilio.carillon")
        super().__init__(logger, is_async=True)
        logger.setLevel(logging.WARNING)
        self._clock = clock
        self._timeout = _timeout(CONNECT_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def request(  # noqa: PLR0917 - the base's signature
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,  # noqa: ARG002 - the base's signature; creating has none
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the base's signature; the deadline is the loop's
        allow_redirects: bool = False,  # noqa: ARG002 - the base's signature; never
    ) -> Response:
        """Send one request and read the answer.

        Raises:
            RefusalError: the answer is not a created message.
            UnreadableAnswerError: it may be one.
            aiohttp.ClientError: there is no answer.
        """
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = aiohttp.encode_basic_auth(*auth)
        reach = _reach_within.get()
        timeout_ = self._timeout if reach is None else _timeout(reach.total_seconds())
        async with self._session.request(
            method, uri, data=data, headers=sent, allow_redirects=False, timeout=timeout_
        ) as response:
            body = await _beginning(response)
            answer = _parsed(body)
            if not 200 <= response.status < 300:
                wait = retry_after.parse(response.headers.get("Retry-After"), self._clock.now())
                raise RefusalError(response.status, _code(answer, "code"), wait)
            if not isinstance(answer.get("sid"), str):
                raise UnreadableAnswerError
            if answer.get("status") in _FAILED:
                raise RefusalError(400, _code(answer, "error_code"))
            return Response(response.status, body.decode("utf-8", "replace"))

    @contextmanager
    def reached_within(self, limit: timedelta | None) -> Iterator[None]:
        """Bound what a request in this context may wait for a connection; None is the usual bound."""
        token = _reach_within.set(limit)
        try:
            yield
        finally:
            _reach_within.reset(token)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _timeout(connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=min(connect_s, CONNECT_TIMEOUT_S))


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    read = bytearray()
    while len(read) < _ANSWER_LIMIT_BYTES and (chunk := await response.content.read(_ANSWER_LIMIT_BYTES - len(read))):
        read += chunk
    return bytes(read)


def _parsed(body: bytes) -> dict[str, object]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _code(answer: dict[str, object], name: str) -> int | None:
    code = answer.get(name)
    return code if isinstance(code, int) else None
