"""How each alert that escalates goes on: a pure function of the seed and its number.

Some are left to their end, some acknowledged or resolved on the way, some open again because the acknowledgement or the
snooze ends. The steps that follow from a policy are written down here by hand, so that nothing is asked of the code
under test.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.core.incidents import Way

HOLDS_S = 4.0

_LEVELS: Sequence[Mapping[str, Any]] = (
    {"notify": ["oncall"]},
    {"after": "2s", "notify": ["oncall:second"]},
    {"after": "5s", "notify": ["oncall:second"], "channels": ["email", "push"]},
    {"after": "8s", "notify": ["oncall"], "every": True},
)
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "holds": {"levels": _LEVELS},
    "again": {"levels": _LEVELS, "acknowledged_for": f"{HOLDS_S:.0f}s"},
    "twice": {"levels": [_LEVELS[0], {"after": "4s", "notify": ["oncall:second"]}], "repeat": 1},
}


@dataclass(frozen=True, slots=True)
class Step:
    """One level: who is told so long after the beginning. 0 is the first layer, 1 the second."""

    after_s: float
    places: frozenset[int]
    channels: frozenset[str] | None = None


_FIRST, _SECOND = frozenset({0}), frozenset({1})
_FOUR = (
    Step(0, _FIRST), Step(2, _SECOND), Step(5, _SECOND, frozenset({"email", "push"})), Step(8, _FIRST | _SECOND),
)  # fmt: skip
STEPS: Mapping[str, Sequence[Step]] = {
    "holds": _FOUR,
    "again": _FOUR,
    # The second round begins when the last level of the first one is due.
    "twice": (Step(0, _FIRST), Step(4, _FIRST | _SECOND), Step(8, _SECOND)),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody does about it.

    Attributes:
        turn: how often it was opened again before.
        after_s: how long after that, at the earliest.
        verb: as the timeline has it.
        place: who; None is the publisher.
    """

    turn: int
    after_s: float
    verb: str
    way: Way
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """What becomes of one alert."""

    policy: str
    answers: Sequence[Answer] = ()

    @property
    def steps(self) -> Sequence[Step]:
        """Its levels."""
        return STEPS[self.policy]

    @property
    def turns(self) -> int:
        """How often it is opened again."""
        return sum(self.reopens(answer.verb) for answer in self.answers)

    def reopens(self, verb: str) -> bool:
        """Tell whether it is open again some time after such an answer."""
        return verb == "snoozed" or (verb == "acknowledged" and self.policy == "again")


def escalated(number: int) -> tuple[str, str]:
    """Return who is on call for an alert: of the first layer and of the second."""
    return f"escalated{number}a", f"escalated{number}b"


def course(seed: int, number: int, services: Sequence[str]) -> Course:
    """Say what becomes of an alert."""
    draw = random.Random(f"{seed}:course:{number}")  # noqa: S311 - repeatable, and no secret
    (kind,) = draw.choices(["left", "taken", "over", "again", "snoozed"], [20, 30, 10, 30, 10])
    policy = draw.choice(["holds", "twice"])

    def taken(turn: int) -> Answer:
        after_s = draw.uniform(0.2, 9.0)
        ways = [Way.MQTT, Way.HTTP, Way.MAIL_LINK, *([Way.SMS] if "sms" in services else [])]
        # The second one is told two or four seconds later, if nothing is killed.
        place = draw.choice([0, 1]) if after_s > STEPS[policy][1].after_s + 1 else 0
        return Answer(turn, after_s, "acknowledged", draw.choice(ways), place)

    def over(turn: int) -> Answer:
        return Answer(turn, draw.uniform(0.2, 9.0), "resolved", Way.MQTT)

    match kind:
        case "left":
            return Course(policy)
        case "taken":
            return Course(policy, [taken(0)])
        case "over":
            return Course(policy, [over(0)])
        case "again":
            policy = "again"
            following = draw.choice([[], [over(1)], [taken(1), over(2)], [taken(1)]])
            return Course(policy, [taken(0), *following])
        case _:
            snoozed = Answer(0, draw.uniform(0.2, 5.0), "snoozed", Way.MQTT, 0)
            return Course(policy, [snoozed, *draw.choice([[], [taken(1)]])])
