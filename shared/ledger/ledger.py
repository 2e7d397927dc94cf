"""The ledger: the one place that knows what was accepted and how each part of it ended.

Promises, through the scripts in ``shared/ledger/lua`` that each run atomically on one shard:

- a notification, its rows and their schedule are written together or not at all, and once per idempotency key;
- one worker holds a row at a time; a claim carries a token, and a finish with an older token is refused;
- a row ends once, in delivered, suppressed, expired or dead_lettered, and its record expires only after that;
- ``sweep`` hands over, to any caller, whatever is due, whatever a dead worker had claimed, and whatever waits;
- of each lane and priority about ``WINDOW_ROWS`` rows at most are handed over and not yet claimed. The others wait here
  for their turn, and the publishers take turns. A row that waits ends at its deadline like any other.

Every call may be repeated after StoreUnavailable. A call whose result somebody is told (accept, cancel, acknowledge,
resolve, note) is lasting, see ``shared.store.store``. If a claim or an outcome is lost with a master, it is made again.
The ledger does not talk to the broker: publishing jobs is the caller's work.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import Any, Self

from redis.exceptions import ResponseError

from shared.core.errors import PROVIDER_AWAY, AttemptOutcome, Reason
from shared.core.incidents import Happened, Way, line
from shared.core.model import Channel, Notification, Priority, Row, State
from shared.core.topics import PLAIN_PUBLISHER
from shared.ledger import told
from shared.ledger.rows import ATTEMPTS_KEPT, attempt_text, is_readable, letter_of, spec_field, state_of, told_as
from shared.store.call_queue import type_of_arg
from shared.store.keys import (
    DEDUP_WINDOW_S,
    IDEMPOTENCY_WINDOW_S,
    PACKET_WINDOW_S,
    SHARDS,
    Keys,
    shard_of_id,
    shard_of_key,
)
from shared.store.replies import object_or_none, pairs, read_object
from shared.store.store import Store, each, load_script
from shared.telemetry import metrics

log = logging.getLogger(__name__)

ROUTER_LANE = "router"
LANES: tuple[str, ...] = (ROUTER_LANE, *(channel.value for channel in Channel))

# Rows of a lane and priority that are handed over and not yet claimed, over all shards; each has its part. Ten workers
# find work for the time between two sweeps. At a provider that takes some hundred in a second, nobody waits behind it
# for longer than a second or two.
WINDOW_ROWS = 512
SHARD_ROWS = WINDOW_ROWS // SHARDS
# If all shards together have less than this, those where something waits may have the rest beside their part: a fan-out
# stands on one shard alone.
SHARED_ROWS = WINDOW_ROWS // 2

# How long a freshly published job may take to be claimed before the sweeper publishes it again.
GRACE_MS = {Priority.LOW: 10_000, Priority.NORMAL: 5_000, Priority.HIGH: 3_000, Priority.CRITICAL: 2_000}

# Texts taken from one lane and shard in one round. All of them together fit a router's memory several times.
SWEPT_BYTES = 256 * 1024

PROBES_PER_SHARD = 1

# People who are named as having seen one notification: a broadcast to everybody must not become a large record.
MOST_SEEN = 1000

# How long a task of the router may take from its time on until it is given up: its rows have their own deadlines.
TASK_LIFETIME_MS = 7 * 24 * 3600 * 1000

# Retries are written by other processes, and may be due in a moment. What is in somebody's hands stands in the schedule
# with the end of its lease, so where nothing is planned for the next minute, no retry comes.
CALM_MS = 60_000

# Rows looked at in one call, so that a long backlog does not hold the store's single thread.
BROUGHT_FORWARD_AT_ONCE = 100
# Parts of a fan-out that are cancelled in one exchange.
CANCELLED_AT_ONCE = 20
# How far apart what is brought forward becomes due on one shard: over all of them some hundred in a second, so that
# a backlog does not take everything at once that others need.
BROUGHT_FORWARD_STEP_MS = 20
# A row that waits longer than this waits for another reason (``shared.delivery.retry``, ``.provider_health``).
_LONGEST_WAIT_MS = 310_000
# What waits for the end of a pause by hand may wait longer: it is brought forward then.
LONGEST_PAUSED_WAIT_S = 3600
_AWAY_OR_REFUSED_US = (
    *sorted(PROVIDER_AWAY), Reason.AUTH, Reason.QUOTA,
    # What waits with these was refused, and nobody knows whose fault it is.
    Reason.REJECTED, Reason.GONE, Reason.TOO_LARGE,
)  # fmt: skip

_accept = load_script(__package__, "accept", "ledger")
_claim = load_script(__package__, "claim", "ledger")
_finish = load_script(__package__, "finish", "ledger")
_due_lanes = load_script(__package__, "due_lanes", "ledger")
_sweep = load_script(__package__, "sweep", "ledger")
_quarantine = load_script(__package__, "quarantine", "ledger")
_bring_forward = load_script(__package__, "bring_forward", "ledger")
_cancel = load_script(__package__, "cancel", "ledger")
_answer_alert = load_script(__package__, "answer_alert", "ledger")
_resolve_member = load_script(__package__, "resolve_member", "ledger")
_seen = load_script(__package__, "seen", "ledger")
_recall = load_script(__package__, "recall", "ledger")
_open_work = load_script(__package__, "open_work", "ledger")


class AlertState(StrEnum):
    """Where an alert stands; the words are also the reasons with which its escalation ends."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Answered(StrEnum):
    """What came of answering an alert; true where it is answered now."""

    DONE = "done"
    AGAIN = "again"
    """It was so before."""
    OVER = "over"
    """It is resolved or cancelled, and stays so."""
    UNKNOWN = "unknown"
    NOT_TOLD = "not_told"
    """The person was not told of it."""
    FULL = "full"
    """Its timeline takes no note any more."""

    def __bool__(self) -> bool:
        return self in (Answered.DONE, Answered.AGAIN)


