"""What Twilio calls us for: confirmations and answers, signed by its own SDK."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from prometheus_client import REGISTRY
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from carillon.local.ports import free_port
from sandbox.server import Sandbox
from services.sms import reference
from services.sms.alerts import ALERTS_KEPT, HIGHEST_NUMBER, SentAlerts
from services.sms.desk import Desk
from services.sms.inbound import QUESTIONS_MOST
from services.sms.keys import number_key
from services.sms.providers import PROVIDERS
from services.sms.settings import SmsSettings
from shared.core.errors import AttemptOutcome, DeliveryRefused, Reason
from shared.core.incidents import AlertState
from shared.core.model import AlertDetails, PhoneNumber, State
from shared.core.topics import Kind
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.rules import Guarded, guarded
from shared.ledger.claims import Outcome
from shared.ledger.dead_letters import Answer, DeadLetters, Wanted
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.reader import Trace, TracedRow
from shared.ledger.rows import Confirmation
from shared.runtime.providers import build_providers, routes_of
from shared.runtime.service import Context, open_context
from tests.attempts import outcome
from tests.conftest import EmptyStore
from tests.sms import PHONE, attempt, outbox, settings_for

pytestmark = pytest.mark.real_store

SID = "SM" + "0" * 32
ALERT = AlertDetails(type="disk", level="critical", requires_acknowledgment=True)


@dataclass
class Bench:
    """The callback endpoint of an SMS service, and what Twilio does with it."""

    context: Context[SmsSettings]
    provider: Guarded
    http: aiohttp.ClientSession
    url: str
    token: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    said: str = ""

    async def call(
        self, path: str, form: dict[str, str], *, token: str | None = None, signed: str | None = None
    ) -> int:
        """Call as Twilio does, and return the status; ``signed`` signs another path."""
        signature = RequestValidator(token or self.token).compute_signature(f"{self.url}{signed or path}", form)
        async with self.http.post(f"{self.url}{path}", data=form, headers={"X-Twilio-Signature": signature}) as answer:
            self.said = await answer.text()
            return answer.status

    async def tell(
        self, of: Attempt, status: str, code: str | None = None, sid: str = SID, sender: str = "+15005550006"
    ) -> int:
        """Make a status callback."""
        form = {"MessageSid": sid, "MessageStatus": status, "To": PHONE, "From": sender}
        form |= {"ErrorCode": code} if code else {}
        return await self.call(status_path(of), form)

    async def answer(self, body: str, sid: str = SID, phone: str = PHONE) -> int:
        """Hand over an inbound message."""
        return await self.call(
            "/v1/twilio/inbound", {"MessageSid": sid, "From": phone, "To": "+15005550006", "Body": body}
        )

    async def write(self, body: str, phone: str = PHONE) -> str | None:
        """Have somebody write a message of its own, and return what Twilio is to answer."""
        assert await self.answer(body, f"SM{secrets.token_hex(16)}", phone) == 200
        found = ET.fromstring(self.said).find("Message")  # noqa: S314 - our own
        return None if found is None else found.text

    async def alert(self, user: str = "user1", phone: str = PHONE, message: str = "Disk full") -> Attempt:
        """Send a critical alert to somebody."""
        sent = attempt(phone, message, kind=Kind.ALERT_CRITICAL, recipient=user, alert=ALERT)
        await self.accept(sent)
        await self.provider.send(sent)
        return sent

    async def accept(self, attempted: Attempt) -> None:
        """Write an attempt's delivery to the ledger and claim it."""
        alert = AlertState.OPEN if attempted.notification.content.alert else None
        await self.context.ledger.accept(NewRecord(attempted.notification, [NewRow(attempted.delivery)], alert=alert))

    async def end(self, attempted: Attempt, how: Outcome) -> None:
        """Make the attempt end so in the ledger."""
        (claim,) = await self.context.ledger.claim([(attempted.notification.id, attempted.delivery.key)], timedelta(30))
        assert await self.context.ledger.finish(claim, how) == "finished"

    async def row(self, of: Attempt) -> TracedRow:
        """Read the delivery."""
        (row,) = [row async for row in Trace(self.context.store, self.context.keys).rows(of.notification.id)]
        return row

    async def alert_state(self, of: Attempt) -> tuple[AlertState | None, str | None]:
        """Read where an alert stands, and who has acknowledged it."""
        record = await Trace(self.context.store, self.context.keys).record(of.notification.id)
        assert record is not None
        return record.alert, record.acknowledged_by


