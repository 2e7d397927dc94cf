"""Who may connect to the realtime service, for how long, and what a client may not do."""

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.realtime.sessions.close_codes import (
    POLICY_VIOLATION,
    TOO_MANY_SESSIONS,
    TOO_SLOW,
    UNAUTHENTICATED,
    UNSUPPORTED_DATA,
)
from services.realtime.sessions.session import Phase
from tests.realtime import ALLOWED, Client, Realtime, bearer, token
from tests.waiting import eventually

# Who may connect, and for how long.


async def refused_code(node: Realtime, query: str = "", **options: Any) -> int | None:
    async with node.client.ws_connect(f"{node.url}/v1/ws{query}", **options) as raw:
        return await Client(raw).closed()


async def test_without_a_valid_token_nobody_gets_in(node: Realtime) -> None:
    for headers in (
        {}, {"Authorization": "Bearer nonsense"}, bearer("user1", valid_s=-1), bearer("user1", secret="x" * 32),
        bearer("a/b"), bearer(""), {"Authorization": "Basic YTpi"},
    ):  # fmt: skip
        assert await refused_code(node, headers=headers) == UNAUTHENTICATED
        for method, path in (("GET", "/v1/inbox"), ("GET", "/v1/events"), ("POST", "/v1/tickets")):
            async with node.client.request(method, node.url + path, headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert (await response.json())["error"]["code"] == "unauthorized"


async def test_session_ends_with_its_token(node: Realtime) -> None:
    async with node.client.ws_connect(f"{node.url}/v1/ws", headers=bearer("user1", valid_s=1)) as raw:
        client = Client(raw)
        await client.next("hello")
        assert await client.closed() == UNAUTHENTICATED
    async with node.client.get(f"{node.url}/v1/events", headers=bearer("user1", valid_s=1)) as response:
        assert b"event: hello" in await asyncio.wait_for(response.read(), 5)


async def test_ticket_opens_one_session_for_its_user_and_origin(node: Realtime, other: Realtime) -> None:
    async def ticket(origin: str | None = None, **claims: Any) -> str:
        headers = {"Origin": origin} if origin else {}
        async with node.client.post(
            f"{node.url}/v1/tickets", headers={**bearer("user1", **claims), **headers}
        ) as response:
            answer = await response.json()
            assert (response.status, answer["expires_in"]) == (200, 30)
            return str(answer["ticket"])

    bought = await ticket()
    async with other.client.ws_connect(f"{other.url}/v1/ws?ticket={bought}") as raw:
        await Client(raw).next("hello")
    assert await refused_code(node, f"?ticket={bought}") == UNAUTHENTICATED
    # Made on one page, used on another, or taken out of the browser.
    own = node.url
    assert await refused_code(node, f"?ticket={await ticket(own)}", origin=ALLOWED) == UNAUTHENTICATED
    assert await refused_code(node, f"?ticket={await ticket(ALLOWED)}", origin=own) == UNAUTHENTICATED
    assert await refused_code(node, f"?ticket={await ticket(ALLOWED)}") == UNAUTHENTICATED
    async with node.client.ws_connect(f"{own}/v1/ws?ticket={await ticket(own)}", origin=own) as raw:
        await Client(raw).next("hello")
    # An EventSource of our own page names no origin, but Fetch Metadata says where it comes from.
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with node.client.get(f"{own}/v1/events?ticket={await ticket(own)}", headers=headers) as response:
        assert response.status == 200
    # A ticket lives no longer than the token that bought it, and buys nothing but a session.
    brief = await ticket(valid_s=1)
    async with node.client.ws_connect(f"{node.url}/v1/ws?ticket={brief}") as raw:
        assert await Client(raw).closed() == UNAUTHENTICATED
    async with node.client.get(f"{node.url}/v1/inbox?ticket={await ticket()}") as response:
        assert response.status == 401


async def test_pages_of_other_origins_are_refused(node: Realtime) -> None:
    host = urlsplit(node.url).netloc
    for origin in ("https://evil.example.com", "null", f"https://{host}.evil.example.com", ALLOWED + ".evil.org"):
        headers = {**bearer("user1"), "Origin": origin}
        for path in ("/v1/ws", "/v1/inbox", "/v1/events", "/", "/v1/preferences"):
            async with node.client.get(node.url + path, headers=headers) as response:
                assert response.status == 403
                assert "Access-Control-Allow-Origin" not in response.headers
        async with node.client.options(
            f"{node.url}/v1/inbox", headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
        ) as response:
            assert response.status == 403
    async with node.client.options(
        f"{node.url}/v1/preferences", headers={"Origin": ALLOWED, "Access-Control-Request-Method": "PUT"}
    ) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == ALLOWED
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    async with node.client.get(f"{node.url}/v1/inbox", headers={**bearer("user1"), "Origin": ALLOWED}) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, ALLOWED)
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize("origin", ["nonsense", "", "//host", "https://", "https:host"])
async def test_what_is_no_origin_is_a_bad_request(node: Realtime, origin: str) -> None:
    for path in ("/v1/ws", "/v1/inbox", "/"):
        async with node.client.get(node.url + path, headers={**bearer("user1"), "Origin": origin}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, "bad_request")


