"""What the router tells of its own rows when they end without anything that follows from them."""

import json
from typing import Any, cast

import pytest

from services.router.planning.digesting import Digesting
from services.router.planning.holding import Holding
from services.router.planning.performer import Performer
from services.router.planning.tasks import CloseDigest, Fold, Recheck, Task
from shared.core.errors import Reason
from shared.core.model import Channel, Content, Notification, Priority, State
from shared.core.topics import Topics
from shared.directory.directory import Directory
from shared.ledger.answering import Answering
from shared.ledger.claims import Claim, ClaimVerdict, Outcome
from shared.ledger.digests import Digests
from shared.ledger.held import Held, Muted
from shared.ledger.ledger import Ledger
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.fakes.clock import StandingClock
from tests.router import a_planner

HELD = Recheck(user_id="ada", channel=Channel.EMAIL, lifetime_ms=1000)
FOLDED = Fold(user_id="ada", channel=Channel.EMAIL, lifetime_ms=1000)
EXPIRED = Outcome(State.EXPIRED, Reason.EXPIRED, counts=False)


class Published:
    """Stands in for the link to the broker."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []

    def publish(self, topic: str, payload: str, **_properties: object) -> None:
        self.messages.append((topic, json.loads(payload)))


def told(
    what: Recheck | Fold | CloseDigest, outcome: Outcome, *, events: bool = True
) -> list[tuple[str, str, str, str]]:
    """Report the end of a task; return what its publisher is told."""
    # The store is never opened.
    store, keys, clock, published = Store("redis://localhost"), Keys(), StandingClock(), Published()
    planner = a_planner(store, clock)
    digesting = Digesting(planner, Digests(store, keys, 1))
    holding = Holding(Held(store, keys), Muted(store, keys), planner.lookups)
    ledger = Ledger(store, keys)
    answering = Answering(ledger, Directory(store, keys), Muted(store, keys))
    performer = Performer(planner, digesting, ledger, Topics(), clock, holding=holding, answering=answering)
    performer.link = cast("BrokerLink", published)
    notification = Notification(
        id=new_notification_id(),
        kind="realtime_user",
        priority=Priority.HIGH,
        accepted_ms=1,
        content=Content(title="Title", message="Body"),
        events=events,
    )
    task = Task(key="held:email:ada:5", priority=Priority.HIGH, due_ms=5, expires_ms=9, what=what)
    performer.report(notification, task, Claim(notification.id, task.key, ClaimVerdict.EXPIRED), outcome)
    assert {topic for topic, _ in published.messages} <= {f"notifications/events/{notification.id}"}
    return [(said["state"], said["channel"], said["recipient"], said["reason"]) for _, said in published.messages]


@pytest.mark.parametrize("what", [HELD, FOLDED])
@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (EXPIRED, [("expired", "email", "ada", "expired")]),
        (Outcome(State.SUPPRESSED, Reason.RESOLVED), [("suppressed", "email", "ada", "resolved")]),
        (Outcome(State.DEAD_LETTERED, Reason.INTERNAL_ERROR), [("dead_lettered", "email", "ada", "internal_error")]),
        (Outcome(State.PENDING, Reason.INTERNAL_ERROR), []),
        # What follows from it is told instead.
        (Outcome(State.DELIVERED), []),
    ],
)
def test_the_end_of_what_waits_is_told_as_its_channels(
    what: Recheck | Fold, outcome: Outcome, said: list[tuple[str, str, str, str]]
) -> None:
    assert told(what, outcome) == said
    assert told(what, outcome, events=False) == []


def test_the_end_of_a_digests_own_row_is_no_persons_channel() -> None:
    assert told(CloseDigest(user_id="ada", channel=Channel.EMAIL, lifetime_ms=1000), EXPIRED) == []
