"""The wire contract's table of channels, alerts whatever the preferences, escalation rounds, and crowds."""

import json
from base64 import urlsafe_b64encode
from itertools import product
from typing import Any

import pytest

from services.router.alerts.oncall import Chain, Group, Step, User
from services.router.planning.compose import Draft
from services.router.planning.facts import Facts
from services.router.planning.known import Known
from services.router.planning.person import crowd_channels, plan_feed, plan_person
from services.router.planning.planner import Planner
from services.router.planning.tasks import CHAIN, Crowd, Escalation, People, Plan, Task, read_chain
from shared.core.errors import Reason
from shared.core.model import (
    AlertDetails,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Feed,
    MobileToken,
    Notification,
    PhoneNumber,
    Platform,
    Priority,
    State,
    UserInbox,
    WebSubscription,
)
from shared.core.topics import Kind
from shared.directory.people import ESCALATION_STEPS, Person
from shared.directory.policies import NOTIFY_TARGETS, REPEATS
from shared.ledger.new_records import NewRow
from shared.store.keys import new_notification_id
from tests.fakes.clock import StandingClock
from tests.router import a_planner

EXPIRES_MS = 2**41
ACCEPTED_MS = 2**40
PHONE = {"platform": "ios", "token": "token-1"}
TABLET = {"platform": "android", "token": "token-2"}
BROWSER = {
    "platform": "web",
    "subscription": {
        "endpoint": "https://push.example.com/s/1",
        "keys": {
            "p256dh": urlsafe_b64encode(b"\x04" + bytes(64)).decode().rstrip("="),
            "auth": urlsafe_b64encode(bytes(16)).decode().rstrip("="),
        },
    },
}
EVERYTHING: dict[str, Any] = {"email": "user@example.com", "phone": "+15005550006", "devices": [PHONE]}


def notification(
    priority: Priority = Priority.NORMAL,
    channels: tuple[Channel, ...] | None = None,
    kind: Kind = Kind.REALTIME_USER,
    alert: AlertDetails | None = None,
) -> Notification:
    return Notification(
        id=new_notification_id(),
        kind=kind.value,
        priority=priority,
        accepted_ms=ACCEPTED_MS,
        content=Content(title="Title", message="Body", alert=alert),
        channels=channels,
    )


def person(user_id: str = "user123", **fields: Any) -> Person:
    return Person.model_validate({"user_id": user_id, **fields})


Verdicts = dict[str, str]


def verdicts(rows: list[NewRow]) -> Verdicts:
    """Say of each channel what was planned: ``send``, or the reason why not."""
    found: Verdicts = {}
    for new in rows:
        assert new.state in (State.PENDING, State.SUPPRESSED)
        found[new.row.lane] = new.reason.value if new.state is State.SUPPRESSED else "send"
    return found


def planned(
    one: Notification, who: Person | None, audience: People | None = None, channels: tuple[Channel, ...] | None = None
) -> list[NewRow]:
    audience = audience or People(user_ids=("user123",))
    return plan_person(one, "user123", who, audience, EXPIRES_MS, channels=channels)


def push_row(one: Notification, *, hold_until_ms: int, audience: People | None = None, **fields: Any) -> Delivery:
    who = person(devices=[PHONE], **fields)
    rows = plan_person(
        one,
        "user123",
        who,
        audience or People(user_ids=("user123",)),
        EXPIRES_MS,
        facts=Facts(looks_until_ms=hold_until_ms),
    )
    (push,) = [new.row for new in rows if new.row.lane == "push"]
    assert isinstance(push, Delivery)
    return push


HOLD_MS = ACCEPTED_MS + 3000


@pytest.mark.parametrize("priority", Priority)
def test_push_to_somebody_who_looks_waits_unless_it_is_urgent(priority: Priority) -> None:
    waits = priority in (Priority.LOW, Priority.NORMAL)
    push = push_row(notification(priority), hold_until_ms=HOLD_MS)
    assert (push.due_ms, push.unless_seen) == ((HOLD_MS, True) if waits else (0, None))


