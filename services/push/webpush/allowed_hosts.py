"""Which hosts Web Push may contact: only names that the operator allows, at addresses on the public internet.

An endpoint comes from a user, so an unchecked one would let users send requests into our network. A check of the name
is not enough: its owner decides what it resolves to, and may change that between a look-up and the connection. So the
address is checked when the socket for it is made. Promises that no packet goes to an address that is not public, unless
the operator wrote that very address, or localhost, into the setting.
"""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any, Self

from yarl import URL

# Where browsers are reached: Chrome and its relatives (fcm.googleapis.com), Firefox (*.push.services.mozilla.com), Edge
# (*.notify.windows.com), see pushpad.xyz/blog/what-are-the-browser-push-services; Safari (*.push.apple.com), see
# developer.apple.com, "Sending web push notifications in web apps and browsers".
BROWSER_PUSH_HOSTS = "fcm.googleapis.com,.push.services.mozilla.com,.notify.windows.com,.push.apple.com"

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
# RFC 6052, 2.1: an IPv4 address in the last 32 bits, to which a translator in the network connects.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_LOOPBACK = ("127.0.0.1", "::1")


class NotPublicError(OSError):
    """The address is not on the public internet; nothing was sent to it."""

    def __init__(self) -> None:
        # Without the address: it would show what a private name resolves to.
        super().__init__("not a public address")


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The hosts of ``PUSH_WEBPUSH_ALLOWED_HOSTS``: exact ones with or without a port, and suffixes."""

    exact: frozenset[tuple[str, int | None]]
    suffixes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the setting.

        Raises:
            ValueError: an entry is no host, or there is none.
        """
        entries = list(filter(None, (entry.strip().lower() for entry in text.split(","))))
        suffixes = [entry for entry in entries if entry.startswith(".")]
        exact = {_host_and_port(entry) for entry in entries if not entry.startswith(".")}
        # RFC 6761, 6.3: localhost stands for these addresses.
        exact |= {(address, port) for host, port in exact if host == "localhost" for address in _LOOPBACK}
        if not entries or any(mark in entry for entry in entries for mark in "/*@ ?#") or "." in entries:
            raise ValueError("host names, comma-separated, without scheme or path; .example.com for all below it")
        return cls(frozenset(exact), tuple(suffixes))

    def allows(self, host: str, port: int | None) -> bool:
        """Tell whether an endpoint may name this host; in lower case, an IPv6 address without brackets."""
        return (host, None) in self.exact or (host, port) in self.exact or host.endswith(self.suffixes)

    def may_connect(self, address: str, port: int) -> bool:
        """Tell whether a connection may be made to an address that a name resolved to."""
        return (
            (address, None) in self.exact or (address, port) in self.exact or is_public(ipaddress.ip_address(address))
        )

    def new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make the socket for a connection. aiohttp's connector calls it for each address before it tries it.

        Args:
            address: as ``socket.getaddrinfo`` gives it.

        Raises:
            NotPublicError: it must not be connected to.
        """
        family, kind, protocol, _, (host, port, *_) = address
        if not self.may_connect(host, port):
            raise NotPublicError
        return socket.socket(family, kind, protocol)


def is_public(address: _Ip) -> bool:
    """Tell whether an address is on the public internet, in whatever form it is written."""
    if isinstance(address, ipaddress.IPv6Address):
        for inner in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ()), _translated(address)):
            if inner is not None and not is_public(inner):
                return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _host_and_port(entry: str) -> tuple[str, int | None]:
    # A bare IPv6 address has colons, too.
    if entry.count(":") > 1 and not entry.startswith("["):
        return entry, None
    url = URL(f"https://{entry}")
    if not url.host or url.user is not None:
        raise ValueError("a host name is malformed")
    return url.host, url.explicit_port
