"""The sandbox's Twilio, spoken to by Twilio's own client."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import ValidationError
from twilio.base import values  # type: ignore[import-untyped]
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http.async_http_client import AsyncTwilioHttpClient  # type: ignore[import-untyped]
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]
from twilio.rest.api.v2010.account.message import MessageInstance  # type: ignore[import-untyped]

from sandbox.credentials import SMS_FROM
from sandbox.script import Rule
from sandbox.server import Options, Sandbox, running
from sandbox.twilio import segments
from tests.waiting import eventually

# Twilio's client still signs in the way that aiohttp is about to drop.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'auth' parameter is deprecated:DeprecationWarning"),
]


def play(box: Sandbox, fault: dict[str, object], to: str | None = None) -> None:
    box.script.add(Rule.model_validate({"provider": "twilio", "to": to, "fault": fault}))


async def send(
    box: Sandbox,
    to: str = "+15551234567",
    body: str = "Hello",
    token: str | None = None,
    timeout_s: float = 5,
    callback: str | None = None,
) -> MessageInstance:
    # The client's own timeout does not reach its requests.
    async with asyncio.timeout(timeout_s), AsyncTwilioHttpClient() as http:
        client = Client(box.credentials.twilio_sid, token or box.credentials.twilio_token, http_client=http)
        client.api.base_url = box.addresses.http_url
        return await client.messages.create_async(
            to=to, from_=SMS_FROM, body=body, status_callback=callback or values.unset
        )


def entries(box: Sandbox) -> list[dict[str, object]]:
    return [entry.as_json() for entry in box.kept.select()]


async def test_an_sms_is_queued_and_kept(box: Sandbox) -> None:
    message = await send(box, body="Grüße 🔔")
    assert message.status == "queued"
    assert message.date_created is not None
    assert message.num_segments == "1"
    [entry] = entries(box)
    assert entry["id"] == message.sid
    assert (entry["to"], entry["title"], entry["body"]) == ("+15551234567", "", "Grüße 🔔")
    assert (entry["channel"], entry["from"]) == ("sms", SMS_FROM)


async def test_a_wrong_token_is_refused_with_20003(box: Sandbox) -> None:
    with pytest.raises(TwilioRestException) as caught:
        await send(box, token="wrong")
    assert (caught.value.status, caught.value.code) == (401, 20003)


@pytest.mark.parametrize(
    ("to", "body", "code"),
    [
        ("12345", "Hello", 21211),
        ("+15005550001", "Hello", 21211),
        ("+15005550004", "Hello", 21610),
        ("+15551234567", "x" * 1601, 21617),
    ],
)
async def test_what_twilio_would_refuse_is_refused_with_its_code(box: Sandbox, to: str, body: str, code: int) -> None:
    with pytest.raises(TwilioRestException) as caught:
        await send(box, to=to, body=body)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert entries(box) == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"status": 503}, 503, 20503),
        ({"status": 429, "headers": {"Retry-After": 2}}, 429, 20429),
        ({"status": 400, "code": 21614}, 400, 21614),
        ({"operator": True}, 401, 20003),
    ],
)
async def test_a_scripted_refusal_reaches_the_client_once(
    box: Sandbox, fault: dict[str, object], status: int, code: int
) -> None:
    play(box, fault)
    with pytest.raises(TwilioRestException) as caught:
        await send(box)
    assert (caught.value.status, caught.value.code) == (status, code)
    await send(box)
    assert len(entries(box)) == 1


async def test_a_scripted_answer_brings_its_headers_and_body(box: Sandbox) -> None:
    play(box, {"status": 502, "headers": {"Retry-After": 2}, "body": "<html>Bad gateway</html>"})
    url = f"{box.addresses.http_url}/2010-04-01/Accounts/{box.credentials.twilio_sid}/Messages.json"
    async with aiohttp.ClientSession() as session, session.post(url, data={"To": "+15551234567"}) as answer:
        assert answer.status == 502
        assert answer.headers["Retry-After"] == "2"
        assert await answer.text() == "<html>Bad gateway</html>"


@pytest.mark.parametrize("to", [None, "+15551234567"])
@pytest.mark.parametrize(
    ("fault", "kept"),
    [({"cut": "before"}, 0), ({"cut": "after"}, 1), ({"hang": True}, 0), ({"hang": "after"}, 1), ({"delay_s": 30}, 1)],
)
async def test_a_silent_provider_keeps_what_it_took(
    box: Sandbox, fault: dict[str, object], kept: int, to: str | None
) -> None:
    play(box, fault, to=to)
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        await send(box, timeout_s=0.3)
    assert len(entries(box)) == kept
    if kept:
        assert entries(box)[0]["answered"] is ("delay_s" in fault)


async def test_a_late_answer_is_still_an_answer(box: Sandbox) -> None:
    play(box, {"delay_s": 0.2})
    started = asyncio.get_running_loop().time()
    assert (await send(box)).status == "queued"
    assert asyncio.get_running_loop().time() - started >= 0.2


@pytest.mark.parametrize(
    ("body", "count"),
    [("x" * 160, 1), ("x" * 161, 2), ("€" * 80, 1), ("€" * 81, 2), ("ж" * 70, 1), ("ж" * 71, 2), ("🔔" * 36, 2)],
)
def test_segments_are_counted_as_the_networks_do(body: str, count: int) -> None:
    assert segments(body) == count


class Customer:
    """Takes Twilio's calls, and checks their signatures with Twilio's SDK."""

    def __init__(self, token: str) -> None:
        self.calls: list[dict[str, str]] = []
        self.url = ""
        self.says = ""
        self._validator = RequestValidator(token)

    async def handle(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        signature = request.headers["X-Twilio-Signature"]
        assert self._validator.validate(f"{self.url}{request.raw_path}", form, signature)
        self.calls.append(form)
        return web.Response(status=200 if self.says else 204, text=self.says or None)


@pytest.fixture
async def customer(box: Sandbox) -> AsyncIterator[Customer]:
    made = Customer(box.credentials.twilio_token)
    app = web.Application()
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (None, [("sent", None), ("delivered", None)]),
        ({"callback": "undelivered", "code": 30005}, [("sent", None), ("undelivered", "30005")]),
        ({"callback": "failed"}, [("sent", None), ("failed", None)]),
    ],
)
async def test_a_message_is_followed_by_signed_callbacks(
    box: Sandbox, customer: Customer, fault: dict[str, object] | None, told: list[tuple[str, str | None]]
) -> None:
    if fault:
        play(box, fault)
    message = await send(box, callback=f"{customer.url}/status?delivery=abc_1-2")
    await eventually(lambda: len(customer.calls) == len(told))
    assert [(call["MessageStatus"], call.get("ErrorCode")) for call in customer.calls] == told
    assert {call["MessageSid"] for call in customer.calls} == {message.sid}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("<Response><Message>Alerts &amp; more</Message></Response>", ["Alerts & more"]),
        ("<Response><Message><Body>Alerts</Body></Message></Response>", ["Alerts"]),
        ("<Response/>", []),
        ("no TwiML", []),
    ],
)
async def test_what_a_service_says_back_is_kept_as_an_sms(
    data: Path, customer: Customer, said: str, kept: list[str]
) -> None:
    customer.says = said
    options = Options(data=data, sms_inbound_url=f"{customer.url}/inbound")
    async with running(options) as heard, aiohttp.ClientSession(heard.addresses.http_url) as http:
        async with http.post("/twilio/inbound", json={"sender": "+12025550123", "body": "ACK"}) as answer:
            assert await answer.json() == {"status": 200, "answer": kept[0] if kept else None}
        assert [call["Body"] for call in customer.calls] == ["ACK"]
        assert [(entry["to"], entry["from"], entry["body"]) for entry in entries(heard)] == [
            ("+12025550123", SMS_FROM, body) for body in kept
        ]


async def test_somebody_sends_an_sms(data: Path) -> None:
    async with running(Options(data=data)) as deaf, aiohttp.ClientSession(deaf.addresses.http_url) as http:
        message = {"sender": "+12025550123", "body": "ACK"}
        async with http.post("/twilio/inbound", json=message) as answer:
            assert answer.status == 409
        async with http.post("/twilio/inbound", json={"sender": "+12025550123"}) as answer:
            assert answer.status == 400


@pytest.mark.parametrize(
    "rule",
    [
        {"provider": "apns", "fault": {"callback": "failed"}},
        {"provider": "twilio", "fault": {"callback": "none", "code": 30005}},
        {"provider": "twilio", "fault": {"callback": "failed", "hang": "after"}},
        {"provider": "twilio", "fault": {"callback": "delivered"}},
    ],
)
def test_a_callback_fault_that_cannot_be_played_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rule.model_validate(rule)