def test_push_waits_for_nothing_where_the_notification_is_not_shown() -> None:
    unwaiting = (
        push_row(notification(), hold_until_ms=0),
        push_row(notification(), hold_until_ms=EXPIRES_MS),
        push_row(notification(), hold_until_ms=HOLD_MS, preferences={"realtime": False}),
        push_row(notification(channels=(Channel.PUSH,)), hold_until_ms=HOLD_MS),
        push_row(notification(), hold_until_ms=HOLD_MS, audience=People(user_ids=("user123",), regardless=True)),
        push_row(notification(), hold_until_ms=HOLD_MS, audience=People(user_ids=("user123",), only_push=Platform.IOS)),
    )
    assert [(push.due_ms, push.unless_seen) for push in unwaiting] == [(0, None)] * len(unwaiting)


# The wire contract's section 2, row by row: what must hold, and how a miss is called when the rest would send.
def expected(channel: Channel, priority: Priority, preference: bool | None, *, reachable: bool) -> str | None:
    urgent = priority in (Priority.HIGH, Priority.CRITICAL)
    rule = {
        Channel.REALTIME: True,
        Channel.PUSH: True,
        Channel.EMAIL: urgent,
        Channel.SMS: priority is Priority.CRITICAL,
    }[channel]
    wanted = preference if preference is not None else channel is not Channel.SMS
    if not rule:
        return None
    if channel is Channel.REALTIME:
        return "send"
    if not wanted:
        return "preference_off"
    return "send" if reachable else "no_address"


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize("preference", [None, True, False])
@pytest.mark.parametrize(("channel", "priority"), list(product(Channel, Priority)))
def test_the_contracts_table_of_channels(
    channel: Channel, priority: Priority, preference: bool | None, reachable: bool
) -> None:
    preferences = {} if preference is None else {channel.value: preference}
    who = person(**(EVERYTHING if reachable else {}), preferences=preferences)
    found = verdicts(planned(notification(priority), who)).get(channel)
    assert found == expected(channel, priority, preference, reachable=reachable)


@pytest.mark.parametrize("priority", Priority)
def test_realtime_always_stands_in_the_inbox_and_is_live_by_preference(priority: Priority) -> None:
    for live in (True, False):
        rows = planned(notification(priority), person(preferences={"realtime": live}))
        (inbox,) = [new.row for new in rows if new.row.lane == "realtime"]
        assert isinstance(inbox, Delivery)
        assert inbox.address == UserInbox(user_id="user123", live=live)


def test_addresses_are_those_of_the_directory() -> None:
    who = person(**{**EVERYTHING, "devices": [PHONE, TABLET, BROWSER]}, name="Ann", preferences={"sms": True})
    rows = [new.row for new in planned(notification(Priority.CRITICAL), who)]
    addresses = [row.address for row in rows if isinstance(row, Delivery)]
    assert EmailAddress(email="user@example.com", name="Ann") in addresses
    assert PhoneNumber(phone="+15005550006") in addresses
    assert MobileToken(platform=Platform.IOS, token="token-1") in addresses
    assert MobileToken(platform=Platform.ANDROID, token="token-2") in addresses
    assert any(isinstance(address, WebSubscription) for address in addresses)
    assert len({row.key for row in rows}) == len(rows) == 6
    assert {row.expires_ms for row in rows} == {EXPIRES_MS}


def test_a_key_names_the_person_and_no_token_or_address() -> None:
    who = person(**{**EVERYTHING, "devices": [PHONE, BROWSER]}, preferences={"sms": True})
    keys = [new.row.key for new in planned(notification(Priority.CRITICAL), who)]
    assert all("user123" in key for key in keys)
    for private in ("token-1", "push.example.com", "user@example.com", "+15005550006"):
        assert not any(private in key for key in keys)


def test_somebody_unknown_is_written_down_and_told_nothing() -> None:
    (row,) = planned(notification(Priority.CRITICAL), None)
    assert (row.state, row.reason, row.row.key) == (State.SUPPRESSED, Reason.UNKNOWN_RECIPIENT, "realtime:user123")