def status_path(of: Attempt) -> str:
    return f"/v1/twilio/status?delivery={reference.write(of.notification.id, of.delivery.key)}"


@pytest.fixture
async def bench(box: Sandbox, store: EmptyStore) -> AsyncIterator[Bench]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = settings_for(box, redis_url=store.url, sms_callback_port=port, sms_callback_url=f"{url}/")
    async with open_context(settings, "sms") as context, aiohttp.ClientSession() as http:
        desk = Desk(context)
        (provider,) = guarded(desk.rules, build_providers(PROVIDERS, desk))
        made = Bench(context, provider, http, url, box.credentials.twilio_token)

        def publish(topic: str, payload: str) -> asyncio.Future[bool]:
            made.events.append((topic, json.loads(payload)))
            return asyncio.get_running_loop().create_future()

        context.publish = publish
        async with desk.serving(routes_of(PROVIDERS, desk)):
            yield made
        await provider.close()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("carillon_sms_confirmations_total", {"outcome": outcome}) or 0.0


async def test_twilio_is_told_where_to_call(box: Sandbox, bench: Bench) -> None:
    sent = attempt(recipient="user/1 ü")
    await bench.provider.send(sent)
    assert outbox(box)[0]["status_callback"] == f"{bench.url}{status_path(sent)}"


@pytest.mark.parametrize(
    ("statuses", "end"),
    [
        (["queued", "sent", "delivered"], "delivered"),
        (["delivered", "sent", "queued", "delivered"], "delivered"),
        (["sent", "undelivered"], "failed"),
        (["failed", "sent"], "failed"),
        # Sent twice, because the first time was in doubt.
        (["failed", "delivered", "failed"], "delivered"),
        (["sent", "something new"], "sent"),
    ],
)
async def test_callbacks_may_come_in_any_order_and_again(bench: Bench, statuses: list[str], end: str) -> None:
    sent = attempt(events=True)
    await bench.accept(sent)
    await bench.end(sent, Outcome(State.DELIVERED, provider="twilio", provider_id=SID))
    before = counted(end)
    for status in statuses:
        assert await bench.tell(sent, status, "30003" if status in ("failed", "undelivered") else None) == 204
    row = await bench.row(sent)
    assert row.state is State.DELIVERED
    assert row.confirmation is not None
    assert row.confirmation == Confirmation(end, "30003" if end == "failed" else "", SID, row.confirmation.at)
    assert counted(end) == before + 1
    told = [event for topic, event in bench.events if topic == f"notifications/events/{sent.notification.id}"]
    assert [event["confirmation"]["outcome"] for event in told][-1:] == ([end] if end != "sent" else [])
    assert len(told) == len({event["confirmation"]["outcome"] for event in told})


@pytest.mark.parametrize("code", ["30005", "30006"])
async def test_a_number_that_a_callback_calls_dead_is_suppressed(box: Sandbox, bench: Bench, code: str) -> None:
    sent = attempt()
    await bench.accept(sent)
    assert await bench.tell(sent, "undelivered", code) == 204
    ended = await outcome(bench.provider, attempt())
    assert isinstance(ended, DeliveryRefused)
    assert ended.reason is Reason.BOUNCED
    assert not outbox(box)


async def test_a_number_that_a_short_code_did_not_reach_is_kept(bench: Bench) -> None:
    sent = attempt()
    await bench.accept(sent)
    assert await bench.tell(sent, "undelivered", "30006", sender="12345") == 204
    assert isinstance(await outcome(bench.provider, attempt()), Receipt)


@pytest.mark.parametrize("code", ["30003", "30007", "30008"])
async def test_a_number_that_was_not_reached_once_is_kept(bench: Bench, code: str) -> None:
    sent = attempt()
    await bench.accept(sent)
    await bench.tell(sent, "undelivered", code)
    assert isinstance(await outcome(bench.provider, attempt()), Receipt)


