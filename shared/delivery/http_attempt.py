"""One HTTP request to a provider: a bounded answer, no redirect, no second try, errors in our own words.

Promises that an error says whether the provider can have taken the request: TemporaryFailure if no connection was made,
OutcomeUnknown afterwards. A request counts as sent as soon as it has a connection, before its first byte is written.

Waiting for one of the session's limited connections is a limit of ours. Name resolution, TCP and TLS are the provider's
side. No error quotes the URL, because the URL may be a secret itself.

The wait for an answer has no limit here: the delivery loop holds the deadline. Only connecting has its own.
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

from shared.core.errors import DeliveryError, OutcomeUnknown, ProviderMisconfigured, Reason, TemporaryFailure
from shared.delivery import http_answer
from shared.delivery.attempt import Attempt, Handover

# Shorter than the deadline of an attempt, so that "never reached them" is told from "no answer".
CONNECT_TIMEOUT_S = 10
# Longer than any answer to one message that a provider documents; the rest of a longer one is not read.
ANSWER_LIMIT_BYTES = 64 * 1024

_CONNECTION = "a connection to it"
_FREE_CONNECTION = "a free connection of ours"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider said.

    Attributes:
        headers: by names in any case; for a provider that says in them why it refuses.
    """

    status: int
    body: bytes
    retry_after: str | None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


def new_session(
    concurrency: int, new_socket: Callable[[tuple[Any, ...]], socket.socket] | None = None
) -> aiohttp.ClientSession:
    """Open a session with as many connections as there are sends in flight; needs a running loop.

    Args:
        new_socket: makes the socket for an address, or refuses to.
    """
    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(_queued)
    trace.on_connection_queued_end.append(_out_of_queue)
    trace.on_connection_create_end.append(_connected)
    trace.on_connection_reuseconn.append(_connected)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=concurrency, socket_factory=new_socket),
        timeout=_timeout(None),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[trace],
    )


def verdict(error: Exception) -> DeliveryError:
    """Say what it means for the delivery that there is no answer.

    Args:
        error: of aiohttp or the operating system.
    """
    kind = type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError():
            return TemporaryFailure(Reason.TIMEOUT, "connect")
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return TemporaryFailure(Reason.NETWORK, kind)
        case aiohttp.InvalidURL():
            return ProviderMisconfigured(Reason.REJECTED, kind)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return OutcomeUnknown(Reason.BAD_ANSWER, kind)
        case TimeoutError():
            return OutcomeUnknown(Reason.TIMEOUT, kind)
        case _:
            return OutcomeUnknown(Reason.NETWORK, kind)


async def post(
    session: aiohttp.ClientSession,
    url: URL,
    attempt: Attempt,
    *,
    headers: Mapping[str, str],
    body: bytes | Mapping[str, Any] | None = None,
    method: str = "POST",
    unanswered: Callable[[Exception], DeliveryError] = verdict,
) -> Answer:
    """Send one request and read the answer, whatever its status.

    Args:
        session: one of ``new_session``.
        attempt: its handover is told when the request may be on its way, and its ``reach_within`` is kept.
        body: as it is, or the fields of a form; None for none.
        method: where the provider wants another one.
        unanswered: says what an error means; for a provider that knows more than ``verdict`` does.

    Raises:
        DeliveryError: there is no answer.
    """
    handover, timeout = attempt.handover, _timeout(attempt.reach_within)
    try:
        with handover.waiting(Reason.TIMEOUT, _CONNECTION):
            request = session.request(
                method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout,
                trace_request_ctx=handover,
            )  # fmt: skip
            try:
                async with request as response:
                    read = await http_answer.beginning(response, ANSWER_LIMIT_BYTES, within_s=None)
                    return Answer(response.status, read, response.headers.get("Retry-After"), response.headers)
            except aiohttp.ConnectionTimeoutError:
                # Where it waited tells a limit of ours from a provider that is not reached.
                raise handover.cut_off() from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # Without its cause: aiohttp writes whole URLs into some messages.
        raise unanswered(error) from None


def _timeout(reach_within: timedelta | None) -> aiohttp.ClientTimeout:
    # ``connect`` counts the wait for one of our own connections, too.
    reach_s = reach_within.total_seconds() if reach_within else None
    return aiohttp.ClientTimeout(total=None, connect=reach_s, sock_connect=CONNECT_TIMEOUT_S)


async def _queued(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    if handover := _of(context):
        handover.waits_for(Reason.OWN_LIMIT, _FREE_CONNECTION)


async def _out_of_queue(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    if handover := _of(context):
        handover.waits_for(Reason.TIMEOUT, _CONNECTION)


async def _connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    if handover := _of(context):
        handover.leaves()


def _of(context: SimpleNamespace) -> Handover | None:
    # The requests for access tokens belong to no attempt.
    found = context.trace_request_ctx
    return found if isinstance(found, Handover) else None
