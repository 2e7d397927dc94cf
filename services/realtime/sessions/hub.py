"""The sessions of one process by user, and what each is told.

Promises that a live session is sent every entry of its user's line once. Entries that wait together leave in the order
of acceptance. Messages between processes may get lost, come twice or overtake each other. Their sequence numbers show
that, and the session reads what it missed from the store before it goes on. Everything but the replay is synchronous,
so no two changes interleave.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from services.realtime.sessions import close_codes, frames
from services.realtime.sessions.alert_states import AlertStates
from services.realtime.sessions.frames import Frame
from services.realtime.sessions.news import (
    CountNews,
    EntryNews,
    FeedRecalledNews,
    PersonNews,
    RecalledNews,
    StatusNews,
)
from services.realtime.sessions.session import PROCESS_QUEUE_BYTES, LiveEntry, Phase, Session, Sink, Spawn, User
from services.realtime.sessions.waking import Waking
from shared.core.model import Channel
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.inbox.cursor import Cursor
from shared.inbox.feed import FeedMirror, FeedNews
from shared.inbox.inbox import Inbox
from shared.inbox.sessions import InboxPosition, Opened
from shared.inbox.timeline import (
    FeedEntry,
    Snapshot,
    Stream,
    feed_tenants,
    feed_unread,
    follow,
    is_seen_by,
    pending,
    with_read,
)
from shared.mqtt.byte_budget import ByteBudget
from shared.store.until_stored import until_stored
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# Users whose counts are read together.
_COUNTED_AT_ONCE = 100


class Hub:
    """All sessions of this process.

    Args:
        spawn: starts a background task that is kept until its end.

    Attributes:
        waking: when users' snoozed entries come back.
    """

    def __init__(
        self, inbox: Inbox, mirror: FeedMirror, directory: Directory, alerts: AlertStates, spawn: Spawn
    ) -> None:
        self.users: dict[str, User] = {}
        self._inbox = inbox
        self._mirror = mirror
        self._directory = directory
        self._alerts = alerts
        self._spawn = spawn
        self._room = ByteBudget(PROCESS_QUEUE_BYTES)
        self.waking = Waking(spawn)

    def add(self, session_id: str, user_id: str, sink: Sink, *, tenant: str | None = None) -> Session:
        """Begin a session. From now on it collects news, and shows them after ``admit``."""
        user = self.users.get(user_id)
        if user is None:
            user = self.users[user_id] = User(user_id)
        session = Session(session_id, user, sink, self._spawn, self._room, tenant=tenant)
        user.sessions.append(session)
        metrics.realtime_sessions.inc()
        return session

    def remove(self, session: Session) -> None:
        """Forget a session whose connection is over."""
        session.ended()
        user = session.user
        if session in user.sessions:
            user.sessions.remove(session)
            metrics.realtime_sessions.dec()
        if not user.sessions and self.users.get(user.id) is user:
            del self.users[user.id]
            self.waking.forget(user.id)

    def sessions(self) -> list[Session]:
        """Return all sessions."""
        return [session for user in self.users.values() for session in user.sessions]

    async def admit(self, session: Session, opened: Opened, person: Person | None, cursor: Cursor | None) -> None:
        """Greet a session, replay what it missed (or its pending entries), and let it go live.

        Args:
            opened: read after the session was added.
            person: read after ``opened``.
            cursor: where the client was; None for a client that comes without one.

        Raises:
            ConnectionError: the client is gone.
            StoreUnavailable: nothing has been sent yet.
        """
        user, snapshot = session.user, opened.snapshot
        self._describe(user, person, opened.record_digest)
        self._count(user, snapshot)
        stream = await self._stream(session, snapshot, cursor)
        missed = await self._alerts.shown(stream.items)
        greeting = [frames.hello(session.id, stream.start, user.unread(session.tenant))]
        if self._mirror.status is not None:
            greeting.insert(0, frames.status(self._mirror.status))
        if stream.gap:
            greeting.append(frames.GAP)
        gone = [*snapshot.recalled, *(self._mirror.recalled_since(cursor.feed_seq) if cursor is not None else ())]
        await session.replay(chain(greeting, map(frames.shown, missed), map(frames.recalled, gone)))
        session.place = stream.end
        await self._catch_up(session)

    async def _stream(self, session: Session, snapshot: Snapshot, cursor: Cursor | None) -> Stream:
        groups, tenant = session.user.groups, session.tenant
        if cursor is None:
            return pending(snapshot, self._mirror.log, groups, tenant)
        feed = self._mirror.log
        if cursor.feed_epoch != feed.epoch or cursor.feed_known > feed.seq:
            # Another process told this client of a broadcast whose message has not come here yet.
            await self.refresh_feed()
        stream = follow(cursor, snapshot, feed, groups, tenant)
        if stream is None:
            fresh = await until_stored(lambda: self._inbox.pending(session.user.id, tenant))
            stream = pending(fresh, feed, groups, tenant, gap=True)
        return stream

    def entry(self, news: EntryNews) -> None:
        """Tell a user's sessions of an own entry."""
        user = self.users.get(news.user_id)
        if user is None:
            return
        if news.version > user.version:
            user.version, user.own_unread, user.own_tenants = news.version, news.unread, news.tenants
            user.tell_unread()
        shown = None if news.quiet else LiveEntry(news.seq, news.key, with_read(news.body, read=False).encode())
        for session in user.sessions:
            if session.phase is not Phase.LIVE:
                session.behind = True
            elif self._follows(session, news):
                place = Cursor(news.epoch, news.seq, session.feed_epoch, session.feed_seq)
                is_seen = session.tenant is None or is_seen_by(session.tenant, news.tenant)
                session.pass_on(place, shown if is_seen else None)

    def _follows(self, session: Session, news: EntryNews) -> bool:
        """Tell whether this is a live session's next entry. If the session missed one, begin to catch up."""
        begins = not session.user_epoch and news.before == session.user_seq == 0
        if begins or (session.user_epoch == news.epoch and news.before == session.user_seq):
            return True
        if session.user_epoch != news.epoch or news.seq > session.user_seq:
            self.fall_behind(session)
        return False

    def fall_behind(self, session: Session) -> None:
        """Let a session read from the store what it has not been told."""
        session.behind = True
        if session.phase is Phase.LIVE:
            session.phase = Phase.REPLAYING
            self._spawn(self._replay_missed(session), "session-replay")

    def count(self, news: CountNews) -> None:
        """Tell a user's sessions of a changed count."""
        user = self.users.get(news.user_id)
        if user is None:
            return
        if news.version > user.version:
            user.version, user.own_unread, user.own_tenants = news.version, news.own, news.tenants
            self.waking.at(user.id, news.wake_ms)
        if news.feed_version > user.feed_version:
            feed = self._mirror.log
            user.feed_version = news.feed_version
            user.feed_unread = news.feed + feed.count_after(news.feed_seq, user.groups)
            user.feed_tenants = news.feed_tenants
            if feed.has_tenants:
                user.feed_tenants = Counter(news.feed_tenants) + feed.tenants_after(news.feed_seq, user.groups)
            user.feed_counted = max(news.feed_seq, feed.seq)
        user.tell_unread()

    def recalled(self, news: RecalledNews) -> None:
        """Tell a user's sessions that an own entry was taken back."""
        user = self.users.get(news.user_id)
        for session in user.sessions if user is not None else ():
            session.offer(frames.recalled(news.id))

    def feed_recalled(self, news: FeedRecalledNews) -> None:
        """Tell everybody concerned that a broadcast was taken back."""
        self._mirror.note_recalled({news.id: news.at_us})
        self._tell_recalled()

    def _tell_recalled(self) -> None:
        """Tell of the broadcasts of which it was not known before that they were taken back, and count again."""
        entries = self._mirror.take_recalled()
        concerned = [user for user in self.users.values() if any(entry.is_for(user.groups) for entry in entries)]
        for user in concerned:
            for entry in entries:
                for session in user.sessions:
                    if entry.is_for(user.groups, session.tenant):
                        session.offer(frames.recalled(entry.id))
        if concerned:
            self._spawn(self._count_again(concerned), "count-again")

    async def _count_again(self, users: Sequence[User]) -> None:
        """Read counts again, of some users at a time: which of them had read the broadcast stands in the store."""
        for start in range(0, len(users), _COUNTED_AT_ONCE):
            some = [user for user in users[start : start + _COUNTED_AT_ONCE] if user.sessions]
            await until_stored(lambda: asyncio.gather(*map(self.reload, some)))  # noqa: B023 - awaited here

    def feed(self, news: FeedNews) -> bool:
        """Tell everybody concerned of a broadcast; False when ``refresh_feed`` is needed first."""
        entries = self._mirror.take(news)
        if entries is None:
            return False
        self._broadcast(entries)
        return True

    async def refresh_feed(self) -> None:
        """Read from the store which broadcasts and which status were missed, and tell them."""
        epoch, status = self._mirror.log.epoch, self._mirror.status
        missed = await self._mirror.refresh()
        if epoch and epoch != self._mirror.log.epoch:
            log.warning("the feed's history begins anew")
            for session in self.sessions():
                self.fall_behind(session)
        else:
            self._broadcast(missed)
        self._tell_recalled()
        if self._mirror.status is not None and self._mirror.status != status:
            self._tell_all(frames.status(self._mirror.status))

    def status(self, news: StatusNews) -> None:
        """Tell everybody the system status, unless a later one is known."""
        if self._mirror.note_status(news.accepted_ms, news.text):
            self._tell_all(frames.status(news.text))

    def _tell_all(self, frame: Frame) -> None:
        for session in self.sessions():
            session.offer(frame)

    def _broadcast(self, entries: list[FeedEntry]) -> None:
        epoch = self._mirror.log.epoch
        for entry in entries:
            shown = LiveEntry(entry.seq, entry.key, with_read(entry.body, read=False).encode())
            for user in self.users.values():
                is_for = entry.is_for(user.groups)
                counts = is_for and entry.seq > user.feed_counted
                if counts:
                    user.feed_counted = entry.seq
                    user.feed_unread += 1
                    if entry.tenant is not None:
                        user.feed_tenants = Counter(user.feed_tenants) + Counter((entry.tenant,))
                for session in user.sessions:
                    if session.phase is not Phase.LIVE:
                        session.tell_unread()
                        continue
                    place = Cursor(session.user_epoch, session.user_seq, epoch, entry.seq)
                    is_seen = is_for and user.live and is_seen_by(session.tenant, entry.tenant)
                    session.pass_on(place, shown if is_seen else None)
                    if counts:
                        session.tell_unread()

    async def _replay_missed(self, session: Session) -> None:
        try:
            await session.written()
            await self._catch_up(session)
        except ConnectionError:
            # The task that reads the socket notices the end, too, and cleans up.
            log.debug("a client left during a replay")

    async def _catch_up(self, session: Session) -> None:
        """Replay until nothing is missing, then go live; quiet entries are passed over."""
        feed = self._mirror.log
        while session.phase is Phase.REPLAYING and (session.behind or session.feed_seq < feed.seq):
            place, user = session.place, session.user
            if session.behind:
                session.behind = False
                snapshot = await until_stored(lambda: self._inbox.after(user.id, place.user_seq))  # noqa: B023 - awaited here
            else:
                snapshot = Snapshot(epoch=place.user_epoch, seq=place.user_seq, feed_epoch=feed.epoch)
            stream = follow(place, snapshot, feed, user.groups, session.tenant)
            if stream is None:
                await session.replay([frames.GAP])
                stream = Stream(place, (), Cursor(snapshot.epoch, snapshot.seq, feed.epoch, feed.seq))
            missed = await until_stored(lambda: self._alerts.shown(stream.items))  # noqa: B023 - awaited here
            shown = [item for item in missed if not item.quiet and (user.live or not item.broadcast)]
            await session.replay(chain(map(frames.shown, shown), map(frames.recalled, snapshot.recalled)))
            session.place = stream.end
        session.go_live()

    def stands(self, user: User, position: InboxPosition) -> bool:
        """Compare a user with the store; True when more must be read with ``reload``."""
        snapshot = position.snapshot
        self._stands(user, snapshot)
        return (
            snapshot.version < user.version
            or snapshot.feed_version != user.feed_version
            or position.record_digest != user.record_digest
        )

    def moved(self, user_id: str, snapshot: Snapshot) -> None:
        """Take note of where a user's inbox stands now, after entries came back to it."""
        user = self.users.get(user_id)
        if user is not None:
            self._stands(user, snapshot)

    def _stands(self, user: User, snapshot: Snapshot) -> None:
        if snapshot.version > user.version:
            self._count_own(user, snapshot)
            user.tell_unread()
        self.waking.at(user.id, snapshot.wake_ms)
        for session in user.sessions:
            ahead = snapshot.epoch == session.user_epoch and snapshot.seq <= session.user_seq
            if session.phase is Phase.LIVE and snapshot.epoch and not ahead:
                self.fall_behind(session)

    async def reload(self, user: User, record_digest: str | None = None) -> None:
        """Read a user's record and counts again; sessions of a user who was deleted end."""
        version = user.version
        snapshot, person = await asyncio.gather(self._inbox.pending(user.id), self._directory.person(user.id))
        if person is None and await self._directory.deleted_at(user.id) is not None:
            for session in list(user.sessions):
                session.close(close_codes.UNAUTHENTICATED)
            return
        if snapshot.version < version:
            # The store lost its newest writes, and its versions began to grow from an earlier one.
            user.version = user.feed_version = -1
        self._describe(user, person, user.record_digest if record_digest is None else record_digest)
        self._count(user, snapshot)
        user.tell_unread()

    async def person(self, news: PersonNews) -> None:
        """Read a user's record again, if he has sessions here."""
        user = self.users.get(news.user_id)
        if user is not None:
            await self.reload(user)

    def _describe(self, user: User, person: Person | None, record_digest: str) -> None:
        user.groups = frozenset(person.groups) if person else frozenset()
        user.live = person is None or person.choice(Channel.REALTIME).on
        user.record_digest = record_digest

    def _count(self, user: User, snapshot: Snapshot) -> None:
        self.waking.at(user.id, snapshot.wake_ms)
        if snapshot.version >= user.version:
            self._count_own(user, snapshot)
        if snapshot.feed_version >= user.feed_version:
            feed = self._mirror.log
            user.feed_version = snapshot.feed_version
            user.feed_unread = feed_unread(snapshot, feed, user.groups)
            user.feed_tenants = feed_tenants(snapshot, feed, user.groups)
            user.feed_counted = feed.seq

    @staticmethod
    def _count_own(user: User, snapshot: Snapshot) -> None:
        user.version, user.own_unread, user.own_tenants = snapshot.version, snapshot.unread, snapshot.tenants