async def test_user_has_at_most_so_many_sessions_over_all_processes(node: Realtime, other: Realtime) -> None:
    async with AsyncExitStack() as stack:
        for process in (node, other, node):
            client = await stack.enter_async_context(process.session("user1"))
            await client.next("hello")
        async with other.session("user1") as refused:
            assert await refused.closed() == TOO_MANY_SESSIONS
        status, answer = await other.call("GET", "/v1/events", "user1")
        assert (status, answer["error"]["code"]) == (429, "too_many_sessions")
        async with other.session("user3") as somebody_else:
            await somebody_else.next("hello")

    # The places are free again.
    await eventually(lambda: not (node.node.hub.users or other.node.hub.users), what="the sessions to end")
    async with other.session("user1") as client:
        await client.next("hello")


# Clients that behave badly.


async def test_client_that_never_reads_is_cut_off_and_delays_nobody(node: Realtime) -> None:
    parts = urlsplit(node.url)
    raw = socket.create_connection((parts.hostname, parts.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = (
        f"GET /v1/ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token('user1')}\r\n\r\n"
    )
    raw.sendall(request.encode())
    try:
        await eventually(lambda: "user1" in node.node.hub.users, what="the session")
        async with node.session("user1") as quick:
            await quick.next("hello")
            slow = node.node.hub.users["user1"].sessions[0]
            for _ in range(1000):
                # The quick one keeps up all the while.
                sent = await node.to_user("user1", "x" * 30_000)
                assert (await quick.next("notification"))["notification"]["id"] == sent.id
                if slow.phase is Phase.CLOSED:
                    break
            assert slow.phase is Phase.CLOSED
            await eventually(lambda: len(node.node.hub.users["user1"].sessions) == 1, what="the connection to be cut")
    finally:
        raw.close()


async def test_slow_client_that_wakes_up_reads_the_code(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        # The client's task does not read, so its buffers fill up; then it does.
        for _ in range(400):
            await node.to_user("user1", "x" * 30_000)
            if not node.node.hub.users.get("user1"):
                break
        assert await client.closed() == TOO_SLOW


async def test_hostile_frames_are_answered_or_closed(node: Realtime) -> None:
    async with node.session("user1") as client:
        await client.next("hello")
        for text in (
            "", "nonsense", "[]", "{}", '{"type":5}', '{"type":"read"}', '{"type":"read","id":null}', "[" * 5000,
            '{"type":"acknowledge","alert_id":{}}',
        ):  # fmt: skip
            await client.socket.send_str(text)
            assert (await client.next())["code"] == "invalid_frame"
        await client.say(type="subscribe")
        assert (await client.next())["code"] == "unknown_type"
        await client.say(type="ping")
        assert await client.next() == {"type": "pong"}
        await client.socket.send_bytes(b"\x00")
        assert await client.closed() == UNSUPPORTED_DATA
    async with node.session("user1") as client:
        await client.next("hello")
        await client.socket.send_str("x" * 20_000)
        assert await client.closed() == 1009
    async with node.session("user1") as client:
        await client.next("hello")
        for _ in range(60):
            await client.say(type="ping")
        assert await client.closed() == POLICY_VIOLATION


async def test_plain_request_to_the_socket_is_told_to_upgrade(node: Realtime) -> None:
    status, answer = await node.call("GET", "/v1/ws", "user1")
    assert (status, answer["error"]["code"]) == (426, "upgrade_required")
