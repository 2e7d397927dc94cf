"""What processes say of themselves, on a real store: who is there, who has gone, and what one bad entry does."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from shared.core.errors import ProviderMisconfigured, Reason
from shared.core.model import Channel
from shared.core.version import VERSION
from shared.delivery.provider_health import HealthByServer
from shared.delivery.standing import ProviderState, Standing
from shared.runtime.alive import INTERVAL_S, PROCESSES_MOST, REMEMBERED_S, RUNNING, SILENT_AFTER_S, Alive, Processes
from shared.runtime.ops import Check
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

KEYS = Keys()
BASE = KEYS.alive("email")


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


def process(
    store: Store, name: str = "email-1", checks: Mapping[str, Check] | None = None, standings: Sequence[Standing] = ()
) -> Alive:
    return Alive(
        store, KEYS, service="email", process=name, checks=checks or {}, standings=lambda: standings,
        now=lambda: datetime.now(UTC),
    )  # fmt: skip


@asynccontextmanager
async def saying(alive: Alive, stopping: asyncio.Event | None = None) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(alive.work_forever(stopping or asyncio.Event()))
        yield
        task.cancel()


async def heard(store: Store, *names: str) -> None:
    """Wait until all of these have said something."""

    async def all_there() -> bool:
        return {each.name for each in (await Processes(store, KEYS).of(["email"]))["email"]} >= set(names)

    await eventually(all_there)


async def silent_for(store: Store, name: str, length: timedelta) -> None:
    """Make it so long ago that a process was heard of."""
    seconds, _ = await store.command("TIME")
    await store.command("ZADD", f"{BASE}:heard", (int(seconds) - length.total_seconds()) * 1000, name)


async def test_a_process_says_what_it_is_and_takes_itself_out_at_its_end(opened: Store) -> None:
    alive = process(opened)
    async with saying(alive):
        await heard(opened, "email-1")
        (one,) = (await Processes(opened, KEYS).of(["email", "sms"]))["email"]
        assert (one.service, one.version, one.word, one.is_ready) == ("email", VERSION, "ready", True)
        assert datetime.now(UTC) - one.since < timedelta(minutes=1)
    await alive.leave()
    assert await Processes(opened, KEYS).of(["email", "sms"]) == {"email": [], "sms": []}
    assert await opened.command("EXISTS", BASE, f"{BASE}:heard") == 0


async def test_what_is_not_ready_is_named_and_the_store_is_not_written_to_a_second_time(opened: Store) -> None:
    async def not_there() -> bool:
        return False

    async def must_not_be_asked() -> bool:
        raise AssertionError

    async with saying(process(opened, checks={"broker": not_there, "store": must_not_be_asked})):
        await heard(opened, "email-1")
    (one,) = (await Processes(opened, KEYS).of(["email"]))["email"]
    assert (one.word, one.not_ready, one.is_ready) == ("not ready", ("broker",), False)


async def test_a_process_that_is_told_to_end_says_so_at_once(opened: Store) -> None:
    stopping = asyncio.Event()

    async def running() -> bool:
        return not stopping.is_set()

    async with saying(process(opened, checks={RUNNING: running}), stopping):
        await heard(opened, "email-1")
        before = asyncio.get_running_loop().time()
        stopping.set()

        async def ends() -> bool:
            (one,) = (await Processes(opened, KEYS).of(["email"]))["email"]
            return one.word == "ending"

        await eventually(ends)
        assert asyncio.get_running_loop().time() - before < 0.9 * INTERVAL_S


async def test_who_was_not_heard_of_for_a_while_is_silent_and_after_an_hour_forgotten(opened: Store) -> None:
    for name in ("email-1", "email-2"):
        async with saying(process(opened, name)):
            await heard(opened, name)
    await silent_for(opened, "email-1", timedelta(seconds=SILENT_AFTER_S + 1))
    first, second = (await Processes(opened, KEYS).of(["email"]))["email"]
    assert (first.word, second.word) == ("silent", "ready")
    assert first.silent_s >= SILENT_AFTER_S + 1
    await silent_for(opened, "email-1", timedelta(seconds=REMEMBERED_S + 1))
    async with saying(process(opened, "email-3")):
        await heard(opened, "email-3")
    assert sorted(await opened.command("HKEYS", BASE)) == [b"email-2", b"email-3"]
    assert 0 < await opened.command("PTTL", BASE) <= REMEMBERED_S * 1000


@pytest.mark.parametrize("others", [PROCESSES_MOST // 2 + 1, PROCESSES_MOST - 1, PROCESSES_MOST, PROCESSES_MOST + 50])
async def test_of_too_many_processes_those_heard_of_last_are_kept(opened: Store, others: int) -> None:
    seconds, _ = await opened.command("TIME")
    flat: list[int | str] = []
    for number in range(others):
        flat += [int(seconds) * 1000 - 60_000 + number, f"old-{number}"]
    await opened.command("ZADD", f"{BASE}:heard", *flat)
    async with saying(process(opened)):
        await heard(opened, "email-1")
    gone = max(0, others + 1 - PROCESSES_MOST)
    assert await opened.command("ZCARD", f"{BASE}:heard") == others + 1 - gone
    assert (await opened.command("ZSCORE", f"{BASE}:heard", "old-0") is None) is (gone > 0)
    assert await opened.command("ZSCORE", f"{BASE}:heard", f"old-{gone}") is not None
    assert await opened.command("ZSCORE", f"{BASE}:heard", "email-1") is not None


async def test_damaged_entries_and_those_of_a_later_release_hide_no_other(opened: Store) -> None:
    later = {"host": 7, "since": "soon", "not_ready": "all", "providers": [{"state": "melted"}, 3]}
    async with saying(process(opened)):
        await heard(opened, "email-1")
    seconds, _ = await opened.command("TIME")
    for name, text in (("email-2", "{"), ("email-3", json.dumps(later)), ("email-4", b"\xff")):
        await opened.command("HSET", BASE, name, text)
        await opened.command("ZADD", f"{BASE}:heard", int(seconds) * 1000, name)
    found = (await Processes(opened, KEYS).of(["email"]))["email"]
    assert sorted(each.name for each in found) == ["email-1", "email-3"]


async def test_a_store_that_refuses_the_write_is_told_of_once_and_the_process_works_on(
    opened: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await opened.command("SET", BASE, "something else")
    alive = process(opened)
    with caplog.at_level(logging.WARNING, "shared.runtime.alive"):
        async with saying(alive):
            await eventually(lambda: caplog.records)
            await alive.leave()
            await opened.command("DEL", BASE)
            await heard(opened, "email-1")
    assert [record.message for record in caplog.records if record.name != "asyncio"] == [
        "the store refuses to note that this process is alive"
    ]


async def test_how_a_provider_stands_is_read_as_it_was_said(opened: Store) -> None:
    health = HealthByServer(Channel.EMAIL, "smtp")
    refused = ProviderMisconfigured(Reason.AUTH, "535 5.7.8 " + "x" * 500)
    health.note(health.of("relay.example:25", refused), refused)
    async with saying(process(opened, standings=[health.standing(), Standing("ses", ProviderState.WELL)])):
        await heard(opened, "email-1")
    (one,) = (await Processes(opened, KEYS).of(["email"]))["email"]
    smtp, ses = one.standings
    assert (smtp.provider, smtp.state, smtp.reason, smtp.server) == ("smtp", "paused", "auth", "relay.example:25")
    assert smtp.detail.startswith("535 5.7.8 x")
    assert len(smtp.detail) == 200
    assert ses == Standing("ses", ProviderState.WELL)
