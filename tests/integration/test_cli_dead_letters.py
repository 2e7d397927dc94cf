"""``carillon dead-letters list``: what ended undelivered and what was refused, by channel, reason and age."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.core.errors import Reason
from tests.command_line import CommandLine, running_system
from tests.others import others_get_mail
from tests.sandbox_client import SandboxClient

MAILS = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def command(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CommandLine]:
    """A system with three dead letters of the email channel, and after them two refused publishes."""
    async with running_system(tmp_path_factory.mktemp("dead-letters"), "router", "email") as (stack, command):
        addresses = [f"secret{number}@example.com" for number in range(MAILS)]
        await refuse_mails(stack, addresses)
        mails = [{"to": address, "subject": "secret-subject", "body": "secret-body"} for address in addresses]
        async with others_get_mail(stack.broker.url):
            ran = await command.send("notifications/email/batch", {"emails": mails}, "--wait")
        assert f"ended: {MAILS} dead_lettered" in ran.out
        assert (await command.send("notifications/realtime/user/user123", {"text": "secret-text"})).status == 1
        assert (await command("send", "notifications/nothing", "{}")).status == 1
        yield command


async def refuse_mails(stack: Stack, addresses: list[str]) -> None:
    sandbox = SandboxClient(stack.sandbox_url, stack.environment)
    for address in addresses:
        await sandbox.play("smtp", {"reply": "550 5.1.1 no such user", "at": "rcpt"}, to=address, times=None)


async def test_dead_letters_and_refused_publishes_are_listed_newest_first(command: CommandLine) -> None:
    ran = await command("dead-letters", "list")
    assert (ran.status, ran.err) == (0, "")
    head, *rows = (line.split() for line in ran.out.splitlines())
    assert head == ["AT", "CHANNEL", "REASON", "RECIPIENT", "WHAT"]
    assert [row[1] for row in rows] == ["intake", "intake", *["email"] * MAILS]
    assert [row[2] for row in rows[:2]] == ["unknown_topic", "invalid_payload"]
    times = [row[0] for row in rows]
    assert times == sorted(times, reverse=True)
    assert "message: required" in ran.out
    assert "secret" not in ran.out


async def test_json_holds_the_ids_and_attempts_that_a_repair_needs(command: CommandLine) -> None:
    ran = await command("dead-letters", "list", "--channel", "email", "--json")
    assert len(ran.json) == MAILS
    newest = ran.json[0]
    assert {each["key"] for each in ran.json} == {f"email:{number}" for number in range(MAILS)}
    assert (newest["channel"], newest["attempts_made"]) == ("email", 1)
    assert newest["reason"] in list(Reason)
    assert newest["attempts"][0]["provider"] == "smtp"
    traced = await command("trace", newest["notification_id"], "--json")
    ended = {row["key"]: row["ended_at"] for row in traced.json["deliveries"]}
    assert ended[newest["key"]] == newest["at"]
    assert "secret" not in ran.out


async def test_intake_is_a_channel_with_the_code_as_its_reason(command: CommandLine) -> None:
    refused = (await command("dead-letters", "list", "--channel", "intake", "--json")).json
    assert [each["reason"] for each in refused] == ["unknown_topic", "invalid_payload"]
    assert refused[1]["fields"] == [
        {"field": "message", "problem": "required"},
        {"field": "text", "problem": "unknown", "meant": "message"},
    ]
    assert refused[1]["topic"] == "notifications/realtime/user/user123"
    assert refused[1]["size_bytes"] == len(json.dumps({"text": "secret-text"}))


async def test_the_list_can_be_narrowed_by_reason_age_and_number(command: CommandLine) -> None:
    by_reason = await command("dead-letters", "list", "--reason", "invalid_payload", "--json")
    assert [each["channel"] for each in by_reason.json] == ["intake"]
    other_channel = await command("dead-letters", "list", "--channel", "sms")
    assert other_channel.out == "no dead letters\n"
    old = await command("dead-letters", "list", "--older-than", "1h", "--json")
    assert old.json == []
    newest = await command("dead-letters", "list", "--limit", "3", "--json")
    assert [each["channel"] for each in newest.json] == ["intake", "intake", "email"]


@pytest.mark.parametrize("option", [["--channel", "pigeon"], ["--older-than", "yesterday"], ["--limit", "0"]])
async def test_a_filter_that_is_none_is_refused(command: CommandLine, option: list[str]) -> None:
    ran = await command("dead-letters", "list", *option)
    assert (ran.status, ran.out) == (2, "")
    assert option[0] in ran.error_line
