"""What a search of the ledger finds: notifications, each with those of its deliveries that were asked for.

Promises to write nothing, to read a record in pages, and to return no title, body, token or address in clear.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from redis.exceptions import ResponseError

from shared.core.channels import ROUTER_LANE
from shared.core.clock import from_epoch_ms
from shared.core.model import Address, State
from shared.core.topics import PLAIN_PUBLISHER
from shared.directory.masking import masked
from shared.directory.suppression import digest
from shared.ledger.rows import (
    DAMAGED,
    Confirmation,
    RowStatus,
    confirmation_field,
    milliseconds,
    spec_field,
    status_field,
    told_as,
)
from shared.store.keys import Keys, milliseconds_of_id
from shared.store.replies import object_or_none, pairs, read_object
from shared.store.store import Store

# Deliveries listed of one notification; the others are counted.
MOST_DELIVERIES = 20

# Fields that the store looks at in one call, and how many calls for one record.
_SCAN_COUNT = 1000
_SCANS = 50

# Fields that are asked for in one call.
_FIELDS = 200

# The row that plans a scheduled notification at its time: it names its people, and no row of theirs is there yet.
PLAN = "plan"

_STATUS, _SPEC, _LATER = status_field(""), spec_field(""), confirmation_field("")

# What has become of a delivery that its provider had taken, by what the provider said of it later: it never arrived, or
# it arrived and its reader called it spam.
NOT_ARRIVED, COMPLAINED = "not_arrived", "complained"
_LATER_OUTCOMES = {"failed": NOT_ARRIVED, "complained": COMPLAINED}

# The channel of what the router holds for a person or folds into a digest, as its key has it.
_HELD = re.compile(r"(?:held|fold)(?:@\d+)?:([a-z]+):")

_address: TypeAdapter[Address] = TypeAdapter(Address)


@dataclass(frozen=True, slots=True)
class Person:
    """Those deliveries that are this user's."""

    user_id: str


@dataclass(frozen=True, slots=True)
class AddressHash:
    """Those deliveries that go to the address with this hash (``shared.directory.suppression.digest``)."""

    hash: str


@dataclass(frozen=True, slots=True)
class RowKeys:
    """The deliveries of these names."""

    keys: tuple[str, ...]


