"""What a ``REDIS_URL`` names: one server, one that Sentinels watch over, or a cluster; each with TLS or without.

Options of the client follow the address, such as ``?ssl_ca_certs=FILE``. With TLS, the connections to Sentinels and to
every server of a cluster use TLS, too. Each server must show a certificate for the name or address under which it is
found.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from redis.asyncio.connection import ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.core.errors import ConfigError
from shared.store.call_queue import SOCKET_TIMEOUT_S, Availability, Barrier, Call, Pool, Server
from shared.store.cluster import Address, Cluster
from shared.store.keys import barrier_marker

_REDIS_PORT = 6379
_SENTINEL_PORT = 26379

_OPTIONS: dict[str, Any] = {
    # A call queue has a deadline for each exchange; the client's own starts a task for every write.
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
        if _protocol(parts) == "rediss":
            _check_authority(parts)
        if parts.scheme in ("redis+cluster", "rediss+cluster"):
            return _cluster(parts, barrier)
        if parts.scheme in ("redis+sentinel", "rediss+sentinel"):
            return Server(_sentinel_pool(parts), Availability(), barrier, barrier_marker())
        if parts.scheme in ("redis", "rediss"):
            return Server(_pool(parts), Availability(), barrier, barrier_marker())
    except (ValueError, TypeError, RedisError):
        # A port that is not a number, an option that the client does not know or cannot read.
        raise ConfigError("REDIS_URL: must look like redis://[user:pass@]host[:6379][/database]") from None
    raise ConfigError("REDIS_URL: the scheme must be redis or rediss, alone or with +cluster or +sentinel behind it")


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
        raise ConfigError(f"REDIS_URL: a {parts.scheme} URL has no database")
    login, at, _ = parts.netloc.rpartition("@")

    def pool(address: Address) -> Pool:
        host, port = address
        name = f"[{host}]" if ":" in host else host
        return _pool(parts._replace(scheme=_protocol(parts), netloc=f"{login}{at}{name}:{port}", path=""))

    seeds = _addresses(parts, _REDIS_PORT)
    for seed in seeds:
        pool(seed)
    return Cluster(seeds, pool, Availability(), barrier)


def _check_authority(parts: SplitResult) -> None:
    """Refuse a file of authorities that no connection could use; otherwise the store would seem to be away."""
    file: Any = parse_url(f"rediss://?{parts.query}").get("ssl_ca_certs")
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # An ssl.SSLError is one, too.
        raise ConfigError(f"REDIS_URL: its ssl_ca_certs cannot be used ({error.strerror})") from None


def _protocol(parts: SplitResult) -> str:
    """Return what the servers are spoken to with: redis or rediss."""
    return parts.scheme.partition("+")[0]


def _sentinel_pool(parts: SplitResult) -> Pool:
    service = parts.path.strip("/")
    if not service:
        raise ConfigError(f"REDIS_URL: a {parts.scheme} URL ends with the name of the service")
    addresses = _addresses(parts, _SENTINEL_PORT)
    # The client reads login and options of one server; where that is, the Sentinels say.
    options: dict[str, Any] = dict(parse_url(f"{_protocol(parts)}://?{parts.query}"))
    options.pop("connection_class", None)
    secure = _protocol(parts) == "rediss"
    of_sentinels = {name: value for name, value in options.items() if name.startswith("ssl_")} | _SENTINEL_OPTIONS
    sentinel = Sentinel(addresses, sentinel_kwargs={**of_sentinels, "ssl": secure})  # type: ignore[no-untyped-call]
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    pool = _GuardedPool(service, sentinel, username=username, password=password, ssl=secure, **{**options, **_OPTIONS})
    # As for one server: only to see that its options are known.
    pool.make_connection()  # type: ignore[no-untyped-call]
    return pool


class _GuardedPool(SentinelConnectionPool):
    """Connections to whichever server the Sentinels name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the client's own
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def get_master_address(self) -> Address:
        """Ask the Sentinels, one question at a time.

        The client moves the one that answered to the front of its list. If two ask at once, one of them overwrites
        another Sentinel, which is then neither asked again nor closed.
        """
        async with self._asking:
            address: Address = await super().get_master_address()  # type: ignore[no-untyped-call]
            return address

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
