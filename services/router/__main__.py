"""Run the router: ``python -m services.router`` from the repository root."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from services.router.intake.actions import Actions
from services.router.intake.admission import Admission
from services.router.intake.intake import UNKNOWN, Intake
from services.router.intake.slot_connections import RouterIntake
from services.router.intake.slots import Slots
from services.router.payloads.rejection import RejectionCode
from services.router.planning.alert_texts import alert_template
from services.router.planning.digesting import Digesting
from services.router.planning.holding import Holding
from services.router.planning.lookups import Lookups
from services.router.planning.pacing import Pacing
from services.router.planning.performer import Performer
from services.router.planning.planner import Planner
from services.router.planning.tasks import Task
from services.router.settings import RouterSettings
from services.router.templates.folder import load
from services.router.upkeep.auditor import Auditor
from services.router.upkeep.liveness_watch import watch_forever
from services.router.upkeep.oncall_watch import OnCallWatch
from services.router.upkeep.router_link import RouterLink
from services.router.upkeep.sweeper import measure_forever, sweep_forever
from shared.core.channels import ROUTER_LANE
from shared.core.model import Channel, Job
from shared.core.topics import Inflow, Kind
from shared.delivery.worker import Worker
from shared.directory.catalogue import Catalogues
from shared.directory.publishers import Publishers
from shared.directory.rulebook import Rulebook
from shared.directory.suppression import Suppressions
from shared.inbox.feed import Feed, FeedMirror
from shared.inbox.inbox import Inbox
from shared.inbox.presence import Presence
from shared.inbox.sessions import Sessions
from shared.ledger.answering import Answering
from shared.ledger.digests import Digests
from shared.ledger.held import Held, Muted
from shared.ledger.inhibiting import InhibitingIncidents
from shared.ledger.rejections import Rejections
from shared.ledger.sources import Sources
from shared.mqtt.reconnecting import BrokerLink
from shared.runtime.service import Context, run, work_until_stopped
from shared.runtime.settings import load_or_exit
from shared.runtime.turns import Turns
from shared.store.store import Line, on_line
from shared.store.windows import Windows
from shared.telemetry import metrics

log = logging.getLogger(__name__)


async def route(context: Context[RouterSettings]) -> None:
    """Take publishes, perform tasks and sweep until told to stop."""
    settings = context.settings
    metrics.prepare_router([*(kind.value for kind in Kind), UNKNOWN], [code.value for code in RejectionCode])
    for channel in Channel:
        metrics.channel_left_out.labels(channel).set(channel in settings.without)
    templates = load(settings.templates_dir) if settings.templates_dir else {}
    log.info("templates", extra={"templates": sorted(templates)})
    lists = {
        channel: Suppressions(context.store, context.keys, channel, context.clock)
        for channel in (Channel.EMAIL, Channel.SMS)
    }
    catalogues = Catalogues(context.store, context.keys)
    rulebook = Rulebook(context.store, context.keys)
    sources = Sources(context.store, context.keys)
    lookups = Lookups(
        context.directory,
        catalogues,
        context.keys,
        context.clock,
        settings.alert_escalation_after_s,
        rulebook=rulebook,
        presence=Presence(context.store, context.keys),
        push_hold_s=settings.router_push_hold_s,
        suppressions=lists,
        windows=Windows(context.store),
        incidents=InhibitingIncidents(context.store, context.keys).read,
        open_alerts=context.ledger.alerts.open_alerts,
        daily_limit=settings.router_person_daily_limit,
        quiet_hours=settings.router_quiet_hours,
        release_within_s=settings.router_release_within_s,
    )
    # Publishes and tasks take turns among their own, so that a publish does not wait for each of many tasks. Both step
    # back for what is urgent.
    turns, task_turns, urgent_turns = Turns(), Turns(), Turns()
    planner = Planner(
        lookups,
        templates,
        alert_template=alert_template(templates, settings.router_alert_template),
        without=settings.without,
        turns=task_turns,
    )
    inbox = Inbox(context.store, context.keys, settings.inbox_limit, settings.inbox_retention)
    mirror = FeedMirror(Feed(context.store, context.keys, settings.inbox_retention))
    held = Held(context.store, context.keys)
    muted = Muted(context.store, context.keys)
    holding = Holding(held, muted, lookups)
    actions = Actions(
        ledger=context.ledger,
        directory=context.directory,
        suppressions=lists[Channel.EMAIL],
        publishers=Publishers(context.store, context.keys),
        catalogues=catalogues,
        rulebook=rulebook,
        held=held,
        muted=muted,
        sources=sources,
        sessions=Sessions(context.store, context.keys, inbox, context.directory, mirror),
        topics=context.topics,
        clock=context.clock,
        recalled_text=settings.router_recalled_text,
        without=settings.without,
    )

    # What a flood is answered stands in front of no alert's job and receipt.
    out, urgent_out = (BrokerLink(context.address, f"{context.instance}-{name}") for name in ("out", "urgent-out"))

    @contextmanager
    def urgent() -> Iterator[None]:
        with turns.urgent(), task_turns.urgent(), on_line(Line.URGENT):
            yield

    admission = Admission(context.store, context.keys, settings.router_publisher_rate)

    def intake(inflow: Inflow) -> Intake:
        return Intake(
            topics=context.topics,
            ledger=context.ledger,
            planner=planner,
            actions=actions,
            holding=holding,
            rejections=Rejections(context.store, context.keys, settings.record_retention_s),
            clock=context.clock,
            lifetime_s=settings.delivery_lifetime_s,
            batch=settings.router_batch,
            inflow=inflow,
            admission=admission,
            out=out if inflow is Inflow.GENERAL else urgent_out,
            turns=turns if inflow is Inflow.GENERAL else urgent_turns,
            urgent=nullcontext if inflow is Inflow.GENERAL else urgent,
            templates=templates,
            reject_unknown_fields=settings.router_unknown_fields == "reject",
        )

    digests = Digests(context.store, context.keys, settings.record_retention_s)
    performer = Performer(
        planner,
        Digesting(planner, digests, Pacing(context.ledger.schedule.handed_over)),
        context.ledger,
        context.topics,
        context.clock,
        holding=holding,
        answering=Answering(context.ledger, context.directory, muted),
    )
    worker = Worker(
        ROUTER_LANE,
        Job[Task],
        performer.perform,
        performer.report,
        ledger=context.ledger,
        topics=context.topics,
        address=context.address,
        client_id=context.instance,
        concurrency=settings.router_task_concurrency,
        # A task's rows are written with its end, so one that is done again does nothing twice.
        claims_ahead=True,
        line=Line.TASKS,
        lease=settings.delivery_lease_margin,
    )
    performer.link = worker.links[-1]
    auditor = Auditor(context.store, context.keys, settings.record_retention_s)
    watch = OnCallWatch(
        store=context.store,
        keys=context.keys,
        directory=context.directory,
        lists=lists,
        topics=context.topics,
        link=out,
        clock=context.clock,
        without=settings.without,
    )
    link = RouterLink(context.address, context.topics, context.instance)
    slots = Slots(context.store, context.keys.slots, context.instance)
    await work_until_stopped(
        context,
        # In this order they are drained: first no new publishes, then the tasks that follow from the last ones.
        [RouterIntake(context, slots, {inflow: intake(inflow) for inflow in Inflow}, outs=(out, urgent_out)), worker],
        sweeper=sweep_forever(context.ledger.schedule, context.topics, worker.links[0], context.clock),
        gauges=measure_forever(context.store, context.keys),
        liveness=watch_forever(
            store=context.store,
            keys=context.keys,
            sources=sources,
            rulebook=rulebook,
            topics=context.topics,
            link=link,
        ),
        auditor=auditor.work_forever(settings.router_audit_interval_s),
        oncall=watch.work_forever(),
    )


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(RouterSettings)
    run(settings, "router", route)


if __name__ == "__main__":
    main()
