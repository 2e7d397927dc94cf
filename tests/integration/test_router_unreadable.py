"""A publish that some brokers let through and that cannot be read is refused, and the ones behind it are accepted."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.core.limits import PACKET_BYTES
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import encode_publish
from shared.mqtt.reconnecting import BrokerLink
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.fakes.mqtt_server import ScriptedBroker, scripted_broker
from tests.router import an_intake
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

TOPIC = "notifications/realtime/user/user1"
RECEIPTS = "receipts/publisher1"


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[tuple[ScriptedBroker, ScriptedBroker]]:
    """Run an intake between two scripted brokers: one brings the publishes, the other takes the answers."""
    async with scripted_broker() as inward, scripted_broker() as outward:
        out = BrokerLink(BrokerAddress.parse(outward.url), "out")
        intake = an_intake(store, out)
        async with Broker(BrokerAddress.parse(inward.url), "router-0-general", budget=intake.budget) as broker:
            tasks = [asyncio.create_task(work, name="intake") for work in (out.run(), intake.serve(broker))]
            await out.wait_up()
            try:
                yield inward, outward
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def with_property(packed: bytes, mid: int) -> bytes:
    """Write a publish with a response topic, behind it one more property as it stands."""
    fine = encode_publish(TOPIC, b'{"message": "m"}', mid, response_topic=RECEIPTS, correlation=b"%d" % mid)
    at = 2 + 2 + len(TOPIC) + 2
    body = bytearray(fine)
    size = body[at]
    body[at] = size + len(packed)
    body[at + 1 + size : at + 1 + size] = packed
    body[1] += len(packed)
    assert body[1] < 128
    return bytes(body)


async def test_what_cannot_be_read_is_refused_with_an_answer_and_the_rest_goes_on(store: EmptyStore) -> None:
    unreadable = [
        b"\x26\x00\x01\xff\x00\x01v",
        b"\x26\x00\x01n\x00\x03\xed\xa0\x80",
        b"\x26\x00\x01n\x00\x09v",
        b"\x03\x00\x01\xff",
        b"\x7e",
    ]
    async with Store(store.url) as opened, serving(opened) as (inward, outward):
        for mid, packed in enumerate(unreadable, 1):
            inward.write(with_property(packed, mid))
        last = len(unreadable) + 1
        inward.write(with_property(b"", last))
        receipts: dict[int, dict[str, Any]] = {}

        def all_answered() -> bool:
            while outward.published:
                answer = outward.published.pop()
                outward.puback(answer.mid)
                if answer.correlation is not None:
                    receipts[int(answer.correlation)] = json.loads(answer.payload)
            return len(receipts) == last

        await eventually(all_answered, what="a receipt for each")
        assert {mid: receipt["status"] for mid, receipt in receipts.items()} == {
            **dict.fromkeys(range(1, last), "rejected"),
            last: "accepted",
        }
        assert {receipts[mid]["error"]["code"] for mid in range(1, last)} == {"invalid_payload"}
        await eventually(lambda: inward.acknowledged == list(range(1, last + 1)), what="all acknowledged")
        assert inward.refused == dict.fromkeys(range(1, last), 0x99)


async def test_what_a_broker_should_not_have_let_pass_is_refused_by_its_size(store: EmptyStore) -> None:
    size = 20 * PACKET_BYTES
    async with Store(store.url) as opened, serving(opened) as (inward, outward):
        inward.write(encode_publish(TOPIC, bytes(size), 1, response_topic=RECEIPTS, correlation=b"1"))
        await eventually(lambda: outward.published, what="the receipt")
        receipt = json.loads(outward.published[0].payload)
        assert receipt["error"]["code"] == "too_large"
        assert f"{size} bytes" in receipt["error"]["message"]
