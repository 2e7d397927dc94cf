"""A publisher's whole way over HTTP: made by an operator, it publishes with curl's means and sees what became of it."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from carillon_publisher import AsyncPublisher, RateLimited, Refused, Status
from tests.command_line import CommandLine, running_system
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC = "notifications/realtime/user/user123"
EVENT = {"specversion": "1.0", "source": "/shop", "type": "com.example.shipped"}


@dataclass
class Http:
    """A publisher's client."""

    client: aiohttp.ClientSession
    url: str
    key: str

    async def post(self, topic: str, payload: Any, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        """Post a payload: status, JSON and headers of the answer. Underscores in header names stand for hyphens."""
        said = {"Authorization": f"Bearer {self.key}"} | {
            key.replace("_", "-"): value for key, value in headers.items()
        }
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        async with self.client.post(f"{self.url}/v1/publish/{topic}", data=body, headers=said) as answer:
            return answer.status, await answer.json(), answer.headers

    async def outcome(self, notification_id: str) -> tuple[int, Any]:
        """Ask what became of a notification."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self.client.get(f"{self.url}/v1/notifications/{notification_id}", headers=headers) as answer:
            return answer.status, await answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("http"), "router", "email", "realtime") as running:
        _, command = running
        people = [{"user_id": "user123", "email": "user123@example.com"}, {"user_id": "admin1", "roles": ["admin"]}]
        text = "".join(json.dumps(person) + "\n" for person in people)
        assert (await command("directory", "import", "-", stdin=text)).status == 0
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(system: tuple[Stack, CommandLine]) -> AsyncIterator[Http]:
    stack, command = system
    made = (await command("publisher", "create", "shop", "--json")).json
    async with aiohttp.ClientSession() as client:
        yield Http(client, stack.realtime_url, made["key"])


@pytest_asyncio.fixture(loop_scope="module")
async def other(system: tuple[Stack, CommandLine], http: Http) -> Http:
    """Another publisher, with few rights and a small rate."""
    _, command = system
    name = f"other-{uuid.uuid4().hex[:8]}"
    options = ("--rate", "3/60s", "--may", "notifications/realtime/#", "--may", "notifications/cancel/+")
    made = (await command("publisher", "create", name, *options, "--json")).json
    return Http(http.client, http.url, made["key"])


async def test_a_notification_is_accepted_and_followed_to_its_end(http: Http) -> None:
    status, receipt, _ = await http.post(TOPIC, {"message": "Hello", "priority": "high", "prioriy": "low"})
    assert (status, receipt["status"]) == (202, "accepted")
    assert receipt["warnings"] == [{"field": "prioriy", "problem": "unknown", "meant": "priority"}]

    async def ended() -> bool:
        _, outcome = await http.outcome(receipt["notification_id"])
        return bool(outcome.get("open") == 0)

    await eventually(ended, within_s=30, what="the end of the notification")
    _, outcome = await http.outcome(receipt["notification_id"])
    states = {(each["channel"], each.get("recipient")): each["state"] for each in outcome["deliveries"]}
    assert states[("realtime", "user123")] == "delivered"
    assert states[("email", "user123")] == "delivered"
    assert "user123@example.com" not in json.dumps(outcome)


async def test_the_same_key_is_the_same_notification(http: Http) -> None:
    key = f"order-{uuid.uuid4()}"
    _, first, _ = await http.post(TOPIC, {"message": "Hello"}, Idempotency_Key=key)
    status, again, _ = await http.post(TOPIC, {"message": "Hello"}, Idempotency_Key=f'"{key}"')
    assert (status, again) == (200, {"status": "duplicate", "notification_id": first["notification_id"]})
    status, conflict, _ = await http.post(TOPIC, {"message": "Another"}, Idempotency_Key=key)
    assert (status, conflict["error"]["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("topic", "payload", "status", "code"),
    [
        (TOPIC, {}, 400, "invalid_payload"),
        (TOPIC, b"{", 400, "invalid_json"),
        (TOPIC, b"x" * 100_000, 413, "too_large"),
        ("notifications/realtime/usr/user123", {"message": "x"}, 400, "unknown_topic"),
        ("somewhere", {"message": "x"}, 400, "unknown_topic"),
        ("from/other/notifications/realtime/user/user123", {"message": "x"}, 400, "unknown_topic"),
        ("directory/user/user123", {"name": "x"}, 403, "unauthorized"),
        ("internal/email/critical", {"message": "x"}, 400, "unknown_topic"),
    ],
)
async def test_what_is_wrong_is_said_by_status_and_receipt(
    http: Http, topic: str, payload: Any, status: int, code: str
) -> None:
    found, answer, _ = await http.post(topic, payload)
    assert (found, answer["status"], answer["error"]["code"]) == (status, "rejected", code)


async def test_an_event_is_the_same_notification_in_both_modes_and_on_mqtt(http: Http) -> None:
    number = str(uuid.uuid4())
    binary = {f"ce_{name}": value for name, value in EVENT.items()} | {"ce_id": number}
    status, first, _ = await http.post(TOPIC, {"message": "Hello"}, Content_Type="application/json", **binary)
    assert status == 202
    event = {**EVENT, "id": number, "data": {"message": "Hello"}}
    status, again, _ = await http.post(TOPIC, event, Content_Type="application/cloudevents+json")
    assert (status, again["notification_id"]) == (200, first["notification_id"])
    status, wrong, _ = await http.post(TOPIC, {**event, "source": ""}, Content_Type="application/cloudevents+json")
    assert (status, wrong["error"]["fields"]) == (400, [{"field": "source", "problem": "must not be empty"}])
    status, wrong, _ = await http.post(TOPIC, {"message": "Hello"}, ce_id="1", Content_Type="application/json")
    assert {each["field"] for each in wrong["error"]["fields"]} == {"source", "specversion", "type"}


async def test_nobody_reaches_what_is_another_publishers(http: Http, other: Http) -> None:
    _, receipt, _ = await http.post(TOPIC, {"message": "Hello", "send_at": "2099-01-01T00:00:00Z"})
    notification_id = receipt["notification_id"]
    assert (await other.outcome(notification_id))[0] == 404
    status, refused, _ = await other.post(f"notifications/cancel/{notification_id}", b"")
    assert (status, refused["error"]["code"]) == (403, "unauthorized")
    assert (await http.outcome(notification_id))[1]["open"] == 1
    status, _, _ = await http.post(f"notifications/cancel/{notification_id}", b"")
    assert status == 202
    _, outcome = await http.outcome(notification_id)
    assert outcome["open"] == 0
    assert "cancelled_at" in outcome


async def test_a_publisher_over_its_rate_is_told_when_to_come_again(other: Http) -> None:
    answers = [await other.post(TOPIC, {"message": str(number)}) for number in range(4)]
    assert [status for status, _, _ in answers] == [202, 202, 202, 429]
    _, refused, headers = answers[-1]
    assert refused["error"]["code"] == "rate_limited"
    assert headers["Retry-After"] == str(refused["error"]["retry_after_s"])


async def test_a_former_key_is_refused_within_seconds(system: tuple[Stack, CommandLine], other: Http) -> None:
    _, command = system
    assert (await other.post(TOPIC, {"message": "Hello"}))[0] == 202
    digest = hashlib.sha256(other.key.encode()).hexdigest()
    listed = (await command("publisher", "list", "--json")).json
    (name,) = [each["name"] for each in listed if digest[:12] in each["keys"]]
    assert (await command("publisher", "rotate", name, "--json")).status == 0

    async def refused() -> bool:
        return (await other.outcome("nothing"))[0] == 401

    await eventually(refused, within_s=30, what="the end of the former key")


async def test_the_python_client_publishes_over_http_what_it_publishes_over_mqtt(http: Http) -> None:
    async with AsyncPublisher(http.url, key=http.key) as publisher:
        receipt = await publisher.send_user("user123", message="Hello", priority="high", id="order-17")
        again = await publisher.send_user("user123", message="Hello", priority="high", id="order-17")
        assert (again.status, again.notification_id) == (Status.DUPLICATE, receipt.notification_id)
        steps = {step.channel: step.state async for step in publisher.events(receipt.notification_id or "", 30)}
        assert steps == {"realtime": "delivered", "email": "delivered", "push": "suppressed"}
        with pytest.raises(Refused) as refused:
            await publisher.publish(TOPIC, {"mesage": "Hello"})
        assert [(each.field, each.meant) for each in refused.value.fields] == [("message", None), ("mesage", "message")]
    async with AsyncPublisher(http.url, key="nobodys") as publisher:
        with pytest.raises(Refused, match="unauthorized"):
            await publisher.send_user("user123", message="Hello")


async def test_the_python_client_says_what_a_publisher_may_not_do(other: Http) -> None:
    async with AsyncPublisher(other.url, key=other.key) as publisher:
        with pytest.raises(Refused, match="unauthorized"):
            await publisher.critical_alert("disk_full", message="Disk full")
        for _ in range(2):
            await publisher.send_user("user123", message="Hello")
        answers = await asyncio.gather(
            *(publisher.send_user("user123", message="Hello") for _ in range(4)), return_exceptions=True
        )
    waits = [each.retry_after_s for each in answers if isinstance(each, RateLimited)]
    assert len(waits) >= 3
    assert all(0 < (wait_s or 0) <= 60 for wait_s in waits)


async def test_a_recall_takes_back_what_was_delivered_and_its_outcome_says_so(http: Http, other: Http) -> None:
    _, sent, _ = await http.post(TOPIC, {"message": "Wrong", "priority": "high"})
    cancel = f"notifications/cancel/{sent['notification_id']}"

    async def outcome_after_its_end() -> Any:
        _, outcome = await http.outcome(sent["notification_id"])
        return outcome if outcome.get("open") == 0 else None

    await eventually(outcome_after_its_end, within_s=30, what="the end of the notification")
    status, refused, _ = await other.post(cancel, {"recall": True})
    assert (status, refused["error"]["code"]) == (403, "unauthorized")
    status, receipt, _ = await http.post(cancel, {"recall": True})
    assert status == 202
    assert receipt["recall"]["inbox"] == 1
    assert receipt["recall"]["not_recalled"] == [{"channel": "email", "count": 1}]
    outcome = await eventually(outcome_after_its_end, within_s=30, what="the end of the recall")
    assert outcome["recalled_at"] == outcome["cancelled_at"]
    (taken_back,) = [each for each in outcome["deliveries"] if each.get("recalls")]
    assert (taken_back["channel"], taken_back["recipient"], taken_back["state"]) == ("realtime", "user123", "delivered")