Whose = Person | AddressHash | RowKeys | None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which notifications and deliveries are wanted; None is any.

    Attributes:
        outcomes: what has become of a delivery: a state, ``NOT_ARRIVED`` or ``COMPLAINED``.
        publisher: ``-`` is the plain topics'.
    """

    category: str | None = None
    channel: str | None = None
    outcomes: frozenset[str] | None = None
    publisher: str | None = None


@dataclass(frozen=True, slots=True)
class FoundDelivery:
    """A delivery, or what the router holds for a person, folds or has yet to plan.

    Attributes:
        record_id: the record in which it stands; ``key`` is its name there.
        channel: by which it tells; ``router`` where that is not decided yet.
        recipient: the user id; None when the publisher gave an address, and for broadcasts.
        to: the address, masked; empty for the inbox and where nothing was to be sent.
        at: when it was first due.
        until: when it ended, is due again, or its lease ends.
        rule: who decided that it is suppressed or held, where planning did.
        digest: the notification in which it was told, of one that was folded or grouped.
        is_held: the router has it, and decides when its time comes.
        later: what its provider said after it had taken it.
    """

    record_id: str
    key: str
    channel: str
    recipient: str | None
    to: str
    state: State
    reason: str
    at: datetime
    until: datetime
    rule: str | None = None
    digest: str | None = None
    is_held: bool = False
    later: Confirmation | None = None

    @property
    def outcome(self) -> str:
        """What has become of it: its state, ``NOT_ARRIVED`` or ``COMPLAINED``."""
        return _outcome(self.state, self.later)


@dataclass(frozen=True, slots=True)
class Found:
    """A notification that was found.

    Attributes:
        notification_id: as its publisher was told it; ``record_id`` is that of a part of its fan-out, or the same.
        at: when the first of the deliveries was due, or when it was accepted where there are none.
        publisher: None is the plain topics' publisher.
        deliveries: the first that are wanted, by their time; at most ``MOST_DELIVERIES``.
        counts: all that are wanted, by channel, outcome and reason.
    """

    notification_id: str
    record_id: str
    at: datetime
    accepted_at: datetime
    kind: str
    priority: str
    category: str | None
    publisher: str | None
    tenant: str | None
    deliveries: tuple[FoundDelivery, ...]
    counts: Mapping[tuple[str, str, str], int] = field(default_factory=dict)

    @property
    def more(self) -> int:
        """How many deliveries are counted and not listed."""
        return max(0, sum(self.counts.values()) - len(self.deliveries))


class Records:
    """Reads the records that a search has found, on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def read(
        self, record_id: str, whose: Whose, filters: Filters, since_ms: int = 0, until_ms: int | None = None
    ) -> Found | None:
        """Return a notification with its deliveries; None where it is gone, cannot be read, or none is wanted.

        Args:
            since_ms: only what was first due from then on, milliseconds since 1970; ``until_ms`` likewise.
        """
        record = f"{self._keys.shard_of(record_id)}:n:{record_id}"
        try:
            content, rows = await asyncio.gather(self._store.command("HGET", record, "c"), self._rows(record, whose))
        except ResponseError:
            # Something else than a record has its name.
            return None
        said = object_or_none(content)
        if said is None or not _is_wanted(said, filters):
            return None
        in_time = [
            row
            for row in rows
            if row.status.born_ms >= since_ms and (until_ms is None or row.status.born_ms <= until_ms)
        ]
        wanted = sorted((row for row in in_time if _is_row_wanted(row, filters)), key=lambda row: row.status.born_ms)
        is_empty = not wanted and (whose is not None or filters.outcomes is not None or filters.channel is not None)
        if is_empty:
            return None
        shown = await self._with_specs(record, wanted[:MOST_DELIVERIES])
        accepted_ms = milliseconds(said.get("accepted_ms")) or milliseconds_of_id(record_id)
        content_said = said.get("content")
        category = content_said.get("category") if isinstance(content_said, dict) else None
        return Found(
            notification_id=_text_or(said.get("part_of"), record_id),
            record_id=record_id,
            at=from_epoch_ms(min((row.status.born_ms for row in rows), default=accepted_ms)),
            accepted_at=from_epoch_ms(accepted_ms),
            kind=_text_or(said.get("kind"), ""),
            priority=_text_or(said.get("priority"), ""),
            category=_text_or(category, "") or None,
            publisher=_text_or(said.get("publisher"), "") or None,
            tenant=_text_or(said.get("tenant"), "") or None,
            deliveries=tuple(_delivery(record_id, row) for row in shown),
            counts=Counter((row.channel, row.outcome, row.status.reason) for row in wanted),
        )

    async def _rows(self, record: str, whose: Whose) -> list["_Row"]:
        match whose:
            case Person(user_id=user_id):
                # A person's rows are named CHANNEL:USER and more; the row itself is looked at below.
                pattern = f"[sdk]:*:{_escaped(user_id)}*"
                status, spec, *_ = await self._fields(record, [status_field(PLAN), spec_field(PLAN)])
                fields = {name: value async for name, value in self._scan(record, pattern)}
                if status is not None and spec is not None:
                    fields |= {status_field(PLAN): status, spec_field(PLAN): spec}
                rows = [row.with_spec(fields.get(spec_field(row.key), b"")) for row in _rows(fields)]
                return [row for row in rows if user_id in _whom(row)]
            case AddressHash(hash=wanted):
                specs = {
                    name[len(_SPEC) :]: spec
                    async for name, spec in self._scan(record, spec_field("*"))
                    if _hash_of(read_object(spec).get("address")) == wanted
                }
                rows = await self._with_statuses(record, list(specs))
                return [row.with_spec(specs[row.key]) for row in rows]
            case RowKeys(keys=keys):
                return await self._with_statuses(record, keys)
            case None:
                return _rows({name: text async for name, text in self._scan(record, "[sk]:*")})

    async def _scan(self, record: str, pattern: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the fields of a record that fit, with their values, each once."""
        seen: set[str] = set()
        cursor = 0
        for _ in range(_SCANS):
            answer = await self._store.command("HSCAN", record, cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
            cursor = int(answer[0])
            for field_name, value in pairs(answer[1]):
                name = field_name.decode(errors="replace")
                if name not in seen:
                    seen.add(name)
                    yield name, value
            if cursor == 0:
                return

    async def _with_statuses(self, record: str, names: Sequence[str]) -> list["_Row"]:
        wanted = [field_name for name in names for field_name in (status_field(name), confirmation_field(name))]
        texts = await self._fields(record, wanted)
        return _rows({name: text for name, text in zip(wanted, texts, strict=True) if text is not None})

    async def _with_specs(self, record: str, rows: Sequence["_Row"]) -> list["_Row"]:
        missing = [row.key for row in rows if row.spec is None]
        specs = await self._fields(record, [spec_field(key) for key in missing])
        known = dict(zip(missing, specs, strict=True))
        return [row if row.spec is not None else row.with_spec(known[row.key] or b"") for row in rows]

    async def _fields(self, record: str, names: Sequence[str]) -> list[bytes | None]:
        found = await asyncio.gather(
            *(
                self._store.submit("HMGET", record, *names[start : start + _FIELDS])
                for start in range(0, len(names), _FIELDS)
            )
        )
        return [text for some in found for text in some]


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    status: RowStatus
    later: Confirmation | None
    spec: bytes | None = None

    @property
    def outcome(self) -> str:
        return _outcome(self.status.state, self.later)

    @property
    def channel(self) -> str:
        held = _HELD.match(self.key) if self.status.lane == ROUTER_LANE else None
        return held[1] if held else self.status.lane

    def with_spec(self, spec: bytes) -> "_Row":
        return replace(self, spec=spec)


def _rows(fields: Mapping[str, bytes]) -> list[_Row]:
    """Read the rows of which these fields of a record hold the status, with what was said of them later."""
    rows = []
    for name, text in fields.items():
        if not name.startswith(_STATUS):
            continue
        key = name[len(_STATUS) :]
        status = RowStatus.read(text.decode(errors="replace")) or DAMAGED
        # What the router has done says nothing: what came of it stands beside it.
        if status.lane != ROUTER_LANE or status.state is not State.DELIVERED:
            later = fields.get(_LATER + key)
            rows.append(_Row(key, status, Confirmation.read(later) if later else None))
    return rows


def _outcome(state: State, later: Confirmation | None) -> str:
    # Until it has ended, what was said of an attempt does not decide.
    if state is not State.DELIVERED or later is None:
        return state.value
    return _LATER_OUTCOMES.get(later.outcome, state.value)


def _whom(row: _Row) -> Collection[str]:
    """Return the people whom a row is for, also where the router has yet to plan for them."""
    recipient = told_as(row.status.lane, row.spec or b"")[1]
    if recipient is not None:
        return (recipient,)
    audience: object = read_object(row.spec)
    for name in ("what", "audience", "user_ids"):
        audience = audience.get(name) if isinstance(audience, dict) else None
    return [each for each in audience if isinstance(each, str)] if isinstance(audience, list) else ()


def _is_wanted(said: Mapping[str, Any], filters: Filters) -> bool:
    content = said.get("content")
    category = content.get("category") if isinstance(content, dict) else None
    if filters.category is not None and category != filters.category:
        return False
    return filters.publisher is None or (said.get("publisher") or PLAIN_PUBLISHER) == filters.publisher


def _is_row_wanted(row: _Row, filters: Filters) -> bool:
    if filters.channel is not None and row.channel != filters.channel:
        return False
    return filters.outcomes is None or row.outcome in filters.outcomes


def _delivery(record_id: str, row: _Row) -> FoundDelivery:
    said, status = read_object(row.spec), row.status
    what = said.get("what")
    rule = said.get("rule") or (what.get("rule") if isinstance(what, dict) else None)
    return FoundDelivery(
        record_id=record_id,
        key=row.key,
        channel=row.channel,
        recipient=told_as(status.lane, row.spec or b"")[1],
        to=_masked(said.get("address")),
        state=status.state,
        reason=status.reason,
        at=from_epoch_ms(status.born_ms),
        until=from_epoch_ms(status.due_ms),
        rule=_text_or(rule, "") or None,
        digest=_text_or(said.get("digest"), "") or None,
        is_held=status.lane == ROUTER_LANE,
        later=row.later,
    )


def _masked(address: object) -> str:
    try:
        return masked(_address.validate_python(address))
    except ValidationError:
        return ""


def _hash_of(address: object) -> str | None:
    """Return the hash of a mail address or a telephone number; a row of neither has none."""
    if not isinstance(address, dict):
        return None
    said = address.get("email") or address.get("phone")
    return _digest(said) if isinstance(said, str) else None


_digest = lru_cache(10_000)(digest)


def _text_or(said: object, other: str) -> str:
    return said if isinstance(said, str) else other


def _escaped(text: str) -> str:
    """Escape what the store's glob patterns give a meaning."""
    return "".join(f"\\{char}" if char in "*?[]^\\" else char for char in text)
