"""HTTP for publishers without a socket: headers to properties, keys to publishers, receipts to statuses, places."""

import asyncio
import hashlib
import json
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from services.realtime.access.addresses import Addresses
from services.realtime.access.refusals import Refusal
from services.realtime.publish import publisher_keys
from services.realtime.publish.answers import answer_of, no_router
from services.realtime.publish.places import Places
from services.realtime.publish.properties import PROPERTIES_BYTES, properties_of
from services.realtime.publish.publisher_keys import (
    KNOWN_S,
    NEW_KEYS_AT_ONCE,
    NEW_KEYS_PER_S,
    UNKNOWN_S,
    PublisherKeys,
)
from services.realtime.publish.router_link import NoReceipt, Properties
from shared.core.topics import PLAIN_PUBLISHER
from shared.mqtt.connection import is_text


def request(**headers: str) -> web.Request:
    """Make a request; underscores in header names stand for hyphens."""
    return make_mocked_request("POST", "/", headers={name.replace("_", "-"): value for name, value in headers.items()})


# Headers.


@pytest.mark.parametrize(
    ("headers", "properties"),
    [
        ({}, Properties()),
        ({"Content_Type": "application/x-www-form-urlencoded"}, Properties()),
        ({"Idempotency_Key": "1"}, Properties((("idempotency-key", "1"),))),
        ({"Idempotency_Key": r'"a \"b\""'}, Properties((("idempotency-key", 'a "b"'),))),
        ({"Idempotency_Key": '"'}, Properties((("idempotency-key", '"'),))),
        ({"tracestate": "a=1"}, Properties()),
        ({"traceparent": "x", "tracestate": "a=1"}, Properties((("traceparent", "x"), ("tracestate", "a=1")))),
        ({"CE_Id": "1", "ce_specversion": "1.0"}, Properties((("id", "1"), ("specversion", "1.0")))),
        ({"ce_id": "%E2%82%AC%20"}, Properties((("id", "€ "), ("specversion", "")))),
        ({"ce_id": '"a%22"'}, Properties((("id", 'a"'), ("specversion", "")))),
        ({"ce_a_b": "1", "ce_": "1"}, Properties()),
        ({"ce_idempotency_key": "1"}, Properties()),
        (
            {"Content_Type": "Application/CloudEvents+JSON; charset=utf-8"},
            Properties(content_type="Application/CloudEvents+JSON; charset=utf-8"),
        ),
        (
            {"ce_traceparent": "of the event", "traceparent": "of the request"},
            Properties((("traceparent", "of the request"), ("specversion", ""))),
        ),
    ],
)
def test_headers_become_properties(headers: dict[str, str], properties: Properties) -> None:
    found = properties_of(request(**headers))
    assert dict(found.user) == dict(properties.user)
    assert found.content_type == properties.content_type


_values = st.text(st.characters(exclude_characters="\r\n\x00", exclude_categories=["Cs"]), max_size=30)


@given(headers=st.dictionaries(st.sampled_from(["ce-id", "ce-x", "Idempotency-Key", "Content-Type"]), _values))
def test_what_is_handed_on_is_what_every_broker_takes(headers: dict[str, str]) -> None:
    asked = make_mocked_request("POST", "/", headers=headers)
    with suppress(Refusal):
        found = properties_of(asked)
        assert all(is_text(name) and is_text(value) for name, value in found.user)


