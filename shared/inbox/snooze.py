"""Entries that a user has put away for a while.

Promises:

- A snoozed entry is in no list but that of the snoozed, and it is not counted. The limit and the retention do not take
  it away.
- When its time comes, it is unread. It stands where it is then, not where it was, and every session is told of it: it
  has a sequence of its own, as if it were written at that moment. No process has to be there for that. Whatever reads
  the inbox next, finds it there.

A broadcast stands in the feed, once for everybody. So a user who snoozes one gets an own entry in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from shared.inbox.inbox import Added, Inbox, Marked, new_epoch, read_marked
from shared.inbox.timeline import FeedEntry, FeedLog
from shared.store.keys import Keys
from shared.store.store import Store, load_script

_PRELUDE = "inbox_log"
_snooze = load_script(__package__, "inbox_snooze", _PRELUDE)
_wake = load_script(__package__, "inbox_wake", _PRELUDE)

_QUIET = b"q"

# What comes back must still be kept then, so nothing is snoozed for as long as it would be kept.
_MARGIN = timedelta(minutes=5)


class TooManySnoozed(Exception):
    """The user has put away so many entries already that no more are taken."""


@dataclass(frozen=True, slots=True)
class Returned:
    """An entry that has come back, as if it had been added now."""

    added: Added
    body: str
    quiet: bool


@dataclass(frozen=True, slots=True)
class Woken:
    """The inbox after entries have come back, oldest first; the position holds no entries."""

    position: Marked
    entries: Sequence[Returned]


class Snoozes:
    """The snoozed entries of the inboxes on one store."""

    def __init__(self, store: Store, keys: Keys, inbox: Inbox) -> None:
        self._store = store
        self._keys = keys
        self._inbox = inbox

    @property
    def longest(self) -> timedelta:
        """For how long an entry may be put away."""
        kept = timedelta(seconds=self._inbox.retention_s)
        return kept - min(_MARGIN, kept / 2)

    async def snooze(
        self, user_id: str, entry_id: str, until_ms: int, broadcast: FeedEntry | None, feed: FeedLog
    ) -> Marked | None:
        """Put an entry away; one that is snoozed already gets the other time.

        Args:
            until_ms: milliseconds since 1970, at most ``longest`` from now.
            broadcast: the entry of that id in the feed, if the user may see one.

        Returns:
            None when there is no such entry.

        Raises:
            TooManySnoozed: it is left as it is.
        """
        answer = await self._store.script(
            _snooze, self._keys.user(user_id), entry_id, until_ms, self._inbox.limit, self._inbox.retention_s,
            new_epoch(), *feed_arguments(broadcast, feed), lasting=True,
        )  # fmt: skip
        if len(answer) == 1:
            raise TooManySnoozed
        return read_marked(answer) if answer else None

    async def wake(self, user_id: str, entry_id: str = "") -> Woken | None:
        """Let an entry come back now, or all whose time has come.

        Returns:
            None when there is no entry of that id. One that is not snoozed changes nothing.
        """
        answer = await self._store.script(
            _wake, self._keys.user(user_id), entry_id, self._inbox.retention_s, lasting=True
        )
        if not answer[0]:
            return None
        *told, found = answer
        marked = read_marked(told)
        snapshot = marked.snapshot
        entries: list[Returned] = []
        for index in range(0, len(found), 5):
            before, seq, order = map(int, found[index + 1 : index + 4])
            value = found[index + 4]
            added = Added(
                True, snapshot.epoch, before, seq, snapshot.unread, snapshot.version, marked.sessions, order,
                snapshot.tenants,
            )  # fmt: skip
            entries.append(Returned(added, value.removeprefix(_QUIET).decode(), value.startswith(_QUIET)))
        return Woken(marked, entries)


def feed_arguments(broadcast: FeedEntry | None, feed: FeedLog) -> tuple[str | bytes | int, ...]:
    """Make the arguments of a script that may give a user an own entry in place of one of the feed."""
    if broadcast is None:
        return ()
    order = broadcast.order or broadcast.seq
    return (broadcast.utf8, broadcast.seq, order, feed.epoch, feed.floor, broadcast.tenant or "")
