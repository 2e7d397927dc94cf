"""Sources that are to be heard of: the records under ``directory/liveness/{source}`` (docs/guides/liveness.md).

A source is a program, a device or a job that says again and again that it is alive. Its record says how often, and what
an incident is called when it does not.
"""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from shared.core.durations import Duration
from shared.core.fields import Identifier, identifier
from shared.directory.publishers import PublisherName
from shared.directory.record import Record

# Less than other names have: the keys of its incidents, of 128 characters, hold it.
SOURCE_CHARS = 96
# The watch looks once a second.
SHORTEST_EVERY = timedelta(seconds=1)
# What a broker and routers need where one of them dies with a beat in hand.
GRACE = timedelta(seconds=20)
# Parents above each other.
GENERATIONS = 8

DEFAULT_TYPE = "liveness"


def at_least_a_second(length: timedelta) -> timedelta:
    """Refuse what is shorter than the watch can tell."""
    if length < SHORTEST_EVERY:
        raise PydanticCustomError("too_often", "must be at least 1s")
    return length


SourceName = Annotated[str, Field(min_length=1, max_length=SOURCE_CHARS), AfterValidator(identifier)]


class Liveness(Record):
    """What is expected of a source.

    Attributes:
        every: the time between two beats.
        grace: how much later than that a beat may come.
        alert_type: of its incidents; the directory tells who is on call for it.
        severity: the level of its alerts.
        children_of: while this source is missing, a missing one of ours opens no incident of its own.
        publisher: who beats for it; None is everybody whose record allows ``liveness/#``.
    """

    every: Annotated[Duration, AfterValidator(at_least_a_second)]
    grace: Duration = GRACE
    alert_type: Identifier = DEFAULT_TYPE
    severity: Literal["critical", "warning", "info"] = "critical"
    children_of: SourceName | None = None
    publisher: PublisherName | None = None

    @property
    def patience(self) -> timedelta:
        """How long after a beat the next one is missed."""
        return self.every + self.grace


class NamedLiveness(Liveness):
    """A record with the source that it is written under."""

    source: SourceName

    @property
    def record(self) -> Liveness:
        """The record without the source."""
        return Liveness.model_validate(self.model_dump(exclude={"source"}, exclude_unset=True))
