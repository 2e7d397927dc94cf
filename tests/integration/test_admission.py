"""Who is let in, with a real store: lookups side by side, and records or counts that are damaged."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from services.router.intake import admission as module
from services.router.intake.admission import Admission, Asked
from shared.core.rates import Rate
from shared.directory.publishers import Publisher, Publishers
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store

KEYS = Keys()


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


async def test_lanes_that_look_up_side_by_side_do_not_forget_for_each_other(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other lane's lookup begins and ends while this one waits for the store, and a record grows old meanwhile."""
    admission = Admission(opened, KEYS, Rate(0))
    await admission.records(["known"])
    read = Publishers.get
    is_first = True

    async def slow(self: Publishers, names: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            monkeypatch.setattr(module, "KNOWN_S", -1.0)
            await admission.records(["third"])
        return await read(self, names)

    monkeypatch.setattr(Publishers, "get", slow)
    assert await admission.records(["known", "other"]) == {"known": Publisher(), "other": Publisher()}


async def test_publishers_of_long_ago_are_forgotten(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission(opened, KEYS, Rate(0))
    monkeypatch.setattr(module, "KNOWN_S", -1.0)
    for number in range(0, 5_000, 500):
        await admission.records([f"p{each}" for each in range(number, number + 500)])
    assert len(admission._known) <= module.KNOWN_MOST + 500


async def test_a_count_that_is_damaged_refuses_nobody(opened: Store) -> None:
    await opened.command("SET", f"{KEYS.publisher('shop')}:rate", "garbage")
    admission = Admission(opened, KEYS, Rate(1, 60))
    records = await admission.records(["shop", "other"])
    asked = [Asked("shop", b"1"), Asked("shop", b"2"), Asked("other", b"3"), Asked("other", b"4")]
    waits_s = await admission.over_rate(asked, records)
    assert waits_s[:3] == [0, 0, 0]
    assert waits_s[3] > 0


async def test_records_that_are_damaged_stop_nobody(opened: Store) -> None:
    await Publishers(opened, KEYS).put("shop", Publisher(share=3))
    admission = Admission(opened, KEYS, Rate(0))
    await admission.records(["shop"])
    await opened.command("DEL", f"{KEYS.publishers}:records")
    await opened.command("SET", f"{KEYS.publishers}:records", "garbage")
    admission._known = {name: (0.0, record) for name, (_, record) in admission._known.items()}
    # What was known goes on, and who was not known is as without a record.
    assert await admission.records(["shop", "other"]) == {"shop": Publisher(share=3), "other": Publisher()}