async def test_a_delivery_in_doubt_is_settled_by_its_callback(box: Sandbox, bench: Bench) -> None:
    sent = attempt(in_doubt=True)
    await bench.accept(sent)
    doubt = Outcome(State.PENDING, Reason.TIMEOUT, timedelta(minutes=2), in_doubt=True, word=AttemptOutcome.UNKNOWN)
    await bench.end(sent, doubt)
    waiting = await bench.row(sent)
    await bench.tell(sent, "queued")
    settled = await bench.row(sent)
    # Due at once instead of in two minutes, and whoever takes it sends nothing.
    assert waiting.until - settled.until > timedelta(seconds=60)
    assert settled.state is State.PENDING
    (claim,) = await bench.context.ledger.claim([(sent.notification.id, sent.delivery.key)], timedelta(30))
    assert (claim.verdict, claim.in_doubt) == ("claimed", True)
    assert await outcome(bench.provider, sent) == Receipt(SID, "told by a callback")
    assert not outbox(box)


async def test_a_callback_about_a_delivery_that_is_not_in_doubt_moves_nothing(bench: Bench) -> None:
    sent = attempt()
    await bench.accept(sent)
    await bench.end(sent, Outcome(State.PENDING, Reason.RATE_LIMITED, timedelta(minutes=2), word=AttemptOutcome.RETRY))
    before = await bench.row(sent)
    await bench.tell(sent, "sent")
    assert (await bench.row(sent)).until == before.until


async def test_a_replayed_dead_letter_forgets_what_was_confirmed(bench: Bench) -> None:
    sent = attempt()
    await bench.accept(sent)
    await bench.end(sent, Outcome(State.DEAD_LETTERED, Reason.REJECTED))
    await bench.tell(sent, "failed", "30008")
    letters = DeadLetters(bench.context.store, bench.context.keys)
    wanted = Wanted(await letters.now(), notification_id=sent.notification.id)
    answers = [await letters.replay(entry) async for page in letters.pages(wanted) for entry in page]
    assert answers == [Answer.REOPENED]
    assert (await bench.row(sent)).confirmation is None


@pytest.mark.parametrize("path", ["status", "inbound"])
async def test_what_twilio_has_not_signed_is_refused(bench: Bench, path: str) -> None:
    sent, other = attempt(), attempt()
    await bench.accept(sent)
    form = {"MessageSid": SID, "MessageStatus": "delivered", "From": PHONE, "Body": "STOP"}
    right = status_path(sent) if path == "status" else "/v1/twilio/inbound"
    assert await bench.call(right, form, token="another") == 403
    assert await bench.call(right, form, signed=status_path(other)) == 403
    async with bench.http.post(f"{bench.url}{right}", data=form) as unsigned:
        assert unsigned.status == 403
    signature = RequestValidator(bench.token).compute_signature(f"{bench.url}{right}", form)
    changed = form | {"MessageStatus": "failed", "From": "+12025550199"}
    async with bench.http.post(
        f"{bench.url}{right}", data=changed, headers={"X-Twilio-Signature": signature}
    ) as answer:
        assert answer.status == 403
    assert (await bench.row(sent)).confirmation is None
    assert isinstance(await outcome(bench.provider, attempt()), Receipt)


async def test_a_body_has_a_bound(bench: Bench) -> None:
    assert await bench.answer("x" * 70_000) == 413


@pytest.mark.parametrize(
    "delivery", ["", "nonsense", "Lw", "a", reference.write("01893e4a-0000-7003-8000-000000000000", "sms:0")]
)
async def test_a_callback_about_nothing_changes_nothing(bench: Bench, delivery: str) -> None:
    path = f"/v1/twilio/status?delivery={delivery}"
    assert await bench.call(path, {"MessageSid": SID, "MessageStatus": "delivered"}) == 204
    assert await bench.call("/v1/twilio/status", {"MessageSid": "?", "MessageStatus": "delivered"}) == 204


async def test_stop_holds_until_start(bench: Bench) -> None:
    assert await bench.answer(" Stop ", "SM" + "1" * 32) == 200
    ended = await outcome(bench.provider, attempt())
    assert isinstance(ended, DeliveryRefused)
    assert ended.reason is Reason.OPTED_OUT
    assert isinstance(await outcome(bench.provider, attempt(to="+12025550124")), Receipt)
    assert await bench.answer("START", "SM" + "2" * 32) == 200
    # An old message that comes again means nothing any more.
    assert await bench.answer(" Stop ", "SM" + "1" * 32) == 200
    assert isinstance(await outcome(bench.provider, attempt()), Receipt)


