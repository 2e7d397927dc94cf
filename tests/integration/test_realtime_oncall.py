"""Who is on call over HTTP: for those who have to do with it, and for calendar programs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
import pytest_asyncio
from icalendar import Calendar

from carillon.local.servers import LocalServer
from services.realtime.http.shapes import OnCall as OnCallShape
from shared.directory.people import OnCall, Person
from shared.directory.rota_calendar import link_path, link_token
from tests.conftest import EmptyStore
from tests.realtime import Realtime, bearer, realtime_node

SECRET = "a secret of thirty-two characters"
# Far enough from now that no handoff comes while the tests run, at whatever time of day that is.
BEGAN = datetime.now(UTC) - timedelta(hours=36)
START = {"start": BEGAN.date().isoformat(), "handoff": f"{BEGAN:%H:%M}"}
ENTRY = {
    "alert_type": "disk",
    "layers": [
        {"users": ["user1", "gone"], "rotation": "daily", **START},
        {"users": ["user2"], "rotation": "weekly", **START},
    ],
}


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_link_secret=SECRET) as running:
        directory = running.context.directory
        await directory.put(Person(user_id="user1", name="One; or 1"))
        for user_id in ("user2", "user3"):
            await directory.put(Person(user_id=user_id))
        await directory.put(Person(user_id="boss", roles=("admin",)))
        await directory.put_oncall("disk", OnCall.model_validate(ENTRY))
        yield running


@pytest.mark.parametrize("user_id", ["user1", "user2", "boss"])
async def test_people_of_the_entry_and_admins_see_who_is_on_call(node: Realtime, user_id: str) -> None:
    status, shown = await node.call("GET", "/v1/oncall/disk", user_id)
    assert status == 200
    OnCallShape.model_validate(shown)
    now, later = shown["now"]["users"], shown["next"]["users"]
    # It is the second day.
    assert now == [{"user_id": "gone", "known": False}]
    assert shown["now"]["gap"]
    assert later == [{"user_id": "user1", "known": True, "name": "One; or 1"}]
    assert shown["now"]["until"] == shown["next"]["from"]
    assert [each["user_id"] for each in shown["second"]] == ["user2"]
    assert [each["user_id"] for each in shown["everybody"]] == ["gone", "user2"]
    assert "shifts" not in shown


async def test_weeks_are_shifts_without_a_hole_and_what_each_person_bears(node: Realtime) -> None:
    status, shown = await node.call("GET", "/v1/oncall/disk?weeks=2", "user1")
    assert status == 200
    assert len(shown["shifts"]) == 15
    assert all(
        before["until"] == after["from"] for before, after in zip(shown["shifts"], shown["shifts"][1:], strict=False)
    )
    assert {each["users"][0]["user_id"] for each in shown["gaps"]} == {"gone"}
    assert {each["user_id"]: each["known"] for each in shown["people"]} == {"user1": True, "gone": False}
    assert sum(each["hours"] for each in shown["people"]) == pytest.approx(14 * 24, abs=0.1)


@pytest.mark.parametrize("weeks", ["0", "27", "x", "-1"])
async def test_other_numbers_of_weeks_are_refused(node: Realtime, weeks: str) -> None:
    status, answer = await node.call("GET", f"/v1/oncall/disk?weeks={weeks}", "user1")
    assert (status, answer["error"]["fields"][0]["field"]) == (400, "weeks")


@pytest.mark.parametrize("path", ["/v1/oncall/disk", "/v1/oncall/disk.ics"])
async def test_others_see_nothing_by_that_name(node: Realtime, path: str) -> None:
    for user_id in ("user3", "gone", "nobody"):
        assert (await node.call("GET", path, user_id))[0] == 404
    async with node.client.get(f"{node.url}{path}") as answer:
        assert answer.status == 401


async def test_entry_of_every_type_serves_the_types_without_one(node: Realtime) -> None:
    assert (await node.call("GET", "/v1/oncall/memory", "user3"))[0] == 404
    await node.context.directory.put_oncall("*", OnCall(alert_type="*", users=("user3",)))
    for name in ("memory", "*"):
        _, shown = await node.call("GET", f"/v1/oncall/{quote(name, safe='')}", "user3")
        assert (shown["alert_type"], shown["entry"], shown["now"]) == (
            name, "*", {"users": [{"user_id": "user3", "known": True}], "gap": False},
        )  # fmt: skip
        assert "next" not in shown


async def test_link_reads_one_calendar_without_a_header(node: Realtime) -> None:
    async with node.client.get(f"{node.url}{link_path(SECRET, 'disk')}") as answer:
        text = await answer.text()
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/calendar; charset=utf-8")
    events = Calendar.from_ical(text).walk("VEVENT")
    assert {str(event["SUMMARY"]) for event in events} == {
        "Nobody on call", "Nobody on call: gone (unknown)", "One; or 1",
    }  # fmt: skip
    status, _ = await _status(node, f"/v1/oncall/disk.ics?token={link_token(SECRET, 'disk')}x")
    assert status == 401


async def test_link_opens_nothing_else(node: Realtime) -> None:
    await node.context.directory.put_oncall("memory", OnCall(alert_type="memory", users=("user3",)))
    proof = link_token(SECRET, "disk")
    for path in ("/v1/oncall/memory.ics", "/v1/oncall/disk", "/v1/oncall/*.ics", "/v1/inbox", "/v1/oncall/DISK.ics"):
        assert (await _status(node, f"{path}?token={proof}"))[0] == 401
    for forged in ("", "ä" * 22, link_token("another secret of thirty-two bytes", "disk"), "A" * 22, "x" * 5000):
        assert (await _status(node, f"/v1/oncall/disk.ics?token={quote(forged)}"))[0] == 401


async def test_requests_with_one_link_are_limited_and_others_go_on(node: Realtime) -> None:
    path = link_path(SECRET, "disk")
    # Together, because the limit counts by the minute.
    statuses = Counter(status for status, _ in await asyncio.gather(*(_status(node, path) for _ in range(70))))
    assert statuses[200] >= 50
    assert statuses[429] > 0
    async with node.client.get(f"{node.url}/v1/oncall/disk.ics", headers=bearer("boss")) as answer:
        assert answer.status == 200


async def test_without_a_secret_only_the_header_works(
    store: EmptyStore, broker: LocalServer, topic_prefix: str
) -> None:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        await running.context.directory.put(Person(user_id="user1"))
        await running.context.directory.put_oncall("disk", OnCall(alert_type="disk", users=("user1",)))
        assert (await _status(running, link_path(SECRET, "disk")))[0] == 401
        assert (await _status(running, link_path("", "disk")))[0] == 401


async def _status(node: Realtime, path: str) -> tuple[int, str]:
    async with node.client.get(f"{node.url}{path}") as answer:
        return answer.status, await answer.text()
