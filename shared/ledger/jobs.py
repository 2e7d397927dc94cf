"""Jobs on their way to a lane: rows of one notification, packed into messages of bounded size, and opened again.

A job may get lost; the ledger then drives its rows again. So publishing a job never fails for the caller. ``settled``
only counts the messages that the broker took for somebody, took for nobody, or did not confirm. If a service cannot
read a row, the row does not disturb the others: it stays in the ledger, for a service that can.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, Protocol

from pydantic import ValidationError

from shared.core.errors import BrokerUnavailable
from shared.core.model import (
    FIRST_VERSION,
    JOB_VERSION,
    READABLE_VERSION,
    Job,
    Notification,
    Priority,
    RowT,
    State,
    TraceContext,
)
from shared.core.topics import Topics
from shared.ledger.new_records import NewRow
from shared.ledger.schedule import DueRow
from shared.mqtt.packets import UserProperties
from shared.store.keys import is_notification_id
from shared.telemetry import tracing

# A fan-out to 100,000 people is not 100,000 MQTT messages; and one job is not more than a worker has in hand at once.
JOB_ROWS = 50
# Rows with texts of their own are long. Together with the notification a job stays well below what the brokers take
# (``shared.core.limits.PACKET_BYTES``).
JOB_BYTES = 512 * 1024


class Publisher(Protocol):
    """What can publish: a connection or a link."""

    def publish(self, topic: str, payload: bytes | str, *, correlation: bytes | None = None) -> "asyncio.Future[bool]":
        """Publish without waiting, see ``shared.mqtt.connection.Broker.publish``."""
        ...


Message = tuple[str, str]
TracedMessage = tuple[str, str, UserProperties]


def jobs_of(topics: Topics, content: str, rows: Iterable[NewRow], up_to_ms: int = 0) -> Iterator[Message]:
    """Pack the rows that were handed over into (topic, payload) messages; the others wait in the ledger.

    Args:
        up_to_ms: a time that has come; rows due until then are to be done at once, too.
    """
    by_topic: dict[str, list[str]] = {}
    for new in rows:
        if new.state is State.PENDING and new.row.due_ms <= up_to_ms and not new.waits:
            by_topic.setdefault(topics.jobs(new.row.lane, new.row.priority), []).append(new.spec)
    for topic, specs in by_topic.items():
        yield from _packed(topic, content, specs)


def jobs_of_due(topics: Topics, due: Sequence[DueRow]) -> Iterator[TracedMessage]:
    """Pack rows that the ledger handed out again, the most urgent first, with the user properties of their trace."""
    urgency = list(Priority)

    def order(row: DueRow) -> tuple[int, str, str]:
        return -urgency.index(row.priority), row.notification_id, row.lane

    for _, group in groupby(sorted(due, key=order), key=order):
        rows = list(group)
        topic, content = topics.jobs(rows[0].lane, rows[0].priority), rows[0].content
        trace = tracing.user_properties(_trace_of(content))
        for _, payload in _packed(topic, content, [row.spec for row in rows]):
            yield topic, payload, trace


def _trace_of(content: str) -> TraceContext | None:
    # Most notifications have no trace if nobody traces; these are not parsed.
    if f'"{tracing.TRACEPARENT}"' not in content:
        return None
    try:
        return TraceContext.model_validate(json.loads(content)["trace"])
    except (ValueError, KeyError, TypeError, RecursionError):
        # Whoever takes the job says what is wrong with it.
        return None


def _packed(topic: str, content: str, specs: Sequence[str]) -> Iterator[Message]:
    # Both parts are JSON texts already; building the job from them saves reading and writing them again.
    for part in _parts(specs):
        yield topic, f'{{"v":{JOB_VERSION},"notification":{content},"rows":[{",".join(part)}]}}'


def _parts(specs: Sequence[str]) -> Iterator[Sequence[str]]:
    start = size_bytes = 0
    for end, spec in enumerate(specs):
        spec_bytes = len(spec) if spec.isascii() else len(spec.encode())
        if end > start and (end - start == JOB_ROWS or size_bytes + spec_bytes > JOB_BYTES):
            yield specs[start:end]
            start, size_bytes = end, 0
        size_bytes += spec_bytes
    if start < len(specs):
        yield specs[start:]


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of publishes: how many the broker took for somebody, for nobody, and did not answer in time."""

    taken: int = 0
    for_nobody: int = 0
    unanswered: int = 0


