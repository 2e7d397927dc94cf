"""Who cannot be reached is not waited for: when every channel of a level has failed, the next level is told at once."""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.ledger.incidents import Entry, Incidents
from shared.store.keys import Keys
from shared.store.store import Store
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

# So soon after the last failure the next level is told.
_WITHIN_S = 5.0
_LEVELS = [{"notify": ["oncall"]}, {"after": "1h", "notify": ["oncall:second"]}]


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="session")
async def incidents(stack: Stack) -> AsyncIterator[Incidents]:
    async with Store(stack.environment["REDIS_URL"]) as store:
        yield Incidents(store, Keys())


@dataclass(frozen=True)
class Team:
    """Two who are on call, one after the other, and what alerts call them."""

    alert_type: str
    first: str
    second: str
    phone: str
    devices: tuple[str, str]

    def mail(self, place: str) -> str:
        """The address of one of them."""
        return f"{place}-{self.alert_type}@example.com"


async def team(system: System) -> Team:
    alert_type = f"dead-{uuid.uuid4().hex[:8]}"
    phone, devices = f"+1202555{uuid.uuid4().int % 10_000:04}", (secrets.token_hex(32), secrets.token_urlsafe(24))
    known = [{"platform": "ios", "token": devices[0]}, {"platform": "android", "token": devices[1]}]
    first = await system.person("first", email=f"first-{alert_type}@example.com", phone=phone, devices=known)
    second = await system.person("second", email=f"second-{alert_type}@example.com")
    await system.publish(f"directory/policy/{alert_type}", {"levels": _LEVELS})
    layers = [{"users": [each], "rotation": "weekly", "start": "2026-01-05"} for each in (first, second)]
    await system.publish(f"directory/oncall/{alert_type}", {"layers": layers, "policy": alert_type})
    return Team(alert_type, first, second, phone, devices)


async def raised(system: System, team: Team) -> str:
    receipt = await system.publish(f"notifications/alerts/critical/{team.alert_type}", {"message": "The disk is full."})
    return str(receipt.alert_id)


async def cut_off(system: System, team: Team) -> None:
    """Let mail and devices of the first one be dead."""
    refused = {"reply": "550 5.1.1 No such mailbox", "at": "rcpt"}
    await system.sandbox.play("smtp", refused, to=team.mail("first"), times=None)
    await system.sandbox.play("apns", {"status": 410, "code": "Unregistered"}, to=team.devices[0], times=None)
    await system.sandbox.play("fcm", {"status": 404, "code": "UNREGISTERED"}, to=team.devices[1], times=None)


@asynccontextmanager
async def others_are_reached(system: System) -> AsyncIterator[None]:
    """Send to others all the while: only what they are told shows that a refusal is about one address."""

    async def send() -> None:
        while True:
            for topic, to in (
                ("email/send", {"to": f"other-{uuid.uuid4().hex}@example.com", "subject": "Hello", "body": "Hello"}),
                ("push/mobile/ios", {"tokens": [secrets.token_hex(32)], "message": "Hello"}),
                ("push/mobile/android", {"tokens": [secrets.token_urlsafe(24)], "message": "Hello"}),
            ):
                await system.publish(f"notifications/{topic}", to)
            await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(send(), name="others")
        try:
            yield
        finally:
            sending.cancel()


async def second_told(incidents: Incidents, incident: str) -> list[Entry]:
    """Wait until the second level is told, and return the timeline."""

    async def told() -> list[Entry] | None:
        timeline = await incidents.timeline(incident)
        return timeline if any(entry.said.get("level") == "1" and entry.what == "told" for entry in timeline) else None

    found: list[Entry] = await eventually(told, 30, "the second level told")
    return found


def at(timeline: list[Entry], what: str, **said: str) -> datetime:
    (found,) = [
        entry
        for entry in timeline
        if entry.what == what and all(str(entry.said.get(name, "")) == value for name, value in said.items())
    ]
    return found.at


async def test_the_next_level_is_told_when_mail_sms_and_devices_of_the_first_one_are_dead(
    system: System, incidents: Incidents
) -> None:
    dead = await team(system)
    await cut_off(system, dead)
    # 21610: this number has unsubscribed; Twilio takes no message for it.
    await system.sandbox.play("twilio", {"status": 400, "code": 21610}, to=dead.phone, times=None)
    async with others_are_reached(system):
        incident = await raised(system, dead)
        timeline = await second_told(incidents, incident)
    # The first word on each: a refusal counts before it is known whose fault it is.
    words = [entry for entry in timeline if entry.what in ("refused", "failed", "suppressed")]
    first = {entry.said["key"]: entry for entry in reversed(words) if entry.at <= at(timeline, "told", level="1")}
    failed = list(first.values())
    assert {entry.channel for entry in failed} == {"email", "sms", "push"}
    assert len(failed) == 4
    assert {entry.recipient for entry in failed} == {dead.first}
    last, escalates = max(entry.at for entry in failed), at(timeline, "escalates", reason="evidence")
    told = at(timeline, "told", level="1")
    assert last <= escalates <= told
    assert (told - last).total_seconds() < _WITHIN_S
    (mail,) = await system.arrived(1, to=dead.mail("second"))
    assert (datetime.fromisoformat(mail["at"]) - last).total_seconds() < _WITHIN_S


async def test_an_sms_that_was_taken_and_comes_to_nothing_is_evidence_too(system: System, incidents: Incidents) -> None:
    dead = await team(system)
    await cut_off(system, dead)
    await system.sandbox.play("twilio", {"callback": "undelivered", "code": 30005}, to=dead.phone, times=None)
    async with others_are_reached(system):
        incident = await raised(system, dead)
        timeline = await second_told(incidents, incident)
    key = f"sms:{dead.first}"
    assert at(timeline, "delivered", key=key) <= at(timeline, "failed", key=key, reason="30005")
    last = max(entry.at for entry in timeline if entry.what == "failed")
    assert 0 <= (at(timeline, "told", level="1") - last).total_seconds() < _WITHIN_S
    (mail,) = await system.arrived(1, to=dead.mail("second"))
    assert (datetime.fromisoformat(mail["at"]) - last).total_seconds() < _WITHIN_S
