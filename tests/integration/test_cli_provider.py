"""``carillon provider`` against a running system: what is paused waits, and goes on when it is resumed."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.delivery.by_hand import Target
from tests.command_line import CommandLine, running_system
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_store, pytest.mark.asyncio(loop_scope="module")]

REASON = ("--reason", "the relay is moved")
BY = ("--by", "ops")


@dataclass
class Running:
    """A system with email, and its command line."""

    stack: Stack
    command: CommandLine
    system: System

    async def send(self, priority: str = "normal") -> str:
        """Publish a mail and return to whom."""
        to = f"user-{uuid.uuid4().hex[:10]}@example.com"
        mail = {"to": to, "subject": "Hello", "body": "Good morning.", "priority": priority}
        receipt = await self.system.publish("notifications/email/send", mail)
        assert receipt.status == "accepted"
        self.ids[to] = receipt.notification_id or ""
        return to

    def __post_init__(self) -> None:
        self.ids: dict[str, str] = {}

    async def row(self, to: str) -> dict[str, Any]:
        """Return the only row of what was sent there, as ``carillon trace`` shows it."""
        trace = await self.command("trace", self.ids[to], "--json")
        (row,) = trace.json["deliveries"]
        found: dict[str, Any] = row
        return found

    async def waits(self, to: str) -> bool:
        row = await self.row(to)
        return (row["state"], row["reason"]) == ("pending", "paused")

    async def paused(self, provider: str) -> float | None:
        """Return what the email service says of a provider."""
        async with self.system.http.get(f"{self.stack.ops_url('email')}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith("carillon_provider_paused_by_hand{") and f'provider="{provider}"' in line:
                    return float(line.rpartition(" ")[2])
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    data = tmp_path_factory.mktemp("provider")
    async with running_system(data, "router", "email") as (stack, command), open_system(stack) as system:
        yield Running(stack, command, system)


@pytest_asyncio.fixture(loop_scope="module")
async def running(started: Running) -> AsyncIterator[Running]:
    yield started
    for pause in (await started.command("provider", "list", "--json")).json["paused"]:
        target = Target.read("/".join(filter(None, (pause["channel"], pause["provider"]))))
        assert (await started.command("provider", "resume", str(target), *BY)).status == 0
    await eventually(lambda: is_not_paused(started))


async def is_not_paused(running: Running) -> bool:
    return await running.paused("smtp") == 0


async def pause(running: Running, *arguments: str) -> None:
    ran = await running.command("provider", "pause", *arguments, *REASON, *BY)
    assert (ran.status, ran.err) == (0, "")

    async def is_known() -> bool:
        return await running.paused("smtp") == 1

    await eventually(is_known, what="the service obeys")


async def test_mail_waits_while_email_is_paused_and_comes_when_it_is_resumed(running: Running) -> None:
    before = await running.send()
    await running.system.arrived(to=before)
    await pause(running, "email", "--for", "2h")
    waiting = [await running.send(), await running.send("critical")]
    for to in waiting:
        await eventually(lambda to=to: running.waits(to), what="the row waits")  # type: ignore[misc]
    row = await running.row(waiting[0])
    assert row["attempts_made"] == 0
    assert [(each["outcome"], each["reason"]) for each in row["attempts"]] == [("paused", "paused")]
    assert await running.system.sandbox.outbox(to=waiting[0]) == []

    async def is_well() -> bool:
        [smtp] = (await running.command("provider", "list", "--json")).json["providers"]
        assert (smtp["channel"], smtp["provider"], smtp["paused_by_hand"]) == ("email", "smtp", True)
        return bool(smtp["state"] == "well")

    await eventually(is_well, 30, "what the process says")
    [entry] = (await running.command("provider", "list", "--json")).json["paused"]
    heads, channel, provider = (await running.command("provider", "list")).out.splitlines()
    assert heads.split() == ["target", "by", "hand", "until", "by", "why", "health"]
    assert channel.split()[:2] == ["email", "paused"]
    assert " ops  the relay is moved  -" in channel
    assert provider.split()[:3] == ["email/smtp", "with", "email"]
    assert provider.endswith(" well")
    since, until = (datetime.fromisoformat(entry.pop(name)) for name in ("since", "until"))
    assert until - since == timedelta(hours=2)
    assert entry == {
        "channel": "email", "provider": None, "kind": "pause", "reason": "the relay is moved", "by": "ops",
    }  # fmt: skip

    ran = await running.command("provider", "resume", "email", *BY)
    assert (ran.status, ran.out) == (0, "email  resumed\n")
    await asyncio.gather(*(running.system.arrived(to=to) for to in waiting))
    _, provider = (await running.command("provider", "list")).out.splitlines()
    assert provider.split() == ["email/smtp", "-", "-", "-", "-", "well"]


async def test_a_pause_ends_by_itself(running: Running) -> None:
    await pause(running, "email/smtp", "--for", "2h")
    waiting = await running.send()
    await eventually(lambda: running.waits(waiting), what="the row waits")
    [first] = (await running.command("provider", "list", "--json")).json["paused"]
    again = await running.command("provider", "pause", "email/smtp", "--for", "1s", *REASON, *BY, "--json")
    assert again.json["since"] == first["since"]
    await running.system.arrived(to=waiting)
    await eventually(lambda: is_not_paused(running))
    assert (await running.command("provider", "list", "--json")).json["paused"] == []


async def test_where_nobody_is_logged_in_the_pods_own_name_stands_in_the_list(running: Running) -> None:
    nobody = {"USER": "", "CARILLON_CLIENT_ID": "console"}
    ran = await running.command("provider", "pause", "sms", *REASON, "--json", settings=nobody)
    assert ran.json["by"] == "console"
    assert (await running.command("provider", "resume", "sms", settings=nobody)).status == 0
    ran = await running.command("provider", "pause", "sms", *REASON, settings={"USER": ""})
    assert (ran.status, "nobody is logged in" in ran.error_line) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("pause", "mail", *REASON), 2, "TARGET: there is no channel 'mail'; there are email, sms, push"),
        (("pause", "realtime", *REASON), 2, "TARGET: realtime has no provider to pause: its deliveries go into the"),
        (("pause", "email/", *REASON), 2, "TARGET: 'email/' names no provider; write CHANNEL or CHANNEL/PROVIDER"),
        (("pause", "email"), 2, "Missing option '--reason'"),
        (("pause", "email", "--reason", " "), 2, "email: the reason is needed"),
        (("pause", "email", *REASON, "--for", "32d"), 2, "email: the end must be in the future, and at most 31 days"),
        (("pause", "email", *REASON, "--until", "2020-01-01T00:00:00Z"), 2, "email: the end must be in the future"),
        (("pause", "email", *REASON, "--until", "soon"), 2, "--until: must be epoch seconds or RFC 3339 with a zone"),
        (("pause", "email", *REASON, "--for", "1h", "--until", "2099-01-01T00:00:00Z"), 2, "give one of them"),
        (("resume", "email"), 1, "email is not paused; nothing is"),
    ],
)
async def test_what_cannot_be_is_refused(running: Running, arguments: tuple[str, ...], status: int, said: str) -> None:
    ran = await running.command("provider", *arguments, *BY)
    assert ran.status == status
    assert said in ran.error_line
