"""What is known of the sources that are to be heard of: when each was, when the next beat is missed, what is open.

The records say what is expected (``shared.directory.liveness``); this is what has come. A beat is one script. All times
are the store's, so routers with wrong clocks agree. See ``lua/liveness.lua`` for the keys.

An incident goes through three phases: ``opening`` until the router is known to have it, ``open``, and ``closing`` until
the router knows its end. Each step is written down before it is told, and again when it was told; so whoever dies in
between leaves a step that is made again, and the incident's number makes the repetition harmless.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import Any

from shared.core.durations import milliseconds
from shared.store.keys import SHARDS, Keys, shard_of_key
from shared.store.replies import pairs
from shared.store.store import Store, load_script

_PRELUDE = "liveness"
_heard = load_script(__package__, "liveness_heard", _PRELUDE)
_look = load_script(__package__, "liveness_look", _PRELUDE)
_decide = load_script(__package__, "liveness_decide", _PRELUDE)
_told = load_script(__package__, "liveness_told", _PRELUDE)
_forget = load_script(__package__, "liveness_forget", _PRELUDE)

# Sources of one shard in one look; what is beyond comes in the next, which follows at once.
MOST_PER_SHARD = 100

# If nobody has looked for so long, no router may have run, or the broker was away: beats may wait there, and those of
# QoS 0 are lost.
AWAY = timedelta(seconds=15)
# Then no source is missed before it had its whole time again, or so long if that is longer.
COMEBACK = timedelta(minutes=2)

# Sources that are read in one exchange.
_PAGE = 500


class State(StrEnum):
    """How a source is."""

    ALIVE = "alive"
    OPEN = "open"
    """It is missing, and an incident is open."""
    INHIBITED = "inhibited"
    """It is missing, and so is its parent, whose incident stands for both."""
    CLEAN = "clean"
    """It went of its own will."""
    UNARMED = "unarmed"
    """It was never heard of."""

    @property
    def is_missing(self) -> bool:
        """Tell whether it should be heard of and is not."""
        return self in (State.OPEN, State.INHIBITED)


class Said(StrEnum):
    """What a source can say."""

    BEAT = "beat"
    BIRTH = "birth"
    DEATH = "death"
    CLEAN = "clean"


class Phase(StrEnum):
    """What the router is to be told of an incident."""

    OPENING = "opening"
    CLOSING = "closing"


class Noted(IntEnum):
    """What came of noting that the router knows something; true where nobody had noted it before."""

    BEFORE = 0
    DONE = 1
    ENDS = 2
    """The incident was over before it was told: its end is to be told next."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a source is; times in milliseconds since 1970, 0 where there is none.

    Attributes:
        since_ms: when its state began.
        beat_ms: when it was last heard of.
        due_ms: when it is looked at.
    """

    state: State = State.UNARMED
    since_ms: int = 0
    beat_ms: int = 0
    due_ms: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A source whose time is over.

    Attributes:
        at_ms: when it was.
        patience_ms: how long after a beat that is.
        died: it has said so itself.
    """

    source: str
    at_ms: int
    state: State
    beat_ms: int
    patience_ms: int
    died: bool


