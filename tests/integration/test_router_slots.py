"""Leases of router slots on a real store."""

import asyncio
import time

import pytest

from services.router.intake import slots as module
from services.router.intake.slots import LEASE_MS, SlotLost, Slots
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.01)


async def test_who_gives_his_slot_back_has_not_lost_it(store: EmptyStore) -> None:
    async with Store(store.url) as opened:
        slots = Slots(opened, Keys().slots, "one")
        slot = await slots.take()
        keeping = asyncio.create_task(slots.keep(slot), name="keep")
        await slots.release(slot)
        async with asyncio.timeout(30):
            await keeping


async def test_who_finds_his_slot_taken_has_lost_it(store: EmptyStore) -> None:
    async with Store(store.url) as opened:
        slots = Slots(opened, Keys().slots, "one")
        slot = await slots.take()
        await opened.command("HSET", f"{Keys().slots}:owners", str(slot), "two|9999999999999")
        async with asyncio.timeout(30):
            with pytest.raises(SlotLost):
                await slots.keep(slot)


async def _leave_left(store: Store, slot: int, owner: str, left_ms: int) -> None:
    """Write a lease that has so long to go; less than nothing: it has lapsed."""
    await store.command("HSET", f"{Keys().slots}:owners", str(slot), f"{owner}|{round(time.time() * 1000) + left_ms}")


async def test_a_lapsed_lease_is_taken_by_who_has_renewed_his_own_in_time(store: EmptyStore) -> None:
    async with Store(store.url) as opened:
        slots = Slots(opened, Keys().slots, "one")
        own = await slots.take()
        await _leave_left(opened, 7, "two", -1)
        assert await slots.take_orphan(own) == 7


async def test_who_could_not_renew_for_a_while_takes_nobody_for_dead(store: EmptyStore) -> None:
    """The store was away for less than a lease: some have lapsed since, though their owners live."""
    async with Store(store.url) as opened:
        slots = Slots(opened, Keys().slots, "one")
        own = await slots.take()
        await _leave_left(opened, 7, "two", -1)
        await _leave_left(opened, own, "one", LEASE_MS // 4)
        assert await slots.take_orphan(own) is None
        assert await slots.renew(own)
        assert await slots.take_orphan(own) is None
