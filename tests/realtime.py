"""Realtime processes for tests: real nodes with real sockets, in the test's own process."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jwt

from services.realtime.app import serve_clients
from services.realtime.node.node import RealtimeNode
from services.realtime.node.provider import InboxProvider
from services.realtime.publish.router_link import RouterLink
from services.realtime.settings import RealtimeSettings
from shared.core.model import (
    Address,
    AlertDetails,
    Channel,
    Content,
    Delivery,
    Feed,
    Notification,
    Priority,
    UserInbox,
)
from shared.delivery.attempt import Attempt
from shared.runtime.service import Context, open_context
from shared.store.keys import new_notification_id
from tests.waiting import eventually

SECRET = "a secret of the tests, longer than 32 bytes"
# The origin whose pages may call across origins.
ALLOWED = "https://app.example.com"


def token(user_id: str, *, secret: str = SECRET, valid_s: float = 300, **claims: Any) -> str:
    """Make a JWT for a user."""
    return jwt.encode({"sub": user_id, "exp": time.time() + valid_s, **claims}, secret, algorithm="HS256")


def bearer(user_id: str, **claims: Any) -> dict[str, str]:
    """Make the header that presents a user's token."""
    return {"Authorization": f"Bearer {token(user_id, **claims)}"}


def notification(message: str, *, kind: str = "realtime_user", **content: Any) -> Notification:
    """Make an accepted notification."""
    details = {"title": "Notification", "message": message, **content}
    return Notification(
        id=new_notification_id(),
        kind=kind,
        priority=Priority.NORMAL,
        accepted_ms=round(time.time() * 1000),
        content=Content(**details),
    )


ALERT = AlertDetails(type="disk", level="critical", requires_acknowledgment=True)


@dataclass
class Realtime:
    """A running realtime process."""

    context: Context[RealtimeSettings]
    node: RealtimeNode
    provider: InboxProvider
    client: aiohttp.ClientSession
    url: str
    router: RouterLink

    async def deliver(
        self, what: Notification | str, address: Address, *, due_ms: int = 0, recalls: bool | None = None
    ) -> Notification:
        """Make one attempt at delivering to an inbox or to the feed, or at taking back what was delivered."""
        sent = notification(what) if isinstance(what, str) else what
        delivery = Delivery(
            key="realtime",
            channel=Channel.REALTIME,
            priority=Priority.NORMAL,
            address=address,
            due_ms=due_ms,
            expires_ms=2**53,
            recalls=recalls,
        )
        deadline = datetime.now(UTC) + timedelta(seconds=10)
        await self.provider.send(Attempt(sent, delivery, 1, in_doubt=False, deadline=deadline))
        return sent

    async def to_user(self, user_id: str, what: Notification | str, *, live: bool = True) -> Notification:
        """Deliver to one user."""
        return await self.deliver(what, UserInbox(user_id=user_id, live=live))

    async def to_all(self, what: Notification | str, groups: tuple[str, ...] | None = None) -> Notification:
        """Deliver to the feed."""
        return await self.deliver(what, Feed(groups=groups))

    async def recall(self, what: Notification, address: Address) -> None:
        """Take back what was delivered there."""
        await self.deliver(what, address, recalls=True)

    @asynccontextmanager
    async def session(self, user_id: str, query: str = "") -> AsyncIterator["Client"]:
        """Open a WebSocket as a user."""
        async with self.client.ws_connect(f"{self.url}/v1/ws{query}", headers=bearer(user_id)) as socket:
            yield Client(socket)

    async def call(self, method: str, path: str, user_id: str, **options: Any) -> tuple[int, Any]:
        """Make a call of the API as a user, and return status and JSON."""
        headers = {**bearer(user_id), **options.pop("headers", {})}
        async with self.client.request(method, f"{self.url}{path}", headers=headers, **options) as response:
            body = await response.read()
            return response.status, await response.json() if body else None


class Client:
    """The client's end of a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def next(self, *types: str, within_s: float = 5) -> dict[str, Any]:
        """Return the next frame of one of these types (any without), passing over others."""
        while True:
            frame: dict[str, Any] = await self.socket.receive_json(timeout=within_s)
            self.seen.append(frame)
            if not types or frame["type"] in types:
                return frame

    async def closed(self, within_s: float = 5) -> int | None:
        """Read until the server closes, and return its code."""
        while True:
            message = await self.socket.receive(timeout=within_s)
            if message.type is aiohttp.WSMsgType.CLOSE:
                # The client has answered it meanwhile. If that failed, the client's own code differs.
                code: int = message.data
                return code
            if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return self.socket.close_code

    async def say(self, **frame: Any) -> None:
        """Send a frame."""
        await self.socket.send_json(frame)


async def ids_until_quiet(client: Client, count: int) -> list[str]:
    """Read that many notifications, and see that no more come before the answer to a ping."""
    ids = [(await client.next("notification"))["notification"]["id"] for _ in range(count)]
    await client.say(type="ping")
    while (frame := await client.next())["type"] != "pong":
        assert frame["type"] != "notification"
    return ids


async def told_unread(client: Client, count: int) -> None:
    """Return when the count that a client was told last is this one."""
    counts = [frame["unread"] for frame in client.seen if "unread" in frame]
    while counts[-1] != count:
        counts.append((await client.next("unread"))["unread"])


@asynccontextmanager
async def realtime_node(
    store_url: str, broker_url: str, prefix: str, *, heartbeat_s: float = 10, feed_check_s: float = 5, **settings: Any
) -> AsyncIterator[Realtime]:
    """Run a realtime process on free ports until the end of the context."""
    chosen: dict[str, Any] = {"realtime_jwt_secret": SECRET} | settings
    read = RealtimeSettings(
        mqtt_url=broker_url, redis_url=store_url, topic_prefix=prefix, ops_port=0, realtime_port=0,
        realtime_host="127.0.0.1", **chosen,
    )  # fmt: skip
    async with open_context(read, "realtime") as context:
        node = RealtimeNode(context, heartbeat_s=heartbeat_s, feed_check_s=feed_check_s)
        router = RouterLink(context.address, context.topics, context.instance)
        async with node.running(), serve_clients(node, router) as port, aiohttp.ClientSession() as client:
            await eventually(lambda: node._link.is_up, what="the node's link to the broker")
            yield Realtime(context, node, InboxProvider(node.changes), client, f"http://127.0.0.1:{port}", router)
