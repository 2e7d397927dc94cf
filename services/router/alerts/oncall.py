"""Who is told next: the escalation of an on-call entry as pure functions.

Who is on call at a moment is told in ``shared.directory.schedule``.

How escalations repeat: every round runs the whole list again. A round begins when the last step of the round before is
due. If all times in a list are 0, all rounds would begin at once; these rounds are ``default_after_s`` apart instead.
Steps with the same time and the same channels are one step.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from typing import TypeAlias

from shared.core.fields import unique
from shared.core.model import Channel
from shared.directory.people import OnCall
from shared.directory.policies import (
    ADMINS_TARGET,
    GROUP_TARGET_PREFIX,
    ONCALL_TARGET,
    SECOND_TARGET,
    USER_TARGET_PREFIX,
    EscalationPolicy,
    Level,
)


class Group(StrEnum):
    """A target that stands for whoever belongs to it when the step is due."""

    ONCALL = ONCALL_TARGET
    SECOND = SECOND_TARGET
    ADMINS = ADMINS_TARGET


@dataclass(frozen=True, slots=True)
class User:
    """A target that is one person."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Members:
    """A target that is whoever belongs to a group of the directory."""

    group_id: str


Target: TypeAlias = Group | User | Members


@dataclass(frozen=True, slots=True)
class Step:
    """Whom to tell when nobody has acknowledged in time.

    Attributes:
        after_s: seconds since the alert.
        channels: only these; None is every channel that can reach them.
        every: those on call are all who have a turn; None is false.
    """

    after_s: float
    targets: tuple[Target, ...]
    channels: tuple[Channel, ...] | None = None
    # None and not False, so that what is stored is not written longer for it.
    every: bool | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """What an escalation is laid out from: its list is kept once, however many steps its rounds make of it.

    Attributes:
        once: the list as it was written.
        repeat: how often it runs again.
        default_after_s: how far apart rounds are whose only times are 0.
        acknowledged_for_s: how long an acknowledgement holds; None is until the end.
    """

    once: tuple[Step, ...]
    repeat: int = 0
    default_after_s: float = 300
    acknowledged_for_s: float | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step, all rounds included, by time."""
        round_s = max(step.after_s for step in self.once) or self.default_after_s
        every = [
            Step(number * round_s + step.after_s, step.targets, step.channels, step.every)
            for number in range(1 + self.repeat)
            for step in self.once
        ]
        if all(step.after_s > 0 for step in self.once):
            every.append(_AT_ONCE)
        return _merged(every)


_AT_ONCE = Step(0, (Group.ONCALL, Group.ADMINS))


def targets_of(steps: Iterable[Step]) -> tuple[Target, ...]:
    """Return whom these steps tell, each once."""
    return unique(tuple(chain.from_iterable(step.targets for step in steps)))


def handed_to(before: Chain, to: Target) -> Chain:
    """Begin a chain with somebody else; who was to be told at once is told where the second step was, or would be."""
    at_once = tuple(step for step in before.once if step.after_s == 0)
    later = tuple(step for step in before.once if step.after_s > 0)
    wait_s = later[0].after_s if later else before.default_after_s
    waiting = tuple(replace(step, after_s=wait_s) for step in at_once)
    return replace(before, once=(Step(0, (to,)), *waiting, *later))


def told_also(before: Chain, to: Target) -> Chain:
    """Tell somebody at once beside those who are told then."""
    return replace(before, once=(*before.once, Step(0, (to,))))


def escalation(entry: OnCall | None, default_after_s: float, policy: EscalationPolicy | None = None) -> Chain:
    """Return what a critical alert's escalation is laid out from.

    A list of the entry's own that tells nobody at 0 is preceded by the default's first step, once: a critical alert
    always goes to the on-call people and the admins at once, and the list says who is next.

    Args:
        entry: None stands for a type without an entry.
        default_after_s: when the default tells the admins again; above 0.
        policy: the record that the entry names, if it is there.
    """
    if default_after_s <= 0:
        msg = "default_after_s must be above 0"
        raise ValueError(msg)
    if policy is not None:
        holds = policy.acknowledged_for
        return Chain(
            tuple(map(_step_of, policy.levels)),
            policy.repeat,
            default_after_s,
            None if holds is None else holds.total_seconds(),
        )
    if entry is None or entry.escalation is None:
        once: tuple[Step, ...] = (_AT_ONCE, Step(default_after_s, (Group.ADMINS,)))
    else:
        once = tuple(Step(each.after_s, tuple(map(target, each.notify)), each.channels) for each in entry.escalation)
    return Chain(once, entry.repeat if entry is not None else 0, default_after_s)


def _merged(steps: list[Step]) -> tuple[Step, ...]:
    """Join the steps of one time and the same channels, and sort by time."""
    joined: dict[tuple[float, frozenset[Channel] | None, bool | None], Step] = {}
    for step in sorted(steps, key=lambda step: step.after_s):
        key = (step.after_s, None if step.channels is None else frozenset(step.channels), step.every)
        known = joined.get(key)
        joined[key] = replace(known, targets=unique(known.targets + step.targets)) if known else step
    return tuple(joined.values())


def _step_of(level: Level) -> Step:
    after_s = level.after.total_seconds() if level.after is not None else 0
    return Step(after_s, tuple(map(target, level.notify)), level.channels, level.every or None)


def target(text: str) -> Target:
    """Read a target as records write it."""
    if text.startswith(USER_TARGET_PREFIX):
        return User(text.removeprefix(USER_TARGET_PREFIX))
    if text.startswith(GROUP_TARGET_PREFIX):
        return Members(text.removeprefix(GROUP_TARGET_PREFIX))
    return Group(text)
