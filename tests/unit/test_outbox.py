"""The outbox's file: what it keeps, what it refuses to touch, and what it says."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from carillon_publisher.outbox.outbox import (
    Ended,
    Entry,
    KeyInUse,
    Outbox,
    OutboxError,
    OutboxFull,
    OutboxInUse,
    OutboxUnusable,
    State,
)
from carillon_publisher.payload_terms import deadline_ms, own_key, read_object
from carillon_publisher.receipts import FieldProblem, Refusal
from tests.fakes.clock import StandingClock

TOPIC = "notifications/realtime/user/user123"
WRONG = Refusal(
    code="invalid_payload", message="One field is not valid.", fields=(FieldProblem(field="title", problem="too long"),)
)
NOW_MS = 1_767_603_600_000
HOUR_S = 3600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


def content(*files: Path) -> list[bytes]:
    """Not of a file that an outbox of this process has open: closing it would give up SQLite's locks."""
    return [file.read_bytes() for file in files]


async def waiting(outbox: Outbox) -> list[Entry]:
    return [entry async for entry in outbox.entries(State.WAITING)]


async def refuse(outbox: Outbox, number: int, state: State = State.REFUSED) -> None:
    await outbox.end(Ended(number, state, WRONG))


async def test_what_was_inserted_is_there_after_opening_again_oldest_first(file: Path) -> None:
    clock = StandingClock()
    async with Outbox(file, clock=clock) as outbox:
        for number in range(3):
            await outbox.insert(TOPIC, b"payload %d" % number, f"k{number}", deadline_ms=NOW_MS * 2)
    async with Outbox(file, clock=clock) as outbox:
        entries = await waiting(outbox)
        assert [entry.number for entry in entries] == await outbox.waiting_numbers()
    assert [(entry.key, entry.payload) for entry in entries] == [(f"k{n}", b"payload %d" % n) for n in range(3)]
    assert entries[0].topic == TOPIC
    assert entries[0].written_at == clock.now()
    assert (entries[0].first_sent_at, entries[0].error) == (None, None)


async def test_only_the_owner_may_read_it_and_its_log(file: Path) -> None:
    before = os.umask(0)
    try:
        async with Outbox(file) as outbox:
            await outbox.insert(TOPIC, b"{}", "k")
            modes = {path.name: mode(path) for path in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"outbox": 0o600, "outbox-wal": 0o600}


async def test_a_file_that_others_may_read_is_closed_to_them(file: Path) -> None:
    async with Outbox(file):
        pass
    os.chmod(file, 0o644)  # noqa: PTH101 - a test's own file
    async with Outbox(file):
        assert mode(file) == 0o600


async def test_nothing_of_a_publish_stands_in_what_is_logged(file: Path) -> None:
    async with Outbox(file) as outbox:
        await outbox.insert(TOPIC, b'{"message": "secret"}', "k")
        (entry,) = await waiting(outbox)
        with pytest.raises(KeyInUse) as conflict:
            await outbox.insert(TOPIC, b'{"message": "other secret"}', "k")
    assert "secret" not in repr(entry) + str(conflict.value)
    assert "user123" not in repr(entry) + str(conflict.value)


async def test_a_full_outbox_takes_nothing_more_and_says_what_fills_it(file: Path) -> None:
    async with Outbox(file, limit=3) as outbox:
        numbers = [await outbox.insert(TOPIC, b"{}", f"k{number}") for number in range(3)]
        await refuse(outbox, numbers[0])
        with pytest.raises(OutboxFull, match="2 waiting, 1 refused"):
            await outbox.insert(TOPIC, b"{}", "more")
        assert await outbox.drop("k0")
        await outbox.insert(TOPIC, b"{}", "more")
        with pytest.raises(OutboxFull):
            await outbox.insert(TOPIC, b"{}", "still more")
    async with Outbox(file, limit=3) as outbox:
        with pytest.raises(OutboxFull, match="3 waiting"):
            await outbox.insert(TOPIC, b"{}", "still more")


async def test_a_crowd_is_taken_up_to_the_limit_exactly(file: Path) -> None:
    async with Outbox(file, limit=700) as outbox:
        outcomes = await asyncio.gather(
            *(outbox.insert(TOPIC, b"{}", f"k{number}") for number in range(1000)), return_exceptions=True
        )
        counts = await outbox.counts()
    assert sum(isinstance(outcome, OutboxFull) for outcome in outcomes) == 300
    assert counts[State.WAITING] == 700


async def test_the_same_publish_again_is_the_same_entry_and_another_one_under_its_key_is_refused(file: Path) -> None:
    async with Outbox(file) as outbox:
        first = await outbox.insert(TOPIC, b"{}", "k")
        assert await outbox.insert(TOPIC, b"{}", "k") == first
        for topic, payload in ((TOPIC, b"[]"), ("elsewhere", b"{}")):
            with pytest.raises(KeyInUse, match="another topic or payload"):
                await outbox.insert(topic, payload, "k")
        assert (await outbox.counts())[State.WAITING] == 1