@dataclass(frozen=True, slots=True)
class AlertAnswer:
    """Where an alert stands, and who acknowledged it when; a resolved one still says so."""

    state: AlertState
    acknowledged_by: str | None = None
    acknowledged_ms: int | None = None


@dataclass(frozen=True, slots=True)
class MemberState:
    """A member of an incident that is told as a group.

    Attributes:
        first_ms: when it came first, milliseconds since 1970; ``last_ms``: the last time.
        number: in the order in which they came.
        said: as its publisher said it.
    """

    key: str
    id: str
    is_open: bool
    first_ms: int
    last_ms: int
    count: int
    number: int
    said: Mapping[str, Any]

    @classmethod
    def read(cls, key: bytes, text: bytes, said: bytes | None) -> Self | None:
        """Read what the store holds; None where that is damaged."""
        try:
            state, first, last, count, number, member_id = text.decode().split("|", 5)
            times = int(first), int(last), int(count), int(number)
            return cls(key.decode(), member_id, state == "open", *times, read_object(said))
        except ValueError:
            return None


# The level of an alert, by its notification's priority.
ALERT_LEVELS = {"critical": "critical", "high": "warning", "normal": "info"}

# What metrics call it that a notification has no category of the catalogue.
NO_POLICY = "none"


@dataclass(frozen=True, slots=True)
class Named:
    """What a notification goes by.

    Attributes:
        public_id: the id that its publisher was told: that of the whole, where it is a part.
        events: its publisher is told of each later step.
    """

    public_id: str
    events: bool


@dataclass(slots=True)
class NewRow:
    """A row to be written: pending, or (a suppression) ended from the start.

    Attributes:
        needs: what it refers to and other rows may share, by name: written beside it, into the record. See ``kept``.
        policy: of the category that planning went by, for metrics.
        waits: it is due, but was not handed over: a sweep does that when it has its turn.
        spec: the row's JSON, written once for the ledger and for its job.
    """

    row: Row
    state: State = State.PENDING
    reason: Reason = Reason.NONE
    needs: Mapping[str, str] = field(default_factory=dict)
    policy: str = NO_POLICY
    waits: bool = field(default=False, init=False)
    spec: str = field(init=False)

    def __post_init__(self) -> None:
        self.spec = self.row.written()


@dataclass(frozen=True, slots=True)
class NewMember:
    """An alert that becomes a member of the open incident with its group's key, if there is one.

    Attributes:
        key: of the alert itself: the same again is counted, and is no other member.
        said: what it says, as JSON; for messages about the group.
        row: is written in place of its own rows if it becomes a member of another one; ``GROUP_PLACE`` stands in it
            for the id of that.
    """

    key: str
    said: str
    row: NewRow


# Stands in a member's row for the id of the incident that it belongs to.
GROUP_PLACE = "@group"


@dataclass(slots=True)
class NewRecord:
    """A notification to be accepted, with its first rows.

    Attributes:
        fingerprint: tells another body under the same idempotency key.
        packet: names what the broker handed over, for a publish without an idempotency key.
        is_repeated: the broker may have handed it over before, under the same name.
        share: how often its publisher has its turn, where another one with a share of 1 has it once.
        is_incident: it has a timeline, and stands in the index until it is over.
        says: the first lines of its timeline, see ``shared.core.incidents``.
        member: of an alert that is told with others; ``dedup_key`` is that of its group then.
        content: the notification's JSON, written once for the ledger and for its jobs.
    """

    notification: Notification
    rows: Sequence[NewRow]
    fingerprint: str = ""
    idempotency_key: str = ""
    packet: str = ""
    is_repeated: bool = False
    dedup_key: str = ""
    alert: AlertState | None = None
    share: float = 1
    is_incident: bool = False
    says: Sequence[str] = ()
    member: NewMember | None = None
    content: str = field(init=False)

    def __post_init__(self) -> None:
        self.content = self.notification.written()


class Verdict(StrEnum):
    """What became of a try to accept."""

    ACCEPTED = "accepted"
    GROUPED = "grouped"
    """It is a member of an open incident, which tells of it."""
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class ClaimVerdict(StrEnum):
    """What became of a try to take a row, in the words of ``claim.lua``; only a claimed one is the caller's."""

    CLAIMED = "claimed"
    HELD = "held"
    """Somebody has it."""
    EARLY = "early"
    """Its time has not come."""
    ENDED = "ended"
    UNKNOWN = "unknown"
    """There is no such row."""
    # It ended just now: its deadline had passed, nobody wants it any more, or nobody can do it.
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    WORKER_DIED = "worker_died"
    UNREADABLE = "unreadable"


class RecallVerdict(IntEnum):
    """What became of a row that is to take back another one, in the numbers of ``recall.lua``."""

    NOTHING = 0
    """There is nothing to be taken back."""
    STANDS = 1
    """It was there before, or waits for the end of an attempt."""
    ADDED = 2
    """It is due."""


