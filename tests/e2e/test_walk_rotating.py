"""The guide about credentials, followed while somebody publishes: each is replaced, and no notification is lost."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from carillon.broker.roles import Login
from carillon.broker.rules import dynamic_security, new_password
from carillon.commands.logins import read_logins
from carillon.local.ports import LOOPBACK, SERVICES
from carillon.local.stack import Stack, with_login
from carillon.publisher import NoReceipt, NotConnected, Publisher
from carillon.store.users import STORE_ROLES, acl_file
from tests.command_line import NOT_INHERITED, CommandLine
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


@dataclass
class Place:
    """The files that the guide works on, and the system that reads them."""

    stack: Stack
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def logins(self, name: str) -> dict[str, Login]:
        """Return who stands last in a file, by role."""
        text = (self.folder / name).read_text()
        return {login.role: login for login in read_logins(text, known=[*STORE_ROLES, "publisher"])}

    async def restart_broker(self, _folder: Path) -> None:
        """Let the broker read its file."""
        roles = (self.folder / "dynamic-security.json").read_text()
        (self.stack.data / "mosquitto" / "dynamic-security.json").write_text(roles)
        await self.stack.broker.stop()
        await self.stack.broker.start()

    async def restart_services(self, _folder: Path) -> None:
        """Restart one after the other; those that nobody waits for go together, which is sooner done."""
        await self._restart("router")
        await asyncio.gather(*map(self._restart, ("email", "sms", "push")))
        await self._restart("realtime")

    async def restart_realtime(self, _folder: Path) -> None:
        """Restart this one alone."""
        await self._restart("realtime")

    async def _restart(self, service: str) -> None:
        await self.stack.stop_service(service)
        await self.start(service)

    async def start(self, service: str) -> None:
        """Start a service with what the files say now."""
        broker, store = self.logins("broker.txt"), self.logins("store.txt")
        settings = {
            "MQTT_URL": with_login(self.stack.broker.url, _credentials(broker[service])),
            "REDIS_URL": with_login(self.stack.store.url, _credentials(store[service])),
        }
        if service == "realtime":
            settings |= {"REALTIME_JWT_SECRET": "", "REALTIME_JWT_SECRET_FILE": str(self.folder / "jwt-secret")}
        await self.stack.start_service(service, settings=settings)


def _credentials(login: Login) -> str:
    return f"{login.name}:{login.password}"


def _as_file(logins: Mapping[str, str]) -> str:
    return "".join(f"{name} {role} {new_password()}\n" for name, role in logins.items())


@asynccontextmanager
async def guarded(data: Path, folder: Path, admin: str) -> AsyncIterator[Place]:
    """Run a system in which nobody connects without a login."""
    stack = Stack(data, services=())
    place = Place(stack, folder)
    (folder / "broker.txt").write_text(_as_file({**{name: name for name in SERVICES}, "monitoring": "publisher"}))
    (folder / "store.txt").write_text(_as_file({name: name for name in STORE_ROLES}))
    broker, store = place.logins("broker.txt"), place.logins("store.txt")
    (data / "mosquitto" / "dynamic-security.json").write_text(dynamic_security([*broker.values()]))
    users = folder / "users.acl"
    users.write_text(f"{acl_file(store.values())}user admin on >{admin} ~* &* +@all\n")
    stack.store.command += ["--aclfile", str(users)]
    stack.store.add_logins({role: login.password for role, login in store.items()})
    stack.broker.add_logins({role: login.password for role, login in broker.items()})
    await stack.start()
    try:
        (folder / "jwt-secret").write_text(stack.environment["REALTIME_JWT_SECRET"])
        await asyncio.gather(*map(place.start, SERVICES))
        yield place
    finally:
        await stack.stop()


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
        url = with_login(self._place.stack.broker.url, _credentials(login))
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
        operator = with_login(stack.store.url, _credentials(place.logins("store.txt")["operator"]))
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
