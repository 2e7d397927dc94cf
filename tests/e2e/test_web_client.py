"""The plain client class in a browser, against a realtime process: resuming, gaps, tokens, limits, errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, WebSocketRoute

from carillon.local.servers import LocalServer
from shared.core.model import Channel
from shared.directory.people import Person
from tests.conftest import EmptyStore
from tests.page import until
from tests.realtime import Realtime, realtime_node, token
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

_LIMIT = 20

# Notes what a client says. Tokens are the test's, one after the other; the last one stays.
_CLIENT = """async ({ name, tokens, options }) => {
  const { CarillonClient } = await import("/carillon.js");
  const heard = { events: [], titles: [], late: [], states: [], renewals: [] };
  const getToken = ({ renew }) => {
    heard.renewals.push(renew);
    return tokens.length > 1 ? tokens.shift() : tokens[0];
  };
  const client = new CarillonClient({ getToken, ...options });
  for (const type of ["gap", "unread", "status", "error", "unauthenticated"]) {
    client.on(type, (detail) => heard.events.push({ type, ...detail }));
  }
  client.on("state", (change) => heard.states.push(change));
  client.on("notification", ({ notification, late }) => {
    heard.titles.push(notification.message);
    if (late) heard.late.push(notification.message);
  });
  globalThis[name] = { client, heard };
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(
        store.url, broker.url, topic_prefix, inbox_limit=_LIMIT, realtime_max_sessions_per_user=3,
        realtime_demo_page="on",
    ) as running:  # fmt: skip
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def page(node: Realtime, browser: Browser) -> AsyncIterator[Page]:
    """A page of the process's own origin, without anybody signed in."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{node.url}/")
    yield page
    await context.close()


async def make(page: Page, *tokens: str, name: str = "one", **options: Any) -> None:
    await page.evaluate(_CLIENT, {"name": name, "tokens": list(tokens), "options": options})


async def heard(page: Page, what: str, name: str = "one") -> Any:
    return await page.evaluate(f"{name}.heard.{what}")


async def opened(page: Page, name: str = "one") -> None:
    await until(page, f"{name}.client.state === 'open'")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_resumes_where_it_left_without_gap_or_repeat(node: Realtime, page: Page, transport: str) -> None:
    await make(page, token("user1"), transport=transport)
    await page.evaluate("one.client.connect()")
    await opened(page)
    expected = [f"{number}" for number in range(12)]
    for number, message in enumerate(expected):
        if number in {4, 8}:
            await until(page, f"one.heard.titles.length === {number}")
            await page.evaluate("one.client.close()")
        if number in {6, 10}:
            await page.evaluate("one.client.connect()")
            await opened(page)
        await node.to_user("user1", message)
    await until(page, f"one.heard.titles.length >= {len(expected)}")
    assert await heard(page, "titles") == expected
    assert await heard(page, "late") == []
    assert (await heard(page, "states"))[-1]["transport"] == transport
    await until(page, f"one.client.unread === {len(expected)}")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_position_outlives_a_reload_where_it_is_kept(node: Realtime, page: Page, transport: str) -> None:
    options = {"transport": transport, "cursorKey": "carillon.user1"}
    await make(page, token("user1"), **options)
    await page.evaluate("one.client.connect()")
    await opened(page)
    await node.to_user("user1", "before")
    await node.to_all("to all")
    await until(page, "one.heard.titles.length === 2")
    await page.reload()
    await node.to_user("user1", "meanwhile")
    await make(page, token("user1"), **options)
    await page.evaluate("one.client.connect()")
    await opened(page)
    await node.to_user("user1", "after")
    await until(page, "one.heard.titles.length >= 2")
    assert await heard(page, "titles") == ["meanwhile", "after"]
    assert await heard(page, "late") == []
    # Without it a client begins with what is unread.
    await make(page, token("user1"), name="other", transport=transport)
    await page.evaluate("other.client.connect()")
    await until(page, "other.heard.titles.length >= 4")
    assert await heard(page, "titles", "other") == ["before", "to all", "meanwhile", "after"]


async def test_what_a_gap_swallowed_comes_from_the_inbox_before_what_is_new(node: Realtime, page: Page) -> None:
    await make(page, token("user1"))
    await page.evaluate("one.client.connect()")
    await opened(page)
    await node.to_user("user1", "before")
    await until(page, "one.heard.titles.length === 1")
    await page.evaluate("one.client.close()")
    missed = [f"{number}" for number in range(_LIMIT + 30)]
    for message in missed:
        await node.to_user("user1", message)
    # The inbox is read late, so that something arrives meanwhile.
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        await released.wait()
        await route.continue_()

    await page.route("**/v1/inbox*", hold)
    await page.evaluate("one.client.connect()")
    await opened(page)
    await node.to_user("user1", "after")
    released.set()
    kept = [*missed, "after"][-_LIMIT:]
    await until(page, f"one.heard.titles.length >= {1 + _LIMIT}")
    assert await heard(page, "titles") == ["before", *kept]
    assert await heard(page, "late") == kept
    assert "gap" in {event["type"] for event in await heard(page, "events")}


async def test_expired_token_is_renewed_and_the_stream_goes_on(node: Realtime, page: Page) -> None:
    await make(page, token("user1", valid_s=3), token("user1"))
    await page.evaluate("one.client.connect()")
    await opened(page)
    await node.to_user("user1", "first")
    await until(page, "one.heard.renewals.length === 2")
    await opened(page)
    await node.to_user("user1", "second")
    await until(page, "one.heard.titles.length === 2")
    assert await heard(page, "renewals") == [False, True]
    assert await heard(page, "titles") == ["first", "second"]


async def test_token_that_is_refused_twice_stops_the_client(page: Page) -> None:
    await make(page, token("user1", valid_s=-1), token("user1", valid_s=-1))
    await page.evaluate("one.client.connect()")
    await until(page, "one.client.state === 'stopped'")
    assert {"type": "unauthenticated", "code": 401} in await heard(page, "events")


async def test_one_session_too_many_waits_long_so_that_windows_do_not_push_each_other_out(
    node: Realtime, page: Page
) -> None:
    async with AsyncExitStack() as others:
        for _ in range(3):
            await (await others.enter_async_context(node.session("user1"))).next("hello")
        await make(page, token("user1"))
        await page.evaluate("one.client.connect()")
        await until(page, "one.client.state === 'waiting'")
        last = (await heard(page, "states"))[-1]
        assert last["code"] == 4009
        assert 15_000 <= last["wait_ms"] <= 30_000


class Doors:
    """Lets WebSockets of a page through, or refuses so many before their hello."""

    def __init__(self) -> None:
        self.refusals = 0
        self.tried = 0

    async def knock(self, socket: WebSocketRoute) -> None:
        self.tried += 1
        if self.refusals:
            self.refusals -= 1
            await socket.close()
        else:
            socket.connect_to_server()


@pytest_asyncio.fixture(loop_scope="session")
async def doors(page: Page) -> Doors:
    """What stands between the page and WebSockets; time in the page goes on by itself and in leaps."""
    doors = Doors()
    await page.route_web_socket("**/v1/ws*", doors.knock)
    await page.clock.install()
    await page.reload()
    return doors


async def transports(page: Page) -> list[str]:
    """The transports that the client was open over, one after the other."""
    return [change["transport"] for change in await heard(page, "states") if change["state"] == "open"]


async def test_one_failed_handshake_is_tried_again_and_not_taken_for_a_proxy(page: Page, doors: Doors) -> None:
    doors.refusals = 1
    await make(page, token("user1"))
    await page.evaluate("one.client.connect()")
    await opened(page)
    assert (await transports(page), doors.tried) == (["websocket"], 2)


async def test_client_on_an_event_stream_comes_back_to_a_websocket_and_misses_nothing(
    node: Realtime, page: Page, doors: Doors
) -> None:
    doors.refusals = 3
    await make(page, token("user1"))
    await page.evaluate("one.client.connect()")
    await opened(page)
    assert (await transports(page), doors.tried) == (["sse"], 2)
    await node.to_user("user1", "over the stream")
    await until(page, "one.heard.titles.length === 1")
    # The first try beside the stream fails, and the stream goes on.
    await page.clock.fast_forward(60_000)
    await eventually(lambda: doors.tried == 3, what="another try")
    await node.to_user("user1", "still over the stream")
    await until(page, "one.heard.titles.length === 2")
    assert await page.evaluate("one.client.transport") == "sse"
    # The next one is twice as late: between one minute and two.
    await page.clock.fast_forward(50_000)
    await node.to_user("user1", "between")
    await until(page, "one.heard.titles.length === 3")
    assert doors.tried == 3
    await page.clock.fast_forward(70_000)
    await until(page, "one.client.transport === 'websocket'")
    await node.to_user("user1", "over the socket")
    await until(page, "one.heard.titles.length === 4")
    expected = ["over the stream", "still over the stream", "between", "over the socket"]
    assert await heard(page, "titles") == expected
    assert await transports(page) == ["sse", "websocket"]
    await eventually(lambda: len(node.node.hub.users["user1"].sessions) == 1, what="the end of the stream's session")
    # A frame goes over it, which no stream can carry.
    assert await page.evaluate("one.client.send({ type: 'ping' })")


async def test_choice_of_a_transport_is_kept(page: Page, doors: Doors) -> None:
    await make(page, token("user1"), transport="sse")
    await page.evaluate("one.client.connect()")
    await opened(page)
    await page.clock.fast_forward(3_600_000)
    await until(page, "one.client.state === 'open'")
    assert doors.tried == 0


async def test_calls_reach_the_server_and_refusals_say_why(node: Realtime, page: Page) -> None:
    await node.context.directory.put(Person(user_id="user1"))
    sent = [await node.to_user("user1", message) for message in ("one", "two", "three")]
    ids = json.dumps([each.id for each in sent])
    await make(page, token("user1"))
    await page.evaluate(
        f"""async () => {{
          const [first, second] = {ids};
          await one.client.markRead(first);
          await one.client.archive(second);
          await one.client.setPreferences({{ realtime: true, email: false, sms: true, push: true }});
          await one.client.addDevice({{ platform: "ios", token: "abc" }});
          await one.client.addDevice({{ platform: "android", token: "a:b" }});
          await one.client.removeDevice("a:b");
        }}"""
    )
    _, unread = await node.call("GET", "/v1/inbox?state=unread", "user1")
    assert [entry["message"] for entry in unread["notifications"]] == ["three"]
    person = await node.context.directory.person("user1")
    assert person is not None
    assert (person.choice(Channel.EMAIL).on, person.choice(Channel.SMS).on) == (False, True)
    assert len(person.devices) == 1
    await until(page, "one.client.unread === 1")
    assert await page.evaluate("one.client.webPushKey()") is None
    refusal = """(call) => call(one.client).then(
      () => null, ({ name, status, code }) => ({ name, status, code })
    )"""
    for call, status, code in (
        ("(c) => c.addDevice({ platform: 'toaster' })", 400, "invalid_request"),
        ("(c) => c.acknowledge('nothing')", 404, "not_found"),
        ("(c) => c.removeDevice('unknown')", 404, "not_found"),
    ):
        answer = await page.evaluate(f"({refusal})({call})")
        assert answer == {"name": "CarillonError", "status": status, "code": code}