class Finish(StrEnum):
    """What became of an outcome that was to be written, in the words of ``finish.lua``."""

    FINISHED = "finished"
    STALE = "stale"
    """Somebody else holds the row now; nothing was written."""
    VOID = "void"
    """The notification was cancelled or its alert answered meanwhile: ``then`` and ``part`` were not added."""
    # It was to be tried again, and ended because nobody wants it any more.
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim; only with verdict ``claimed`` is the row the caller's.

    Attributes:
        attempt: the number of the attempt to be made, counted from 1.
        in_doubt: an earlier attempt may have arrived.
        alert: the alert's state, for the rows of an alert.
        failures: how many attempts have failed by an error of our own.
        refusals: how often a provider has refused it without anybody knowing whose fault that is.
        refused_for: for how long that has been so.
        is_mute: the incident was looked at before, and tells nobody for now.
    """

    notification_id: str
    key: str
    verdict: ClaimVerdict
    token: int = 0
    attempt: int = 0
    in_doubt: bool = False
    alert: str = ""
    failures: int = 0
    refusals: int = 0
    refused_for: timedelta = timedelta(0)
    is_mute: bool = False

    @property
    def delivery_id(self) -> str:
        """The name of the row in logs."""
        return f"{self.notification_id}/{self.key}"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a notification that stand in a record of their own, see ``Notification.part_of``.

    Attributes:
        notification: the part, with an id on the shard of the whole.
        is_shared: other parts may have the same people; whose row came first has it.
    """

    notification: Notification
    rows: Sequence[NewRow]
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: an end, or PENDING to be tried again after ``wait``.
        counts: False when no attempt was used up.
        in_doubt: the provider may have taken it.
        asked: the provider said how long to wait, so that it is not brought forward.
        refusals: what a later claim's ``refusals`` will be; None where this attempt says nothing about it.
        word: what came of the attempt, for history and metrics.
        then: rows that follow from a router's task; written together with its end.
        part: more of them, in a record of their own.
        guard: the alert state that ``then`` needs, with ``|`` and the incident's turn where that counts.
        becomes: the alert's state with ``then``; an incident that is opened again begins its next turn.
        mutes: of a row that is to be looked at again, what keeps its incident from telling.
        says: lines for the timeline of an incident.
    """

    state: State
    reason: Reason = Reason.NONE
    wait: timedelta = timedelta(0)
    counts: bool = True
    in_doubt: bool = False
    asked: bool = False
    refusals: int | None = None
    word: AttemptOutcome = AttemptOutcome.OK
    provider: str = ""
    provider_id: str | None = None
    detail: str = ""
    then: Sequence[NewRow] = ()
    part: Part | None = None
    guard: str = ""
    becomes: AlertState | None = None
    mutes: str = ""
    says: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DueRow:
    """A row to be published again; content and spec are the JSON texts as they were written.

    Attributes:
        wait_s: how long after the answer its time comes; a claim before would be refused as ``early``.
        is_lost: it was handed over before, and nobody claimed it in time.
    """

    notification_id: str
    key: str
    lane: str
    priority: Priority
    content: str
    spec: str
    wait_s: float = 0.0
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class EndedRow:
    """A row that a sweep ended: nobody wants it any more, its deadline has passed, or it cannot be read.

    Attributes:
        content: the notification's JSON text, perhaps damaged.
        spec: the row's JSON text, perhaps damaged.
    """

    notification_id: str
    key: str
    lane: str
    state: State
    reason: Reason
    content: bytes
    spec: bytes


@dataclass(slots=True)
class Swept:
    """What a sweep found.

    Attributes:
        failed: lanes and shards' base keys whose schedule could not be read.
        is_calm: nothing was found, and nothing comes within ``CALM_MS``.
    """

    due: list[DueRow] = field(default_factory=list)
    ended: list[EndedRow] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    is_calm: bool = False


class Backlog:
    """Where rows wait for room, as far as one process knows: lane and priority -> shards.

    Attributes:
        is_there: set while any are known.
        has_news: set when this process has written rows since it was cleared.
    """

    def __init__(self) -> None:
        self._shards: defaultdict[tuple[str, Priority], set[int]] = defaultdict(set)
        self.is_there = asyncio.Event()
        self.has_news = asyncio.Event()

    def add(self, lane: str, priority: Priority, shard: int) -> None:
        """Write down that something waits."""
        self._shards[lane, priority].add(shard)
        self.is_there.set()

    def found(self, lane: str, shard: int, waiting: Collection[Priority]) -> None:
        """Write down what a sweep has left waiting."""
        for priority in Priority:
            if priority in waiting:
                self.add(lane, priority, shard)
            else:
                self._shards[lane, priority].discard(shard)
        if not any(self._shards.values()):
            self.is_there.clear()

    def places(self, without: Collection[str]) -> dict[tuple[str, Priority], set[int]]:
        """Return where something waits, without these lanes."""
        return {
            (lane, priority): set(shards)
            for (lane, priority), shards in self._shards.items()
            if shards and lane not in without
        }


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What is not yet ended on one lane, over all shards."""

    count: int = 0
    oldest_age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancellation ended.

    Attributes:
        ended: of each row that ended now its lane, and by which channel it would have told whom.
        still_open: rows that are in somebody's hands, or were too many to end at once; those end when claimed.
        events: the publisher wanted to be told of each step.
    """

    ended: tuple[tuple[str, str, str | None], ...]
    still_open: int
    events: bool


@dataclass(slots=True)
class Ledger:
    """The ledger on one store.

    Args:
        record_retention_s: how long an ended notification can be traced.

    Attributes:
        backlog: what waits, as far as this process knows.
    """

    store: Store
    keys: Keys
    record_retention_s: int = 7 * 86400
    backlog: Backlog = field(default_factory=Backlog, repr=False, compare=False)

    async def accept(self, record: NewRecord) -> tuple[Verdict, str]:
        """Write a notification; see ``submit_accept``."""
        return self.accepted(record, await self.submit_accept(record))

    def submit_accept(self, record: NewRecord) -> "asyncio.Future[list[Any]]":
        """Send the write with the next round trip; read its answer with ``accepted``."""
        notification = record.notification
        return self.store.submit_script(
            _accept,
            self.keys.shard_of(notification.id),
            notification.id,
            record.content,
            record.fingerprint,
            *_known_by(record),
            record.dedup_key,
            DEDUP_WINDOW_S,
            record.alert or "",
            self.record_retention_s,
            notification.publisher or PLAIN_PUBLISHER,
            record.share,
            SHARD_ROWS,
            int(record.is_incident),
            "\n".join(record.says),
            told.packed(notification.id, told.own_names(record.idempotency_key, _key_of_alert(record))),
            told.packed(notification.id, told.names(new.row for new in record.rows)),
            *_member_args(record.member),
            *_needs_args(record.rows),
            *row_args(record.rows),
            lasting=True,
        )

    def accepted(self, record: NewRecord, answer: list[Any]) -> tuple[Verdict, str]:
        """Read the answer of ``submit_accept``: the verdict and the (first) notification's id.

        Which of its rows wait stands in them from now on.
        """
        verdict, notification_id, *waiting = answer
        self._note(notification_id.decode(), record.rows, waiting)
        return Verdict(verdict.decode()), notification_id.decode()

    def _note(self, notification_id: str, rows: Sequence[NewRow], waiting: Iterable[int]) -> None:
        """Write down which of the rows that were written now wait."""
        for number in waiting:
            new = rows[number]
            new.waits = True
            self.backlog.add(new.row.lane, new.row.priority, shard_of_id(notification_id))
        self.backlog.has_news.set()

    async def claim(self, rows: Sequence[tuple[str, str]], lease: timedelta) -> list[Claim]:
        """Take rows, given as (notification id, key), for one attempt each; answers in the same order."""
        by_shard: dict[str, list[int]] = {}
        for index, (notification_id, _) in enumerate(rows):
            by_shard.setdefault(self.keys.shard_of(notification_id), []).append(index)
        lease_ms = round(lease.total_seconds() * 1000)
        futures = [
            self.store.submit_script(
                _claim,
                base,
                lease_ms,
                self.record_retention_s,
                ATTEMPTS_KEPT,
                len(LANES),
                *LANES,
                *(part for index in indexes for part in rows[index]),
            )
            for base, indexes in by_shard.items()
        ]
        claims: dict[int, Claim] = {}
        for indexes, answer in zip(by_shard.values(), await each(futures), strict=True):
            if isinstance(answer, ResponseError):
                # A row that was claimed without an answer comes again when its lease has lapsed.
                log.error("rows could not be claimed", extra={"rows": len(indexes), "detail": str(answer)[:200]})
                claims |= {index: Claim(*rows[index], ClaimVerdict.UNKNOWN) for index in indexes}
                continue
            for index, (verdict, token, attempt, doubt, alert, *counts) in zip(indexes, answer, strict=True):
                failures, refusals, refused_ms, is_mute = map(int, counts)
                claims[index] = Claim(
                    *rows[index], ClaimVerdict(verdict.decode()), token, attempt, bool(doubt), _text(alert), failures,
                    refusals, timedelta(milliseconds=refused_ms), bool(is_mute),
                )  # fmt: skip
        return [claims[index] for index in range(len(rows))]

    async def finish(self, claim: Claim, outcome: Outcome) -> Finish:
        """Write an outcome."""
        history = attempt_text(
            outcome.provider, outcome.word, outcome.reason, outcome.provider_id or "", outcome.detail
        )
        answer: bytes | list[Any] = await self.store.script(
            _finish,
            self.keys.shard_of(claim.notification_id),
            claim.notification_id,
            claim.key,
            claim.token,
            letter_of(outcome.state),
            # While it waits; the attempt's own reason stands in its history.
            Reason.RATE_LIMITED if outcome.asked else outcome.reason,
            round(outcome.wait.total_seconds() * 1000),
            int(outcome.in_doubt),
            int(outcome.counts),
            history,
            ATTEMPTS_KEPT,
            self.record_retention_s,
            outcome.guard,
            # Most rows were never refused: nothing is to be taken back.
            "" if outcome.refusals is None or not outcome.refusals + claim.refusals else outcome.refusals,
            SHARD_ROWS,
            "\n".join(outcome.says),
            f"muted:{outcome.mutes}" if outcome.mutes else outcome.becomes or "",
            told.packed(claim.notification_id, told.names(new.row for new in outcome.then)),
            *_needs_args(outcome.then),
            *_counted(row_args(outcome.then)),
            *(_part_args(outcome.part) if outcome.part else ()),
        )
        if isinstance(answer, bytes):
            return Finish(answer.decode())
        verdict, *waiting = answer
        new_rows = [*outcome.then, *(outcome.part.rows if outcome.part else ())]
        self._note(claim.notification_id, new_rows, waiting)
        return Finish(verdict.decode())

    async def kept(self, notification_id: str, name: str) -> str | None:
        """Return what a record keeps for its rows under this name (``NewRow.needs``); None when there is nothing."""
        record = f"{self.keys.shard_of(notification_id)}:n:{notification_id}"
        text = await self.store.command("HGET", record, name)
        return text.decode() if text is not None else None

    async def sweep(self, most_per_shard: int, ahead: timedelta = timedelta(0), probed: Collection[str] = ()) -> Swept:
        """Hand over what is due and what waits on every lane and shard, so that many callers share the work.

        What nobody wants any more, what has passed its deadline and what cannot be read ends in the same step.

        Args:
            ahead: hand over also what will be due until then. The caller publishes each row when its time has come.
            probed: lanes whose jobs nobody takes at the moment. Of these ``PROBES_PER_SHARD`` rows are taken, to find
                out whether that is still so, and they do not wait longer from time to time as others do.
        """
        ahead_ms = round(ahead.total_seconds() * 1000)
        # Mostly there is nothing, and a sweeper looks all the time: so this is one command for each shard.
        shards = await self._shards_with(*(f"due:{lane}" for lane in LANES))
        bases = [self.keys.shard(shard) for shard in shards]
        found = await asyncio.gather(*(self.store.submit_script(_due_lanes, base, ahead_ms, *LANES) for base in bases))
        calls = [(lane.decode(), shard) for shard, (_, *lanes) in zip(shards, found, strict=True) for lane in lanes]
        swept = await self._sweep(calls, most_per_shard, ahead_ms, probed, {})
        swept.is_calm = not calls and all(not 0 <= soonest_ms < CALM_MS for soonest_ms, *_ in found)
        return swept

    async def refill(self, most_per_shard: int, without: Collection[str] = ()) -> Swept:
        """Hand over what waits, where this process knows of it, as far as there is room.

        Args:
            without: lanes whose jobs nobody takes at the moment.
        """
        windows = await self._windows(self.backlog.places(without))
        return await self._sweep(list(windows), most_per_shard, 0, (), windows)

    async def _windows(
        self, places: Mapping[tuple[str, Priority], Collection[int]]
    ) -> dict[tuple[str, int], dict[Priority, int]]:
        """Return how many rows of each priority a lane and shard where something waits may have handed over.

        Each shard has its part. What all of them leave free is divided among those where something waits.
        """
        asked = [
            self.store.submit("ZCARD", f"{self.keys.shard(shard)}:out:{lane}:{priority}")
            for lane, priority in places
            for shard in range(SHARDS)
        ]
        sizes = await asyncio.gather(*asked)
        windows: defaultdict[tuple[str, int], dict[Priority, int]] = defaultdict(dict)
        for index, ((lane, priority), shards) in enumerate(places.items()):
            handed_over = sizes[index * SHARDS : (index + 1) * SHARDS]
            free = max(0, SHARED_ROWS - sum(handed_over)) // len(shards)
            for shard in shards:
                windows[lane, shard][priority] = max(SHARD_ROWS, handed_over[shard] + free)
        return windows

    async def take_turn(self, what: str, for_ms: int) -> bool:
        """Tell whether nobody has had this turn for so long; then it is the caller's.

        So where each router would do the same, one of them does it, and all cost what one costs.
        """
        return bool(await self.store.command("SET", f"{self.keys.slots}:{what}", "", "NX", "PX", for_ms))

    async def _shards_with(self, *names: str) -> list[int]:
        """Return the shards on which one of these keys exists."""
        bases = [self.keys.shard(shard) for shard in range(SHARDS)]
        asked = [self.store.submit("EXISTS", *(f"{base}:{name}" for name in names)) for base in bases]
        return [shard for shard, count in enumerate(await asyncio.gather(*asked)) if count]

    async def _sweep(
        self,
        calls: Sequence[tuple[str, int]],
        most_per_shard: int,
        ahead_ms: int,
        probed: Collection[str],
        windows: Mapping[tuple[str, int], Mapping[Priority, int]],
    ) -> Swept:
        graces = [GRACE_MS[priority] for priority in Priority]
        futures = [
            self.store.submit_script(
                _sweep,
                self.keys.shard(shard),
                lane,
                PROBES_PER_SHARD if lane in probed else most_per_shard,
                ahead_ms,
                int(lane in probed),
                self.record_retention_s,
                *graces,
                SWEPT_BYTES,
                *(windows.get((lane, shard), {}).get(priority, SHARD_ROWS) for priority in Priority),
                ATTEMPTS_KEPT,
            )
            for lane, shard in calls
        ]
        swept = Swept()
        garbled: defaultdict[tuple[str, str], list[EndedRow]] = defaultdict(list)
        for (lane, shard), answer in zip(calls, await each(futures), strict=True):
            base = self.keys.shard(shard)
            if isinstance(answer, ResponseError):
                swept.failed.append((lane, base))
                self.backlog.found(lane, shard, ())
                continue
            rows, ends, waiting = answer
            self.backlog.found(lane, shard, [Priority(priority.decode()) for priority in waiting])
            content = b""
            for notification_id, key, priority, own_content, spec, wait_ms, is_lost in rows:
                # Rows of one notification mostly come together, and their texts once.
                content = own_content or content
                named = _text(notification_id), _text(key)
                if is_readable(*named, lane, content, spec):
                    urgency, texts = Priority(priority.decode()), (content.decode(), spec.decode())
                    swept.due.append(DueRow(*named, lane, urgency, *texts, wait_ms / 1000, bool(is_lost)))
                else:
                    unread = EndedRow(*named, lane, State.DEAD_LETTERED, Reason.UNREADABLE, content, spec)
                    garbled[lane, base].append(unread)
            for notification_id, key, letter, reason, content, spec in ends:
                named = _text(notification_id), _text(key)
                swept.ended.append(EndedRow(*named, lane, state_of(letter), Reason(reason.decode()), content, spec))
        for (lane, base), unreads in garbled.items():
            named_rows = [(row.notification_id, row.key) for row in unreads]
            put_away = await self._quarantine(lane, base, named_rows)
            swept.ended.extend(row for row, is_put_away in zip(unreads, put_away, strict=True) if is_put_away)
        return swept

    async def quarantine(self, lane: str, rows: Sequence[tuple[str, str]]) -> int:
        """Make dead letters of one notification's rows that cannot be read; return how many."""
        return sum(await self._quarantine(lane, self.keys.shard_of(rows[0][0]), rows))

    async def _quarantine(self, lane: str, base: str, rows: Sequence[tuple[str, str]]) -> list[int]:
        arguments = [part.encode(errors="surrogateescape") for row in rows for part in row]
        answer: list[int] = await self.store.script(_quarantine, base, lane, self.record_retention_s, *arguments)
        return answer

    async def texts(self, notification_id: str, keys: Sequence[str]) -> list[tuple[bytes | None, bytes | None]]:
        """Return what the ledger holds of these rows: the notification's JSON text and the row's."""
        record = f"{self.keys.shard_of(notification_id)}:n:{notification_id}"
        content, *specs = await self.store.command("HMGET", record, "c", *map(spec_field, keys))
        return [(content, spec) for spec in specs]

    async def bring_forward(self, lane: str) -> int:
        """Make due what waits because its provider was away or refused us, spread over a while; return how many."""
        bases = map(self.keys.shard, range(SHARDS))
        asked = (self._bring_forward(lane, base, _LONGEST_WAIT_MS, _AWAY_OR_REFUSED_US) for base in bases)
        return sum(await asyncio.gather(*asked))

    async def bring_forward_paused(self, lane: str) -> int:
        """Make due what waits because its providers were paused by hand, the critical ones first; return how many.

        One shard after the other: there may be very much of it, and others use the store meanwhile.
        """
        # Of those that were to look at the end of the pause, some look a little after it.
        within_ms = (LONGEST_PAUSED_WAIT_S + 60) * 1000
        moved = dict.fromkeys(map(self.keys.shard, range(SHARDS)), 0)
        for priority in (Priority.CRITICAL, None):
            for base, before in moved.items():
                moved[base] = await self._bring_forward(
                    lane, base, within_ms, (Reason.PAUSED,), priority=priority, moved=before
                )
        return sum(moved.values())

    async def _bring_forward(
        self,
        lane: str,
        base: str,
        within_ms: int,
        reasons: Sequence[Reason],
        *,
        priority: Priority | None = None,
        moved: int = 0,
    ) -> int:
        from_ms: bytes = b""
        seen: int = 0
        while True:
            from_ms, seen, moved = await self.store.script(
                _bring_forward, base, lane, from_ms, seen, within_ms, BROUGHT_FORWARD_AT_ONCE, moved,
                BROUGHT_FORWARD_STEP_MS, priority or "", *reasons,
            )  # fmt: skip
            if not from_ms:
                return moved

    async def cancel(self, notification_id: str, *, recall_until_ms: int | None = None) -> Cancelled | None:
        """End what has not left yet; None when there is no such notification.

        Args:
            recall_until_ms: mark it as recalled, too, and keep it for what is taken back until then; see
                ``shared.ledger.recalling``.
        """
        try:
            base = self.keys.shard_of(notification_id)
        except ValueError:
            return None
        until = "" if recall_until_ms is None else recall_until_ms
        answer = await self.store.script(_cancel, base, notification_id, self.record_retention_s, until, lasting=True)
        if answer[0] == b"unknown":
            return None
        # After the mark no part is added any more.
        parts = await self.parts(notification_id)
        answers = [answer]
        for start in range(0, len(parts), CANCELLED_AT_ONCE):
            some = [
                self.store.submit_script(_cancel, base, part, self.record_retention_s, until, lasting=True)
                for part in parts[start : start + CANCELLED_AT_ONCE]
            ]
            answers += [found for found in await asyncio.gather(*some) if found[0] != b"unknown"]
        return Cancelled(
            tuple(
                (lane.decode(), *told_as(lane.decode(), spec))
                for _, _, *ended in answers
                for lane, spec in pairs(ended)
            ),
            sum(int(still_open) for _, still_open, *_ in answers),
            events=bool(read_object(answer[0]).get("events")),
        )

    async def add_recalls(self, record_id: str, rows: Sequence[NewRow]) -> list[RecallVerdict]:
        """Add rows to a record that take back others of it, each once; see ``shared.ledger.recalling``.

        Which of them wait stands in them from now on.
        """
        answer = await self.store.script(
            _recall, self.keys.shard_of(record_id), record_id, self.record_retention_s, ATTEMPTS_KEPT, SHARD_ROWS,
            *row_args(rows), lasting=True,
        )  # fmt: skip
        if answer[0] == b"unknown":
            return [RecallVerdict.NOTHING] * len(rows)
        verdicts, waiting = answer
        self._note(record_id, rows, waiting)
        return [RecallVerdict(verdict) for verdict in verdicts]

    async def parts(self, notification_id: str) -> list[str]:
        """Return the ids of the records into which a notification's fan-out was written, in their order."""
        found = await self.store.command("LRANGE", self.keys.parts_of(notification_id), 0, -1)
        return [part.decode() for part in found]

    async def acknowledge(
        self, alert_id: str, user_id: str, note: str = "", *, must_be_told: bool = False, way: Way | None = None
    ) -> Answered:
        """Write that a person has seen an alert and takes it; ends its escalation and what has not left yet.

        Args:
            must_be_told: refuse a person whom the alert was not sent to; see also ``shared.ledger.answering``.
            way: by which the answer came.
        """
        return await self._answer_alert(alert_id, Happened.ACKNOWLEDGED, user_id, note, told=must_be_told, way=way)

    async def snooze(
        self, alert_id: str, user_id: str, until_ms: int, note: str = "", *, must_be_told: bool, way: Way | None
    ) -> Answered:
        """Write that a person puts an alert away until a time, milliseconds since 1970; then it is open again."""
        return await self._answer_alert(
            alert_id, Happened.SNOOZED, user_id, note, told=must_be_told, way=way, until_ms=until_ms
        )

    async def reassign(
        self, alert_id: str, user_id: str, to: str, note: str = "", *, must_be_told: bool, way: Way | None
    ) -> Answered:
        """Write that a person hands an alert on to others: its escalation begins anew, with them.

        Args:
            to: a target as policies name it, such as ``user:bob``.
        """
        return await self._answer_alert(alert_id, Happened.REASSIGNED, user_id, note, told=must_be_told, way=way, to=to)

    async def note(self, alert_id: str, user_id: str, note: str, *, must_be_told: bool, way: Way | None) -> Answered:
        """Write something down in the timeline of an incident, open or over; nothing else changes."""
        return await self._answer_alert(alert_id, Happened.NOTED, user_id, note, told=must_be_told, way=way)

    async def publisher_of(self, notification_id: str) -> str | None:
        """Return who published a notification; None where there is no such notification, or it cannot be read."""
        content = await self._content(notification_id)
        if content is None:
            return None
        publisher = content.get("publisher", PLAIN_PUBLISHER)
        return publisher if isinstance(publisher, str) else None

    async def named(self, notification_id: str) -> Named | None:
        """Return what a notification goes by; None where there is no such notification (any more)."""
        content = await self._content(notification_id)
        if content is None:
            return None
        return Named(str(content.get("part_of") or notification_id), content.get("events") is True)

    async def _content(self, notification_id: str) -> dict[str, Any] | None:
        if not is_notification_id(notification_id):
            return None
        record = f"{self.keys.shard_of(notification_id)}:n:{notification_id}"
        try:
            return object_or_none(await self.store.command("HGET", record, "c"))
        except ResponseError:
            # Something else stands there.
            return None

    async def resolve(
        self, alert_id: str, note: str = "", *, by: str = "", must_be_told: bool = False, way: Way | None = None
    ) -> Answered:
        """Write that an alert is over; who acknowledged it stays written.

        Args:
            by: the person, or the publisher, who says so.
        """
        return await self._answer_alert(alert_id, Happened.RESOLVED, by, note, told=must_be_told, way=way)

    async def resolve_member(
        self, incident_key: str, member_key: str, way: Way | None, *, starts_ms: int = 0, note: str = ""
    ) -> tuple[Answered, str]:
        """Write that the alert with these keys is over, as its publisher says.

        Args:
            starts_ms: since when it was so, milliseconds since 1970; one that began later is another one. 0 for
                whichever is open.

        Returns:
            ``UNKNOWN`` where none is open; else also the id of the incident, which is over itself if the answer is
            ``OVER``: the caller is to resolve it.
        """
        base = self.keys.shard(shard_of_key(incident_key))
        said = line(Happened.MEMBER_RESOLVED, way=way, note=note)
        verdict, incident_id = await self.store.script(
            _resolve_member, base, incident_key, member_key, said, starts_ms, lasting=True
        )
        return Answered(verdict.decode()), incident_id.decode()

    async def members(self, incident_id: str) -> list[MemberState]:
        """Return the members of an incident that is told as a group, the oldest first."""
        base = self.keys.shard_of(incident_id)
        states, said = await asyncio.gather(
            self.store.submit("HGETALL", f"{base}:alerts:{incident_id}"),
            self.store.submit("HGETALL", f"{base}:alerts_said:{incident_id}"),
        )
        texts = dict(pairs(said))
        found = [MemberState.read(key, text, texts.get(key)) for key, text in pairs(states)]
        return sorted((each for each in found if each is not None), key=lambda each: (each.first_ms, each.id))

    async def members_added(self, incident_id: str) -> int:
        """Return the number of the last that became a member of an incident."""
        count = await self.kept(incident_id, "members_added")
        return int(count) if count is not None and count.isdigit() else 0

    async def seen(self, notification_id: str, user_id: str) -> bool:
        """Write down that a person has seen a notification in the inbox: once for each, and for ``MOST_SEEN`` people.

        Returns:
            Whether it is written now into the timeline of an incident.
        """
        try:
            base = self.keys.shard_of(notification_id)
        except ValueError:
            return False
        said = line(Happened.SEEN, by=user_id, way=Way.INBOX)
        is_new, *times = await self.store.script(_seen, base, notification_id, user_id, said, MOST_SEEN)
        if is_new:
            waited_ms, priority = times
            level = ALERT_LEVELS.get(priority.decode())
            if waited_ms >= 0 and level is not None:
                metrics.alert_seen.labels(level).observe(waited_ms / 1000)
        return bool(is_new)

    async def seen_at(self, alert_id: str, user_id: str) -> int | None:
        """Return when a person has seen an alert, milliseconds since 1970; None where nobody knows."""
        text = await self.kept(alert_id, f"v:{user_id}")
        return int(text) if text is not None and text.isdigit() else None

    async def alert_states(self, alert_ids: Sequence[str]) -> list[AlertState | None]:
        """Tell where alerts stand, in their order; None for one that was cancelled, or is not there (any more)."""
        keys = [f"{self.keys.shard_of(each)}:n:{each}" if is_notification_id(each) else None for each in alert_ids]
        asked = [self.store.submit("HMGET", key, "alert", "cancelled") for key in keys if key is not None]
        found = iter(await each(asked))
        return [None if key is None else _alert_of(next(found)) for key in keys]

    async def open_alerts(self, dedup_keys: Collection[str]) -> frozenset[str]:
        """Return those dedup keys under which an alert stands that is not resolved: the next one is a duplicate."""
        keys = list(dedup_keys)
        asked = [self.store.submit("GET", f"{self.keys.shard(shard_of_key(key))}:alert:{key}") for key in keys]
        ids = [found.decode() if isinstance(found, bytes) else "" for found in await each(asked)]
        states = await self.alert_states(ids)
        over = (None, AlertState.RESOLVED)
        return frozenset(key for key, state in zip(keys, states, strict=True) if state not in over)

    async def alert_answers(self, alert_ids: Sequence[str]) -> list[AlertAnswer | None]:
        """Tell where alerts stand and who took them, in their order; None as for ``alert_states``."""
        states, found = await asyncio.gather(
            self.alert_states(alert_ids),
            asyncio.gather(
                *(
                    self.store.submit("HMGET", f"{self.keys.shard_of(each)}:n:{each}", *_ACKNOWLEDGED_FIELDS)
                    for each in alert_ids
                )
            ),
        )
        return [_alert_answer(state, *fields) for state, fields in zip(states, found, strict=True)]

    async def _answer_alert(
        self,
        alert_id: str,
        what: Happened,
        user_id: str,
        note: str,
        *,
        told: bool,
        way: Way | None,
        until_ms: int = 0,
        to: str = "",
    ) -> Answered:
        try:
            base = self.keys.shard_of(alert_id)
        except ValueError:
            return Answered.UNKNOWN
        said = line(what, by=user_id or None, way=way, note=note, until=until_ms or None, to=to or None)
        answer = await self.store.script(
            _answer_alert, base, alert_id, what, user_id, note, self.record_retention_s, user_id if told else "",
            said, until_ms, to, TASK_LIFETIME_MS, lasting=True,
        )  # fmt: skip
        return Answered(answer.decode())

    async def open_work_lately(self, within_ms: int) -> dict[str, OpenWork]:
        """Return what some caller has counted so lately, or count it."""
        kept = f"{self.keys.slots}:open_work"
        if not await self.take_turn("counted", within_ms):
            found = read_object(await self.store.command("GET", kept) or b"")
            if found:
                return {lane: OpenWork(*counts) for lane, counts in found.items()}
        work = await self.open_work()
        text = json.dumps({lane: (of_lane.count, of_lane.oldest_age_s) for lane, of_lane in work.items()})
        await self.store.command("SET", kept, text, "PX", 10 * within_ms)
        return work

    async def open_work(self) -> dict[str, OpenWork]:
        """Count what is open on each lane, and the age of the oldest."""
        shards = await self._shards_with(*(f"{name}:{lane}" for name in ("due", "age") for lane in LANES))
        futures = [self.store.submit_script(_open_work, self.keys.shard(shard), *LANES) for shard in shards]
        total = dict.fromkeys(LANES, OpenWork())
        for answer in await each(futures):
            # Of a shard whose counters are damaged the audit tells.
            counts = [] if isinstance(answer, ResponseError) else zip(LANES, answer, strict=True)
            for lane, (count, age_ms) in counts:
                before = total[lane]
                age_s = age_ms / 1000 if count else 0.0
                total[lane] = OpenWork(before.count + count, max(before.oldest_age_s, age_s))
        return total


