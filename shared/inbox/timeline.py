"""A user's notifications as one line: own entries and the feed's, in the order of acceptance, with cursors on it.

Pure functions over what was read from the store. Promises:

- Following a cursor yields every entry after it that the user may see, once each, or says that there is a gap.
- Entries that are read together come by their order, the oldest first.
- An entry that is written late is not lost. It comes after a cursor that was given before the entry was written.
- Archived entries are not shown again. Snoozed ones are, when they come back.

Entries keep their texts as UTF-8, as the store has them, and decode them only when they are shown. In a Python string
one emoji makes the whole text four times as long, and a process holds a thousand broadcasts.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import TypeAlias

from shared.inbox.cursor import Cursor, Part, cursors_behind, is_broadcast, key_of
from shared.store.replies import read_object

# What a new session is shown of its unread entries, and a gateway's in the answer to its connect.
PENDING_MOST = 10

_by_key = attrgetter("key")
_NONE: Mapping[str, int] = {}


class Mark(StrEnum):
    """What one user did with an entry; the letters are stored."""

    UNREAD = "u"
    READ = "r"
    ARCHIVED = "a"
    SNOOZED = "s"
    """It comes back as unread."""
    MOVED = "m"
    """Of a feed entry: the user has an own entry in its place. It is stored as archived, with a zero behind."""


# Nobody who follows the line is shown these.
_PUT_AWAY = (Mark.ARCHIVED, Mark.SNOOZED, Mark.MOVED)


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """An entry of one user's inbox; ``quiet`` ones were not to be shown live.

    Attributes:
        order: by acceptance, see ``shared.store.keys.order_of``; 0 is that of writing.
        tenant: whose it is; None is everybody's.
    """

    seq: int
    id: str
    mark: Mark
    utf8: bytes
    quiet: bool = False
    order: int = 0
    tenant: str | None = None

    @property
    def key(self) -> int:
        """Its place on the line."""
        return key_of(self.order or self.seq, broadcast=False)


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An entry of the feed; ``groups`` None is for everybody, ``order`` and ``tenant`` as in ``OwnEntry``."""

    seq: int
    id: str
    groups: frozenset[str] | None
    utf8: bytes
    order: int = 0
    tenant: str | None = None
    category: str | None = None

    @classmethod
    def of(cls, seq: int, entry_id: str, groups: frozenset[str] | None, utf8: bytes, order: int = 0) -> "FeedEntry":
        """Make an entry of a notification's JSON; what is not in it is None."""
        said = read_object(utf8)
        return cls(seq, entry_id, groups, utf8, order, *(text_or_none(said, name) for name in ("tenant", "category")))

    @property
    def key(self) -> int:
        """Its place on the line."""
        return key_of(self.order or self.seq, broadcast=True)

    @property
    def body(self) -> str:
        """The notification's JSON, see ``shared.inbox.inbox.wire_body``."""
        return self.utf8.decode()

    def is_for(self, groups: frozenset[str], tenant: str | None = None) -> bool:
        """Tell whether a member of these groups may see it, with a token of this tenant (None: of all)."""
        return is_seen_by(tenant, self.tenant) and (self.groups is None or not self.groups.isdisjoint(groups))


def is_seen_by(tenant: str | None, whose: str | None) -> bool:
    """Tell whether a token of one tenant (None: of all) shows what belongs to somebody (None: to nobody)."""
    return tenant is None or whose is None or whose == tenant


def text_or_none(said: Mapping[str, object], name: str) -> str | None:
    """Return a text that a notification says; None if it says none."""
    value = said.get(name)
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One user's inbox at one moment, with some of its entries.

    Attributes:
        floor: the highest sequence that is gone.
        unread: own entries that are unread.
        version: grows with every change of entries or marks; ``feed_version`` with every change of feed marks.
        feed_read: the sequence up to which the feed is read, in the feed's epoch ``feed_epoch``.
        recalled: own entries that were taken back after the sequence after which entries were asked for.
        feed_marks: feed entry id -> mark and sequence, where it differs from what ``feed_read`` says.
        wake_ms: when the next snoozed entry comes back, milliseconds since 1970; 0 without one.
        tenants: how many of the unread own entries belong to each tenant.
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
    wake_ms: int = 0
    recalled: Sequence[str] = ()
    tenants: Mapping[str, int] = field(default_factory=dict)


