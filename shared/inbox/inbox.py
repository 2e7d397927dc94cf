"""Users' inboxes: what stands in them, and what was read.

Promises:

- An entry is written once for each notification id, however often it is added.
- The oldest entries go when the limit or the retention is exceeded. The unread count stays right.
- Every change returns the sessions that must hear of it.
- Entries stand in the order of acceptance, whichever process wrote them. They are numbered in the order of writing
  (``shared.inbox.timeline``).
- One call is one round trip, atomic on the user's hash tag. Every call may be repeated after StoreUnavailable.

It writes no broadcasts: those stand in the feed, once for everybody (``shared.inbox.feed``).
"""

import json
import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from shared.core.model import Channel, Content, Notification
from shared.inbox.timeline import (
    PENDING_MOST,
    CategoryCount,
    FeedEntry,
    FeedLog,
    Mark,
    OwnEntry,
    Snapshot,
    is_seen_by,
    text_or_none,
)
from shared.store.keys import Keys
from shared.store.replies import pairs, read_object
from shared.store.store import Store, load_script

log = logging.getLogger(__name__)

Change = Literal["read", "unread", "archive"]

_PRELUDE = "inbox_log"
_add = load_script(__package__, "inbox_add", _PRELUDE)
_read = load_script(__package__, "inbox_read", _PRELUDE)
_page = load_script(__package__, "inbox_page", _PRELUDE)
_pinned = load_script(__package__, "inbox_pinned", _PRELUDE)
_mark = load_script(__package__, "inbox_mark", _PRELUDE)
_mark_feed = load_script(__package__, "inbox_mark_feed", _PRELUDE)
_read_all = load_script(__package__, "inbox_read_all", _PRELUDE)
_recall = load_script(__package__, "inbox_recall", _PRELUDE)

_QUIET = b"q"
_MARKS = {mark.value.encode(): mark for mark in Mark}
_MOVED = b"a0"
_NONE: Mapping[str, int] = {}

# Ids that the store looks at in one call for a page of entries in one state.
_LOOKED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Added:
    """Where an entry stands after adding it.

    Attributes:
        before: the sequence before it; -1 when the entry was there already.
        unread: own entries that are unread.
        sessions: the records of the user's open sessions, see ``shared.inbox.sessions``.
        order: where it stands among others, see ``shared.inbox.timeline``.
        tenants: how many of the unread ones belong to each tenant.
    """

    is_new: bool
    epoch: str
    before: int
    seq: int
    unread: int
    version: int
    sessions: Sequence[bytes]
    order: int = 0
    tenants: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_recalled(self) -> bool:
        """The entry was taken back before: it is not there."""
        return self.seq == 0


@dataclass(frozen=True, slots=True)
class OwnPage:
    """A part of a user's own entries.

    Attributes:
        snapshot: with these entries, the newest first.
        above: the order of the entry right above the page, where one was named.
        bound: from where to go on, see ``Inbox.page``; empty when there are no more.
        categories: the own entries by category, where that was asked for.
    """

    snapshot: Snapshot
    above: int | None
    bound: str
    categories: Sequence[CategoryCount] = ()


@dataclass(frozen=True, slots=True)
class Marked:
    """The inbox after a change of marks; the snapshot holds no entries.

    Attributes:
        read: the entries that were unread and are read now.
    """

    changed: bool
    snapshot: Snapshot
    sessions: Sequence[bytes]
    read: Sequence[str] = ()


def new_epoch() -> str:
    """Make the name of a new history."""
    return secrets.token_hex(8)


