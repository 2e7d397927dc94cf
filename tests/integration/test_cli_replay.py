"""``carillon dead-letters replay`` and ``drop`` against a running system."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from carillon.publisher import Publisher, Refused
from shared.ledger.dead_letters import DeadLetters, Entry, Wanted
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine, running_system
from tests.others import is_others, others_get_mail
from tests.sandbox_client import SandboxClient
from tests.waiting import eventually

MAILS = 20
# Not 5.1.1: an address that does not exist is suppressed, and nothing goes there again.
REFUSED = {"reply": "550 5.7.1 not allowed", "at": "rcpt"}


@dataclass
class Outage:
    """A system with a publisher, whose mail relay can refuse some."""

    stack: Stack
    command: CommandLine
    publisher: Publisher
    relay: SandboxClient
    letters: DeadLetters

    async def dead_mails(self, name: str, count: int = 1) -> set[str]:
        """Publish mails that the relay refuses, and return their addresses when they are dead letters."""
        before = await self.listed()
        addresses = {f"{name}{number}@example.com" for number in range(count)}
        mails = [{"to": address, "subject": "Hello", "body": "secret-body"} for address in addresses]
        async with self.refusing(addresses):
            await self.publisher.publish("notifications/email/batch", {"emails": mails})
            await self.until_listed(before + count)
        return addresses

    async def dead_person(self, name: str) -> None:
        """Tell a person something urgent that the relay refuses."""
        before = await self.listed()
        await self.publisher.publish(f"directory/user/{name}", {"email": f"{name}@example.com"})
        async with self.refusing({f"{name}@example.com"}):
            await self.publisher.publish(
                f"notifications/realtime/user/{name}", {"message": "secret", "priority": "high"}
            )
            await self.until_listed(before + 1)

    @asynccontextmanager
    async def refusing(self, addresses: set[str]) -> AsyncIterator[None]:
        """Have the relay refuse these addresses and take mail to others."""
        for address in addresses:
            await self.relay.play("smtp", REFUSED, to=address, times=None)
        async with others_get_mail(self.stack.broker.url):
            yield
        await self.relay.clear()

    async def entries(self) -> list[Entry]:
        """Return what is on the list, the oldest first."""
        wanted = Wanted(await self.letters.now())
        return [entry async for page in self.letters.pages(wanted) for entry in page]

    async def listed(self) -> int:
        return len(await self.entries())

    async def until_listed(self, count: int) -> None:
        async def enough() -> bool:
            return await self.listed() == count

        await eventually(enough, within_s=30)

    async def arrived(self) -> Counter[str]:
        addresses = (entry["to"] for entry in await self.relay.outbox(channel="email"))
        return Counter(address for address in addresses if not is_others(address))

    async def ask(self, answer: str, *args: str) -> tuple[int, str]:
        """Run a command on a terminal, answer its question, and return its status and what it printed."""
        ours, theirs = os.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "carillon", *args),
                cwd=ROOT,
                env={**os.environ, "CARILLON_DATA": str(self.stack.data)},
                stdin=theirs,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            os.write(ours, answer.encode() + b"\n")
            out, _ = await process.communicate()
        finally:
            os.close(ours)
            os.close(theirs)
        return process.returncode or 0, out.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("replay"), "router", "email") as system:
        yield system


@pytest_asyncio.fixture
async def outage(running: tuple[Stack, CommandLine]) -> AsyncIterator[Outage]:
    stack, command = running
    relay = SandboxClient(stack.sandbox_url, stack.environment)
    async with Publisher(stack.broker.url) as publisher, Store(stack.store.url) as store:
        outage = Outage(stack, command, publisher, relay, DeadLetters(store, Keys()))
        yield outage
        await outage.letters.drop(await outage.entries())
    await relay.clear()


def documents(out: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    *each, last = map(json.loads, out.splitlines())
    return each, last


async def test_after_an_outage_every_mail_arrives_once_although_two_people_replay(outage: Outage) -> None:
    addresses = await outage.dead_mails("once", MAILS)
    replay = ("dead-letters", "replay", "--channel", "email", "--reason", "rejected", "--yes", "--json")
    runs = await asyncio.gather(outage.command(*replay), outage.command(*replay))
    sums = [documents(ran.out)[1] for ran in runs]
    assert sum(each["replayed"] for each in sums) == MAILS
    assert [ran.status for ran in runs] == [0, 0]

    async def all_there() -> bool:
        return (await outage.arrived()).keys() >= addresses

    await eventually(all_there, within_s=30)
    assert await outage.arrived() == Counter(addresses)
    assert "secret" not in "".join(ran.out + ran.err for ran in runs)
    audited = await outage.command("audit", "--deep", "--json")
    assert audited.status == 0
    assert audited.json["accounts"]["email"]["dead_lettered"] == 0


async def test_a_dry_run_says_what_would_happen_and_does_nothing(outage: Outage) -> None:
    await outage.dead_mails("dry", 2)
    ran = await outage.command("dead-letters", "replay", "--dry-run", "--limit", "1", "--json")
    (one,), total = documents(ran.out)
    assert (one["channel"], one["reason"], one["replay"]) == ("email", "rejected", "reopened")
    assert total == {"replayed": 1, "already": 0, "left": {}, "dry_run": True}
    assert await outage.listed() == 2


async def test_what_would_be_suppressed_is_counted_alike_by_the_dry_run_and_the_replay(outage: Outage) -> None:
    await outage.dead_mails("unwanted", 3)
    for number, reason in enumerate(("bounce", "complaint")):
        report = {"address": f"unwanted{number}@example.com", "reason": reason}
        await outage.publisher.publish("directory/suppress/email", report)
    replay = ("dead-letters", "replay", "--channel", "email", "--json")
    for options, dry_run in ((("--dry-run",), True), (("--yes",), False)):
        ran = await outage.command(*replay, *options)
        _, total = documents(ran.out)
        left = {"bounced": 1, "opted_out": 1}
        assert (ran.status, total) == (1, {"replayed": 1, "already": 0, "left": left, "dry_run": dry_run})
    assert await eventually(outage.arrived, within_s=30) == Counter({"unwanted2@example.com": 1})
    assert await outage.listed() == 2


async def test_nobody_is_told_of_an_alert_that_was_answered(outage: Outage) -> None:
    publish, address = outage.publisher.publish, {"email": "woken@example.com"}
    await publish("directory/user/woken", address)
    await publish("directory/oncall/answered", {"users": ["woken"]})
    async with outage.refusing(set(address.values())):
        told = await publish("notifications/alerts/critical/answered", {"message": "secret"})
        await outage.until_listed(1)
    await publish(f"notifications/alerts/acknowledge/{told.notification_id}", {"user_id": "woken"})
    replay = ("dead-letters", "replay", "--channel", "email", "--json")
    for options, dry_run in ((("--dry-run",), True), (("--yes",), False)):
        ran = await outage.command(*replay, *options)
        (one,), total = documents(ran.out)
        assert (ran.status, one["reason"], one["replay"]) == (1, "rejected", "acknowledged")
        assert total == {"replayed": 0, "already": 0, "left": {"acknowledged": 1}, "dry_run": dry_run}
    assert await outage.listed() == 1


async def test_people_are_asked_again_and_their_new_addresses_used(outage: Outage) -> None:
    for name in ("moved", "silent", "left"):
        await outage.dead_person(name)
    publish = outage.publisher.publish
    await publish("directory/user/moved", {"email": "moved-away@example.com"})
    await publish("directory/user/silent", {"email": "silent@example.com", "preferences": {"email": False}})
    await publish("directory/user/left", b"")
    ran = await outage.command("dead-letters", "replay", "--channel", "email", "--yes")
    assert ran.status == 1
    *left, total = ran.out.splitlines()
    assert total == "1 replayed"
    assert sorted(line.split("  ")[0] for line in left) == [
        "left dead (preference_off)",
        "left dead (unknown_recipient)",
    ]
    assert "2 (" in ran.error_line

    assert await eventually(outage.arrived, within_s=30) == Counter({"moved-away@example.com": 1})
    assert await outage.listed() == 2


async def test_one_notification_is_replayed_and_the_others_are_left(outage: Outage) -> None:
    await outage.dead_mails("single")
    await outage.dead_mails("other")
    chosen = (await outage.entries())[0].notification_id
    ran = await outage.command("dead-letters", "replay", "--notification-id", chosen, "--extend", "1h", "--yes")
    assert (ran.status, ran.out) == (0, "1 replayed\n")
    assert await eventually(outage.arrived, within_s=30) == Counter({"single0@example.com": 1})
    assert await outage.listed() == 1


async def test_refused_publishes_can_be_dropped_and_not_replayed(outage: Outage) -> None:
    with pytest.raises(Refused):
        await outage.publisher.publish("notifications/realtime/user/user123", {"text": "secret"})
    replayed = await outage.command("dead-letters", "replay", "--channel", "intake", "--yes")
    assert replayed.status == 2
    assert "publish them again" in replayed.error_line
    dropped = await outage.command("dead-letters", "drop", "--channel", "intake", "--yes", "--json")
    assert dropped.json == {"dropped": 1, "channels": {"intake": 1}}
    again = await outage.command("dead-letters", "drop", "--channel", "intake")
    assert (again.status, again.out) == (0, "no dead letters\n")


async def test_nothing_is_touched_without_a_yes(outage: Outage) -> None:
    await outage.dead_mails("asked")
    ran = await outage.command("dead-letters", "replay", "--channel", "email")
    assert (ran.status, ran.out) == (2, "")
    assert "--yes" in ran.error_line
    status, said = await outage.ask("n", "dead-letters", "drop", "--channel", "email")
    assert status == 1
    assert "Drop 1 (1 email) dead letters for good? [y/N]" in said
    assert await outage.listed() == 1
    status, said = await outage.ask("y", "dead-letters", "drop", "--channel", "email")
    assert (status, await outage.listed()) == (0, 0)
    assert "dropped 1 (1 email)" in said
