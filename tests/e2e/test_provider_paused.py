"""Providers that are paused by hand while everything runs: who gets what by another way, and what waits."""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session

from carillon.local.stack import Stack
from sandbox.authority import server_context
from sandbox.credentials import prepare
from shared.delivery.by_hand import ByHand, Target
from shared.delivery.pause_watch import LOOKS_PER_S
from shared.delivery.standing import ProviderState
from shared.ledger.rows import RowStatus
from shared.runtime.alive import Processes
from shared.store.keys import SHARDS, Keys
from shared.store.replies import pairs
from shared.store.store import Store
from shared.store.until_stored import until_stored
from tests.command_line import CommandLine
from tests.smtp import PasswordRelay
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="module")]

CHANNELS = ("email", "sms", "push")
MANY = 3_000
_OLDEST = 'carillon_oldest_open_delivery_age_seconds{channel="email"}'
# For what is no figure: the machine of the tests is busy.
PATIENCE_S = 60.0


@dataclass
class Relay(PasswordRelay):
    """The preferred relay; it takes a mail when its door is open."""

    door: asyncio.Event = field(default_factory=asyncio.Event)
    at_the_door: int = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.at_the_door += 1
        await self.door.wait()
        self.at_the_door -= 1
        return await super().handle_DATA(server, session, envelope)


