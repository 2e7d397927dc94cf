"""A running system as its users see it: a publisher, the sandbox's outbox, people's inboxes and sockets."""

import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import jwt

from carillon.local.stack import Stack
from carillon.publisher import Publisher, Receipt, Refused
from tests.realtime import Client
from tests.sandbox_client import SandboxClient
from tests.waiting import eventually

# Records that concern everybody and not only who is named in a test.
_FOR_ALL = ("directory/category/", "directory/inhibition/", "directory/silence/")


@dataclass
class System:
    """One stack, with a publisher that is connected to it."""

    stack: Stack
    publisher: Publisher
    sandbox: SandboxClient
    http: aiohttp.ClientSession
    _for_all: set[str] = field(default_factory=set)

    async def publish(self, topic: str, payload: dict[str, Any] | bytes, **options: Any) -> Receipt:
        """Publish, and return the receipt whatever it says."""
        if topic.startswith(_FOR_ALL):
            self._for_all.add(topic)
        try:
            return await self.publisher.publish(topic, payload, **options)
        except Refused as refused:
            return refused.receipt

    async def clear(self) -> None:
        """Take back what other tests on the same stack would meet."""
        while self._for_all:
            await self.publisher.publish(self._for_all.pop(), b"")

    async def person(self, name: str = "user", **record: Any) -> str:
        """Write somebody new into the directory and return the user id."""
        user_id = f"{name}-{uuid.uuid4().hex[:10]}"
        await self.publisher.publish(f"directory/user/{user_id}", record)
        return user_id

    def address(self, user_id: str) -> str:
        """A mail address that only this user has."""
        return f"{user_id}@example.com"

    async def arrived(self, count: int = 1, within_s: float = 10, **wanted: str) -> list[dict[str, Any]]:
        """Wait until that many entries are in the outbox, and return them."""

        async def enough() -> list[dict[str, Any]] | None:
            entries = await self.sandbox.outbox(**wanted)
            return entries if len(entries) >= count else None

        found: list[dict[str, Any]] = await eventually(enough, within_s, f"{count} entries with {wanted}")
        return found

    def headers(self, user_id: str, **claims: float) -> dict[str, str]:
        """Make the header that presents a user's token."""
        secret = self.stack.environment["REALTIME_JWT_SECRET"]
        token = jwt.encode({"sub": user_id, "exp": time.time() + 600, **claims}, secret, algorithm="HS256")
        return {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, user_id: str, **options: Any) -> tuple[int, Any]:
        """Make a call of the realtime API as a user, and return status and JSON."""
        url = f"{self.stack.realtime_url}{path}"
        headers = {**self.headers(user_id), **options.pop("headers", {})}
        async with self.http.request(method, url, headers=headers, **options) as answer:
            body = await answer.read()
            return answer.status, await answer.json() if body else None

    async def inbox(self, user_id: str) -> list[dict[str, Any]]:
        """Return a user's inbox, newest first; nothing while its store fails over."""
        status, answer = await self.call("GET", "/v1/inbox", user_id)
        entries: list[dict[str, Any]] = [] if status == HTTPStatus.SERVICE_UNAVAILABLE else answer["notifications"]
        return entries

    async def in_inbox(self, user_id: str, notification_id: str, within_s: float = 10) -> dict[str, Any]:
        """Wait until a notification is in a user's inbox, and return its entry."""

        async def entry() -> dict[str, Any] | None:
            return next((one for one in await self.inbox(user_id) if one["id"] == notification_id), None)

        found: dict[str, Any] = await eventually(entry, within_s, "the notification in the inbox")
        return found

    async def has_marked(self, user_id: str, title: str, *, read: bool) -> None:
        """Wait until the service knows that an entry is read, or unread again; a page shows it before it is said."""

        async def known() -> bool:
            return [one["read"] for one in await self.inbox(user_id) if one["title"] == title] == [read]

        await eventually(known, what=f"the entry marked as {'read' if read else 'unread'}")

    @asynccontextmanager
    async def socket(self, user_id: str) -> AsyncIterator[Client]:
        """Open a WebSocket as a user, and read up to its hello."""
        url = f"{self.stack.realtime_url}/v1/ws"
        async with self.http.ws_connect(url, headers=self.headers(user_id)) as socket:
            client = Client(socket)
            await client.next("hello")
            yield client

    @asynccontextmanager
    async def events(self, user_id: str) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a stream of server-sent events as a user, and read up to its hello."""
        url = f"{self.stack.realtime_url}/v1/events"
        async with self.http.get(url, headers=self.headers(user_id)) as answer:
            while b"event: hello" not in await answer.content.readline():
                pass
            yield answer.content


@asynccontextmanager
async def open_system(stack: Stack) -> AsyncIterator[System]:
    """Connect to a running stack."""
    sandbox = SandboxClient(stack.sandbox_url, stack.environment)
    async with Publisher(stack.broker.url) as publisher, aiohttp.ClientSession() as http:
        system = System(stack, publisher, sandbox, http)
        try:
            yield system
        finally:
            await system.clear()