def wire_body(notification: Notification, content: Content, *, silent: bool = False) -> str:
    """Write a notification as the wire contract's section 5 has it, without ``read``, which differs by user.

    Args:
        silent: nothing is to draw attention to it.
    """
    body: dict[str, Any] = {
        "id": notification.id,
        "title": content.title,
        "message": content.message,
        "type": content.type,
        # ``category_of`` in inbox_log.lua finds the category between these two.
        "priority": notification.priority,
        "category": content.category,
        "data": content.data,
        "timestamp": notification.accepted_ms / 1000,
        # Where the publisher did not choose, this is the one channel that every notification takes.
        "channels": notification.channels or [Channel.REALTIME],
    }
    if content.alert is not None:
        alert = content.alert.model_dump(mode="json", exclude_none=True)
        body["alert"] = {"id": notification.id, **alert, "state": "open"}
    if notification.tenant is not None:
        body["tenant"] = notification.tenant
    if content.actions:
        body["actions"] = [action.model_dump(mode="json", exclude_none=True) for action in content.actions]
    if silent:
        body["silent"] = True
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


class Inbox:
    """The inboxes on one store.

    Args:
        limit: entries kept per user.
        retention: how long an entry is kept.
    """

    def __init__(self, store: Store, keys: Keys, limit: int, retention: timedelta) -> None:
        self._store = store
        self._keys = keys
        self.limit = limit
        self.retention_s = round(retention.total_seconds())

    async def add(
        self,
        user_id: str,
        notification_id: str,
        body: str,
        *,
        order: int | None = None,
        quiet: bool = False,
        pinned: bool = False,
        tenant: str | None = None,
    ) -> Added:
        """Write an entry, unless it is there.

        Args:
            body: see ``wire_body``.
            order: see ``shared.store.keys.order_of``; None for that of writing. The next free one is taken.
            quiet: not to be shown live; it is found in the inbox and counted as unread.
            pinned: the limit does not push it out, until ``unpin``.
            tenant: the one that the body names, if it names one.
        """
        value = _QUIET + body.encode() if quiet else body.encode()
        answer = await self._store.script(
            _add, self._keys.user(user_id), "inbox", notification_id, value, self.limit, self.retention_s, new_epoch(),
            "" if order is None else order, int(pinned), tenant or "", lasting=True,
        )  # fmt: skip
        return read_added(answer)

    async def forget(self, user_id: str) -> None:
        """Forget a user's inbox and what he has read of the feed."""
        base = self._keys.user(user_id)
        names = (
            "inbox", "pinned", "order", "entries", "recalled", "state", "snoozed", "tenants", "acted", "feed_state",
            "meta",
        )  # fmt: skip
        await self._store.command("UNLINK", *(f"{base}:{name}" for name in names), lasting=True)

    async def everything(self, user_id: str) -> Snapshot:
        """Read a user's inbox with all its entries."""
        return await self.after(user_id, 0)

    async def after(self, user_id: str, seq: int) -> Snapshot:
        """Read a user's inbox with the entries after a sequence."""
        return read_snapshot(
            await self._store.script(_read, self._keys.user(user_id), *self.wanted(seq), self.limit, self.retention_s)
        )

    async def pending(self, user_id: str, tenant: str | None = None) -> Snapshot:
        """Read a user's inbox with its newest unread entries, of one tenant and nobody's (None: of all)."""
        return read_snapshot(
            await self._store.script(
                _read, self._keys.user(user_id), *self.wanted(None, tenant), self.limit, self.retention_s
            )
        )

    async def page(
        self,
        user_id: str,
        marks: Collection[Mark],
        most: int,
        *,
        above: str = "",
        bound: str = "+inf",
        tenant: str | None = None,
        categories: Collection[str | None] | None = None,
        count: bool = False,
    ) -> OwnPage | None:
        """Read some of a user's own entries, the newest first.

        It may return fewer than there are; its bound says where to go on.

        Args:
            marks: which entries are wanted.
            most: above 0.
            above: the id of an own entry, below which to begin.
            bound: where to begin otherwise: a highest order, with a bracket before it when it does not belong.
            tenant: only its entries and nobody's; None for all.
            categories: which are wanted (None for entries without one); None for all.
            count: count all own entries by category, too.

        Returns:
            None when there is no entry ``above``.
        """
        answer = await self._store.script(
            _page, self._keys.user(user_id), above, bound, "".join(marks), most, _LOOKED_AT_ONCE, self.limit,
            self.retention_s, tenant or "", int(count), *map(_category_json, categories or ()),
        )  # fmt: skip
        if not answer:
            return None
        order, on, snapshot, counts = answer
        found = [
            CategoryCount(_category(counts[index]), int(counts[index + 1]), int(counts[index + 2]))
            for index in range(0, len(counts), 3)
        ]
        return OwnPage(read_snapshot(snapshot), int(order) if order else None, on.decode(), found)

    async def pinned(self, user_id: str) -> list[OwnEntry]:
        """Read a user's pinned entries, the newest first."""
        answer = await self._store.script(_pinned, self._keys.user(user_id))
        return _own_entries(answer)

    async def unpin(self, user_id: str, entry_ids: Collection[str]) -> None:
        """Let the limit push these entries out again."""
        await self._store.command("SREM", f"{self._keys.user(user_id)}:pinned", *entry_ids)

    async def body(self, user_id: str, entry_id: str) -> bytes | None:
        """Read the text of an own entry; None when there is no such entry."""
        value = await self._store.command("HGET", f"{self._keys.user(user_id)}:entries", entry_id)
        return value.removeprefix(_QUIET) if value is not None else None

    async def place(self, user_id: str) -> tuple[str, int]:
        """Read where a user's own entries end: epoch and sequence."""
        epoch, seq = await self._store.command("HMGET", f"{self._keys.user(user_id)}:meta", "epoch", "seq")
        return (epoch or b"").decode(), int(seq or 0)

    @staticmethod
    def wanted(seq: int | None, tenant: str | None = None) -> tuple[str | int, int, str]:
        """Make a script's arguments for the wanted entries: those after a sequence, or the newest unread ones.

        Args:
            tenant: of which the newest unread ones are wanted, and nobody's; None for all.
        """
        return ("pending" if seq is None else seq, PENDING_MOST, tenant or "")

    async def mark(self, user_id: str, entry_id: str, change: Change) -> Marked | None:
        """Change the mark of an own entry; None when there is no such entry.

        ``read`` leaves an archived entry archived, ``unread`` brings it back.
        """
        answer = await self._store.script(
            _mark, self._keys.user(user_id), entry_id, change, self.retention_s, lasting=True
        )
        return read_marked(answer) if answer else None

    async def recall(self, user_id: str, entry_id: str) -> Marked:
        """Take an own entry back: it is not there any more, and is not added again."""
        answer = await self._store.script(
            _recall, self._keys.user(user_id), "inbox", entry_id, self.retention_s, lasting=True
        )
        return read_marked(answer)

    async def mark_feed(self, user_id: str, entry: FeedEntry, change: Change, feed: FeedLog) -> Marked:
        """Change one user's mark of a feed entry that he may see."""
        answer = await self._store.script(
            _mark_feed, self._keys.user(user_id), entry.id, entry.seq, change, self.retention_s, feed.epoch, feed.floor,
            lasting=True,
        )  # fmt: skip
        return read_marked(answer)

    async def read_all(
        self, user_id: str, feed: FeedLog, tenant: str | None = None, groups: frozenset[str] = frozenset()
    ) -> Marked:
        """Mark every own entry as read, and the feed as far as the caller knows it.

        Args:
            tenant: only its entries and nobody's; None for all.
            groups: the user's; they matter with a tenant.
        """
        hidden: list[str | int] = []
        if tenant is not None:
            others = (each for each in feed.after(0, groups) if not is_seen_by(tenant, each.tenant))
            hidden += (part for each in others for part in (each.id, each.seq))
        answer = await self._store.script(
            _read_all, self._keys.user(user_id), self.retention_s, feed.epoch, feed.floor, feed.seq, tenant or "",
            *hidden, lasting=True,
        )  # fmt: skip
        *told, read, before, done = answer
        skipped = {each.decode(errors="replace") for each in done} | set(hidden)
        behind = feed.after(int(before), groups, tenant)
        of_feed = [each.id.encode() for each in behind if each.seq <= feed.seq and each.id not in skipped]
        return read_marked([*told, [*read, *of_feed]])


