"""``GET /v1/notifications/{id}``: what became of one of a publisher's own notifications."""

import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest_asyncio

from carillon.local.servers import LocalServer
from services.realtime.publish.shapes import NotificationOutcome
from shared.core.errors import AttemptOutcome, Reason
from shared.core.incidents import AlertState
from shared.core.model import (
    Address,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Feed,
    Notification,
    PhoneNumber,
    Priority,
    State,
    UserInbox,
)
from shared.ledger.claims import Outcome
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import new_notification_id
from tests.conftest import EmptyStore
from tests.publishing import KEY, give_key
from tests.realtime import Realtime, realtime_node

FAR_MS = 4_000_000_000_000


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        await give_key(running, "shop")
        await give_key(running, "billing", "another key")
        yield running


def row(key: str, channel: Channel, address: Address, recipient: str | None = None) -> Delivery:
    return Delivery(
        key=key, channel=channel, priority=Priority.NORMAL, address=address, recipient=recipient,
        due_ms=round(time.time() * 1000), expires_ms=FAR_MS,
    )  # fmt: skip


async def accept(
    node: Realtime, *rows: NewRow, publisher: str | None = "shop", alert: AlertState | None = None, **members: Any
) -> str:
    """Write a notification as the router does, and return its id."""
    sent = Notification(
        id=new_notification_id(), kind="realtime_user", priority=Priority.NORMAL,
        accepted_ms=round(time.time() * 1000), content=Content(title="secret-title", message="secret-message"),
        publisher=publisher, **members,
    )  # fmt: skip
    await node.context.ledger.accept(NewRecord(sent, list(rows), alert=alert))
    return sent.id


async def ask(node: Realtime, notification_id: str, query: str = "", *, key: str = KEY) -> tuple[int, Any]:
    url, headers = f"{node.url}/v1/notifications/{notification_id}{query}", {"Authorization": f"Bearer {key}"}
    async with node.client.get(url, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_each_delivery_is_shown_with_its_state_and_no_address(node: Realtime) -> None:
    inbox = row("realtime:user1", Channel.REALTIME, UserInbox(user_id="user1"), "user1")
    mail = row("email", Channel.EMAIL, EmailAddress(email="secret@example.com", name="secret-name"))
    sms = row("sms:user1", Channel.SMS, PhoneNumber(phone="+14155550111"), "user1")
    notification_id = await accept(
        node, NewRow(inbox), NewRow(mail), NewRow(sms, State.SUPPRESSED, Reason.PREFERENCE_OFF)
    )
    (claim,) = await node.context.ledger.claim([(notification_id, inbox.key)], timedelta(seconds=30))
    await node.context.ledger.finish(claim, Outcome(State.DELIVERED, Reason.NONE, word=AttemptOutcome.OK))

    status, answer = await ask(node, notification_id)
    assert status == 200
    assert (answer["notification_id"], answer["kind"], answer["open"]) == (notification_id, "realtime_user", 1)
    assert answer["complete"] is True
    found = {each["channel"]: each for each in answer["deliveries"]}
    assert (found["realtime"]["state"], found["realtime"]["recipient"]) == ("delivered", "user1")
    assert found["realtime"]["attempts"] == 1
    assert "ended_at" in found["realtime"]
    assert found["email"]["state"] == "pending"
    assert "recipient" not in found["email"]
    assert "next_at" in found["email"]
    assert (found["sms"]["state"], found["sms"]["reason"]) == ("suppressed", "preference_off")
    assert {"channel": "email", "state": "pending", "count": 1} in answer["counts"]
    assert "secret" not in json.dumps(answer)
    assert "4155550111" not in json.dumps(answer)
    NotificationOutcome.model_validate_json(json.dumps(answer), extra="forbid")


async def test_an_alert_says_where_it_stands(node: Realtime) -> None:
    notification_id = await accept(node, alert=AlertState.OPEN)
    assert (await ask(node, notification_id))[1]["alert"] == {"state": "open"}
    await node.context.ledger.alerts.acknowledge(notification_id, "user1", "secret-note")
    _, answer = await ask(node, notification_id)
    assert (answer["alert"]["state"], answer["alert"]["acknowledged_by"]) == ("acknowledged", "user1")
    assert "secret" not in json.dumps(answer)


async def test_a_broadcast_says_that_everybody_is_meant(node: Realtime) -> None:
    everybody = await accept(node, NewRow(row("realtime", Channel.REALTIME, Feed())))
    groups = await accept(node, NewRow(row("realtime", Channel.REALTIME, Feed(groups=("staff",)))))
    assert (await ask(node, everybody))[1]["deliveries"][0]["everybody"] is True
    assert (await ask(node, groups))[1]["deliveries"][0]["groups"] == ["staff"]


async def test_what_is_another_publishers_looks_like_nothing(node: Realtime) -> None:
    own = await accept(node)
    others = [await accept(node, publisher="billing"), await accept(node, publisher=None)]
    part = await accept(node, part_of=own)
    assert (await ask(node, own))[0] == 200
    for notification_id in (*others, part, new_notification_id(), "nothing", "%00", "x" * 500):
        status, answer = await ask(node, notification_id)
        assert (status, answer["error"]["code"]) == (404, "not_found")
    assert (await ask(node, own, key="another key"))[0] == 404
    assert (await ask(node, own, key="wrong"))[0] == 401


async def test_of_many_deliveries_the_first_are_shown(node: Realtime) -> None:
    rows = [row(f"realtime:u{n}", Channel.REALTIME, UserInbox(user_id=f"u{n}"), f"u{n}") for n in range(150)]
    notification_id = await accept(node, *map(NewRow, rows))
    _, answer = await ask(node, notification_id)
    assert (len(answer["deliveries"]), answer["complete"], answer["open"]) == (100, False, 150)
    _, answer = await ask(node, notification_id, "?limit=5000")
    assert (len(answer["deliveries"]), answer["complete"]) == (150, True)
    assert answer["counts"] == [{"channel": "realtime", "state": "pending", "count": 150}]
    for wrong in ("0", "-1", "x", ""):
        assert (await ask(node, notification_id, f"?limit={wrong}"))[0] == 400


async def test_a_publisher_that_asks_too_often_is_told_to_wait(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    chosen = {"realtime_requests_per_user_per_s": 0.1}
    async with realtime_node(store.url, broker.url, topic_prefix, **chosen) as node:
        await give_key(node, "shop")
        await give_key(node, "billing", "another key")
        assert [(await ask(node, "nothing"))[0] for _ in range(2)] == [404, 429]
        assert (await ask(node, "nothing", key="another key"))[0] == 404
