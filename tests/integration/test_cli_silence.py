"""``carillon silence`` against a router: what is published, what stands in the store, and what is refused."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from carillon.local.stack import Stack
from shared.directory.silences import Silence
from tests.command_line import CommandLine, running_system

# After each test, so that one test's silences are not another's.
KEY = "carillon:{rules:silence}"
BY = ("--by", "ops")
COMMENT = ("--comment", "the disks are changed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("silence"), "router") as system:
        yield system


@pytest_asyncio.fixture
async def system(running: tuple[Stack, CommandLine]) -> AsyncIterator[tuple[Stack, CommandLine]]:
    yield running
    async with redis.asyncio.from_url(running[0].store.url) as store:
        await store.delete(KEY)


async def stored(stack: Stack) -> dict[str, Any]:
    async with redis.asyncio.from_url(stack.store.url, decode_responses=True) as store:
        return {str(name): json.loads(record) for name, record in (await store.hgetall(KEY)).items()}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_silence_is_added_listed_and_ended(system: tuple[Stack, CommandLine]) -> None:
    stack, command = system
    ran = await command("silence", "add", "system=db-1", 'severity=~"high|warning"', "--for", "2h", *COMMENT, *BY)
    assert (ran.status, ran.err) == (0, "")
    silence_id = ran.out.split()[0]
    record = (await stored(stack))[silence_id]
    assert record["matchers"] == ['system="db-1"', 'severity=~"high|warning"']
    assert (record["comment"], record["created_by"]) == ("the disks are changed", "ops")
    assert at(record["ends_at"]) - at(record["starts_at"]) == timedelta(hours=2)
    Silence.model_validate(record)

    heads, line = (await command("silence", "list")).out.splitlines()
    assert heads.split() == ["id", "state", "from", "until", "by", "matched", "matchers", "comment"]
    assert line.split()[:2] == [silence_id, "holds"]
    assert line.endswith('system="db-1" severity=~"high|warning"  the disks are changed')

    ran = await command("silence", "expire", silence_id)
    assert (ran.status, ran.out) == (0, f"{silence_id}  ended\n")
    assert (await command("silence", "list")).out == ""
    [over] = (await command("silence", "list", "--all", "--json")).json
    assert (over["id"], over["state"], over["matchers"]) == (silence_id, "over", record["matchers"])
    assert at(record["starts_at"]) < at(over["ends_at"]) < at(record["ends_at"])

    again = await command("silence", "expire", silence_id)
    assert again.status == 1
    assert again.error_line.startswith(f"carillon: the silence {silence_id} was over at ")


async def test_a_silence_that_has_not_begun_is_deleted(system: tuple[Stack, CommandLine]) -> None:
    stack, command = system
    added = await command(
        "silence",
        "add",
        "{system=db-1,team!=web}",
        "--for",
        "90m",
        "--starts",
        "2099-01-01T00:00:00Z",
        *COMMENT,
        *BY,
        "--json",
    )
    assert added.json == {
        "id": added.json["id"], "state": "pending", "matchers": ['system="db-1"', 'team!="web"'],
        "starts_at": "2099-01-01T00:00:00Z", "ends_at": "2099-01-01T01:30:00Z", "comment": "the disks are changed",
        "created_by": "ops",
    }  # fmt: skip
    assert [each["state"] for each in (await command("silence", "list", "--json")).json] == ["pending"]
    expired = await command("silence", "expire", added.json["id"], "--json")
    assert expired.json == {"id": added.json["id"], "ended": False, "deleted": True}
    assert await stored(stack) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("system", "--for", "2h", *COMMENT), "MATCHER: system: at the end: expected an operator: =, !=, =~ or !~"),
        (
            ("a=~[", "--for", "2h", *COMMENT),
            "MATCHER: a=~[: at character 4: not a regular expression of RE2: missing ]",
        ),
        (("{}", "--for", "2h", *COMMENT), "MATCHER: there is none in it"),
        (("a=~.*", "--for", "2h", *COMMENT), "MATCHER: at least one must not match the empty text"),
        (("a=b", "--for", "2", "--comment", ""), "--comment: String should have at least 1 character"),
        (
            ("a=b", "--for", "2h", *COMMENT, "--starts", "soon"),
            "--starts: must be epoch seconds or RFC 3339 with a zone",
        ),
        (("a=b", "--for", "soon", *COMMENT), "'--for': 'soon' is not a length of time such as 30s, 15m, 1h or 7d"),
        (("a=b", *COMMENT), "Missing option '--for'"),
        (("--for", "2h", *COMMENT), "Missing argument 'MATCHER...'"),
    ],
)
async def test_what_is_no_silence_is_refused_before_anything_is_published(
    system: tuple[Stack, CommandLine], arguments: tuple[str, ...], said: str
) -> None:
    stack, command = system
    ran = await command("silence", "add", *arguments)
    assert ran.status == 2
    assert said in ran.err
    assert await stored(stack) == {}


async def test_what_is_not_there_cannot_be_ended(system: tuple[Stack, CommandLine]) -> None:
    ran = await system[1]("silence", "expire", "none")
    assert ran.status == 1
    assert ran.error_line == "carillon: there is no silence none; see `carillon silence list --all`"
