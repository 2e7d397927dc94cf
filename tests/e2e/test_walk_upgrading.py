"""The guide about upgrading, followed on a store that release 0.2.0 has left: what it had accepted goes on."""

import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from carillon.broker.rules import new_password
from carillon.local.ports import LOOPBACK
from carillon.local.stack import with_login
from carillon.publisher import Publisher, Refused
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.command_line import NOT_INHERITED, CommandLine
from tests.guarded import Place, credentials, guarded
from tests.realtime import bearer
from tests.sandbox_client import SandboxClient
from tests.stored_release import leave
from tests.waiting import eventually
from tests.walk import checkout, walking

pytestmark = [
    pytest.mark.real_broker,
    pytest.mark.real_store,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="session"),
]

CHANNELS = ("realtime", "email", "sms", "push")


async def test_what_the_release_before_had_accepted_goes_on(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    admin = new_password()
    scratch = tmp_path / "walk"
    scratch.mkdir()
    async with guarded(tmp_path / "system", folder, admin, services=()) as place:
        stack = place.stack
        async with Redis(port=stack.ports.redis, username="admin", password=admin, decode_responses=True) as store:
            await leave(store)
        operator = with_login(stack.store.url, credentials(place.logins("store.txt")["operator"]))
        command = CommandLine(stack.data, REDIS_URL=operator)

        async def channels(_folder: Path) -> None:
            await _router_of_before_may_read(place)
            for service in CHANNELS:
                await place.start(service)

        async def routers(_folder: Path) -> None:
            await place.start("router")
            await eventually(lambda: _is_well(command), 60, "all is well")

        environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        async with walking(
            "guides/upgrading.md", folder, scratch, environment=environment | {"REDIS_URL": operator, "ADMIN": admin},
            places={"-p 6379": f"-p {stack.ports.redis}"},
            instead={
                "systemctl restart mosquitto": place.restart_broker,
                "for service in realtime email sms push; do": channels,
                "kubectl -n carillon set image deployment/router service=registry.example.com/carillon/router:VERSION":
                    routers,
            },
        ) as page:  # fmt: skip
            await page.rest()
        await _goes_on(place)
        await _is_kept(place, command)


async def _router_of_before_may_read(place: Place) -> None:
    """Its processes work on under the new roles until they are replaced."""
    url = with_login(place.stack.broker.url, credentials(place.logins("broker.txt")["router"]))
    async with Broker(BrokerAddress.parse(url), "router-0-alerts") as broker:
        for each in ("notifications/#", "directory/#", "websocket/#", "notifications/alerts/#"):
            await broker.subscribe(f"$share/router/{each}")


async def _is_well(command: CommandLine) -> bool:
    return (await command("status")).status == 0


async def _goes_on(place: Place) -> None:
    """What had waited, and what was planned for later, arrives once."""
    sandbox = SandboxClient(place.stack.sandbox_url, place.stack.environment)

    async def arrived() -> bool:
        told = [(entry["channel"], entry["to"]) for entry in await sandbox.outbox()]
        wanted = {
            ("sms", "+33612345670"), ("email", "waits@example.com"), ("email", "later@example.com"),
            # The second level of the alert that nobody has answered, and what was planned for ada and her group.
            ("email", "ben@example.com"), ("email", "ada@example.com"),
        }  # fmt: skip
        return set(told) >= wanted and told.count(("email", "ada@example.com")) == 2

    await eventually(arrived, 90, "what had waited")
    told = [(entry["channel"], entry["to"]) for entry in await sandbox.outbox()]
    once = [("sms", "+33612345670"), ("email", "waits@example.com"), ("email", "later@example.com")]
    assert [told.count(each) for each in once] == [1, 1, 1]
    # What had ended is not done again.
    assert {("email", "sent@example.com"), ("email", "once@example.com"), ("email", "gone@example.com")}.isdisjoint(
        told
    )


async def _is_kept(place: Place, command: CommandLine) -> None:
    """Inbox, keys, suppressed addresses, dead letters and the open alert are as they were."""
    inbox = await _inbox(place)
    state = {entry["message"]: entry["read"] for entry in inbox}
    assert state["Read before."] is True
    assert state["Unread before."] is state["To all before."] is state["Later."] is False
    (alert,) = [entry["id"] for entry in inbox if entry["message"] == "The disk is full."]
    shown = (await command("incident", "show", alert, "--json")).json
    assert shown["state"] == "open"
    (letter,) = (await command("dead-letters", "list", "--json")).json
    assert letter["channel"] == "email"

    login = place.logins("broker.txt")["publisher"]
    url = with_login(place.stack.broker.url, credentials(login))
    async with Publisher(url, client_id=login.name) as publisher:
        mail = {"subject": "Once", "body": "Once."}
        again = await publisher.publish("notifications/email/send", {"id": "order-1", "to": "once@example.com", **mail})
        assert again.status == "duplicate"
        with pytest.raises(Refused, match="idempotency"):
            await publisher.publish("notifications/email/send", {"id": "order-1", "to": "other@example.com", **mail})
        for gone in ("gone@example.com", "left@example.com"):
            receipt = await publisher.publish("notifications/email/send", {"to": gone, "category": "news", **mail})
            assert "suppressed" in str(receipt.warnings)
        answered = await publisher.publish(f"notifications/alerts/acknowledge/{alert}", {"user_id": "ada"})
        assert answered.status == "accepted"


async def _inbox(place: Place) -> list[dict[str, Any]]:
    secret = (place.folder / "jwt-secret").read_text()
    url = f"http://{LOOPBACK}:{place.stack.ports.http}/v1/inbox"
    async with aiohttp.ClientSession() as session, session.get(url, headers=bearer("ada", secret=secret)) as answer:
        entries: list[dict[str, Any]] = (await answer.json())["notifications"]
        return entries
