"""Sources that are to be heard of: what opens an incident, what ends it, and what does neither."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.router.payloads.rejection import Rejected, RejectionCode
from services.router.upkeep.router_link import Receipt
from shared.directory.liveness import GENERATIONS, Liveness
from shared.ledger.sources import AWAY, COMEBACK, State
from tests.conftest import EmptyStore
from tests.liveness import LivenessBench
from tests.sim.system import SimulatedStore

pytestmark = pytest.mark.real_store

EVERY_MINUTE = {"every": "60s", "grace": "20s"}
# The first look after a beat's time is over.
MISSED_S = 80


@pytest_asyncio.fixture
async def bench(store: EmptyStore) -> AsyncIterator[LivenessBench]:
    async with SimulatedStore(store.url) as opened:
        bench = LivenessBench(opened)
        await bench.move(0)
        await bench.expect("gateway-7", **EVERY_MINUTE)
        yield bench


async def test_the_first_beat_arms_a_missed_one_opens_and_the_next_resolves(bench: LivenessBench) -> None:
    await bench.pass_(2 * MISSED_S)
    assert bench.log == {}
    assert await bench.state("gateway-7") == "unarmed"
    await bench.beat("gateway-7")
    await bench.pass_(MISSED_S - 1)
    assert bench.log == {}
    await bench.pass_(1)
    assert bench.log["gateway-7"] == ["opened"]
    assert await bench.state("gateway-7") == "open"
    await bench.pass_(MISSED_S)
    await bench.beat("gateway-7")
    await bench.pass_(1)
    assert bench.log["gateway-7"] == ["opened", "resolved"]
    await bench.pass_(MISSED_S)
    assert bench.log["gateway-7"] == ["opened", "resolved", "opened"]


async def test_an_incident_says_what_where_and_since_when(bench: LivenessBench) -> None:
    await bench.expect("valve-3", every="1m", alert_type="plant", severity="warning", children_of="gateway-7")
    await bench.beat("valve-3")
    await bench.pass_(MISSED_S)
    await bench.beat("valve-3")
    await bench.pass_(1)
    (topic, opened), (over_topic, over) = bench.routers.said
    assert topic == over_topic == "notifications/alerts/warning/plant"
    assert opened.pop("id") != over.pop("id")
    common = {
        "source": "valve-3",
        "severity": "warning",
        "dedup_key": "liveness:valve-3",
        "labels": {"source": "valve-3", "parent": "gateway-7"},
        "starts_at": "2026-11-30T12:00:00.000Z",
    }
    assert opened == {
        **common,
        "message": "valve-3 has not been heard of since 2026-11-30 12:00:00 UTC; it should be heard of every 1m.",
    }
    assert over == {
        **common,
        "status": "resolved",
        "message": "valve-3 is heard of again since 2026-11-30 12:01:20 UTC.",
    }


async def test_a_death_opens_at_once_and_a_birth_resolves(bench: LivenessBench) -> None:
    await bench.birth("gateway-7", 5)
    await bench.death("gateway-7", 5)
    await bench.pass_(1)
    assert bench.log["gateway-7"] == ["opened"]
    assert "its connection broke" in bench.routers.said[0][1]["message"]
    await bench.birth("gateway-7", 6)
    await bench.pass_(1)
    assert bench.log["gateway-7"] == ["opened", "resolved"]


async def test_a_death_of_another_session_is_ignored(bench: LivenessBench) -> None:
    await bench.birth("gateway-7", 5)
    await bench.birth("gateway-7", 6)
    for session in (5, 7, None):
        await bench.death("gateway-7", session)
        await bench.death("gateway-7", session, clean=True)
    await bench.pass_(1)
    assert await bench.state("gateway-7") == "alive"
    assert bench.log == {}


async def test_a_death_of_what_was_never_heard_of_is_ignored(bench: LivenessBench) -> None:
    await bench.death("gateway-7")
    await bench.pass_(1)
    assert await bench.state("gateway-7") == "unarmed"


async def test_a_source_without_sessions_may_die_too(bench: LivenessBench) -> None:
    await bench.beat("gateway-7")
    await bench.death("gateway-7")
    await bench.pass_(1)
    assert bench.log["gateway-7"] == ["opened"]


async def test_a_clean_death_disarms_and_its_last_will_is_ignored(bench: LivenessBench) -> None:
    await bench.birth("gateway-7", 5)
    await bench.death("gateway-7", 5, clean=True)
    await bench.death("gateway-7", 5)
    # Another router brings the last beat late.
    await bench.beat("gateway-7")
    await bench.pass_(2 * MISSED_S)
    assert await bench.state("gateway-7") == "clean"
    assert bench.log == {}
    await bench.beat("gateway-7")
    await bench.pass_(MISSED_S)
    assert bench.log["gateway-7"] == ["opened"]


async def test_a_clean_death_ends_an_open_incident(bench: LivenessBench) -> None:
    await bench.birth("gateway-7", 5)
    await bench.pass_(MISSED_S)
    await bench.death("gateway-7", 5, clean=True)
    await bench.pass_(MISSED_S)
    assert bench.log["gateway-7"] == ["opened", "resolved"]


async def test_children_of_a_missing_parent_are_missing_without_an_incident(bench: LivenessBench) -> None:
    await bench.expect("valve-3", children_of="gateway-7", **EVERY_MINUTE)
    await bench.expect("seal-1", children_of="valve-3", **EVERY_MINUTE)
    for source in ("gateway-7", "valve-3", "seal-1"):
        await bench.beat(source)
    # All are due in one look.
    await bench.pass_(MISSED_S)
    assert bench.log == {"gateway-7": ["opened"]}
    assert [await bench.state(each) for each in ("gateway-7", "valve-3", "seal-1")] == [
        "open",
        "inhibited",
        "inhibited",
    ]
    await bench.pass_(3 * MISSED_S + 7)
    assert bench.log == {"gateway-7": ["opened"]}
    # It is back, and has one child with it.
    await bench.beat("gateway-7")
    await bench.beat("seal-1")
    await bench.pass_(MISSED_S // 2)
    await bench.beat("gateway-7")
    await bench.beat("seal-1")
    await bench.pass_(MISSED_S // 2 - 1)
    assert bench.log == {"gateway-7": ["opened", "resolved"]}
    assert await bench.state("valve-3") == "inhibited"
    await bench.pass_(1)
    assert bench.log == {"gateway-7": ["opened", "resolved"], "valve-3": ["opened"]}


async def test_a_parents_death_inhibits_its_childrens(bench: LivenessBench) -> None:
    await bench.expect("valve-3", children_of="gateway-7", **EVERY_MINUTE)
    for source in ("gateway-7", "valve-3"):
        await bench.birth(source, 1)
    for source in ("valve-3", "gateway-7"):
        await bench.death(source, 1)
    await bench.pass_(1)
    assert bench.log == {"gateway-7": ["opened"]}
    await bench.beat("valve-3")
    await bench.pass_(1)
    assert await bench.state("valve-3") == "alive"
    assert bench.log == {"gateway-7": ["opened"]}


async def test_parents_in_a_circle_are_refused_and_unknown_ones_warned_of(bench: LivenessBench) -> None:
    receipt = await bench.expect("valve-3", children_of="gatway-7", **EVERY_MINUTE)
    assert receipt["warnings"] == [{"field": "children_of", "problem": "unknown"}]
    assert "warnings" not in await bench.expect("valve-3", children_of="gateway-7", **EVERY_MINUTE)
    for source, parent in (("gateway-7", "valve-3"), ("gateway-7", "gateway-7")):
        with pytest.raises(Rejected) as refused:
            await bench.expect(source, children_of=parent, **EVERY_MINUTE)
        assert [(each.field, each.problem) for each in refused.value.fields] == [("children_of", "makes a circle")]
    for number in range(1, GENERATIONS + 1):
        await bench.expect(f"level-{number}", children_of=f"level-{number - 1}", **EVERY_MINUTE)
    with pytest.raises(Rejected, match="One field"):
        await bench.expect("level-9", children_of="level-8", **EVERY_MINUTE)


async def test_a_circle_that_two_writers_have_made_silences_nobody(bench: LivenessBench) -> None:
    await bench.expect("valve-3", children_of="gateway-7", **EVERY_MINUTE)
    await bench.rulebook.put("gateway-7", Liveness.model_validate({"children_of": "valve-3", **EVERY_MINUTE}))
    for source in ("gateway-7", "valve-3"):
        await bench.beat(source)
    await bench.pass_(MISSED_S)
    assert bench.log == {"gateway-7": ["opened"], "valve-3": ["opened"]}


async def test_deleting_a_record_disarms_and_resolves(bench: LivenessBench) -> None:
    await bench.beat("gateway-7")
    await bench.forget("gateway-7")
    await bench.pass_(MISSED_S)
    assert bench.log == {}
    await bench.expect("gateway-7", **EVERY_MINUTE)
    await bench.beat("gateway-7")
    await bench.pass_(MISSED_S)
    await bench.forget("gateway-7")
    await bench.pass_(1)
    assert bench.log["gateway-7"] == ["opened", "resolved"]
    assert bench.routers.said[-1][1]["message"] == "gateway-7 is not expected any more."
    assert await bench.state("gateway-7") == "unarmed"
    with pytest.raises(Rejected):
        await bench.beat("gateway-7")
    assert await bench.store.command("KEYS", "*:of:*") == []


async def test_another_time_holds_from_the_next_beat_on(bench: LivenessBench) -> None:
    await bench.beat("gateway-7")
    await bench.expect("gateway-7", every="10s", grace="1s")
    await bench.pass_(MISSED_S - 1)
    assert bench.log == {}
    await bench.beat("gateway-7")
    await bench.pass_(11)
    assert bench.log["gateway-7"] == ["opened"]


async def test_an_incident_ends_under_the_type_and_severity_that_it_began_with(bench: LivenessBench) -> None:
    await bench.beat("gateway-7")
    await bench.pass_(MISSED_S)
    await bench.expect("gateway-7", severity="info", alert_type="other", **EVERY_MINUTE)
    await bench.beat("gateway-7")
    await bench.pass_(1)
    assert [topic for topic, _ in bench.routers.said] == 2 * ["notifications/alerts/critical/liveness"]


async def test_nothing_is_missed_at_once_after_nobody_has_watched(bench: LivenessBench) -> None:
    """Beats wait at the broker, and sources have to connect again."""
    await bench.expect("slow", every="1h")
    await bench.birth("gateway-7", 1)
    await bench.beat("slow")
    await bench.watch.look()
    await bench.move(2 * 3600)
    await bench.death("gateway-7", 1)
    await bench.watch.look()
    assert bench.log == {}
    await bench.pass_(MISSED_S - 1)
    assert bench.log == {}
    await bench.pass_(1)
    assert bench.log == {"gateway-7": ["opened"]}
    await bench.pass_(round(COMEBACK.total_seconds()) - MISSED_S - 1)
    assert "slow" not in bench.log
    await bench.pass_(1)
    assert bench.log["slow"] == ["opened"]


async def test_a_short_pause_of_the_watch_changes_nothing(bench: LivenessBench) -> None:
    await bench.beat("gateway-7")
    await bench.pass_(MISSED_S - 10)
    await bench.move(AWAY.total_seconds())
    await bench.watch.look()
    assert bench.log["gateway-7"] == ["opened"]


async def test_what_cannot_be_told_waits_and_is_told_once(bench: LivenessBench) -> None:
    await bench.beat("gateway-7")
    bench.routers.are_away = True
    await bench.pass_(MISSED_S + 5)
    await bench.beat("gateway-7")
    await bench.pass_(5)
    assert bench.log == {}
    bench.routers.are_away = False
    await bench.pass_(2)
    assert bench.log["gateway-7"] == ["opened", "resolved"]


async def test_what_is_refused_is_told_again_later(bench: LivenessBench) -> None:
    await bench.beat("gateway-7")
    bench.routers.answer = Receipt("unauthorized")
    await bench.pass_(MISSED_S)
    bench.routers.answer = Receipt()
    await bench.pass_(29)
    assert bench.log == {}
    await bench.pass_(1)
    assert bench.log["gateway-7"] == ["opened"]


@pytest.mark.parametrize("steps", range(12))
async def test_whoever_dies_at_whatever_step_leaves_one_incident_with_one_end(bench: LivenessBench, steps: int) -> None:
    await bench.beat("gateway-7")
    await bench.pass_(MISSED_S - 1)
    await bench.move(1)
    await bench.look(steps)
    is_open = await bench.state("gateway-7") == "open"
    await bench.move(1)
    await bench.beat("gateway-7")
    await bench.look(steps)
    await bench.pass_(2)
    assert is_open == (steps > 0)
    assert bench.log == ({"gateway-7": ["opened", "resolved"]} if is_open else {})


async def test_what_the_broker_brings_late_changes_nothing(bench: LivenessBench) -> None:
    """A router that died may have published anything that the next one published, too."""
    for _ in range(2):
        await bench.beat("gateway-7")
        await bench.pass_(MISSED_S)
    assert bench.log["gateway-7"] == ["opened", "resolved", "opened"]
    for topic, payload in list(bench.routers.said):
        await bench.routers.take(topic, payload)
    assert bench.log["gateway-7"] == ["opened", "resolved", "opened"]


async def test_only_its_publisher_speaks_for_a_source_that_has_one(bench: LivenessBench) -> None:
    await bench.expect("gateway-7", publisher="plant", **EVERY_MINUTE)
    for publisher in ("-", "shop"):
        with pytest.raises(Rejected) as refused:
            await bench.beat("gateway-7", publisher)
        assert refused.value.code is RejectionCode.UNAUTHORIZED
    await bench.beat("gateway-7", "plant")
    assert await bench.state("gateway-7") == "alive"


async def test_sources_are_counted_by_how_they_are(bench: LivenessBench) -> None:
    for number in range(20):
        await bench.expect(f"s{number}", children_of="gateway-7" if number < 5 else None, every="30s", grace="10s")
        await bench.beat(f"s{number}")
    await bench.birth("gateway-7")
    await bench.death("gateway-7")
    await bench.death("s19", clean=True)
    await bench.pass_(40)
    assert await bench.sources.counts() == {State.OPEN: 15, State.INHIBITED: 5, State.CLEAN: 1, State.ALIVE: 0}
