"""The guide about credentials, followed while somebody publishes: each is replaced, and no notification is lost."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from carillon.broker.rules import new_password
from carillon.local.ports import LOOPBACK
from carillon.local.stack import with_login
from carillon.publisher import NoReceipt, NotConnected, Publisher
from tests.command_line import NOT_INHERITED, CommandLine
from tests.guarded import Place, credentials, guarded
from tests.sandbox_client import SandboxClient
from tests.waiting import eventually
from tests.walk import checkout, walking

pytestmark = [
    pytest.mark.real_broker,
    pytest.mark.real_store,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.asyncio(loop_scope="session"),
]

# From one publish of each of the two ways to the next.
_PAUSE_S = 0.1


class Publishing:
    """Two publishers, by HTTP and by MQTT, who publish again what nobody has answered."""

    def __init__(self, place: Place, key: str) -> None:
        self.key = key
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self._place = place
        self._stopped = asyncio.Event()

    async def by_http(self) -> None:
        """Publish mails with a key."""
        url = f"{self._place.stack.realtime_url}/v1/publish/notifications/email/send"
        async with aiohttp.ClientSession() as session:
            await self._publish("http", lambda name: self._post(session, url, name))

    async def _post(self, session: aiohttp.ClientSession, url: str, name: str) -> bool:
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": name}
        try:
            async with session.post(url, json=_mail(name), headers=headers) as answer:
                if answer.status in (200, 202):
                    return True
                if answer.status != 503:
                    self.refused.append(f"{name}: {answer.status} {await answer.text()}")
        except (aiohttp.ClientError, OSError):
            pass
        return False

    async def by_mqtt(self) -> None:
        """Publish mails with a login, which stays the same."""
        login = self._place.logins("broker.txt")["publisher"]
        url = with_login(self._place.stack.broker.url, credentials(login))
        async with Publisher(url, client_id=login.name) as publisher:

            async def send(name: str) -> bool:
                try:
                    await publisher.publish("notifications/email/send", _mail(name), key=name, timeout_s=5)
                except (NoReceipt, NotConnected):
                    return False
                return True

            await self._publish("mqtt", send)

    async def _publish(self, way: str, send: Callable[[str], Awaitable[bool]]) -> None:
        number = 0
        while not self._stopped.is_set():
            name = f"{way}-{number}"
            if await send(name):
                self.accepted.append(name)
                number += 1
            # Many are published in the time of each step.
            await asyncio.sleep(_PAUSE_S)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped.set()


def _mail(name: str) -> dict[str, str]:
    return {"to": f"{name}@example.com", "subject": "Hello", "body": "Good morning."}


async def test_each_is_replaced_while_notifications_flow(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    admin = new_password()
    scratch = tmp_path / "walk"
    scratch.mkdir()
    async with guarded(tmp_path / "system", folder, admin) as place:
        stack = place.stack
        operator = with_login(stack.store.url, credentials(place.logins("store.txt")["operator"]))
        made = await CommandLine(stack.data, REDIS_URL=operator)("publisher", "create", "shop", "--json")
        publishing = Publishing(place, made.json["key"])
        environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        environment |= {"REDIS_URL": operator, "ADMIN": admin}
        walk = walking(
            "guides/rotating.md", folder, scratch, environment=environment,
            places={
                "127.0.0.1:8080": f"{LOOPBACK}:{stack.ports.http}",
                "127.0.0.1:6379": f"{LOOPBACK}:{stack.ports.redis}",
                "-p 6379": f"-p {stack.ports.redis}",
            },
            instead={
                "systemctl restart mosquitto": place.restart_broker,
                "kubectl rollout restart deployment -n carillon": place.restart_services,
                "kubectl rollout restart deployment --namespace carillon": place.restart_services,
                "kubectl rollout restart deployment/realtime -n carillon": place.restart_realtime,
                "kubectl rollout restart deployment/realtime --namespace carillon": place.restart_realtime,
            },
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            group.create_task(publishing.by_http(), name="by http")
            group.create_task(publishing.by_mqtt(), name="by mqtt")
            async with walk as page:
                await page.until("### End the former keys")
                publishing.key = json.loads((folder / "key.json").read_text())["key"]
                await page.rest()
            publishing.stop()
        assert publishing.refused == []
        assert (await CommandLine(stack.data, REDIS_URL=operator)("audit")).status == 2
        accepted = {f"{name}@example.com" for name in publishing.accepted}
        # Both have published all the time.
        assert min(sum(name.startswith(way) for name in accepted) for way in ("http", "mqtt")) > 50
        sandbox = SandboxClient(stack.sandbox_url, stack.environment)

        async def missing() -> bool:
            return not accepted - {entry["to"] for entry in await sandbox.outbox(channel="email")}

        await eventually(missing, 60, "every mail that was accepted")
