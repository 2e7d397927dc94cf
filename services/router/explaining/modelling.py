"""Throttles and digests reckoned in memory, for what is asked of the past: models of what the store's scripts do.

They count by the time of the notification that is decided, in the order in which it comes. Both are bounded: of very
many keys, those that were touched longest ago are forgotten.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.ledger.digests import Foreseen, Opening, opened
from shared.store.windows import Ask, Counted, Windows

KEYS = 200_000


@dataclass(slots=True)
class _Key:
    """What counts of one key: the times of those that were let in or have a time, and each name's answer."""

    times: list[int] = field(default_factory=list)
    answers: OrderedDict[str | bytes, tuple[int, int | None]] = field(default_factory=OrderedDict)


class ModelWindows(Windows):
    """Counts in memory.

    Args:
        now_ms: the moment that is meant.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._keys: OrderedDict[str, _Key] = OrderedDict()

    async def count(self, asks: Sequence[Ask]) -> list[Counted]:
        """Count asks in their order."""
        return [self._count(ask) for ask in asks]

    async def peek(self, asks: Sequence[Ask]) -> list[Counted]:
        """Refuse: nobody asks the past without counting."""
        raise NotImplementedError

    def _count(self, ask: Ask) -> Counted:
        now_ms = self._now_ms()
        key = self._keys.setdefault(ask.key, _Key())
        self._keys.move_to_end(ask.key)
        if len(self._keys) > KEYS:
            self._keys.popitem(last=False)
        begin_ms = now_ms - ask.window_ms
        while key.times and key.times[0] <= begin_ms:
            del key.times[0]
        while key.answers and next(iter(key.answers.values()))[0] <= begin_ms:
            key.answers.popitem(last=False)
        if ask.name in key.answers:
            at_ms = key.answers[ask.name][1]
        else:
            at_ms = self._answer(ask, key, now_ms)
            key.answers[ask.name] = now_ms, at_ms
        return Counted(at_ms, 0)

    @staticmethod
    def _answer(ask: Ask, key: _Key, now_ms: int) -> int | None:
        if ask.always or len(key.times) < ask.most:
            insort(key.times, now_ms)
            return 0
        if ask.then != "reserve" or not ask.most:
            return None
        at_ms = key.times[-ask.most] + ask.window_ms
        if ask.within_ms is not None and at_ms - now_ms > ask.within_ms:
            return None
        insort(key.times, at_ms)
        return at_ms


@dataclass(slots=True)
class _Window:
    """A group's window; ``latest_ms`` and ``step_ms`` are of the digest that is open, None where none is."""

    began_ms: int
    ends_ms: int
    latest_ms: int | None = None
    step_ms: int = 0


class ModelDigests:
    """Keeps digest windows in memory: whatever is foreseen is taken to be added.

    Attributes:
        opened: how many digests were opened.
    """

    def __init__(self) -> None:
        self.opened = 0
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    async def foresee(self, group: str, opening: Opening, *, now_ms: int) -> Foreseen:
        """Say where the next item of a group is, and count it there."""
        window = self._windows.get(group)
        if window is not None and window.ends_ms <= now_ms:
            # Whatever was in it is sent.
            del self._windows[group]
            window = None
        if window is not None and window.latest_ms is not None:
            if window.step_ms:
                window.ends_ms = max(window.ends_ms, min(now_ms + window.step_ms, window.latest_ms))
            return Foreseen(alone=False, ends_ms=window.ends_ms)
        began_ms = window.began_ms if window else None
        found = opened(opening, began_ms, window.ends_ms if window else None, now_ms=now_ms)
        made = _Window(now_ms if began_ms is None else began_ms, found.ends_ms)
        if not found.alone:
            self.opened += 1
            step_ms = (opening.window_ms or 0) if opening.sliding else 0
            latest_ms = made.began_ms + (opening.at_most_ms or 0) if step_ms else 0
            made.latest_ms, made.step_ms = max(found.ends_ms, latest_ms), step_ms
        self._windows[group] = made
        if len(self._windows) > KEYS:
            self._windows.popitem(last=False)
        return found
