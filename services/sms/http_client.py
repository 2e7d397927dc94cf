"""The HTTP client that Twilio's SDK sends through.

Promises one request for each call: no second try, no redirect, a bounded answer, and the Retry-After header, which the
SDK's own client loses. Logs nothing: the SDK's client writes URLs and headers into its log.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import ContextVar

import aiohttp
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]

from services.sms.verdict import RefusalError, UnreadableAnswerError
from shared.core.clock import Clock
from shared.core.errors import Reason
from shared.delivery import http_answer, retry_after
from shared.delivery.attempt import Attempt, Handover
from shared.delivery.outgoing import CONNECT, handover_trace

# Shorter than an attempt's deadline, so that "never reached them" is told from "no answer".
CONNECT_TIMEOUT_S = 10
# A message resource with a body of 1,600 characters is under 10 KB; what is longer is not an answer of Twilio.
_ANSWER_LIMIT_BYTES = 64 * 1024
# twilio.com/docs/messaging/api/message-resource, status values: created, but already known to have failed.
_FAILED = frozenset({"failed", "undelivered"})


# The attempt that the request is made for; of the task, because the SDK stands in between.
_attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


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
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[handover_trace()],
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
            TemporaryFailure: there was no connection in time.
            aiohttp.ClientError: there is no answer.
        """
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = aiohttp.encode_basic_auth(*auth)
        attempt = _attempt.get()
        handover = attempt.handover if attempt else Handover()
        reach = attempt.reach_within if attempt else None
        timeout_ = _timeout(reach.total_seconds() if reach else None)
        with handover.waiting(Reason.TIMEOUT, CONNECT):
            request = self._session.request(
                method, uri, data=data, headers=sent, allow_redirects=False, timeout=timeout_,
                trace_request_ctx=handover,
            )  # fmt: skip
            try:
                return await self._answer(request)
            except aiohttp.ConnectionTimeoutError:
                # Where it waited tells a limit of ours from a provider that is not reached.
                raise handover.cut_off() from None

    async def _answer(self, request: AbstractAsyncContextManager[aiohttp.ClientResponse]) -> Response:
        async with request as response:
            body = await http_answer.beginning(response, _ANSWER_LIMIT_BYTES, within_s=None)
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
    def making(self, attempt: Attempt) -> Iterator[None]:
        """Say for which attempt a request in this context is made."""
        token = _attempt.set(attempt)
        try:
            yield
        finally:
            _attempt.reset(token)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _timeout(reach_s: float | None) -> aiohttp.ClientTimeout:
    # ``connect`` counts the wait for one of our own connections, too.
    return aiohttp.ClientTimeout(total=None, connect=reach_s, sock_connect=CONNECT_TIMEOUT_S)


def _parsed(body: bytes) -> dict[str, object]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _code(answer: dict[str, object], name: str) -> int | None:
    code = answer.get(name)
    return code if isinstance(code, int) else None
