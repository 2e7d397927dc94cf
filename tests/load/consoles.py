"""What open consoles do to everybody else: the way to a WebSocket with none open, and with ten that stay fresh."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

import aiohttp

from carillon.console import links
from carillon.console.roles import Role
from carillon.local.stack import Stack
from shared.store.keys import Keys
from shared.store.store import Store
from tests.load.latency import Latency, measure_latency
from tests.waiting import eventually

OPEN = 10
ROUNDS = 3

_PER_SECOND = 50

# Each open console shows Now, live, and somebody looks at other pages beside it.
_OTHERS = ("/incidents", "/providers", "/dead-letters", "/on-call", "/find?person=user1&go=1")
_LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Consoles:
    """The way to a WebSocket, in turn without and with open consoles.

    Attributes:
        reads: pages that were looked at, and what live pages were sent.
    """

    without: Latency
    beside: Latency
    reads: int


async def measure_consoles(stack: Stack, *, seconds: int) -> Consoles:
    """Measure at a steady rate, in turn; the middle round of each counts."""
    without, beside, reads = [], [], 0
    for number in range(ROUNDS):
        without.append(await measure_latency(stack, per_second=_PER_SECOND, seconds=seconds, user=f"alone{number}"))
        async with _consoles(stack) as read:
            beside.append(await measure_latency(stack, per_second=_PER_SECOND, seconds=seconds, user=f"user{number}"))
            reads += len(read)
    return Consoles(_middle(without), _middle(beside), reads)


def _middle(rounds: list[Latency]) -> Latency:
    return Latency(
        median(one.p50_ms for one in rounds),
        median(one.p99_ms for one in rounds),
        sum(one.received for one in rounds),
        sum(one.sent for one in rounds),
    )


@asynccontextmanager
async def _consoles(stack: Stack) -> AsyncIterator[list[int]]:
    """Keep consoles open; what is yielded grows by a page's bytes with each page."""
    read: list[int] = []
    async with AsyncExitStack() as opened, Store(stack.environment["REDIS_URL"]) as store:
        tasks = []
        for number in range(OPEN):
            link = await links.new_link(
                store, Keys(), stack.console_url, who=f"{number}", role=Role.OPERATOR, lifetime=timedelta(minutes=5)
            )
            http = await opened.enter_async_context(
                aiohttp.ClientSession(stack.console_url, cookie_jar=aiohttp.CookieJar(unsafe=True))
            )
            async with http.post(
                "/sign-in", data={"link": link.partition("link=")[2]}, allow_redirects=False
            ) as answer:
                assert answer.status == 303, answer.status
            tasks += [_stay_fresh(http, read), _look_about(http, read, number)]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(task, name="console") for task in tasks]
            await eventually(lambda: len(read) > OPEN, what="consoles that are fresh")
            yield read
            for task in running:
                task.cancel()


async def _stay_fresh(http: aiohttp.ClientSession, read: list[int]) -> None:
    async with http.get("/", headers={"Accept": "text/event-stream"}, timeout=aiohttp.ClientTimeout(None)) as answer:
        assert answer.content_type == "text/event-stream", answer.content_type
        while piece := await answer.content.readany():
            read.append(len(piece))


async def _look_about(http: aiohttp.ClientSession, read: list[int], number: int) -> None:
    while True:
        path = _OTHERS[number % len(_OTHERS)]
        async with http.get(path) as answer:
            assert answer.status == 200, (path, answer.status)
            read.append(len(await answer.read()))
        number += 1
        await asyncio.sleep(_LOOK_EVERY_S)
