"""How much is in hand for publishers: requests that are being read or wait for their receipt, and their bytes.

Promises that one publisher cannot take every place, and that nothing more is read while the bytes are used up.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.realtime.access.refusals import Refusal, too_many_requests
from shared.mqtt.byte_budget import ByteBudget

PLACES = 2_000
PLACES_OF_ONE = 1_000

# A body becomes some three times as much on its way: what was read, the packet, and what the socket has not taken.
IN_HAND_BYTES = 16 * 1024 * 1024


class Place:
    """The place of one request, with the bytes that were read for it."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold more bytes.

        Raises:
            Refusal: too many are held by now.
        """
        if self._budget.is_full:
            raise _full()
        self._budget.take(size_bytes)
        self._held_bytes += size_bytes

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._budget.give(self._held_bytes)


class Places:
    """The places of one process."""

    def __init__(
        self, most: int = PLACES, most_of_one: int = PLACES_OF_ONE, in_hand_bytes: int = IN_HAND_BYTES
    ) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._budget = ByteBudget(in_hand_bytes)
        self._taken: Counter[str] = Counter()
        self._total = 0

    @property
    def taken(self) -> int:
        """How many requests are in hand."""
        return self._total

    @property
    def held_bytes(self) -> int:
        """How many bytes of them."""
        return self._budget.held_bytes

    @contextmanager
    def hold(self, publisher: str) -> Iterator[Place]:
        """Hold a place for one request.

        Raises:
            Refusal: this publisher has too many, or all publishers together.
        """
        if self._taken[publisher] >= self._most_of_one:
            raise too_many_requests("Too many publishes of this publisher wait for an answer.", 1)
        if self._total >= self._most or self._budget.is_full:
            raise _full()
        self._taken[publisher] += 1
        self._total += 1
        place = Place(self._budget)
        try:
            yield place
        finally:
            place.give_back()
            self._total -= 1
            self._taken[publisher] -= 1
            if not self._taken[publisher]:
                del self._taken[publisher]


def _full() -> Refusal:
    return Refusal(503, "unavailable", "Too much waits for an answer here.", headers={"Retry-After": "1"})
