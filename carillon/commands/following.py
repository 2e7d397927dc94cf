"""Following one notification to its end: what ``carillon send --wait`` does.

Promises that every delivery is told of once, after it has ended. What the router does later (a scheduled notification
whose time has not come, a step of an escalation) is reported and not waited for: it may be days away.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

import click

from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_json, printable
from carillon.commands.rows import when
from carillon.commands.settings import OperatorSettings
from shared.core.channels import ROUTER_LANE
from shared.core.clock import rfc3339
from shared.core.model import State
from shared.ledger.reader import Trace, TracedRecord, TracedRow
from shared.ledger.trace_document import row_document
from shared.ledger.trace_words import task_text, whom

_POLL_S = 0.2

# Reading a large fan-out takes the store's time: it is looked at during a fifth of the time at most.
_PAUSE_PER_READ = 4

# Tasks that wait for their time. A page of a fan-out is none of them: deliveries follow from it at once.
_TIMED_TASKS = ("plan", "escalate")


@dataclass(slots=True)
class Followed:
    """How far a notification has come.

    Attributes:
        ended: deliveries that have ended, by state.
        open_deliveries: deliveries, and the router's tasks from which deliveries follow, that have not ended.
        later: what was not waited for: the router's tasks, and deliveries that are first due after the timeout.
    """

    ended: Counter[State] = field(default_factory=Counter)
    open_deliveries: list[TracedRow] = field(default_factory=list)
    later: list[TracedRow] = field(default_factory=list)

    @property
    def all_well(self) -> bool:
        """Tell whether nothing is open, nothing was lost on the way, and something was delivered or comes later."""
        lost = self.ended[State.EXPIRED] + self.ended[State.DEAD_LETTERED]
        return not self.open_deliveries and not lost and not self.reached_nobody

    @property
    def reached_nobody(self) -> bool:
        """Tell whether whatever was to be done by now has ended, and none of it as delivered."""
        waits = bool(self.open_deliveries) or (bool(self.later) and not self.ended.total())
        return not self.ended[State.DELIVERED] and not waits


async def follow(
    trace: Trace, notification_id: str, tell: Callable[[TracedRow], None], timeout_s: float
) -> Followed | None:
    """Wait until the deliveries of a notification have ended, or the time is over.

    Args:
        tell: is given each delivery once, when it has ended.

    Returns:
        None when there is no such notification.
    """
    deadline = monotonic() + timeout_s
    followed = Followed()
    told: set[str] = set()
    seen: tuple[int, int] | None = None
    while True:
        started = monotonic()
        record = await trace.record(notification_id)
        if record is None:
            return None
        # A row's end changes the first number, a row more the second.
        now = record.open_rows, record.fields
        if now != seen:
            seen = now
            until = record.read_at + timedelta(seconds=deadline - monotonic())
            await _look(trace, record, followed, told, tell, until=until)
            if not followed.open_deliveries:
                # Rows may have been added while the others were being read; then the numbers are others now.
                continue
        elif not followed.open_deliveries:
            return followed
        left_s = deadline - monotonic()
        if left_s <= 0:
            return followed
        await asyncio.sleep(min(left_s, max(_POLL_S, _PAUSE_PER_READ * (monotonic() - started))))


async def _look(
    trace: Trace,
    record: TracedRecord,
    followed: Followed,
    told: set[str],
    tell: Callable[[TracedRow], None],
    *,
    until: datetime,
) -> None:
    followed.open_deliveries, followed.later = [], []
    async for row in trace.rows(record.notification_id):
        if not row.state.is_end:
            (followed.later if _is_later(row, record, until) else followed.open_deliveries).append(row)
        elif row.lane != ROUTER_LANE and not row.recalls and row.key not in told:
            told.add(row.key)
            followed.ended[row.state] += 1
            tell(row)


def _is_later(row: TracedRow, record: TracedRecord, until: datetime) -> bool:
    if row.state is not State.PENDING:
        return False
    if row.task is None:
        # Scheduled to an address that the publisher gave; a push that is only held back is due before that.
        return row.since > until
    return row.task.get("do") in _TIMED_TASKS and row.until > record.read_at


async def print_ends(settings: OperatorSettings, notification_id: str, timeout_s: float, *, as_json: bool) -> bool:
    """Print how each delivery ends, and what is left after a time; tell whether all went well."""

    def tell(row: TracedRow) -> None:
        if as_json:
            print_json(row_document(row))
        else:
            text = f"{row.state:<13}  {row.lane:<8}  {whom(row):<20}  {row.reason or 'ok':<18}  {rfc3339(row.until)}"
            click.echo(printable(text))

    async with open_store(settings) as (store, keys):
        followed = await follow(Trace(store, keys), notification_id, tell, timeout_s)
    if followed is None:
        raise AnswerIsNo("the notification has no record; do MQTT_URL and REDIS_URL name the same system?")
    if as_json:
        print_json(_summary(followed))
    else:
        _print_summary(followed, timeout_s)
    return followed.all_well


def _summary(followed: Followed) -> dict[str, object]:
    return {
        "ended": dict(followed.ended),
        "open": [row_document(row) for row in followed.open_deliveries],
        "not_waited_for": [row_document(row) for row in followed.later],
    }


def _print_summary(followed: Followed, timeout_s: float) -> None:
    ended: Counter[str] = Counter({state.value: count for state, count in followed.ended.items()})
    most_first = sorted(ended.items(), key=lambda each: (-each[1], each[0]))
    click.echo("ended: " + (", ".join(f"{count} {state}" for state, count in most_first) or "none"))
    for row in followed.later:
        what = task_text(row) if row.task is not None else f"{row.lane} to {whom(row)}"
        click.echo(printable(f"not waited for: {what}, {when(row)}"))
    if followed.reached_nobody:
        click.echo("nothing was delivered")
    if followed.open_deliveries:
        click.echo(f"not ended within {timeout_s:g} s: {len(followed.open_deliveries)}")