def alert_state(text: bytes | None) -> AlertState | None:
    """Read where an alert stands; None where there is none, or another word."""
    known = {state.value.encode(): state for state in AlertState}
    return known.get(text) if text else None


def _alert_of(found: Sequence[bytes | None] | ResponseError) -> AlertState | None:
    if isinstance(found, ResponseError):
        return None
    text, cancelled = found
    state = alert_state(text)
    return None if cancelled and state is AlertState.OPEN else state


def _text(name: bytes) -> str:
    """Decode a name that may hold any bytes, so that encoding it again gives the same bytes."""
    return name.decode(errors="surrogateescape")


def _known_by(record: NewRecord) -> tuple[str, int, int]:
    """Return the key that is remembered, for how long in seconds, and whether it may be there already."""
    if record.idempotency_key:
        return f"idem:{record.idempotency_key}", IDEMPOTENCY_WINDOW_S, 1
    if record.packet:
        # Packet identifiers begin again: only the broker knows whether this one is the same publish.
        return f"packet:{record.packet}", PACKET_WINDOW_S, int(record.is_repeated)
    return "", 0, 0


# Who acknowledged an alert; the last two are what an earlier release wrote of whatever answer came last.
_ACKNOWLEDGED_FIELDS = ("acknowledged_by", "acknowledged_at", "alert_by", "alert_at")


