"""One HTTP request to a provider: a bounded answer, no redirect, no second try, errors in our own words.

Promises that an error says whether the request can have been taken: TemporaryFailure where no connection came about,
OutcomeUnknown afterwards. No error quotes the URL, which for browsers is itself a secret. Waits without end for an
answer: the deadline is the delivery loop's; only connecting has its own.
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from services.push.allowed_hosts import NotPublicError
from shared.core.errors import DeliveryError, OutcomeUnknown, PermanentFailure, Reason, TemporaryFailure
from shared.delivery import http_answer
from shared.delivery.attempt import Handover
from shared.delivery.outgoing import CONNECT, handover_trace

# Shorter than the deadline of an attempt, so that "never reached them" is told from "no answer".
CONNECT_TIMEOUT_S = 10
# Longer than any answer that a push service documents; the rest of a longer one is not read.
_ANSWER_LIMIT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said."""

    status: int
    body: bytes
    retry_after: str | None


def new_session(
    concurrency: int, new_socket: Callable[[tuple[Any, ...]], socket.socket] | None = None
) -> aiohttp.ClientSession:
    """Open a session with as many connections as there are sends in flight; needs a running loop.

    Args:
        new_socket: makes the socket for an address, or refuses to.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency, socket_factory=new_socket),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[handover_trace()],
    )


async def post(
    session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], body: bytes, handover: Handover
) -> Answer:
    """Send one POST request and read the answer.

    Args:
        session: one of ``new_session``.
        handover: is told when the request may be on its way.

    Raises:
        DeliveryError: there is no answer.
    """
    try:
        with handover.waiting(Reason.TIMEOUT, CONNECT):
            request = session.post(url, headers=headers, data=body, allow_redirects=False, trace_request_ctx=handover)
            async with request as response:
                read = await http_answer.beginning(response, _ANSWER_LIMIT_BYTES, within_s=None)
                return Answer(response.status, read, response.headers.get("Retry-After"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # Without its cause: aiohttp writes whole URLs into some messages.
        raise verdict(error) from None


def verdict(error: Exception) -> DeliveryError:
    """Say what an exception of aiohttp means for the delivery."""
    kind = type(error).__name__
    match error:
        case aiohttp.ClientConnectorError(os_error=NotPublicError()):
            return PermanentFailure(Reason.REJECTED, "the host's address is not public")
        case aiohttp.ConnectionTimeoutError():
            return TemporaryFailure(Reason.TIMEOUT, "connect")
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return TemporaryFailure(Reason.NETWORK, kind)
        case aiohttp.InvalidURL():
            return PermanentFailure(Reason.REJECTED, kind)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return OutcomeUnknown(Reason.BAD_ANSWER, kind)
        case TimeoutError():
            return OutcomeUnknown(Reason.TIMEOUT, kind)
        case _:
            return OutcomeUnknown(Reason.NETWORK, kind)
