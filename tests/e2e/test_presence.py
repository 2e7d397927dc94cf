"""A push waits for somebody who is looking at the screen, and is not sent when he has read the notification there."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from services.router.settings import RouterSettings
from shared.core.model import Channel, State
from shared.inbox.presence import Presence
from shared.ledger.reader import Trace
from shared.store.keys import Keys
from shared.store.store import Store
from tests.realtime import Client
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

HOLD_S: float = RouterSettings.model_fields["router_push_hold_s"].default


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


@asynccontextmanager
async def somebody(system: System, *groups: str, looking: bool = True) -> AsyncIterator[tuple[str, str, Client]]:
    """Somebody with a phone and an open session: user id, device token, session."""
    token = uuid.uuid4().hex * 2
    user = await system.person(groups=list(groups), devices=[{"platform": "ios", "token": token}])
    async with system.socket(user) as client, Store(system.stack.store.url) as store:
        await client.say(type="focus", focused=looking)
        presence = Presence(store, Keys())

        async def known() -> bool:
            return bool(await presence.focused([user])) is looking

        await eventually(known, what="the focus")
        yield user, token, client


async def end_of_push(system: System, notification_id: str) -> tuple[State, str]:
    """Wait until the push has ended, and return how and why."""
    async with Store(system.stack.store.url) as store:
        trace = Trace(store, Keys())

        async def ended() -> tuple[State, str] | None:
            (push,) = [row async for row in trace.rows(notification_id) if row.lane == Channel.PUSH]
            return (push.state, push.reason) if push.state.is_end else None

        return await eventually(ended, within_s=HOLD_S + 10, what="the end of the push")


async def publish(system: System, user: str, **more: Any) -> str:
    receipt = await system.publish(f"notifications/realtime/user/{user}", {"message": "look", **more})
    assert receipt.notification_id is not None
    return receipt.notification_id


async def test_push_is_not_sent_when_the_notification_is_read_on_the_screen(system: System) -> None:
    async with somebody(system) as (user, token, client):
        sent = await publish(system, user)
        await client.next("notification")
        await client.say(type="read", id=sent)
        assert await end_of_push(system, sent) == (State.SUPPRESSED, "seen")
    assert await system.sandbox.outbox(to=token) == []


async def test_push_is_sent_later_when_nobody_reads(system: System) -> None:
    async with somebody(system) as (user, token, client):
        published_s = time.time()
        await publish(system, user, priority="low")
        await client.next("notification")
        await system.arrived(to=token, within_s=HOLD_S + 10)
        assert time.time() - published_s >= HOLD_S


async def test_push_waits_for_nobody_who_is_not_looking(system: System) -> None:
    async with somebody(system, looking=False) as (user, token, _):
        await publish(system, user)
        await system.arrived(to=token, within_s=HOLD_S - 0.5)


@pytest.mark.parametrize("priority", ["high", "critical"])
async def test_urgent_push_is_never_held(system: System, priority: str) -> None:
    async with somebody(system) as (user, token, client):
        sent = await publish(system, user, priority=priority)
        await client.say(type="read", id=sent)
        await system.arrived(to=token, within_s=HOLD_S - 0.5)


async def test_push_of_a_broadcast_is_not_sent_to_who_has_read_it(system: System) -> None:
    group = f"group-{uuid.uuid4().hex[:10]}"
    async with (
        somebody(system, group) as (_, read_on, client),
        somebody(system, group, looking=False) as (_, phone, _),
    ):
        await system.publish("notifications/realtime/broadcast", {"message": "all", "target_groups": [group]})
        frame = await client.next("notification", within_s=10)
        await client.say(type="read", id=frame["notification"]["id"])
        await system.arrived(to=phone)
        await asyncio.sleep(HOLD_S + 1)
    assert await system.sandbox.outbox(to=read_on) == []