class FeedLog:
    """The feed as one process knows it: entries by sequence and by key, bounded by whoever fills it."""

    def __init__(self) -> None:
        self.epoch = ""
        self.seq = 0
        self.floor = 0
        self._seqs: list[int] = []
        self._entries: list[FeedEntry] = []
        self._by_key: list[FeedEntry] = []
        self._by_id: dict[str, FeedEntry] = {}
        self._restricted = 0
        self._tenanted = 0
        self._categories: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def restart(self, epoch: str) -> None:
        """Forget everything: the feed's history is another one."""
        self.epoch, self.seq, self.floor = epoch, 0, 0
        self._seqs, self._entries, self._by_key, self._by_id = [], [], [], {}
        self._restricted = self._tenanted = 0
        self._categories = Counter()

    def append(self, entry: FeedEntry) -> None:
        """Add the newest entry."""
        self._seqs.append(entry.seq)
        self._entries.append(entry)
        insort(self._by_key, entry, key=_by_key)
        self._by_id[entry.id] = entry
        self._restricted += entry.groups is not None or entry.tenant is not None
        self._tenanted += entry.tenant is not None
        self._categories[entry.category] += 1
        self.seq = entry.seq

    def drop_up_to(self, floor: int) -> None:
        """Forget the entries up to this sequence."""
        if floor <= self.floor:
            return
        gone = bisect_right(self._seqs, floor)
        for entry in self._entries[:gone]:
            del self._by_id[entry.id]
            self._restricted -= entry.groups is not None or entry.tenant is not None
            self._tenanted -= entry.tenant is not None
            self._categories[entry.category] -= 1
        if gone:
            self._by_key = [entry for entry in self._by_key if entry.seq > floor]
        del self._entries[:gone], self._seqs[:gone]
        self.floor = floor

    def keep_newest(self, most: int) -> None:
        """Forget the oldest entries beyond ``most``."""
        if len(self._seqs) > most:
            self.drop_up_to(self._seqs[-most - 1])

    def remove(self, entry_id: str) -> FeedEntry | None:
        """Forget one entry that was taken back, and return it; None when it is not there."""
        entry = self._by_id.pop(entry_id, None)
        if entry is not None:
            place = bisect_left(self._seqs, entry.seq)
            del self._seqs[place], self._entries[place]
            self._by_key.remove(entry)
            self._restricted -= entry.groups is not None or entry.tenant is not None
            self._tenanted -= entry.tenant is not None
            self._categories[entry.category] -= 1
        return entry

    @property
    def has_tenants(self) -> bool:
        """Whether some entry belongs to a tenant."""
        return self._tenanted > 0

    def get(self, entry_id: str) -> FeedEntry | None:
        """Return one entry, None when it is not (or no longer) there."""
        return self._by_id.get(entry_id)

    def after(self, seq: int, groups: frozenset[str], tenant: str | None = None) -> list[FeedEntry]:
        """Return what a member of these groups may see after a sequence, oldest first; ``tenant`` as for ``is_for``."""
        found = self._entries[bisect_right(self._seqs, seq) :]
        return [entry for entry in found if entry.is_for(groups, tenant)] if self._restricted else found

    def below(self, key: int | None, groups: frozenset[str], tenant: str | None = None) -> Iterator[FeedEntry]:
        """Yield what a member of these groups may see below a key (None: of all), newest first."""
        end = len(self._by_key) if key is None else bisect_left(self._by_key, key, key=_by_key)
        return (entry for entry in reversed(self._by_key[:end]) if entry.is_for(groups, tenant))

    def count_after(self, seq: int, groups: frozenset[str]) -> int:
        """Count what ``after`` would return, of all tenants."""
        if not self._restricted:
            return len(self._seqs) - bisect_right(self._seqs, seq)
        return len(self.after(seq, groups))

    def tenants_after(self, seq: int, groups: frozenset[str]) -> Counter[str]:
        """Count what belongs to each tenant among it."""
        if not self._tenanted:
            return Counter()
        return Counter(entry.tenant for entry in self.after(seq, groups) if entry.tenant is not None)

    def categories_after(self, seq: int, groups: frozenset[str], tenant: str | None = None) -> Counter[str | None]:
        """Count by category what ``after`` would return."""
        if seq == 0 and not self._restricted:
            return self._categories
        return Counter(entry.category for entry in self.after(seq, groups, tenant))

    def visible(self, entry_id: str, groups: frozenset[str], tenant: str | None = None) -> FeedEntry | None:
        """Return one entry if a member of these groups may see it."""
        entry = self._by_id.get(entry_id)
        return entry if entry is not None and entry.is_for(groups, tenant) else None


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


def feed_tenants(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str]) -> Mapping[str, int]:
    """Count what belongs to each tenant among the feed entries that a user may see and has not read."""
    if snapshot.feed_epoch != feed.epoch:
        return feed.tenants_after(0, groups)
    if not feed.has_tenants:
        return _NONE
    counts = feed.tenants_after(snapshot.feed_read, groups)
    for entry_id, (mark, seq) in snapshot.feed_marks.items():
        entry = feed.visible(entry_id, groups)
        if entry is None or entry.tenant is None:
            continue
        if seq > snapshot.feed_read:
            counts[entry.tenant] -= mark is not Mark.UNREAD
        else:
            counts[entry.tenant] += mark is Mark.UNREAD
    return counts


