"""The broadcast feed: every broadcast stored once, and the current system status.

Promises that a broadcast costs the same for any number of users, that an entry is written once for each notification
id, and that a ``FeedMirror`` after ``refresh`` knows everything that was in the feed before the call. Who may see an
entry is decided on reading, by membership at that moment.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.inbox.inbox import Added, new_epoch, read_added
from shared.inbox.timeline import FeedEntry, FeedLog
from shared.store.keys import Keys
from shared.store.replies import read_object, scored
from shared.store.store import Store, load_script

log = logging.getLogger(__name__)

# Each realtime process and router keeps the feed in memory: a thousand broadcasts of a few kilobytes are a few
# megabytes, and more than anybody reads back. With the largest publishes it is 64 MiB.
FEED_LIMIT = 1_000

_PRELUDE = "inbox_log"
_add = load_script(__package__, "inbox_add", _PRELUDE)
_read = load_script(__package__, "inbox_feed", _PRELUDE)
_recall = load_script(__package__, "inbox_recall", _PRELUDE)
_put_status = load_script(__package__, "inbox_status")

Groups = tuple[str, ...] | None


class Feed:
    """The feed on one store.

    Args:
        retention: how long an entry is kept.
    """

    def __init__(self, store: Store, keys: Keys, retention: timedelta, *, limit: int = FEED_LIMIT) -> None:
        self._store = store
        self._base = keys.feed
        self.limit = limit
        self._retention_s = round(retention.total_seconds())

    async def add(self, notification_id: str, body: str, groups: Groups, *, order: int | None = None) -> Added:
        """Write an entry for the members of ``groups`` (None: for everybody), unless it is there.

        Args:
            body: see ``shared.inbox.inbox.wire_body``.
            order: as in ``Inbox.add``.
        """
        value = f"{json.dumps(groups)}\n{body}"
        answer = await self._store.script(
            _add, self._base, "log", notification_id, value, self.limit, self._retention_s, new_epoch(),
            "" if order is None else order, lasting=True,
        )  # fmt: skip
        return read_added(answer)

    async def recall(self, notification_id: str) -> None:
        """Take an entry back: it is not there any more, and is not added again."""
        await self._store.script(_recall, self._base, "log", notification_id, self._retention_s, lasting=True)

    async def note_copy(self, notification_id: str, user_id: str) -> None:
        """Write down that a user has, or will have, an own entry in place of this one: a recall takes that, too."""
        copies = f"{self._base}:copies:{notification_id}"
        await self._store.command("SADD", copies, user_id, lasting=True)
        await self._store.command("EXPIRE", copies, self._retention_s)

    async def copies(self, notification_id: str) -> list[str]:
        """Return the users of ``note_copy``."""
        found = await self._store.command("SMEMBERS", f"{self._base}:copies:{notification_id}")
        return sorted(user_id.decode() for user_id in found)

    async def is_recalled(self, notification_id: str) -> bool:
        """Tell whether an entry was taken back."""
        return await self._store.command("ZSCORE", f"{self._base}:recalled", notification_id) is not None

    async def put_status(self, accepted_ms: int, frame: str) -> bool:
        """Keep the system status that new sessions see first; False when a later one is known."""
        return bool(await self._store.script(_put_status, self._base, accepted_ms, frame, lasting=True))

    async def load(self, mirror: "FeedMirror") -> list[FeedEntry]:
        """Bring a mirror up to date, and return the entries that it did not know, oldest first."""
        known_epoch, known_seq = mirror.log.epoch, mirror.log.seq
        epoch, seq, floor, status, found, recalled = await self._store.script(
            _read, self._base, known_epoch, known_seq, self.limit, self._retention_s
        )
        read = [_entry(*found[index : index + 4]) for index in range(0, len(found), 4)]
        entries = [entry for entry in read if entry is not None]
        if len(entries) < len(read):
            log.error("unreadable feed entries passed over", extra={"entries": len(read) - len(entries)})
        accepted_ms, _, frame = status.partition(b"\n")
        if accepted_ms.isdigit() and read_object(frame):
            mirror.note_status(int(accepted_ms), frame.decode())
        name = epoch.decode(errors="replace")
        if name != mirror.log.epoch:
            mirror.log.restart(name)
        # While the store was asked, entries may have come by message.
        missing = [entry for entry in entries if entry.seq > mirror.log.seq]
        for entry in missing:
            mirror.log.append(entry)
        mirror.log.seq = max(mirror.log.seq, int(seq))
        # First, because a feed whose last entry was taken back has its floor there.
        mirror.note_recalled({entry_id.decode(errors="replace"): at_us for entry_id, at_us in scored(recalled)})
        mirror.log.drop_up_to(int(floor))
        return missing


@dataclass(frozen=True, slots=True)
class FeedNews:
    """A new feed entry as one process tells the others; ``before`` is the sequence it follows."""

    epoch: str
    before: int
    entry: FeedEntry


class FeedMirror:
    """The feed in one process's memory: told of news by message, and brought up to date by ``refresh``."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.log = FeedLog()
        self.status: str | None = None
        self._status_ms = -1
        # When which entries were taken back, in microseconds; those of them that nobody has been told of yet.
        self._recalled: dict[str, int] = {}
        self._untold: list[FeedEntry] = []

    def take(self, news: FeedNews) -> list[FeedEntry] | None:
        """Add an entry that follows what is known.

        Returns:
            What was not known; None when something before it is missing and ``refresh`` is needed.
        """
        log = self.log
        if news.entry.seq <= log.seq and news.epoch == log.epoch:
            return []
        if not log.epoch and news.before == 0:
            log.restart(news.epoch)
        elif news.epoch != log.epoch or news.before != log.seq:
            return None
        if news.entry.id in self._recalled:
            log.seq = news.entry.seq
            return []
        log.append(news.entry)
        log.keep_newest(self._feed.limit)
        return [news.entry]

    async def refresh(self) -> list[FeedEntry]:
        """Read what is missing, in one round trip, and return it, oldest first."""
        return await self._feed.load(self)

    def note_recalled(self, recalled: Mapping[str, int]) -> None:
        """Take note of entries that were taken back, given with the microsecond at which they were."""
        self._recalled |= recalled
        for entry_id in recalled:
            entry = self.log.remove(entry_id)
            if entry is not None:
                self._untold.append(entry)

    def recalled_since(self, seq: int) -> list[str]:
        """Return the ids of the entries that were taken back after this sequence."""
        return [entry_id for entry_id, at_us in self._recalled.items() if at_us > seq]

    def take_recalled(self) -> list[FeedEntry]:
        """Return the entries of which it was not known before that they were taken back."""
        entries, self._untold = self._untold, []
        return entries

    def note_status(self, accepted_ms: int, frame: str) -> bool:
        """Take note of a system status; False when it is not newer than the known one."""
        if accepted_ms <= self._status_ms:
            return False
        self._status_ms, self.status = accepted_ms, frame
        return True


def _entry(entry_id: bytes, seq: bytes, order: bytes, value: bytes) -> FeedEntry | None:
    """Read an entry; None when it is damaged."""
    groups, _, body = value.partition(b"\n")
    try:
        members = group_set(json.loads(groups))
        is_whole = bool(read_object(body)) and all(isinstance(each, str) for each in members or ())
        return FeedEntry.of(int(seq), entry_id.decode(), members, body, int(order)) if is_whole else None
    except (ValueError, TypeError, RecursionError):
        return None


def group_set(groups: list[str] | Groups) -> frozenset[str] | None:
    """Turn the list of groups of an entry into the set that membership is asked of."""
    return None if groups is None else frozenset(groups)