async def test_a_corrected_publish_takes_the_place_of_the_refused_one(file: Path) -> None:
    async with Outbox(file, limit=1) as outbox:
        await refuse(outbox, await outbox.insert(TOPIC, b"wrong", "k"))
        (entry,) = await outbox.refused()
        assert (entry.payload, entry.error) == (b"wrong", WRONG)
        await outbox.insert(TOPIC, b"right", "k")
        assert await outbox.refused() == []
        assert [entry.payload for entry in await waiting(outbox)] == [b"right"]


async def test_a_stale_entry_keeps_its_key_until_it_is_dropped(file: Path) -> None:
    async with Outbox(file) as outbox:
        await refuse(outbox, await outbox.insert(TOPIC, b"{}", "k"), State.STALE)
        with pytest.raises(KeyInUse, match="drop it first"):
            await outbox.insert(TOPIC, b"{}", "k")
        assert await outbox.drop("k")
        await outbox.insert(TOPIC, b"{}", "k")


async def test_what_waits_is_not_dropped(file: Path) -> None:
    async with Outbox(file) as outbox:
        await outbox.insert(TOPIC, b"{}", "k")
        assert not await outbox.drop("k")
        assert not await outbox.drop("unknown")
        assert (await outbox.counts())[State.WAITING] == 1


async def test_what_was_sent_a_day_ago_is_stale_and_what_was_never_sent_is_not(file: Path) -> None:
    clock = StandingClock()
    async with Outbox(file, clock=clock) as outbox:
        sent = await outbox.insert(TOPIC, b"{}", "sent", sending=True)
        begun = await outbox.insert(TOPIC, b"{}", "begun")
        never = await outbox.insert(TOPIC, b"{}", "never")
        await outbox.begin([begun])
        clock.move(23 * HOUR_S)
        entries, ended = await outbox.begin([sent, begun])
        assert ([entry.number for entry in entries], ended) == ([sent, begun], [])
        clock.move(HOUR_S)
        entries, ended = await outbox.begin([sent, begun, never])
        assert [entry.number for entry in entries] == [never]
        assert [(each.number, each.state) for each in ended] == [(sent, State.STALE), (begun, State.STALE)]
        assert [entry.key for entry in await outbox.stale()] == ["sent", "begun"]
        assert await outbox.begin([sent, begun]) == ([], [])


async def test_opening_ends_what_is_too_old(file: Path) -> None:
    clock = StandingClock()
    async with Outbox(file, clock=clock) as outbox:
        await outbox.insert(TOPIC, b"{}", "sent", sending=True)
        await outbox.insert(TOPIC, b"{}", "never")
    clock.move(48 * HOUR_S)
    async with Outbox(file, clock=clock) as outbox:
        assert [entry.key for entry in await waiting(outbox)] == ["never"]
        (stale,) = await outbox.stale()
    assert stale.key == "sent"
    assert stale.error is not None
    assert "may have been accepted" in stale.error.message


async def test_after_its_deadline_an_entry_is_refused_or_stale_when_it_was_sent(file: Path) -> None:
    clock = StandingClock()
    async with Outbox(file, clock=clock) as outbox:
        deadline = outbox.now_ms + 60_000
        sent = await outbox.insert(TOPIC, b"{}", "sent", deadline_ms=deadline, sending=True)
        never = await outbox.insert(TOPIC, b"{}", "never", deadline_ms=deadline)
        clock.move(60)
        entries, _ = await outbox.begin([sent, never])
        assert entries == []
        (refused,) = await outbox.refused()
        (stale,) = await outbox.stale()
    assert (refused.key, refused.error and refused.error.code) == ("never", "expired")
    assert (stale.key, stale.error and stale.error.code) == ("sent", "expired")


async def test_two_cannot_have_the_file(file: Path) -> None:
    async with Outbox(file) as outbox:
        with pytest.raises(OutboxInUse, match="used by another process"):
            async with Outbox(file):
                pass
        await outbox.insert(TOPIC, b"{}", "k")
    async with Outbox(file) as outbox:
        assert (await outbox.counts())[State.WAITING] == 1


def _garbage(file: Path) -> None:
    file.write_bytes(b"not a database" * 1000)


def _torn(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(8192))


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 5000)


def _strange(file: Path) -> None:
    file.unlink()
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE entries (key TEXT)")
    database.commit()
    database.close()