async def settled(handovers: Iterable["asyncio.Future[bool]"], within_s: float) -> Settled:
    """Wait for the broker's answers, for so long; one that was lost with its connection counts as unanswered."""
    waiting = list(handovers)
    if not waiting:
        return Settled()
    done, late = await asyncio.wait(waiting, timeout=within_s)
    taken = for_nobody = 0
    for future in done:
        error = future.exception()
        if error is None:
            taken += future.result()
            for_nobody += not future.result()
        elif not isinstance(error, BrokerUnavailable):
            raise error
    return Settled(taken, for_nobody, len(late) + len(done) - taken - for_nobody)


# Without slots: Python 3.11 cannot make a frozen generic class with them.
@dataclass(frozen=True)
class Opened(Generic[RowT]):
    """The part of a job that this service can perform.

    Attributes:
        notification: None where ``rows`` is empty because nothing could be read.
        newer: how many rows are in a version above ``READABLE_VERSION``.
        unreadable: how many rows are none of ours, or damaged; a job that is no job counts as one.
        damaged: notification id and key of those of them that say who they are.
    """

    notification: Notification | None = None
    rows: tuple[RowT, ...] = ()
    newer: int = 0
    unreadable: int = 0
    damaged: tuple[tuple[str, str], ...] = ()


def open_job(job_type: type[Job[RowT]], payload: bytes | str) -> Opened[RowT]:
    """Read a job, without the rows that this service cannot read."""
    try:
        job = job_type.model_validate_json(payload)
    except ValidationError:
        return _open_in_parts(job_type, payload)
    newest = max(job.v, job.notification.v, *(row.v for row in job.rows), FIRST_VERSION)
    return Opened(job.notification, job.rows) if newest <= READABLE_VERSION else _open_in_parts(job_type, payload)


def _open_in_parts(job_type: type[Job[RowT]], payload: bytes | str) -> Opened[RowT]:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return Opened(unreadable=1)
    rows = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        return Opened(unreadable=1)
    if _is_newer(document) or _is_newer(document.get("notification")):
        return Opened(newer=len(rows))
    notification: Notification | None = None
    readable: list[RowT] = []
    damaged: list[tuple[str, str]] = []
    newer = 0
    for row in rows:
        if _is_newer(row):
            newer += 1
            continue
        try:
            # As JSON again, because that is read by other rules than Python's objects.
            job = job_type.model_validate_json(json.dumps(document | {"rows": [row]}))
        except ValidationError:
            damaged += _named(document.get("notification"), row)
            continue
        notification = job.notification
        readable += job.rows
    return Opened(notification, tuple(readable), newer, len(rows) - newer - len(readable), tuple(damaged))


def _named(notification: Any, row: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - whatever a job may hold
    """Say which row this is, if it says so itself."""
    if not isinstance(notification, dict) or not isinstance(row, dict):
        return []
    notification_id, key = notification.get("id"), row.get("key")
    is_named = isinstance(notification_id, str) and is_notification_id(notification_id) and isinstance(key, str)
    return [(str(notification_id), str(key))] if is_named else []


def _is_newer(part: Any) -> bool:  # noqa: ANN401 - whatever a job may hold
    version = part.get("v", FIRST_VERSION) if isinstance(part, dict) else FIRST_VERSION
    return isinstance(version, int) and version > READABLE_VERSION
