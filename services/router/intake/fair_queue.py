"""What one connection has brought and is not taken yet: publishers take turns by their shares.

Start-time fair queuing (Goyal, Vin, Cheng 1996): each publish has a place on a virtual time line, one share's length
behind its publisher's publish before. Whoever has waited least of late is next. A publisher that was quiet saves up
nothing. Of one publisher, the order stays.

The line begins anew whenever nothing waits, so it forgets publishers by itself.
"""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from shared.mqtt.packets import Incoming

# Places of publishers of whom nothing waits, before those that have passed are looked for.
FREE_MOST = 1_000


class FairQueue:
    """Publishes that wait.

    Args:
        share_of: the weight of a publisher, above 0.
    """

    def __init__(self, share_of: Callable[[str], float]) -> None:
        self._share_of = share_of
        self._waiting: dict[str, deque[Incoming]] = {}
        # The place of each waiting publisher's first publish; the count keeps the order of those with the same place.
        self._places: list[tuple[float, int, str]] = []
        # The first place that is free for a publisher of whom nothing waits.
        self._free: dict[str, float] = {}
        self._now = 0.0
        self._count = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, publisher: str, incoming: Incoming) -> None:
        """Put a publish behind those of its publisher."""
        waiting = self._waiting.get(publisher)
        if waiting is None:
            waiting = self._waiting[publisher] = deque()
            self._place(publisher, max(self._now, self._free.pop(publisher, 0.0)))
        waiting.append(incoming)

    def take(self, most: int, most_bytes: int) -> list[Incoming]:
        """Take what is next: at most ``most``, and none after ``most_bytes`` is reached."""
        taken: list[Incoming] = []
        size_bytes = 0
        while self._places and len(taken) < most and size_bytes < most_bytes:
            place, _, publisher = heappop(self._places)
            waiting = self._waiting[publisher]
            taken.append(waiting.popleft())
            size_bytes += taken[-1].held_bytes
            self._now = place
            following = place + 1 / self._share_of(publisher)
            if waiting:
                self._place(publisher, following)
            else:
                del self._waiting[publisher]
                self._free[publisher] = following
        if not self._places:
            self._free.clear()
            self._now = 0.0
        elif len(self._free) > FREE_MOST:
            # A place that has passed is the same as none.
            self._free = {name: place for name, place in self._free.items() if place > self._now}
        return taken

    def drain(self) -> Iterator[Incoming]:
        """Take all of it, in no order."""
        while self._waiting:
            yield from self._waiting.popitem()[1]
        self._places.clear()
        self._free.clear()
        self._now = 0.0

    def _place(self, publisher: str, place: float) -> None:
        self._count += 1
        heappush(self._places, (place, self._count, publisher))
