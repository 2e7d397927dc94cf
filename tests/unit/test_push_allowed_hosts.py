"""Which addresses Web Push may connect to."""

import ipaddress
import socket

import pytest

from services.push.webpush.allowed_hosts import AllowedHosts, NotPublicError, is_public

PRIVATE = [
    "127.0.0.1", "127.8.9.10", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2002:c0a8:101::1",
]  # fmt: skip
PUBLIC = ["142.250.1.95", "2a00:1450:4001:800::200a", "::ffff:142.250.1.95", "64:ff9b::8efa:15f"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_refused_however_it_is_written(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    hosts = AllowedHosts.parse("push.example.com")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(NotPublicError) as caught:
        hosts.new_socket((family, socket.SOCK_STREAM, 0, "", (address, 443)))
    assert address not in str(caught.value)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_connected_to(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("setting", "address", "port", "allowed"),
    [
        ("127.0.0.1:8025", "127.0.0.1", 8025, True),
        ("127.0.0.1:8025", "127.0.0.1", 8026, False),
        ("127.0.0.1", "127.0.0.1", 8026, True),
        ("127.0.0.1", "127.0.0.2", 443, False),
        ("[::1]:8025", "::1", 8025, True),
        ("::1", "::1", 8025, True),
        ("localhost:8025", "127.0.0.1", 8025, True),
        ("localhost:8025", "::1", 8025, True),
        ("localhost:8025", "127.0.0.1", 22, False),
        ("10.0.0.1", "10.0.0.1", 443, True),
        (".example.com", "127.0.0.1", 443, False),
    ],
)
def test_only_an_address_that_the_operator_wrote_down_may_be_private(
    setting: str, address: str, port: int, allowed: bool
) -> None:
    assert AllowedHosts.parse(setting).may_connect(address, port) is allowed
