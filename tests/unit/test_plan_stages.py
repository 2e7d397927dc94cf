"""The stages: who decided is written with the row, the first that suppresses decides, and holds add up."""

from dataclasses import replace
from typing import Any

import pytest

from services.router.planning.compose import Draft
from services.router.planning.facts import NO_FACTS, Facts, Limit, Quiet, Then
from services.router.planning.known import Known
from services.router.planning.person import plan_person
from services.router.planning.stages import HELD_MOST_MS, KEEP, Candidate, Decision, Hold, Stage, Suppress, decide
from services.router.planning.tasks import People, Recheck, Task
from shared.core.errors import Reason
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Platform, Priority, State
from shared.core.topics import Kind
from shared.directory.categories import Category, KnownCategory
from shared.directory.people import Person
from shared.ledger.new_records import NewRow
from shared.store.keys import new_notification_id
from tests.fakes.clock import StandingClock
from tests.router import a_planner

ACCEPTED_MS = 1_000_000
EXPIRES_MS = 9_000_000
LOOKS = Facts(looks_until_ms=ACCEPTED_MS + 3000)
TO_ADA = People(user_ids=("ada",))
EVERYTHING: dict[str, Any] = {
    "email": "user@example.com",
    "phone": "+15005550006",
    "devices": [{"platform": "ios", "token": "token-1"}],
}


def notification(priority: Priority, channels: tuple[Channel, ...] | None = None) -> Notification:
    return Notification(
        id=new_notification_id(),
        kind=Kind.REALTIME_USER.value,
        priority=priority,
        accepted_ms=ACCEPTED_MS,
        content=Content(title="Title", message="Body"),
        channels=channels,
    )


def rules(rows: list[NewRow]) -> dict[str, str | None]:
    return {new.row.lane: new.row.rule for new in rows if isinstance(new.row, Delivery)}


@pytest.mark.parametrize(
    ("priority", "channels", "audience", "entry", "facts", "found"),
    [
        (Priority.HIGH, None, TO_ADA, EVERYTHING, NO_FACTS, {"realtime": None, "email": None, "push": None}),
        # Nobody asked for the channels that the priority leaves out, so there is nothing to explain.
        (Priority.NORMAL, None, TO_ADA, EVERYTHING, NO_FACTS, {"realtime": None, "push": None}),
        (Priority.NORMAL, (Channel.EMAIL,), TO_ADA, EVERYTHING, NO_FACTS, {"email": "priority:normal"}),
        (
            Priority.CRITICAL,
            (Channel.SMS, Channel.EMAIL),
            TO_ADA,
            {"email": "user@example.com"},
            NO_FACTS,
            {"email": None, "sms": "system:default"},
        ),
        (Priority.HIGH, (Channel.EMAIL,), TO_ADA, {}, NO_FACTS, {"email": "user:address"}),
        (Priority.HIGH, (Channel.PUSH,), TO_ADA, {}, NO_FACTS, {"push": "user:address"}),
        (Priority.NORMAL, None, TO_ADA, EVERYTHING, LOOKS, {"realtime": None, "push": "presence:focus"}),
        (
            Priority.HIGH,
            (Channel.EMAIL, Channel.PUSH),
            People(user_ids=("ada",), only_push=Platform.IOS),
            EVERYTHING,
            NO_FACTS,
            {"email": "topic:ios", "push": None},
        ),
    ],
)
def test_the_rule_that_decided_is_written_with_the_row(
    priority: Priority,
    channels: tuple[Channel, ...] | None,
    audience: People,
    entry: dict[str, Any],
    facts: Facts,
    found: dict[str, str | None],
) -> None:
    ada = Person.model_validate({"user_id": "ada", **entry})
    rows = plan_person(notification(priority, channels), "ada", ada, audience, EXPIRES_MS, facts=facts)
    assert rules(rows) == found


def test_somebody_unknown_is_the_directorys_to_say() -> None:
    assert rules(plan_person(notification(Priority.HIGH), "ada", None, TO_ADA, EXPIRES_MS)) == {
        "realtime": "directory:user"
    }


def test_an_address_that_the_publishers_own_channels_leave_out_names_them() -> None:
    mail = Delivery(
        key="email:0",
        channel=Channel.EMAIL,
        priority=Priority.NORMAL,
        address=EmailAddress(email="user@example.com"),
        expires_ms=EXPIRES_MS,
    )
    # Planning reads nothing: the store is never opened.
    planner = a_planner(clock=StandingClock())

    def planned(channels: tuple[Channel, ...] | None) -> dict[str, str | None]:
        one = notification(Priority.NORMAL, channels)
        draft = Draft(
            notification=one,
            audience=None,
            direct=(mail,),
            send_at_ms=0,
            expires_ms=EXPIRES_MS,
            fingerprint="",
            idempotency_key="",
            packet="",
            dedup_key="",
        )
        return rules(planner.first_rows(draft, Known({}, {}, {}, ())))

    assert planned((Channel.SMS,)) == {"email": "channels:publish"}
    assert planned(None) == planned((Channel.EMAIL,)) == {"email": None}


