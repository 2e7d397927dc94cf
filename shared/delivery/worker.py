"""The worker: takes jobs of one lane, claims their rows, has each performed once, and writes the outcome.

Every service is a worker. A channel service performs a delivery by making an attempt (``shared.delivery.loop``). The
router performs its tasks.

Promises at least once. A row is performed only after a successful claim, and its outcome is written with the claim's
token. If a worker dies, the ledger drives its rows again when their leases have lapsed.

A job is acknowledged to the broker when all its rows have been claimed or need nothing. From then on the ledger knows
who has them (docs/decisions/0004). The backlog itself waits in the ledger (docs/decisions/0019). Rows in a version that
this release does not know are not claimed. They wait in the ledger for a release that does (docs/guides/upgrading.md).

Priorities are kept apart twice, so that critical never waits behind a backlog. Each priority has its own connection and
so its own window at the broker. Shares of the worker's capacity are reserved for the more urgent ones.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic

from shared.core.errors import AttemptOutcome, BrokerUnavailable, Reason, StoreUnavailable
from shared.core.model import Job, Notification, Priority, RowT, State
from shared.core.topics import Topics
from shared.delivery.capacity import Capacity
from shared.ledger.claims import Claim, ClaimVerdict, Finish, Outcome
from shared.ledger.jobs import open_job
from shared.ledger.ledger import Ledger
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from shared.mqtt.reconnecting import BrokerLink, Serve
from shared.store.keys import is_notification_id
from shared.store.store import Line, on_line
from shared.store.until_stored import until_stored
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# Messages taken from a connection at a time.
TAKE_BATCH = 100
# Opened jobs take several times their bytes; what has arrived beside them is bounded by the connection
# (``shared.mqtt.connection.RECEIVE_BYTES``) until its rows are claimed.
TAKE_BYTES = 1024 * 1024

# A failure of our own code is tried a few times, in case it was an accident of the moment, and then kept as a dead
# letter: a poisonous notification must not run for a day.
INTERNAL_ERROR_ATTEMPTS = 5
INTERNAL_ERROR_WAIT = timedelta(seconds=2)

# A row that killed one worker after the other, or that cannot be read: it ended when it was claimed.
_DEAD = frozenset({ClaimVerdict.WORKER_DIED, ClaimVerdict.UNREADABLE})

# With what a delivery ends that is not wanted any more: its notification was cancelled, or somebody answered its alert.
CALLED_OFF: frozenset[str] = frozenset({Reason.CANCELLED, Reason.ACKNOWLEDGED, Reason.RESOLVED})


Perform = Callable[[Notification, RowT, Claim], Awaitable[Outcome]]
Report = Callable[[Notification, RowT, Claim, Outcome], None]


@dataclass(slots=True)
class _JobInHand(Generic[RowT]):
    """A job whose message is acknowledged when ``left``, the rows that nobody has claimed, reaches zero."""

    broker: Broker
    incoming: Incoming
    notification: Notification
    left: int

    def row_claimed(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.broker.ack(self.incoming)


class Worker(Generic[RowT]):
    """A worker of one lane.

    Args:
        lane: a channel's name or ``router``.
        job_type: the job model of this lane.
        perform: performs one claimed row; never raises for a failed delivery, but returns its outcome.
        report: told of every outcome, after it was written.
        lease: for how long a claim holds; longer than ``perform`` may take.
        claims_ahead: see ``shared.delivery.capacity``. All rows that a dead worker had claimed are in doubt, begun or
            not. So this is for lanes where a doubt costs nothing.
        line: how its calls go to the store; those of critical rows, which must not wait for the others, as usual.
    """

    def __init__(
        self,
        lane: str,
        job_type: type[Job[RowT]],
        perform: Perform[RowT],
        report: Report[RowT],
        *,
        ledger: Ledger,
        topics: Topics,
        address: BrokerAddress,
        client_id: str,
        concurrency: int,
        lease: timedelta,
        claims_ahead: bool = False,
        line: Line = Line.USUAL,
    ) -> None:
        self._lane = lane
        self._line = line
        self._job_type = job_type
        self._perform = perform
        self._report = report
        self._ledger = ledger
        self._lease = lease
        self._capacity = Capacity(concurrency, claims_ahead=claims_ahead)
        self._tasks: set[asyncio.Task[None]] = set()
        self._queued = 0
        self._told: set[str] = set()
        metrics.prepare_lane(lane)
        self.links = [
            BrokerLink(
                address,
                f"{client_id}-{priority}",
                filters=[topics.jobs_filter(lane, priority)],
                serve=self._server(priority),
            )
            for priority in Priority
        ]

    @property
    def is_up(self) -> bool:
        """Tell whether every lane is connected."""
        return all(link.is_up for link in self.links)

    def publish(self, topic: str, payload: str) -> "asyncio.Future[bool]":
        """Publish on the most urgent lane's connection; see ``Broker.publish``."""
        return self.links[-1].publish(topic, payload)

    def bring_forward(self) -> None:
        """Make the rows of this lane due that wait because a provider was down."""
        self._keep(asyncio.create_task(self._bring_forward(), name=f"bring-forward-{self._lane}"))

    def bring_forward_paused(self) -> None:
        """Make the rows of this lane due that wait because their providers were paused by hand."""
        self._keep(asyncio.create_task(self._bring_forward_paused(), name=f"bring-forward-paused-{self._lane}"))

    async def run(self) -> None:
        """Work until cancelled; what is in hand then is left to ``idle`` and ``abandon``."""
        async with asyncio.TaskGroup() as group:
            for priority, link in zip(Priority, self.links, strict=True):
                with on_line(Line.USUAL if priority is Priority.CRITICAL else self._line):
                    group.create_task(link.run(), name=f"lane-{link.client_id}")

    async def stop_intake(self) -> None:
        """Take no new jobs from the broker."""
        await asyncio.gather(*(link.stop_intake() for link in self.links))

    async def idle(self) -> None:
        """Return when nothing is in hand and nothing taken waits."""
        while self._tasks or self._queued or any(link.waiting for link in self.links):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=0.1)
            else:
                await asyncio.sleep(0.02)

    async def abandon(self) -> None:
        """Cancel what is still in hand; its leases lapse and it is driven again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _server(self, priority: Priority) -> Serve:
        async def serve(broker: Broker) -> None:
            queue: deque[tuple[_JobInHand[RowT], RowT]] = deque()
            # A lane whose rows wait for a place must not wait with reconnecting.
            broker.call_when_closed(self._capacity.wake)
            try:
                while True:
                    # On a connection that has ended this raises.
                    if not queue or not broker.is_open:
                        for incoming in await broker.take(TAKE_BATCH, TAKE_BYTES):
                            self._open(broker, incoming, queue)
                    await self._start_some(priority, broker, queue)
            finally:
                # Rows that were not claimed yet: their jobs come again from the ledger.
                self._queued -= len(queue)

        return serve

    def _open(self, broker: Broker, incoming: Incoming, queue: deque[tuple[_JobInHand[RowT], RowT]]) -> None:
        job = open_job(self._job_type, incoming.payload)
        self._leave("newer", job.newer)
        self._leave("unreadable", job.unreadable)
        if job.damaged:
            self._keep(asyncio.create_task(self._put_away(job.damaged), name=f"put-away-{self._lane}"))
        if job.notification is None or not job.rows or not is_notification_id(job.notification.id):
            broker.ack(incoming)
            return
        in_hand = _JobInHand[RowT](broker, incoming, job.notification, len(job.rows))
        queue.extend((in_hand, row) for row in job.rows)
        self._queued += len(job.rows)

    async def _put_away(self, rows: Sequence[tuple[str, str]]) -> None:
        """Have rows that nobody can read end as dead letters, so that they are not handed out for ever.

        A job says nothing about that: what counts is how they stand in the ledger.
        """
        notification_id = rows[0][0]
        keys = [key for _, key in rows]
        texts = await until_stored(lambda: self._ledger.texts(notification_id, keys))
        bad = [(notification_id, key) for key, text in zip(keys, texts, strict=True) if self._is_damaged(*text)]
        count = await until_stored(lambda: self._ledger.schedule.quarantine(self._lane, bad)) if bad else 0
        if count:
            metrics.deliveries.labels(self._lane, State.DEAD_LETTERED, Reason.UNREADABLE).inc(count)
            extra = {"lane": self._lane, "notification_id": notification_id, "rows": count}
            log.error("rows put away: unreadable", extra=extra)

    def _is_damaged(self, content: bytes | None, spec: bytes | None) -> bool:
        if content is None or spec is None:
            return True
        job = open_job(self._job_type, b'{"v":1,"notification":%b,"rows":[%b]}' % (content, spec))
        return not job.rows and not job.newer

    def _leave(self, why: str, rows: int) -> None:
        """Count rows that are not claimed here: they stay open in the ledger, which drives them again."""
        if not rows:
            return
        metrics.left_rows.labels(self._lane, why).inc(rows)
        if why not in self._told:
            self._told.add(why)
            log.error("rows left to another release", extra={"lane": self._lane, "why": why, "rows": rows})

    async def _start_some(
        self, priority: Priority, broker: Broker, queue: deque[tuple[_JobInHand[RowT], RowT]]
    ) -> None:
        """Claim as many rows as there are free places, and start them."""
        if not queue:
            return
        places = await self._capacity.take(priority, len(queue), lambda: broker.is_open)
        if not places:
            return
        started = 0
        batch = [queue.popleft() for _ in range(places)]
        try:
            claims = await self._claim([(job.notification.id, row.key) for job, row in batch])
            for (job, row), claim in zip(batch, claims, strict=True):
                job.row_claimed()
                if claim.verdict is ClaimVerdict.CLAIMED:
                    work = self._work(priority, job.notification, row, claim)
                    self._keep(asyncio.create_task(work, name=f"work-{self._lane}"))
                    started += 1
                else:
                    self._settle(job.notification, row, claim)
        finally:
            self._capacity.give(priority, places - started)
            # Not before, so that a drain waits for rows that are just being claimed.
            self._queued -= places

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring_forward(self) -> None:
        try:
            rows = await self._ledger.schedule.bring_forward(self._lane)
        except StoreUnavailable:
            # They come when it is their time.
            return
        if rows:
            log.info("brought forward what waited", extra={"lane": self._lane, "rows": rows})

    async def _bring_forward_paused(self) -> None:
        # Their own time may be an hour away.
        rows = await until_stored(lambda: self._ledger.schedule.bring_forward_paused(self._lane))
        if rows:
            log.info("brought forward what was paused", extra={"lane": self._lane, "rows": rows})

    async def _claim(self, rows: list[tuple[str, str]]) -> list[Claim]:
        return await until_stored(lambda: self._ledger.claim(rows, self._lease))

    async def _work(self, priority: Priority, notification: Notification, row: RowT, claim: Claim) -> None:
        try:
            try:
                outcome = await self._outcome(notification, row, claim)
            finally:
                # Before the outcome is written, so that it goes to the store together with the next claim. While the
                # store is away nothing is claimed either, so no more than a capacity of outcomes waits.
                self._capacity.give(priority)
            written = await until_stored(lambda: self._ledger.finish(claim, outcome))
            if written is Finish.FINISHED:
                self._report(notification, row, claim, outcome)
            elif written in CALLED_OFF:
                self._report(notification, row, claim, called_off(written))
            else:
                log.info(
                    "outcome not written",
                    extra={"delivery_id": claim.delivery_id, "why": written, "attempt": claim.attempt},
                )
        except Exception:
            # Nobody waits for this task. Its lease lapses, and the row is driven again.
            log.exception("row left to its lease", extra={"delivery_id": claim.delivery_id, "attempt": claim.attempt})

    async def _outcome(self, notification: Notification, row: RowT, claim: Claim) -> Outcome:
        try:
            return await self._perform(notification, row, claim)
        except (StoreUnavailable, BrokerUnavailable) as error:
            return Outcome(
                State.PENDING, Reason.UNAVAILABLE, INTERNAL_ERROR_WAIT, counts=False, in_doubt=claim.in_doubt,
                word=AttemptOutcome.RETRY, detail=str(error),
            )  # fmt: skip
        except Exception as error:
            log.exception("task failed", extra={"delivery_id": claim.delivery_id, "attempt": claim.attempt})
            # Of our own failures only: a delivery that waited through a provider's bad night has many attempts.
            failures = claim.failures + 1
            state = State.PENDING if failures < INTERNAL_ERROR_ATTEMPTS else State.DEAD_LETTERED
            # In doubt, because nobody knows how far it came.
            return Outcome(
                state, Reason.INTERNAL_ERROR, INTERNAL_ERROR_WAIT * failures, in_doubt=True, word=AttemptOutcome.ERROR,
                detail=type(error).__name__,
            )  # fmt: skip

    def _settle(self, notification: Notification, row: RowT, claim: Claim) -> None:
        """Deal with a row that was not ours to take."""
        if claim.verdict is ClaimVerdict.EXPIRED:
            self._report(notification, row, claim, Outcome(State.EXPIRED, Reason.EXPIRED, counts=False))
        elif claim.verdict in _DEAD:
            log.error("row put away", extra={"delivery_id": claim.delivery_id, "why": claim.verdict})
            self._report(notification, row, claim, Outcome(State.DEAD_LETTERED, Reason(claim.verdict), counts=False))
        elif claim.verdict in CALLED_OFF:
            self._report(notification, row, claim, called_off(claim.verdict))


def called_off(reason: str) -> Outcome:
    """Make the outcome of a delivery that is not wanted any more."""
    return Outcome(State.SUPPRESSED, Reason(reason), counts=False)