def read_added(answer: Sequence[Any]) -> Added:
    """Read the answer of the ``inbox_add`` script."""
    is_new, epoch, before, seq, unread, version, sessions, order, tenants = answer
    return Added(
        bool(is_new), epoch.decode(), int(before), int(seq), int(unread), int(version), sessions, int(order),
        _read_counts(tenants),
    )  # fmt: skip


def read_position(answer: Sequence[Any]) -> Snapshot:
    """Read a position as the scripts answer it: a snapshot without entries and feed marks."""
    epoch, seq, floor, unread, version, feed_version, feed_epoch, feed_read, wake_ms, tenants = answer
    return Snapshot(
        epoch.decode(), int(seq), int(floor), int(unread), int(version), int(feed_version),
        feed_epoch.decode(), int(feed_read), wake_ms=int(wake_ms), tenants=_read_counts(tenants),
    )  # fmt: skip


def read_snapshot(answer: Sequence[Any]) -> Snapshot:
    """Read a snapshot as the scripts answer it."""
    position, marks, entries, *recalled = answer
    return replace(
        read_position(position), feed_marks=_read_marks(marks), entries=_own_entries(entries),
        recalled=[entry_id.decode(errors="replace") for ids in recalled for entry_id in ids],
    )  # fmt: skip


def _read_counts(answer: Sequence[Any]) -> Mapping[str, int]:
    return {name.decode(errors="replace"): int(count) for name, count in pairs(answer)} if answer else _NONE


