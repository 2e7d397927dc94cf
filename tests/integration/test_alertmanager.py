"""Alertmanager's webhook, with a real broker and a router that answers what it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from carillon.local.servers import LocalServer
from services.realtime.alertmanager import taking
from services.realtime.alertmanager.shapes import TakenMessage
from services.realtime.alertmanager.taking import ALERTS, IN_FLIGHT
from shared.core.limits import PAYLOAD_BYTES
from shared.mqtt.packets import Incoming
from tests.alertmanager import alert, message, post_message
from tests.conftest import EmptyStore
from tests.publishing import ACCEPTED, KEY, FakeRouter, fake_router, give_key
from tests.realtime import Realtime, realtime_node
from tests.waiting import eventually


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        await give_key(running, "monitoring")
        await eventually(lambda: running.router.is_up, what="the link for publishers")
        yield running


@pytest_asyncio.fixture
async def router(broker: LocalServer, topic_prefix: str) -> AsyncIterator[FakeRouter]:
    async with fake_router(broker.url, topic_prefix) as running:
        yield running


async def post(node: Realtime, posted: Any, path: str = "disk_full", key: str = KEY) -> tuple[int, Any]:
    status, answer = await post_message(node.client, node.url, key, posted, path)
    if status == 200:
        TakenMessage.model_validate(answer)
    return status, answer


def rejected(code: str) -> Mapping[str, Any]:
    return {"status": "rejected", "error": {"code": code, "message": "x", "fields": []}}


def counted(status: str, outcome: str) -> float:
    labels = {"status": status, "outcome": outcome}
    return REGISTRY.get_sample_value("carillon_alertmanager_alerts_total", labels) or 0.0


async def test_each_alert_is_published_in_the_publishers_name(
    node: Realtime, router: FakeRouter, topic_prefix: str
) -> None:
    before = counted("firing", "accepted"), counted("resolved", "accepted")
    posted = message(alert(1), alert(2, labels={"severity": "info"}), alert(3, status="resolved"), truncatedAlerts=2)
    status, answer = await post(node, posted)
    assert status == 200
    assert answer == {"accepted": 3, "duplicates": 0, "refused": 0, "truncated": 2, "labels_left_out": 0}
    said = {json.loads(got.payload)["dedup_key"][-1]: got for got in router.got}
    assert {number: got.topic.removeprefix(f"{topic_prefix}from/monitoring/") for number, got in said.items()} == {
        "1": "notifications/alerts/critical/disk_full",
        "2": "notifications/alerts/info/disk_full",
        "3": "notifications/alerts/critical/disk_full",
    }
    properties = [dict(got.user_properties) for got in router.got]
    assert {each["carillon-way"] for each in properties} == {"alertmanager"}
    assert len({each["idempotency-key"] for each in properties}) == 3
    assert (counted("firing", "accepted") - before[0], counted("resolved", "accepted") - before[1]) == (2, 1)


async def test_the_url_says_type_level_and_expiry(node: Realtime, router: FakeRouter) -> None:
    assert (await post(node, message(alert()), "web?level=info&expires_after=7d"))[0] == 200
    (got,) = router.got
    assert got.topic.endswith("notifications/alerts/info/web")
    assert json.loads(got.payload)["expires_after"] == 7 * 86_400


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("disk_full?level=urgent", "level"),
        ("disk_full?expires_after=soon", "expires_after"),
        ("disk_full?expires_after=0s", "expires_after"),
        ("disk_full?levle=info", "levle"),
        ("a%2Bb", "alert_type"),
        ("a%2Fb", "alert_type"),
        (f"{'x' * 129}", "alert_type"),
    ],
)
async def test_a_wrong_url_is_refused_by_the_name_of_its_part(
    node: Realtime, router: FakeRouter, path: str, field: str
) -> None:
    status, answer = await post(node, message(alert()), path)
    assert (status, [each["field"] for each in answer["error"]["fields"]]) == (400, [field])
    assert not router.got


async def test_without_the_key_of_a_publisher_nothing_is_published(node: Realtime, router: FakeRouter) -> None:
    assert (await post(node, message(alert()), key="wrong"))[0] == 401
    assert not router.got


@pytest.mark.parametrize("posted", [b"", b"{", b"[]", message(alert(), version="3"), message(alert(), groupKey=None)])
async def test_a_message_that_cannot_be_read_is_refused_for_good(
    node: Realtime, router: FakeRouter, posted: Any
) -> None:
    status, answer = await post(node, posted)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert not router.got


async def test_a_message_that_is_too_large_is_refused_for_good(node: Realtime, router: FakeRouter) -> None:
    status, answer = await post(node, b" " * (PAYLOAD_BYTES + 1))
    assert (status, answer["error"]["code"]) == (413, "too_large")
    assert not router.got


async def test_a_wrong_alert_does_not_take_the_others_with_it(node: Realtime, router: FakeRouter) -> None:
    def answer_to(incoming: Incoming) -> Mapping[str, Any]:
        return rejected("invalid_payload") if b'"db2:9100"' in incoming.payload else ACCEPTED

    router.answer = answer_to
    status, answer = await post(node, message(alert(1), {"status": "firing"}, alert(2), None, alert(3)))
    assert (status, answer["accepted"], answer["refused"]) == (200, 2, 3)
    refusals = {each["alert"]: each for each in answer["refusals"]}
    assert {place: each["code"] for place, each in refusals.items()} == {
        1: "unreadable", 2: "invalid_payload", 3: "unreadable",
    }  # fmt: skip
    assert refusals[1]["fields"] == [{"field": "labels", "problem": "missing, or not what it must be"}]


@pytest.mark.parametrize(
    ("code", "status"), [("invalid_payload", 400), ("unauthorized", 403), ("expired", 400), ("a later one", 400)]
)
async def test_a_message_of_which_nothing_is_taken_is_refused_for_good(
    node: Realtime, router: FakeRouter, code: str, status: int
) -> None:
    router.answer = lambda _incoming: rejected(code)
    assert (await post(node, message(alert(1), alert(2))))[0] == status


async def test_a_repeat_in_other_words_is_a_duplicate(node: Realtime, router: FakeRouter) -> None:
    router.answer = lambda _incoming: rejected("idempotency_conflict")
    status, answer = await post(node, message(alert()))
    assert (status, answer["duplicates"]) == (200, 1)


async def test_an_alert_over_the_rate_waits_and_then_the_message_is_to_come_again(
    node: Realtime, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 2

    def answer_to(_incoming: Incoming) -> Mapping[str, Any]:
        nonlocal refused
        refused -= 1
        error = {"code": "rate_limited", "message": "x", "retry_after_s": 0.01}
        return {"status": "rejected", "error": error} if refused >= 0 else ACCEPTED

    router.answer = answer_to
    status, answer = await post(node, message(alert(1), alert(2)))
    assert (status, answer["accepted"]) == (200, 2)
    assert len(router.got) == 4
    monkeypatch.setattr(taking, "MESSAGE_S", 0.5)
    router.answer = lambda _incoming: rejected("rate_limited")
    status, answer = await post(node, message(alert(1), alert(2)))
    assert (status, answer["error"]["code"]) == (503, "unavailable")


async def test_without_a_router_alertmanager_is_to_come_again(node: Realtime) -> None:
    assert (await post(node, message(alert())))[0] == 503


async def test_a_message_ends_in_time_whatever_the_router_does(
    node: Realtime, router: FakeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for those in flight to be published, on a busy machine, too.
    monkeypatch.setattr(taking, "MESSAGE_S", 3)
    router.answer = lambda _incoming: None
    status, _ = await post(node, message(*(alert(number) for number in range(200))))
    assert status == 503
    assert node.router.outstanding == node.router.places.taken == node.router.places.held_bytes == 0
    assert len(router.got) == IN_FLIGHT


async def test_a_large_message_is_published_a_part_at_a_time_and_its_rest_is_refused(
    node: Realtime, router: FakeRouter
) -> None:
    most = 0

    def answer_to(_incoming: Incoming) -> Mapping[str, Any]:
        nonlocal most
        most = max(most, node.router.outstanding)
        return ACCEPTED

    router.answer = answer_to
    status, answer = await post(node, message(*(alert(number) for number in range(ALERTS + 3))))
    assert (status, answer["accepted"], answer["refused"]) == (200, ALERTS, 3)
    assert [each["alert"] for each in answer["refusals"]] == [ALERTS, ALERTS + 1, ALERTS + 2]
    assert 1 < most <= IN_FLIGHT


async def test_a_message_without_alerts_is_taken(node: Realtime, router: FakeRouter) -> None:
    status, answer = await post(node, message())
    assert (status, answer["accepted"], answer["refused"]) == (200, 0, 0)
    assert not router.got


async def test_messages_of_a_pair_do_not_hinder_each_other(node: Realtime, router: FakeRouter) -> None:
    answers = await asyncio.gather(*(post(node, message(alert(number))) for number in range(40)))
    assert {status for status, _ in answers} == {200}
    assert len(router.got) == 40
