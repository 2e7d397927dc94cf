"""The router's parts in this process, for tests of the intake."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from services.router.intake.actions import Actions
from services.router.intake.admission import Admission
from services.router.intake.intake import Intake
from services.router.planning.compose import NO_TEMPLATES
from services.router.planning.holding import Holding
from services.router.planning.lookups import Lookups
from services.router.planning.planner import Planner
from services.router.planning.stages import STAGES, Stage
from services.router.templates.folder import Templates
from services.router.templates.texts import Template
from shared.core.clock import Clock, SystemClock
from shared.core.model import Channel
from shared.core.rates import Rate
from shared.core.topics import Inflow, Topics
from shared.directory.catalogue import Catalogues
from shared.directory.directory import Directory
from shared.directory.publishers import Publishers
from shared.directory.rulebook import Rulebook
from shared.directory.suppression import Suppressions
from shared.inbox.feed import Feed, FeedMirror
from shared.inbox.inbox import Inbox
from shared.inbox.sessions import Sessions
from shared.ledger.held import Held, Muted
from shared.ledger.ledger import Ledger
from shared.ledger.rejections import Rejections
from shared.ledger.sources import Sources
from shared.mqtt.reconnecting import BrokerLink
from shared.runtime.turns import Turns
from shared.store.keys import Keys
from shared.store.store import Store
from shared.store.windows import Windows


def a_planner(
    store: Store | None = None,
    clock: Clock | None = None,
    templates: Templates = NO_TEMPLATES,
    stages: Sequence[Stage] = STAGES,
    alert_template: Template | None = None,
    without: Collection[Channel] = (),
    turns: Turns | None = None,
    **settings: Any,
) -> Planner:
    """Build a planner as the service does; without a store one for what has been looked up."""
    store, keys, clock = store or Store("redis://localhost"), Keys(), clock or SystemClock()
    settings = {"windows": Windows(store), "rulebook": Rulebook(store, keys), **settings}
    lookups = Lookups(Directory(store, keys, clock), Catalogues(store, keys), keys, clock, 300, **settings)
    return Planner(lookups, templates, stages=stages, alert_template=alert_template, without=without, turns=turns)


def an_actor(store: Store, clock: Clock, topic_prefix: str = "") -> Actions:
    """Build what carries out answers, cancellations and the like as the service does."""
    keys, month = Keys(), timedelta(days=30)
    directory, inbox = Directory(store, keys, clock), Inbox(store, keys, 100, month)
    return Actions(
        ledger=Ledger(store, keys),
        directory=directory,
        suppressions=Suppressions(store, keys, Channel.EMAIL, clock),
        sessions=Sessions(store, keys, inbox, directory, FeedMirror(Feed(store, keys, month))),
        publishers=Publishers(store, keys),
        catalogues=Catalogues(store, keys),
        rulebook=Rulebook(store, keys),
        held=Held(store, keys),
        muted=Muted(store, keys),
        sources=Sources(store, keys),
        topics=Topics(topic_prefix),
        clock=clock,
    )


def an_intake(
    store: Store,
    out: BrokerLink,
    topic_prefix: str = "",
    stages: Sequence[Stage] = STAGES,
    *,
    inflow: Inflow = Inflow.GENERAL,
    rate: Rate = Rate(0),  # noqa: B008 - it cannot be changed
    without: Collection[Channel] = (),
) -> Intake:
    """Build the intake of an inflow as the service does."""
    keys, clock, topics = Keys(), SystemClock(), Topics(topic_prefix)
    ledger = Ledger(store, keys)
    planner = a_planner(store, clock, stages=stages, without=without)
    return Intake(
        topics=topics,
        ledger=ledger,
        planner=planner,
        actions=an_actor(store, clock, topic_prefix),
        holding=Holding(Held(store, keys), Muted(store, keys), planner.lookups),
        rejections=Rejections(store, keys, 3600),
        clock=clock,
        lifetime_s=60,
        batch=200,
        inflow=inflow,
        admission=Admission(store, keys, rate),
        out=out,
        turns=Turns(),
    )
