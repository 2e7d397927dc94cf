"""The publisher against a real broker, with a router that the test plays on a connection of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from carillon.local.servers import LocalServer
from carillon.publisher import (
    IDEMPOTENCY_PROPERTY,
    OUTSTANDING,
    FieldProblem,
    NoReceipt,
    NotConnected,
    Publisher,
    Receipt,
    Refused,
    Status,
)
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from tests.waiting import eventually

pytestmark = pytest.mark.real_broker

TOPIC = "notifications/realtime/user/user123"
ACCEPTED = {"status": "accepted", "notification_id": "first", "accepted_at": "2026-01-05T09:00:00.123Z"}


@asynccontextmanager
async def played_router(url: str, prefix: str) -> AsyncIterator[Broker]:
    async with Broker(BrokerAddress.parse(url), f"router-{prefix.strip('/')}") as router:
        await router.subscribe(f"{prefix}notifications/#")
        yield router


async def answer(router: Broker, incoming: Incoming, receipt: object) -> None:
    router.ack(incoming)
    assert incoming.response_topic is not None
    await router.publish(incoming.response_topic, json.dumps(receipt), correlation=incoming.correlation)


async def test_a_receipt_is_read_with_its_type_and_written_as_it_came(broker: LocalServer, topic_prefix: str) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        publish = group.create_task(publisher.publish(TOPIC, {"message": "Hello"}))
        (incoming,) = await router.take(1)
        assert incoming.topic == topic_prefix + TOPIC
        assert json.loads(incoming.payload) == {"message": "Hello"}
        await answer(router, incoming, ACCEPTED | {"session_id": "s1"})
    receipt = publish.result()
    assert (receipt.status, receipt.notification_id, receipt.sends) == (Status.ACCEPTED, "first", 1)
    assert receipt.accepted_at is not None
    assert receipt.accepted_at.year == 2026
    assert receipt.document() == ACCEPTED | {"session_id": "s1"}


async def test_the_response_topic_is_under_the_client_id(broker: LocalServer, topic_prefix: str) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, "billing-1", topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(publisher.publish(TOPIC, b"{}"))
        (incoming,) = await router.take(1)
        assert (incoming.response_topic or "").startswith(f"{topic_prefix}receipts/billing-1/")
        await answer(router, incoming, ACCEPTED)


@pytest.mark.parametrize(
    ("payload", "given", "expected"),
    [({"message": "a", "id": "own"}, None, None), ({"message": "a"}, "given", "given"), (b"not json", "k", "k")],
)
async def test_a_key_is_made_only_where_the_publish_has_none(
    broker: LocalServer, topic_prefix: str, payload: dict[str, object] | bytes, given: str | None, expected: str | None
) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(publisher.publish(TOPIC, payload, given))
        (incoming,) = await router.take(1)
        assert incoming.user_property(IDEMPOTENCY_PROPERTY) == expected
        await answer(router, incoming, ACCEPTED)


async def test_receipts_find_their_publish_in_any_order(broker: LocalServer, topic_prefix: str) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        publishes = [group.create_task(publisher.publish(TOPIC, {"number": number})) for number in range(50)]
        taken: list[Incoming] = []
        while len(taken) < len(publishes):
            taken += await router.take(50)
        for incoming in reversed(taken):
            number = json.loads(incoming.payload)["number"]
            await answer(router, incoming, ACCEPTED | {"notification_id": str(number)})
    assert [publish.result().notification_id for publish in publishes] == [str(number) for number in range(50)]


async def test_no_more_than_the_agreed_number_is_outstanding(broker: LocalServer, topic_prefix: str) -> None:
    more = OUTSTANDING + 100
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        publishes = [group.create_task(publisher.publish(TOPIC, b"{}", timeout_s=60)) for _ in range(more)]
        taken: list[Incoming] = []
        # Confirmed to the broker and not answered: all that may come without an answer.
        while len(taken) < OUTSTANDING:
            for incoming in await router.take(100):
                router.ack(incoming)
                taken.append(incoming)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                taken += await router.take(1)
        for incoming in taken:
            await answer(router, incoming, ACCEPTED)
        while len(taken) < more:
            for incoming in await router.take(100):
                await answer(router, incoming, ACCEPTED)
                taken.append(incoming)
    assert all(publish.result().status is Status.ACCEPTED for publish in publishes)


async def test_a_rejection_is_raised_with_the_fields(broker: LocalServer, topic_prefix: str) -> None:
    error = {"code": "invalid_payload", "message": "One field is not valid.", "fields": [
        {"field": "message", "problem": "required"}
    ]}  # fmt: skip
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix) as publisher,
    ):
        publish = asyncio.create_task(publisher.publish(TOPIC, b"{}"))
        (incoming,) = await router.take(1)
        await answer(router, incoming, {"status": "rejected", "error": error})
        with pytest.raises(Refused) as refused:
            await publish
    assert refused.value.receipt.error is not None
    assert refused.value.receipt.error.fields == (FieldProblem(field="message", problem="required"),)


async def test_a_receipt_lost_with_the_connection_is_asked_for_again_under_the_same_key(
    new_broker: Callable[[], LocalServer], topic_prefix: str
) -> None:
    own = new_broker()
    await own.start()
    keys: list[str | None] = []

    async def first_taken() -> bool:
        async with played_router(own.url, topic_prefix) as router:
            (incoming,) = await router.take(1)
            router.ack(incoming)
            keys.append(incoming.user_property(IDEMPOTENCY_PROPERTY))
            await own.kill()
            return True

    async with Publisher(own.url, topic_prefix=topic_prefix) as publisher, asyncio.TaskGroup() as group:
        taken = group.create_task(first_taken())
        await asyncio.sleep(0)
        publish: asyncio.Task[Receipt] = group.create_task(publisher.publish(TOPIC, {"message": "a"}, timeout_s=60))
        await taken
        await own.start()
        async with played_router(own.url, topic_prefix) as router:
            (incoming,) = await router.take(1)
            keys.append(incoming.user_property(IDEMPOTENCY_PROPERTY))
            await answer(router, incoming, {"status": "duplicate", "notification_id": "first"})
            receipt = await publish
    assert keys[0] is not None
    assert keys == [keys[0]] * 2
    assert receipt.status is Status.DUPLICATE
    assert receipt.sends > 1


async def test_a_publish_waits_for_a_router_that_comes_late(broker: LocalServer, topic_prefix: str) -> None:
    async with Publisher(broker.url, topic_prefix=topic_prefix) as publisher:
        publish = asyncio.create_task(publisher.publish(TOPIC, b"{}", timeout_s=60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.shield(publish)
        async with played_router(broker.url, topic_prefix) as router:
            (incoming,) = await router.take(1)
            await answer(router, incoming, ACCEPTED)
            assert (await publish).status is Status.ACCEPTED


async def test_without_an_answer_the_error_holds_the_key_and_says_what_is_missing(
    broker: LocalServer, topic_prefix: str
) -> None:
    async with Publisher(broker.url, topic_prefix=topic_prefix) as publisher:
        with pytest.raises(NoReceipt, match="is the router running") as nobody:
            await publisher.publish(TOPIC, b"{}", "k1", timeout_s=1)
    assert nobody.value.key == "k1"


async def test_a_stranger_cannot_answer_and_a_broken_receipt_is_not_one(broker: LocalServer, topic_prefix: str) -> None:
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix) as publisher,
        asyncio.TaskGroup() as group,
    ):
        publish = group.create_task(publisher.publish(TOPIC, b"{}"))
        (incoming,) = await router.take(1)
        topic = incoming.response_topic or ""
        await router.publish(topic, json.dumps(ACCEPTED), correlation=b"guessed")
        await router.publish(topic, json.dumps(ACCEPTED))
        await router.publish(topic, b"accepted", correlation=incoming.correlation)
        await answer(router, incoming, ACCEPTED | {"notification_id": "true"})
    assert publish.result().notification_id == "true"


async def test_a_broker_that_is_not_there_is_told_at_once(new_broker: Callable[[], LocalServer]) -> None:
    with pytest.raises(NotConnected, match="refused"):
        async with Publisher(new_broker().url):
            pass


@pytest.mark.parametrize("topic", ["", "a/+/b", "a/#", "a\x00b", "x" * 65_536])
async def test_what_a_broker_would_cut_the_connection_for_is_not_sent(broker: LocalServer, topic: str) -> None:
    async with Publisher(broker.url) as publisher:
        with pytest.raises(ValueError, match="topic"):
            await publisher.publish(topic, b"{}")
        with pytest.raises(ValueError, match="larger"):
            await publisher.publish("a/b", bytes(2 * 1024 * 1024))


async def test_leaving_ends_publishes_that_wait(broker: LocalServer, topic_prefix: str) -> None:
    async with played_router(broker.url, topic_prefix) as router:
        async with Publisher(broker.url, topic_prefix=topic_prefix) as publisher:
            publish = asyncio.create_task(publisher.publish(TOPIC, b"{}", timeout_s=60))
            await router.take(1)
        await eventually(publish.done)
    with pytest.raises(NoReceipt, match="closed"):
        publish.result()