def _newer(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 2")
    database.close()


@pytest.mark.parametrize(
    ("harm", "words"),
    [(_garbage, "damaged"), (_torn, "damaged"), (_cut, "damaged"), (_strange, "another program"), (_newer, "format 2")],
)
async def test_a_file_that_is_not_a_sound_outbox_is_left_as_it_is(
    file: Path, harm: Callable[[Path], None], words: str
) -> None:
    async with Outbox(file) as outbox:
        for number in range(50):
            await outbox.insert(TOPIC, b"x" * 1000, f"k{number}")
    harm(file)
    before = content(file)
    with pytest.raises(OutboxUnusable, match=words):
        async with Outbox(file):
            pass
    assert content(file) == before


def _copy(file: Path, to: Path) -> None:
    """Copy what a kill would leave behind, in a process of its own (see ``content``)."""
    subprocess.run(["cp", str(file), str(to)], check=True)  # noqa: S603, S607 - a test's own files


async def test_a_damaged_file_of_a_killed_process_keeps_its_log(file: Path, tmp_path: Path) -> None:
    async with Outbox(file) as outbox:
        for number in range(50):
            await outbox.insert(TOPIC, b"x" * 1000, f"k{number}")
    async with Outbox(file) as outbox:
        await outbox.insert(TOPIC, b"late", "late")
        killed, log = tmp_path / "killed", tmp_path / "killed-wal"
        _copy(file, killed)
        _copy(tmp_path / "outbox-wal", log)
    _torn(killed)
    before = content(killed, log)
    with pytest.raises(OutboxUnusable, match="damaged"):
        async with Outbox(killed):
            pass
    assert content(killed, log) == before


async def test_a_file_whose_making_was_interrupted_is_made(file: Path) -> None:
    os.close(os.open(file, os.O_CREAT))
    async with Outbox(file) as outbox:
        await outbox.insert(TOPIC, b"{}", "k")


def test_a_making_that_was_killed_half_way_is_begun_again(file: Path) -> None:
    killed = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN EXCLUSIVE")
database.execute("CREATE TABLE entries (payload BLOB)")
# More than the cache holds, so that it is in the file before the commit.
database.executemany("INSERT INTO entries VALUES (?)", [(bytes(4000),)] * 50)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", killed, str(file)], check=False)  # noqa: S603 - a test's own text
    assert {path.name for path in file.parent.iterdir()} == {"outbox", "outbox-journal"}

    async def use() -> None:
        async with Outbox(file) as outbox:
            await outbox.insert(TOPIC, b"{}", "k")

    asyncio.run(use())
    assert {path.name for path in file.parent.iterdir()} == {"outbox"}


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnusable, match="No such file"):
        async with Outbox(tmp_path / "no" / "outbox"):
            pass


async def test_a_file_that_is_only_to_be_read_is_not_made(file: Path) -> None:
    with pytest.raises(OutboxUnusable, match="No such file"):
        async with Outbox(file, create=False):
            pass
    assert list(file.parent.iterdir()) == []


async def test_a_closed_outbox_takes_nothing(file: Path) -> None:
    async with Outbox(file) as outbox:
        pass
    with pytest.raises(OutboxError, match="not open"):
        await outbox.insert(TOPIC, b"{}", "k")


async def test_whoever_is_cancelled_has_either_inserted_and_is_told_of_or_has_not(file: Path) -> None:
    told: list[int] = []
    async with Outbox(file) as outbox:
        inserts = [
            asyncio.create_task(outbox.insert(TOPIC, b"{}", f"k{number}", then=told.append)) for number in range(100)
        ]
        await inserts[0]
        late = asyncio.create_task(outbox.insert(TOPIC, b"{}", "late", then=told.append))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(*inserts, late, return_exceptions=True)
        assert sorted(told) == await outbox.waiting_numbers()


async def test_leaving_writes_what_was_called_before(file: Path) -> None:
    async with Outbox(file) as outbox:
        inserts = [asyncio.create_task(outbox.insert(TOPIC, b"{}", f"k{number}")) for number in range(600)]
        await asyncio.sleep(0)
    assert len({await insert for insert in inserts}) == 600


@pytest.mark.parametrize(
    ("payload", "expected_ms"),
    [
        (b"{}", None),
        (b"not json", None),
        (b"[1]", None),
        (b'{"ttl_s": 60}', NOW_MS + 60_000),
        (b'{"ttl_s": 0.5, "expires_at": "2099-01-01T00:00:00Z"}', NOW_MS + 500),
        (b'{"ttl_s": 1e9, "expires_at": 1767603700}', NOW_MS + 100_000),
        (b'{"ttl_s": true}', None),
        (b'{"ttl_s": -1, "expires_at": "tomorrow"}', None),
        (b'{"ttl_s": 1e400, "expires_at": null}', None),
    ],
)
def test_the_deadline_is_what_the_payload_names_first(payload: bytes, expected_ms: int | None) -> None:
    assert deadline_ms(read_object(payload), NOW_MS) == expected_ms


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (b'{"id": "order-17"}', "order-17"),
        (b'{"id": ""}', None),
        (b'{"id": 17}', None),
        (b'{"id": "a\\u0000b"}', None),
        (b'{"id": "\\ud800"}', None),
        (b"[]", None),
    ],
)
def test_a_payloads_own_key_is_a_line_of_text(payload: bytes, key: str | None) -> None:
    assert own_key(read_object(payload)) == key
