"""The HTTP client that Twilio's SDK sends through.

Promises what ``shared.delivery.http_attempt`` promises. It also reads the Retry-After header, which the SDK's own
client loses. It logs nothing, where the SDK's client logs URLs and headers.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp
from twilio.http import AsyncHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from yarl import URL

from services.sms.twilio.verdict import RefusalError, UnreadableAnswerError, unanswered
from shared.core.clock import Clock
from shared.delivery.attempt import Attempt
from shared.delivery.http_attempt import new_session, post
from shared.delivery.verdicts import retry_after

# twilio.com/docs/messaging/api/message-resource, status values: created, but already known to have failed.
_FAILED = frozenset({"failed", "undelivered"})


# The attempt that a request is made for. A context variable, because the SDK's call stands in between.
_attempt: ContextVar[Attempt] = ContextVar("attempt")


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
        self._session = new_session(concurrency)

    async def request(  # noqa: PLR0917 - the base's signature
        self,
        method: str,  # noqa: ARG002 - the base's signature; creating is a POST
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
            UnreadableAnswerError: the answer may be one.
            DeliveryError: there is no answer.
        """
        sent = dict(headers or {})
        if auth is not None:
            sent["Authorization"] = aiohttp.encode_basic_auth(*auth)
        answer = await post(
            self._session, URL(uri), _attempt.get(), headers=sent, body=data or {}, unanswered=unanswered
        )
        said = _parsed(answer.body)
        if not 200 <= answer.status < 300:
            wait = retry_after(answer.retry_after, self._clock.now())
            raise RefusalError(answer.status, _code(said, "code"), wait)
        if not isinstance(said.get("sid"), str):
            raise UnreadableAnswerError
        if said.get("status") in _FAILED:
            raise RefusalError(400, _code(said, "error_code"))
        return Response(answer.status, answer.body.decode("utf-8", "replace"))

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


def _parsed(body: bytes) -> dict[str, object]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _code(answer: dict[str, object], name: str) -> int | None:
    code = answer.get(name)
    return code if isinstance(code, int) else None
