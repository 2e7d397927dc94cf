"""Policies: whom an alert is told next while nobody answers, how long an answer lasts, and what is told together.

An on-call entry names one. The chain of an incident is taken from it when the incident begins; a later change is for
the next one.
"""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool
from pydantic_core import PydanticCustomError

from shared.core.durations import Duration
from shared.core.fields import IDENTIFIER_CHARS, Channels, Identifier, Line, identifier, not_empty, unique
from shared.directory.record import Record

ONCALL_TARGET = "oncall"
SECOND_TARGET = "oncall:second"
ADMINS_TARGET = "admins"
USER_TARGET_PREFIX = "user:"
GROUP_TARGET_PREFIX = "group:"

LEVELS = 50
NOTIFY_TARGETS = 50
REPEATS = 100
GROUP_LABELS = 16
FLAPS = 1000


def notify_target(text: str) -> str:
    """Refuse what names nobody who could be told."""
    if text in (ONCALL_TARGET, SECOND_TARGET, ADMINS_TARGET):
        return text
    for prefix in (USER_TARGET_PREFIX, GROUP_TARGET_PREFIX):
        name = text.removeprefix(prefix)
        if name not in (text, ""):
            identifier(name)
            return text
    raise PydanticCustomError("notify_target", "must be oncall, oncall:second, admins, user:ID or group:ID")


NotifyTarget = Annotated[
    str, Field(min_length=1, max_length=len(GROUP_TARGET_PREFIX) + IDENTIFIER_CHARS), AfterValidator(notify_target)
]
NotifyTargets = Annotated[
    tuple[NotifyTarget, ...], Field(max_length=NOTIFY_TARGETS), AfterValidator(not_empty), AfterValidator(unique)
]


# How long the first message of a group waits where its policy does not say; that of a critical one does not wait.
GROUP_WAIT = timedelta(seconds=30)


class Level(Record):
    """Whom to tell when nobody has answered so long after the incident began.

    Attributes:
        after: left out, at once.
        channels: only these; None is every channel that can reach them.
        every: ``oncall`` is everybody who has a turn, of all layers, and not those of the first layer alone.
    """

    after: Duration | None = None
    notify: NotifyTargets
    channels: Channels | None = None
    every: StrictBool = False


class Grouping(Record):
    """Which incidents are told together, and how often (docs/guides/alerts.md).

    Attributes:
        by: labels; incidents with the same values are one group.
        wait: how long the first message waits for others; left out, 30 seconds, and none for a critical alert.
        interval: how long after a message the next one comes if there is something new.
        repeat: how long after a message the next one comes if there is nothing new.
    """

    by: Annotated[tuple[Line, ...], Field(max_length=GROUP_LABELS), AfterValidator(not_empty), AfterValidator(unique)]
    wait: Duration | None = None
    interval: Duration = timedelta(minutes=5)
    repeat: Duration = timedelta(hours=4)


class Flapping(Record):
    """When an incident that opens and closes again and again is told once, and then held back.

    Attributes:
        times: how often it has opened.
        within: in which time.
        hold: for how long it is held back then.
    """

    times: Annotated[int, Field(strict=True, ge=2, le=FLAPS)]
    within: Duration
    hold: Duration


class EscalationPolicy(Record):
    """How an incident is told (wire contract, section 2).

    Attributes:
        repeat: how often the levels run again.
        acknowledged_for: how long an acknowledgement lasts; None is until the incident is resolved.
    """

    levels: Annotated[tuple[Level, ...], Field(max_length=LEVELS), AfterValidator(not_empty)]
    repeat: Annotated[int, Field(strict=True, ge=0, le=REPEATS)] = 0
    acknowledged_for: Duration | None = None
    group: Grouping | None = None
    flapping: Flapping | None = None


class NamedPolicy(EscalationPolicy):
    """A record with the name that it is written under."""

    policy: Identifier

    @property
    def record(self) -> EscalationPolicy:
        """The record without the name."""
        return EscalationPolicy.model_validate(self.model_dump(exclude={"policy"}, exclude_unset=True))
