"""How often something happened lately: sliding windows in the store, which let in, reserve a time, or refuse.

Promises:

- In no ``window_ms`` do more than ``most`` of one key count, over all processes and by the store's clock. Those that
  are let in always count too, and may be more.
- One name counts once: whoever asks again within the window gets the same answer. So what failed may be repeated, and a
  duplicate takes no place.
- A reservation holds its place: nobody has to ask again when its time comes, and others are kept apart from it.
- A limit or a window that has changed holds for the next ask. What was let in or reserved before stays so. A longer
  window begins with what the shorter one had kept.

Beyond 1,000 reservations of one key, asks are refused. Of its refusals, the newest 1,000 are remembered.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Literal

from redis.exceptions import ResponseError

from shared.store.call_queue import type_of_arg
from shared.store.store import Store, each, load_script

_window = load_script(__package__, "window")

# The script's words for no time.
_REFUSED = -1
_HOWEVER_LATE = -1

_alike = attrgetter("most", "then", "within_ms", "always")


@dataclass(frozen=True, slots=True)
class Ask:
    """One that asks to be let in.

    Attributes:
        key: whole, with its hash tag; beside it stands ``key:refused``.
        name: tells it from every other one of this key, and is the same when it asks again.
        most: so many in a window; 0 lets nobody in.
        then: what becomes of it when the window is full. ``retry``: it is refused and may ask again, as if it had not
            asked. ``refuse``: it stays refused for the window. ``reserve``: it gets the earliest time that is free.
        always: it counts, and is let in however many there are.
        within_ms: with ``reserve``, it is refused when no time is free within so long; None for any time.
    """

    key: str
    name: str | bytes
    most: int
    window_ms: int
    then: Literal["retry", "refuse", "reserve"] = "refuse"
    always: bool = False
    within_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """The answer to an ask.

    Attributes:
        at_ms: 0 when it is let in now, the time that is reserved for it, or None when it is refused.
        wait_ms: how long it is until that time; of a refused one, until one more would be let in.
        damaged: why the key cannot be counted; it is let in then, unless the caller thinks otherwise.
    """

    at_ms: int | None
    wait_ms: int
    damaged: ResponseError | None = None


_LET_IN = Counted(0, 0)


class Windows:
    """Counts in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count(self, asks: Sequence[Ask]) -> list[Counted]:
        """Count asks, in one round trip; those of one key and window are one script call, and keep their order.

        Raises:
            StoreUnavailable: the store does not answer; nobody knows what counts. It may be repeated.
        """
        return await self._ask("count", asks)

    async def lets_in(self, ask: Ask) -> bool:
        """Count one ask, and tell whether it is not refused.

        Raises:
            ResponseError: its key cannot be counted.
            StoreUnavailable: the store does not answer.
        """
        (counted,) = await self.count([ask])
        if counted.damaged:
            raise counted.damaged
        return counted.at_ms is not None

    async def peek(self, asks: Sequence[Ask]) -> list[Counted]:
        """Return what ``count`` would answer, and write nothing.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        return await self._ask("peek", asks)

    async def _ask(self, how: str, asks: Sequence[Ask]) -> list[Counted]:
        places: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for place, ask in enumerate(asks):
            places[ask.key, ask.window_ms].append(place)
        answers = [
            self._store.submit_script(_window, key, how, window_ms, *_arguments([asks[place] for place in of_key]))
            for (key, window_ms), of_key in places.items()
        ]
        counted = [_LET_IN] * len(asks)
        for of_key, answer in zip(places.values(), await each(answers), strict=True):
            if isinstance(answer, ResponseError):
                for place in of_key:
                    counted[place] = Counted(0, 0, answer)
                continue
            for at, at_ms, wait_ms in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
                counted[of_key[at]] = Counted(None if at_ms == _REFUSED else at_ms, wait_ms)
        return counted


def _arguments(asks: Sequence[Ask]) -> Iterator[type_of_arg]:
    """Write asks as the script reads them; those in a row that differ only in their names stand together."""
    for (most, then, within_ms, always), run in groupby(asks, _alike):
        names = [ask.name for ask in run]
        yield from (most, then, _HOWEVER_LATE if within_ms is None else within_ms, int(always), len(names))
        yield from names