def seen_of(count: int, tenants: Mapping[str, int], tenant: str | None) -> int:
    """Return how many of some entries are seen with a token of one tenant (None: of all).

    Args:
        count: all of them.
        tenants: how many of them belong to each tenant.
    """
    if tenant is None or not tenants:
        return count
    return count - sum(others for whose, others in tenants.items() if whose != tenant)


def unread(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str], tenant: str | None = None) -> int:
    """Count what a user has not read, own entries and the feed's together, that a token of one tenant shows."""
    own = seen_of(snapshot.unread, snapshot.tenants, tenant)
    if tenant is None:
        return own + feed_unread(snapshot, feed, groups)
    return own + seen_of(feed_unread(snapshot, feed, groups), feed_tenants(snapshot, feed, groups), tenant)


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """What a line has of one category (None: without one), without what was put away."""

    category: str | None
    entries: int
    unread: int


def by_category(
    own: Iterable[CategoryCount], snapshot: Snapshot, feed: FeedLog, groups: frozenset[str], tenant: str | None = None
) -> list[CategoryCount]:
    """Count a line by category, in the order of their names; that of entries without one comes first.

    Args:
        own: the own entries.
    """
    entries: Counter[str | None] = Counter()
    unread_ones: Counter[str | None] = Counter()
    for each in own:
        entries[each.category] += each.entries
        unread_ones[each.category] += each.unread
    is_known = snapshot.feed_epoch == feed.epoch
    entries.update(feed.categories_after(0, groups, tenant))
    unread_ones.update(feed.categories_after(snapshot.feed_read if is_known else 0, groups, tenant))
    for entry_id, (mark, seq) in snapshot.feed_marks.items() if is_known else ():
        entry = feed.visible(entry_id, groups, tenant)
        if entry is None:
            continue
        entries[entry.category] -= mark in _PUT_AWAY
        if seq > snapshot.feed_read:
            unread_ones[entry.category] -= mark is not Mark.UNREAD
        else:
            unread_ones[entry.category] += mark is Mark.UNREAD
    names = sorted((name for name, count in entries.items() if count > 0), key=lambda name: name or "")
    return [CategoryCount(name, entries[name], unread_ones[name]) for name in names]


@dataclass(frozen=True, slots=True)
class Item:
    """An entry on a user's line, with the cursor that stands right after it.

    Attributes:
        quiet: see ``OwnEntry``.
        broadcast: it stands in the feed.
    """

    id: str
    utf8: bytes
    mark: Mark
    cursor: Cursor = field(default_factory=Cursor)
    quiet: bool = False
    broadcast: bool = False

    @property
    def notification(self) -> str:
        """The notification's JSON, as clients get it."""
        return with_read(self.utf8.decode(), read=self.mark is not Mark.UNREAD)


def with_read(body: str, *, read: bool) -> str:
    """Add the ``read`` field to a notification's JSON object."""
    return f'{body[:-1]},"read":{"true" if read else "false"}}}'


Entry: TypeAlias = OwnEntry | FeedEntry


def _mark(entry: Entry, snapshot: Snapshot, feed: FeedLog) -> Mark:
    return feed_mark(entry, snapshot, feed) if isinstance(entry, FeedEntry) else entry.mark


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


def pending(
    snapshot: Snapshot, feed: FeedLog, groups: frozenset[str], tenant: str | None = None, *, gap: bool = False
) -> Stream:
    """Return the newest unread entries, at most ``PENDING_MOST``, for a token of one tenant (None: of all).

    Args:
        snapshot: with (at least) that many of the newest unread entries.
    """
    unread_ones: list[Entry] = [
        entry for entry in snapshot.entries if entry.mark is Mark.UNREAD and is_seen_by(tenant, entry.tenant)
    ]
    unread_ones += _newest_unread(snapshot, feed, groups, tenant)
    chosen = sorted(unread_ones, key=_by_key)[-PENDING_MOST:]
    end = _now(snapshot, feed)
    if not chosen:
        return Stream(end, (), end, gap)
    # What stands before the first of them counts as told, read or not.
    first = [[entry.seq for entry in chosen if is_broadcast(entry) is broadcast] for broadcast in (False, True)]
    place = replace(
        end, user_seq=min(first[0], default=end.user_seq + 1) - 1, feed_seq=min(first[1], default=end.feed_seq + 1) - 1
    )

    def told_up_to(key: int) -> Cursor:
        return replace(place, part=Part(end.user_seq, end.feed_seq, key))

    cursors = [*(told_up_to(entry.key) for entry in chosen[:-1]), end]
    items = [
        Item(entry.id, entry.utf8, _mark(entry, snapshot, feed), cursor)
        for entry, cursor in zip(chosen, cursors, strict=True)
    ]
    return Stream(told_up_to(chosen[0].key - 1), items, end, gap)


