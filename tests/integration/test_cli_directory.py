"""``carillon directory import`` against a router: what reaches the directory, and how bad lines are reported."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio

from carillon.local.stack import Stack
from tests.command_line import CommandLine, running_system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("directory"), "router") as running:
        yield running


def lines(*documents: object) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


async def test_people_and_on_call_entries_reach_the_directory(
    system: tuple[Stack, CommandLine], tmp_path: Path
) -> None:
    stack, command = system
    file = tmp_path / "people.jsonl"
    file.write_text(
        lines(
            {"user_id": "user123", "email": "user123@example.com", "groups": ["engineering"]},
            {"user_id": "admin1", "roles": ["admin"]},
            {"oncall": "*", "users": ["admin1"]},
        )
        + "\n"
    )
    ran = await command("directory", "import", str(file))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == "imported 2 people and 1 on-call entries\n"
    async with redis.asyncio.from_url(stack.store.url) as store:
        record = await store.get("carillon:{u:user123}:record")
        assert json.loads(record or "")["email"] == "user123@example.com"
        entry = await store.hget("carillon:{oncall}", "*")
        assert json.loads(entry or "")["users"] == ["admin1"]


async def test_every_bad_line_is_reported_with_its_number_and_field_and_the_others_are_imported(
    system: tuple[Stack, CommandLine],
) -> None:
    _, command = system
    text = "".join(
        [
            lines({"user_id": "good1"}),
            "not json\n",
            lines({"user_id": "bad1", "email": "secret-address"}),
            "[]\n",
            lines({"email": "user@example.com"}),
            lines({"user_id": "a/b"}),
            lines({"user_id": 7}),
            lines({"oncall": "disk", "user_id": "x"}),
            lines({"oncall": "disk", "shift": "night"}),
            lines({"user_id": "good2"}),
        ]
    )
    ran = await command("directory", "import", "-", stdin=text)
    assert ran.status == 1
    assert ran.out == "imported 2 people and 0 on-call entries\n"
    *reports, last = ran.err.splitlines()
    told = {int(report.split()[1].rstrip(":")): report for report in reports}
    assert sorted(told) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert "not JSON" in told[2]
    assert "email: " in told[3]
    assert "user_id: required, or oncall" in told[5]
    assert "user_id: must not contain / + or #" in told[6]
    assert "user_id: must be a string" in told[7]
    assert "only one of them" in told[8]
    assert "shift: unknown" in told[9]
    assert last == "carillon: 8 of 10 lines not imported"
    assert "secret-address" not in ran.err


async def test_publishers_categories_and_tenants_reach_the_directory(system: tuple[Stack, CommandLine]) -> None:
    stack, command = system
    text = lines(
        {"category": "billing", "title": "Billing", "digest": {"window": "1h"}},
        {"category": "security", "policy": "required"},
        {"tenant": "acme", "categories": {"billing": {"policy": "required"}}},
        # Both names: the record of a publisher.
        {"publisher": "shop", "tenant": "acme"},
        {"category": "comments", "policy": "sometimes"},
        {"category": "comments", "tenant": "acme"},
    )
    ran = await command("directory", "import", "-", stdin=text)
    assert ran.status == 1
    assert ran.out == "imported 0 people and 0 on-call entries and 1 publishers and 2 categories and 1 tenants\n"
    told = sorted(ran.err.splitlines()[:-1])
    assert [report.split(":")[0] for report in told] == ["line 5", "line 6"]
    assert "policy: " in told[0]
    async with redis.asyncio.from_url(stack.store.url) as store:
        assert await store.hkeys("carillon:{categories}") == [b"billing", b"security"]
        assert json.loads(await store.hget("carillon:{categories}", "billing") or "")["title"] == "Billing"
        assert await store.hkeys("carillon:{tenants}") == [b"acme"]
        assert json.loads(await store.hget("carillon:{publishers}:records", "shop") or "{}") == {"tenant": "acme"}
    ran = await command("directory", "import", "-", "--json", stdin=lines({"category": "tips"}))
    assert ran.json == {
        "people": 0, "oncall": 0, "publishers": 0, "categories": 1, "tenants": 0, "policies": 0, "silences": 0,
        "inhibitions": 0, "sources": 0, "failed": [],
        "complete": True,
    }  # fmt: skip


async def test_json_lists_what_was_not_imported(system: tuple[Stack, CommandLine]) -> None:
    _, command = system
    text = lines({"user_id": "good3"}, {"user_id": "bad1", "phone": "1"}, {"oncall": "disk"})
    ran = await command("directory", "import", "-", "--json", stdin=text)
    assert ran.status == 1
    assert (ran.json["people"], ran.json["oncall"], ran.json["complete"]) == (1, 0, True)
    assert [(each["line"], each["code"]) for each in ran.json["failed"]] == [
        (2, "invalid_payload"),
        (3, "invalid_payload"),
    ]
    assert ran.json["failed"][0]["fields"][0]["field"] == "phone"
    assert ran.error_line == "carillon: 2 of 3 lines not imported"


async def test_more_lines_than_may_be_outstanding_are_imported_and_the_later_of_two_holds(
    system: tuple[Stack, CommandLine],
) -> None:
    stack, command = system
    people = [{"user_id": f"many{number}", "groups": ["many"]} for number in range(1200)]
    again = [{"user_id": "many0", "groups": None, "name": f"Version {number}"} for number in range(20)]
    ran = await command("directory", "import", "-", stdin=lines(*people, *again))
    assert (ran.status, ran.out) == (0, "imported 1220 people and 0 on-call entries\n")
    async with redis.asyncio.from_url(stack.store.url) as store:
        assert await store.zcard("carillon:{g:many}:members") == 1199
        record = await store.get("carillon:{u:many0}:record")
        assert json.loads(record or "")["name"] == "Version 19"


async def test_an_import_that_nothing_answers_stops_and_says_so(system: tuple[Stack, CommandLine]) -> None:
    _, command = system
    text = lines(*({"user_id": f"user{number}"} for number in range(3)))
    settings = {"TOPIC_PREFIX": "elsewhere/"}
    ran = await command("directory", "import", "-", "--timeout", "1s", stdin=text, settings=settings)
    assert ran.status == 1
    assert "stopped, because nothing answers" in ran.err.splitlines()[-1]


async def test_a_file_that_is_not_there_is_wrong_use(system: tuple[Stack, CommandLine]) -> None:
    ran = await system[1]("directory", "import", "no-such-file")
    assert (ran.status, ran.out) == (2, "")
    assert "no-such-file" in ran.error_line
