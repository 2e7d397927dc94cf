"""Vonage as the only provider of SMS, and the sandbox's Vonage, which refuses what the real one refuses."""

from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from prometheus_client import REGISTRY

from sandbox import vonage
from sandbox.script import Rule
from sandbox.server import Sandbox
from services.sms import metrics
from services.sms.alerts import SentAlerts
from services.sms.providers import PROVIDERS
from services.sms.text import Texts
from shared.core.errors import OutcomeUnknown, Reason
from shared.core.model import AlertDetails, State
from shared.core.topics import Kind
from shared.delivery.attempt import Receipt
from shared.delivery.provider import Provider
from shared.runtime.providers import build_providers
from tests.attempts import outcome, perform
from tests.sms import PHONE, attempt, outbox, parts_for, vonage_settings_for

Open = Callable[..., Provider]
MESSAGE: dict[str, Any] = {
    "message_type": "text", "channel": "sms", "to": "12025550123", "from": "Carillon", "text": "Good morning.",
}  # fmt: skip


@pytest.fixture
async def provider(box: Sandbox) -> AsyncIterator[Open]:
    """A function that opens all providers that the settings ask for, and returns the only one."""
    opened: list[Provider] = []

    def open_with(**others: Any) -> Provider:
        [built] = build_providers(PROVIDERS, parts_for(vonage_settings_for(box, **others)))
        opened.append(built)
        return built

    yield open_with
    for each in opened:
        await each.close()


async def test_it_is_enough_for_the_channel(box: Sandbox, provider: Open) -> None:
    ended = await perform(provider(), attempt(message="Grüße 🔔"))
    assert ended.state is State.DELIVERED
    [kept] = outbox(box)
    assert (kept["provider"], kept["to"], kept["from"], kept["body"]) == ("vonage", PHONE, "Carillon", "Grüße 🔔")
    assert ended.provider_id == kept["id"]


@pytest.mark.parametrize(
    ("message", "encoding_type", "detail"),
    [
        ("Grüße {1}", "text", "1 gsm7"),
        ("Grüße 🔔", "unicode", "1 ucs2"),
        ("a" * 161, "text", "2 gsm7"),
    ],
)
async def test_it_is_sent_as_what_it_is_counted_as(
    box: Sandbox, provider: Open, message: str, encoding_type: str, detail: str
) -> None:
    metrics.prepare()
    labels = {"encoding": detail.split()[1]}
    before = REGISTRY.get_sample_value("carillon_sms_segments_total", labels) or 0
    receipt = await outcome(provider(), attempt(message=message))
    assert isinstance(receipt, Receipt)
    assert receipt.detail == detail
    assert outbox(box)[0]["encoding_type"] == encoding_type
    after = REGISTRY.get_sample_value("carillon_sms_segments_total", labels)
    assert after == before + int(detail.split(maxsplit=1)[0])


@pytest.mark.parametrize(("left_s", "ttl_s"), [(1, 20), (3600, 3600), (30 * 86400, 604_800)])
async def test_vonage_is_told_how_long_it_is_worth_sending(
    box: Sandbox, provider: Open, left_s: float, ttl_s: int
) -> None:
    await outcome(provider(), attempt(ttl_s=left_s))
    assert outbox(box)[0]["ttl_s"] == pytest.approx(ttl_s, abs=2)


async def test_a_number_as_the_sender_goes_without_its_plus(box: Sandbox, provider: Open) -> None:
    await outcome(provider(sms_vonage_from="+12025550100"), attempt())
    assert outbox(box)[0]["from"] == "12025550100"


async def test_no_alert_says_how_to_answer_it(box: Sandbox) -> None:
    # Nothing that people send to Vonage reaches us.
    parts = parts_for(vonage_settings_for(box))
    alerts = Mock(spec=SentAlerts)
    alerts.number_for.return_value = 7
    parts.texts = Texts(10, alerts)
    [built] = build_providers(PROVIDERS, parts)
    alert = AlertDetails(type="disk", level="critical", requires_acknowledgment=True)
    sent = await outcome(built, attempt(kind=Kind.ALERT_CRITICAL, alert=alert, recipient="user123"))
    await built.close()
    assert isinstance(sent, Receipt)
    assert outbox(box)[0]["body"] == "[CRITICAL] Good morning."


async def test_an_answer_that_does_not_say_is_in_doubt(box: Sandbox, provider: Open) -> None:
    fault = {"status": 202, "body": {"workflow_id": "1"}}
    box.script.add(Rule.model_validate({"provider": "vonage", "fault": fault}))
    ended = await outcome(provider(), attempt())
    assert isinstance(ended, OutcomeUnknown)
    assert ended.reason is Reason.BAD_ANSWER


async def post(box: Sandbox, message: object, **others: Any) -> tuple[int, str]:
    key, secret = vonage.account(box.credentials)
    headers = {"Authorization": aiohttp.encode_basic_auth(key, secret)} | others
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{box.addresses.http_url}/v1/messages", json=message, headers=headers) as response,
    ):
        link = (await response.json(content_type=None)).get("type", "")
        return response.status, link.rpartition("#")[2]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"channel": "pigeon"}, "1100"),
        ({"message_type": "image"}, "1140"),
        ({"to": "+12025550123"}, "110"),
        ({"to": "12345"}, "110"),
        ({"to": 12025550123}, "110"),
        ({"from": "+12025550100"}, "1120"),
        ({"from": "Bell Co"}, "1120"),
        ({"text": ""}, "1150"),
        ({"text": "a" * 3201}, "1150"),
        ({"ttl": 19}, "1150"),
        ({"ttl": 604_801}, "1150"),
        ({"ttl": "60"}, "1150"),
        ({"sms": {"encoding_type": "gsm7"}}, "1150"),
        ({"sms": {"encoding": "text"}}, "1150"),
        ({"sms": "text"}, "1150"),
        ({"body": "Good morning."}, "1150"),
    ],
)
async def test_the_sandbox_refuses_what_vonage_refuses(box: Sandbox, change: dict[str, Any], code: str) -> None:
    assert await post(box, MESSAGE | change) == (422, code)
    assert outbox(box) == []


async def test_the_sandbox_wants_key_and_secret_and_json(box: Sandbox) -> None:
    assert await post(box, MESSAGE, Authorization=aiohttp.encode_basic_auth("abcd1234", "x")) == (401, "unauthorized")
    assert await post(box, MESSAGE, Authorization="Bearer x") == (401, "unauthorized")
    assert await post(box, [MESSAGE]) == (422, "invalid-json")
    assert await post(box, MESSAGE, **{"Content-Type": "text/plain"}) == (415, "content-type-header")
    assert await post(box, MESSAGE) == (202, "")