def _alert_answer(
    state: AlertState | None, by: bytes | None, at: bytes | None, old_by: bytes | None, old_at: bytes | None
) -> AlertAnswer | None:
    if state is None:
        return None
    if at is None and state is AlertState.ACKNOWLEDGED:
        by, at = old_by, old_at
    return AlertAnswer(state, by.decode() if by else None, int(at) if at else None)


def is_notification_id(text: str) -> bool:
    """Tell whether this could be an id of ours."""
    try:
        shard_of_id(text)
    except ValueError:
        return False
    return True


def _counted(args: list[str | int]) -> list[str | int]:
    return [len(args), *args]


def _part_args(part: Part) -> list[type_of_arg]:
    until_ms = max((new.row.expires_ms for new in part.rows), default=0)
    notification = part.notification
    names = told.packed(notification.id, told.names(new.row for new in part.rows))
    return [notification.id, notification.written(), until_ms, int(part.is_shared), names, *row_args(part.rows)]


def _key_of_alert(record: NewRecord) -> str:
    """Return the key by which an alert's publisher knows it; that of its group is none."""
    return record.dedup_key if record.member is None else record.member.key


def _member_args(member: NewMember | None) -> list[str | int]:
    """Write how many arguments follow, then the member's key, what it says, and its row."""
    return [0] if member is None else _counted([member.key, member.said, *row_args([member.row])])


def _needs_args(rows: Iterable[NewRow]) -> list[str | int]:
    """Write how many arguments follow, then names and values."""
    needs = {name: text for new in rows for name, text in new.needs.items()}
    return [2 * len(needs), *(part for pair in needs.items() for part in pair)]


def row_args(rows: Iterable[NewRow]) -> list[str | int]:
    """Write rows as ``add_rows`` in ``shared/ledger/lua/ledger.lua`` reads them."""
    args: list[str | int] = []
    for new in rows:
        row = new.row
        args += (
            row.lane,
            row.key,
            row.priority,
            letter_of(new.state),
            new.reason,
            row.due_ms,
            row.expires_ms,
            GRACE_MS[row.priority],
            new.spec,
        )
    return args
