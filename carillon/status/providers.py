"""How the providers of each channel stand: as their processes say, and as people have paused them by hand."""

from asyncio import gather
from collections.abc import Sequence

from redis.exceptions import ResponseError

from carillon.status.status import ProviderStatus
from shared.core.model import Channel
from shared.delivery.by_hand import PAUSABLE, ByHand, Pause, Target
from shared.delivery.standing import ProviderState, Standing
from shared.runtime.alive import Process, Processes
from shared.store.keys import Keys
from shared.store.store import Store


async def read_providers(store: Store, keys: Keys) -> tuple[list[ProviderStatus], list[Pause]]:
    """Look once at the providers that can be paused, and return them with what is paused by hand.

    A pause of a name that no living process knows is among the pauses alone.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    processes, pauses = await gather(Processes(store, keys).of(PAUSABLE), read_pauses(store, keys))
    found = [each for channel in PAUSABLE for each in providers_of(channel, processes[channel], pauses)]
    return found, pauses


async def read_pauses(store: Store, keys: Keys) -> list[Pause]:
    """Return what is paused by hand."""
    try:
        return await ByHand(store, keys).paused()
    except ResponseError:
        # Something else has the name. The services tell of that.
        return []


def providers_of(channel: Channel, processes: Sequence[Process], pauses: Sequence[Pause]) -> list[ProviderStatus]:
    """Join what the living processes of a channel say of its providers, in the operator's order."""
    said: dict[str, list[Standing]] = {}
    for process in processes:
        if process.is_alive:
            for standing in process.standings:
                said.setdefault(standing.provider, []).append(standing)
    by_hand = {each.target: each for each in pauses}
    found = []
    for name, standings in said.items():
        worst = max(standings, key=lambda each: (_badness(each), each.for_s))
        alike = sum(each.state is worst.state for each in standings)
        pause = by_hand.get(Target(channel)) or by_hand.get(Target(channel, name))
        found.append(ProviderStatus(channel, worst, len(standings), alike, pause))
    return found


def _badness(standing: Standing) -> int:
    # One that nobody has used yet says nothing beside one that works.
    return -1 if standing.state is ProviderState.UNKNOWN else standing.state.badness