def test_a_row_that_no_rule_touched_is_not_written_longer_and_none_raises_its_version() -> None:
    ada = Person.model_validate({"user_id": "ada", **EVERYTHING})
    untouched, held = (
        new.row for new in plan_person(notification(Priority.LOW), "ada", ada, TO_ADA, EXPIRES_MS, facts=LOOKS)
    )
    assert '"rule"' not in untouched.written()
    assert '"rule":"presence:focus"' in held.written()
    assert untouched.version == held.version


def saying(decision: Decision) -> Stage:
    return lambda _candidate: decision


def decided(*decisions: Decision) -> Decision:
    ada = Person.model_validate({"user_id": "ada"})
    candidate = Candidate(notification(Priority.LOW), TO_ADA, ada, Channel.PUSH, EXPIRES_MS, NO_FACTS)
    return decide(candidate, [saying(each) for each in decisions])


def test_the_first_that_suppresses_decides_also_over_a_hold() -> None:
    first, second = Suppress(Reason.OPTED_OUT, "first"), Suppress(Reason.BOUNCED, "second")
    assert decided(KEEP, Hold(5000, "hold"), first, second) == first
    assert decided() is decided(KEEP, KEEP) is KEEP


def test_the_longest_hold_decides() -> None:
    short, long = Hold(5000, "short"), Hold(9000, "long")
    assert decided(short, long) == decided(long, short) == decided(short, KEEP, long, short) == long


def test_what_was_read_during_any_hold_is_not_sent_after_the_longest() -> None:
    short, long = Hold(5000, "presence", unless_seen=True), Hold(9000, "quiet")
    assert decided(short, long) == decided(long, short) == Hold(9000, "quiet", unless_seen=True)


@pytest.mark.parametrize("then", ["hold", "fold", "drop"])
def test_what_the_days_limit_refuses_is_not_heard_later_either(then: Then) -> None:
    of_category = Limit("category:likes", then, ACCEPTED_MS + 3000 if then == "hold" else None)
    facts = Facts(limits=(of_category, Limit("system:daily_limit", "drop", None)))
    person = Person.model_validate({"user_id": "ada", **EVERYTHING})

    rows = plan_person(notification(Priority.NORMAL), "ada", person, TO_ADA, EXPIRES_MS, facts=facts, lifetime_ms=1)

    assert {new.reason for new in rows} == {Reason.THROTTLED}
    assert set(rules(rows).values()) == {"category:likes" if then == "drop" else "system:daily_limit"}


def test_what_was_scheduled_long_ago_waits_as_long_as_what_is_new() -> None:
    ada = Person.model_validate({"user_id": "ada", **EVERYTHING})
    due_ms = ACCEPTED_MS + 2 * HELD_MOST_MS
    hour_ms = 3_600_000

    def planned(since_ms: int, until_ms: int) -> NewRow:
        quiet = Facts(quiet=Quiet(until_ms, "user:quiet_hours"))
        (row,) = plan_person(
            notification(Priority.NORMAL, (Channel.PUSH,)), "ada", ada, TO_ADA, due_ms + hour_ms,
            facts=quiet, lifetime_ms=hour_ms, since_ms=since_ms,
        )  # fmt: skip
        return row

    held = planned(due_ms, due_ms + hour_ms)
    assert isinstance(held.row, Task)
    assert isinstance(held.row.what, Recheck)
    assert held.row.what.since_ms == due_ms
    assert planned(due_ms, due_ms + HELD_MOST_MS).state is State.EXPIRED


def test_a_push_does_not_wait_for_a_screen_on_which_its_category_is_not_shown_live() -> None:
    ada = Person.model_validate({"user_id": "ada", **EVERYTHING})
    quietly = KnownCategory("ads", Category.model_validate({"channels": {"realtime": False}}))
    one = notification(Priority.NORMAL)
    one = one.model_copy(update={"content": one.content.model_copy(update={"category": "ads"})})
    rows = plan_person(one, "ada", ada, TO_ADA, EXPIRES_MS, facts=replace(LOOKS, category=quietly))
    assert rules(rows)["push"] is None
