"""What this process writes for users, and whom it then tells.

Promises that a call returns after the store has the change. This process's own sessions are told first, then messages
go to the other processes and to gateways. So only one round trip to the store comes between a job and its live frame.
"""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from services.realtime.node.publishing import NodePublisher
from services.realtime.sessions import frames
from services.realtime.sessions.alert_states import AlertStates
from services.realtime.sessions.hub import Hub
from services.realtime.sessions.news import (
    CountNews,
    EntryNews,
    FeedRecalledNews,
    PersonNews,
    RecalledNews,
    StatusNews,
)
from shared.core.errors import StoreUnavailable
from shared.directory.directory import Directory
from shared.inbox.cursor import Cursor, key_of
from shared.inbox.feed import Feed, FeedNews, Groups, group_set
from shared.inbox.inbox import Added, Change, Inbox, Marked
from shared.inbox.sessions import Sessions, targets
from shared.inbox.snooze import Snoozes, TooManySnoozed
from shared.inbox.timeline import (
    CategoryCount,
    FeedEntry,
    FeedLog,
    Item,
    Mark,
    by_category,
    feed_tenants,
    feed_unread,
    is_seen_by,
    newest_first,
    page,
    seen_of,
    text_or_none,
    unread,
    with_read,
)
from shared.store.replies import read_object

# Entries marked by one call that the ledger is told of.
READ_AT_ONCE = 200


class WhyNot(StrEnum):
    """Why an entry is not put away: a stable word for programs."""

    UNANSWERED_ALERT = "unanswered_alert"
    TOO_MANY_SNOOZED = "too_many_snoozed"

    @property
    def message(self) -> str:
        """Say it to people."""
        if self is WhyNot.UNANSWERED_ALERT:
            return "This alert waits for an answer. Acknowledge it first."
        return "Too many entries are snoozed already."


