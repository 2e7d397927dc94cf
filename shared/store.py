"""Redis, with every call that is waiting at the same moment sent in one round trip.

Promises: a call either returns the store's answer or raises StoreUnavailable, after which it is unknown whether it
happened; so everything written through here is safe to repeat. Calls submitted earlier are sent earlier. It does not
retry: ``shared.service`` decides when to come back.
"""

import asyncio
import logging
import math
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Self
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import hiredis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from shared.errors import ConfigError, StoreUnavailable

log = logging.getLogger(__name__)

# One round trip carries at most this many calls, so that a burst does not hold the store's single thread for long.
PIPELINE_LIMIT = 500

# A command that takes longer than this is as good as lost; the connection is dropped.
SOCKET_TIMEOUT_S = 5.0

# A server that answers so will be replaced or will recover; to a caller it is away.
_AWAY = (ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
# The same, where the client knows no class: a script runs too long, the append-only file cannot be written, too few
# replicas (Redis, server.c, createSharedObjects).
_AWAY_WORDS = ("BUSY ", "MISCONF ", "NOREPLICAS ")

_OPTIONS: dict[str, Any] = {
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
    "health_check_interval": 30,
}

_DATABASE = re.compile(r"/?|/[0-9]+")

type_of_arg = str | bytes | int | float


class Script:
    """One Lua script; its source is ``shared/lua/{name}.lua`` after an optional shared prelude."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source


# A call that waits for its round trip: the future of its answer, the script or None, the command or its arguments.
_Call = tuple["asyncio.Future[Any]", Script | None, tuple[Any, ...]]


@cache
def load_script(name: str, prelude: str | None = None) -> Script:
    """Read a script from ``shared/lua``, with the functions of ``prelude`` put before it."""
    folder = resources.files("shared") / "lua"
    parts = [folder / f"{part}.lua" for part in (prelude, name) if part]
    return Script(name, "\n".join(part.read_text() for part in parts))


class Store:
    """A connection to Redis, Redis Cluster or a Sentinel-guarded Redis.

    Use it as an async context manager. ``submit`` and ``submit_script`` return futures at once, so that a batch is
    sent together; awaiting them in any order is fine.
    """

    def __init__(self, url: str) -> None:
        # Redis answers with values of every type, and the client's stubs follow that only in part.
        self._client: Any = _client(url)
        self._waiting: list[_Call] = []
        self._shas: dict[str, str] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._flusher = asyncio.create_task(self._flush_forever(), name="store-flush")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
        for future, _, _ in self._waiting:
            future.cancel()
        await self._client.aclose()

    def submit(self, *command: type_of_arg) -> asyncio.Future[Any]:
        """Send one Redis command with the next round trip."""
        return self._enqueue(None, command)

    def submit_script(self, script: Script, key: str, *args: type_of_arg) -> asyncio.Future[Any]:
        """Run a script with the next round trip; ``key`` is its KEYS[1] and decides the cluster node."""
        return self._enqueue(script, (1, key, *args))

    async def command(self, *command: type_of_arg) -> Any:  # noqa: ANN401 - Redis answers are of every type
        """Send one Redis command and wait for its answer."""
        return await self.submit(*command)

    async def script(self, script: Script, key: str, *args: type_of_arg) -> Any:  # noqa: ANN401
        """Run a script and wait for its answer."""
        return await self.submit_script(script, key, *args)

    async def ping(self) -> None:
        """Return when the store answers.

        Raises:
            StoreUnavailable: it does not.
        """
        await self.command("PING")

    def _enqueue(self, script: Script | None, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, script, command))
        self._wake.set()
        return future

    async def _flush_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                calls, self._waiting = self._waiting[:PIPELINE_LIMIT], self._waiting[PIPELINE_LIMIT:]
                await self._flush(calls)

    async def _flush(self, calls: list[_Call]) -> None:
        live = [call for call in calls if not call[0].done()]
        try:
            answers = await self._round_trip([(script, command) for _, script, command in live])
        except (RedisError, OSError, TimeoutError) as error:
            _fail(live, StoreUnavailable(type(error).__name__))
            return
        except Exception as error:  # noqa: BLE001 - everybody's calls pass here: it outlives one that cannot be sent
            if len(live) == 1:
                _fail(live, error)
                return
            for call in live:
                await self._flush([call])
            return
        for call, answer in zip(live, answers, strict=True):
            if not isinstance(answer, Exception):
                if not call[0].done():
                    call[0].set_result(answer)
            elif isinstance(answer, ResponseError) and not _means_away(answer):
                _fail([call], answer)
            else:
                _fail([call], StoreUnavailable(type(answer).__name__))

    async def _round_trip(self, calls: Sequence[tuple[Script | None, tuple[Any, ...]]]) -> list[Any]:
        for script, _ in calls:
            if script is not None and script.name not in self._shas:
                await self._load(script)
        answers = await self._pipeline(calls)
        # After a restart or a failover the store may not know a script; it then ran nothing, so repeating is safe.
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for script in {calls[index][0] for index in unknown}:
                if script is not None:
                    await self._load(script)
            again = await self._pipeline([calls[index] for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return answers

    async def _load(self, script: Script) -> None:
        sha = await self._client.script_load(script.source)
        self._shas[script.name] = sha.decode() if isinstance(sha, bytes) else sha

    async def _pipeline(self, calls: Sequence[tuple[Script | None, tuple[Any, ...]]]) -> list[Any]:
        commands = [
            command if script is None else ("EVALSHA", self._shas[script.name], *command) for script, command in calls
        ]
        if isinstance(self._client, RedisCluster):
            return await asyncio.gather(
                *(self._client.execute_command(*command) for command in commands), return_exceptions=True
            )
        return await self._exchange(commands)

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send all commands and read all answers on one connection.

        redis-py's own pipeline packs in Python and sets a timer and measures for every single answer; for batches of
        small scripts that costs more than the scripts.
        """
        pool = self._client.connection_pool
        connection = await pool.get_connection()
        answers: list[Any] = []
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                await connection.send_packed_command([hiredis.pack_command(command) for command in commands])
                for _ in commands:
                    try:
                        answers.append(await connection.read_response(timeout=math.inf))
                    except ResponseError as error:
                        answers.append(error)
        except BaseException:
            # Answers that are still to come would be taken for those of the next commands.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)
        return answers


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    for future, _, _ in calls:
        if not future.done():
            future.set_exception(error)
            # A caller that was cancelled meanwhile never looks; that is no news worth a warning.
            future.exception()


def _means_away(answer: ResponseError) -> bool:
    return isinstance(answer, _AWAY) or str(answer).startswith(_AWAY_WORDS)


def _client(url: str) -> Redis | RedisCluster:
    """Build the client that the URL's scheme asks for; it connects when it is used.

    Raises:
        ConfigError: it is malformed; the message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme == "redis+sentinel":
            return _sentinel_client(parts)
        if parts.scheme in ("redis", "rediss", "redis+cluster"):
            return _direct_client(parts)
    except (ValueError, TypeError):
        # A port that is not a number, an option that the client does not know or cannot read.
        raise ConfigError("REDIS_URL: must look like redis://[user:pass@]host[:6379][/database]") from None
    raise ConfigError("REDIS_URL: the scheme must be redis, rediss, redis+cluster or redis+sentinel")


def _direct_client(parts: SplitResult) -> Redis | RedisCluster:
    # The client itself takes a path that is no number for database 0.
    if not parts.hostname or not _DATABASE.fullmatch(parts.path) or parts.port == 0:
        raise ValueError("host, port or database")
    if parts.scheme == "redis+cluster":
        return RedisCluster.from_url(urlunsplit(parts._replace(scheme="redis")), **_OPTIONS)
    client = Redis.from_url(urlunsplit(parts), **_OPTIONS)
    # Made only to see that its options are known; otherwise the first command would tell.
    client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    return client


def _sentinel_client(parts: SplitResult) -> Redis:
    hosts = [_host_port(host) for host in parts.netloc.rpartition("@")[2].split(",")]
    service = parts.path.strip("/")
    if not service:
        raise ConfigError("REDIS_URL: a redis+sentinel URL ends with the name of the service")
    sentinel: Any = Sentinel(hosts, **_OPTIONS)  # type: ignore[no-untyped-call]
    password = unquote(parts.password) if parts.password else None
    master: Redis = sentinel.master_for(service, password=password, **_OPTIONS)
    return master


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port or 26379)