TAKEN = (AlertState.ACKNOWLEDGED, "user1")
OPEN = (AlertState.OPEN, None)


async def test_an_alert_says_how_it_is_answered_and_each_has_its_own_number(box: Sandbox, bench: Bench) -> None:
    first = await bench.alert()
    await bench.alert(message="Link down")
    await bench.provider.send(first)
    await bench.alert(phone="+12025550124")
    assert [entry["body"] for entry in outbox(box)] == [
        "[CRITICAL] Disk full\nReply ACK 1",
        "[CRITICAL] Link down\nReply ACK 2",
        "[CRITICAL] Disk full\nReply ACK 1",
        "[CRITICAL] Disk full\nReply ACK 1",
    ]


async def test_what_nobody_has_to_acknowledge_says_nothing_of_answers(box: Sandbox, bench: Bench) -> None:
    warning = AlertDetails(type="disk", level="warning")
    for sent in (attempt(recipient="user1", kind=Kind.REALTIME_USER, message="Hello"),
                 attempt(recipient="user1", kind=Kind.ALERT_WARNING, message="Disk fills", alert=warning)):  # fmt: skip
        await bench.provider.send(sent)
    assert [entry["body"] for entry in outbox(box)] == ["Hello", "[WARNING] Disk fills"]


@pytest.mark.parametrize("body", ["ack on my way", "ok", "Yes", "\N{THUMBS UP SIGN}", "ACK 1", "1"])
async def test_one_open_alert_is_taken_with_or_without_its_number(bench: Bench, body: str) -> None:
    sent = await bench.alert()
    assert await bench.write(body) is None
    assert await bench.alert_state(sent) == TAKEN


async def test_of_several_the_number_says_which(bench: Bench) -> None:
    alerts = [await bench.alert() for _ in range(3)]
    assert await bench.write("ack") == "3 alerts are open. Which one? Reply ACK 3, ACK 2 or ACK 1."
    assert [await bench.alert_state(each) for each in alerts] == [OPEN, OPEN, OPEN]
    assert await bench.write("2") is None
    assert [await bench.alert_state(each) for each in alerts] == [OPEN, TAKEN, OPEN]
    assert await bench.write("ack 2") == "Alert 2 is acknowledged already."
    await bench.context.ledger.alerts.resolve(alerts[0].notification.id)
    # One is left.
    assert await bench.write("ok") is None
    assert await bench.alert_state(alerts[2]) == TAKEN
    assert await bench.write("ok") == "No alert that was sent to this number is open."


async def test_the_same_message_again_takes_no_other_alert_and_is_not_answered_again(bench: Bench) -> None:
    alerts = [await bench.alert() for _ in range(2)]
    await bench.answer("which?")
    assert "<Message>" in bench.said
    await bench.answer("which?")
    assert "<Message>" not in bench.said
    await bench.context.ledger.alerts.resolve(alerts[1].notification.id)
    for _ in range(2):
        await bench.answer("ack on my way", "SM" + "1" * 32)
    later = await bench.alert()
    await bench.answer("ack on my way", "SM" + "1" * 32)
    assert [await bench.alert_state(each) for each in (alerts[0], later)] == [TAKEN, OPEN]


async def test_an_alert_that_several_people_got_at_one_number_is_one(bench: Bench) -> None:
    sent = attempt(kind=Kind.ALERT_CRITICAL, recipient="user1", alert=ALERT)
    other = replace(sent, delivery=sent.delivery.model_copy(update={"key": "sms:user2", "recipient": "user2"}))
    rows = [NewRow(each.delivery) for each in (sent, other)]
    await bench.context.ledger.accept(NewRecord(sent.notification, rows, alert=AlertState.OPEN))
    for each in (sent, other):
        await bench.provider.send(each)
    assert await bench.write("ack") is None
    assert (await bench.alert_state(sent))[0] is AlertState.ACKNOWLEDGED