@dataclass(frozen=True, slots=True)
class Untold:
    """An incident of which the router is to be told something.

    Attributes:
        incident: its number, by which the router knows it again.
        says: how it is told, as ``decide`` was given it.
        gone: it ends because the source's record was deleted.
    """

    source: str
    incident: str
    phase: Phase
    says: str
    beat_ms: int
    gone: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look has found.

    Attributes:
        is_full: there may be more.
    """

    now_ms: int
    is_full: bool
    due: Sequence[Due]
    untold: Sequence[Untold]


class Sources:
    """The sources on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def _base(self, source: str) -> str:
        return self._keys.liveness(shard_of_key(source))

    async def heard(self, source: str, said: Said, patience: timedelta, session: int | None = None) -> bool:
        """Note what a source has said; return whether that is news.

        A beat and a birth always are. A death is none if its session is not the last birth's, or if the source is not
        armed or is missing already.
        """
        number = "" if session is None else session
        asked = (said, source, milliseconds(patience), number)
        return bool(await self._store.script(_heard, self._base(source), *asked, lasting=said is not Said.BEAT))

    async def forget(self, source: str) -> None:
        """Disarm a source that has no record any more, and close its incident."""
        await self._store.script(_forget, self._base(source), source, lasting=True)

    async def look(self) -> Looked:
        """Find the sources whose time is over, and what the router is to be told."""
        limits = (MOST_PER_SHARD, milliseconds(AWAY), milliseconds(COMEBACK))
        found = await asyncio.gather(
            *(self._store.submit_script(_look, self._keys.liveness(shard), *limits) for shard in range(SHARDS))
        )
        return Looked(
            now_ms=max(int(now) for now, *_ in found),
            is_full=any(is_full for _, is_full, *_ in found),
            due=[_due(each) for _, _, due, _ in found for each in due],
            untold=[_untold(each) for *_, untold in found for each in untold],
        )

    async def open(self, due: Due, says: str) -> bool:
        """Begin an incident, unless the source was heard of since; the next look brings it to be told.

        Args:
            says: how it is told; kept with it, so that a repetition says the same.
        """
        return await self._decide(due, "open", says)

    async def inhibit(self, due: Due, again_ms: int) -> bool:
        """Count it as missing without an incident, and look again then (milliseconds since 1970)."""
        return await self._decide(due, "inhibit", again_ms)

    async def wait(self, due: Due, again_ms: int) -> bool:
        """Look again then (milliseconds since 1970)."""
        return await self._decide(due, "wait", again_ms)

    async def drop(self, due: Due) -> bool:
        """Forget a source that has no record."""
        return await self._decide(due, "forget")

    async def _decide(self, due: Due, *decision: str | int) -> bool:
        args = (due.source, due.at_ms, *decision)
        return bool(await self._store.script(_decide, self._base(due.source), *args, lasting=True))

    async def told(self, untold: Untold) -> Noted:
        """Note that the router knows it."""
        return await self._noted(untold, "")

    async def tell_later(self, untold: Untold, wait_s: float) -> None:
        """Have it told again after a while, and not at the next look."""
        await self._noted(untold, round(wait_s * 1000))

    async def _noted(self, untold: Untold, later: str | int) -> Noted:
        args = (untold.source, untold.incident, untold.phase, later)
        return Noted(await self._store.script(_told, self._base(untold.source), *args, lasting=True))

    async def standings(self, sources: Collection[str]) -> dict[str, Standing]:
        """Say how these sources are."""
        names = list(sources)
        found: dict[str, Standing] = {}
        for begin in range(0, len(names), _PAGE):
            page = names[begin : begin + _PAGE]
            answers = await asyncio.gather(*(self._standing(source) for source in page))
            found |= dict(zip(page, answers, strict=True))
        return found

    async def _standing(self, source: str) -> Standing:
        base = self._base(source)
        fields, due = await asyncio.gather(
            self._store.submit("HMGET", f"{base}:of:{source}", "state", "since", "beat"),
            self._store.submit("ZSCORE", f"{base}:due", source),
        )
        state, since, beat = fields
        if state is None:
            return Standing()
        return Standing(State(state.decode()), _whole(since), _whole(beat), _whole(due))

    async def counts(self) -> Mapping[State, int]:
        """Count the sources by how they are; those that were never heard of are not counted."""
        found = await asyncio.gather(
            *(self._store.submit("HGETALL", f"{self._keys.liveness(shard)}:states") for shard in range(SHARDS))
        )
        counts: Counter[State] = Counter()
        for answer in found:
            for state, count in pairs(answer):
                counts[State(state.decode())] += int(count)
        return counts


def _whole(text: bytes | float | None) -> int:
    return 0 if text is None else round(float(text))


def _due(answer: Sequence[Any]) -> Due:
    source, at, state, beat, patience, died = answer
    return Due(source.decode(), int(at), State(state.decode()), int(beat), int(patience), bool(died))


def _untold(answer: Sequence[Any]) -> Untold:
    source, incident, phase, says, beat, gone = answer
    return Untold(source.decode(), incident.decode(), Phase(phase.decode()), says.decode(), int(beat), bool(gone))
