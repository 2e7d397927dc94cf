"""Ids that carry their shard, and key names whose hash tags a Redis Cluster can place."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store.keys import SHARDS, Keys, is_notification_id, new_notification_id, order_of, shard_of_id, shard_of_key
from tests.fakes.clock import StandingClock


@given(shard=st.integers(0, SHARDS - 1))
def test_an_id_is_a_uuid_of_version_7_and_carries_its_shard(shard: int) -> None:
    before_ms = round(time.time() * 1000) - 1
    made = new_notification_id(shard)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    # RFC 9562, 5.7: the first 48 bits are milliseconds since 1970.
    assert before_ms <= parsed.int >> 80 <= round(time.time() * 1000) + 1
    assert shard_of_id(made) == shard
    assert is_notification_id(made)


def test_ids_without_a_wish_reach_every_shard_and_never_repeat() -> None:
    ids = [new_notification_id() for _ in range(2_000)]
    assert len(set(ids)) == len(ids)
    assert {shard_of_id(one) for one in ids} == set(range(SHARDS))


def test_what_one_process_accepts_has_its_order_also_within_a_millisecond() -> None:
    ids = [new_notification_id() for _ in range(500)]
    orders = [order_of(one) for one in ids]
    assert orders == sorted(set(orders))
    assert orders[0] // 1_000_000 == pytest.approx(time.time(), abs=5)


def test_what_was_to_be_told_later_has_the_order_of_that_time() -> None:
    first, second = new_notification_id(), new_notification_id()
    later_ms = round(time.time() * 1000) + 60_000
    assert order_of(first) < order_of(second) < order_of(first, later_ms)
    assert order_of(first, 1) == order_of(first)


def test_a_clock_that_is_set_back_a_little_changes_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StandingClock()
    monkeypatch.setattr("shared.store.keys._clock", clock)
    ids = [new_notification_id()]
    clock.move(-0.5)
    ids.append(new_notification_id())
    assert order_of(ids[0]) < order_of(ids[1])


def test_no_id_has_an_order_that_the_store_cannot_hold() -> None:
    assert order_of("ffffffff-ffff-7000-bfff-ffffffffffff") == 2**53 - 1


def test_a_key_always_has_the_same_shard_and_keys_spread_over_all() -> None:
    # Ids in flight carry the shard, so that the function must never change.
    assert [shard_of_key(key) for key in ("order-1", "order-2", "ä")] == [15, 5, 3]
    assert {shard_of_key(f"order-{number}") for number in range(1_000)} == set(range(SHARDS))


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "no-such-id",
        str(uuid.UUID(int=0)),
        "0189abcd-0000-4000-8000-000000000000",  # version 4
        "0189abcd-0000-7010-8000-000000000000",  # shard 16
        "0189ABCD-0000-7001-8000-00000000000A",  # capitals: another text for the same id
        "0189abcd00007001800000000000000a",
        "{0189abcd-0000-7001-8000-00000000000a}",
        "urn:uuid:0189abcd-0000-7001-8000-00000000000a",
        "0189abcd-0000-7001-8000-00000000000a\n",
        "０189abcd-0000-7001-8000-00000000000a",  # noqa: RUF001 - a digit that is not ASCII
    ],
)
def test_a_foreign_id_is_refused(foreign: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        shard_of_id(foreign)
    assert not is_notification_id(foreign)


@given(text=st.text(max_size=60))
def test_any_text_is_an_id_of_ours_or_refused(text: str) -> None:
    assert is_notification_id(text) in (True, False)


def tag(key: str) -> str:
    """Return the part of a key that decides its slot (Redis Cluster specification, hash tags)."""
    _, brace, rest = key.partition("{")
    inside, closing, _ = rest.partition("}")
    return inside if brace and closing and inside else key


def test_keys_of_one_shard_one_user_or_one_group_share_a_tag() -> None:
    keys = Keys("staging/")
    made = new_notification_id(7)
    assert keys.shard_of(made) == keys.shard(7) == "carillon:staging:{s07}"
    assert tag(f"{keys.shard(7)}:n:{made}") == "s07"
    assert tag(f"{keys.user('user123')}:inbox") == "u:user123"
    assert tag(keys.group("ops")) == "g:ops"
    assert len({keys.everybody(part) for part in range(SHARDS)}) == SHARDS


@given(first=st.text(min_size=1, max_size=20), second=st.text(min_size=1, max_size=20))
def test_two_users_or_groups_never_share_a_key(first: str, second: str) -> None:
    keys = Keys()
    if first != second:
        assert not {f"{keys.user(first)}:inbox", f"{keys.user(first)}:record"} & {
            f"{keys.user(second)}:inbox",
            f"{keys.user(second)}:record",
        }
        assert keys.group(first) != keys.group(second)
    assert keys.group(first) != keys.user(second)


def test_two_prefixes_share_nothing() -> None:
    assert Keys().shard(1) != Keys("staging/").shard(1) != Keys("production/").shard(1)
    assert Keys().user("user123") != Keys("staging/").user("user123")
