"""One HTTP exchange of a provider, in any HTTP version: replies, and how a scripted fault is played.

Promises that after a fault of the kind "before" nothing is kept, and that one of the kind "after" comes when the entry
is kept. Does not know any provider's error format: each has its own Shape.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from aiohttp import web

from sandbox.script import Fault


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; a body of None ends an HTTP/2 stream with the headers, an empty one with an empty DATA frame."""

    status: int
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class CutConnectionError(Exception):
    """The connection has to end without an answer."""


class Shape(Protocol):
    """How one provider words its refusals."""

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A refusal with this status and code, or the code that usually comes with the status."""

    def operator_failure(self) -> Reply:
        """What the provider says to a sender whose credentials are wrong."""


def json_reply(status: int, value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply with a JSON body."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Reply(status, body, {"Content-Type": "application/json; charset=UTF-8", **(headers or {})})


async def play_silence(fault: Fault | None) -> None:
    """Play a fault that answers nothing and takes nothing.

    Raises:
        CutConnectionError: the fault says so.
    """
    if fault is None or "before" not in {fault.cut, fault.hang}:
        return
    await asyncio.sleep(fault.delay_s)
    if fault.cut == "before":
        raise CutConnectionError
    await _hang()


async def play_before(fault: Fault | None, shape: Shape) -> Reply | None:
    """Play what comes before the notification is taken; None means that it may be taken.

    Raises:
        CutConnectionError: the fault says so.
    """
    await play_silence(fault)
    if fault is None or (fault.status is None and not fault.operator):
        return None
    await asyncio.sleep(fault.delay_s)
    return shape.operator_failure() if fault.status is None else scripted_reply(fault, fault.status, shape)


async def play_after(fault: Fault | None) -> None:
    """Play what comes between taking the notification and answering.

    Raises:
        CutConnectionError: the fault says so.
    """
    if fault is None:
        return
    await asyncio.sleep(fault.delay_s)
    if fault.cut == "after":
        raise CutConnectionError
    if fault.hang == "after":
        await _hang()


def is_answered(fault: Fault | None) -> bool:
    """Whether the sender of what is taken now hears of it."""
    return fault is None or "after" not in {fault.cut, fault.hang}


def scripted_reply(fault: Fault, status: int, shape: Shape) -> Reply:
    """The provider's own refusal, with the headers and the body that the fault brings."""
    reply = shape.failure(status, fault.code)
    if fault.body is None:
        return Reply(reply.status, reply.body, {**reply.headers, **fault.headers})
    if isinstance(fault.body, str):
        return Reply(status, fault.body.encode(), {"Content-Type": "text/plain; charset=utf-8", **fault.headers})
    return json_reply(status, fault.body, fault.headers)


def http1(handle: Callable[[web.Request], Awaitable[Reply]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Serve an exchange through aiohttp."""

    async def serve(request: web.Request) -> web.Response:
        try:
            reply = await handle(request)
        except CutConnectionError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)  # Never sent: aiohttp finds the transport closed.
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    return serve


async def _hang() -> NoReturn:
    """Never answer; ends when the server cancels the exchange, because a side has gone."""
    await asyncio.Event().wait()
    raise AssertionError
