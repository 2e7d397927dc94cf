"""The ledger: the one place that knows what was accepted and how each part of it ended.

Promises, through the scripts in ``shared/ledger/lua`` that each run atomically on one shard:

- a notification, its rows and their schedule are written together or not at all, and once per idempotency key;
- one worker holds a row at a time; a claim carries a token, and a finish with an older token is refused;
- a row ends once, in delivered, suppressed, expired or dead_lettered, and its record expires only after that;
- ``schedule`` hands over, to any caller, whatever is due, whatever a dead worker had claimed, and whatever waits;
- of each lane and priority about ``WINDOW_ROWS`` rows at most are handed over and not yet claimed. The others wait here
  for their turn, and the publishers take turns. A row that waits ends at its deadline like any other.

Every call may be repeated after StoreUnavailable. A call whose result somebody is told (accept, cancel, acknowledge,
resolve, note) is lasting, see ``shared.store.store``. If a claim or an outcome is lost with a master, it is made again.
The ledger does not talk to the broker: publishing jobs is the caller's work.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from redis.exceptions import ResponseError

from shared.core.channels import LANES
from shared.core.errors import Reason
from shared.core.incidents import Happened, Way, line
from shared.core.topics import PLAIN_PUBLISHER
from shared.ledger import told
from shared.ledger.alerts import Alerts
from shared.ledger.backlog import Backlog
from shared.ledger.claims import Claim, ClaimVerdict, Finish, Outcome
from shared.ledger.members import Members
from shared.ledger.new_records import NewRecord, counted, member_args, needs_args, part_args, row_args
from shared.ledger.rows import ATTEMPTS_KEPT, attempt_text, letter_of, spec_field, told_as
from shared.ledger.schedule import Schedule
from shared.store.keys import DEDUP_WINDOW_S, IDEMPOTENCY_WINDOW_S, PACKET_WINDOW_S, Keys, is_notification_id
from shared.store.replies import decoded, object_or_none, pairs, read_object
from shared.store.store import Store, each, load_script
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# People who are named as having seen one notification: a broadcast to everybody must not become a large record.
MOST_SEEN = 1000

# Parts of a fan-out that are cancelled in one exchange.
CANCELLED_AT_ONCE = 20

# The level of an alert, by its notification's priority.
ALERT_LEVELS = {"critical": "critical", "high": "warning", "normal": "info"}

_accept = load_script(__package__, "accept", "ledger")
_claim = load_script(__package__, "claim", "ledger")
_finish = load_script(__package__, "finish", "ledger")
_cancel = load_script(__package__, "cancel", "ledger")
_seen = load_script(__package__, "seen", "ledger")


class Verdict(StrEnum):
    """What became of a try to accept."""

    ACCEPTED = "accepted"
    GROUPED = "grouped"
    """It is a member of an open incident, which tells of it."""
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Named:
    """What a notification goes by.

    Attributes:
        public_id: the id that its publisher was told: that of the whole, where it is a part.
        events: its publisher is told of each later step.
    """

    public_id: str
    events: bool


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
        alerts: what is answered, and where alerts stand.
        members: of incidents that are told as a group.
        schedule: what is due, and what waits.
    """

    store: Store
    keys: Keys
    record_retention_s: int = 7 * 86400
    backlog: Backlog = field(default_factory=Backlog, repr=False, compare=False)
    alerts: Alerts = field(init=False, repr=False, compare=False)
    members: Members = field(init=False, repr=False, compare=False)
    schedule: Schedule = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.alerts = Alerts(self.store, self.keys, self.record_retention_s)
        self.members = Members(self.store, self.keys)
        self.schedule = Schedule(self.store, self.keys, self.record_retention_s, self.backlog)

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
            self.backlog.shard_rows,
            int(record.is_incident),
            "\n".join(record.says),
            told.packed(notification.id, told.own_names(record.idempotency_key, _key_of_alert(record))),
            told.packed(notification.id, told.names(new.row for new in record.rows)),
            *member_args(record.member),
            *needs_args(record.rows),
            *row_args(record.rows),
            lasting=True,
        )

    def accepted(self, record: NewRecord, answer: list[Any]) -> tuple[Verdict, str]:
        """Read the answer of ``submit_accept``: the verdict and the (first) notification's id.

        Which of its rows wait stands in them from now on.
        """
        verdict, notification_id, *waiting = answer
        self.backlog.written(notification_id.decode(), record.rows, waiting)
        return Verdict(verdict.decode()), notification_id.decode()

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
                    *rows[index], ClaimVerdict(verdict.decode()), token, attempt, bool(doubt), decoded(alert), failures,
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
            self.backlog.shard_rows,
            "\n".join(outcome.says),
            f"muted:{outcome.mutes}" if outcome.mutes else outcome.becomes or "",
            told.packed(claim.notification_id, told.names(new.row for new in outcome.then)),
            *needs_args(outcome.then),
            *counted(row_args(outcome.then)),
            *(part_args(outcome.part) if outcome.part else ()),
        )
        if isinstance(answer, bytes):
            return Finish(answer.decode())
        verdict, *waiting = answer
        new_rows = [*outcome.then, *(outcome.part.rows if outcome.part else ())]
        self.backlog.written(claim.notification_id, new_rows, waiting)
        return Finish(verdict.decode())

    async def kept(self, notification_id: str, name: str) -> str | None:
        """Return what a record keeps for its rows under this name (``NewRow.needs``); None when there is nothing."""
        record = f"{self.keys.shard_of(notification_id)}:n:{notification_id}"
        text = await self.store.command("HGET", record, name)
        return text.decode() if text is not None else None

    async def texts(self, notification_id: str, keys: Sequence[str]) -> list[tuple[bytes | None, bytes | None]]:
        """Return what the ledger holds of these rows: the notification's JSON text and the row's."""
        record = f"{self.keys.shard_of(notification_id)}:n:{notification_id}"
        content, *specs = await self.store.command("HMGET", record, "c", *map(spec_field, keys))
        return [(content, spec) for spec in specs]

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
        parts = [part.decode() for part in answer[2]]
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
                for _, _, _, *ended in answers
                for lane, spec in pairs(ended)
            ),
            sum(int(still_open) for _, still_open, *_ in answers),
            events=bool(read_object(answer[0]).get("events")),
        )

    async def parts(self, notification_id: str) -> list[str]:
        """Return the ids of the records into which a notification's fan-out was written, in their order."""
        found = await self.store.command("LRANGE", self.keys.parts_of(notification_id), 0, -1)
        return [part.decode() for part in found]

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


def _known_by(record: NewRecord) -> tuple[str, int, int]:
    """Return the key that is remembered, for how long in seconds, and whether it may be there already."""
    if record.idempotency_key:
        return f"idem:{record.idempotency_key}", IDEMPOTENCY_WINDOW_S, 1
    if record.packet:
        # Packet identifiers begin again: only the broker knows whether this one is the same publish.
        return f"packet:{record.packet}", PACKET_WINDOW_S, int(record.is_repeated)
    return "", 0, 0


def _key_of_alert(record: NewRecord) -> str:
    """Return the key by which an alert's publisher knows it; that of its group is none."""
    return record.dedup_key if record.member is None else record.member.key
