"""A system in which nobody connects without a login, and the files of logins that a guide works on."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from carillon.broker.roles import Login
from carillon.broker.rules import dynamic_security, new_password
from carillon.commands.logins import read_logins
from carillon.local.ports import SERVICES
from carillon.local.stack import Stack, with_login
from carillon.store.users import STORE_ROLES, acl_file


@dataclass
class Place:
    """The files that the guide works on, and the system that reads them."""

    stack: Stack
    folder: Path

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
            "MQTT_URL": with_login(self.stack.broker.url, credentials(broker[service])),
            "REDIS_URL": with_login(self.stack.store.url, credentials(store[service])),
        }
        if service == "realtime":
            settings |= {"REALTIME_JWT_SECRET": "", "REALTIME_JWT_SECRET_FILE": str(self.folder / "jwt-secret")}
        await self.stack.start_service(service, settings=settings)


def credentials(login: Login) -> str:
    """Return a login as an address has it."""
    return f"{login.name}:{login.password}"


def _as_file(logins: Mapping[str, str]) -> str:
    return "".join(f"{name} {role} {new_password()}\n" for name, role in logins.items())


@asynccontextmanager
async def guarded(data: Path, folder: Path, admin: str, services: Sequence[str] = SERVICES) -> AsyncIterator[Place]:
    """Run a system in which nobody connects without a login.

    Args:
        folder: where the files are.
        admin: the password of the store's user ``admin``, who may do everything.
        services: those that run; without any, broker and store know no login but this one.
    """
    stack = Stack(data, services=())
    place = Place(stack, folder)
    (folder / "broker.txt").write_text(_as_file({**{name: name for name in SERVICES}, "monitoring": "publisher"}))
    (folder / "store.txt").write_text(_as_file({name: name for name in STORE_ROLES}))
    broker, store = place.logins("broker.txt"), place.logins("store.txt")
    (data / "mosquitto" / "dynamic-security.json").write_text(dynamic_security([*broker.values()] if services else []))
    users = folder / "users.acl"
    users.write_text(f"{acl_file(store.values() if services else ())}user admin on >{admin} ~* &* +@all\n")
    stack.store.command += ["--aclfile", str(users)]
    stack.store.add_logins({role: login.password for role, login in store.items()})
    stack.broker.add_logins({role: login.password for role, login in broker.items()})
    await stack.start()
    try:
        (folder / "jwt-secret").write_text(stack.environment["REALTIME_JWT_SECRET"])
        await asyncio.gather(*map(place.start, services))
        yield place
    finally:
        await stack.stop()
