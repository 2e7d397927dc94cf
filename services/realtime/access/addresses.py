"""How much one network address may ask of this process, and which address a client behind a proxy has.

Promises that one address cannot take all places: open connections, open sessions and new sessions per second are
bounded for each. Counts what this process sees. The sessions of a *user* are bounded over all processes, in the
registry. Only a proxy of ``REALTIME_TRUSTED_PROXIES`` may name the client it speaks for.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

from services.realtime.access.rates import Rates
from services.realtime.access.refusals import too_many_requests

Network = IPv4Network | IPv6Network

# RFC 6177: a site gets at least this much, so all addresses in it count as one client.
_IPV6_SITE = 64

# Connections that an address may have for each of its sessions: the page's own requests need some, too.
_CONNECTIONS_PER_SESSION = 2

# New sessions at once, in seconds of the steady rate: after a restart a whole office connects again.
_BURST_S = 10


class Addresses:
    """Finds the address of a client.

    Args:
        trusted: the proxies whose word about ``X-Forwarded-For`` counts.
    """

    def __init__(self, trusted: tuple[Network, ...] = ()) -> None:
        self._trusted = trusted

    def is_trusted(self, peer: str) -> bool:
        """Tell whether a peer is one of our proxies."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)

    def of(self, request: web.Request) -> str:
        """Return the address that a request comes from, in the form in which it is counted."""
        client = request.remote or ""
        # Each proxy appends the address that connected to it. What stands before the first untrusted address may be
        # invented.
        for hop in reversed(",".join(request.headers.getall("X-Forwarded-For", [])).split(",")):
            if not self.is_trusted(client) or not _is_address(hop.strip()):
                break
            client = hop.strip()
        return counted_as(client)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def counted_as(peer: str) -> str:
    """Return the form in which an address is counted: one IPv4 address, or one IPv6 site."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, _IPV6_SITE), strict=False))
    return str(address)


class AddressLimits:
    """Counts by address.

    Args:
        sessions_most: open at a time.
        sessions_per_s: begun, over time.
        monotonic_s: the clock that rates are counted by.
    """

    def __init__(
        self, sessions_most: int, sessions_per_s: float, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions_most = sessions_most
        self._connections_most = sessions_most * _CONNECTIONS_PER_SESSION
        self._rates = Rates(sessions_per_s, sessions_per_s * _BURST_S, monotonic_s)
        self._connections: Counter[str] = Counter()
        self._sessions: Counter[str] = Counter()

    def connect(self, address: str) -> bool:
        """Count a connection that was accepted; False when it must be cut, and is not counted."""
        return _take(self._connections, address, self._connections_most)

    def disconnect(self, address: str) -> None:
        """Count the end of a connection."""
        _give(self._connections, address)

    def begin(self, address: str) -> None:
        """Count a handshake, whether it succeeds or not.

        Raises:
            Refusal: too many in too short a time.
        """
        if wait_s := self._rates.take(address):
            raise too_many_requests("Too many sessions from this address in too short a time.", wait_s)

    @contextmanager
    def session(self, address: str) -> Iterator[bool]:
        """Hold a place for a session; yields False when the address has too many."""
        taken = _take(self._sessions, address, self._sessions_most)
        try:
            yield taken
        finally:
            if taken:
                _give(self._sessions, address)


def _take(counter: Counter[str], address: str, most: int) -> bool:
    if counter[address] >= most:
        return False
    counter[address] += 1
    return True


def _give(counter: Counter[str], address: str) -> None:
    counter[address] -= 1
    if counter[address] <= 0:
        del counter[address]
