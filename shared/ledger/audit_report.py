"""The result of an audit: the accounts of each lane, and what is wrong.

This equation holds for each minute, for each channel and for the router's own lane:

    accepted = delivered + suppressed + expired + dead_lettered + open

A minute is the one in which a row first became due. For the items of digests this one holds, for each channel and since
the beginning:

    came in = left with a digest + taken out + waiting

Taken out is what is not told: it was cancelled before the digest was closed, or the digest was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What is wrong: the accounts are broken, or (the last three) work is overdue."""

    TALLY = "tally"
    """The counters of a minute contradict each other."""
    SCHEDULE = "schedule"
    """The schedule's entries are not the open rows: nobody will look at some row again."""
    ROWS = "rows"
    """The counters of a minute say something else than the rows in the records."""
    MISSING = "missing"
    """A notification's record is gone before its time."""
    OPEN_COUNT = "open_count"
    """A record miscounts its open rows, so it expires too early or never."""
    EXPIRING = "expiring"
    """A record will be forgotten although something in it is open."""
    UNREADABLE = "unreadable"
    """A record, or a row in it, cannot be read; a sweep puts such a row away when it is due."""
    DIGEST = "digest"
    """What came into digests is not what left them, was taken out or waits in the open ones."""
    UNSWEPT = "unswept"
    """Rows were due long ago, and no router has taken them up."""
    LEASE_LAPSED = "lease_lapsed"
    """A worker died long ago with rows in its hands, and nobody has claimed them since."""
    PAST_EXPIRY = "past_expiry"
    """Rows are open long after their deadline, because nobody claims them."""

    @property
    def is_overdue(self) -> bool:
        """Tell whether this is work that waits too long, and not a broken account."""
        return self in (Kind.UNSWEPT, Kind.LEASE_LAPSED, Kind.PAST_EXPIRY)


@dataclass(frozen=True, slots=True)
class Accounts:
    """How many rows were accepted, and where they stand now."""

    accepted: int = 0
    delivered: int = 0
    suppressed: int = 0
    expired: int = 0
    dead_lettered: int = 0
    open: int = 0

    def __add__(self, other: "Accounts") -> "Accounts":
        """Add two accounts, number by number."""
        return Accounts(*(mine + others for mine, others in zip(self.numbers, other.numbers, strict=True)))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in the order of ``ACCOUNT_WORDS``."""
        return (self.accepted, self.delivered, self.suppressed, self.expired, self.dead_lettered, self.open)

    @property
    def named(self) -> dict[str, int]:
        """The numbers by their words."""
        return dict(zip(ACCOUNT_WORDS, self.numbers, strict=True))

    @property
    def difference(self) -> int:
        """Accepted rows that have no state; below 0, rows with a state that were never accepted."""
        accepted, *stand = self.numbers
        return accepted - sum(stand)


ACCOUNT_WORDS = tuple(each.name for each in fields(Accounts))


@dataclass(frozen=True, slots=True)
class ItemAccounts:
    """How many items came into digests, and what became of them.

    Attributes:
        left: with a digest that was closed.
        digests: how many are open.
    """

    came_in: int = 0
    left: int = 0
    taken_out: int = 0
    waiting: int = 0
    digests: int = 0

    def __add__(self, other: "ItemAccounts") -> "ItemAccounts":
        """Add two accounts, number by number."""
        mine, others = self.named.values(), other.named.values()
        return ItemAccounts(*(one + another for one, another in zip(mine, others, strict=True)))

    @property
    def named(self) -> dict[str, int]:
        """The numbers by their words."""
        return asdict(self)

    @property
    def difference(self) -> int:
        """Items that came in and are nowhere; below 0, items that are somewhere and never came in."""
        return self.came_in - self.left - self.taken_out - self.waiting


ITEM_WORDS = tuple(each.name for each in fields(ItemAccounts))


# How many notifications a finding names, about; at most twice as many.
IDS_NAMED = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        lane: a channel, or ``router``, to which notifications as a whole belong.
        count: how many rows (or, of a record's fault, records) are concerned.
        minute: when the rows first became due; of overdue work, when the oldest should have been dealt with; None
            where that cannot be told.
        numbers: what was compared, by its words.
        notification_ids: whose, as far as it is known, and of many only some. For an operator's eyes, never for a log
            or a metric.
    """

    kind: Kind
    lane: str
    count: int
    minute: datetime | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    notification_ids: frozenset[str] = frozenset()

    def __add__(self, other: "Finding") -> "Finding":
        """Join what two shards know of the same thing."""
        minutes = [minute for minute in (self.minute, other.minute) if minute is not None]
        words = {**self.numbers, **other.numbers}
        enough = len(self.notification_ids) >= IDS_NAMED
        return Finding(
            self.kind,
            self.lane,
            self.count + other.count,
            min(minutes, default=None),
            {word: self.numbers.get(word, 0) + other.numbers.get(word, 0) for word in words},
            self.notification_ids if enough else self.notification_ids | other.notification_ids,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one audit.

    Attributes:
        since: the begin of the first minute whose counters were read.
        until: the store's clock at the begin of the audit.
        accounts: for each lane, of all these minutes together.
        open_rows: how many there are; ``open_rows_seen`` of them were looked at one by one.
        records_seen: notifications whose rows were counted one by one.
        items: the accounts of digests for each channel.
    """

    since: datetime
    until: datetime
    accounts: Mapping[str, Accounts]
    findings: Sequence[Finding]
    open_rows: int
    open_rows_seen: int
    records_seen: int
    items: Mapping[str, ItemAccounts] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Tell whether the accounts balance and nothing is overdue."""
        return not self.findings

    def imbalance(self) -> dict[str, int]:
        """Count for each lane the rows that the accounts are wrong about, as far as they were looked at."""
        return self._counts(overdue=False)

    def overdue(self) -> dict[str, int]:
        """Count for each lane the overdue rows that were found."""
        return self._counts(overdue=True)

    def _counts(self, *, overdue: bool) -> dict[str, int]:
        counts = dict.fromkeys(self.accounts, 0)
        for each in self.findings:
            if each.kind.is_overdue is overdue:
                counts[each.lane] += each.count
        return counts


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """Join findings: to one for each kind, lane and minute; of overdue work, one for each kind and lane."""
    found: dict[tuple[Kind, str, datetime | None], Finding] = {}
    for each in findings:
        key = (each.kind, each.lane, None if each.kind.is_overdue else each.minute)
        found[key] = found[key] + each if key in found else each
    order = list(Kind)
    return sorted(found.values(), key=lambda each: (order.index(each.kind), str(each.minute or ""), each.lane))
