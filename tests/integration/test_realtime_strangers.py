"""200 users against each other: nobody reads, marks, streams or acknowledges anything of another.

What is tried comes from the API's own description, so that a call which is added is tried, too: every ordered pair of
users tries one of the calls that name something (in turn, each call some thousands of times), over one connection for
each user; and everybody sends every client frame that names something, in a session.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.realtime.http.operations import OPERATIONS
from shared.core.incidents import AlertState
from shared.core.model import Action, Channel, Delivery, Priority, UserInbox
from shared.directory.people import MobileDevice, OnCall, Person
from shared.ledger.new_records import NewRecord, NewRow
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Client, Realtime, bearer, notification, realtime_node, token

USERS = 200

# Below what a client may send at once.
FRAMES = 36

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        yield running


class Owner:
    """A user, and what is his alone: an entry that is an alert, a device, a type of alert that he is on call for."""

    def __init__(self, number: int) -> None:
        self.user_id = f"user{number}"
        self.device = f"device-of-{self.user_id}"
        self.type = f"trouble-of-{self.user_id}"
        told = notification(f"for {self.user_id} alone", kind="alert_critical", alert=ALERT)
        content = told.content.model_copy(update={"actions": (Action(id="take", label="Take it", topic=True),)})
        self.alert = told.model_copy(update={"content": content})

    async def settle(self, node: Realtime) -> None:
        """Give him what is his."""
        devices = (MobileDevice.model_validate({"platform": "ios", "token": self.device}),)
        await node.context.directory.put(Person(user_id=self.user_id, devices=devices))
        await node.context.directory.put_oncall(self.type, OnCall(alert_type=self.type, users=(self.user_id,)))
        row = Delivery(
            key=f"realtime:{self.user_id}", channel=Channel.REALTIME, priority=Priority.CRITICAL,
            recipient=self.user_id, address=UserInbox(user_id=self.user_id), due_ms=round(time.time() * 1000),
            expires_ms=2**50,
        )  # fmt: skip
        await node.context.ledger.accept(NewRecord(self.alert, [NewRow(row)], alert=AlertState.OPEN))
        await node.to_user(self.user_id, self.alert)

    def name_of(self, parameter: str) -> str:
        """Return how a call names what is his."""
        return quote(
            {"id": self.alert.id, "token": self.device, "action": "take", "type": self.type}[parameter], safe=""
        )


def calls() -> list[tuple[str, str]]:
    """Return the calls of the description that name something, as method and path."""
    return [(operation.method.upper(), operation.url) for operation in OPERATIONS if operation.path is not None]


# What a call needs to get as far as asking whose it is.
_BODIES = {"snooze": '{"for":"1h"}', "reassign": '{"to":"admins"}'}


def tried_by(actor: int, owners: list[Owner]) -> Iterator[bytes]:
    """Write the requests with which one user tries everybody else's, and one question about each's page."""
    proof, table = token(owners[actor].user_id), calls()
    for number, owner in enumerate(owners):
        if number == actor:
            continue
        method, path = table[(actor + number) % len(table)]
        path = re.sub(r"\{(\w+)\}", lambda found, of=owner: of.name_of(found[1]), path)  # type: ignore[misc]
        body = _BODIES.get(path.rpartition("/")[2], "") if method == "POST" else ""
        yield (
            f"{method} {path} HTTP/1.1\r\nHost: carillon\r\nAuthorization: Bearer {proof}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


async def answers(node: Realtime, requests: list[bytes]) -> Counter[int]:
    """Send requests one after the other over one connection, and count the statuses."""
    address = urlsplit(node.url)
    statuses: Counter[int] = Counter()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for request in requests:
            writer.write(request)
            async with asyncio.timeout(60):
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
            statuses[int(head.split(b" ", 2)[1])] += 1
    finally:
        writer.close()
        await writer.wait_closed()
    return statuses


@pytest.mark.timeout(300)
async def test_nobody_reaches_anything_of_another(node: Realtime) -> None:
    assert len(calls()) >= 5
    owners = [Owner(number) for number in range(USERS)]
    await asyncio.gather(*(owner.settle(node) for owner in owners))

    async with asyncio.TaskGroup() as group:
        tries = [
            group.create_task(answers(node, list(tried_by(actor, owners))), name=f"user{actor}")
            for actor in range(USERS)
        ]
    assert sum((one.result() for one in tries), Counter()) == {404: USERS * (USERS - 1)}

    async with AsyncExitStack() as opened:
        # aiohttp's client holds a hundred connections unless it is told otherwise.
        http = await opened.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        clients = [
            Client(
                await opened.enter_async_context(http.ws_connect(f"{node.url}/v1/ws", headers=bearer(owner.user_id)))
            )
            for owner in owners
        ]
        await asyncio.gather(*(_tries_frames(actor, client, owners) for actor, client in enumerate(clients)))
        # Whatever was tried, everything of everybody is as it was; and his stream shows it to him alone.
        for owner, client in zip(owners, clients, strict=True):
            shown = [frame["notification"]["id"] for frame in client.seen if frame["type"] == "notification"]
            assert shown == [owner.alert.id]
    await asyncio.gather(*(_is_untouched(node, owner) for owner in owners))


async def _tries_frames(actor: int, client: Client, owners: list[Owner]) -> None:
    """Send frames that name what is others', and see each refused."""
    for step in range(1, FRAMES // 2 + 1):
        owner = owners[(actor + step * 11) % USERS]
        await client.say(type="read", id=owner.alert.id)
        await client.say(type="acknowledge", alert_id=owner.alert.id)
    for _ in range(FRAMES):
        assert (await client.next("error", within_s=30))["code"] == "not_found"


async def _is_untouched(node: Realtime, owner: Owner) -> None:
    snapshot: Any
    _, snapshot = await node.call("GET", "/v1/inbox", owner.user_id)
    assert [(entry["id"], entry["read"]) for entry in snapshot["notifications"]] == [(owner.alert.id, False)]
    person = await node.context.directory.person(owner.user_id)
    assert person is not None
    assert [device.token for device in person.devices if isinstance(device, MobileDevice)] == [owner.device]
    # Still his to acknowledge: nobody else has stopped its escalation.
    assert (await node.call("POST", f"/v1/alerts/{owner.alert.id}/acknowledge", owner.user_id))[0] == 204


@pytest.mark.parametrize("path", ["/v1/inbox?before={id}", "/v1/inbox?state=unread&before={id}"])
async def test_page_that_begins_at_anothers_entry_is_refused(node: Realtime, path: str) -> None:
    owner = Owner(1)
    await owner.settle(node)
    status, answer = await node.call("GET", path.replace("{id}", owner.alert.id), "user2")
    assert (status, answer["error"]["fields"][0]["field"]) == (400, "before")


async def test_anothers_cursor_streams_nothing_of_his_over_either_transport(node: Realtime) -> None:
    owner = Owner(1)
    await owner.settle(node)
    _, page = await node.call("GET", "/v1/inbox", owner.user_id)
    await node.to_user(owner.user_id, "after the cursor")
    async with node.session("user2", f"?cursor={page['cursor']}") as client:
        await client.next("hello")
        await client.say(type="ping")
        await client.next("pong")
        assert [frame for frame in client.seen if frame["type"] == "notification"] == []
    url = f"{node.url}/v1/events?cursor={page['cursor']}"
    async with node.client.get(url, headers={"Authorization": f"Bearer {token('user2')}"}) as stream:
        mine = await node.to_user("user2", "mine")
        text = ""
        while mine.id not in text:
            text += (await asyncio.wait_for(stream.content.readline(), 5)).decode()
        assert text.count("event: notification") == 1
