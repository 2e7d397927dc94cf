"""The watch over on-call entries in a running system: a display is told, and the admins find a warning."""

import json
from pathlib import Path

import pytest

from carillon.local.stack import Stack
from shared.core.topics import Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import running_system
from tests.system import open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]


async def test_a_display_shows_who_is_on_call_and_the_admins_are_warned_of_a_gap(tmp_path: Path) -> None:
    async with running_system(tmp_path, "router", "realtime") as (stack, _), open_system(stack) as system:
        admin = await system.person("admin", roles=["admin"])
        user = await system.person(email="ada@example.com", timezone="Europe/Paris")
        await system.publish("directory/oncall/disk", {"users": [user]})
        await system.publish("directory/oncall/net", {"users": ["gone"]})
        # A gap is told of at the second look.
        for _ in range(2):
            await _look_now(stack)
        async with Broker(BrokerAddress.parse(stack.broker.url), "display") as display:
            await display.subscribe(Topics().oncall("#"))
            shown: dict[str, object] = {}
            while len(shown) < 2:
                for message in await display.take(10):
                    display.ack(message)
                    shown[message.topic] = json.loads(message.payload)
        assert shown == {
            "oncall/disk": {"alert_type": "disk", "users": [{"user_id": user}], "next": []},
            "oncall/net": {"alert_type": "net", "users": [], "next": []},
        }

        (entry,) = await eventually(lambda: system.inbox(admin), what="the warning")
        assert (entry["title"], entry["priority"]) == ("Nobody is on call for net", "high")
        await _look_now(stack)
        assert len(await system.inbox(admin)) == 1


async def _look_now(stack: Stack) -> None:
    """Start the router again, whose turn it is then, and wait until it has looked."""
    keys = Keys()
    result = f"{keys.oncall_watch}:result"
    await stack.stop_service("router")
    async with Store(stack.store.url) as store:
        for key in (f"{keys.slots}:oncall_watched", result):
            await store.command("DEL", key)
        await stack.start_service("router")
        await eventually(lambda: store.command("EXISTS", result), what="a look")
