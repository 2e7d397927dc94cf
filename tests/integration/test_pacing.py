"""Digests of a channel that is behind are put off for a moment, and those of other channels are not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.router.planning.pacing import ASKED_EVERY, BEHIND_ROWS, Pacing
from shared.core.model import Priority
from shared.ledger.ledger import Ledger
from shared.store.keys import SHARDS, Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.records import LEASE, accept, delivery

pytestmark = pytest.mark.real_store


@pytest_asyncio.fixture
async def ledger(store: EmptyStore) -> AsyncIterator[Ledger]:
    async with Store(store.url) as opened:
        yield Ledger(opened, Keys())


async def hand_over(ledger: Ledger, rows: int) -> list[str]:
    """Write mails that nobody claims."""
    return [await accept(ledger, delivery(), shard=number % SHARDS) for number in range(rows)]


async def is_put_off(pacing: Pacing, lane: str) -> bool:
    """Close a digest, and tell whether it is put off; that it is only for a moment."""
    waiting = asyncio.create_task(pacing.wait(lane, Priority.NORMAL))
    await asyncio.sleep(0)
    found = not waiting.done()
    await waiting
    return found


async def ask(pacing: Pacing, lane: str) -> None:
    for _ in range(ASKED_EVERY):
        await pacing.wait(lane, Priority.NORMAL)


async def test_digests_of_a_channel_that_is_behind_are_put_off(ledger: Ledger) -> None:
    pacing = Pacing(ledger.schedule.handed_over)
    waiting = await hand_over(ledger, BEHIND_ROWS)
    assert not await is_put_off(pacing, "email")
    await ask(pacing, "sms")
    await ask(pacing, "email")
    assert [await is_put_off(pacing, lane) for lane in ("email", "sms")] == [True, False]
    await ledger.claim([(each, "email:0") for each in waiting[: BEHIND_ROWS // 2]], LEASE)
    await ask(pacing, "email")
    assert not await is_put_off(pacing, "email")


async def test_few_digests_ask_the_store_nothing() -> None:
    asked: list[str] = []

    async def handed_over(lane: str, _priority: Priority) -> int:
        asked.append(lane)
        return 0

    pacing = Pacing(handed_over)
    for _ in range(2 * ASKED_EVERY + 1):
        await pacing.wait("email", Priority.NORMAL)
    assert asked == ["email", "email"]