class NotSnoozed(Exception):
    """An entry is left where it is."""

    def __init__(self, why: WhyNot) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a user's line.

    Attributes:
        utf8: the notification's JSON.
        broadcast: the entry of the feed; None for an own one.
        groups: the user's.
    """

    utf8: bytes
    broadcast: FeedEntry | None
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class InboxPage:
    """A page of a user's line, newest first.

    Attributes:
        unread: entries of the whole line.
        cursor: where the line ended when it was read.
        categories: the whole line by category; empty behind the first page.
    """

    items: Sequence[Item]
    unread: int
    cursor: Cursor
    categories: Sequence[CategoryCount] = ()


class Changes:
    """Writes to inboxes, the feed and records.

    Args:
        log: the feed as the hub's mirror knows it.
        seen: is told of a user who reads an entry, with its id.
    """

    def __init__(
        self,
        inbox: Inbox,
        feed: Feed,
        log: FeedLog,
        *,
        snoozes: Snoozes,
        registry: Sessions,
        directory: Directory,
        hub: Hub,
        publisher: NodePublisher,
        seen: Callable[[str, str], None],
    ) -> None:
        self.log = log
        self._inbox = inbox
        self._feed = feed
        self._snoozes = snoozes
        self._registry = registry
        self._directory = directory
        self._hub = hub
        self._publisher = publisher
        self._seen = seen

    async def add_entry(
        self,
        user_id: str,
        notification_id: str,
        body: str,
        *,
        order: int,
        live: bool,
        pinned: bool,
        tenant: str | None = None,
    ) -> None:
        """Write an entry into a user's inbox and show it to his sessions.

        Args:
            order: see ``shared.store.keys.order_of``.
            pinned: see ``shared.inbox.inbox.Inbox.add``, as for ``tenant``.
        """
        added = await self._inbox.add(
            user_id, notification_id, body, order=order, quiet=not live, pinned=pinned, tenant=tenant
        )
        if added.is_recalled:
            return
        await self._tell_entry(user_id, added, body, quiet=not live)

    async def _tell_entry(self, user_id: str, added: Added, body: str, *, quiet: bool) -> None:
        entry = EntryNews.of(user_id, added, body, quiet=quiet)
        self._hub.entry(entry)
        where = targets(added.sessions)
        told = self._publisher.to_nodes(where.nodes, entry)
        if not quiet and where.gateways:
            cursor = Cursor(added.epoch, added.seq, self.log.epoch, self.log.seq)
            whose = entry.tenant
            told += self._publisher.to_gateways(
                (each for each in where.gateways if is_seen_by(each.tenant, whose)),
                frames.notification(with_read(body, read=False).encode(), cursor),
            )
        await self._publisher.taken(told)

    async def add_broadcast(self, notification_id: str, body: str, groups: Groups, *, order: int) -> None:
        """Write an entry into the feed and show it to everybody concerned; ``order`` as for ``add_entry``."""
        added = await self._feed.add(notification_id, body, groups, order=order)
        if added.is_recalled:
            return
        entry = FeedEntry.of(added.seq, notification_id, group_set(groups), body.encode(), added.order)
        news = FeedNews(added.epoch, added.before, entry)
        if not self._hub.feed(news):
            await self._hub.refresh_feed()
        told = self._publisher.to_all_nodes(news)
        shown = with_read(body, read=False).encode()
        gateways = [
            session
            for session in await self._registry.gateways()
            if session.live and entry.is_for(session.groups, session.tenant)
        ]
        places = await asyncio.gather(*(self._inbox.place(session.user_id) for session in gateways))
        for session, (epoch, seq) in zip(gateways, places, strict=True):
            cursor = Cursor(epoch, seq, added.epoch, added.seq)
            told += self._publisher.to_gateways([session], frames.notification(shown, cursor))
        await self._publisher.taken(told)

    async def recall_entry(self, user_id: str, notification_id: str) -> None:
        """Take an entry out of a user's inbox, and tell his sessions."""
        marked, groups = await asyncio.gather(self._inbox.recall(user_id, notification_id), self._groups(user_id))
        news = RecalledNews(user_id, notification_id)
        self._hub.recalled(news)
        where = targets(marked.sessions)
        told = self._publisher.to_nodes(where.nodes, news)
        told += self._publisher.to_gateways(where.gateways, frames.recalled(notification_id))
        await self._publisher.taken(told)
        await self._tell_count(user_id, marked, groups)

    async def recall_broadcast(self, notification_id: str) -> None:
        """Take an entry out of the feed, and tell everybody concerned."""
        if self.log.get(notification_id) is None:
            await self._hub.refresh_feed()
        entry = self.log.get(notification_id)
        await self._feed.recall(notification_id)
        news = FeedRecalledNews(notification_id, time.time_ns() // 1000)
        self._hub.feed_recalled(news)
        told = self._publisher.to_all_nodes(news)
        if entry is not None:
            gateways = [each for each in await self._registry.gateways() if entry.is_for(each.groups, each.tenant)]
            told += self._publisher.to_gateways(gateways, frames.recalled(notification_id))
        await self._publisher.taken(told)
        for user_id in await self._feed.copies(notification_id):
            await self.recall_entry(user_id, notification_id)

    @asynccontextmanager
    async def copying(self, user_id: str, broadcast: FeedEntry | None) -> AsyncIterator[None]:
        """Give a user an own entry in place of one of the feed within the context, so that a recall takes both."""
        if broadcast is None:
            yield
            return
        await self._feed.note_copy(broadcast.id, user_id)
        yield
        if await self._feed.is_recalled(broadcast.id):
            # It was taken back meanwhile, by somebody who may not have known of this user.
            await self.recall_entry(user_id, broadcast.id)

    async def put_status(self, accepted_ms: int, text: str) -> None:
        """Keep the system status and show it to everybody."""
        if not await self._feed.put_status(accepted_ms, text):
            return
        news = StatusNews(accepted_ms, text)
        self._hub.status(news)
        told = self._publisher.to_all_nodes(news)
        told += self._publisher.to_gateways(await self._registry.gateways(), frames.status(text))
        await self._publisher.taken(told)

    async def mark(self, user_id: str, entry_id: str, change: Change, tenant: str | None = None) -> bool:
        """Change a user's mark of an entry; False when he has no such entry.

        Args:
            tenant: only its entries and nobody's are seen, here and in the other calls; None for all.
        """
        if tenant is not None and await self.find(user_id, entry_id, tenant) is None:
            return False
        marked, groups = await asyncio.gather(self._inbox.mark(user_id, entry_id, change), self._groups(user_id))
        if marked is None:
            entry = await self._feed_entry(entry_id, groups)
            if entry is None:
                return False
            marked = await self._inbox.mark_feed(user_id, entry, change, self.log)
        self._note_read(user_id, marked)
        await self._tell_count(user_id, marked, groups)
        return True

    async def find(self, user_id: str, entry_id: str, tenant: str | None = None) -> Found | None:
        """Read one entry of a user's line; None when there is none of that id."""
        body, groups = await asyncio.gather(self._inbox.body(user_id, entry_id), self._groups(user_id))
        if body is not None:
            is_seen = tenant is None or is_seen_by(tenant, text_or_none(read_object(body), "tenant"))
            return Found(body, None, groups) if is_seen else None
        entry = await self._feed_entry(entry_id, groups, tenant)
        return Found(entry.utf8, entry, groups) if entry is not None else None

    @property
    def longest_snooze(self) -> timedelta:
        """For how long an entry may be put away."""
        return self._snoozes.longest

    async def snooze(
        self, user_id: str, entry_id: str, until_ms: int, alerts: AlertStates, tenant: str | None = None
    ) -> bool:
        """Put an entry away until then; False when there is no such entry.

        Raises:
            NotSnoozed: it is an alert that waits for an answer, or too many are snoozed already.
        """
        found = await self.find(user_id, entry_id, tenant)
        if found is None:
            return False
        [shown] = await alerts.shown([Item(entry_id, found.utf8, Mark.UNREAD)])
        if alerts.awaits_answer(shown):
            raise NotSnoozed(WhyNot.UNANSWERED_ALERT)
        try:
            async with self.copying(user_id, found.broadcast):
                marked = await self._snoozes.snooze(user_id, entry_id, until_ms, found.broadcast, self.log)
        except TooManySnoozed:
            raise NotSnoozed(WhyNot.TOO_MANY_SNOOZED) from None
        if marked is None:
            return False
        await self.marked(user_id, marked, found.groups)
        return True

    async def end_snooze(self, user_id: str, entry_id: str, tenant: str | None = None) -> bool:
        """Let a snoozed entry come back now; False when there is no such entry."""
        found = await self.find(user_id, entry_id, tenant)
        if found is None:
            return False
        return found.broadcast is not None or await self._bring_back(user_id, entry_id)

    async def wake(self, user_id: str) -> None:
        """Let come back what is due."""
        with suppress(StoreUnavailable):
            # The next comparison with the store sets the timer again.
            await self._bring_back(user_id, "")

    async def _bring_back(self, user_id: str, entry_id: str) -> bool:
        woken = await self._snoozes.wake(user_id, entry_id)
        if woken is None:
            return False
        for entry in woken.entries:
            await self._tell_entry(user_id, entry.added, entry.body, quiet=entry.quiet)
        # Another process may have been faster, and has told only those whom it knows of.
        self._hub.moved(user_id, woken.position.snapshot)
        self._wake_for_gateways(user_id, woken.position)
        return True

    def _wake_for_gateways(self, user_id: str, marked: Marked) -> None:
        """Set the timer also for a user whose sessions are all at gateways."""
        if user_id not in self._hub.users and targets(marked.sessions).gateways:
            self._hub.waking.at(user_id, marked.snapshot.wake_ms)

    async def marked(self, user_id: str, marked: Marked, groups: frozenset[str]) -> None:
        """Tell a user's sessions of changed marks."""
        self._wake_for_gateways(user_id, marked)
        await self._tell_count(user_id, marked, groups)

    async def read_all(self, user_id: str, tenant: str | None = None) -> None:
        """Mark everything that a user may see as read."""
        _, groups = await asyncio.gather(self._hub.refresh_feed(), self._groups(user_id))
        marked = await self._inbox.read_all(user_id, self.log, tenant, groups)
        self._note_read(user_id, marked)
        await self._tell_count(user_id, marked, groups)

    def _note_read(self, user_id: str, marked: Marked) -> None:
        # The newest ones, where somebody who was away for months marks everything.
        for entry_id in marked.read[-READ_AT_ONCE:]:
            self._seen(user_id, entry_id)

    async def page(
        self,
        user_id: str,
        marks: Collection[Mark],
        most: int,
        before: str | None,
        *,
        tenant: str | None = None,
        categories: Collection[str | None] | None = None,
    ) -> InboxPage | None:
        """Read a page of a user's line, newest first, with the feed up to date; None when ``before`` is no entry of it.

        Args:
            marks: which entries are wanted.
            before: the id of the entry right above the page.
            categories: which are wanted (None for entries without one); None for all.
        """
        groups, _ = await asyncio.gather(self._groups(user_id), self._hub.refresh_feed())
        above, bound, below = "", "+inf", None
        if before is not None:
            above = before
        asked = functools.partial(self._inbox.page, user_id, marks, tenant=tenant, categories=categories)
        own = await asked(most, above=above, bound=bound, count=before is None)
        if own is None and before is not None and (entry := self.log.visible(before, groups, tenant)) is not None:
            # An entry of the user's own inbox with the same order stands before it.
            bound, below = str(entry.order or entry.seq), entry.key
            own = await asked(most, bound=bound)
        if own is None:
            return None
        if own.above is not None:
            below = key_of(own.above, broadcast=False)
        snapshot, entries, counts = own.snapshot, list(own.snapshot.entries), own.categories
        while own is not None and own.bound and len(entries) < most:
            own = await asked(most - len(entries), bound=own.bound)
            # Entries written since stand behind the cursor of the answer.
            entries += [entry for entry in own.snapshot.entries if entry.seq <= snapshot.seq] if own else ()
        snapshot = replace(snapshot, entries=entries)
        line = newest_first(snapshot, self.log, groups, below, tenant=tenant, categories=categories)
        items = page(line, marks, most)
        cursor = Cursor(snapshot.epoch, snapshot.seq, self.log.epoch, self.log.seq)
        found = by_category(counts, snapshot, self.log, groups, tenant) if before is None else ()
        return InboxPage(items, unread(snapshot, self.log, groups, tenant), cursor, found)

    async def unanswered(self, user_id: str, alerts: AlertStates, tenant: str | None = None) -> list[Item]:
        """Read the alerts of a user that wait for an answer, the newest first, without those that he has archived."""
        pinned = await self._inbox.pinned(user_id)
        if not pinned:
            return []
        found = await alerts.shown(
            Item(entry.id, entry.utf8, entry.mark) for entry in pinned if is_seen_by(tenant, entry.tenant)
        )
        waiting = [item for item in found if alerts.is_open(item)]
        if answered := {item.id for item in found} - {item.id for item in waiting}:
            await self._inbox.unpin(user_id, answered)
        return [item for item in waiting if item.mark not in (Mark.ARCHIVED, Mark.SNOOZED)]

    async def person_changed(self, user_id: str) -> None:
        """Let every process that holds sessions of a user read his record again."""
        where = await self._registry.targets_of(user_id)
        await self._hub.person(PersonNews(user_id))
        await self._publisher.taken(self._publisher.to_nodes(where.nodes, PersonNews(user_id)))

    async def _groups(self, user_id: str) -> frozenset[str]:
        person = await self._directory.person(user_id)
        return frozenset(person.groups) if person else frozenset()

    async def _feed_entry(self, entry_id: str, groups: frozenset[str], tenant: str | None = None) -> FeedEntry | None:
        entry = self.log.visible(entry_id, groups, tenant)
        if entry is None:
            await self._hub.refresh_feed()
            entry = self.log.visible(entry_id, groups, tenant)
        return entry

    async def _tell_count(self, user_id: str, marked: Marked, groups: frozenset[str]) -> None:
        if not marked.changed:
            return
        snapshot = marked.snapshot
        feed = feed_unread(snapshot, self.log, groups)
        news = CountNews(
            user_id, snapshot.unread, snapshot.version, feed, snapshot.feed_version, self.log.seq, snapshot.wake_ms,
            snapshot.tenants, feed_tenants(snapshot, self.log, groups),
        )  # fmt: skip
        self._hub.count(news)
        where = targets(marked.sessions)
        told = self._publisher.to_nodes(where.nodes, news)
        for session in where.gateways:
            count = seen_of(news.own, news.tenants, session.tenant)
            count += seen_of(news.feed, news.feed_tenants, session.tenant)
            told += self._publisher.to_gateways([session], frames.unread(count))
        await self._publisher.taken(told)
