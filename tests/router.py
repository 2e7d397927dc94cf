"""The router's parts in this process, for tests of the intake."""

from collections.abc import Sequence
from datetime import timedelta

from services.router.intake.actions import Actions
from services.router.intake.admission import Admission
from services.router.intake.intake import Intake
from services.router.planning.planner import Planner
from services.router.planning.stages import STAGES, Stage
from shared.core.clock import SystemClock
from shared.core.model import Channel
from shared.core.rates import Rate
from shared.core.topics import Lane, Topics
from shared.directory.directory import Directory
from shared.directory.publishers import Publishers
from shared.directory.suppression import Suppressions
from shared.inbox.feed import Feed, FeedMirror
from shared.inbox.inbox import Inbox
from shared.inbox.sessions import Sessions
from shared.ledger.ledger import Ledger
from shared.ledger.rejections import Rejections
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import Keys
from shared.store.store import Store


def an_intake(
    store: Store,
    out: BrokerLink,
    topic_prefix: str = "",
    stages: Sequence[Stage] = STAGES,
    *,
    lane: Lane = Lane.GENERAL,
    rate: Rate = Rate(0),  # noqa: B008 - it cannot be changed
) -> Intake:
    """Build the intake of a lane as the service does."""
    keys, clock, topics = Keys(), SystemClock(), Topics(topic_prefix)
    directory, ledger = Directory(store, keys, clock), Ledger(store, keys)
    month = timedelta(days=30)
    inbox, feed = Inbox(store, keys, 100, month), Feed(store, keys, month)
    return Intake(
        topics=topics,
        ledger=ledger,
        planner=Planner(directory, clock, 300, stages=stages),
        actions=Actions(
            ledger=ledger,
            directory=directory,
            suppressions=Suppressions(store, keys, Channel.EMAIL, clock),
            sessions=Sessions(store, keys, inbox, directory, FeedMirror(feed)),
            publishers=Publishers(store, keys),
            topics=topics,
            clock=clock,
        ),
        rejections=Rejections(store, keys, 3600),
        clock=clock,
        lifetime_s=60,
        batch=200,
        lane=lane,
        admission=Admission(store, keys, rate),
        out=out,
    )
