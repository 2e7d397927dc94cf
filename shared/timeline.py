"""A user's notifications as one line: own entries and the feed's, merged by sequence, with cursors as places on it.

Pure functions over what was read from the store. Promises: following a cursor yields every entry after it that the user
may see, oldest first and once each, or says that there is a gap. Archived entries are not shown again.
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

# Two positions, each an epoch of 8 bytes and a sequence.
_CURSOR = struct.Struct(">8sQ8sQ")

# What a new session is shown of its unread entries, and a gateway's in the answer to its connect.
PENDING_MOST = 10


class Mark(StrEnum):
    """What one user did with an entry; the letters are stored."""

    UNREAD = "u"
    READ = "r"
    ARCHIVED = "a"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place on a user's line: how far he has been told of his own entries and of the feed's.

    An epoch is 16 hexadecimal digits, or empty before anything was stored; it changes when a history was lost.
    """

    user_epoch: str = ""
    user_seq: int = 0
    feed_epoch: str = ""
    feed_seq: int = 0

    def encode(self) -> str:
        """Write it as the opaque text that clients keep."""
        packed = _CURSOR.pack(
            bytes.fromhex(self.user_epoch), self.user_seq, bytes.fromhex(self.feed_epoch), self.feed_seq
        )
        return urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """Read a client's text; None when it is not one of ours."""
        try:
            packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            user_epoch, user_seq, feed_epoch, feed_seq = _CURSOR.unpack(packed)
        except (binascii.Error, struct.error, ValueError):
            return None
        return cls(_epoch(user_epoch), user_seq, _epoch(feed_epoch), feed_seq)


def _epoch(packed: bytes) -> str:
    return packed.hex() if any(packed) else ""


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """An entry of one user's inbox; ``quiet`` ones were not to be shown live."""

    seq: int
    id: str
    mark: Mark
    body: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An entry of the feed; ``groups`` None is for everybody."""

    seq: int
    id: str
    groups: frozenset[str] | None
    body: str

    def is_for(self, groups: frozenset[str]) -> bool:
        """Tell whether a member of these groups may see it."""
        return self.groups is None or not self.groups.isdisjoint(groups)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One user's inbox at one moment, with some of its entries, oldest first.

    Attributes:
        floor: the highest sequence that is gone.
        unread: own entries that are unread.
        version: grows with every change of entries or marks; ``feed_version`` with every change of feed marks.
        feed_read: the sequence up to which the feed is read, in the feed's epoch ``feed_epoch``.
        feed_marks: feed entry id -> mark and sequence, where it differs from what ``feed_read`` says.
    """

    epoch: str = ""
    seq: int = 0
    floor: int = 0
    unread: int = 0
    version: int = 0
    feed_version: int = 0
    feed_epoch: str = ""
    feed_read: int = 0
    feed_marks: Mapping[str, tuple[Mark, int]] = field(default_factory=dict)
    entries: Sequence[OwnEntry] = ()


