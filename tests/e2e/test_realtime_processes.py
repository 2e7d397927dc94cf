"""Several realtime processes, one of which dies."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from carillon.local.stack import Stack
from shared.directory.directory import Directory
from shared.inbox.feed import Feed, FeedMirror
from shared.inbox.inbox import Inbox
from shared.inbox.sessions import NODE_TTL_S, Sessions
from shared.runtime.settings import CommonSettings
from shared.store.keys import Keys
from shared.store.store import Store
from tests.realtime import Client
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

NOTIFICATIONS = 300


class Reader:
    """A client that keeps its cursor and connects again, to another process, when its own is gone."""

    def __init__(self, system: System, user_id: str) -> None:
        self._system = system
        self._user_id = user_id
        self._cursor = ""
        self.ids: list[str] = []
        self.gaps = 0
        self.connections = 0

    async def read(self, wanted: Callable[[], bool]) -> None:
        """Read until what is wanted is there."""
        while not wanted():
            url = self._system.stack.http_url(self.connections % 2)
            self.connections += 1
            try:
                await self._one_connection(f"{url}/v1/ws", wanted)
            except (aiohttp.ClientError, ConnectionError, TypeError):
                # TypeError is aiohttp's word for a close frame where text was expected.
                await asyncio.sleep(0.05)

    async def _one_connection(self, url: str, wanted: Callable[[], bool]) -> None:
        params = {"cursor": self._cursor} if self._cursor else None
        headers = self._system.headers(self._user_id)
        async with self._system.http.ws_connect(url, headers=headers, params=params) as socket:
            client = Client(socket)
            while not wanted():
                frame: dict[str, Any] = await client.next("hello", "notification", "gap", within_s=60)
                self._cursor = frame.get("cursor", self._cursor)
                if frame["type"] == "notification":
                    self.ids.append(frame["notification"]["id"])
                self.gaps += frame["type"] == "gap"


@pytest.mark.timeout(240)
async def test_a_dying_process_costs_its_clients_nothing_and_leaves_no_ghost(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(services=("router", "realtime"), settings={"INBOX_LIMIT": "1000"})
    await stack.start()
    await stack.start_service("realtime", index=1)
    async with open_system(stack) as system, Store(stack.store.url) as store:
        user = await system.person("user1")
        readers = [Reader(system, user) for _ in range(4)]
        readers[1].connections = readers[3].connections = 1
        sent: list[str] = []

        async def publish() -> None:
            for number in range(NOTIFICATIONS):
                topic = f"notifications/realtime/user/{user}" if number % 4 else "notifications/realtime/broadcast"
                receipt = await system.publish(topic, {"message": f"{number}"})
                sent.append(receipt.notification_id or "")
                if number == NOTIFICATIONS // 2:
                    await stack.kill("realtime", 0)

        def everything(reader: Reader) -> Callable[[], bool]:
            # Not what has been sent by now: the last notification may be here before its receipt.
            return lambda: len(set(reader.ids)) >= NOTIFICATIONS

        async with asyncio.TaskGroup() as group:
            group.create_task(publish(), name="publish")
            for reader in readers:
                group.create_task(reader.read(everything(reader)), name="read")
        for reader in readers:
            assert sorted(reader.ids) == sorted(sent)
            assert reader.gaps == 0
        assert max(reader.connections for reader in readers) >= 2

        sessions = _sessions(store, stack)

        async def no_ghost() -> bool:
            return not await sessions.nodes_of(user)

        gone: bool = await eventually(no_ghost, within_s=NODE_TTL_S + 2, what="the dead process's sessions to lapse")
        assert gone


def _sessions(store: Store, stack: Stack) -> Sessions:
    settings = CommonSettings.model_validate({"mqtt_url": stack.broker.url, "redis_url": stack.store.url})
    keys = Keys()
    inbox = Inbox(store, keys, settings.inbox_limit, settings.inbox_retention)
    mirror = FeedMirror(Feed(store, keys, settings.inbox_retention))
    return Sessions(store, keys, inbox, Directory(store, keys), mirror)
