"""What one look at the whole system has found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shared.core.model import Channel
from shared.delivery.by_hand import Pause
from shared.delivery.standing import Standing
from shared.ledger.audit_report import Accounts
from shared.ledger.audit_results import AuditResult
from shared.ledger.lanes import Lane
from shared.runtime.alive import Process

# Of incidents and dead letters so many of the newest are looked at one by one.
LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is not well.

    Attributes:
        what: in one sentence.
        runbook: the file in docs/runbooks that says what to do.
        about: the service, channel or other part that it is about.
    """

    what: str
    runbook: str
    about: str


@dataclass(frozen=True, slots=True)
class Service:
    """One service and its processes.

    Attributes:
        left_out: this system does without it on purpose.
        processes: those heard of in the last hour, the longest running first; see ``Process.is_alive``.
    """

    name: str
    left_out: bool
    processes: Sequence[Process] = ()

    @property
    def alive(self) -> list[Process]:
        """Those heard of lately, without those that end."""
        return [each for each in self.processes if each.is_alive and not each.is_ending]

    @property
    def ready(self) -> list[Process]:
        """Those that work."""
        return [each for each in self.processes if each.is_ready]


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One provider of a channel, as its processes see it.

    Attributes:
        worst: how it stands for the process that has it worst.
        processes: how many have it; ``unwell``: for how many of them it stands like that.
        by_hand: who has paused it, or its channel; None where nobody has.
    """

    channel: Channel
    worst: Standing
    processes: int
    unwell: int
    by_hand: Pause | None = None

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.worst.provider


@dataclass(frozen=True, slots=True)
class DeadLately:
    """Dead letters of the last quarter of an hour.

    Attributes:
        count: all of them.
        by_reason: lane and reason to how many, of the newest ``LOOKED_AT``.
    """

    count: int
    by_reason: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class OpenIncidents:
    """Incidents that are not over.

    Attributes:
        count: all of them.
        states: ``open``, ``acknowledged`` and ``snoozed`` to how many, of the newest ``LOOKED_AT``.
    """

    count: int
    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the store is set up; of several servers, what is worst.

    Attributes:
        known: False where our user may not ask.
        evicts: it drops records when its memory is full.
        append_only: every server keeps an append-only file.
    """

    known: bool = False
    evicts: bool = False
    append_only: bool = True
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """What one look has found.

    Attributes:
        at: the store's clock.
        lately: what became due in the last quarter of an hour, for each lane.
        pauses: what is paused by hand, whether or not a process knows it.
        audit: the newest result of any audit; ``periodic_audit``: of the routers' own.
        gaps_in_a_day: times at which nobody is on call; None where no router has looked yet.
        troubles: the worst first; none: all is well.
    """

    at: datetime
    services: Mapping[str, Service]
    lanes: Sequence[Lane]
    lately: Mapping[str, Accounts]
    providers: Sequence[ProviderStatus]
    pauses: Sequence[Pause]
    incidents: OpenIncidents
    dead_letters: DeadLately
    audit: AuditResult | None
    periodic_audit: AuditResult | None
    gaps_in_a_day: int | None
    store: StoreStatus
    troubles: Sequence[Trouble] = field(default=())

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.troubles
