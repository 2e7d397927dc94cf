"""What tells a handover how far an HTTP request of aiohttp's has come.

Promises that a request counts as on its way before its first byte can be written: as soon as it has a connection.
Waiting for one of the connector's limited number is our own affair; name resolution, TCP and TLS are the provider's.
"""

from types import SimpleNamespace

import aiohttp

from shared.core.errors import Reason
from shared.delivery.attempt import Handover

CONNECT = "a connection to it"
_FREE_CONNECTION = "a free connection of ours"


def handover_trace() -> aiohttp.TraceConfig:
    """Build what a session needs so that requests with a handover as their ``trace_request_ctx`` tell it."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(_queued)
    trace.on_connection_queued_end.append(_out_of_queue)
    trace.on_connection_create_end.append(_connected)
    trace.on_connection_reuseconn.append(_connected)
    return trace


async def _queued(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    if handover := _of(context):
        handover.waits_for(Reason.OWN_LIMIT, _FREE_CONNECTION)


async def _out_of_queue(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    if handover := _of(context):
        handover.waits_for(Reason.TIMEOUT, CONNECT)


async def _connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    if handover := _of(context):
        handover.leaves()


def _of(context: SimpleNamespace) -> Handover | None:
    found = context.trace_request_ctx
    return found if isinstance(found, Handover) else None
