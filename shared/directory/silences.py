"""Silences: which alerts tell nobody for a while, and who said so. The records under ``directory/silence/{id}``."""

from datetime import datetime
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from shared.core.fields import Identifier, Line, Moment, not_empty, unique
from shared.core.matchers import MATCHERS, TEXT_CHARS, Labels, Matcher, MatcherError, all_match, read_matcher
from shared.directory.record import Record

SilenceState = Literal["pending", "holds", "over"]


def matcher_text(text: str) -> str:
    """Check a matcher and return it as it is always written: ``system=db-1`` becomes ``system="db-1"``."""
    try:
        return str(read_matcher(text))
    except MatcherError as error:
        raise PydanticCustomError("matcher", "{problem}", {"problem": str(error)}) from None


MatcherText = Annotated[str, Field(min_length=1, max_length=TEXT_CHARS), AfterValidator(matcher_text)]
MatcherTexts = Annotated[
    tuple[MatcherText, ...], Field(max_length=MATCHERS), AfterValidator(not_empty), AfterValidator(unique)
]


def _says_something(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what would hold for an alert without any label, and so for all; this is Alertmanager's rule."""
    if all(read_matcher(text).matches_empty for text in texts):
        raise PydanticCustomError("matches_all", "at least one must not match the empty text")
    return texts


class Silence(Record):
    """Alerts that every matcher fits are silent from ``starts_at`` until just before ``ends_at``.

    Attributes:
        starts_at: None is from the beginning.
        publisher: only the alerts of this one; None is everybody's.
    """

    matchers: Annotated[MatcherTexts, AfterValidator(_says_something)]
    starts_at: Moment | None = None
    ends_at: Moment
    comment: Line
    created_by: Line | None = None
    publisher: Identifier | None = None

    @field_validator("ends_at", mode="after")
    @classmethod
    def _ends_after_start(cls, value: datetime, info: ValidationInfo) -> datetime:
        start = info.data.get("starts_at")
        if start is not None and value <= start:
            raise PydanticCustomError("order", "must be after starts_at")
        return value

    @cached_property
    def parsed(self) -> tuple[Matcher, ...]:
        """The matchers."""
        return tuple(map(read_matcher, self.matchers))

    def holds_at(self, now: datetime) -> bool:
        """Whether it is on at an aware time."""
        return self.state_at(now) == "holds"

    def state_at(self, now: datetime) -> SilenceState:
        """Whether it holds at an aware time, is to begin, or is over."""
        if now >= self.ends_at:
            return "over"
        return "pending" if self.starts_at is not None and now < self.starts_at else "holds"

    def is_about(self, labels: Labels) -> bool:
        """Whether it is about an alert with these labels, whenever that is."""
        return all_match(self.parsed, labels)


class NamedSilence(Silence):
    """A record with the id that it is written under."""

    silence: Identifier

    @property
    def record(self) -> Silence:
        """The record without the id."""
        return Silence.model_validate(self.model_dump(exclude={"silence"}, exclude_unset=True))