@pytest.mark.parametrize(
    ("priority", "channels", "found"),
    [
        (Priority.NORMAL, (Channel.PUSH,), {"push": "send"}),
        (Priority.NORMAL, (Channel.EMAIL,), {"email": "channel_rule"}),
        (Priority.HIGH, (Channel.EMAIL,), {"email": "send"}),
        (Priority.HIGH, (Channel.SMS, Channel.REALTIME), {"sms": "channel_rule", "realtime": "send"}),
        (Priority.CRITICAL, (Channel.SMS,), {"sms": "preference_off"}),
    ],
)
def test_channels_restrict_and_what_the_rules_forbid_is_written_down(
    priority: Priority, channels: tuple[Channel, ...], found: Verdicts
) -> None:
    assert verdicts(planned(notification(priority, channels), person(**EVERYTHING))) == found


ALL_OFF = {"realtime": False, "email": False, "sms": False, "push": False}
REGARDLESS = People(user_ids=("user123",), regardless=True)


def test_whoever_must_be_told_is_told_on_every_channel_whatever_the_preferences() -> None:
    rows = planned(notification(Priority.CRITICAL), person(**EVERYTHING, preferences=ALL_OFF), REGARDLESS)
    assert verdicts(rows) == {"realtime": "send", "email": "send", "sms": "send", "push": "send"}
    (inbox,) = [new.row for new in rows if new.row.lane == "realtime"]
    assert isinstance(inbox, Delivery)
    assert inbox.address == UserInbox(user_id="user123", live=True)


def test_channels_that_cannot_reach_are_written_down() -> None:
    found = verdicts(planned(notification(Priority.CRITICAL), person(), REGARDLESS))
    assert found == {"realtime": "send", "email": "no_address", "sms": "no_address", "push": "no_address"}


def test_a_step_of_an_escalation_restricts_the_channels_further() -> None:
    one = notification(Priority.CRITICAL, (Channel.SMS, Channel.EMAIL))
    rows = planned(one, person(**EVERYTHING), REGARDLESS, (Channel.SMS, Channel.PUSH))
    assert verdicts(rows) == {"sms": "send"}


def test_a_push_to_a_platform_goes_to_its_devices_alone() -> None:
    who = person(**{**EVERYTHING, "devices": [PHONE, TABLET]})
    rows = planned(notification(), who, People(user_ids=("user123",), only_push=Platform.ANDROID))
    (row,) = [new.row for new in rows]
    assert isinstance(row, Delivery)
    assert row.address == MobileToken(platform=Platform.ANDROID, token="token-2")
    off = person(**EVERYTHING, preferences={"push": False})
    assert verdicts(planned(notification(), off, People(user_ids=("user123",), only_push=Platform.IOS))) == {
        "push": "preference_off"
    }
    assert verdicts(planned(notification(), who, People(user_ids=("user123",), only_push=Platform.WEB))) == {
        "push": "no_address"
    }


def test_a_round_of_an_escalation_tells_again_but_the_inbox_holds_it_once() -> None:
    def keys(round_: int) -> set[str]:
        audience = People(user_ids=("user123",), regardless=True, round=round_)
        return {new.row.key for new in planned(notification(Priority.CRITICAL), person(**EVERYTHING), audience)}

    assert keys(0) & keys(1) == keys(1) & keys(2) == {"realtime:user123"}
    assert {"email:user123@1", "sms:user123@1"} <= keys(1)


@pytest.mark.parametrize(
    ("priority", "channels", "found"),
    [
        (Priority.LOW, None, {Channel.PUSH}),
        (Priority.NORMAL, None, {Channel.PUSH}),
        (Priority.HIGH, None, {Channel.PUSH, Channel.EMAIL}),
        (Priority.CRITICAL, None, {Channel.PUSH, Channel.EMAIL, Channel.SMS}),
        (Priority.CRITICAL, (Channel.REALTIME,), set()),
        (Priority.NORMAL, (Channel.SMS, Channel.PUSH), {Channel.PUSH}),
        (Priority.HIGH, (Channel.EMAIL, Channel.SMS), {Channel.EMAIL}),
    ],
)
def test_a_crowd_is_planned_person_by_person_for_everything_but_realtime(
    priority: Priority, channels: tuple[Channel, ...] | None, found: set[Channel]
) -> None:
    assert set(crowd_channels(notification(priority, channels), None)) == found


