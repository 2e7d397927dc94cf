"""Recalling: a cancellation that also takes back what was delivered already.

Promises that each delivery that can be taken back has one more row, with the key of the delivery and ``RECALL`` behind
it. Its channel performs that row as it performs deliveries: with retries, once, and visible in a trace. What is in
somebody's hands is taken back after its attempt, if that may have arrived. Whoever dies half way repeats the call, and
each row is there once.

What happened counts, and not what the call did. So the same recall again finds the same. A mail or an SMS that was sent
cannot be taken back; both are only counted.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from functools import lru_cache

from pydantic import ValidationError
from redis.exceptions import ResponseError

from shared.core.channels import ROUTER_LANE
from shared.core.clock import Clock, epoch_ms
from shared.core.errors import AttemptOutcome, Reason
from shared.core.model import CAN_RECALL, RECALL, RECALLED_TEXT, Channel, Content, Delivery, State
from shared.core.topics import Kind
from shared.ledger.ledger import Cancelled, Ledger
from shared.ledger.new_records import NewRow, row_args
from shared.ledger.rows import ATTEMPTS_KEPT, RowStatus, attempt_field, read_attempts, status_field
from shared.store.keys import Keys, is_notification_id
from shared.store.replies import object_or_none, pairs, read_object
from shared.store.store import load_script

# How long taking back is tried at least. A push service may keep a push for an absent device until its delivery
# expires, so it is tried until then if that is later.
RECALL_LIFETIME = timedelta(days=1)

# The router's tasks of which each stands for one delivery.
_HOLDING_TASKS = ("recheck", "fold")
# Fields that the store looks at in one call, and rows that are added in one.
_SCAN_COUNT = 1000
_ROWS_AT_ONCE = 100


_recall = load_script(__package__, "recall", "ledger")


class RecallVerdict(IntEnum):
    """What became of a row that is to take back another one, in the numbers of ``recall.lua``."""

    NOTHING = 0
    """There is nothing to be taken back."""
    STANDS = 1
    """It was there before, or waits for the end of an attempt."""
    ADDED = 2
    """It is due."""


@dataclass(slots=True)
class Recalled:
    """What a recall found.

    Attributes:
        stopped: deliveries that were ended before they left.
        taken_back: deliveries that are or will be taken back, by channel.
        not_recalled: those that were sent, or may have been, and cannot be taken back.
        due: records' texts with the rows that were added to them and handed over, to be published as jobs.
    """

    cancelled: Cancelled
    stopped: int = 0
    taken_back: Counter[str] = field(default_factory=Counter)
    not_recalled: Counter[str] = field(default_factory=Counter)
    due: list[tuple[str, Sequence[NewRow]]] = field(default_factory=list)


class Recalling:
    """Recalls notifications of one ledger.

    Args:
        text: what a device shows in the place of a push.
        without: channels that this system does without: nobody there would take anything back.
    """

    def __init__(
        self, ledger: Ledger, clock: Clock, text: str = RECALLED_TEXT, without: Collection[Channel] = ()
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._shown = Content(title=text, message="")
        self._without = frozenset(without)

    async def recall(self, notification_id: str) -> Recalled | None:
        """Cancel a notification and take back what was delivered; None when there is no such notification."""
        until_ms = epoch_ms(self._clock.now() + RECALL_LIFETIME)
        cancelled = await self._ledger.cancel(notification_id, recall_until_ms=until_ms)
        if cancelled is None:
            return None
        found = Recalled(cancelled)
        for record_id in (notification_id, *await self._ledger.parts(notification_id)):
            await self._recall_record(record_id, until_ms, found)
        return found

    async def delivered(self, record_id: str, channel: Channel) -> list[Delivery]:
        """Return what a record has delivered on a channel, but for what took something back."""
        found: dict[str, Delivery] = {}
        async for page in self._pages(record_id):
            keys = [
                key
                for key, status in page.items()
                if status.lane == channel and status.state is State.DELIVERED and "#" not in key and key not in found
            ]
            for _, spec in await self._ledger.texts(record_id, keys) if keys else ():
                try:
                    delivery = Delivery.model_validate_json(spec or b"")
                except ValidationError:
                    continue
                found[delivery.key] = delivery
        return list(found.values())

    async def _recall_record(self, record_id: str, until_ms: int, found: Recalled) -> None:
        seen: set[str] = set()
        async for page in self._pages(record_id):
            fresh = {key: status for key, status in page.items() if key not in seen}
            seen |= fresh.keys()
            tasks = [key for key, status in fresh.items() if status.lane == ROUTER_LANE and _is_stopped(status)]
            keys = [key for key, status in fresh.items() if status.lane != ROUTER_LANE and not key.endswith(RECALL)]
            for start in range(0, len(keys), _ROWS_AT_ONCE):
                some = {key: fresh[key] for key in keys[start : start + _ROWS_AT_ONCE]}
                await self._recall_rows(record_id, some, until_ms, found)
            for start in range(0, len(tasks), _ROWS_AT_ONCE):
                found.stopped += await self._held(record_id, tasks[start : start + _ROWS_AT_ONCE])

    async def _pages(self, record_id: str) -> AsyncIterator[Mapping[str, RowStatus]]:
        """Read a record's rows in pages, so that no call holds the store for long; damaged ones are left out."""
        record_key = _record_key(self._ledger.keys, record_id)
        cursor = 0
        while True:
            try:
                answer = await self._ledger.store.command(
                    "HSCAN", record_key, cursor, "MATCH", status_field("*"), "COUNT", _SCAN_COUNT
                )
            except ResponseError:
                # Something else than a record has its name.
                return
            cursor = int(answer[0])
            texts = [
                (name.decode(errors="replace")[2:], text.decode(errors="replace")) for name, text in pairs(answer[1])
            ]
            yield {key: status for key, text in texts if (status := RowStatus.read(text)) is not None}
            if cursor == 0:
                return

    async def _recall_rows(self, record_id: str, rows: Mapping[str, RowStatus], until_ms: int, found: Recalled) -> None:
        """Take back what these rows of a record have delivered, and count them."""
        tried = [key for key, status in rows.items() if status.token or status.state is State.DELIVERED]
        texts = await self._ledger.texts(record_id, tried) if tried else []
        recalls: dict[str, NewRow] = {}
        content = b""
        for key, (content_found, spec) in zip(tried, texts, strict=True):
            content = content_found or b""
            if (
                rows[key].lane in _can_recall(content) - self._without
                and (row := self._recall_of(spec, until_ms)) is not None
            ):
                recalls[key] = row
        verdicts = await self._add(record_id, list(recalls.values())) if recalls else []
        taken_back = {key for key, verdict in zip(recalls, verdicts, strict=True) if verdict}
        found.taken_back.update(rows[key].lane for key in taken_back)
        added = zip(recalls.values(), verdicts, strict=True)
        if due := [row for row, verdict in added if verdict is RecallVerdict.ADDED and not row.waits]:
            found.due.append((content.decode(), due))
        others = {key: status for key, status in rows.items() if key not in taken_back}
        in_doubt = await self._in_doubt(record_id, [key for key, status in others.items() if _may_be_in_doubt(status)])
        folded = [key for key, status in others.items() if status.reason == Reason.DIGESTED]
        in_digest = await self._told_in_digests(record_id, folded) if folded else frozenset()
        for key, status in others.items():
            if status.state in (State.DELIVERED, State.SENDING) or key in in_doubt or key in in_digest:
                found.not_recalled[status.lane] += 1
            elif _is_stopped(status) or status.reason == Reason.DIGESTED:
                found.stopped += 1

    async def _add(self, record_id: str, rows: Sequence[NewRow]) -> list[RecallVerdict]:
        """Add rows to a record that take back others of it, each once.

        Which of them wait stands in them from now on.
        """
        ledger = self._ledger
        answer = await ledger.store.script(
            _recall, ledger.keys.shard_of(record_id), record_id, ledger.record_retention_s, ATTEMPTS_KEPT,
            ledger.backlog.shard_rows, *row_args(rows), lasting=True,
        )  # fmt: skip
        if answer[0] == b"unknown":
            return [RecallVerdict.NOTHING] * len(rows)
        verdicts, waiting = answer
        ledger.backlog.written(record_id, rows, waiting)
        return [RecallVerdict(verdict) for verdict in verdicts]

    def _recall_of(self, spec: bytes | None, until_ms: int) -> NewRow | None:
        """Write the row that takes a delivery back; None where the delivery cannot be read."""
        try:
            delivery = Delivery.model_validate_json(spec or b"")
        except ValidationError:
            return None
        return NewRow(
            Delivery(
                key=delivery.key + RECALL,
                channel=delivery.channel,
                priority=delivery.priority,
                address=delivery.address,
                recipient=delivery.recipient,
                content=self._shown if delivery.channel is Channel.PUSH else None,
                expires_ms=max(delivery.expires_ms, until_ms),
                recalls=True,
            )
        )

    async def _held(self, record_id: str, keys: Sequence[str]) -> int:
        """Count those of the router's tasks that held a channel of a person."""
        specs = [read_object(spec) for _, spec in await self._ledger.texts(record_id, keys)]
        whats = [spec.get("what") for spec in specs]
        return sum(isinstance(what, dict) and what.get("do") in _HOLDING_TASKS for what in whats)

    async def _told_in_digests(self, record_id: str, keys: Sequence[str]) -> frozenset[str]:
        """Tell which of these rows are told in a digest that has closed: from an open one they are left out."""
        specs = [read_object(spec) for _, spec in await self._ledger.texts(record_id, keys)]
        digests = {key: spec["digest"] for key, spec in zip(keys, specs, strict=True) if _is_digest(spec.get("digest"))}
        told = await asyncio.gather(*(self._is_told(record_id, digest_id) for digest_id in digests.values()))
        return frozenset(key for key, is_told in zip(digests, told, strict=True) if is_told)

    async def _is_told(self, record_id: str, digest_id: str) -> bool:
        left_out = f"{self._ledger.keys.shard_of(digest_id)}:left_out:{digest_id}"
        state, members = await asyncio.gather(
            self._ledger.store.submit("HGET", _record_key(self._ledger.keys, digest_id), "digest"),
            self._ledger.store.submit("SMEMBERS", left_out),
        )
        # A digest is of one person and channel: a record has one item in it.
        return state == b"closed" and not any(member.startswith(f"{record_id}|".encode()) for member in members)

    async def _in_doubt(self, record_id: str, keys: Sequence[str]) -> set[str]:
        """Tell which of these rows had an attempt of which nobody knows whether it arrived."""
        record_key = _record_key(self._ledger.keys, record_id)
        slots = range(ATTEMPTS_KEPT)
        histories = await asyncio.gather(
            *(
                self._ledger.store.submit("HMGET", record_key, *(attempt_field(key, slot) for slot in slots))
                for key in keys
            )
        )
        return {
            key
            for key, history in zip(keys, histories, strict=True)
            if any(
                attempt.outcome == AttemptOutcome.UNKNOWN
                for attempt in read_attempts(dict(zip(slots, history, strict=True)), ATTEMPTS_KEPT)
            )
        }


def _is_stopped(status: RowStatus) -> bool:
    return status.state is State.PENDING or status.reason == Reason.CANCELLED


def _is_digest(digest_id: object) -> bool:
    return isinstance(digest_id, str) and is_notification_id(digest_id)


def _may_be_in_doubt(status: RowStatus) -> bool:
    return status.token > 0 and status.state not in (State.DELIVERED, State.SENDING)


def _record_key(keys: Keys, record_id: str) -> str:
    return f"{keys.shard_of(record_id)}:n:{record_id}"


@lru_cache(maxsize=1)
def _can_recall(content: bytes) -> frozenset[Channel]:
    """Say on which channels this notification can be taken back."""
    said = object_or_none(content)
    if said is None:
        # Nobody can read its jobs.
        return frozenset()
    # A system status stands until the next one.
    return CAN_RECALL - {Channel.REALTIME} if said.get("kind") == Kind.SYSTEM_STATUS else CAN_RECALL
