"""``carillon status`` on real processes: it names what is wrong, in time, with the runbook, or that all is well."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.ports import LOOPBACK, free_port
from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from shared.runtime.alive import SILENT_AFTER_S
from tests.command_line import NOT_INHERITED, CommandLine, Ran
from tests.sandbox_client import SandboxClient
from tests.waiting import eventually

WITHOUT = ("--without", "sms", "--without", "push,realtime")
# A process is heard of every three seconds; the machine may be busy.
NAMED_WITHIN_S = SILENT_AFTER_S + 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("status"), services=("router", "email"))
    await stack.start()
    try:
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
def command(stack: Stack) -> CommandLine:
    return CommandLine(stack.data)


def surroundings(stack: Stack, **more: str) -> dict[str, str]:
    """The environment of a command that finds the stack, and nothing of another system."""
    ours = {name: text for name, text in os.environ.items() if not name.startswith(NOT_INHERITED)}
    return {**ours, "CARILLON_DATA": str(stack.data), **more}


async def status(command: CommandLine, *options: str) -> tuple[Ran, Any]:
    ran = await command("status", *WITHOUT, "--json", *options)
    return ran, ran.json


async def is_well(command: CommandLine) -> dict[str, Any]:
    """Wait until all is well, and return what it says then."""

    async def well() -> dict[str, Any] | None:
        ran, document = await status(command)
        assert ran.status == (0 if document["well"] else 1)
        return document if document["well"] else None

    found: dict[str, Any] = await eventually(well, NAMED_WITHIN_S, "all is well")
    return found


async def test_a_killed_service_is_named_with_its_runbook_and_one_of_two_is_no_trouble(
    stack: Stack, command: CommandLine
) -> None:
    before = await is_well(command)
    assert before["services"]["email"]["ready"] == 1
    assert [each["state"] for each in before["providers"] if each["channel"] == "email"] == ["unknown"]
    await stack.start_service("email", 1)
    await stack.kill("email")

    async def silent() -> dict[str, Any] | None:
        _, document = await status(command)
        email = document["services"]["email"]
        return document if [each["state"] for each in email["processes"]] == ["silent", "ready"] else None

    found = await eventually(silent, NAMED_WITHIN_S, "one silent, the other ready")
    assert found["well"] is True
    # One that ends in good order takes itself out at once.
    assert await stack.stop_service("email", 1) == 0
    ran, found = await status(command)
    assert ran.status == 1
    (trouble,) = found["troubles"]
    assert trouble["what"].startswith("email: no process is alive; ")
    assert "was last heard of" in trouble["what"]
    assert (ROOT / trouble["runbook"]).is_file()
    shown = await command("status", *WITHOUT)
    assert shown.status == 1
    assert shown.error_line == "carillon: not well: 1 trouble"
    assert f"!  {trouble['what'].partition(' was last')[0]}" in shown.out
    assert trouble["runbook"] in shown.out
    await stack.start_service("email")
    assert (await is_well(command))["services"]["email"]["alive"] == 1


async def test_a_service_that_nobody_left_out_is_missing(command: CommandLine) -> None:
    await is_well(command)
    ran = await command("status", "--without", "sms,push")
    assert ran.status == 1
    assert "realtime: no process is alive; none has been heard of in the last hour" in ran.out
    left_out = await command("status", settings={"CARILLON_WITHOUT": "sms,push,realtime"})
    assert left_out.status == 0, left_out.out


async def test_a_provider_that_refuses_us_and_one_that_is_paused_by_hand_are_named_with_the_reason(
    stack: Stack, command: CommandLine
) -> None:
    await is_well(command)
    sandbox = SandboxClient(stack.sandbox_url, stack.environment)
    await sandbox.play("smtp", {"reply": "530 5.7.0 Authentication required", "at": "mail"}, times=None)
    mail = {"to": "user@example.com", "subject": "Hello", "body": "Good morning."}
    assert (await command.send("notifications/email/send", mail)).status == 0

    async def refused() -> dict[str, Any] | None:
        _, document = await status(command)
        return document if not document["well"] else None

    found = await eventually(refused, NAMED_WITHIN_S, "the refusal is named")
    (trouble,) = found["troubles"]
    assert trouble["what"].startswith("email: smtp has refused us for ")
    assert "auth" in trouble["what"]
    assert "530" in trouble["what"]
    assert trouble["runbook"] == "docs/runbooks/provider-paused.md"
    (smtp,) = [each for each in found["providers"] if each["channel"] == "email"]
    assert (smtp["state"], smtp["reason"], smtp["unwell"], smtp["processes"]) == ("paused", "auth", 1, 1)
    # Whoever pauses it knows of that, and says more.
    paused = await command("provider", "pause", "email/smtp", "--reason", "a new password", "--by", "ada")
    assert paused.status == 0
    ran = await command("status", *WITHOUT)
    assert ran.status == 1
    assert "email/smtp is paused by hand by ada until " in ran.out
    assert "refused us" not in ran.out
    await sandbox.clear()
    assert (await command("provider", "resume", "email/smtp", "--by", "ada")).status == 0
    well = await is_well(command)
    assert [each["state"] for each in well["providers"] if each["channel"] == "email"] == ["well"]


async def test_what_is_watched_is_drawn_in_place_until_ctrl_c(stack: Stack) -> None:
    """In a terminal of its own, small enough that not all of it fits."""
    environment = surroundings(stack, TERM="xterm", COLUMNS="70", LINES="12")
    arguments = [sys.executable, "-m", "carillon", "status", "--watch", *WITHOUT]
    ours, theirs = pty.openpty()
    try:
        watching = await asyncio.create_subprocess_exec(
            *arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT
        )
        os.close(theirs)
        os.set_blocking(ours, False)
        seen = bytearray()

        def drawn() -> int:
            with suppress(BlockingIOError, OSError):
                seen.extend(os.read(ours, 65536))
            return seen.count(b"\x1b[H")

        await eventually(lambda: drawn() >= 2, 60, "two looks")
        watching.send_signal(signal.SIGINT)

        async def ended() -> bool:
            drawn()
            return watching.returncode is not None

        await eventually(ended, 30, "the end")
    finally:
        os.close(ours)
    text = seen.decode()
    assert text.startswith("\x1b[2J\x1b[H")
    first = text.split("\x1b[H")[1]
    assert "all is well" in first
    assert "more lines than the screen has" in first
    assert max(map(len, re.sub("\x1b\\[.", "", first).splitlines())) <= 70
    assert "Traceback" not in text
    assert watching.returncode == 0


async def test_what_is_watched_elsewhere_is_one_line_of_json_after_the_other(stack: Stack) -> None:
    environment = surroundings(stack)
    arguments = [sys.executable, "-m", "carillon", "status", "--watch", "--json", *WITHOUT]
    watching = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment, cwd=ROOT
    )
    assert watching.stdout is not None
    lines = [json.loads(await asyncio.wait_for(watching.stdout.readline(), 60)) for _ in range(2)]
    watching.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(watching.communicate(), 30)
    assert [each["well"] for each in lines] == [True, True]
    assert lines[0]["at"] < lines[1]["at"]
    assert (watching.returncode, errors) == (0, b"")


async def test_a_store_that_does_not_answer_is_one_clear_trouble(tmp_path: Path) -> None:
    command = CommandLine(tmp_path, REDIS_URL=f"redis://{LOOPBACK}:{free_port()}")
    ran = await command("status", "--json")
    assert ran.status == 1
    assert ran.json["well"] is False
    (trouble,) = ran.json["troubles"]
    assert trouble["what"].startswith("The store of REDIS_URL does not answer")
    assert trouble["runbook"] == "docs/runbooks/store-away.md"
    shown = await command("status")
    assert (shown.status, shown.error_line) == (1, "carillon: not well: 1 trouble")
    assert trouble["what"] in shown.out


async def test_wrong_use_is_told(command: CommandLine, tmp_path: Path) -> None:
    ran = await command("status", "--without", "fax")
    assert ran.status == 2
    assert "there is no service 'fax'" in ran.error_line
    unset = await CommandLine(tmp_path)("status")
    assert unset.status == 2
    assert "REDIS_URL is not set" in unset.error_line
