"""A Redis Cluster: which server has which slot, kept up to date while servers join, leave and are promoted.

Promises that a call goes to the server that has its key according to the newest known map, and that calls to one server
wait for no other. If the map proves wrong, it is read again at once, from the first server that answers.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any

from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError, ResponseError

from shared.core.errors import StoreUnavailable
from shared.store.call_queue import CLOSED, Availability, Barrier, Call, Pool, Server
from shared.store.keys import barrier_marker

log = logging.getLogger(__name__)

# Redis Cluster specification, "Key distribution model".
SLOTS = 16384

Address = tuple[str, int]

# How long one server is asked for the map, and the least time from one map to the next.
_ASK_WITHIN_S = 1.0
_PAUSE_S = (0.1, 0.3)

# A call that is sent on more often than this has met a cluster that does not agree with itself.
_REDIRECTIONS_MOST = 5

# Commands without a key; any server answers them.
_KEYLESS = ("PING", "TIME")

# A slot whose server is not known: it was never told, or the cluster has lost it.
_NOBODY = "NoServerForSlot"


class Cluster:
    """The servers of a cluster.

    Args:
        seeds: where the map is asked for at first, and when nobody else answers.
        pool: makes the connections to one server.
    """

    def __init__(
        self,
        seeds: Sequence[Address],
        pool: Callable[[Address], Pool],
        availability: Availability,
        barrier: Barrier | None,
    ) -> None:
        self._seeds = list(seeds)
        self._pool = pool
        self._availability = availability
        self._barrier = barrier
        self._servers: dict[Address, Server] = {}
        self._retired: list[Server] = []
        self._owners: list[Server | None] = [None] * SLOTS
        self._unplaced: list[tuple[Call, bool]] = []
        self._ask_first: Address | None = None
        self._why = _NOBODY
        self._stale = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._closed = False

    def put(self, call: Call, *, lasting: bool) -> None:
        """Send a call to the server that has its key, as soon as that is known."""
        if self._closed:
            call.fail(StoreUnavailable(CLOSED))
            return
        server = self._owner(call)
        if server is not None:
            server.put(call, lasting=lasting)
            return
        self._unplaced.append((call, lasting))
        self._ask_again()

    async def everywhere(self, call: Callable[[str], Call], *, lasting: bool) -> list[Any]:
        """Send a call to every master, and return the answers."""
        # Waits for the first map, where there is none yet.
        first = Call(asyncio.get_running_loop().create_future(), None, ("PING",))
        self.put(first, lasting=False)
        await first.future
        servers = {id(owner): owner for owner in self._owners if owner}.values()
        calls = [(server, call(server.marker)) for server in servers]
        for server, each in calls:
            server.put(each, lasting=lasting)
        answers = await asyncio.gather(*(each.future for _, each in calls))
        if None in self._owners:
            raise StoreUnavailable(_NOBODY)
        return answers

    async def close(self) -> None:
        """End everything."""
        self._closed = True
        self._stale.set()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        for call, _ in self._unplaced:
            call.fail(StoreUnavailable(CLOSED))
        # The follower may have been cancelled while it closed the retired ones.
        await asyncio.gather(*(server.close() for server in (*self._servers.values(), *self._retired)))

    def _owner(self, call: Call) -> Server | None:
        name = call.words[0]
        if call.script is None and name in _KEYLESS:
            return next((owner for owner in self._owners if owner), None)
        key = name if call.script else call.words[1]
        return self._owners[key_slot(key if isinstance(key, bytes) else str(key).encode())]

    def _ask_again(self) -> None:
        self._stale.set()
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow(), name="store-cluster-map")

    def _redirect(self, call: Call, answer: ResponseError, lasting: bool) -> bool:
        if not isinstance(answer, MovedError):
            return False
        call.redirected += 1
        if call.redirected > _REDIRECTIONS_MOST:
            call.fail(StoreUnavailable(type(answer).__name__))
        else:
            self._unplaced.append((call, lasting))
        if answer.host:
            self._ask_first = (answer.host, answer.port)
        self._ask_again()
        return True

    def _server(self, address: Address, marker: str) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = Server(
                self._pool(address),
                self._availability,
                self._barrier,
                marker,
                redirect=self._redirect,
                broken=self._ask_again,
            )
        server.mark_with(marker)
        return server

    async def _follow(self) -> None:
        while not self._closed:
            await self._stale.wait()
            self._stale.clear()
            try:
                ranges = await self._ask()
                if ranges is not None:
                    await self._adopt(ranges)
            except Exception:
                # Without a map nothing goes on; the next call asks again.
                log.exception("map of the cluster not read")
            unplaced, self._unplaced = self._unplaced, []
            for call, lasting in unplaced:
                server = self._owner(call)
                if server is not None:
                    server.put(call, lasting=lasting)
                else:
                    self._availability.failed(self._why, 1)
                    call.fail(StoreUnavailable(self._why))
            await asyncio.sleep(random.uniform(*_PAUSE_S))  # noqa: S311 - jitter

    async def _ask(self) -> list[tuple[range, Address]] | None:
        """Return the slots and their masters as the first server says that answers; None when none does."""
        known = list(self._servers)
        random.shuffle(known)
        first = [self._ask_first] if self._ask_first else []
        self._ask_first = None
        for address in dict.fromkeys([*first, *known, *self._seeds]):
            pool = self._pool(address)
            try:
                async with asyncio.timeout(_ASK_WITHIN_S):
                    connection = await pool.get_connection()
                    try:
                        await connection.send_command("CLUSTER", "SLOTS")
                        ranges = list(_read_slots(await connection.read_response(), address))
                    finally:
                        await pool.release(connection)
            except (RedisError, OSError, TimeoutError, ValueError, TypeError, AttributeError) as error:
                # The last three: the answer is no map. In its own words for a server that is none of a cluster.
                self._why = str(error) if isinstance(error, ResponseError) else type(error).__name__
            else:
                self._why = _NOBODY
                return ranges
            finally:
                with suppress(RedisError, OSError, TimeoutError):
                    await pool.aclose()
        return None

    async def _adopt(self, ranges: list[tuple[range, Address]]) -> None:
        widest: dict[Address, range] = {}
        for slots, address in ranges:
            widest[address] = max(slots, widest.get(address, slots), key=len)
        owners: list[Server | None] = [None] * SLOTS
        for slots, address in ranges:
            owners[slots.start : slots.stop] = [self._server(address, _marker(widest[address]))] * len(slots)
        self._owners = owners
        self._retired += [self._servers.pop(address) for address in self._servers.keys() - widest.keys()]
        await asyncio.gather(*(server.close() for server in self._retired))
        self._retired.clear()


def _read_slots(answer: Sequence[Any], asked: Address) -> Iterator[tuple[range, Address]]:
    """Read the answer to CLUSTER SLOTS: first and last slot, then the master's host and port, then its replicas."""
    for first, last, (host, port, *_), *_ in answer:
        # Without a host it is the one that was asked (Redis, CLUSTER SLOTS, "preferred endpoint type").
        yield range(first, last + 1), (host.decode() if host else asked[0], port)


@cache
def _marker(slots: range) -> str:
    """Return a key for the barrier whose slot is one of these."""
    return next(name for name in map(barrier_marker, count()) if key_slot(name.encode()) in slots)
