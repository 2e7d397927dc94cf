"""Replays and drops dead letters for the console's page: what is meant, a look before, and a bounded part at a time.

It is the code of ``carillon dead-letters``. A look counts and tries out, and changes nothing. Each press of the button
then does at most ``AT_ONCE``, those that had ended when somebody looked, and says how many are left.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.core.channels import ROUTER_LANE
from shared.core.model import Channel
from shared.ledger.dead_letters import Answer, DeadLetters, Entry, Wanted

LANES = (*(channel.value for channel in Channel), ROUTER_LANE)
# Of one press. A replay is checked against the directory, so it takes some milliseconds.
AT_ONCE = 200
# Beyond that a look says "more than".
COUNTED = 5000
SAMPLE = 10
# What one look or press may take; less than an action may.
_TIME = timedelta(seconds=3)
# Replayed at a time.
_TOGETHER = 10

ANSWERS: Mapping[Answer, str] = {
    Answer.REOPENED: "tried again",
    Answer.ALREADY: "replayed or dropped by somebody else meanwhile",
    Answer.EXPIRED: "its deadline is over: give it more time",
    Answer.CANCELLED: "its publisher has cancelled it",
    Answer.ACKNOWLEDGED: "its alert was acknowledged",
    Answer.RESOLVED: "its alert is over",
    Answer.RECORD_EXPIRED: "nothing is known of it any more",
    Answer.UNKNOWN_RECIPIENT: "the person is gone",
    Answer.UNREADABLE: "its data is damaged",
    Answer.PREFERENCE_OFF: "the person has switched the channel off",
    Answer.NO_ADDRESS: "the person has no such address any more",
    Answer.NOT_SERVED: "this system does without its channel",
    Answer.BOUNCED: "nothing arrives at its address",
    Answer.OPTED_OUT: "the person has unsubscribed or complained",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a replay or drop would do.

    Attributes:
        counts: by channel and reason.
        is_more: there are more than were counted.
        sample: the oldest, each with what would become of it; None for a drop.
    """

    counts: Counter[tuple[str, str]]
    is_more: bool
    sample: tuple[tuple[Entry, datetime, str | None], ...]

    @property
    def total(self) -> int:
        """How many were counted."""
        return self.counts.total()


@dataclass(frozen=True, slots=True)
class Pressed:
    """What one press has done.

    Attributes:
        left_dead: why some were left as they are.
        is_more: some that were meant are not looked at yet.
    """

    done: int
    left_dead: Counter[str]
    is_more: bool


async def look(letters: DeadLetters, wanted: Wanted, extend: timedelta | None, *, replay: bool) -> Look:
    """Count what is meant, and try out the oldest of it."""
    counts: Counter[tuple[str, str]] = Counter()
    first: list[Entry] = []
    is_more = False
    ends_s = asyncio.get_running_loop().time() + _TIME.total_seconds()
    async for page in letters.pages(wanted, COUNTED + 1):
        first += page[: SAMPLE - len(first)]
        counts.update((each.lane, each.reason or "") for each in page)
        if counts.total() > COUNTED or asyncio.get_running_loop().time() > ends_s:
            is_more = True
            break
    answers = [await letters.replay(each, extend, dry_run=True) if replay else None for each in first]
    shown = zip(first, answers, strict=True)
    return Look(
        counts, is_more,
        tuple((each, _at(each), ANSWERS.get(said, said) if said is not None else None) for each, said in shown),
    )  # fmt: skip


async def press(letters: DeadLetters, wanted: Wanted, extend: timedelta | None, *, replay: bool) -> Pressed:
    """Replay or drop the oldest of what is meant."""
    done, left_dead, looked_at = 0, Counter[str](), 0
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + _TIME.total_seconds()
    async for page in letters.pages(wanted):
        for start in range(0, len(page), _TOGETHER):
            if looked_at >= AT_ONCE or loop.time() > ends_s:
                return Pressed(done, left_dead, is_more=True)
            some = page[start : start + min(_TOGETHER, AT_ONCE - looked_at)]
            looked_at += len(some)
            if replay:
                answers = await asyncio.gather(*(letters.replay(each, extend) for each in some))
                done += answers.count(Answer.REOPENED)
                left_dead.update(ANSWERS.get(each, each) for each in answers if each is not Answer.REOPENED)
            else:
                done += await letters.drop(some)
            if len(some) < _TOGETHER and looked_at >= AT_ONCE:
                return Pressed(done, left_dead, is_more=True)
    return Pressed(done, left_dead, is_more=False)


def _at(entry: Entry) -> datetime:
    return datetime.fromtimestamp(entry.at_ms / 1000).astimezone()
