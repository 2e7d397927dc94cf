"""Whose address a request comes from, and what one address may take."""

from contextlib import suppress
from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request

from services.realtime.access.addresses import Addresses, AddressLimits, counted_as
from services.realtime.access.refusals import Refusal
from tests.fakes.clock import StandingClock

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        # Only a trusted proxy is believed.
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "198.51.100.1", "198.51.100.1"),
        # What a client invents stands to the left of what the proxy heard.
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("", "198.51.100.1", ""),
    ],
)
def test_client_is_the_last_stranger_that_our_proxies_heard(peer: str, forwarded: str | None, client: str) -> None:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = make_mocked_request("GET", "/v1/ws", headers=headers).clone(remote=peer)
    assert Addresses(PROXIES).of(request) == client


def test_addresses_of_one_site_count_together() -> None:
    assert counted_as("2001:db8::1") == counted_as("2001:db8::ffff:1") != counted_as("2001:db8:0:1::1")
    assert counted_as("::ffff:203.0.113.9") == counted_as("203.0.113.9")
    assert counted_as("fe80::1%eth0") == counted_as("fe80::2")


def test_sessions_and_connections_of_an_address_are_bounded_and_given_back() -> None:
    limits = AddressLimits(sessions_most=1, sessions_per_s=1)
    with limits.session("a") as first, limits.session("a") as second, limits.session("b") as elsewhere:
        assert (first, second, elsewhere) == (True, False, True)
    with limits.session("a") as again:
        assert again
    assert [limits.connect("a") for _ in range(3)] == [True, True, False]
    limits.disconnect("a")
    assert limits.connect("a")


def test_new_sessions_come_in_a_burst_and_then_at_the_steady_rate() -> None:
    clock = StandingClock()
    limits = AddressLimits(sessions_most=100, sessions_per_s=2, monotonic_s=lambda: clock.now().timestamp())
    assert _begun(limits, "a", 30) == 20
    assert _begun(limits, "b", 1) == 1
    clock.move(3)
    assert _begun(limits, "a", 30) == 6
    # One who goes on knocking is let in at the steady rate, too.
    clock.move(0.5)
    assert _begun(limits, "a", 1) == 1


def test_refusal_says_when_to_come_again() -> None:
    limits = AddressLimits(sessions_most=1, sessions_per_s=0.1)
    limits.begin("a")
    with pytest.raises(Refusal) as refused:
        limits.begin("a")
    assert (refused.value.status, refused.value.code) == (429, "too_many_requests")
    assert refused.value.headers["Retry-After"] == "10"


def _begun(limits: AddressLimits, address: str, times: int) -> int:
    begun = 0
    for _ in range(times):
        with suppress(Refusal):
            limits.begin(address)
            begun += 1
    return begun
