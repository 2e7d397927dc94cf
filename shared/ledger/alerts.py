"""Alerts in the ledger: what people and publishers answer, and where an alert stands.

An answer is written into the timeline of its incident in the same step, and is lasting. Who may answer is not asked
here, see ``shared.ledger.answering``.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from redis.exceptions import ResponseError

from shared.core.incidents import AlertState, Happened, Way, alert_state, line
from shared.ledger.new_records import TASK_LIFETIME_MS
from shared.store.keys import Keys, is_notification_id, shard_of_key
from shared.store.store import Store, each, load_script

_answer_alert = load_script(__package__, "answer_alert", "ledger")

# Who acknowledged an alert; the last two are what an earlier release wrote of whatever answer came last.
_ACKNOWLEDGED_FIELDS = ("acknowledged_by", "acknowledged_at", "alert_by", "alert_at")


class Answered(StrEnum):
    """What came of answering an alert; true where it is answered now."""

    DONE = "done"
    AGAIN = "again"
    """It was so before."""
    OVER = "over"
    """It is resolved or cancelled, and stays so."""
    UNKNOWN = "unknown"
    NOT_TOLD = "not_told"
    """The person was not told of it."""
    FULL = "full"
    """Its timeline takes no note any more."""

    def __bool__(self) -> bool:
        return self in (Answered.DONE, Answered.AGAIN)


@dataclass(frozen=True, slots=True)
class AlertAnswer:
    """Where an alert stands, and who acknowledged it when; a resolved one still says so."""

    state: AlertState
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None


@dataclass(slots=True)
class Alerts:
    """The alerts of one store.

    Args:
        record_retention_s: how long an alert that is over can be traced.
    """

    store: Store
    keys: Keys
    record_retention_s: int

    async def acknowledge(
        self, alert_id: str, user_id: str, note: str = "", *, must_be_told: bool = False, way: Way | None = None
    ) -> Answered:
        """Write that a person has seen an alert and takes it; ends its escalation and what has not left yet.

        Args:
            must_be_told: refuse a person whom the alert was not sent to; see also ``shared.ledger.answering``.
            way: by which the answer came.
        """
        return await self._answer_alert(alert_id, Happened.ACKNOWLEDGED, user_id, note, told=must_be_told, way=way)

    async def snooze(
        self, alert_id: str, user_id: str, until_ms: int, note: str = "", *, must_be_told: bool, way: Way | None
    ) -> Answered:
        """Write that a person puts an alert away until a time, milliseconds since 1970; then it is open again."""
        return await self._answer_alert(
            alert_id, Happened.SNOOZED, user_id, note, told=must_be_told, way=way, until_ms=until_ms
        )

    async def reassign(
        self, alert_id: str, user_id: str, to: str, note: str = "", *, must_be_told: bool, way: Way | None
    ) -> Answered:
        """Write that a person hands an alert on to others: its escalation begins anew, with them.

        Args:
            to: a target as policies name it, such as ``user:bob``.
        """
        return await self._answer_alert(alert_id, Happened.REASSIGNED, user_id, note, told=must_be_told, way=way, to=to)

    async def note(self, alert_id: str, user_id: str, note: str, *, must_be_told: bool, way: Way | None) -> Answered:
        """Write something down in the timeline of an incident, open or over; nothing else changes."""
        return await self._answer_alert(alert_id, Happened.NOTED, user_id, note, told=must_be_told, way=way)

    async def resolve(
        self, alert_id: str, note: str = "", *, by: str = "", must_be_told: bool = False, way: Way | None = None
    ) -> Answered:
        """Write that an alert is over; who acknowledged it stays written.

        Args:
            by: the person, or the publisher, who says so.
        """
        return await self._answer_alert(alert_id, Happened.RESOLVED, by, note, told=must_be_told, way=way)

    async def alert_states(self, alert_ids: Sequence[str]) -> list[AlertState | None]:
        """Tell where alerts stand, in their order; None for one that was cancelled, or is not there (any more)."""
        keys = [f"{self.keys.shard_of(each)}:n:{each}" if is_notification_id(each) else None for each in alert_ids]
        asked = [self.store.submit("HMGET", key, "alert", "cancelled") for key in keys if key is not None]
        found = iter(await each(asked))
        return [None if key is None else _alert_of(next(found)) for key in keys]

    async def open_alerts(self, dedup_keys: Collection[str]) -> frozenset[str]:
        """Return those dedup keys under which an alert stands that is not resolved: the next one is a duplicate."""
        keys = list(dedup_keys)
        asked = [self.store.submit("GET", f"{self.keys.shard(shard_of_key(key))}:alert:{key}") for key in keys]
        ids = [found.decode() if isinstance(found, bytes) else "" for found in await each(asked)]
        states = await self.alert_states(ids)
        over = (None, AlertState.RESOLVED)
        return frozenset(key for key, state in zip(keys, states, strict=True) if state not in over)

    async def alert_answers(self, alert_ids: Sequence[str]) -> list[AlertAnswer | None]:
        """Tell where alerts stand and who took them, in their order; None as for ``alert_states``."""
        states, found = await asyncio.gather(
            self.alert_states(alert_ids),
            asyncio.gather(
                *(
                    self.store.submit("HMGET", f"{self.keys.shard_of(each)}:n:{each}", *_ACKNOWLEDGED_FIELDS)
                    for each in alert_ids
                )
            ),
        )
        return [_alert_answer(state, *fields) for state, fields in zip(states, found, strict=True)]

    async def _answer_alert(
        self,
        alert_id: str,
        what: Happened,
        user_id: str,
        note: str,
        *,
        told: bool,
        way: Way | None,
        until_ms: int = 0,
        to: str = "",
    ) -> Answered:
        try:
            base = self.keys.shard_of(alert_id)
        except ValueError:
            return Answered.UNKNOWN
        said = line(what, by=user_id or None, way=way, note=note, until=until_ms or None, to=to or None)
        answer = await self.store.script(
            _answer_alert, base, alert_id, what, user_id, note, self.record_retention_s, user_id if told else "",
            said, until_ms, to, TASK_LIFETIME_MS, lasting=True,
        )  # fmt: skip
        return Answered(answer.decode())


def _alert_of(found: Sequence[bytes | None] | ResponseError) -> AlertState | None:
    if isinstance(found, ResponseError):
        return None
    text, cancelled = found
    state = alert_state(text)
    return None if cancelled and state is AlertState.OPEN else state


def _alert_answer(
    state: AlertState | None, by: bytes | None, at: bytes | None, old_by: bytes | None, old_at: bytes | None
) -> AlertAnswer | None:
    if state is None:
        return None
    if at is None and state is AlertState.ACKNOWLEDGED:
        by, at = old_by, old_at
    return AlertAnswer(state, by.decode() if by else None, int(at) if at else None)
