"""``carillon oncall``: who is on call, who is next, gaps and links, on a real store."""

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.directory.directory import Directory
from shared.directory.people import OnCall, Person
from shared.directory.rota_calendar import link_path
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store

SECRET = "a secret of thirty-two characters"
MONDAY = "2026-03-23T12:00:00Z"
DISK: dict[str, Any] = {
    "layers": [
        {
            "users": ["user1", "user2"], "rotation": "weekly", "weekday": "monday", "start": "2026-01-05",
            "timezone": "Europe/Paris",
            "restrictions": [
                {"from": "09:00", "to": "18:00"},
                {"days": ["friday", "saturday"], "from": "18:00", "to": "09:00"},
            ],
        },
        {
            "users": ["gone"], "rotation": "daily", "start": "2026-01-05", "timezone": "Europe/Paris",
            "restrictions": [{"days": ["monday"], "from": "18:00", "to": "09:00"}],
        },
    ]
}  # fmt: skip


@pytest_asyncio.fixture
async def command(tmp_path: Path, store: EmptyStore) -> CommandLine:
    async with Store(store.url) as opened:
        directory = Directory(opened, Keys())
        await directory.put(Person(user_id="user1", name="One"))
        await directory.put(Person(user_id="user2", timezone="Asia/Tokyo"))
        await directory.put_oncall("disk", OnCall.model_validate({"alert_type": "disk", **DISK}))
        await directory.put_oncall("*", OnCall(alert_type="*", users=("user2",)))
    return CommandLine(tmp_path, REDIS_URL=store.url, REALTIME_LINK_SECRET=SECRET)


async def test_entries_are_listed_with_who_is_on_call(command: CommandLine) -> None:
    ran = await command("oncall", "list")
    assert (ran.status, ran.err) == (0, "")
    heads, every, disk = ran.out.splitlines()
    assert heads.split() == ["type", "on", "call", "until", "then"]
    assert every.split() == ["*", "user2", "further", "notice", "-"]
    assert disk.startswith("disk")
    listed = (await command("oncall", "list", "--json")).json
    assert [each["alert_type"] for each in listed] == ["*", "disk"]
    assert listed[0]["now"] == {"users": [{"user_id": "user2", "known": True}], "gap": False}


async def test_type_is_shown_as_of_a_time(command: CommandLine) -> None:
    ran = await command("oncall", "show", "disk", "--at", MONDAY)
    assert (ran.status, ran.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert lines["now"] == "user2, from Mon 2026-03-23 09:00 +0100 until Mon 2026-03-23 18:00 +0100"
    assert lines["next"] == "nobody: gone (unknown), until Tue 2026-03-24 09:00 +0100"
    assert lines["zone"] == "Europe/Paris"
    shown = (await command("oncall", "show", "disk", "--at", MONDAY, "--json")).json
    assert (shown["now"]["users"][0]["user_id"], shown["next"]["gap"]) == ("user2", True)
    assert shown["next"]["from"] == "2026-03-23T17:00:00.000Z"


async def test_weeks_list_shifts_gaps_hours_and_nights(command: CommandLine) -> None:
    arguments = ("oncall", "show", "disk", "--at", "2026-03-23T08:00:00Z", "--weeks", "1")
    shown = (await command(*arguments, "--json")).json
    # Seven days of nine hours, and two nights of fifteen, of which that of the change of the clocks has fourteen.
    assert shown["people"] == [
        {"user_id": "gone", "known": False, "hours": 15, "nights": 1},
        # Until 08:00 in UTC, which is 10:00 in Paris by then.
        {"user_id": "user1", "known": True, "name": "One", "hours": 1, "nights": 0},
        # At the other end of the world these office hours end in the night.
        {"user_id": "user2", "known": True, "hours": 7 * 9 + 15 + 14, "nights": 7},
    ]
    assert len(shown["gaps"]) == 5
    assert sum(each["gap"] for each in shown["shifts"]) == 5
    text = (await command(*arguments)).out
    for line in ("nobody is on call:", "92.0   7       user2", "15.0   1       gone (unknown)"):
        assert line in text


async def test_gap_is_the_answer_no(command: CommandLine) -> None:
    ran = await command("oncall", "gaps", "--days", "14")
    assert ran.status == 1
    assert "within 14 days" in ran.error_line
    assert "disk" in ran.out
    found = await command("oncall", "gaps", "disk", "--days", "14", "--json")
    assert found.status == 1
    assert {each["alert_type"] for each in found.json} == {"disk"}
    assert {tuple(user["user_id"] for user in each["users"]) for each in found.json} == {(), ("gone",)}
    without = await command("oncall", "gaps", "*", "--json")
    assert (without.status, without.json, without.err) == (0, [], "")


async def test_type_without_an_entry_is_served_by_that_of_every_type(command: CommandLine) -> None:
    ran = await command("oncall", "show", "memory")
    assert ran.status == 0
    assert ran.out.splitlines()[0].split(maxsplit=1) == ["type", "memory (entry *)"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("show", "a/b"), 2, "must not contain / + or #"),
        (("show", "disk", "--at", "tomorrow"), 2, "RFC 3339"),
        (("show", "disk", "--weeks", "54"), 2, "1<=x<=53"),
        (("gaps", "--days", "0"), 2, "1<=x<=371"),
        (("link", "a/b"), 2, "must not contain / + or #"),
    ],
)
async def test_wrong_use_is_said(command: CommandLine, arguments: tuple[str, ...], status: int, said: str) -> None:
    ran = await command("oncall", *arguments)
    assert ran.status == status
    assert said in ran.error_line


async def test_without_entries_nobody_is_served(tmp_path: Path, store: EmptyStore) -> None:
    command = CommandLine(tmp_path, REDIS_URL=store.url)
    assert (await command("oncall", "list", "--json")).json == []
    ran = await command("oncall", "show", "disk")
    assert (ran.status, "no on-call entry serves disk" in ran.error_line) == (1, True)


async def test_entry_that_cannot_be_read_is_named(command: CommandLine, store: EmptyStore) -> None:
    async with Store(store.url) as opened:
        await opened.command("HSET", Keys().oncall, "broken", "{", lasting=True)
    for arguments in (("list",), ("gaps",)):
        ran = await command("oncall", *arguments)
        assert (ran.status, "cannot be read: broken" in ran.error_line) == (1, True)
        assert "disk" in ran.out


async def test_link_is_signed_for_one_type(command: CommandLine) -> None:
    ran = await command("oncall", "link", "*", "--url", "https://notify.example.com/")
    assert ran.out == f"https://notify.example.com{link_path(SECRET, '*')}\n"
    assert "%2A.ics?token=" in ran.out
    short = await command("oncall", "link", "*", settings={"REALTIME_LINK_SECRET": "short"})
    assert (short.status, "at least 32 bytes" in short.error_line) == (2, True)


async def test_help_has_an_example(command: CommandLine) -> None:
    for name in ("list", "show", "gaps", "link"):
        assert f"carillon oncall {name}" in (await command("oncall", name, "--help")).out.split("Example")[1]
