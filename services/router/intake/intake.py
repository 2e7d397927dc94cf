"""Takes publishes in batches: check, plan, write, hand over, answer, and only then acknowledge to the broker.

Promises:

- A receipt says "accepted" only after the ledger holds the notification.
- A publish is acknowledged to the broker when the broker has confirmed its receipt, or did not within
  ``HANDOVER_TIMEOUT_S``; in both cases the work is already in the store. So if a router dies, the broker sends again
  whatever was only half done.
- A publish that is sent again is recognised by the publisher's idempotency key, or else by the packet that it came in.
- A fault in one publish does not disturb the others.
- Of one publisher, notifications and actions of one inflow never overtake each other, nor do two actions on one topic,
  or about one thing. Two batches of notifications may, and so may actions about different things.
- Publishers take turns by their shares, in what has been taken from the broker.
- Inflows do not hold each other up: long work takes turns (``shared.runtime.turns``), and that of the general one steps
  back while another one has something in hand.
- Memory is bounded in bytes. While too much waits to be written, nothing more is read, and the rest waits at the
  broker.

Jobs and receipts leave on a connection of their own. On the intake's connection, the broker's answers to them would
wait behind publishes that are not being read.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from services.router.intake.actions import Actions
from services.router.intake.admission import (
    Admission,
    Asked,
    check_priority,
    check_served,
    check_topic,
    may_silence,
    too_many,
)
from services.router.intake.fair_queue import FairQueue
from services.router.intake.records import check_ending, priorities, record_of, tenant_of
from services.router.intake.taken import Taken, envelope_of, lasting_name, logged_fields, packet_of, waves
from services.router.intake.warnings import foreseen
from services.router.payloads import cloudevents, notifications
from services.router.payloads.parse import ANY_PAYLOAD, check_size, read, says
from services.router.payloads.receipts import AcceptedReceipt, DuplicateReceipt, Problem
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode
from services.router.planning.compose import NO_TEMPLATES, Draft, compose, grouped, of_its_own
from services.router.planning.holding import Holding
from services.router.planning.known import Known
from services.router.planning.planner import Planner
from services.router.planning.telling import tell_planned
from services.router.templates.folder import Templates
from shared.core.clock import Clock, epoch_ms, from_epoch_ms, rfc3339
from shared.core.errors import BrokerUnavailable, PublishRefused, Reason
from shared.core.incidents import WAY_PROPERTY, Way
from shared.core.model import Priority
from shared.core.topics import LIVENESS_PUBLISHER, Inflow, Topics
from shared.ledger.alerts import Answered
from shared.ledger.events import event
from shared.ledger.jobs import jobs_of, settled
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.rejections import Rejections
from shared.mqtt.byte_budget import ByteBudget
from shared.mqtt.connection import Broker
from shared.mqtt.packets import PAYLOAD_FORMAT_INVALID, Incoming
from shared.mqtt.reconnecting import BrokerLink
from shared.runtime.turns import Turns
from shared.store.until_stored import until_stored
from shared.telemetry import metrics, tracing

log = logging.getLogger(__name__)


# Batches that were begun and are not answered: one is checked while others ask the store, are written, or wait for the
# broker to confirm their receipts. With fewer the router waits for the store.
BATCHES_IN_FLIGHT = 4

# Whoever publishes next waits for the batches that were begun. An alert is several times the work of a notification, so
# these are no larger, whatever the operator sets.
URGENT_BATCH = 25

# A batch is done when it has so many bytes, however few publishes that is: a payload becomes some ten times as much on
# its way to the ledger.
BATCH_BYTES = 2 * 1024 * 1024

# What has been taken from the broker and is not written yet, over all connections of an inflow.
IN_HAND_BYTES = 32 * 1024 * 1024

# A batch whose answers the broker does not confirm is acknowledged all the same: the ledger has it, and a publisher
# without a receipt asks again.
HANDOVER_TIMEOUT_S = 5.0


# So many of what has arrived are put in order without a look at the time: less than a millisecond.
_ARRIVED_MOST = 200
_TOPICS_KNOWN = 10_000

UNKNOWN = "unknown"
NOTHING_OPEN = "no open alert has it"


class _Batch:
    """What was taken together; ``stored`` ends when the store has all of it."""

    def __init__(self, taken: Sequence[Taken]) -> None:
        self.taken = taken
        self.stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._announces = any(one.draft is not None for one in taken)
        self._subjects = {one.subject for one in taken if one.acts}
        self._is_repeated = any(one.incoming.is_repeated for one in taken)

    def follows(self, before: "_Batch") -> bool:
        """Tell whether this one must wait until that one before it is stored."""
        # The first copy may still be on its way to the store, in a batch of the connection before.
        if self._is_repeated:
            return True
        if (self._announces and before._subjects) or (self._subjects and before._announces):  # noqa: SLF001
            return True
        return not self._subjects.isdisjoint(before._subjects)  # noqa: SLF001


class Intake:
    """One inflow's intake of one router: on its own connection, and on those of the dead routers that it adopts.

    Args:
        batch: publishes taken at a time; at most ``URGENT_BATCH`` of alerts and actions.
        inflow: what it handles; the general inflow's wildcard brings what is another's, too.
        admission: says who may publish, and how much.
        reject_unknown_fields: refuse what would be accepted with a warning that a field is not known.
        out: where jobs, events and receipts are published.
        turns: taken by its long work.
        urgent: entered while something is in hand, so that others' work steps back.

    Attributes:
        budget: for what its connections have taken and is not written yet.
    """

    def __init__(
        self,
        *,
        topics: Topics,
        ledger: Ledger,
        planner: Planner,
        actions: Actions,
        holding: Holding,
        rejections: Rejections,
        clock: Clock,
        lifetime_s: int,
        batch: int,
        inflow: Inflow,
        admission: Admission,
        out: BrokerLink,
        turns: Turns,
        urgent: Callable[[], AbstractContextManager[None]] = nullcontext,
        templates: Templates = NO_TEMPLATES,
        reject_unknown_fields: bool = False,
    ) -> None:
        self.budget = ByteBudget(IN_HAND_BYTES)
        self._out = out
        self._turns = turns
        self._urgent = urgent
        self._templates = templates
        self._reject_unknown_fields = reject_unknown_fields
        self._topics = topics
        self._ledger = ledger
        self._planner = planner
        self._actions = actions
        self._holding = holding
        self._rejections = rejections
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._batch = min(batch, URGENT_BATCH) if inflow in (Inflow.ALERTS, Inflow.ACTIONS) else batch
        self._inflow = inflow
        self._admission = admission
        self._places = asyncio.Semaphore(BATCHES_IN_FLIGHT)
        self._before: list[_Batch] = []
        self._in_hand: Counter[Broker] = Counter()
        self._queues: dict[Broker, FairQueue] = {}
        # A flood comes on few topics, and all of it is put in order before the first of it is taken.
        self._publisher_of = lru_cache(_TOPICS_KNOWN)(self._find_publisher)

    async def serve(self, broker: Broker) -> None:
        """Handle what the connection brings until it breaks.

        While one batch is written, the next one is checked and planned. Batches of notifications may overtake each
        other; one that changes the directory, or answers or cancels something, waits for those of notifications before
        it, and for those about the same. Notifications wait for it.
        """
        lost: BrokerUnavailable | None = None
        queue = self._queues[broker] = FairQueue(self._admission.share_of)
        async with asyncio.TaskGroup() as batches:
            try:
                while True:
                    await self._take(broker, queue, batches)
            except BrokerUnavailable as error:
                # What is in hand is finished; its acknowledgements are lost, and the broker sends it again.
                lost = error
            finally:
                del self._queues[broker]
                for incoming in queue.drain():
                    broker.let_go(incoming)
        if lost is not None:
            raise lost

    async def _take(self, broker: Broker, queue: FairQueue, batches: asyncio.TaskGroup) -> None:
        # A connection that brings nothing holds no place, or the sessions that are drained would keep others waiting.
        if not queue or not broker.is_open:
            # On a connection that has ended this raises.
            await broker.arrived()
        await self._places.acquire()
        try:
            await self._line_up(broker, queue)
        except BaseException:
            self._places.release()
            raise
        incoming = queue.take(self._batch, BATCH_BYTES)
        if not incoming:
            self._places.release()
            return
        self._in_hand[broker] += 1
        try:
            with self._urgent():
                batch = await self._in_order(broker, incoming)
        except BaseException:
            self._handled(broker, incoming)
            raise
        task = batches.create_task(self._handle(broker, batch), name="intake-batch")
        task.add_done_callback(lambda _task: self._handled(broker, incoming))

    async def _line_up(self, broker: Broker, queue: FairQueue) -> None:
        # Not what arrives meanwhile: a flood would keep this going, and what has arrived before it waiting.
        left = broker.waiting
        while left > 0 and (some := broker.take_arrived(min(left, _ARRIVED_MOST))):
            left -= len(some)
            for arrived in some:
                publisher = self._publisher_of(arrived.topic, arrived.response_topic is not None)
                if publisher is None:
                    broker.ack(arrived)
                else:
                    queue.add(publisher, arrived)
            await self._turns.take()

    async def _in_order(self, broker: Broker, batch: Sequence[Incoming]) -> "_Batch":
        taken = []
        for incoming in batch:
            await self._turns.take()
            taken.append(self._find_route(incoming, broker.client_id))
        await until_stored(lambda: self._admit(taken))
        for one in taken:
            if not one.is_refused:
                await self._turns.take()
                await self._check(one)
        current = _Batch(taken)
        # Those before them have been waited for, or need not be.
        self._before = [before for before in self._before if not before.stored.done()]
        await asyncio.gather(*(before.stored for before in self._before if current.follows(before)))
        self._before.append(current)
        return current

    def is_idle(self, broker: Broker | None = None) -> bool:
        """Tell whether nothing taken is unanswered, on one connection or on all of them."""
        if broker is not None:
            return broker not in self._in_hand and not self._queues.get(broker)
        return not self._in_hand and not any(self._queues.values())

    def _find_publisher(self, topic: str, asks: bool) -> str | None:
        """Return who publishes on a topic; None where that is nothing to this inflow.

        Args:
            asks: for a receipt.
        """
        # Only the general inflow's filters name what is another inflow's.
        if self._inflow is Inflow.GENERAL and self._topics.inflow(topic) is not Inflow.GENERAL:
            return None
        # Our own events come back here and want no answer; what asks for one is a stranger's.
        return None if self._topics.is_event(topic) and not asks else self._topics.split(topic)[0]

    async def _handle(self, broker: Broker, batch: "_Batch") -> None:
        with self._urgent():
            try:
                for wave in waves(batch.taken):
                    await self._carry_out(wave)
            finally:
                batch.stored.set_result(None)
            refused = [one for one in batch.taken if one.is_refused]
            if refused:
                await until_stored(lambda: self._keep(refused))
            for one in batch.taken:
                broker.let_go(one.incoming)
                one.let_go()
            await self._answer(broker, batch.taken)

    def _handled(self, broker: Broker, incoming: Sequence[Incoming]) -> None:
        for one in incoming:
            # Of a batch that was broken off; the others have been let go.
            broker.let_go(one)
        self._in_hand[broker] -= 1
        if not self._in_hand[broker]:
            del self._in_hand[broker]
        self._places.release()

    def _find_route(self, incoming: Incoming, session: str) -> Taken:
        """Tell what a publish is by all but its payload; a refusal is already its receipt.

        Args:
            session: the name at the broker of the session that brought it.
        """
        taken = Taken(incoming, self._topics.parse(incoming.topic), packet_of(incoming, session))
        taken.span = tracing.span("accept", "consumer", tracing.read(incoming.user_properties))
        if incoming.problem:
            message = f"The publish cannot be read: {incoming.problem}."
            self._refuse(taken, Rejected(RejectionCode.INVALID_PAYLOAD, message))
        elif taken.route is None:
            self._refuse(taken, self._unknown_topic(incoming.topic))
        return taken

    async def _admit(self, taken: Sequence[Taken]) -> None:
        """Look up who publishes, and refuse what is over a rate; may be repeated."""
        asking = [one for one in taken if not one.is_refused]
        if not asking:
            return
        records = await self._admission.records({one.publisher for one in asking})
        for one in asking:
            one.record = records[one.publisher]
        limited = [one for one in asking if self._admission.rate_of(one.publisher, one.record).is_limit]
        if not limited:
            return
        asked = []
        for one in limited:
            await self._turns.take()
            asked.append(Asked(one.publisher, lasting_name(one)))
        for one, wait_s in zip(limited, await self._admission.over_rate(asked, records), strict=True):
            if wait_s:
                await self._turns.take()
                self._refuse(one, too_many(wait_s))

    async def _check(self, taken: Taken) -> None:
        """Read one publish; a refusal is already its receipt."""
        incoming, route, record = taken.incoming, taken.route, taken.record
        if route is None:
            return
        try:
            plain = self._topics.plain(incoming.topic)
            check_topic(route.publisher, record, plain, self._topics.pattern(route.kind))
            check_served(route.kind, self._planner.without)
            check_size(route.kind, incoming.payload_bytes)
            event, payload = None, b""
            if route.kind not in ANY_PAYLOAD:
                event = cloudevents.read_event(incoming.content_type, incoming.user_properties, incoming.payload)
                payload = incoming.payload if event is None else event.payload
            envelope = envelope_of(incoming)
            if event is not None:
                envelope = event.envelope(route.kind) | envelope
            reject_unknown = self._reject_unknown_fields
            if record.unknown_fields is not None:
                reject_unknown = record.unknown_fields == "reject"
            found = read(route.kind, route.params, payload, envelope=envelope, reject_unknown=reject_unknown)
            taken.publish, taken.warnings = found.publish, [*found.unread]
            if "ttl_s" in envelope and not says(payload, "ttl_s"):
                taken.unstable = frozenset({"ttl_s"})
            if isinstance(taken.publish, notifications.Notification):
                for priority in priorities(taken.publish):
                    check_priority(route.publisher, record, priority)
                # Reading hundreds of mails takes milliseconds, and so does what follows.
                await self._turns.take()
                draft = compose(
                    route.kind,
                    taken.publish,
                    now_ms=epoch_ms(self._clock.now()),
                    lifetime_s=self._lifetime_s,
                    unstable=taken.unstable,
                    packet=taken.packet,
                    templates=self._templates,
                    trace=taken.span.context,
                    publisher=route.publisher,
                    tenant=tenant_of(route.publisher, record, taken.publish.tenant),
                )
                if isinstance(taken.publish, notifications.Alert) and taken.publish.status == "resolved":
                    taken.ending = draft
                    check_ending(draft)
                else:
                    taken.draft = draft if may_silence(route.publisher, record) else of_its_own(draft, route.publisher)
        except Rejected as rejected:
            self._refuse(taken, rejected)
        except Exception:
            # A payload that our own code cannot read must not stop the ones behind it.
            log.exception("publish could not be read", extra={"kind": taken.kind})
            self._refuse(taken, Rejected(RejectionCode.INVALID_PAYLOAD, "The payload could not be read."))

    def _unknown_topic(self, topic: str) -> Rejected:
        nearest = self._topics.nearest(topic)
        meant = f" Did you mean {nearest}?" if nearest else ""
        return Rejected(RejectionCode.UNKNOWN_TOPIC, f"Nothing listens on this topic.{meant}")

    def _refuse(self, taken: Taken, rejected: Rejected) -> None:
        taken.publish = taken.draft = taken.ending = None
        taken.receipt = rejected.receipt()
        metrics.series(metrics.refused_publishes, rejected.code.value).inc()
        self._count(taken, "rejected")

    async def _carry_out(self, wave: Sequence[Taken]) -> None:
        drafts = [one for one in wave if one.draft is not None]
        others = [one for one in wave if one.draft is None and one.publish is not None]
        if drafts:
            await self._accept(drafts)
        await asyncio.gather(*(self._act(one) for one in others))

    async def _act(self, taken: Taken) -> None:
        if taken.kind is None or taken.publish is None:
            return
        publish = taken.publish
        ending = taken.ending
        try:
            if ending is not None:
                taken.receipt = {**await until_stored(lambda: self._end(taken, ending)), **_warned(taken.warnings)}
                self._count(taken, "accepted")
                return
            receipt, taken.messages = await until_stored(
                lambda: self._actions.carry_out(
                    publish, taken.incoming, taken.publisher, taken.record, way=self._way(taken)
                )
            )
            taken.receipt = {**receipt, **_warned(taken.warnings)}
            self._count(taken, "accepted")
        except Rejected as rejected:
            self._refuse(taken, rejected)
        except Exception:
            # As in _check: what it would change may be damaged, and the broker would bring it to every router in turn.
            log.exception("publish could not be carried out", extra={"kind": taken.kind})
            self._refuse(taken, Rejected(RejectionCode.INVALID_PAYLOAD, "The publish could not be carried out."))

    async def _end(self, taken: Taken, draft: Draft) -> Mapping[str, object]:
        """Write that an alert is over whose publisher says so by its key; one that is not open is over already."""
        alert_type = draft.alert_type or ""
        policies = await self._planner.lookups.policies({alert_type})
        draft = grouped(draft, policies.get(alert_type))
        way = self._way(taken)
        alert = draft.notification.content.alert
        starts_at = alert.starts_at if alert is not None else None
        answered, alert_id = await self._ledger.members.resolve(
            draft.dedup_key, draft.member_key, way, starts_ms=epoch_ms(starts_at) if starts_at is not None else 0
        )
        if answered is Answered.OVER:
            await self._actions.over(alert_id, taken.publisher, way)
        receipt: AcceptedReceipt = {"status": "accepted", "accepted_at": rfc3339(self._clock.now())}
        if answered is Answered.UNKNOWN:
            taken.warnings.append(FieldProblem("dedup_key", NOTHING_OPEN))
        else:
            receipt["notification_id"] = receipt["alert_id"] = alert_id
        return receipt

    async def _accept(self, wave: Sequence[Taken]) -> None:
        drafts = [one.draft for one in wave if one.draft is not None]
        known = await until_stored(lambda: self._planner.look_up(drafts))
        records: list[tuple[Taken, Draft, NewRecord]] = []
        for one in wave:
            await self._turns.take()
            rows = None if one.draft is None else self._planned(one, known)
            if one.draft is None or rows is None:
                continue
            records.append((one, one.draft, record_of(one, one.draft, rows, self._way(one))))

        async def write() -> list[Any]:
            written = []
            for _, _, record in records:
                await self._turns.take()
                written.append(self._ledger.submit_accept(record))
            answers: list[Any] = await asyncio.gather(*written)
            return answers

        # Repeatable: an id that is there already was accepted by the try before.
        answers = await until_stored(write)
        for (one, draft, record), answer in zip(records, answers, strict=True):
            await self._turns.take()
            self._answer_accept(one, draft, record, *self._ledger.accepted(record, answer))

    def _planned(self, taken: Taken, known: Known) -> list[NewRow] | None:
        if taken.draft is None:
            return None
        try:
            draft = taken.draft = self._planner.settled(taken.draft, known)
            with tracing.span("plan", "internal", taken.span.context) as span:
                rows = self._planner.first_rows(draft, known)
                span.set(rows=len(rows))
                if taken.publish is not None:
                    taken.warnings += foreseen(taken.publish, draft, known, rows, self._planner.without)
                return rows
        except Rejected as rejected:
            self._refuse(taken, rejected)
            return None
        except Exception:
            # As in _check: our own mistake with one notification must not stop the others.
            log.exception("notification could not be planned", extra={"kind": taken.kind})
            self._refuse(taken, Rejected(RejectionCode.INVALID_PAYLOAD, "The notification could not be planned."))
            return None

    def _answer_accept(
        self, taken: Taken, draft: Draft, record: NewRecord, verdict: Verdict, notification_id: str
    ) -> None:
        if verdict is Verdict.CONFLICT:
            message = "This idempotency key was used for another notification within the last 24 hours."
            self._refuse(taken, Rejected(RejectionCode.IDEMPOTENCY_CONFLICT, message))
            return
        receipt: AcceptedReceipt | DuplicateReceipt = {"status": "duplicate", "notification_id": notification_id}
        if verdict is Verdict.GROUPED:
            accepted_at = rfc3339(from_epoch_ms(draft.notification.accepted_ms))
            receipt = {"status": "accepted", "notification_id": notification_id, "accepted_at": accepted_at}
        if verdict is Verdict.ACCEPTED:
            accepted_at = rfc3339(from_epoch_ms(draft.notification.accepted_ms))
            receipt = {"status": "accepted", "notification_id": notification_id, "accepted_at": accepted_at}
            if taken.warnings:
                receipt["warnings"] = [each.document() for each in taken.warnings]
            self._holding.watch(draft.notification, record.rows)
            taken.messages += jobs_of(self._topics, record.content, record.rows)
            if draft.notification.events:
                taken.messages.append(event(self._topics, notification_id, verdict, self._clock))
            taken.messages += tell_planned(self._topics, draft.notification, record.rows, self._clock)
            if any(new.reason is Reason.NO_RECIPIENT for new in record.rows):
                extra = {"notification_id": notification_id}
                log.error("an alert reaches nobody: no admin, nobody on call", extra=extra)
        if draft.alert_type is not None:
            receipt["alert_id"] = notification_id
        taken.span.set(notification_id=notification_id)
        taken.receipt = receipt
        self._count(taken, verdict.value)

    def _way(self, taken: Taken) -> Way:
        """Say by which way a publish came; the HTTP calls of the realtime service have it published, too."""
        if taken.publisher == LIVENESS_PUBLISHER:
            return Way.LIVENESS
        answer_to = taken.incoming.response_topic
        if answer_to is None or not self._topics.is_http_receipt(answer_to, taken.publisher):
            return Way.MQTT
        return Way.ALERTMANAGER if taken.incoming.user_property(WAY_PROPERTY) == Way.ALERTMANAGER else Way.HTTP

    @staticmethod
    def _count(taken: Taken, outcome: str) -> None:
        kind = taken.kind.value if taken.kind else UNKNOWN
        priority = taken.draft.notification.priority if taken.draft else Priority.NORMAL
        metrics.series(metrics.notifications, kind, priority, outcome).inc()
        taken.span.set(kind=kind, priority=priority.value, outcome=outcome)

    async def _keep(self, refused: Sequence[Taken]) -> None:
        # Of what is over a rate the first tells enough.
        told: set[str] = set()
        kept: list[tuple[str, int, Mapping[str, object]]] = []
        for one in refused:
            error = one.receipt["error"]
            if not isinstance(error, Mapping):
                continue
            if error["code"] == RejectionCode.RATE_LIMITED and one.route is not None:
                if one.publisher in told:
                    continue
                told.add(one.publisher)
            kept.append((one.incoming.topic, one.incoming.payload_bytes, error))
            extra = {
                "kind": one.kind or UNKNOWN,
                "code": error["code"],
                "topic": self._topics.masked(one.incoming.topic),
                "fields": logged_fields(error.get("fields", ())),
            }
            log.info("publish refused", extra=extra)
        await self._rejections.keep(kept)

    async def _answer(self, broker: Broker, taken: Sequence[Taken]) -> None:
        """Hand over jobs and receipts, then acknowledge."""
        try:
            async with asyncio.timeout(HANDOVER_TIMEOUT_S):
                jobs = await self._hand_over(taken)
                await self._tell(taken)
            late = (await settled(jobs, HANDOVER_TIMEOUT_S)).unanswered
        except TimeoutError:
            late = len(taken)
        if late:
            log.warning("broker slow to confirm", extra={"messages": late})
        for one in taken:
            broker.ack(one.incoming, PAYLOAD_FORMAT_INVALID if one.incoming.problem else 0)
            one.span.end()

    async def _hand_over(self, taken: Sequence[Taken]) -> "list[asyncio.Future[bool]]":
        """Publish jobs and events; the ledger brings a lost job again."""
        handovers = []
        for one in taken:
            trace = tracing.user_properties(one.span.context)
            for topic, payload in one.messages:
                await self._turns.take()
                await self._out.sendable()
                handovers.append(self._out.publish(topic, payload, user_properties=trace))
            one.messages = []
        return handovers

    async def _tell(self, taken: Sequence[Taken]) -> None:
        """Publish the receipts, again where the connection broke before the broker confirmed one."""
        untold = [(one, topic) for one in taken if (topic := self._answer_to(one))]
        while untold:
            await self._out.sendable()
            receipts = []
            for each in untold:
                await self._turns.take()
                receipts.append(self._receipt(*each))
            answers = await asyncio.gather(*receipts, return_exceptions=True)
            untold = [each for each, answer in zip(untold, answers, strict=True) if _may_be_told(answer)]

    def _receipt(self, one: Taken, topic: str) -> "asyncio.Future[bool]":
        return self._out.publish(
            topic,
            json.dumps(one.receipt),
            correlation=one.incoming.correlation,
            user_properties=tracing.user_properties(one.span.context),
        )

    def _answer_to(self, taken: Taken) -> str | None:
        """Say where a publish is answered: only below ``receipts/``.

        The router may publish where no publisher may: a receipt elsewhere would be a job, an event or a command in the
        router's name.
        """
        asked = taken.incoming.response_topic
        if not asked or self._topics.is_receipt(asked, taken.publisher):
            return asked or None
        metrics.withheld_receipts.inc()
        log.warning(
            "receipt withheld: its topic is not below receipts/, or not its publisher's own",
            extra={"kind": taken.kind or UNKNOWN},
        )
        return None


def _may_be_told(answer: bool | BaseException) -> bool:
    """Tell whether another try to publish a receipt may succeed."""
    if isinstance(answer, BaseException) and not isinstance(answer, BrokerUnavailable):
        raise answer
    return isinstance(answer, BrokerUnavailable) and not isinstance(answer, PublishRefused)


def _warned(warnings: Sequence[FieldProblem]) -> Mapping[str, list[Problem]]:
    return {"warnings": [each.document() for each in warnings]} if warnings else {}