def _newest_unread(snapshot: Snapshot, feed: FeedLog, groups: frozenset[str], tenant: str | None) -> list[FeedEntry]:
    """Find the newest unread feed entries without looking at those that one mark covers."""
    read_up_to = snapshot.feed_read if snapshot.feed_epoch == feed.epoch else 0
    unread_again = [
        entry
        for entry_id, (mark, seq) in snapshot.feed_marks.items()
        if mark is Mark.UNREAD and seq <= read_up_to and (entry := feed.visible(entry_id, groups, tenant)) is not None
    ]
    newest: list[FeedEntry] = []
    for entry in sorted((*unread_again, *feed.after(read_up_to, groups, tenant)), key=_by_key, reverse=True):
        if len(newest) == PENDING_MOST:
            break
        if feed_mark(entry, snapshot, feed) is Mark.UNREAD:
            newest.append(entry)
    return newest


def follow(
    cursor: Cursor, snapshot: Snapshot, feed: FeedLog, groups: frozenset[str], tenant: str | None = None
) -> Stream | None:
    """Return everything after a cursor that a token of one tenant (None: of all) shows, None when some of it is gone.

    A cursor that knows more than the store comes from before a restored backup: what the client was told is gone.

    Args:
        cursor: the last place that was told.
        snapshot: with all own entries after the cursor; read before the feed was.
    """
    if _is_gone(cursor.user_epoch, cursor.user_seq, snapshot.epoch, snapshot.floor) or cursor.user_known > snapshot.seq:
        return None
    if _is_gone(cursor.feed_epoch, cursor.feed_seq, feed.epoch, feed.floor) or cursor.feed_known > feed.seq:
        return None
    own = [entry for entry in snapshot.entries if is_seen_by(tenant, entry.tenant)]
    line: list[Entry] = [*own, *feed.after(cursor.feed_seq, groups, tenant)]
    line = [each for each in line if not cursor.passed(each) and _mark(each, snapshot, feed) not in _PUT_AWAY]
    shown = sorted(line, key=_by_key)
    end, part = _now(snapshot, feed), cursor.part
    start = Cursor(snapshot.epoch, min(cursor.user_seq, snapshot.seq), feed.epoch, min(cursor.feed_seq, feed.seq), part)
    begun: list[Entry] = []
    place = start
    if part is not None:
        # A part that was begun is told to its end first, so that a cursor never needs more than one part.
        begun = [entry for entry in shown if part.holds(entry)]
        shown = [entry for entry in shown if not part.holds(entry)]
        place = replace(start, user_seq=part.user_until, feed_seq=part.feed_until, part=None)
    cursors = [replace(start, part=replace(part, key=entry.key)) for entry in begun[:-1]] if part else []
    cursors += [place] if begun else []
    cursors += cursors_behind(place, end, shown)
    items = [
        Item(
            entry.id, entry.utf8, _mark(entry, snapshot, feed), cursor, isinstance(entry, OwnEntry) and entry.quiet,
            isinstance(entry, FeedEntry),
        )
        for entry, cursor in zip((*begun, *shown), cursors, strict=True)
    ]  # fmt: skip
    return Stream(start, items, end)


def _is_gone(cursor_epoch: str, cursor_seq: int, epoch: str, floor: int) -> bool:
    """Tell whether entries after a place are gone: trimmed, or lost with the whole history."""
    if cursor_epoch and cursor_epoch != epoch:
        return True
    return floor > cursor_seq


def newest_first(
    snapshot: Snapshot,
    feed: FeedLog,
    groups: frozenset[str],
    below: int | None = None,
    *,
    tenant: str | None = None,
    categories: Collection[str | None] | None = None,
) -> Iterator[Item]:
    """Yield the line, newest first, with what was put away.

    Args:
        snapshot: with own entries below the key, of these categories.
        below: a key; None for all of the line.
        tenant: as for ``FeedEntry.is_for``.
        categories: of entries of the feed; None for all.
    """
    own: list[Entry] = [entry for entry in snapshot.entries if is_seen_by(tenant, entry.tenant)]
    own.sort(key=_by_key, reverse=True)
    broadcasts: Iterable[Entry] = feed.below(below, groups, tenant)
    if categories is not None:
        broadcasts = (entry for entry in feed.below(below, groups, tenant) if entry.category in categories)
    for entry in merge(own, broadcasts, key=_by_key, reverse=True):
        yield Item(entry.id, entry.utf8, _mark(entry, snapshot, feed))


def page(line: Iterable[Item], marks: Collection[Mark], most: int) -> list[Item]:
    """Take the first of a line's items that are marked so."""
    return list(islice((item for item in line if item.mark in marks), most))
