"""``carillon incident``: people answer over a real broker and router, and read what happened from a real store."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.command_line import CommandLine, running_system
from tests.waiting import eventually

UNKNOWN = "0197c5a2-7f00-7003-8000-000000000000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def command(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CommandLine]:
    async with running_system(tmp_path_factory.mktemp("incident"), "router", "email") as (_, command):
        people = [
            {"user_id": "ada", "email": "ada@example.com"},
            {"user_id": "eve", "email": "eve@example.com"},
            {"oncall": "disk", "users": ["ada"]},
        ]
        text = "".join(json.dumps(line) + "\n" for line in people)
        assert (await command("directory", "import", "-", stdin=text)).status == 0
        yield command


async def opened(command: CommandLine, level: str = "critical", **said: object) -> str:
    """Publish an alert, and return when its mail was delivered."""
    # Only the mail service runs here.
    payload = {
        "message": "It is full.", "source": "db-1", "affected_systems": ["orders"], "channels": ["email"], **said,
    }  # fmt: skip
    ran = await command.send(f"notifications/alerts/{level}/disk", payload, "--json", "--wait")
    return str(json.loads(ran.out.splitlines()[0])["alert_id"])


async def test_incident_is_listed_answered_shown_and_exported(command: CommandLine, tmp_path: Path) -> None:
    incident = await opened(command)
    ran = await command("incident", "list")
    assert (ran.status, ran.err) == (0, "")
    heads, row = ran.out.splitlines()[:2]
    assert heads.split() == ["ID", "STATE", "SEVERITY", "TYPE", "FROM", "SINCE", "ALERTS", "REPEATS", "WHO"]
    assert row.split()[:6] == [incident, "open", "critical", "disk", "db-1", "orders"]
    assert row.split()[7:] == ["1", "0", "-"]

    for arguments in (
        ("acknowledge", "--note", "on it"),
        ("snooze", "--for", "1.5h"),
        ("snooze", "--until", "2099-01-01T00:00:00Z"),
        ("reassign", "--to", "user:eve", "--note", "yours"),
    ):
        verb, *options = arguments
        ran = await command("incident", verb, incident, "--user", "ada", *options)
        if "2099-01-01T00:00:00Z" in options:
            assert (ran.status, "at most 31 days away" in ran.out) == (1, True)
        else:
            assert (ran.status, ran.err) == (0, "")
            assert ran.out.startswith(f"accepted  {incident}")

    async def is_eves() -> bool:
        shown = (await command("incident", "show", incident, "--json")).json
        return any(each["what"] == "delivered" and each.get("recipient") == "eve" for each in shown["timeline"])

    await eventually(is_eves, within_s=30, what="the delivery to whom it was handed on")
    ran = await command("incident", "resolve", incident, "--user", "eve", "--json")
    assert (ran.status, ran.json["alert_id"]) == (0, incident)

    shown = (await command("incident", "show", incident, "--json")).json
    assert (shown["state"], shown["resolved_by"], shown["affected_systems"]) == ("resolved", "eve", ["orders"])
    answered = [(each["what"], each["by"], each["from"]) for each in shown["timeline"] if "by" in each]
    assert answered == [
        ("opened", "-", "mqtt"),
        ("acknowledged", "ada", "mqtt"),
        ("snoozed", "ada", "mqtt"),
        ("reassigned", "ada", "mqtt"),
        ("resolved", "eve", "mqtt"),
    ]
    text = (await command("incident", "show", incident)).out
    head, _, timeline = text.partition("\n\n")
    assert dict(line.split(maxsplit=1) for line in head.splitlines())["state"] == "resolved"
    first, *lines = timeline.splitlines()
    assert first.split() == ["WHEN", "SINCE", "WHAT", "WHO", "WAY", "CHANNEL", "WHY"]
    assert lines[0].split()[1:] == ["+00:00:00", "opened", "-", "mqtt", "-", "-"]
    assert any("acknowledged" in line and line.endswith("on it") for line in lines)
    assert any("to user:eve, yours" in line for line in lines)

    file = tmp_path / "incident.jsonl"
    assert (await command("incident", "export", incident, "--output", str(file))).out == ""
    ran = await command("incident", "verify", str(file))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"all well: incident {incident}, {len(file.read_text().splitlines())} lines\n"
    assert incident not in (await command("incident", "list", "--all-levels")).out
    ran = await command("incident", "note", incident, "replaced by 04:10", "--user", "eve", "--json")
    assert (ran.status, ran.json) == (0, {"id": incident, "written": True})
    assert "replaced by 04:10" in (await command("incident", "show", incident)).out
    (listed,) = (await command("incident", "list", "--over", "--json")).json
    assert (listed["id"], listed["state"]) == (incident, "resolved")


async def test_what_was_changed_in_an_export_is_named_by_its_line(command: CommandLine, tmp_path: Path) -> None:
    incident = await opened(command, source="db-2")
    exported = (await command("incident", "export", incident)).out
    lines = exported.splitlines(keepends=True)
    changed = exported.replace('"what":"opened"', '"what":"told"', 1)
    ran = await command("incident", "verify", "-", stdin=changed)
    assert (ran.status, ran.out) == (1, "line 3 does not follow the line before it\n")
    assert ran.error_line == "carillon: not as it was exported: 1 fault"
    ran = await command("incident", "verify", "-", "--json", stdin="".join(lines[:-1]))
    assert (ran.status, ran.json) == (
        1,
        {"lines": len(lines) - 1, "faults": [{"line": len(lines) - 1, "problem": "is not the end"}]},
    )
    for added in ("\n", "{}", "\x1e"):
        assert (await command("incident", "verify", "-", stdin=exported + added)).status == 1
    file = tmp_path / "bytes"
    file.write_bytes(exported.encode().replace(b"full", b"f\xff\xfel"))
    assert "line 1 is not written as it was exported" in (await command("incident", "verify", str(file))).out
    file.write_bytes(exported.encode().replace(b"\n", b"\r\n"))
    assert (await command("incident", "verify", str(file))).status == 1
    assert (await command("incident", "verify", "-", stdin="")).out == "there are no lines\n"
    assert (await command("incident", "verify", str(tmp_path / "missing"))).status == 2


async def test_those_of_lower_levels_are_listed_when_that_is_asked(command: CommandLine) -> None:
    incident = await opened(command, "warning", dedup_key="db-3")
    listed = await command("incident", "list")
    assert incident not in listed.out
    assert listed.out.splitlines()[-1].endswith("more below critical: see --all-levels")
    found = (await command("incident", "list", "--all-levels", "--state", "open", "--json")).json
    assert (found[0]["id"], found[0]["level"], found[0]["state"]) == (incident, "warning", "open")
    assert (await command("incident", "list", "--all-levels", "--state", "snoozed", "--json")).json == []
    # Its publisher, who is nobody in particular here, says that it is over.
    assert (await command("incident", "resolve", incident)).status == 0
    assert (await command("incident", "show", incident, "--json")).json["state"] == "resolved"


async def test_the_answer_is_no_where_there_is_no_such_incident_or_person(command: CommandLine) -> None:
    incident = await opened(command, source="db-4")
    refused, unknown = await asyncio.gather(
        command("incident", "acknowledge", incident, "--user", "eve"),
        command("incident", "acknowledge", UNKNOWN, "--user", "ada"),
    )
    assert (refused.status, "unauthorized" in refused.out) == (1, True)
    assert (unknown.status, "alert_id" in unknown.out) == (1, True)
    ran = await command("incident", "note", incident, "a word", "--user", "eve")
    assert (ran.status, "was told of this incident" in ran.error_line) == (1, True)
    ran = await command("incident", "note", UNKNOWN, "a word", "--user", "ada")
    assert (ran.status, "no such incident" in ran.error_line) == (1, True)
    for name in ("show", "export"):
        for unknown_id in (UNKNOWN, "x"):
            ran = await command("incident", name, unknown_id)
            assert (ran.status, "no such incident" in ran.error_line) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("acknowledge", UNKNOWN), "--user"),
        (("acknowledge", "a/b", "--user", "ada"), "must be the id of an incident"),
        (("snooze", UNKNOWN, "--user", "ada"), "either --for or --until"),
        (("snooze", UNKNOWN, "--user", "ada", "--for", "1h", "--until", "1"), "either --for or --until"),
        (("snooze", UNKNOWN, "--user", "ada", "--for", "soon"), "length of time"),
        (("snooze", UNKNOWN, "--user", "ada", "--until", "tomorrow"), "RFC 3339"),
        (("reassign", UNKNOWN, "--user", "ada"), "--to"),
        (("list", "--state", "over"), "--state"),
        (("note", UNKNOWN, "x"), "--user"),
        (("note", UNKNOWN, " ", "--user", "ada"), "1 to 1000 characters"),
    ],
)
async def test_wrong_use_is_said(command: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    ran = await command("incident", *arguments)
    assert (ran.status, said in ran.error_line) == (2, True)


@pytest.mark.parametrize(
    "name", ["list", "show", "acknowledge", "resolve", "snooze", "reassign", "note", "export", "verify"]
)
async def test_help_has_an_example(command: CommandLine, name: str) -> None:
    assert f"carillon incident {name}" in (await command("incident", name, "--help")).out.split("Example")[1]
