"""Inhibitions: which open alerts make others needless to tell of. The records under ``directory/inhibition/{name}``."""

from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, Field

from shared.core.fields import Identifier, single_line, unique
from shared.core.matchers import MATCHERS, NAME_CHARS, Matcher, read_matcher
from shared.directory.record import Record
from shared.directory.silences import MatcherTexts

LabelName = Annotated[str, Field(min_length=1, max_length=NAME_CHARS), AfterValidator(single_line)]


class Inhibition(Record):
    """While an alert that fits ``source`` is open, alerts that fit ``target`` tell nobody.

    Attributes:
        equal: only where each of these labels says the same on both; a missing one counts as empty.
    """

    source: MatcherTexts
    target: MatcherTexts
    equal: Annotated[tuple[LabelName, ...], Field(max_length=MATCHERS), AfterValidator(unique)] = ()

    @cached_property
    def sources(self) -> tuple[Matcher, ...]:
        """The matchers of ``source``."""
        return tuple(map(read_matcher, self.source))

    @cached_property
    def targets(self) -> tuple[Matcher, ...]:
        """The matchers of ``target``."""
        return tuple(map(read_matcher, self.target))


class NamedInhibition(Inhibition):
    """A record with the name that it is written under."""

    inhibition: Identifier

    @property
    def record(self) -> Inhibition:
        """The record without the name."""
        return Inhibition.model_validate(self.model_dump(exclude={"inhibition"}, exclude_unset=True))
