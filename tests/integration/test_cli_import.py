"""``carillon import`` as people run it: read first, then publish, and what reaches the directory."""

import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from carillon.local.stack import Stack
from tests import exports
from tests.command_line import CommandLine, running_system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("import"), "router") as running:
        yield running


def written(folder: Path, export: dict[str, Any]) -> list[str]:
    """Write each list of an export to a file of its own, as one answer of the API."""
    files = []
    for name, value in export.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps({name: value}))
        files.append(str(file))
    return files


def export() -> dict[str, Any]:
    changed = copy.deepcopy(exports.PAGERDUTY)
    # The command goes by the clock, and leaves out what has ended.
    del changed["schedules"][0]["overrides_subschedule"]
    return changed


async def test_what_is_printed_is_what_directory_import_takes(
    system: tuple[Stack, CommandLine], tmp_path: Path
) -> None:
    stack, command = system
    printed = await command("import", "pagerduty", *written(tmp_path, export()))
    assert printed.status == 0
    assert [next(iter(json.loads(line))) for line in printed.out.splitlines()] == ["user_id"] * 3 + ["policy", "oncall"]
    assert printed.error_line.startswith('note: escalation policy "Shop", services: ')
    async with redis.asyncio.from_url(stack.store.url) as store:
        assert await store.hget("carillon:{oncall}", "shop") is None
        ran = await command("directory", "import", "-", stdin=printed.out)
        assert (ran.status, ran.out) == (0, "imported 3 people and 1 on-call entries and 1 policies\n")
        assert await store.hget("carillon:{oncall}", "shop") is not None


async def test_publishing_imports_at_once_under_the_ids_of_a_table(
    system: tuple[Stack, CommandLine], tmp_path: Path
) -> None:
    stack, command = system
    changed = export()
    changed["escalation_policies"][0]["name"] = "Orders"
    changed["escalation_policies"][0]["escalation_rules"][1]["targets"].append({"type": "carrier_pigeon", "id": "P9"})
    table = tmp_path / "ids.json"
    table.write_text(json.dumps({"user1@example.com": "ada"}))
    ran = await command("import", "pagerduty", *written(tmp_path, changed), "--users", str(table), "--publish")
    assert (ran.status, ran.out) == (1, "imported 3 people and 1 on-call entries and 1 policies\n")
    lost, _, last = ran.err.splitlines()
    assert lost.startswith('lost: escalation policy "Orders", escalation_rules[1].targets[1]: is neither a user nor')
    assert last == "carillon: not carried over as it was: 1"
    async with redis.asyncio.from_url(stack.store.url) as store:
        entry = json.loads(await store.hget("carillon:{oncall}", "orders") or "")
        assert entry["policy"] == "orders"
        assert [layer["users"] for layer in entry["layers"]] == [["ada", "user-three"], ["ada", "user-two"]]
        assert json.loads(await store.get("carillon:{u:ada}:record") or "")["email"] == "user1@example.com"
    again = await command(
        "import", "pagerduty", *written(tmp_path, changed), "--users", str(table), "--publish", "--json"
    )
    assert (again.status, again.json["people"], again.json["policies"], again.json["failed"]) == (1, 3, 1, [])
    assert [each["field"] for each in again.json["lost"]] == ["escalation_rules[1].targets[1]"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ('{"schedules": [', "not JSON"),
        ("[]", "the export holds no schedules, escalation policies or users of PagerDuty"),
        ('{"data": [{"id": "1", "name": "\\u001b[31m"}]}', "the export holds no schedules"),
    ],
)
async def test_a_file_that_is_no_export_is_one_line(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(content)
    ran = await CommandLine(tmp_path)("import", "pagerduty", str(file))
    assert (ran.status, ran.out) == (2, "")
    assert says in ran.error_line
