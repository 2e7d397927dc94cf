"""What is to be written: notifications, their rows and members, and the arguments in which the scripts read them.

Promises to ask nobody: ``shared.ledger.ledger`` and its neighbours send what is made here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.core.errors import Reason
from shared.core.incidents import AlertState
from shared.core.model import Notification, Priority, Row, State
from shared.ledger import told
from shared.ledger.rows import letter_of
from shared.store.call_queue import type_of_arg

# How long a freshly published job may take to be claimed before the sweeper publishes it again.
GRACE_MS = {Priority.LOW: 10_000, Priority.NORMAL: 5_000, Priority.HIGH: 3_000, Priority.CRITICAL: 2_000}

# How long a task of the router may take from its time on until it is given up: its rows have their own deadlines.
TASK_LIFETIME_MS = 7 * 24 * 3600 * 1000

# What metrics call it that a notification has no category of the catalogue.
NO_POLICY = "none"


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


def counted(args: list[str | int]) -> list[str | int]:
    """Write how many arguments there are before them."""
    return [len(args), *args]


def part_args(part: Part) -> list[type_of_arg]:
    """Write a part as ``finish.lua`` reads it."""
    until_ms = max((new.row.expires_ms for new in part.rows), default=0)
    notification = part.notification
    names = told.packed(notification.id, told.names(new.row for new in part.rows))
    return [notification.id, notification.written(), until_ms, int(part.is_shared), names, *row_args(part.rows)]


def member_args(member: NewMember | None) -> list[str | int]:
    """Write how many arguments follow, then the member's key, what it says, and its row."""
    return [0] if member is None else counted([member.key, member.said, *row_args([member.row])])


def needs_args(rows: Iterable[NewRow]) -> list[str | int]:
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
