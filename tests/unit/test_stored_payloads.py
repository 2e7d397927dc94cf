"""What earlier releases stored is read by this one, and what a later one stores is left alone.

tests/payloads/v1 holds jobs as version 1 of their form has them, v2 those with rows of version 2; what the ledger keeps
are their parts. A file there never changes: the ledgers of this world hold the same.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from services.router.planning.tasks import Task
from shared.core.model import FIRST_VERSION, JOB_VERSION, READABLE_VERSION, Delivery, Job, Priority
from shared.core.topics import Topics
from shared.ledger import jobs as module
from shared.ledger.jobs import jobs_of_due, open_job
from shared.ledger.schedule import DueRow

FILES = sorted((Path(__file__).parents[1] / "payloads").glob("v*/*.json"))
NEWER = READABLE_VERSION + 98


def job_type(file: Path) -> type[Job[Any]]:
    return Job[Task] if file.stem == "router" else Job[Delivery]


def without_versions(part: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "v"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_an_earlier_release_stored_is_read_whole(file: Path) -> None:
    stored = json.loads(file.read_text())
    opened = open_job(job_type(file), file.read_text())
    assert (opened.newer, opened.unreadable) == (0, 0)
    assert opened.notification is not None
    for part, model in zip((stored["notification"], *stored["rows"]), (opened.notification, *opened.rows), strict=True):
        assert model.v == part.get("v", FIRST_VERSION)
        written = json.loads(model.written())
        assert written.pop("v") == part.get("v", JOB_VERSION)
        assert written == without_versions(part)


def test_every_kind_of_address_and_task_has_been_stored() -> None:
    rows = [row for file in FILES if file.parent.name == "v1" for row in json.loads(file.read_text())["rows"]]
    assert {row["address"]["to"] for row in rows if "address" in row} == {
        "email", "sms", "device", "browser", "inbox", "feed",
    }  # fmt: skip
    assert {row["what"]["do"] for row in rows if "what" in row} == {"plan", "fan_out", "escalate"}


def a_job() -> dict[str, Any]:
    job: dict[str, Any] = json.loads(next(file for file in FILES if file.stem == "push").read_text())
    return job


def opened(job: dict[str, Any]) -> tuple[list[str], int, int]:
    found = open_job(Job[Delivery], json.dumps(job))
    return [row.key for row in found.rows], found.newer, found.unreadable


@pytest.mark.parametrize("part", ["job", "notification"])
def test_a_newer_job_or_notification_is_left_alone_whether_it_could_be_read_or_not(part: str) -> None:
    job = a_job()
    (job if part == "job" else job["notification"])["v"] = NEWER
    assert opened(job) == ([], 3, 0)
    job["notification"]["priority"] = "a word of the future"
    assert opened(job) == ([], 3, 0)


def test_of_rows_in_several_versions_those_are_read_that_are_known() -> None:
    job = a_job()
    job["rows"][0]["v"] = NEWER
    job["rows"][1] |= {"v": NEWER, "address": {"to": "a kind of the future"}}
    assert opened(job) == (["push:user1:3"], 2, 0)


def test_a_row_that_nobody_can_read_disturbs_no_other() -> None:
    job = a_job()
    job["rows"][1]["address"] = {"to": "a kind of the future"}
    job["rows"][2] = "no row"
    assert opened(job) == (["push:user1:1"], 0, 2)


def test_fields_of_the_future_are_ignored_while_the_version_is_known() -> None:
    job = a_job()
    for part in (job, job["notification"], *job["rows"]):
        part["field_of_the_future"] = {"v": NEWER}
    assert opened(job) == (["push:user1:1", "push:user1:2", "push:user1:3"], 0, 0)


@pytest.mark.parametrize("payload", ["", "{", "[]", "null", '{"v":1}', '{"rows":7}', '{"rows":[{}]}', "\udcff"])
def test_what_is_no_job_is_told_apart_from_a_newer_one(payload: str) -> None:
    found = open_job(Job[Delivery], payload.encode(errors="replace"))
    assert (found.rows, found.newer, found.unreadable) == ((), 0, 1)


def test_an_old_sweeper_does_not_pass_newer_rows_off_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job()
    spec = json.dumps(job["rows"][0] | {"v": NEWER})
    due = DueRow(
        job["notification"]["id"], "push:user1:1", "push", Priority.HIGH, json.dumps(job["notification"]), spec
    )
    ((_, payload, _),) = jobs_of_due(Topics(""), [due])
    assert open_job(Job[Delivery], payload).newer == 1
    monkeypatch.setattr(module, "READABLE_VERSION", NEWER)
    assert [row.v for row in open_job(Job[Delivery], payload).rows] == [NEWER]
