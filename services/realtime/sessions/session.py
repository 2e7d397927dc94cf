"""One open session: its place on the user's line, and its bounded queue to the socket.

Promises that frames leave in the order in which they were offered. Notifications that wait together are sorted by the
order of acceptance, and each has the cursor right behind it. If a client is too slow, its session is closed with
``TOO_SLOW`` before its queue fills the memory, and the client resumes from its cursor. An idle session has no task but
the one that reads its socket.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Protocol

from services.realtime.sessions import close_codes, frames
from services.realtime.sessions.frames import Frame
from shared.inbox.cursor import Cursor, cursors_behind
from shared.inbox.timeline import seen_of
from shared.mqtt.byte_budget import ByteBudget

log = logging.getLogger(__name__)

# The queue of a slow client, besides the socket's own buffer of 64 KiB: some seconds of heavy traffic.
QUEUE_FRAMES = 256
QUEUE_BYTES = 1024 * 1024

# The queues of all clients of a process together: more than a hundred full ones.
PROCESS_QUEUE_BYTES = 128 * 1024 * 1024

# What is written at a time: as much as the socket's own buffer takes, or one larger frame.
BATCH_BYTES = 64 * 1024

# While missed entries are replayed the client decides the pace, but one batch may not take longer than this.
REPLAY_BATCH_S = 20.0

_NONE: Mapping[str, int] = {}

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Sink(Protocol):
    """Where a session's frames go."""

    def send_now(self, frames: Sequence[Frame]) -> bool:
        """Send frames together; False if that would wait, and then none of them was sent."""
        ...

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames together, waiting while the client is slow.

        Raises:
            ConnectionError: the client is gone.
        """
        ...

    async def close(self, code: int) -> None:
        """Say goodbye and end the connection, in bounded time."""
        ...


class Phase(Enum):
    """What a session is doing."""

    REPLAYING = auto()
    LIVE = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class LiveEntry:
    """A notification to be shown, the same for all sessions; see ``shared.inbox.cursor.Entry``.

    Attributes:
        body: the notification's JSON with ``read``.
    """

    seq: int
    key: int
    body: bytes


class _Run:
    """Notifications that wait together.

    Attributes:
        start: the session's place before them; ``until`` is the one behind them.
    """

    __slots__ = ("_cursors", "entries", "start", "until")

    def __init__(self, start: Cursor) -> None:
        self.start = self.until = start
        self.entries: list[LiveEntry] = []
        self._cursors: list[Cursor] = []

    def take(self) -> tuple[Frame, int]:
        """Take the next notification: its frame, and the length of what was queued for it."""
        if not self._cursors:
            self._sort()
        body = self.entries.pop().body
        return frames.notification(body, self._cursors.pop()), len(body)

    def _sort(self) -> None:
        """Put the entry that is taken first at the end."""
        if len(self.entries) > 1:
            self.entries.sort(key=attrgetter("key"))
            self._cursors = cursors_behind(self.start, self.until, self.entries)[:-1]
            self.entries.reverse()
        # The last cursor is the session's place. It also covers entries that are not shown.
        self._cursors = [self.until, *reversed(self._cursors)]


class User:
    """What one process knows of a user who has sessions here, shared by them.

    Attributes:
        live: the preference for live notifications; read here for broadcasts.
        own_unread: as of ``version``; feed_unread: as of ``feed_version``, among entries up to ``feed_counted``.
        own_tenants, feed_tenants: how many of these belong to each tenant.
        record_digest: the state of the directory record that ``groups`` and ``live`` come from.
    """

    __slots__ = (
        "feed_counted", "feed_tenants", "feed_unread", "feed_version", "groups", "id", "live", "own_tenants",
        "own_unread", "record_digest", "sessions", "version",
    )  # fmt: skip

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.groups: frozenset[str] = frozenset()
        self.live = True
        self.own_unread = 0
        self.own_tenants: Mapping[str, int] = _NONE
        self.version = -1
        self.feed_unread = 0
        self.feed_tenants: Mapping[str, int] = _NONE
        self.feed_version = -1
        self.feed_counted = 0
        self.record_digest = ""
        self.sessions: list[Session] = []

    def unread(self, tenant: str | None) -> int:
        """Count unread entries, own and the feed's, that a token of one tenant (None: of all) shows."""
        own = seen_of(self.own_unread, self.own_tenants, tenant)
        return own + seen_of(self.feed_unread, self.feed_tenants, tenant)

    def tell_unread(self) -> None:
        """Tell every session the count."""
        for session in self.sessions:
            session.tell_unread()