def test_a_broadcast_is_one_realtime_delivery() -> None:
    row = plan_feed(notification(), ("ops",), EXPIRES_MS).row
    assert isinstance(row, Delivery)
    assert (row.key, row.address, row.recipient) == ("realtime:*", Feed(groups=("ops",)), None)


# From here on: the planner, with what was looked up.

ALERT = AlertDetails(type="disk", level="critical", requires_acknowledgment=True)
LIFETIME_MS = EXPIRES_MS - ACCEPTED_MS


@pytest.fixture
def planner() -> Planner:
    # Planning reads nothing: the store is never opened.
    return a_planner(clock=StandingClock())


def known(
    *steps: Step, oncall: tuple[str, ...] = (), admins: tuple[str, ...] = (), people: tuple[str, ...] = ()
) -> Known:
    names = {*oncall, *admins, *people}
    return Known({name: person(name, **EVERYTHING) for name in names}, {"disk": Chain(steps)}, {"disk": oncall}, admins)


def draft(
    one: Notification, audience: People | Crowd | None = None, alert_type: str | None = None, **fields: Any
) -> Draft:
    return Draft(
        **{
            "notification": one, "audience": audience, "direct": (), "send_at_ms": 0, "expires_ms": EXPIRES_MS,
            "fingerprint": "", "idempotency_key": "", "packet": "", "dedup_key": "", "alert_type": alert_type, **fields,
        }
    )  # fmt: skip


NOBODY_KNOWN = Known({}, {}, {}, ())
AT_ONCE = Step(0, (Group.ONCALL, Group.ADMINS))
LATER = Step(300, (Group.ADMINS,))


def told(rows: list[NewRow]) -> dict[str, set[str]]:
    """Return recipient -> lanes of the deliveries."""
    found: dict[str, set[str]] = {}
    for new in rows:
        if isinstance(new.row, Delivery) and new.state is State.PENDING:
            found.setdefault(new.row.recipient or "", set()).add(new.row.lane)
    return found


EVERY_CHANNEL = {"realtime", "email", "sms", "push"}


def test_a_critical_alert_tells_each_person_once_on_every_channel(planner: Planner) -> None:
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    rows = planner.first_rows(
        draft(one, alert_type="disk"), known(AT_ONCE, oncall=("ann", "user2"), admins=("user2", "cem"))
    )
    assert told(rows) == {"ann": EVERY_CHANNEL, "user2": EVERY_CHANNEL, "cem": EVERY_CHANNEL}
    assert len({new.row.key for new in rows}) == len(rows) == 12


@pytest.mark.parametrize(
    ("priority", "lanes"), [(Priority.HIGH, {"realtime", "email", "push"}), (Priority.NORMAL, {"realtime", "push"})]
)
def test_warnings_and_infos_tell_the_same_people_by_preference_and_do_not_escalate(
    planner: Planner, priority: Priority, lanes: set[str]
) -> None:
    one = notification(priority, kind=Kind.ALERT_WARNING, alert=ALERT)
    rows = planner.first_rows(draft(one, alert_type="disk"), known(AT_ONCE, LATER, oncall=("ann",), admins=("user2",)))
    assert told(rows) == {"ann": lanes, "user2": lanes}
    assert not [new for new in rows if isinstance(new.row, Task)]


