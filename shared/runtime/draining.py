"""What the processes of a channel say about their providers: which there are, and what is under way at them.

Promises that nothing is under way when ``UnderWay.is_over`` says so, as far as processes are heard of: each has read
the pause, and has said afterwards that no attempt goes on. One that has died is waited for as long as an attempt of it
could last.

Not promised: anything about a process that runs on without a connection to the store, or that runs a release which does
not say that it is alive.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.delivery.by_hand import Target
from shared.delivery.standing import Standing
from shared.runtime.alive import Process

# What a process that is silent had under way has ended by then: attempts take half a minute at most by default.
_LASTS_S = 60.0


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What goes on through a channel or a provider that is paused.

    Attributes:
        attempts: how many are known to be under way.
        waited_for: the processes that have them, or have not said yet that they have none.
    """

    attempts: int
    waited_for: Sequence[Process]

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way any more."""
        return not self.waited_for


def provider_names(processes: Iterable[Process]) -> list[str]:
    """Return the providers that processes of one channel have, or had lately, in the operator's order."""
    return list(dict.fromkeys(standing.provider for process in processes for standing in process.standings))


def under_way(processes: Iterable[Process], target: Target, paused_at: datetime) -> UnderWay:
    """Say what is under way, as the processes of the target's channel have said since it was paused."""
    attempts, waited_for = 0, []
    for process in processes:
        mine = [each for each in process.standings if target.provider in ("", each.provider)]
        attempts += sum(each.in_flight for each in mine)
        if process.silent_s < _LASTS_S and mine and not (process.heard_at > paused_at and _is_idle(mine)):
            waited_for.append(process)
    return UnderWay(attempts, waited_for)


def _is_idle(standings: Iterable[Standing]) -> bool:
    return all(each.is_paused_by_hand and each.in_flight == 0 for each in standings)