def _category_json(category: str | None) -> str:
    """Write a category as it stands in a body."""
    return json.dumps(category, ensure_ascii=False)


def _category(written: bytes) -> str | None:
    try:
        category = json.loads(written)
    except ValueError:
        return None
    return category if isinstance(category, str) else None


def _read_marks(answer: Sequence[bytes]) -> dict[str, tuple[Mark, int]]:
    return {
        entry_id.decode(errors="replace"): (
            Mark.MOVED if value.startswith(_MOVED) else _MARKS[value[:1]],
            int(value[1:]),
        )
        for entry_id, value in pairs(answer)
        if value[:1] in _MARKS and value[1:].isdigit()
    }


def _own_entries(answer: Sequence[bytes]) -> list[OwnEntry]:
    """Read entries as the scripts answer them; those that are damaged are passed over."""
    found = [_own_entry(*answer[index : index + 5]) for index in range(0, len(answer), 5)]
    entries = [entry for entry in found if entry is not None]
    if len(entries) < len(found):
        log.error("unreadable inbox entries passed over", extra={"entries": len(found) - len(entries)})
    return entries


def _own_entry(entry_id: bytes, seq: bytes, order: bytes, mark: bytes, value: bytes) -> OwnEntry | None:
    quiet = value.startswith(_QUIET)
    body = value[len(_QUIET) :] if quiet else value
    said = read_object(body)
    if not said:
        return None
    known = _MARKS.get(mark, Mark.UNREAD)
    tenant = text_or_none(said, "tenant")
    return OwnEntry(int(seq), entry_id.decode(errors="replace"), known, body, quiet, int(order), tenant)


def read_marked(answer: Sequence[Any]) -> Marked:
    """Read what the scripts that change marks answer."""
    was_changed, position, marks, sessions, *more = answer
    read = tuple(each.decode(errors="replace") for each in more[0]) if more else ()
    return Marked(bool(was_changed), read_snapshot((position, marks, ())), sessions, read)