class Session:
    """One open session.

    Attributes:
        behind: it may have missed own entries, which are then read from the store.
        focused: the client says that its user is looking.
        tenant: whose entries it shows beside nobody's; None for all.

    Args:
        room: of the queues of all clients of this process. While it is full, no frame waits for a slow client.
    """

    __slots__ = (
        "_queue", "_queued", "_queued_bytes", "_room", "_run", "_sink", "_spawn", "_taken_bytes", "_unread_due",
        "_write_due", "_writer", "behind", "expiry", "feed_epoch", "feed_seq", "focused", "id", "phase", "tenant",
        "user", "user_epoch", "user_seq",
    )  # fmt: skip

    def __init__(
        self, session_id: str, user: User, sink: Sink, spawn: Spawn, room: ByteBudget, *, tenant: str | None = None
    ) -> None:
        self._room = room
        self.tenant = tenant
        self.id = session_id
        self.user = user
        self.phase = Phase.REPLAYING
        self.behind = False
        self.focused = False
        self.expiry: asyncio.TimerHandle | None = None
        self.place = Cursor()
        self._sink = sink
        self._spawn = spawn
        self._queue: deque[Frame | _Run] | None = None
        self._queued = self._queued_bytes = self._taken_bytes = 0
        # The last item of the queue, while new entries may still be sorted into it.
        self._run: _Run | None = None
        self._unread_due = False
        self._write_due = False
        self._writer: asyncio.Task[None] | None = None

    @property
    def place(self) -> Cursor:
        """How far this session has been told."""
        return Cursor(self.user_epoch, self.user_seq, self.feed_epoch, self.feed_seq)

    @place.setter
    def place(self, cursor: Cursor) -> None:
        self.user_epoch, self.user_seq = cursor.user_epoch, cursor.user_seq
        self.feed_epoch, self.feed_seq = cursor.feed_epoch, cursor.feed_seq

    def offer(self, frame: Frame) -> None:
        """Send a frame soon, or close the session when too much waits already."""
        if self.phase is Phase.CLOSED:
            return
        self._close_run()
        self._wait_in_queue(frame)
        self._waits(frame.size_bytes)

    def pass_on(self, place: Cursor, entry: LiveEntry | None) -> None:
        """Move to the place right behind an entry, and show the entry; None for one that is not to be shown."""
        if entry is not None and self.phase is not Phase.CLOSED:
            if self._run is None:
                self._run = _Run(self.place)
                self._wait_in_queue(self._run)
            self._run.entries.append(entry)
            self.place = place
            self._waits(len(entry.body))
        else:
            self.place = place

    def _wait_in_queue(self, what: "Frame | _Run") -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(what)

    def _waits(self, size_bytes: int) -> None:
        """Count what was queued and start sending, or close the session if too much waits."""
        self._queued += 1
        self._queued_bytes += size_bytes
        self._room.take(size_bytes)
        if self._queued > QUEUE_FRAMES or self._queued_bytes > QUEUE_BYTES:
            self.close(close_codes.TOO_SLOW)
            return
        self._write_soon()
        if self._room.is_full:
            # Most of it may be one broadcast that is being offered to everybody. A client that takes it now stays.
            self._write()
            if self._queue:
                self.close(close_codes.TOO_SLOW)

    def _close_run(self) -> None:
        if self._run is not None:
            self._run.until, self._run = self.place, None

    def tell_unread(self) -> None:
        """Send the count soon. Several changes become one frame."""
        self._unread_due = True
        self._write_soon()

    def go_live(self) -> None:
        """Let waiting and later frames out: everything before them has been sent."""
        if self.phase is Phase.REPLAYING:
            self.phase = Phase.LIVE
            if self._queue or self._unread_due:
                self._write_soon()

    async def written(self) -> None:
        """Return when nothing waits to be written, so that a replay does not overtake it."""
        self._write()
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def replay(self, past: Iterable[Frame]) -> None:
        """Send frames of the past, at the client's pace.

        Raises:
            ConnectionError: the client is gone, or slower than any client is.
        """
        for batch in _batches(past):
            if self._sink.send_now(batch):
                continue
            try:
                async with asyncio.timeout(REPLAY_BATCH_S):
                    await self._sink.send(batch)
            except TimeoutError:
                self.close(close_codes.TOO_SLOW)
                raise ConnectionAbortedError from None

    def close(self, code: int) -> None:
        """End the session; nothing is sent any more but the close code."""
        if self.phase is Phase.CLOSED:
            return
        self.ended()
        self._spawn(self._sink.close(code), "session-close")

    def ended(self) -> None:
        """Take note that the connection is over."""
        self.phase = Phase.CLOSED
        self._forget_queue()
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        # A writer that waits for the client is not cancelled. aiohttp's writers wait for one shared future, so a
        # cancellation would stop the close frame, too. The writer ends with the connection.

    def _write_soon(self) -> None:
        """Write after this turn of the event loop, together with what is offered until then."""
        if self.phase is Phase.LIVE and not self._write_due and self._writer is None:
            self._write_due = True
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        """Write what is due. Only a client that does not take it at once costs a task."""
        if not self._write_due:
            return
        self._write_due = False
        while batch := self._take():
            if not self._sink.send_now(batch):
                self._writer = self._spawn(self._write_slowly(batch), "session-write")
                return
            self._give_room()

    async def _write_slowly(self, batch: Sequence[Frame]) -> None:
        try:
            while batch:
                try:
                    await self._sink.send(batch)
                finally:
                    self._give_room()
                batch = self._take()
        except ConnectionError:
            # The task that reads the socket notices the end, too, and cleans up.
            self._forget_queue()
        self._writer = None

    def _give_room(self) -> None:
        """Free the room of the frames that were taken last."""
        self._room.give(self._taken_bytes)
        self._taken_bytes = 0

    def _forget_queue(self) -> None:
        self._queue = self._run = None
        self._room.give(self._queued_bytes)
        self._queued_bytes = 0

    def _take(self) -> Sequence[Frame]:
        """Take what is written next, and the count after all frames; nothing from a session that is over."""
        batch: list[Frame] = []
        size_bytes = 0
        self._close_run()
        while self._queue and size_bytes < BATCH_BYTES:
            head = self._queue[0]
            frame, queued_bytes = head.take() if isinstance(head, _Run) else (head, head.size_bytes)
            if not isinstance(head, _Run) or not head.entries:
                self._queue.popleft()
            batch.append(frame)
            size_bytes += frame.size_bytes
            self._queued -= 1
            self._queued_bytes -= queued_bytes
            self._taken_bytes += queued_bytes
        if not self._queue:
            # An empty deque takes half a kilobyte, which matters with ten thousand idle sessions.
            self._queue = None
            if self._unread_due and self.phase is not Phase.CLOSED:
                self._unread_due = False
                batch.append(frames.unread(self.user.unread(self.tenant)))
                self._room.take(batch[-1].size_bytes)
                self._taken_bytes += batch[-1].size_bytes
        return batch


def _batches(sent: Iterable[Frame]) -> Iterator[Sequence[Frame]]:
    batch: list[Frame] = []
    size_bytes = 0
    for frame in sent:
        batch.append(frame)
        size_bytes += frame.size_bytes
        if size_bytes >= BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch
