"""Publishers take turns by their shares, and nothing is lost, doubled or put out of its publisher's order."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from services.router.intake.fair_queue import FREE_MOST, FairQueue
from shared.mqtt.packets import Incoming


def publish(number: int, held_bytes: int = 1) -> Incoming:
    incoming = Incoming(topic=f"{number}", payload=b"", qos=1, mid=number)
    incoming.held_bytes = held_bytes
    return incoming


def filled(shares: dict[str, float], each: int) -> FairQueue:
    queue = FairQueue(lambda name: shares[name])
    for name in shares:
        for number in range(each):
            incoming = publish(number)
            incoming.topic = f"{name} {number}"
            queue.add(name, incoming)
    return queue


def test_who_came_later_does_not_wait_behind_all_of_another_publisher() -> None:
    queue = FairQueue(lambda _name: 1)
    for number in range(1_000):
        queue.add("flood", publish(number))
    queue.take(100, 1_000)
    queue.add("other", publish(-1))
    assert "-1" in [each.topic for each in queue.take(2, 1_000)]


def test_shares_are_kept_in_every_stretch() -> None:
    queue = filled({"one": 1, "three": 3}, 3_000)
    for _ in range(20):
        counts = Counter(each.topic.split()[0] for each in queue.take(100, 10_000))
        assert 24 <= counts["one"] <= 26


def test_a_publisher_that_was_quiet_has_saved_up_nothing() -> None:
    queue = FairQueue(lambda _name: 1)
    for number in range(1_000):
        queue.add("busy", publish(number))
    queue.take(500, 1_000)
    for number in range(100):
        queue.add("quiet", publish(-1 - number))
    counts = Counter(int(each.topic) < 0 for each in queue.take(100, 1_000))
    assert 49 <= counts[True] <= 51


def test_one_that_always_has_a_single_publish_waiting_gets_its_share_and_no_more() -> None:
    queue = FairQueue(lambda name: 0.1 if name == "small" else 1)
    for number in range(1_000):
        queue.add("busy", publish(number))
    queue.add("small", publish(-1))
    taken = 0
    for _ in range(500):
        (one,) = queue.take(1, 1_000)
        if one.topic == "-1":
            taken += 1
            queue.add("small", publish(-1))
    assert 43 <= taken <= 48


def test_publishers_that_do_not_come_back_are_forgotten_while_others_wait() -> None:
    queue = FairQueue(lambda _name: 1)
    for number in range(20_000):
        queue.add("busy", publish(number))
    for number in range(9_000):
        queue.add(f"once{number}", publish(-1))
        queue.take(2, 1_000)
    assert queue
    assert len(queue._free) <= FREE_MOST + 2


def test_a_batch_ends_at_its_bytes() -> None:
    queue = FairQueue(lambda _name: 1)
    for number in range(10):
        queue.add("one", publish(number, 400))
    assert len(queue.take(10, 1_000)) == 3
    assert len(queue) == 7
    assert len(list(queue.drain())) == 7
    assert not queue


@given(
    steps=st.lists(
        st.one_of(st.tuples(st.just("add"), st.sampled_from("abc")), st.tuples(st.just("take"), st.integers(1, 5)))
    ),
    shares=st.fixed_dictionaries(dict.fromkeys("abc", st.floats(0.001, 1000))),
)
def test_everything_comes_out_once_in_its_publishers_order(
    steps: list[tuple[str, str | int]], shares: dict[str, float]
) -> None:
    queue = FairQueue(lambda name: shares[name])
    added, came = 0, defaultdict[str, list[int]](list)
    for what, argument in steps:
        if what == "add":
            incoming = publish(added)
            incoming.topic = f"{argument}"
            queue.add(str(argument), incoming)
            added += 1
        else:
            for each in queue.take(int(argument), 1_000):
                came[each.topic].append(each.mid)
    for each in queue.take(added, added + 1):
        came[each.topic].append(each.mid)
    assert sorted(mid for mids in came.values() for mid in mids) == list(range(added))
    assert all(mids == sorted(mids) for mids in came.values())
    assert not queue
