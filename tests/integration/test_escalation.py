"""Incidents and their escalation on a real store whose clock the test moves."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.core.clock import from_epoch_ms
from shared.core.incidents import AlertState, Way
from shared.core.model import Channel
from shared.ledger.alerts import Answered
from shared.ledger.claims import ClaimVerdict
from shared.ledger.incidents import NextStep
from shared.ledger.ledger import Verdict
from tests.conftest import EmptyStore
from tests.incident_bench import BEGIN_MS, Bench
from tests.records import LEASE
from tests.sim.system import SimulatedStore

pytestmark = pytest.mark.real_store

LADDER = {
    "levels": [
        {"notify": ["oncall"]},
        {"after": "5m", "notify": ["oncall:second"]},
        {"after": "15m", "notify": ["group:bosses"], "channels": ["email"]},
    ]
}
LAYERS = {
    "layers": [
        {"users": ["ada"], "rotation": "weekly", "start": "2026-01-05"},
        {"users": ["ben"], "rotation": "weekly", "start": "2026-01-05"},
    ]
}


@pytest_asyncio.fixture
async def bench(store: EmptyStore) -> AsyncIterator[Bench]:
    async with SimulatedStore(store.url) as opened:
        bench = await Bench(opened).begin()
        await bench.people("ada", "ben")
        await bench.people("cleo", "dan", groups=["bosses"])
        await bench.on_call("disk", LAYERS, LADDER)
        yield bench


async def test_each_level_is_told_at_its_time(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(3600)
    assert bench.heard() == [(0, "ada"), (300, "ben"), (900, "cleo"), (900, "dan")]
    assert await bench.words(incident) == ["opened", "told", "told", "told", "exhausted"]
    opened, told, *_ = await bench.timeline(incident)
    assert (opened.said["by"], opened.said["from"]) == ("-", "mqtt")
    assert (told.said["level"], set(told.said["recipients"])) == ("0", {"ada"})


async def test_a_level_may_tell_everybody_who_has_a_turn(bench: Bench) -> None:
    await bench.on_call("net", LAYERS, {"levels": [{"notify": ["oncall"], "every": True}]})
    await bench.alert("net")
    await bench.run(1)
    assert bench.heard() == [(0, "ada"), (0, "ben")]


async def test_nobody_is_told_after_an_acknowledgement(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(299)
    assert await bench.answering.acknowledge(incident, "ada", "on it", way=Way.SMS) is Answered.DONE
    await bench.run(7200)
    assert bench.heard() == [(0, "ada")]
    *_, last = await bench.timeline(incident)
    assert (last.what, last.said["by"], last.said["from"], last.said["note"]) == ("acknowledged", "ada", "sms", "on it")


async def test_who_was_not_told_may_not_answer(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(1)
    answering = bench.answering
    assert await answering.acknowledge(incident, "ben") is Answered.NOT_TOLD
    assert await answering.snooze(incident, "ben", BEGIN_MS + 10**7) is Answered.NOT_TOLD
    assert await answering.reassign(incident, "ben", "user:ben") is Answered.NOT_TOLD
    assert await answering.resolve(incident, "ben") is Answered.NOT_TOLD
    await bench.people("root", roles=["admin"])
    assert await answering.resolve(incident, "root") is Answered.DONE


async def test_when_every_channel_of_a_level_has_failed_the_next_one_is_told_at_once(bench: Bench) -> None:
    bench.failing = {(Channel.EMAIL, "ada"), (Channel.SMS, "ada")}
    _, incident = await bench.alert("disk")
    await bench.run(3600)
    assert bench.heard() == [(0, "ben"), (900, "cleo"), (900, "dan")]
    assert (await bench.words(incident))[:4] == ["opened", "told", "escalates", "told"]
    (escalates,) = [entry for entry in await bench.timeline(incident) if entry.what == "escalates"]
    assert (escalates.said["reason"], escalates.said["level"]) == ("evidence", "1")


async def test_one_channel_that_works_is_waited_for(bench: Bench) -> None:
    bench.failing = {(Channel.EMAIL, "ada")}
    await bench.alert("disk")
    await bench.run(3600)
    assert bench.heard() == [(300, "ben"), (900, "cleo"), (900, "dan")]


async def test_what_the_provider_takes_back_later_is_evidence_too(bench: Bench) -> None:
    bench.failing = {(Channel.EMAIL, "ada")}
    _, incident = await bench.alert("disk")
    await bench.run(60)
    await bench.confirm(incident, "sms:ada", "failed", "30006")
    await bench.run(61)
    assert bench.heard() == [(60, "ben")]
    assert "escalates" in await bench.words(incident)


async def test_where_nobody_is_on_call_the_next_level_is_told_at_once(bench: Bench) -> None:
    await bench.on_call("gap", {"layers": [{"users": ["ada"], "rotation": "daily", "start": "2090-01-01"}]}, LADDER)
    await bench.alert("gap")
    await bench.run(3600)
    # Nobody is second either.
    assert bench.heard() == [(0, "cleo"), (0, "dan")]


async def test_an_acknowledgement_that_has_run_out_opens_the_incident_again(bench: Bench) -> None:
    await bench.on_call("disk", LAYERS, {**LADDER, "acknowledged_for": "1h"})
    _, incident = await bench.alert("disk")
    await bench.run(310)
    await bench.answering.acknowledge(incident, "ben", way=Way.HTTP)
    await bench.run(310 + 3599)
    assert bench.heard() == [(0, "ada"), (300, "ben")]
    await bench.run(310 + 3600 + 299)
    # Who has acknowledged it, and who is on call.
    assert bench.heard()[2:] == [(3910, "ada"), (3910, "ben")]
    assert (await bench.words(incident))[-2:] == ["reopened", "told"]
    (answer,) = await bench.ledger.alerts.alert_answers([incident])
    assert answer is not None
    assert (answer.state, answer.acknowledged_by) == (AlertState.OPEN, None)
    await bench.run(310 + 3600 + 300)
    assert bench.heard()[4:] == [(4210, "ben")]
    await bench.answering.acknowledge(incident, "ada", way=Way.HTTP)
    await bench.ledger.alerts.resolve(incident, by="shop", way=Way.MQTT)
    await bench.run(100_000)
    assert len(bench.heard()) == 5


async def test_a_step_that_a_dead_router_had_in_hand_is_not_done_in_a_later_turn(bench: Bench) -> None:
    await bench.on_call("disk", LAYERS, {**LADDER, "acknowledged_for": "5s"})
    _, incident = await bench.alert("disk")
    await bench.run(299)
    await bench.store.set_clock(BEGIN_MS + 300_000)
    (claim,) = await bench.ledger.claim([(incident, "escalate:1")], LEASE)
    assert claim.verdict is ClaimVerdict.CLAIMED
    assert await bench.answering.acknowledge(incident, "ada") is Answered.DONE
    await bench.run(305 + 299)
    # It is open again when the lease lapses.
    assert bench.heard() == [(0, "ada"), (305, "ada")]
    assert await bench.words(incident) == ["opened", "told", "acknowledged", "reopened", "told"]


async def test_an_sms_in_doubt_that_comes_to_nothing_is_evidence_too(bench: Bench) -> None:
    bench.failing = {(Channel.EMAIL, "ada")}
    bench.doubtful = {(Channel.SMS, "ada")}
    _, incident = await bench.alert("disk")
    await bench.run(1)
    await bench.confirm(incident, "sms:ada", "failed", "30006")
    await bench.run(2)
    assert bench.heard() == [(1, "ben")]


async def test_snoozed_it_is_told_again_at_the_end(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(10)
    assert await bench.answering.snooze(incident, "ada", BEGIN_MS + 7_210_000, way=Way.MQTT) is Answered.DONE
    found = await bench.incidents.get(incident)
    assert found is not None
    assert (found.word, found.acknowledged_by) == ("snoozed", "ada")
    await bench.run(7209)
    assert bench.heard() == [(0, "ada")]
    await bench.run(7210)
    assert bench.heard() == [(0, "ada"), (7210, "ada")]


async def test_a_later_snooze_takes_the_place_of_the_one_before(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(10)
    for until_s in (3600, 7200, 1800, 1800):
        await bench.answering.snooze(incident, "ada", BEGIN_MS + until_s * 1000)
    await bench.run(1799)
    assert len(bench.heard()) == 1
    await bench.run(2099)
    assert bench.heard() == [(0, "ada"), (1800, "ada")]


async def test_handed_on_it_begins_with_whom_it_was_handed_to(bench: Bench) -> None:
    await bench.people("eve")
    _, incident = await bench.alert("disk")
    await bench.run(60)
    assert await bench.answering.reassign(incident, "ada", "user:eve", "hers", way=Way.MQTT) is Answered.DONE
    await bench.run(60 + 299)
    assert bench.heard() == [(0, "ada"), (60, "eve")]
    await bench.run(60 + 900)
    assert bench.heard()[2:] == [(360, "ada"), (360, "ben"), (960, "cleo"), (960, "dan")]
    (reassigned,) = [entry for entry in await bench.timeline(incident) if entry.what == "reassigned"]
    assert (reassigned.said["by"], reassigned.said["to"]) == ("ada", "user:eve")


async def test_what_is_over_stays_over(bench: Bench) -> None:
    _, incident = await bench.alert("disk", dedup_key="db-1")
    await bench.run(1)
    await bench.answering.resolve(incident, "ada")
    assert await bench.answering.acknowledge(incident, "ada") is Answered.AGAIN
    assert await bench.answering.snooze(incident, "ada", BEGIN_MS + 10**7) is Answered.OVER
    assert await bench.answering.reassign(incident, "ada", "user:ben") is Answered.OVER
    assert await bench.incidents.open_ids() == []
    # The next one is new, and tells people.
    verdict, other = await bench.alert("disk", dedup_key="db-1")
    assert (verdict, other == incident) == (Verdict.ACCEPTED, False)
    await bench.run(2)
    assert bench.heard() == [(0, "ada"), (1, "ada")]


async def test_a_note_is_a_line_of_the_timeline_and_nothing_else(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(1)
    answering = bench.answering
    assert await answering.note(incident, "ben", "a guess", way=Way.CONSOLE) is Answered.NOT_TOLD
    assert await answering.note(incident, "ben", "a guess", way=Way.CONSOLE, may_any=True) is Answered.DONE
    for expected in (Answered.DONE, Answered.AGAIN):
        assert await answering.note(incident, "ada", "it is the fan", way=Way.CONSOLE) is expected
    assert await answering.note("0197c5a2-7f00-7003-8000-000000000000", "ada", "x") is Answered.UNKNOWN
    await bench.run(301)
    assert bench.heard() == [(0, "ada"), (300, "ben")]
    await answering.resolve(incident, "ada")
    assert await answering.note(incident, "ada", "the fan was replaced", way=Way.COMMAND_LINE) is Answered.DONE
    noted = [entry.said for entry in await bench.timeline(incident) if entry.what == "noted"]
    assert [(said["by"], said["from"], said["note"]) for said in noted] == [
        ("ben", "console", "a guess"),
        ("ada", "console", "it is the fan"),
        ("ada", "command line", "the fan was replaced"),
    ]


async def test_what_is_done_next_is_known_until_somebody_answers(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    for now_s, level in ((1, 1), (301, 2)):
        await bench.run(now_s)
        step = await bench.incidents.next_step(incident)
        assert step is not None
        assert ((step.at - from_epoch_ms(BEGIN_MS)).total_seconds(), step.level) == ([300, 900][level - 1], level)
    await bench.answering.snooze(incident, "ada", BEGIN_MS + 3_600_000)
    assert await bench.incidents.next_step(incident) == NextStep(from_epoch_ms(BEGIN_MS + 3_600_000), None)
    await bench.answering.resolve(incident, "ada")
    assert await bench.incidents.next_step(incident) is None


async def test_a_timeline_is_read_in_parts(bench: Bench) -> None:
    _, incident = await bench.alert("disk")
    await bench.run(3600)
    whole = await bench.timeline(incident)
    last, first_of_last, count = await bench.incidents.timeline_page(incident, 2)
    before, first, _ = await bench.incidents.timeline_page(incident, 100, first_of_last)
    assert ([*before, *last], first, count) == (whole, 0, len(whole))
    assert await bench.incidents.timeline_page(incident, 2, 0) == ([], 0, count)


async def test_those_that_were_over_lately_are_listed_by_when_they_were(bench: Bench) -> None:
    ids = [(await bench.alert("disk", dedup_key=f"db-{number}"))[1] for number in range(3)]
    for second, number in enumerate((2, 0), start=1):
        await bench.run(second)
        await bench.answering.resolve(ids[number], "ada")
    await bench.run(3)
    await bench.ledger.cancel(ids[1])
    first = await bench.incidents.page(2, None, lambda _: True, over=True)
    rest = await bench.incidents.page(2, first.last, lambda _: True, over=True)
    assert [(each.id, each.word) for each in (*first.incidents, *rest.incidents)] == [
        (ids[1], "cancelled"),
        (ids[0], "resolved"),
        (ids[2], "resolved"),
    ]
    assert (await bench.incidents.page(9, None, lambda _: True)).incidents == []


async def test_the_same_trouble_from_the_same_source_is_one_incident(bench: Bench) -> None:
    _, incident = await bench.alert("disk", source="db-1")
    await bench.run(1)
    assert await bench.alert("disk", source="db-1", message="Still.") == (Verdict.DUPLICATE, incident)
    assert (await bench.alert("disk", source="db-2"))[0] is Verdict.ACCEPTED
    # Without a source nobody knows whether it is the same.
    assert [(await bench.alert("disk"))[0] for _ in range(2)] == [Verdict.ACCEPTED] * 2
    found = await bench.incidents.get(incident)
    assert found is not None
    assert (found.repeats, found.repeated_at) == (1, bench.clock.now())


async def test_what_nobody_has_to_answer_is_no_incident_unless_it_has_a_key(bench: Bench) -> None:
    await bench.alert("disk", "info", source="db-1")
    _, kept = await bench.alert("disk", "warning", dedup_key="db-1")
    assert await bench.incidents.open_ids() == [kept]


async def test_a_refusal_whose_fault_nobody_knows_yet_is_not_waited_for(bench: Bench) -> None:
    bench.refusing, bench.failing = {(Channel.EMAIL, "ada")}, {(Channel.SMS, "ada")}
    _, incident = await bench.alert("disk")
    await bench.run(2)
    assert bench.heard() == [(0, "ben")]
    refused = [entry for entry in await bench.timeline(incident) if entry.what == "refused"]
    assert [(entry.channel, entry.said["reason"]) for entry in refused] == [("email", "rejected")]


async def test_a_pause_by_hand_is_not_waited_for(bench: Bench) -> None:
    bench.paused, bench.failing = {(Channel.EMAIL, "ada")}, {(Channel.SMS, "ada")}
    _, incident = await bench.alert("disk")
    await bench.run(200)
    assert bench.heard() == [(0, "ben")]
    (escalates,) = [entry for entry in await bench.timeline(incident) if entry.what == "escalates"]
    assert (escalates.said["reason"], escalates.said["level"]) == ("evidence", "1")
    # However often it looked whether the pause is over.
    (paused,) = [entry for entry in await bench.timeline(incident) if entry.what == "paused"]
    assert (paused.recipient, paused.channel, paused.said["reason"]) == ("ada", "email", "by hand")
    bench.paused = set()
    await bench.run(299)
    assert bench.heard() == [(0, "ben"), (240, "ada")]


async def test_a_pause_of_one_channel_is_no_reason_to_tell_the_next_level(bench: Bench) -> None:
    bench.paused = {(Channel.EMAIL, "ada")}
    _, incident = await bench.alert("disk")
    await bench.run(299)
    assert bench.heard("sms") == [(0, "ada")]
    assert bench.heard() == []
    assert "escalates" not in await bench.words(incident)


async def test_an_escalation_does_not_wait_in_silence_while_everything_is_paused(bench: Bench) -> None:
    bench.paused = {(channel, who) for channel in (Channel.EMAIL, Channel.SMS) for who in ("ada", "ben", "cleo", "dan")}
    _, incident = await bench.alert("disk")
    await bench.run(1)
    # Nobody is waited for. The bosses are told by mail alone, the others in their inboxes, too.
    assert bench.heard("realtime") == [(0, "ada"), (0, "ben")]
    assert (await bench.words(incident))[-1] == "exhausted"


async def test_that_somebody_has_it_is_told_no_more_once_it_is_open_again(bench: Bench) -> None:
    await bench.people("ada", "ben", devices=[{"platform": "android", "token": "t"}])
    await bench.on_call("web", {"users": ["ada", "ben"]}, {"levels": [{"notify": ["oncall"]}]})
    _, incident = await bench.alert("web")
    await bench.run(1)
    pushed = len(bench.pushed)
    await bench.answering.acknowledge(incident, "ada")
    await bench.answering.reassign(incident, "ada", "user:ada")
    await bench.run(60)
    assert not [title for title in bench.pushed[pushed:] if title.startswith("Acknowledged")]
