"""What a ``REDIS_URL`` names: one server, one that Sentinels watch over, or a cluster."""

import re
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from shared.errors import ConfigError
from shared.keys import barrier_marker
from shared.store_cluster import Address, Cluster
from shared.store_link import SOCKET_TIMEOUT_S, Barrier, Call, Pool, Server, Standing

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379

_OPTIONS: dict[str, Any] = {
    # A link has a deadline for each exchange; the client's own starts a task for every write.
    "socket_timeout": None,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
    "health_check_interval": 30,
}

# The others are asked when a Sentinel does not answer; so none is waited for, nor asked twice.
_SENTINEL_OPTIONS: dict[str, Any] = {
    "socket_timeout": 1.0,
    "socket_connect_timeout": 1.0,
    "retry": Retry(NoBackoff(), 0),
}

_DATABASE = re.compile(r"/?|/[0-9]+")


class Servers(Protocol):
    """Where calls go."""

    def put(self, call: Call, *, lasting: bool) -> None:
        """Send a call; ``lasting`` ones are answered when enough replicas have what they wrote."""
        ...

    async def everywhere(self, call: Callable[[str], Call], *, lasting: bool) -> list[Any]:
        """Send a call to every server that takes writes, and return the answers.

        Args:
            call: makes it, given a key of that server that nothing else uses.
        """
        ...

    async def close(self) -> None:
        """End everything."""
        ...


def servers_of(url: str, barrier: Barrier | None) -> Servers:
    """Describe what the URL names; it is connected to when it is used.

    Raises:
        ConfigError: it is malformed; the message does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme == "redis+cluster":
            return _cluster(parts, barrier)
        if parts.scheme == "redis+sentinel":
            return Server(_sentinel_pool(parts), Standing(), barrier, barrier_marker())
        if parts.scheme in ("redis", "rediss"):
            return Server(_pool(parts), Standing(), barrier, barrier_marker())
    except (ValueError, TypeError):
        # A port that is not a number, an option that the client does not know or cannot read.
        raise ConfigError("REDIS_URL: must look like redis://[user:pass@]host[:6379][/database]") from None
    raise ConfigError("REDIS_URL: the scheme must be redis, rediss, redis+cluster or redis+sentinel")


def _pool(parts: SplitResult) -> Pool:
    # The client itself takes a path that is no number for database 0.
    if not parts.hostname or not _DATABASE.fullmatch(parts.path) or parts.port == 0:
        raise ValueError("host, port or database")
    pool = ConnectionPool.from_url(urlunsplit(parts), **_OPTIONS)
    # Made only to see that its options are known; otherwise the first command would tell.
    pool.make_connection()  # type: ignore[no-untyped-call]
    return pool


def _cluster(parts: SplitResult, barrier: Barrier | None) -> Cluster:
    # A cluster has no numbered databases (Redis Cluster specification, "Implemented subset").
    if parts.path not in ("", "/", "/0"):
        raise ConfigError("REDIS_URL: a redis+cluster URL has no database")
    login, at, _ = parts.netloc.rpartition("@")

    def pool(address: Address) -> Pool:
        host, port = address
        name = f"[{host}]" if ":" in host else host
        return _pool(parts._replace(scheme="redis", netloc=f"{login}{at}{name}:{port}", path=""))

    seeds = _addresses(parts, _REDIS_PORT)
    for seed in seeds:
        pool(seed)
    return Cluster(seeds, pool, Standing(), barrier)


def _sentinel_pool(parts: SplitResult) -> Pool:
    service = parts.path.strip("/")
    if not service:
        raise ConfigError("REDIS_URL: a redis+sentinel URL ends with the name of the service")
    sentinel = Sentinel(_addresses(parts, _SENTINEL_PORT), sentinel_kwargs=_SENTINEL_OPTIONS)  # type: ignore[no-untyped-call]
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return _GuardedPool(service, sentinel, username=username, password=password, **_OPTIONS)  # type: ignore[no-untyped-call]


class _GuardedPool(SentinelConnectionPool):
    """Connections to whichever server the Sentinels name."""

    async def aclose(self) -> None:
        """End every connection, those to the Sentinels, too."""
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def _addresses(parts: SplitResult, port: int) -> list[Address]:
    """Read ``host[:port],host[:port]``."""
    found = []
    for text in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{text}")
        if not one.hostname or one.port == 0:
            raise ValueError("host or port")
        found.append((one.hostname, one.port or port))
    return found