class FeedLog:
    """The feed as one process knows it: entries by sequence, bounded by whoever fills it."""

    def __init__(self) -> None:
        self.epoch = ""
        self.seq = 0
        self.floor = 0
        self._seqs: list[int] = []
        self._entries: list[FeedEntry] = []
        self._by_id: dict[str, FeedEntry] = {}
        self._with_groups = 0

    def __len__(self) -> int:
        return len(self._entries)

    def restart(self, epoch: str) -> None:
        """Forget everything: the feed's history is another one."""
        self.epoch, self.seq, self.floor = epoch, 0, 0
        self._seqs, self._entries, self._by_id, self._with_groups = [], [], {}, 0

    def append(self, entry: FeedEntry) -> None:
        """Add the newest entry."""
        self._seqs.append(entry.seq)
        self._entries.append(entry)
        self._by_id[entry.id] = entry
        self._with_groups += entry.groups is not None
        self.seq = entry.seq

    def drop_up_to(self, floor: int) -> None:
        """Forget the entries up to this sequence."""
        if floor <= self.floor:
            return
        gone = bisect_right(self._seqs, floor)
        for entry in self._entries[:gone]:
            del self._by_id[entry.id]
            self._with_groups -= entry.groups is not None
        del self._entries[:gone], self._seqs[:gone]
        self.floor = floor

    def keep_newest(self, most: int) -> None:
        """Forget the oldest entries beyond ``most``."""
        if len(self._seqs) > most:
            self.drop_up_to(self._seqs[-most - 1])

    def get(self, entry_id: str) -> FeedEntry | None:
        """Return one entry, None when it is not (or no longer) there."""
        return self._by_id.get(entry_id)

    def after(self, seq: int, groups: frozenset[str]) -> list[FeedEntry]:
        """Return what a member of these groups may see after a sequence, oldest first."""
        found = self._entries[bisect_right(self._seqs, seq) :]
        return [entry for entry in found if entry.is_for(groups)] if self._with_groups else found

    def count_after(self, seq: int, groups: frozenset[str]) -> int:
        """Count what ``after`` would return."""
        if not self._with_groups:
            return len(self._seqs) - bisect_right(self._seqs, seq)
        return len(self.after(seq, groups))

    def visible(self, entry_id: str, groups: frozenset[str]) -> FeedEntry | None:
        """Return one entry if a member of these groups may see it."""
        entry = self._by_id.get(entry_id)
        return entry if entry is not None and entry.is_for(groups) else None


def feed_mark(entry: FeedEntry, snapshot: Snapshot, feed: FeedLog) -> Mark:
    """Tell what a user did with a feed entry."""
    if snapshot.feed_epoch != feed.epoch:
        return Mark.UNREAD
    marked = snapshot.feed_marks.get(entry.id)
    if marked is not None:
        return marked[0]
    return Mark.READ if entry.seq <= snapshot.feed_read else Mark.UNREAD


def feed_unread(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str]) -> int:
    """Count the feed entries that a user may see and has not read."""
    if snapshot.feed_epoch != feed.epoch:
        return feed.count_after(0, groups)
    count = feed.count_after(snapshot.feed_read, groups)
    for entry_id, (mark, seq) in snapshot.feed_marks.items():
        if feed.visible(entry_id, groups) is None:
            continue
        if seq > snapshot.feed_read:
            count -= mark is not Mark.UNREAD
        else:
            count += mark is Mark.UNREAD
    return count


def unread(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str]) -> int:
    """Count what a user has not read, own entries and the feed's together."""
    return snapshot.unread + feed_unread(snapshot, feed, groups)


@dataclass(frozen=True, slots=True)
class Item:
    """An entry on a user's line, with the cursor that stands right after it.

    Attributes:
        quiet: see ``OwnEntry``.
        broadcast: it stands in the feed.
    """

    id: str
    body: str
    mark: Mark
    cursor: Cursor = Cursor()
    quiet: bool = False
    broadcast: bool = False

    @property
    def notification(self) -> str:
        """The notification's JSON, as clients get it."""
        return with_read(self.body, read=self.mark is not Mark.UNREAD)


def with_read(body: str, *, read: bool) -> str:
    """Add the ``read`` field to a notification's JSON object."""
    return f'{body[:-1]},"read":{"true" if read else "false"}}}'


def _merged(
    own: Iterable[OwnEntry], feed_entries: Iterable[FeedEntry], snapshot: Snapshot, feed: FeedLog
) -> list[tuple[OwnEntry | FeedEntry, Mark]]:
    marked: list[tuple[OwnEntry | FeedEntry, Mark]] = [(entry, entry.mark) for entry in own]
    marked += ((entry, feed_mark(entry, snapshot, feed)) for entry in feed_entries)
    # A user's and the feed's sequences both count microseconds; the second key only makes the order certain.
    marked.sort(key=lambda item: (item[0].seq, isinstance(item[0], FeedEntry)))
    return marked


def _now(snapshot: Snapshot, feed: FeedLog) -> Cursor:
    return Cursor(snapshot.epoch, snapshot.seq, feed.epoch, feed.seq)


