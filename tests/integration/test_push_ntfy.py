"""ntfy: alone it is enough for the push channel, and the sandbox refuses what a server refuses."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from sandbox.ntfy import access_token
from sandbox.server import Sandbox
from shared.core.clock import SystemClock
from shared.core.errors import Reason
from shared.core.model import AlertDetails, Priority, State
from shared.directory.answer_link import read_token
from tests.attempts import perform
from tests.push import build_providers, changed, make_attempt, ntfy, ntfy_settings_for
from tests.sandbox_client import SandboxClient

SECRET = "a secret of at least thirty-two bytes"
MESSAGE = {"topic": "ops", "title": "Down", "message": "db-3", "priority": 5, "tags": ["disk"], "sequence_id": "a-1"}


async def publish(
    box: Sandbox, body: object, *, token: str | None = "", method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"Authorization": f"Bearer {token or access_token(box.credentials)}"}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, box.addresses.http_url, data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def test_a_service_with_ntfy_alone_delivers_to_topics_and_to_nobody_else(box: Sandbox) -> None:
    (provider,) = build_providers(ntfy_settings_for(box), SystemClock())
    attempt = make_attempt(ntfy("ops"), title="Down", message="db-3 does not answer", priority=Priority.CRITICAL)
    try:
        outcome = await perform(provider, attempt)
    finally:
        await provider.close()
    assert outcome.state is State.DELIVERED
    [entry] = [entry.as_json() for entry in box.kept.select()]
    assert (entry["provider"], entry["to"], entry["title"]) == ("ntfy", "ops", "Down")
    assert (entry["body"], entry["id"]) == ("db-3 does not answer", outcome.provider_id)
    assert entry["payload"]["priority"] == 5  # type: ignore[index]


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        (None, State.DELIVERED, Reason.NONE),
        # A server that is too old to delete: nobody's fault, and nothing to be done about it.
        ({"status": 404}, State.SUPPRESSED, Reason.REJECTED),
        ({"status": 503}, State.PENDING, Reason.UNAVAILABLE),
    ],
)
async def test_a_push_is_taken_back_by_deleting_its_sequence(
    box: Sandbox, fault: dict[str, Any] | None, state: State, reason: Reason
) -> None:
    (provider,) = build_providers(ntfy_settings_for(box), SystemClock())
    first = make_attempt(ntfy("ops"), title="Down", message="db-3 does not answer")
    recall = replace(first, delivery=first.delivery.model_copy(update={"recalls": True}))
    try:
        assert (await perform(provider, first)).state is State.DELIVERED
        if fault is not None:
            await SandboxClient(box.addresses.http_url, {}).play("ntfy", fault)
        outcome = await perform(provider, recall)
    finally:
        await provider.close()
    assert (outcome.state, outcome.reason) == (state, reason)
    shown, *deleted = [entry.as_json()["payload"] for entry in box.kept.select()]
    assert [(each["event"], each["topic"], each["sequence_id"]) for each in deleted] == (  # type: ignore[index]
        [("message_delete", "ops", shown["sequence_id"])] if fault is None else []  # type: ignore[index]
    )


async def test_an_alert_arrives_with_its_button(box: Sandbox) -> None:
    links = {"realtime_link_secret": SecretStr(SECRET), "realtime_public_url": "https://notify.example.com"}
    (provider,) = build_providers(changed(ntfy_settings_for(box), **links), SystemClock())
    alert = AlertDetails(type="disk", level="critical", requires_acknowledgment=True)
    attempt = make_attempt(ntfy("ops"), alert=alert, priority=Priority.CRITICAL)
    try:
        assert (await perform(provider, attempt)).state is State.DELIVERED
    finally:
        await provider.close()
    (entry,) = [each.as_json()["payload"] for each in box.kept.select()]
    (action,) = entry["actions"]  # type: ignore[index]
    about = read_token(SECRET, action["url"].partition("?token=")[2], datetime.now(UTC))
    assert about is not None
    assert (about.alert_id, about.user_id) == (attempt.notification.id, "user123")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_message_comes_back_as_it_was_published(box: Sandbox, method: str) -> None:
    status, answer = await publish(box, {**MESSAGE, "icon": ""}, method=method)
    assert status == 200
    assert len(answer.pop("id")) == 12
    assert answer.pop("expires") > answer.pop("time")
    assert answer == {"event": "message", **MESSAGE}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 40024),
        (b"[]", 40024),
        ({**MESSAGE, "priority": "5"}, 40024),
        ({**MESSAGE, "tags": "disk"}, 40024),
        ({**MESSAGE, "message": 1}, 40024),
        ({**MESSAGE, "priority": 6}, 40007),
        ({**MESSAGE, "topic": "a:b"}, 40009),
        ({**MESSAGE, "topic": "x" * 65}, 40009),
        ({"message": "m"}, 40009),
        ({**MESSAGE, "topic": "v1"}, 40010),
        ({**MESSAGE, "message": "x" * 4096}, 40014),
        ({**MESSAGE, "actions": "view"}, 40024),
        ({**MESSAGE, "actions": [{"action": "call", "label": "Call"}]}, 40018),
        ({**MESSAGE, "actions": [{"action": "http", "label": "Take"}]}, 40018),
        ({**MESSAGE, "actions": [{"action": "view", "url": "https://example.com"}]}, 40018),
        ({**MESSAGE, "actions": [{"action": "view", "label": "See", "url": "https://example.com"}] * 4}, 40018),
        ({**MESSAGE, "title": "x" * 8192}, 41303),
    ],
)
async def test_what_a_server_refuses_is_refused_in_its_words(box: Sandbox, body: object, code: int) -> None:
    status, answer = await publish(box, body)
    assert (status, answer["code"], answer["http"]) == (code // 100, code, code // 100)
    assert answer["error"]
    assert not box.kept.select()


async def test_only_its_user_may_write(box: Sandbox) -> None:
    assert (await publish(box, MESSAGE, token="tk_" + "a" * 29))[1]["code"] == 40101
    assert (await publish(box, MESSAGE, token=None))[1]["code"] == 40301