def test_headers_that_are_too_long_together_are_refused() -> None:
    properties_of(request(ce_x="x" * (PROPERTIES_BYTES - 100)))
    with pytest.raises(Refusal):
        properties_of(request(ce_x="x" * (PROPERTIES_BYTES // 2), ce_y="x" * (PROPERTIES_BYTES // 2)))


# Keys.


class Directory:
    """The publishers' keys, and how often each was asked for."""

    def __init__(self, **keys: str) -> None:
        self.names = {hashlib.sha256(key.encode()).hexdigest(): name for name, key in keys.items()}
        self.asked: list[str] = []
        self.now_s = 0.0
        self.keys = PublisherKeys(self.of_key, Addresses(), lambda: self.now_s)

    async def of_key(self, digest: str) -> str | None:
        self.asked.append(digest)
        await asyncio.sleep(0)
        return self.names.get(digest)

    async def ask(self, key: str) -> str | int:
        """Return the publisher, or the status of the refusal."""
        try:
            return await self.keys.publisher(request(Authorization=f"Bearer {key}"))
        except Refusal as refusal:
            return refusal.status


async def test_a_key_is_looked_up_again_after_a_while() -> None:
    directory = Directory(shop="good")
    assert [await directory.ask("good") for _ in range(3)] == ["shop"] * 3
    assert len(directory.asked) == 1
    directory.names.clear()
    directory.now_s = KNOWN_S + 0.1
    assert await directory.ask("good") == 401


async def test_an_unknown_key_is_looked_up_again_after_a_while() -> None:
    directory = Directory()
    assert [await directory.ask("late") for _ in range(3)] == [401] * 3
    assert len(directory.asked) == 1
    directory.names |= Directory(shop="late").names
    directory.now_s = UNKNOWN_S + 0.1
    assert await directory.ask("late") == "shop"


async def test_requests_with_one_key_share_a_look_up_and_its_failure() -> None:
    directory = Directory(shop="good")
    assert await asyncio.gather(*(directory.ask("good") for _ in range(100))) == ["shop"] * 100
    assert await asyncio.gather(*(directory.ask("wrong") for _ in range(100))) == [401] * 100
    assert len(directory.asked) == 2


async def test_one_address_has_few_unknown_keys_looked_up_and_known_ones_always() -> None:
    directory = Directory(shop="good")
    assert await directory.ask("good") == "shop"
    answers = [await directory.ask(f"wrong {number}") for number in range(1000)]
    assert answers.count(429) == 1000 - (NEW_KEYS_AT_ONCE - 1)
    directory.now_s = KNOWN_S + 0.1
    # What has come back meanwhile is used up first.
    for number in range(NEW_KEYS_AT_ONCE):
        await directory.ask(f"another {number}")
    assert await directory.ask("another key") == 429
    assert await directory.ask("good") == "shop"


async def test_what_is_remembered_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_keys, "KEPT", 300)
    directory = Directory()
    for number in range(400):
        directory.now_s += 1 / NEW_KEYS_PER_S
        assert await directory.ask(f"wrong {number}") == 401
    assert len(directory.keys._unknown) == 300


async def test_a_key_of_nobody_in_particular_is_no_key() -> None:
    directory = Directory()
    directory.names[hashlib.sha256(b"plain").hexdigest()] = PLAIN_PUBLISHER
    assert await directory.ask("plain") == 401


# Answers and places.


def test_no_receipt_says_whether_the_publish_may_have_been_accepted() -> None:
    assert "It was not accepted." in no_router(NoReceipt("x", is_sent=False)).message
    assert "may have been accepted" in no_router(NoReceipt("x", is_sent=True)).message


@pytest.mark.parametrize("receipt", [b"", b"[]", b"{}", b'{"status": "rejected"}', b'{"status": "?", "error": 7}'])
def test_what_is_no_receipt_is_told_from_one(receipt: bytes) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        answer_of(receipt)


def test_the_receipt_is_handed_on_byte_by_byte() -> None:
    receipt = json.dumps({"status": "accepted", "x": "é"}, indent=3).encode()
    assert answer_of(receipt).body == receipt


def test_places_come_back_however_a_request_ends() -> None:
    places = Places(most=2, most_of_one=1, in_hand_bytes=10)
    with places.hold("shop") as place:
        place.take(10)
        with pytest.raises(Refusal) as caught, places.hold("shop"):
            pass
        assert caught.value.status == 429
        with pytest.raises(Refusal) as caught, places.hold("billing"):
            pass
        assert caught.value.status == 503
        with pytest.raises(Refusal) as caught:
            place.take(1)
        assert caught.value.status == 503
    with suppress(ZeroDivisionError), places.hold("shop") as place:
        place.take(5 // 0)
    with suppress(ZeroDivisionError), places.hold("shop") as place:
        place.take(5)
        place.take(5 // 0)
    assert (places.taken, places.held_bytes) == (0, 0)
    with places.hold("one"), places.hold("two"):
        with pytest.raises(Refusal) as caught, places.hold("three"):
            pass
        assert caught.value.status == 503
