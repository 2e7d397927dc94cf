"""Who looks at the screen, as clients say it over their sockets, and what counts as read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from shared.directory.people import Person
from shared.inbox.presence import Presence
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.realtime import Realtime, realtime_node
from tests.waiting import eventually


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix, heartbeat_s=0.5) as running:
        yield running


async def focused(node: Realtime, *user_ids: str) -> frozenset[str]:
    return await node.node.presence.focused(user_ids)


async def until_focus(node: Realtime, user_id: str, *, there: bool) -> None:
    async def as_wanted() -> bool:
        return bool(await focused(node, user_id)) is there

    await eventually(as_wanted, within_s=30, what=f"focus {there}")


async def test_focus_is_what_any_of_a_users_sessions_says(node: Realtime) -> None:
    async with node.session("user1") as one, node.session("user1") as two, node.session("user2") as other:
        for client in (one, two, other):
            await client.next("hello")
        assert await focused(node, "user1", "user2") == frozenset()
        await one.say(type="focus", focused=True)
        await two.say(type="focus", focused=True)
        await until_focus(node, "user1", there=True)
        await one.say(type="focus", focused=False)
        await two.say(type="ping")
        await two.next("pong")
        assert await focused(node, "user1", "user2") == {"user1"}
    await until_focus(node, "user1", there=False)


@pytest.mark.parametrize("said", [{}, {"focused": "yes"}, {"focused": None}, {"focused": 1}])
async def test_focus_that_is_neither_true_nor_false_is_refused(node: Realtime, said: dict[str, Any]) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        await client.say(type="focus", **said)
        assert (await client.next("error"))["code"] == "invalid_frame"
        assert await focused(node, "user1") == frozenset()


async def test_focus_lasts_as_long_as_its_process_says_so(node: Realtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.inbox.presence.FOCUS_TTL_S", 2)
    async with node.session("user1") as client:
        await client.next("hello")
        await client.say(type="focus", focused=True)
        await until_focus(node, "user1", there=True)
        # Longer than one word of it holds.
        await asyncio.sleep(3)
        assert await focused(node, "user1") == {"user1"}
    await node.node.presence.keep("user2", ["a session of a process that is no more"])
    assert await focused(node, "user2") == {"user2"}
    await until_focus(node, "user2", there=False)


async def test_seen_is_what_the_user_has_read_of_his_own_and_of_the_feed(node: Realtime, store: EmptyStore) -> None:
    await node.context.directory.put(Person(user_id="user1"))
    own, other = await node.to_user("user1", "own"), await node.to_user("user1", "other")
    first, second, third = [await node.to_all(text) for text in ("first", "second", "third")]
    async with Store(store.url) as connected:
        presence = Presence(connected, Keys(node.context.settings.topic_prefix))

        async def seen() -> list[bool]:
            entries = (own, other, first, second, third)
            return [await presence.has_seen("user1", entry.id) for entry in entries]

        assert await seen() == [False] * 5
        await node.call("POST", f"/v1/inbox/{own.id}/read", "user1")
        await node.call("POST", f"/v1/inbox/{first.id}/read", "user1")
        await node.call("POST", f"/v1/inbox/{second.id}/archive", "user1")
        assert await seen() == [True, False, True, True, False]
        await node.call("POST", "/v1/inbox/read-all", "user1")
        await node.call("POST", f"/v1/inbox/{first.id}/unread", "user1")
        assert await seen() == [True, True, False, True, True]
        fourth = await node.to_all("fourth")
        assert not await presence.has_seen("user1", fourth.id)
        assert not await presence.has_seen("user2", own.id)
        assert not await presence.has_seen("user1", "nothing of that name")