@pytest.mark.parametrize("priority", [Priority.CRITICAL, Priority.NORMAL])
def test_an_alert_for_nobody_is_written_down(planner: Planner, priority: Priority) -> None:
    one = notification(priority, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    (row,) = planner.first_rows(draft(one, alert_type="disk"), known(AT_ONCE))
    assert (row.state, row.reason) == (State.SUPPRESSED, Reason.NO_RECIPIENT)


def test_the_next_step_is_a_task_at_its_time(planner: Planner) -> None:
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    rows = planner.first_rows(draft(one, alert_type="disk"), known(AT_ONCE, LATER, oncall=("ann",), admins=("user2",)))
    (task,) = [new.row for new in rows if isinstance(new.row, Task)]
    assert (task.key, task.priority, task.due_ms) == ("escalate:1", Priority.CRITICAL, ACCEPTED_MS + 300_000)
    assert isinstance(task.what, Escalation)
    assert (task.what.round, task.what.steps, task.what.since_ms) == (1, None, ACCEPTED_MS)


def test_the_chain_is_kept_once_and_the_steps_carry_their_number(planner: Planner) -> None:
    """The longest chain that the directory takes: its rows would have been 33 MB each at first."""
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    bosses = tuple(User(f"{number:0128}") for number in range(NOTIFY_TARGETS))
    chain = Chain(tuple(Step(60.0 * number, bosses) for number in range(ESCALATION_STEPS)), REPEATS)
    who = Known({}, {"disk": chain}, {"disk": ()}, ())
    rows = planner.first_rows(draft(one, alert_type="disk"), who)
    steps, kept = [], []
    for _ in range(3):
        kept.append({name: text for new in rows for name, text in new.needs.items()})
        (step,) = [new for new in rows if isinstance(new.row, Task)]
        steps.append(step)
        assert isinstance(step.row, Task)
        assert isinstance(step.row.what, Escalation)
        rows = planner.alerting.step_rows(one, step.row.what, who)
    assert [len(step.spec) < 300 for step in steps] == [True] * 3
    assert [list(needs) for needs in kept] == [[CHAIN], [], []]
    assert read_chain(kept[0][CHAIN]) == chain
    assert len(kept[0][CHAIN]) < 500_000


def test_a_step_that_an_earlier_release_wrote_with_all_later_ones_goes_on_with_them(planner: Planner) -> None:
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    last = Step(600, (User("boss"),))
    who = known(AT_ONCE, admins=("user2",), people=("boss",))
    written = Escalation(alert_type="disk", since_ms=ACCEPTED_MS, lifetime_ms=LIFETIME_MS, round=1, steps=(LATER, last))
    rows = planner.alerting.step_rows(one, written, who)
    assert told(rows) == {"user2": EVERY_CHANNEL}
    (task,) = [new.row for new in rows if isinstance(new.row, Task)]
    assert task.what == written.model_copy(update={"round": 2, "steps": (last,)})
    assert json.loads(task.written())["v"] == 1
    assert isinstance(task.what, Escalation)
    assert told(planner.alerting.step_rows(one, task.what, who)) == {"boss": EVERY_CHANNEL}


def test_a_step_tells_its_targets_and_its_deliveries_live_as_long_as_the_first_ones(planner: Planner) -> None:
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    boss = Step(600, (User("boss"), Group.ADMINS), (Channel.SMS,))
    who = known(AT_ONCE, LATER, boss, oncall=("ann",), admins=("user2",), people=("boss",))
    first = planner.first_rows(draft(one, alert_type="disk"), who)
    (task,) = [new.row for new in first if isinstance(new.row, Task)]
    assert isinstance(task.what, Escalation)
    second = planner.alerting.step_rows(one, task.what, who)
    assert told(second) == {"user2": EVERY_CHANNEL}
    (task,) = [new.row for new in second if isinstance(new.row, Task)]
    assert (task.key, task.due_ms) == ("escalate:2", ACCEPTED_MS + 600_000)
    assert isinstance(task.what, Escalation)
    third = planner.alerting.step_rows(one, task.what, who)
    assert told(third) == {"boss": {"sms"}, "user2": {"sms"}}
    assert not [new for new in third if isinstance(new.row, Task)]

    def deadlines(rows: list[NewRow]) -> set[int]:
        return {new.row.expires_ms for new in rows if isinstance(new.row, Delivery)}

    assert deadlines(first) == {EXPIRES_MS}
    assert deadlines(second) == {ACCEPTED_MS + 300_000 + LIFETIME_MS}
    assert deadlines(third) == {ACCEPTED_MS + 600_000 + LIFETIME_MS}
    # Realtime once, the others again under a key of their own.
    shared = {new.row.key for new in first} & {new.row.key for new in second}
    assert shared == {"realtime:user2"}


def test_an_escalation_outlives_the_deadline_of_its_first_deliveries(planner: Planner) -> None:
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    brief = draft(one, alert_type="disk", expires_ms=ACCEPTED_MS + 60_000)
    rows = planner.first_rows(brief, known(AT_ONCE, LATER, admins=("user2",)))
    (task,) = [new.row for new in rows if isinstance(new.row, Task)]
    assert task.expires_ms > task.due_ms


def test_after_the_alerts_own_deadline_nobody_is_told(planner: Planner) -> None:
    deadline_ms = ACCEPTED_MS + 400_000
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT).model_copy(
        update={"deadline_ms": deadline_ms}
    )
    too_late = Step(400, (Group.ADMINS,))
    who = known(AT_ONCE, LATER, too_late, oncall=("ann",), admins=("user2",))
    first = planner.first_rows(draft(one, alert_type="disk", expires_ms=deadline_ms), who)
    assert told(first).keys() == {"ann", "user2"}
    (task,) = [new.row for new in first if isinstance(new.row, Task)]
    assert (task.due_ms, task.expires_ms) == (ACCEPTED_MS + 300_000, deadline_ms)
    assert isinstance(task.what, Escalation)
    second = planner.alerting.step_rows(one, task.what, who)
    assert told(second).keys() == {"user2"}
    assert {new.row.expires_ms for new in second} == {deadline_ms}
    # The step at 400 s would be the next one.
    assert not [new for new in second if isinstance(new.row, Task)]


