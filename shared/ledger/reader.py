"""The ledger's reading side: what became of one notification, and every delivery that ended as a dead letter.

Promises to write nothing, and to read large records in pages, so that no call holds the store for long. It returns no
title, body, address, token or note: only who, when, how it ended and why.

Each row is shown as it was when its page was read. The rows of a notification that is being delivered may be some
milliseconds apart.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from redis.exceptions import ResponseError

from shared.core.channels import ROUTER_LANE
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.errors import Reason
from shared.core.incidents import AlertState, alert_state
from shared.core.model import RECALL, Priority, State
from shared.ledger.rows import (
    ATTEMPTS_KEPT,
    DAMAGED,
    Confirmation,
    RowStatus,
    TracedAttempt,
    attempt_field,
    callbacks_field,
    confirmation_field,
    milliseconds,
    moment,
    parts_of,
    read_attempts,
    read_callbacks,
    spec_field,
    status_field,
)
from shared.store.keys import SHARDS, Keys, is_notification_id, milliseconds_of_id
from shared.store.replies import pairs, read_object, scored
from shared.store.store import Store, each

UNREADABLE = Reason.UNREADABLE.value

# Fields that the store looks at in one call, and rows that are asked for in one round trip.
_SCAN_COUNT = 1000
_PAGE_ROWS = 200

# How an alert was answered; the last two are what an earlier release wrote of either answer.
_ANSWER_FIELDS = ("acknowledged_by", "acknowledged_at", "resolved_at", "alert_by", "alert_at")

# What a task's row says of itself; the rest of it is the planner's.
_TASK_WORDS = ("do", "group", "after", "round", "alert_type", "channel")


@dataclass(frozen=True, slots=True)
class TracedRow:
    """A delivery, or a task of the router.

    Attributes:
        recipient: the user id; None when the publisher gave an address, and for broadcasts and tasks.
        broadcast: it is the one entry that everybody reads, or the members of ``groups``.
        reason: of a row that has ended, why; of a pending one, why the last attempt failed.
        since: when it was first due.
        until: when it may be tried next (pending), when its lease ends (sending), or when it ended.
        attempts_made: as counted; ``attempts`` holds the newest that the ledger keeps, oldest first.
        task: what a task does; None for a delivery.
        rule: who decided that it is suppressed or held, where planning did.
        digest: the notification in which it was told, of one that was folded.
        recalls: it takes back what the row has delivered whose key it has, before ``RECALL``.
        record_id: the record in which it stands: the notification, or a part of its fan-out.
        confirmation: the best of what the provider said later; ``callbacks`` is all of it, in the order in which it
            came, but nothing that an earlier release wrote.
    """

    key: str
    lane: str
    recipient: str | None
    priority: Priority
    state: State
    reason: str
    since: datetime
    until: datetime
    expires_at: datetime
    attempts_made: int
    attempts: tuple[TracedAttempt, ...]
    broadcast: bool = False
    groups: tuple[str, ...] | None = None
    task: Mapping[str, Any] | None = None
    confirmation: Confirmation | None = None
    record_id: str = ""
    rule: str | None = None
    digest: str | None = None
    recalls: bool = False
    callbacks: tuple[Confirmation, ...] = ()


@dataclass(frozen=True, slots=True)
class TracedRecord:
    """A notification without its rows.

    Attributes:
        open_rows: rows that have not ended, in its parts, too.
        fields: what the store holds of it; grows with every new row and attempt.
        part_of: the notification whose fan-out this is a part of.
        publisher: who published it; None is the plain topics' publisher.
        alert: for an alert, where it stands; a resolved one still says who acknowledged it.
        read_at: the store's clock when this was read.
    """

    notification_id: str
    kind: str
    priority: Priority
    channels: tuple[str, ...] | None
    accepted_at: datetime
    open_rows: int
    fields: int
    alert: AlertState | None
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    cancelled_at: datetime | None
    read_at: datetime
    part_of: str | None = None
    publisher: str | None = None
    recalled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Who has read a notification in the inbox.

    Attributes:
        by: when, by user; the first to read it first.
        complete: False if others have read it, too: the ledger names a bounded number of them.
    """

    by: Mapping[str, datetime] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery (or a task, on the router's lane) that ended undelivered; ``row`` is None once its record expired."""

    at: datetime
    lane: str
    notification_id: str
    key: str
    row: TracedRow | None


class Trace:
    """Reads the ledger on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def _key(self, notification_id: str) -> str:
        return f"{self._keys.shard_of(notification_id)}:n:{notification_id}"

    async def record(self, notification_id: str) -> TracedRecord | None:
        """Return a notification; None when the ledger has none of that id (any more)."""
        if not is_notification_id(notification_id):
            return None
        key = self._key(notification_id)
        names = ("c", "open", "cancelled", "recalled", "alert", *_ANSWER_FIELDS)
        try:
            found, count, clock = await asyncio.gather(
                self._store.submit("HMGET", key, *names), self._store.submit("HLEN", key), self._store.submit("TIME")
            )
        except ResponseError:
            # Something else than a record has its name.
            return None
        content, open_rows, cancelled, recalled, alert, *answers = found
        if not count:
            return None
        said = read_object(content)
        priority, channels = said.get("priority"), said.get("channels")
        open_parts, fields_of_parts = await self._sums(await self._parts(notification_id))
        return TracedRecord(
            notification_id=notification_id,
            kind=str(said.get("kind", UNREADABLE)),
            priority=Priority(priority) if priority in list(Priority) else Priority.NORMAL,
            channels=tuple(map(str, channels)) if channels and isinstance(channels, list) else None,
            accepted_at=moment(said.get("accepted_ms")) or from_epoch_ms(milliseconds_of_id(notification_id)),
            open_rows=(milliseconds(open_rows) or 0) + open_parts,
            fields=count + fields_of_parts,
            alert=alert_state(alert),
            **_answers(alert, answers),
            cancelled_at=moment(cancelled),
            read_at=from_epoch_ms(int(clock[0]) * 1000 + int(clock[1]) // 1000),
            part_of=said.get("part_of"),
            publisher=said.get("publisher"),
            recalled_at=moment(recalled),
        )

    async def members(self, notification_id: str, most: int) -> list[tuple[str, str]]:
        """Return the first of what was folded into a digest, as record and row; nothing where it is none."""
        key = f"{self._keys.shard_of(notification_id)}:members:{notification_id}"
        found = await self._store.command("ZRANGE", key, 0, most - 1)
        return [(record, row) for record, _, row in (_shown(each).partition("|") for each in found)]

    async def seen(self, notification_id: str, recipient: str | None = None) -> Seen:
        """Tell who has read a notification in the inbox.

        Args:
            recipient: look at this user alone.
        """
        key = self._key(notification_id)
        try:
            count, more, own = await self._store.command("HMGET", key, "seen", "seen_more", f"v:{recipient or ''}")
        except ResponseError:
            return Seen()
        if recipient is not None:
            at = moment(own)
            return Seen({recipient: at} if at is not None else {}, complete=at is not None or not more)
        found: dict[str, datetime] = {}
        cursor = 0 if count else None
        while cursor is not None:
            answer = await self._store.command("HSCAN", key, cursor, "MATCH", "v:*", "COUNT", _SCAN_COUNT)
            named = ((_shown(name)[2:], moment(text)) for name, text in pairs(answer[1]))
            found |= {user: at for user, at in named if at is not None}
            cursor = int(answer[0]) or None
        # Of those within the same millisecond it is not known who was first.
        by_time = sorted(found.items(), key=lambda each: (each[1], each[0]))
        return Seen(dict(by_time), complete=not more)

    async def _parts(self, notification_id: str) -> list[str]:
        found = await self._store.command("LRANGE", self._keys.parts_of(notification_id), 0, -1)
        return [part.decode() for part in found]

    async def _sums(self, parts: Sequence[str]) -> tuple[int, int]:
        """Return how many rows of these records are open, and how many fields they have."""
        open_rows = fields = 0
        for start in range(0, len(parts), _PAGE_ROWS):
            some = [self._key(part) for part in parts[start : start + _PAGE_ROWS]]
            opened = await each(self._store.submit("HGET", key, "open") for key in some)
            counts = await each(self._store.submit("HLEN", key) for key in some)
            open_rows += sum(milliseconds(count) or 0 for count in opened)
            fields += sum(milliseconds(count) or 0 for count in counts)
        return open_rows, fields

    async def rows(self, notification_id: str, recipient: str | None = None) -> AsyncIterator[TracedRow]:
        """Yield a notification's rows, each once, in no order; those that appear meanwhile may be left out.

        Args:
            recipient: only this user's.
        """
        async for row in self._rows_of(notification_id, recipient):
            yield row
        # Afterwards: a task that is done has written its part.
        for record_id in await self._parts(notification_id):
            async for row in self._rows_of(record_id, recipient):
                yield row

    async def _rows_of(self, record_id: str, recipient: str | None) -> AsyncIterator[TracedRow]:
        key = self._key(record_id)
        # A person's rows are named CHANNEL:USER and more; the row itself is looked at below.
        pattern = status_field("*" if recipient is None else f"*:{_escaped(recipient)}*")
        seen: set[str] = set()
        cursor = 0
        while True:
            try:
                answer = await self._store.command("HSCAN", key, cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
            except ResponseError:
                # Something else than a record has its name.
                return
            cursor = int(answer[0])
            page = [(_shown(name)[2:], _shown(status)) for name, status in pairs(answer[1])]
            fresh = {name: status for name, status in page if name not in seen}
            seen |= fresh.keys()
            names = list(fresh)
            for start in range(0, len(names), _PAGE_ROWS):
                part = names[start : start + _PAGE_ROWS]
                rows = await asyncio.gather(*(self._row(key, name, fresh[name]) for name in part))
                for row in rows:
                    if recipient is None or row.recipient == recipient:
                        yield row
            if cursor == 0:
                return

    async def _row(self, record_key: str, key: str, text: str) -> TracedRow:
        status = RowStatus.read(text) or DAMAGED
        # One attempt more than counted: one that does not count leaves its history, too.
        made = status.attempts
        slots = range(min(made + 2, ATTEMPTS_KEPT))
        spec, confirmation, callbacks, *history = await self._store.command(
            "HMGET", record_key, spec_field(key), confirmation_field(key), callbacks_field(key),
            *(attempt_field(key, slot) for slot in slots),
        )  # fmt: skip
        row = _read_row(key, status, read_object(spec), dict(zip(slots, history, strict=True)))
        known = Confirmation.read(confirmation) if confirmation else None
        said = read_callbacks(callbacks) or ((known,) if known else ())
        return replace(row, confirmation=known, callbacks=said, record_id=record_key.rpartition(":")[2])

    async def _dead_row(self, notification_id: str, key: str, at_ms: int) -> TracedRow | None:
        """Read a dead letter's row; None once its record has expired."""
        if not is_notification_id(notification_id):
            return _read_row(key, DAMAGED._replace(due_ms=at_ms, born_ms=at_ms), {}, {})
        record_key = self._key(notification_id)
        try:
            status = await self._store.command("HGET", record_key, status_field(key))
        except ResponseError:
            return _read_row(key, DAMAGED._replace(due_ms=at_ms, born_ms=at_ms), {}, {})
        return await self._row(record_key, key, _shown(status)) if status else None

    async def dead_letters(
        self,
        most: int,
        *,
        lane: str | None = None,
        reason: str | None = None,
        before: datetime | None = None,
        look_at: int | None = None,
    ) -> list[DeadLetter]:
        """Return dead letters of all shards, newest first.

        Args:
            most: at most so many.
            lane: only this channel's, or the router's.
            reason: only those that ended with this word.
            before: only those that ended at this time or earlier.
            look_at: at most so many of each shard, about; None for all.
        """
        newest = "+inf" if before is None else str(epoch_ms(before))
        shards = [
            self._dead_letters_of(self._keys.shard(shard), most, lane, reason, newest=newest, look_at=look_at)
            for shard in range(SHARDS)
        ]
        found = [letter for part in await asyncio.gather(*shards) for letter in part]
        return sorted(found, key=lambda letter: letter.at, reverse=True)[:most]

    async def _dead_letters_of(
        self, base: str, most: int, lane: str | None, reason: str | None, *, newest: str, look_at: int | None
    ) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        offset = 0
        while len(found) < most and (look_at is None or offset < look_at):
            page = await self._store.command(
                "ZREVRANGEBYSCORE", f"{base}:dead", newest, "-inf", "WITHSCORES", "LIMIT", offset, _PAGE_ROWS
            )
            members = [(_shown(member), at_ms) for member, at_ms in scored(page)]
            wanted = [(member, at_ms) for member, at_ms in members if lane is None or member.startswith(f"{lane}|")]
            letters = await asyncio.gather(*(self._dead_letter(member, at_ms) for member, at_ms in wanted))
            found += [letter for letter in letters if _is_dead(letter, reason)]
            if len(members) < _PAGE_ROWS:
                break
            offset += _PAGE_ROWS
        return found[:most]

    async def _dead_letter(self, member: str, at_ms: int) -> DeadLetter:
        lane, notification_id, key = parts_of(member)
        row = await self._dead_row(notification_id, key, at_ms)
        return DeadLetter(from_epoch_ms(at_ms), lane, notification_id, key, row)


def _is_dead(letter: DeadLetter, reason: str | None) -> bool:
    """Tell whether this is one to show: a row that lives again is none, and one without a record has no reason."""
    if letter.row is None:
        return reason is None
    return letter.row.state is State.DEAD_LETTERED and reason in (None, letter.row.reason)


def _read_row(key: str, status: RowStatus, spec: Mapping[str, Any], history: Mapping[int, bytes | None]) -> TracedRow:
    address, what = (part if isinstance(part := spec.get(name), dict) else {} for name in ("address", "what"))
    groups, digest = address.get("groups"), spec.get("digest")
    recipient, rule = (
        spec.get(name) or what.get(other) for name, other in (("recipient", "user_id"), ("rule", "rule"))
    )
    return TracedRow(
        key=key,
        lane=status.lane,
        recipient=recipient if isinstance(recipient, str) else None,
        priority=status.priority,
        state=status.state,
        reason=status.reason,
        since=from_epoch_ms(status.born_ms),
        until=from_epoch_ms(status.due_ms),
        expires_at=from_epoch_ms(status.expires_ms),
        attempts_made=status.attempts,
        attempts=read_attempts(history, status.attempts),
        broadcast=address.get("to") == "feed",
        groups=tuple(map(str, groups)) if isinstance(groups, list) else None,
        task={word: what[word] for word in _TASK_WORDS if what.get(word) is not None}
        if status.lane == ROUTER_LANE
        else None,
        rule=rule if rule and isinstance(rule, str) else None,
        digest=digest if isinstance(digest, str) else None,
        recalls=key.endswith(RECALL),
    )


def _answers(alert: bytes | None, fields: Sequence[bytes | None]) -> dict[str, Any]:
    by, acknowledged, resolved, old_by, old_at = fields
    if acknowledged is None and alert == AlertState.ACKNOWLEDGED.encode():
        by, acknowledged = old_by, old_at
    if resolved is None and alert == AlertState.RESOLVED.encode():
        resolved = old_at
    return {
        "acknowledged_by": _shown(by) if by else None,
        "acknowledged_at": moment(acknowledged),
        "resolved_at": moment(resolved),
    }


def _shown(text: bytes) -> str:
    return text.decode(errors="replace")


def _escaped(text: str) -> str:
    """Escape what the store's glob patterns give a meaning."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