async def test_an_alert_that_cannot_be_taken_is_not_said_to_be(bench: Bench) -> None:
    sent = await bench.alert()
    # The ledger knows of another person alone.
    stranger = replace(sent, delivery=sent.delivery.model_copy(update={"key": "sms:user2", "recipient": "user2"}))
    await bench.provider.send(stranger)
    assert await bench.write("ack 2") == "This alert cannot be taken by SMS."
    assert await bench.alert_state(sent) == OPEN


async def test_an_auto_responder_gets_one_answer_and_a_stranger_none(bench: Bench) -> None:
    driving = "I am driving and will answer later."
    assert await bench.write(driving) is None
    await bench.provider.send(attempt(message="Your code is 1234"))
    # Who got other messages than alerts has nothing to answer.
    assert await bench.write(driving) is None
    sent = await bench.alert()
    assert await bench.write(driving) == "Reply ACK 1 to take an alert. STOP ends all messages."
    assert [await bench.write(driving) for _ in range(20)] == [None] * 20
    assert await bench.alert_state(sent) == OPEN


async def test_questions_back_are_few(bench: Bench) -> None:
    for _ in range(2):
        await bench.alert()
    answers = [await bench.write("ok") for _ in range(20)]
    assert [bool(answer) for answer in answers] == [True] * QUESTIONS_MOST + [False] * (20 - QUESTIONS_MOST)


async def test_what_twilio_answers_itself_we_do_not(bench: Bench) -> None:
    await bench.alert()
    assert [await bench.write(word) for word in ("HELP", "STOP", "hello", "ack 9", "START")] == [None] * 5


async def test_a_word_that_asks_for_silence_goes_before_everything(bench: Bench) -> None:
    sent = await bench.alert()
    for word, start in (("REVOKE", "START"), ("OPTOUT", "YES"), ("opt out", "unstop")):
        assert await bench.write(word) is None
        ended = await outcome(bench.provider, attempt())
        assert isinstance(ended, DeliveryRefused)
        assert ended.reason is Reason.OPTED_OUT
        # To whoever said STOP, YES means that messages are wanted again, and takes nothing.
        assert await bench.write(start) is None
        assert isinstance(await outcome(bench.provider, attempt()), Receipt)
        assert await bench.alert_state(sent) == OPEN
    assert await bench.write("YES") is None
    assert await bench.alert_state(sent) == TAKEN


async def test_what_an_older_release_has_sent_is_taken_as_it_promised(bench: Bench) -> None:
    alerts = [await bench.alert() for _ in range(2)]
    base = number_key(bench.context.keys, PHONE)
    await bench.context.store.command("DEL", f"{base}:alert_numbers")
    assert await bench.write("ack") is None
    assert [await bench.alert_state(each) for each in alerts] == [OPEN, TAKEN]


async def test_numbers_are_not_used_again_soon_and_never_twice_at_once(bench: Bench) -> None:
    base = number_key(bench.context.keys, PHONE)
    alerts = SentAlerts(bench.context.store, bench.context.keys, bench.context.ledger, 3600)
    address = PhoneNumber(phone=PHONE)
    given = []
    for _ in range(ALERTS_KEPT + HIGHEST_NUMBER):
        sent = attempt(kind=Kind.ALERT_CRITICAL, recipient="user1", alert=ALERT)
        given.append(await alerts.number_for(sent, address))
    # They go round, so that the answer to an old message does not take a later alert.
    assert given == [n % HIGHEST_NUMBER + 1 for n in range(ALERTS_KEPT + HIGHEST_NUMBER)]
    numbers = await bench.context.store.command("HLEN", f"{base}:alert_numbers")
    assert (numbers, await bench.context.store.command("ZCARD", f"{base}:alerts")) == (ALERTS_KEPT + 1, ALERTS_KEPT)


async def test_no_number_and_no_text_stands_in_a_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    sent = attempt()
    await bench.accept(sent)
    await bench.tell(sent, "undelivered", "30005")
    await bench.answer("planted7secret")
    await bench.call("/v1/twilio/inbound", {"From": PHONE, "Body": "planted7secret"}, token="another")
    shown = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "confirmation" in shown
    for secret in ("planted7secret", PHONE.removeprefix("+"), bench.token):
        assert secret not in shown
