"""Leases of router slots on a real store."""

import asyncio

import pytest

from services.router import slots as module
from services.router.slots import SlotLost, Slots
from shared.keys import Keys
from shared.store import Store
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
        async with asyncio.timeout(10):
            await keeping


async def test_who_finds_his_slot_taken_has_lost_it(store: EmptyStore) -> None:
    async with Store(store.url) as opened:
        slots = Slots(opened, Keys().slots, "one")
        slot = await slots.take()
        await opened.command("HSET", f"{Keys().slots}:owners", str(slot), "two|9999999999999")
        async with asyncio.timeout(10):
            with pytest.raises(SlotLost):
                await slots.keep(slot)