@dataclass(frozen=True, slots=True)
class Stream:
    """What a session is to be told, oldest first.

    Attributes:
        start: the cursor before the first item.
        end: the cursor after everything, shown or not.
        gap: something between the client's cursor and ``start`` is gone.
    """

    start: Cursor
    items: Sequence[Item]
    end: Cursor
    gap: bool = False


def pending(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str], *, gap: bool = False) -> Stream:
    """Return the newest unread entries, at most ``PENDING_MOST``.

    Args:
        snapshot: with (at least) that many of the newest unread entries.
    """
    own = [entry for entry in snapshot.entries if entry.mark is Mark.UNREAD]
    chosen = _merged(own, _newest_unread(snapshot, feed, groups), snapshot, feed)[-PENDING_MOST:]
    end = _now(snapshot, feed)
    # Each cursor stands right before the next unread entry, so that resuming from it skips none of those still to come.
    cursors = [end]
    for entry, _ in reversed(chosen):
        before = entry.seq - 1
        cursors.append(
            replace(cursors[-1], feed_seq=before)
            if isinstance(entry, FeedEntry)
            else replace(cursors[-1], user_seq=before)
        )
    cursors.reverse()
    items = [
        Item(entry.id, entry.body, mark, cursor) for (entry, mark), cursor in zip(chosen, cursors[1:], strict=True)
    ]
    return Stream(cursors[0], items, end, gap)


def _newest_unread(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str]) -> list[FeedEntry]:
    """Find the newest unread feed entries without looking at those that one mark covers."""
    read_up_to = snapshot.feed_read if snapshot.feed_epoch == feed.epoch else 0
    unread_again = [
        entry
        for entry_id, (mark, seq) in snapshot.feed_marks.items()
        if mark is Mark.UNREAD and seq <= read_up_to and (entry := feed.visible(entry_id, groups)) is not None
    ]
    unread_again.sort(key=lambda entry: entry.seq)
    newest: list[FeedEntry] = []
    for entry in reversed(unread_again + feed.after(read_up_to, groups)):
        if len(newest) == PENDING_MOST:
            break
        if feed_mark(entry, snapshot, feed) is Mark.UNREAD:
            newest.append(entry)
    return newest


def follow(cursor: Cursor, snapshot: Snapshot, feed: FeedLog, groups: frozenset[str]) -> Stream | None:
    """Return everything after a cursor, None when some of it is gone.

    Args:
        cursor: the last place that was told.
        snapshot: with all own entries after the cursor; read before the feed was.
    """
    if _is_gone(cursor.user_epoch, cursor.user_seq, snapshot.epoch, snapshot.floor):
        return None
    if _is_gone(cursor.feed_epoch, cursor.feed_seq, feed.epoch, feed.floor):
        return None
    own = [entry for entry in snapshot.entries if entry.seq > cursor.user_seq]
    place = Cursor(snapshot.epoch, min(cursor.user_seq, snapshot.seq), feed.epoch, min(cursor.feed_seq, feed.seq))
    start, items = place, []
    for entry, mark in _merged(own, feed.after(cursor.feed_seq, groups), snapshot, feed):
        broadcast = isinstance(entry, FeedEntry)
        place = replace(place, feed_seq=entry.seq) if broadcast else replace(place, user_seq=entry.seq)
        if mark is not Mark.ARCHIVED:
            quiet = isinstance(entry, OwnEntry) and entry.quiet
            items.append(Item(entry.id, entry.body, mark, place, quiet, broadcast))
    return Stream(start, items, _now(snapshot, feed))


def _is_gone(cursor_epoch: str, cursor_seq: int, epoch: str, floor: int) -> bool:
    """Tell whether entries after a place are gone: trimmed, or lost with the whole history."""
    if cursor_epoch and cursor_epoch != epoch:
        return True
    return floor > cursor_seq


def newest_first(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str]) -> Iterator[Item]:
    """Yield the whole line, newest first, archived entries included.

    Args:
        snapshot: with all own entries.
    """
    for entry, mark in reversed(_merged(snapshot.entries, feed.after(0, groups), snapshot, feed)):
        yield Item(entry.id, entry.body, mark)
