"""The page behind an alert's link, where the store is away and where nobody signs links."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carillon.local.ports import free_port
from carillon.local.servers import LocalServer, local_store
from shared.core.incidents import AlertState, Way
from shared.core.model import AlertDetails, Channel, Delivery, Priority, UserInbox
from shared.directory.answer_link import AnswerLink, token
from shared.ledger.new_records import NewRecord, NewRow
from tests.conftest import EmptyStore
from tests.realtime import ALERT, Realtime, notification, realtime_node

SECRET = "a secret of at least thirty-two bytes"


async def told(node: Realtime, user_id: str, text: str = "It is full.", alert: AlertDetails = ALERT) -> AnswerLink:
    """Write an alert that one person is told of, and return that person's link."""
    sent = notification(text, title=text, alert=alert)
    delivery = Delivery(
        key=f"realtime:{user_id}",
        channel=Channel.REALTIME,
        priority=Priority.CRITICAL,
        address=UserInbox(user_id=user_id),
        recipient=user_id,
        expires_ms=2**53,
    )
    await node.context.ledger.accept(NewRecord(sent, [NewRow(delivery)], alert=AlertState.OPEN))
    return AnswerLink(sent.id, user_id, Way.PUSH, datetime.now(UTC) + timedelta(hours=1))


async def ask(node: Realtime, link: AnswerLink, method: str = "GET", cut: int = 0) -> tuple[int, str]:
    made = token(SECRET, link)
    made = made[: len(made) - cut] + "A" * cut
    async with node.client.request(method, f"{node.url}/v1/answer?token={made}") as answer:
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        return answer.status, await answer.text()


async def test_a_forged_link_is_refused_without_the_store(tmp_path: Path, broker: LocalServer) -> None:
    store = local_store(tmp_path, free_port(), embedded=False)
    await store.start()
    try:
        async with realtime_node(store.url, broker.url, "answer/", realtime_link_secret=SECRET) as node:
            link = await told(node, "user1")
            assert (await ask(node, link))[0] == 200
            await store.kill()
            assert (await ask(node, link, cut=4))[0] == 400
            assert (await ask(node, replace(link, expires_at=datetime.now(UTC)), "POST"))[0] == 400
            for method in ("GET", "POST"):
                status, page = await ask(node, link, method)
                assert (status, "Please try again" in page) == (503, True)
    finally:
        await store.stop()


async def test_what_an_alert_says_is_text(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> None:
    evil = "<script>alert(1)</script>\n<b>"
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_link_secret=SECRET) as node:
        alert = ALERT.model_copy(update={"source": evil, "affected_systems": (evil,)})
        status, page = await ask(node, await told(node, "user1", evil, alert))
    assert status == 200
    assert "<script" not in page
    assert "<b>" not in page


async def test_one_persons_links_ask_only_so_often(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> None:
    settings: dict[str, Any] = {"realtime_link_secret": SECRET, "realtime_requests_per_user_per_s": 0.1}
    async with realtime_node(store.url, broker.url, topic_prefix, **settings) as node:
        mine, theirs = await told(node, "user1"), await told(node, "user2")
        # At the rate of this test the burst is one request.
        assert (await ask(node, mine))[0] == 200
        async with node.client.get(f"{node.url}/v1/answer?token={token(SECRET, mine)}") as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) > 0
        assert (await ask(node, theirs))[0] == 200


async def test_without_a_secret_there_is_no_page(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> None:
    async with (
        realtime_node(store.url, broker.url, topic_prefix) as node,
        node.client.get(f"{node.url}/v1/answer?token=x") as answer,
    ):
        assert answer.status == 404


@pytest.mark.parametrize("origin", ["null", "https://mail.example.com"])
async def test_the_link_counts_under_whatever_origin_it_is_shown(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, origin: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_link_secret=SECRET) as node:
        link = await told(node, "user1")
        address = f"{node.url}/v1/answer?token={token(SECRET, link)}"
        async with node.client.post(address, headers={"Origin": origin}) as answer:
            assert answer.status == 200
        (state,) = await node.context.ledger.alerts.alert_states([link.alert_id])
        assert state is AlertState.ACKNOWLEDGED
