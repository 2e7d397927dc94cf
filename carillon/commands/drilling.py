"""``carillon drill``: raises a marked alert, follows it, resolves it whatever happens, and reports.

Promises to resolve what it has raised: at the end, on Ctrl-C and on an error. A drill whose process is killed ends by
its ``ttl_s``.
"""

import asyncio
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import click

from carillon.commands.opening_broker import open_publisher
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, CannotWork, print_columns, print_json, printable
from carillon.commands.settings import OperatorSettings
from carillon.publisher import NoReceipt, Publisher, Receipt, Refused, Status
from carillon_publisher.errors import CarillonError
from shared.core.channels import ROUTER_LANE
from shared.core.incidents import DRILL_SOURCE, AlertState
from shared.core.model import Channel, State
from shared.core.topics import Kind, Topics
from shared.inbox.presence import Presence
from shared.ledger.reader import Trace, TracedRecord, TracedRow

_POLL_S = 0.5
_RECEIPT_WITHIN_S = 10.0
# What nobody resolves ends so long after its time.
_SPARE = timedelta(minutes=1)

# With these a delivery ends because somebody has answered meanwhile: it says nothing about its channel.
_ANSWERED = (AlertState.ACKNOWLEDGED.value, AlertState.RESOLVED.value)


@dataclass(slots=True)
class Drill:
    """How far a drill has come.

    Attributes:
        seen_s: person to the time from the acceptance until the alert was seen to be open in the inbox.
    """

    alert_id: str
    rows: list[TracedRow] = field(default_factory=list)
    accepted_at: datetime | None = None
    acknowledged_s: float | None = None
    acknowledged_by: str | None = None
    seen_s: dict[str, float] = field(default_factory=dict)
    resolved: bool = False

    @property
    def people(self) -> list[str]:
        """Everybody for whom there is a delivery."""
        return sorted({row.recipient for row in self.rows if row.recipient is not None})

    @property
    def out_of_reach(self) -> list[str]:
        """Those whom nothing but the inbox has reached, or would have, had nobody answered before."""
        return [user for user in self.people if not any(map(_reaches, self.of(user)))]

    @property
    def is_over(self) -> bool:
        """Tell whether there is nothing more to wait for."""
        ended = bool(self.rows) and all(row.state.is_end for row in self.rows)
        return ended and (self.acknowledged_by is not None or self.seen_s.keys() >= set(self.people))

    def of(self, user: str) -> list[TracedRow]:
        """Return one person's deliveries."""
        return [row for row in self.rows if row.recipient == user]

    def document(self) -> dict[str, Any]:
        """Write it for programs; times are seconds from the acceptance, null where it has not come to that."""
        return {
            "alert_id": self.alert_id,
            "resolved": self.resolved,
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_s": self.acknowledged_s,
            "out_of_reach": self.out_of_reach,
            "people": [
                {
                    "user_id": user,
                    "seen_s": self.seen_s.get(user),
                    "channels": [self._channel(row) for row in self.of(user)],
                }
                for user in self.people
            ],
        }

    def _channel(self, row: TracedRow) -> dict[str, Any]:
        return {
            "channel": row.lane,
            "state": row.state,
            "reason": row.reason or None,
            "provider_s": self.provider_s(row),
        }

    def provider_s(self, row: TracedRow) -> float | None:
        """Return after how many seconds the provider had it."""
        if row.state is not State.DELIVERED or self.accepted_at is None:
            return None
        return _seconds(row.until - self.accepted_at)


def run_drill(alert_type: str, timeout: timedelta, client_id: str | None, *, as_json: bool) -> bool:
    """Run a drill, print what came of it, and tell whether everybody was reached."""
    settings = OperatorSettings.load()
    settings.needed("redis_url")
    return asyncio.run(_run(settings, alert_type, timeout, client_id, as_json=as_json))


async def _run(
    settings: OperatorSettings, alert_type: str, length: timedelta, client_id: str | None, *, as_json: bool
) -> bool:
    async with AsyncExitStack() as stack:
        store, keys = await stack.enter_async_context(open_store(settings))
        publisher = await stack.enter_async_context(open_publisher(settings, client_id))
        drill = Drill(await _raise(publisher, alert_type, length))
        if not as_json:
            click.echo(f"drill {drill.alert_id}: telling people; Ctrl-C ends it")
        try:
            await _follow(Trace(store, keys), Presence(store, keys), drill, length)
        finally:
            try:
                await _resolve(publisher, drill)
            finally:
                _print(drill, as_json=as_json)
    return bool(drill.people) and not drill.out_of_reach


