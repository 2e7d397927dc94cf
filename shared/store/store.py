"""Redis, with every call that is waiting at the same moment sent in one round trip.

Promises that a call returns the store's answer or raises StoreUnavailable. After StoreUnavailable nobody knows whether
it happened, so everything written through here is safe to repeat. There are two kinds of calls, lasting or not. Calls
of one kind to one server are sent in the order in which they were submitted. It does not retry:
``shared.store.until_stored`` decides when to try again. What is called on another line (``on_line``) is sent beside the
rest: it is another kind of call again.

If ``REDIS_WAIT_REPLICAS`` is set, a lasting call is answered only when that many replicas have what it wrote, so that
it survives the loss of the master. A call is lasting if somebody is promised its result: the receipt of a publish, or
what a later write elsewhere relies on. A call that can be made again from what is there is not (docs/guides/redis.md).
"""

import asyncio
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any, Self

from redis.exceptions import ResponseError

from shared.store.call_queue import PIPELINE_LIMIT, Barrier, Call, Line, Script, on_line, type_of_arg
from shared.store.url import servers_of

__all__ = ["PIPELINE_LIMIT", "Line", "Script", "Store", "each", "load_script", "on_line"]


@cache
def load_script(package: str, name: str, prelude: str | None = None) -> Script:
    """Read a script from a package's folder ``lua``, with the functions of ``prelude`` put before it."""
    folder = resources.files(package) / "lua"
    parts = [folder / f"{part}.lua" for part in (prelude, name) if part]
    return Script(name, "\n".join(part.read_text() for part in parts))


class Store:
    """A connection to Redis, Redis Cluster or a Sentinel-guarded Redis.

    Use it as an async context manager. ``submit`` and ``submit_script`` return futures at once, so that a batch is
    sent together; awaiting them in any order is fine.

    Args:
        wait_replicas: how many replicas a lasting call waits for; 0 to answer it like any other.
        wait_timeout_ms: for how long.
    """

    def __init__(self, url: str, wait_replicas: int = 0, wait_timeout_ms: int = 1000) -> None:
        self._servers = servers_of(url, Barrier(wait_replicas, wait_timeout_ms) if wait_replicas else None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._servers.close()

    def submit(self, *command: type_of_arg, lasting: bool = False) -> "asyncio.Future[Any]":
        """Send one Redis command with the next round trip; its first argument is its key, of which it has one."""
        return self._put(_call(None, command), lasting=lasting)

    def submit_script(
        self, script: Script, key: str, *args: type_of_arg, lasting: bool = False
    ) -> "asyncio.Future[Any]":
        """Run a script with the next round trip; ``key`` is its KEYS[1] and decides the cluster node."""
        return self._put(_call(script, (key, *args)), lasting=lasting)

    async def command(self, *command: type_of_arg, lasting: bool = False) -> Any:  # noqa: ANN401 - of every type
        """Send one Redis command and wait for its answer."""
        return await self.submit(*command, lasting=lasting)

    async def script(self, script: Script, key: str, *args: type_of_arg, lasting: bool = False) -> Any:  # noqa: ANN401
        """Run a script and wait for its answer."""
        return await self.submit_script(script, key, *args, lasting=lasting)

    async def ping(self) -> None:
        """Return when every server that takes writes answers.

        Raises:
            StoreUnavailable: one does not.
        """
        await self._servers.everywhere(lambda _marker: _call(None, ("PING",)), lasting=False)

    async def takes_writes(self) -> None:
        """Return when every server has written something.

        A server answers a PING also when it is full, has become a replica or has lost its replicas.

        Raises:
            StoreUnavailable: one has not.
        """
        await self._servers.everywhere(lambda marker: _call(None, ("SET", marker, "")), lasting=False)

    async def info(self, section: str) -> list[dict[str, str]]:
        """Return one section of what each server that takes writes says of itself (Redis, INFO).

        Raises:
            StoreUnavailable: one does not answer.
            ResponseError: we may not ask.
        """
        answers = await self._servers.everywhere(lambda _marker: _call(None, ("INFO", section)), lasting=False)
        return [_read_info(answer) for answer in answers]

    async def replicated(self) -> None:
        """Return when enough replicas of every server have what it has.

        Raises:
            StoreUnavailable: they have not, in the time that a lasting call is given.
        """
        await self._servers.everywhere(lambda _marker: _call(None, ("PING",)), lasting=True)

    def _put(self, call: Call, *, lasting: bool) -> "asyncio.Future[Any]":
        self._servers.put(call, lasting=lasting)
        return call.future


async def each(futures: Iterable["asyncio.Future[Any]"]) -> list[Any]:
    """Wait for all answers; what the store could not do of one call disturbs no other.

    Returns:
        The answers, and a ``ResponseError`` in the place of one that there is not.

    Raises:
        StoreUnavailable: it did not answer.
    """
    answers = await asyncio.gather(*futures, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, ResponseError):
            raise answer
    return answers


def _call(script: Script | None, arguments: tuple[type_of_arg, ...]) -> Call:
    return Call(asyncio.get_running_loop().create_future(), script, arguments)


def _read_info(answer: bytes) -> dict[str, str]:
    lines = answer.decode(errors="replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