def test_a_scheduled_notification_is_planned_when_it_is_due(planner: Planner) -> None:
    audience = People(user_ids=("user123",))
    (row,) = planner.first_rows(draft(notification(), audience, send_at_ms=ACCEPTED_MS + 1), NOBODY_KNOWN)
    assert isinstance(row.row, Task)
    assert (row.row.due_ms, row.row.expires_ms) == (ACCEPTED_MS + 1, EXPIRES_MS)
    assert row.row.what == Plan(audience=audience)


def direct_mail() -> Delivery:
    return Delivery(
        key="email:0",
        channel=Channel.EMAIL,
        priority=Priority.NORMAL,
        address=EmailAddress(email="user@example.com"),
        expires_ms=EXPIRES_MS,
    )


@pytest.mark.parametrize(
    ("channels", "found"),
    [(None, "send"), ((Channel.EMAIL,), "send"), ((Channel.SMS, Channel.REALTIME), "channel_rule")],
)
def test_an_address_that_was_given_is_used_unless_channels_leave_it_out(
    planner: Planner, channels: tuple[Channel, ...] | None, found: str
) -> None:
    one = notification(channels=channels, kind=Kind.EMAIL_SEND)
    assert verdicts(planner.first_rows(draft(one, direct=(direct_mail(),)), NOBODY_KNOWN)) == {"email": found}


def lanes_of(rows: list[NewRow]) -> list[str]:
    return [new.row.lane for new in rows]


def test_a_crowd_is_one_entry_of_the_feed_and_pages_for_the_rest(planner: Planner) -> None:
    everybody = planner.first_rows(draft(notification(), Crowd()), NOBODY_KNOWN)
    assert lanes_of(everybody) == ["realtime", *["router"] * 16]
    groups = planner.first_rows(draft(notification(), Crowd(groups=("a", "b"))), NOBODY_KNOWN)
    assert lanes_of(groups) == ["realtime", "router", "router"]
    live = planner.first_rows(draft(notification(channels=(Channel.REALTIME,)), Crowd()), NOBODY_KNOWN)
    assert lanes_of(live) == ["realtime"]
    pushed = planner.first_rows(draft(notification(channels=(Channel.PUSH,)), Crowd(groups=("a",))), NOBODY_KNOWN)
    assert lanes_of(pushed) == ["router"]


def test_the_system_status_goes_live_and_nowhere_else(planner: Planner) -> None:
    status = notification(kind=Kind.SYSTEM_STATUS)
    assert lanes_of(planner.first_rows(draft(status, Crowd()), NOBODY_KNOWN)) == ["realtime"]


def test_the_steps_of_a_scheduled_alert_count_from_its_time(planner: Planner) -> None:
    one = notification(Priority.CRITICAL, kind=Kind.ALERT_CRITICAL, alert=ALERT)
    due_ms = ACCEPTED_MS + 3_600_000
    rows = planner.rows(one, None, "disk", EXPIRES_MS, known(AT_ONCE, LATER, admins=("user2",)), due_ms=due_ms)
    (task,) = [new.row for new in rows if isinstance(new.row, Task)]
    assert task.due_ms == due_ms + 300_000