@dataclass
class Running:
    """A system of two relays, of which the second is the sandbox's, and of the sandbox's SMS and push."""

    stack: Stack
    system: System
    command: CommandLine
    hand: ByHand
    store: Store
    relay: Relay

    async def pause(self, *targets: str) -> None:
        """Pause, and wait until every process obeys."""
        for target in targets:
            await self.hand.pause(Target.read(target), reason="a test", by="ops")
        await eventually(lambda: self.obeys(targets), PATIENCE_S, "every process obeys")

    async def resume(self, *targets: str) -> None:
        for target in targets:
            assert await self.hand.resume(Target.read(target), by="ops") is not None

    async def obeys(self, targets: tuple[str, ...]) -> bool:
        """Tell whether every living process says that exactly these are paused."""
        processes = await Processes(self.store, Keys()).of(CHANNELS)
        said = {
            f"{channel}/{standing.provider}": standing.is_paused_by_hand
            for channel in CHANNELS
            for process in processes[channel]
            if process.is_alive
            for standing in process.standings
        }
        wanted = {name: name in targets or name.partition("/")[0] in targets for name in said}
        return bool(said) and said == wanted

    async def are_well(self, *providers: str) -> bool:
        """Tell whether the email service says that these are well."""
        processes = (await Processes(self.store, Keys()).of(["email"]))["email"]
        states = {each.provider: each.state for process in processes for each in process.standings}
        return all(states.get(provider) is ProviderState.WELL for provider in providers)

    async def oldest_s(self) -> float:
        """Return since when the oldest mail waits, as the router says."""
        async with self.system.http.get(f"{self.stack.ops_url('router')}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        (found,) = [each for each in lines if each.startswith(_OLDEST)]
        return float(found.rpartition(" ")[2])

    async def mail(self, priority: str = "normal", **more: Any) -> tuple[str, str]:
        """Publish a mail, and return to whom it goes and the notification's id."""
        to = f"user-{uuid.uuid4().hex[:10]}@example.com"
        mail = {"to": to, "subject": "Hello", "body": "Good morning.", "priority": priority, **more}
        return to, await self.published("notifications/email/send", mail)

    async def published(self, topic: str, payload: dict[str, Any]) -> str:
        receipt = await self.system.publish(topic, payload)
        assert receipt.status == "accepted"
        return receipt.notification_id or ""

    async def rows(self, notification_id: str) -> list[RowStatus]:
        """Return how the rows of a notification stand in the store."""
        base = Keys().shard_of(notification_id)
        found = pairs(await self.store.command("HGETALL", f"{base}:n:{notification_id}"))
        read = [RowStatus.read(text.decode()) for name, text in found if name.startswith(b"s:")]
        return [row for row in read if row is not None and row.lane in CHANNELS]

    async def stands(self, notification_id: str, state: str, reason: str) -> bool:
        return {(row.state, row.reason) for row in await self.rows(notification_id)} == {(state, reason)}

    async def waits(self, *notification_ids: str) -> None:
        for each in notification_ids:
            await eventually(lambda each=each: self.stands(each, "pending", "paused"), PATIENCE_S, "it waits")  # type: ignore[misc]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    data = tmp_path_factory.mktemp("paused")
    credentials = prepare(data / "relay")
    relay = Relay()
    await relay.start(server_context(credentials.ca_key_file, credentials.ca_file, "127.0.0.1"))
    stack = Stack(data, services=("router", *CHANNELS), settings={"EMAIL_CA_FILE": str(credentials.ca_file)})
    urls = f"{relay.url},smtp://127.0.0.1:{stack.ports.smtp}?tls=none"
    stack = Stack(
        data, ports=stack.ports, services=("router", *CHANNELS),
        settings={"EMAIL_CA_FILE": str(credentials.ca_file), "EMAIL_SMTP_URL": urls},
    )  # fmt: skip
    await stack.start()
    try:
        async with open_system(stack) as system, Store(stack.store.url) as store:
            yield Running(stack, system, CommandLine(stack.data), ByHand(store, Keys()), store, relay)
    finally:
        await stack.stop()
        await relay.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def running(started: Running) -> AsyncIterator[Running]:
    started.relay.door.set()
    yield started
    started.relay.door.set()
    for pause in await started.hand.paused():
        await started.hand.resume(pause.target, by="ops")
    await eventually(lambda: started.obeys(()), PATIENCE_S, "nothing is paused")


def taken(relay: Relay, to: str) -> Callable[[], bool]:
    return lambda: relay.recipients[to] == 1


async def test_mails_go_through_the_other_relay_while_one_is_paused(running: Running) -> None:
    first, _ = await running.mail()
    await eventually(taken(running.relay, first), PATIENCE_S)
    # While it is paused nobody asks it.
    await eventually(lambda: running.are_well("smtp"), PATIENCE_S, "it is well")
    await running.pause("email/smtp")
    arrived = len(running.relay.mails)
    for priority in ("normal", "critical"):
        to, _ = await running.mail(priority)
        await running.system.arrived(to=to, within_s=PATIENCE_S)
    assert len(running.relay.mails) == arrived
    # That nobody asks it says nothing about how it is.
    await eventually(lambda: running.are_well("smtp", "smtp-2"), PATIENCE_S, "both are well")
    await running.resume("email/smtp")
    await eventually(lambda: running.obeys(()), PATIENCE_S)
    last, _ = await running.mail()
    await eventually(taken(running.relay, last), PATIENCE_S)


async def test_a_drain_says_when_nothing_is_under_way_any_more(running: Running) -> None:
    running.relay.door.clear()
    to, _ = await running.mail()
    await eventually(lambda: running.relay.at_the_door == 1, PATIENCE_S)
    arguments = ("provider", "drain", "email/smtp", "--reason", "a test", "--by", "ops")
    ran = await running.command(*arguments, "--timeout", "8s")
    assert ran.status == 1
    assert "but 1 attempts are known to be under way after 8 s; waited for processes on " in ran.error_line
    assert running.relay.at_the_door == 1
    running.relay.door.set()
    ran = await running.command(*arguments)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("email/smtp  drained: nothing is under way; paused until ")
    # What was under way went on to its end.
    assert running.relay.recipients[to] == 1
    other, _ = await running.mail()
    await running.system.arrived(to=other, within_s=PATIENCE_S)
    assert running.relay.recipients[other] == 0


async def test_a_provider_that_no_process_knows_is_refused_with_those_that_there_are(running: Running) -> None:
    await eventually(lambda: running.obeys(()), PATIENCE_S)
    ran = await running.command("provider", "pause", "email/smpt", "--reason", "a test", "--by", "ops")
    assert ran.status == 2
    assert "TARGET: there is no email/smpt; there are email/smtp, email/smtp-2" in ran.error_line
    assert await running.hand.paused() == []


async def test_pushes_to_android_go_on_while_those_to_ios_are_paused(running: Running) -> None:
    await running.pause("push/apns")
    ios, android = secrets.token_hex(32), secrets.token_urlsafe(24)
    devices = [{"platform": "ios", "token": ios}, {"platform": "android", "token": android}]
    user = await running.system.person(devices=devices)
    push = {"user_id": user, "message": "Good morning.", "priority": "critical"}
    waiting = await running.published("notifications/push/mobile/ios", push)
    await running.published("notifications/push/mobile/android", push)
    await running.system.arrived(to=android, within_s=PATIENCE_S)
    await running.waits(waiting)
    assert await running.system.sandbox.outbox(to=ios) == []
    await running.resume("push/apns")
    await running.system.arrived(to=ios, within_s=PATIENCE_S)


async def test_an_sms_waits_and_expires_at_its_deadline(running: Running) -> None:
    await running.pause("sms")
    phones = [f"+1202555{uuid.uuid4().int % 10_000:04}" for _ in range(2)]
    sms = {"message": "Good morning.", "priority": "critical"}
    kept = await running.published("notifications/sms/send", {**sms, "phone": phones[0]})
    late = await running.published("notifications/sms/send", {**sms, "phone": phones[1], "ttl_s": 2})
    await running.waits(kept)
    await eventually(lambda: running.stands(late, "expired", "expired"), PATIENCE_S, "the deadline")
    await running.resume("sms")
    await running.system.arrived(to=phones[0], within_s=PATIENCE_S)
    assert await running.system.sandbox.outbox(to=phones[1]) == []


async def test_a_pause_outlives_its_processes_and_a_restart_of_the_store(running: Running) -> None:
    await running.pause("email")
    await running.stack.kill("email")
    to, waiting = await running.mail()
    await running.stack.start_service("email")
    # It has read what is paused before it takes anything.
    await running.waits(waiting)
    await running.stack.kill("store")
    await running.stack.store.start()
    await until_stored(running.store.ping)
    await running.stack.kill("email")
    await running.stack.start_service("email")
    critical, another = await running.mail("critical")
    await running.waits(waiting, another)
    assert running.relay.recipients[to] + running.relay.recipients[critical] == 0
    await running.resume("email")
    await eventually(taken(running.relay, to), PATIENCE_S)
    await eventually(taken(running.relay, critical), PATIENCE_S)


async def test_thousands_that_wait_look_a_few_times_a_second_and_go_on_at_a_pace(running: Running) -> None:
    await running.pause("email")
    for first in range(0, MANY, 1000):
        mails = [
            {"to": f"many{number}@example.com", "subject": "Hello", "body": "Good morning."}
            for number in range(first, first + 1000)
        ]
        await running.published("notifications/email/batch", {"emails": mails})

    async def looks(reason: str = "paused") -> tuple[int, int]:
        """Return how many rows wait, and how often all of them have been looked at."""
        rows = [row for each in await everything(running.store) for row in await running.rows(each)]
        waiting = [row for row in rows if row.lane == "email" and (row.state, row.reason) == ("pending", reason)]
        return len(waiting), sum(row.token for row in waiting)

    async def all_wait() -> bool:
        return (await looks())[0] >= MANY

    await eventually(all_wait, 100, "all wait")
    began_s, (_, before) = time.monotonic(), await looks()
    # A measurement, not a guess: whatever the time turns out to be, it is divided by.
    await asyncio.sleep(5)
    _, after = await looks()
    per_s = (after - before) / (time.monotonic() - began_s)
    print(f"{per_s:.1f} looks a second of {MANY} that wait")  # noqa: T201
    assert per_s <= 2 * LOOKS_PER_S
    # It is seen that a channel stands still (CarillonDeliveriesWait), however often they look.

    async def is_seen() -> bool:
        return await running.oldest_s() >= 5

    await eventually(is_seen, PATIENCE_S, "how old the oldest is")

    arrived = len(running.relay.mails)
    resumed_s = time.monotonic()
    await running.resume("email")
    await eventually(lambda: len(running.relay.mails) >= arrived + 300, PATIENCE_S, "the first of them")
    print(f"300 within {time.monotonic() - resumed_s:.1f} s of the resumption")  # noqa: T201


async def everything(store: Store) -> list[str]:
    """Return the ids of all that is open on the email lane."""
    found: set[str] = set()
    for shard in range(SHARDS):
        members = await store.command("ZRANGE", f"{Keys().shard(shard)}:due:email", 0, -1)
        found |= {member.decode().partition("|")[0] for member in members}
    return sorted(found)
