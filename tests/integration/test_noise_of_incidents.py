"""Groups, silences and inhibitions of incidents on a real store whose clock the test moves."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from shared.core.errors import Reason
from shared.core.model import State
from shared.directory.inhibitions import Inhibition
from shared.directory.silences import Silence
from shared.ledger.alerts import Answered
from shared.ledger.incident_documents import incident_document, members_document
from shared.ledger.ledger import Verdict
from shared.ledger.reader import Trace
from tests.conftest import EmptyStore
from tests.incident_bench import Bench
from tests.sim.system import SimulatedStore

pytestmark = pytest.mark.real_store

LEVELS = [{"notify": ["user:ada"]}, {"after": "5m", "notify": ["user:ben"]}]
GROUP = {"by": ["alert_type", "system"], "wait": "30s", "interval": "5m", "repeat": "4h"}


@pytest_asyncio.fixture
async def bench(store: EmptyStore) -> AsyncIterator[Bench]:
    async with SimulatedStore(store.url) as opened:
        bench = await Bench(opened).begin()
        await bench.people("ada", "ben")
        await bench.on_call("disk", {"users": ["ada"]}, {"levels": LEVELS})
        await bench.on_call("net", {"users": ["ada"]}, {"levels": LEVELS, "group": GROUP})
        yield bench


async def reason_of(bench: Bench, notification_id: str) -> tuple[str, str | None, str | None]:
    (row,) = [
        row
        async for row in Trace(bench.store, bench.keys).rows(notification_id)
        if row.state is State.SUPPRESSED and row.lane == "realtime"
    ]
    return row.reason, row.rule, row.digest


async def test_a_group_waits_for_others_and_tells_of_all_of_them_once(bench: Bench) -> None:
    verdict, incident = await bench.alert("net", affected_systems=["core"], dedup_key="a")
    assert verdict is Verdict.ACCEPTED
    for key in "bcd":
        await bench.run(bench.now_s + 5)
        verdict, member = await bench.alert("net", affected_systems=["core"], dedup_key=key, message=f"{key} is down")
        assert verdict is Verdict.GROUPED
        assert await reason_of(bench, member) == (Reason.GROUPED, "policy:group", incident)
    # Another system is another group.
    assert (await bench.alert("net", affected_systems=["edge"], dedup_key="e"))[0] is Verdict.ACCEPTED
    await bench.run(29)
    assert bench.heard() == []
    await bench.run(46)
    assert bench.heard() == [(30, "ada"), (45, "ada")]
    # Nothing is new.
    await bench.run(299)
    assert len(bench.heard()) == 2


async def test_the_same_alert_again_is_counted_and_no_new_member(bench: Bench) -> None:
    _, incident = await bench.alert("net", affected_systems=["core"], dedup_key="a")
    _, member = await bench.alert("net", affected_systems=["core"], dedup_key="b")
    assert await bench.alert("net", affected_systems=["core"], dedup_key="b") == (Verdict.DUPLICATE, member)
    assert await bench.alert("net", affected_systems=["core"], dedup_key="a") == (Verdict.DUPLICATE, incident)
    assert [(each.id, each.count) for each in await bench.ledger.members.of(incident)] == [(incident, 2), (member, 2)]


async def test_what_is_new_is_told_after_the_interval_and_what_is_open_after_the_repetition(bench: Bench) -> None:
    await bench.on_call("web", {"users": ["ada"]}, {"levels": LEVELS[:1], "group": {**GROUP, "repeat": "1h"}})
    _, incident = await bench.alert("web", dedup_key="a")
    await bench.run(100)
    await bench.alert("web", dedup_key="b", message="b is down", source="b")
    await bench.run(329)
    assert bench.heard() == [(30, "ada")]
    await bench.run(330)
    assert bench.heard()[1:] == [(330, "ada")]
    assert "**" not in bench.texts[-1]
    assert "b: b is down" in bench.texts[-1]
    assert "2 alerts are open." in bench.texts[-1]
    await bench.run(330 + 3599)
    assert len(bench.heard()) == 2
    await bench.run(330 + 3600)
    assert bench.heard()[2:] == [(3930, "ada")]
    assert await bench.answering.acknowledge(incident, "ada") is Answered.DONE
    await bench.alert("web", dedup_key="c")
    await bench.run(20_000)
    # Somebody has it.
    assert len(bench.heard()) == 3


async def test_a_critical_alert_does_not_wait_unless_its_policy_says_so(bench: Bench) -> None:
    group = {"by": ["alert_type"]}
    await bench.on_call("fire", {"users": ["ada"]}, {"levels": LEVELS, "group": group})
    await bench.alert("fire", dedup_key="a")
    assert bench.heard() == [(0, "ada")]
    await bench.alert("fire", "warning", dedup_key="a", severity="high")
    assert len(bench.heard()) == 1
    await bench.run(31)
    assert bench.heard()[1:] == [(30, "ada")]


async def test_what_began_long_ago_goes_at_once(bench: Bench) -> None:
    started = bench.clock.now().timestamp() - 31
    await bench.alert("net", dedup_key="a", starts_at=started)
    assert bench.heard() == [(0, "ada")]


async def test_a_group_is_over_when_all_of_it_is(bench: Bench) -> None:
    _, incident = await bench.alert("net", dedup_key="a")
    _, member = await bench.alert("net", dedup_key="b")
    assert await bench.over("net", dedup_key="a") is Answered.DONE
    found = await bench.incidents.get(incident)
    assert found is not None
    assert found.word == "open"
    assert await bench.over("net", dedup_key="b") is Answered.DONE
    found = await bench.incidents.get(incident)
    assert found is not None
    assert found.word == "resolved"
    assert await bench.over("net", dedup_key="b") is Answered.UNKNOWN
    await bench.run(4000)
    assert bench.heard() == []
    # The members say so themselves, and the next one opens a new incident.
    assert [str(state) for state in await bench.ledger.alerts.alert_states([incident, member])] == [
        "resolved",
        "resolved",
    ]
    assert (await bench.alert("net", dedup_key="b"))[0] is Verdict.ACCEPTED


async def test_a_member_is_answered_with_its_group(bench: Bench) -> None:
    _, incident = await bench.alert("net", dedup_key="a")
    _, member = await bench.alert("net", dedup_key="b")
    await bench.run(40)
    assert await bench.answering.acknowledge(member, "ada") is Answered.DONE
    found = await bench.incidents.get(incident)
    assert found is not None
    assert (found.word, found.acknowledged_by) == ("acknowledged", "ada")
    assert await bench.ledger.alerts.resolve(member) is Answered.DONE
    found = await bench.incidents.get(incident)
    assert found is not None
    assert found.word == "acknowledged"


async def test_alerts_of_one_group_key_are_one_incident_whatever_the_policy(bench: Bench) -> None:
    _, incident = await bench.alert("disk", dedup_key="a", group_key="g")
    assert bench.heard() == [(0, "ada")]
    assert (await bench.alert("disk", dedup_key="b", group_key="g"))[0] is Verdict.GROUPED
    assert (await bench.alert("disk", dedup_key="b", group_key="h"))[0] is Verdict.ACCEPTED
    await bench.over("disk", dedup_key="a", group_key="g")
    await bench.over("disk", dedup_key="b", group_key="g")
    found = await bench.incidents.get(incident)
    assert found is not None
    assert found.word == "resolved"


async def test_a_silenced_incident_tells_nobody_until_the_silence_ends(bench: Bench) -> None:
    await bench.silence("upgrade", 3600, "system=db-1")
    _, incident = await bench.alert("disk", affected_systems=["db-1"], dedup_key="a")
    await bench.alert("disk", affected_systems=["db-2"], dedup_key="b")
    assert await reason_of(bench, incident) == (Reason.SILENCED, "silence:upgrade", None)
    found = await bench.incidents.get(incident)
    assert found is not None
    assert found.muted == "silence:upgrade"
    # What is the same is no new incident.
    assert (await bench.alert("disk", affected_systems=["db-1"], dedup_key="a"))[0] is Verdict.DUPLICATE
    await bench.run(3599)
    assert bench.heard() == [(0, "ada"), (300, "ben")]
    await bench.run(3600 + 299)
    assert bench.heard()[2:] == [(3600, "ada")]
    await bench.run(3600 + 300)
    assert bench.heard()[3:] == [(3900, "ben")]
    assert await bench.words(incident) == ["opened", "silenced", "told", "told", "exhausted"]


async def test_silenced_later_it_does_not_escalate(bench: Bench) -> None:
    _, incident = await bench.alert("disk", dedup_key="a")
    await bench.run(10)
    await bench.silence("quiet", 990, "alert_type=disk")
    await bench.run(999)
    assert bench.heard() == [(0, "ada")]
    await bench.run(1000)
    assert bench.heard()[1:] == [(1000, "ben")]
    assert await bench.words(incident) == ["opened", "told", "silenced", "told", "exhausted"]


async def test_a_silence_that_is_taken_back_lets_tell_at_once(bench: Bench) -> None:
    await bench.silence("upgrade", 3600, "alert_type=disk")
    await bench.alert("disk", dedup_key="a")
    await bench.run(10)
    await bench.rulebook.delete(Silence, "upgrade")
    assert await bench.muted.release("silence:upgrade") == 1
    await bench.run(11)
    assert bench.heard() == [(10, "ada")]


async def test_what_is_resolved_during_a_silence_is_never_told(bench: Bench) -> None:
    await bench.silence("upgrade", 600, "alert_type=disk")
    _, incident = await bench.alert("disk", dedup_key="a")
    _, warning = await bench.alert("disk", "warning", dedup_key="w")
    await bench.over("disk", dedup_key="a")
    await bench.over("disk", "warning", dedup_key="w")
    await bench.run(5000)
    assert bench.heard() == []
    assert await bench.incidents.open_ids() == []
    assert incident != warning


async def test_a_warning_that_is_an_incident_is_told_when_its_silence_ends(bench: Bench) -> None:
    await bench.silence("upgrade", 600, "alert_type=disk")
    await bench.alert("disk", "warning", dedup_key="w")
    await bench.run(599)
    assert bench.heard() == []
    await bench.run(600)
    assert bench.heard() == [(600, "ada")]


async def test_an_inhibited_incident_is_told_when_its_source_is_over(bench: Bench) -> None:
    rule = Inhibition.model_validate({"source": ["alert_type=net"], "target": ["alert_type=disk"], "equal": ["site"]})
    await bench.rulebook.put("site", rule)
    await bench.on_call("net", {"users": ["ben"]}, {"levels": [{"notify": ["user:ben"]}]})
    _, source = await bench.alert("net", labels={"site": "a"}, dedup_key="n")
    await bench.run(2)
    _, target = await bench.alert("disk", labels={"site": "a"}, dedup_key="d")
    _, other = await bench.alert("disk", labels={"site": "b"}, dedup_key="o")
    assert await reason_of(bench, target) == (Reason.INHIBITED, "inhibition:site", None)
    await bench.run(250)
    assert bench.heard() == [(0, "ben"), (2, "ada")]
    await bench.answering.over(other, "-")
    await bench.answering.over(source, "-")
    await bench.run(250 + 299)
    assert bench.heard()[2:] == [(250, "ada")]


async def test_an_incident_that_nobody_was_told_of_inhibits_nothing(bench: Bench) -> None:
    rule = Inhibition.model_validate({"source": ["alert_type=net"], "target": ["alert_type=disk"]})
    await bench.rulebook.put("site", rule)
    await bench.silence("quiet", 3600, "alert_type=net")
    await bench.alert("net", dedup_key="n")
    await bench.run(2)
    await bench.alert("disk", dedup_key="d")
    assert bench.heard() == [(2, "ada")]


async def test_what_nobody_says_any_more_is_over(bench: Bench) -> None:
    await bench.alert("disk", dedup_key="a", group_key="g", expires_after="1h")
    await bench.alert("disk", dedup_key="b", group_key="g", expires_after="1h")
    await bench.run(3000)
    assert (await bench.alert("disk", dedup_key="b", group_key="g", expires_after="1h"))[0] is Verdict.DUPLICATE
    await bench.run(3599)
    (incident,) = await bench.incidents.open_ids()
    assert [each.is_open for each in await bench.ledger.members.of(incident)] == [True, True]
    await bench.run(3601)
    assert [each.is_open for each in await bench.ledger.members.of(incident)] == [False, True]
    await bench.run(6599)
    assert await bench.incidents.open_ids() == [incident]
    await bench.run(6601)
    assert await bench.incidents.open_ids() == []
    last = (await bench.timeline(incident))[-1]
    assert (last.what, last.said["note"]) == ("resolved", "nobody has said so for 1h")


async def test_an_alert_without_a_group_is_over_when_nobody_says_it_any_more(bench: Bench) -> None:
    await bench.alert("disk", dedup_key="a", expires_after=600)
    await bench.run(500)
    await bench.alert("disk", dedup_key="a", expires_after=600)
    await bench.run(1099)
    assert len(await bench.incidents.open_ids()) == 1
    await bench.run(1101)
    assert await bench.incidents.open_ids() == []


async def test_the_same_message_again_says_that_it_is_still_so_and_may_begin_again_after_its_end(bench: Bench) -> None:
    said = {"dedup_key": "a", "group_key": "g", "id": "g-a-firing", "status": "firing"}
    _, incident = await bench.alert("disk", **said)
    # Its texts differ a little each time.
    assert await bench.alert("disk", **said, message="93 %") == (Verdict.DUPLICATE, incident)
    (member,) = await bench.ledger.members.of(incident)
    assert member.count == 2
    await bench.over("disk", dedup_key="a", group_key="g")
    verdict, again = await bench.alert("disk", **said)
    assert (verdict, again == incident) == (Verdict.ACCEPTED, False)


async def test_the_late_end_of_an_earlier_one_ends_nothing(bench: Bench) -> None:
    started = bench.clock.now().timestamp()
    await bench.alert("disk", dedup_key="a", group_key="g", starts_at=started)
    assert await bench.over("disk", dedup_key="a", group_key="g", starts_at=started - 60) is Answered.UNKNOWN
    assert await bench.over("disk", dedup_key="a", group_key="g", starts_at=started) is Answered.DONE


async def test_what_begins_again_and_again_is_told_so_once_and_then_held_back(bench: Bench) -> None:
    flapping = {"times": 3, "within": "10m", "hold": "30m"}
    await bench.on_call("web", {"users": ["ada"]}, {"levels": LEVELS[:1], "flapping": flapping})
    for number in range(5):
        _, incident = await bench.alert("web", dedup_key="a")
        await bench.run(bench.now_s + 30)
        if number < 4:
            await bench.over("web", dedup_key="a")
            await bench.run(bench.now_s + 30)
    assert bench.heard() == [(0, "ada"), (60, "ada"), (120, "ada")]
    assert [text.splitlines()[0] for text in bench.texts] == [
        "Critical alert: web", "Critical alert: web", "Flapping: Critical alert: web",
    ]  # fmt: skip
    assert await reason_of(bench, incident) == (Reason.FLAPPING, "policy:flapping", None)
    # What is still so after that is told.
    await bench.run(120 + 1799)
    assert len(bench.heard()) == 3
    await bench.run(120 + 1801)
    assert bench.heard()[3:] == [(1920, "ada")]


async def test_systems_that_are_worked_on_are_silent_and_what_is_open_is_told_at_the_end(bench: Bench) -> None:
    now_s = bench.clock.now().timestamp()
    maintenance = await bench.maintain(["db-1", 'a|"b'], starts_at=now_s + 3600, ends_at=now_s + 7200)
    _, before = await bench.alert("disk", affected_systems=["db-1"], dedup_key="a")
    assert bench.heard("sms") == [(0, "ada")]
    await bench.ledger.alerts.resolve(before)
    await bench.run(3600)
    # Quarter of an hour before, everybody was reminded.
    assert bench.fed == [(0, "Scheduled maintenance"), (2700, "Soon: Scheduled maintenance")]
    _, during = await bench.alert("disk", affected_systems=["db-1"], dedup_key="a")
    await bench.alert("disk", affected_systems=['a|"b'], dedup_key="b")
    await bench.alert("disk", affected_systems=["db-10"], dedup_key="c")
    assert await reason_of(bench, during) == (Reason.MAINTENANCE, f"maintenance:{maintenance}", None)
    assert bench.heard("sms")[1:] == [(3600, "ada")]
    await bench.run(7199)
    assert bench.heard("sms")[2:] == [(3900, "ben")]
    await bench.run(7200)
    assert bench.heard("sms")[3:] == [(7200, "ada"), (7200, "ada")]


async def test_those_who_were_told_are_told_who_has_it(bench: Bench) -> None:
    phone = {"devices": [{"platform": "android", "token": "t"}]}
    await bench.people("ada", name="Ada L", devices=[{"platform": "android", "token": "a"}])
    await bench.people("ben", **phone)
    await bench.on_call("web", {"users": ["ada", "ben"]}, {"levels": [{"notify": ["oncall"]}]})
    _, incident = await bench.alert("web", dedup_key="a")
    await bench.run(10)
    assert bench.heard("push") == [(0, "ada"), (0, "ben")]
    await bench.answering.acknowledge(incident, "ada")
    await bench.run(20)
    assert bench.heard("push")[2:] == [(10, "ben")]
    assert bench.pushed[-1] == "Acknowledged by Ada L: Critical alert: web"
    await bench.over("web", dedup_key="a")
    await bench.run(30)
    assert sorted(bench.pushed[-2:]) == ["Resolved: Critical alert: web"] * 2


async def test_the_members_of_a_group_are_named_the_newest_first(bench: Bench) -> None:
    async def shown(incident_id: str, most: int) -> tuple[dict[str, Any], dict[str, Any]]:
        found = await bench.incidents.get(incident_id)
        assert found is not None
        members = members_document(found, *await bench.incidents.members(incident_id, most))
        return incident_document(found), members

    _, incident = await bench.alert("net", dedup_key="a", source="core")
    await bench.run(5)
    _, member = await bench.alert("net", dedup_key="b", message="It is\nslow.")
    said, members = await shown(incident, 1)
    (newest,) = members["members"]
    assert (said["members_open"], members["members_count"], newest["id"]) == (2, 2, member)
    assert (newest["state"], newest["message"], newest["count"]) == ("open", "It is slow.", 1)
    # Whoever ends it ends all of it.
    await bench.answering.over(incident, "-")
    said, members = await shown(incident, 9)
    assert (said["members_open"], {each["state"] for each in members["members"]}) == (0, {"resolved"})
    _, alone = await bench.alert("disk", dedup_key="c")
    assert (await shown(alone, 9))[1] == {}


async def test_a_group_of_one_that_did_not_wait_is_not_told_as_new(bench: Bench) -> None:
    await bench.on_call("fire", {"users": ["ada"]}, {"levels": LEVELS[:1], "group": {"by": ["alert_type"]}})
    await bench.alert("fire", dedup_key="a")
    await bench.run(3600)
    assert bench.heard() == [(0, "ada")]


async def test_an_incident_of_days_is_still_ended_and_repeated_by_its_key(bench: Bench) -> None:
    _, incident = await bench.alert("disk", dedup_key="a")
    key = f"{bench.keys.shard_of(incident)}:alert:critical|disk|a"
    assert await bench.store.command("TTL", key) > 31 * 86400
    await bench.over("disk", dedup_key="a")
    # Its publisher's own end of it may come after another's.
    assert 0 < await bench.store.command("TTL", key) <= 86400
    _, again = await bench.alert("disk", dedup_key="a")
    assert again != incident


async def test_a_publishers_maintenance_silences_its_own_alerts_alone(bench: Bench) -> None:
    now_s = bench.clock.now().timestamp()
    await bench.maintain(["db-1"], only="shop", starts_at=now_s + 60, ends_at=now_s + 7200)
    await bench.run(61)
    await bench.alert("disk", affected_systems=["db-1"], dedup_key="a")
    assert bench.heard("sms") == [(61, "ada")]