async def _raise(publisher: Publisher, alert_type: str, length: timedelta) -> str:
    """Publish the alert, and return its id; a Ctrl-C meanwhile resolves it as soon as its id is known."""
    topic = Topics().publish(Kind.ALERT_CRITICAL, alert_type)
    payload = {
        "message": (
            f"DRILL: this is a test of the on-call alerts for {alert_type}. Nothing is wrong. Open it or acknowledge "
            "it, so that the drill can measure how long that takes."
        ),
        "source": DRILL_SOURCE,
        "dedup_key": f"drill:{uuid.uuid4()}",
        "data": {"drill": True},
        "ttl_s": (length + _SPARE).total_seconds(),
    }
    asked = asyncio.create_task(publisher.publish(topic, payload, timeout_s=_RECEIPT_WITHIN_S), name="raise")
    try:
        return _alert_id(await asyncio.shield(asked))
    except asyncio.CancelledError:
        await _resolve(publisher, Drill(_alert_id(await asked)))
        raise
    except Refused as refused:
        raise AnswerIsNo(f"the drill was rejected: {refused}") from None
    except NoReceipt as error:
        raise AnswerIsNo(f"{error}; if it was accepted, it ends by itself after {length + _SPARE}") from None


def _alert_id(receipt: Receipt) -> str:
    if receipt.status is Status.REJECTED or receipt.alert_id is None:
        raise AnswerIsNo("the drill was not accepted as an alert")
    return receipt.alert_id


async def _follow(trace: Trace, presence: Presence, drill: Drill, length: timedelta) -> None:
    """Look again and again, until everybody has seen it, somebody has acknowledged it or the time is over."""
    deadline = monotonic() + length.total_seconds()
    while True:
        record = await trace.record(drill.alert_id)
        if record is None:
            raise CannotWork("the drill has no record; do MQTT_URL and REDIS_URL name the same system?")
        await _look(trace, presence, drill, record)
        if drill.is_over or monotonic() >= deadline:
            return
        await asyncio.sleep(_POLL_S)


async def _look(trace: Trace, presence: Presence, drill: Drill, record: TracedRecord) -> None:
    drill.accepted_at = record.accepted_at
    drill.rows = [row async for row in trace.rows(drill.alert_id) if _is_delivery(row)]
    if record.acknowledged_at is not None:
        drill.acknowledged_by = record.acknowledged_by
        drill.acknowledged_s = _seconds(record.acknowledged_at - record.accepted_at)
    for user in drill.people:
        if user not in drill.seen_s and await presence.has_seen(user, drill.alert_id):
            drill.seen_s[user] = _seconds(record.read_at - record.accepted_at)


async def _resolve(publisher: Publisher, drill: Drill) -> None:
    topic = Topics().publish(Kind.ALERT_RESOLVE, drill.alert_id)
    try:
        await publisher.publish(topic, {"note": "the drill is over"}, timeout_s=_RECEIPT_WITHIN_S)
    except CarillonError as error:
        again = f"carillon send {topic} '{{}}'"
        raise CannotWork(f"the drill could not be resolved: {error}; do it with: {again}") from None
    drill.resolved = True


def _is_delivery(row: TracedRow) -> bool:
    return row.lane != ROUTER_LANE and row.task is None and not row.recalls


def _reaches(row: TracedRow) -> bool:
    if row.lane == Channel.REALTIME:
        return False
    return row.state is State.DELIVERED or (row.state is State.SUPPRESSED and row.reason in _ANSWERED)


def _print(drill: Drill, *, as_json: bool) -> None:
    if as_json:
        print_json(drill.document())
        return
    rows = [("person", "channel", "outcome", "provider", "seen")]
    for user in drill.people:
        for row in drill.of(user):
            outcome = row.state.value if row.state is State.DELIVERED else f"{row.state} {row.reason}".rstrip()
            seen_s = drill.seen_s.get(user) if row.lane == Channel.REALTIME else None
            rows.append((user, row.lane, outcome, _shown(drill.provider_s(row)), _shown(seen_s)))
    if len(rows) > 1:
        print_columns(rows)
    if drill.acknowledged_by is not None:
        click.echo(printable(f"acknowledged by {drill.acknowledged_by} after {_shown(drill.acknowledged_s)}"))
    for user in drill.out_of_reach:
        click.echo(printable(f"out of reach: nothing but the inbox has reached {user}"))
    if not drill.people:
        click.echo("nobody was told")


def _shown(length_s: float | None) -> str:
    return "-" if length_s is None else f"{length_s:.1f} s"


def _seconds(length: timedelta) -> float:
    return round(max(0.0, length.total_seconds()), 3)
