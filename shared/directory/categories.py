"""What notifications are about, and what follows from it: the records of categories, and tenants' changes of them.

A category says whether a person may switch it off, which channels it takes, how urgent it may be, and how often it may
be heard. A tenant's record may change each of these for its own notifications.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from shared.core.durations import Duration
from shared.core.fields import Channels, Identifier, Line, TimeOfDay, not_empty, unique
from shared.core.model import Channel, Priority
from shared.core.wall_clock import WEEKDAYS, Weekday
from shared.directory.channel_choices import ChannelChoices
from shared.directory.record import Record

Policy = Literal["opt_out", "opt_in", "required"]

LIMIT = 100_000
# Longer ones would be remembered for as long.
LONGEST_THROTTLE = timedelta(days=31)
SHORTEST_WINDOW = timedelta(seconds=1)
DIGEST_ITEMS = 200
KEY_CHARS = 128
DATA = "data."


def _data_field(text: str) -> str:
    """Refuse what names no field of a notification's data."""
    names = text.removeprefix(DATA).split(".")
    if not text.startswith(DATA) or not all(names):
        raise PydanticCustomError("data_field", "must name a field of the data, such as data.thread")
    return text


DataField = Annotated[str, Field(min_length=1, max_length=KEY_CHARS), AfterValidator(_data_field)]


class Throttle(Record):
    """How many notifications of a category a person hears within a sliding window.

    Attributes:
        then: what becomes of those beyond: dropped, held until there is room, or folded into a digest.
        key: a field of the data by whose value they are counted apart; None counts all of the category together.
    """

    limit: Annotated[int, Field(strict=True, ge=1, le=LIMIT)]
    per: Duration
    then: Literal["drop", "hold", "fold"] = "drop"
    key: DataField | None = None

    @field_validator("per", mode="after")
    @classmethod
    def _is_remembered(cls, value: timedelta) -> timedelta:
        if not SHORTEST_WINDOW <= value <= LONGEST_THROTTLE:
            raise PydanticCustomError("duration", "must be at least 1s and at most 31d")
        return value


class Schedule(Record):
    """When a digest comes, by the wall clock in the person's zone."""

    at: TimeOfDay = time(9)
    days: Annotated[tuple[Weekday, ...], AfterValidator(not_empty), AfterValidator(unique)] = WEEKDAYS


class DigestSpec(Record):
    """How notifications of a category are put together (docs/guides/attention.md).

    Attributes:
        window: how long the first one waits for others.
        at_most: how long a sliding window may become.
        mode: a sliding window ends so long after the last one.
        first: the first one goes out alone, and a second one within the window opens the digest.
        key: a field of the data by whose value they are put together.
        channels: on which they are; the others get each one at once.
        schedule: instead of a window.
        items: so many of the newest are shown; all are counted.
        template: None is a plain list.
    """

    window: Duration | None = None
    at_most: Duration | None = None
    mode: Literal["fixed", "sliding"] = "fixed"
    first: Literal["now", "wait"] = "wait"
    key: DataField | None = None
    channels: Channels = (Channel.EMAIL, Channel.PUSH)
    items: Annotated[int, Field(strict=True, ge=1, le=DIGEST_ITEMS)] = 50
    template: Identifier | None = None
    schedule: Schedule | None = Field(default=None, validate_default=True)

    @field_validator("at_most", mode="after")
    @classmethod
    def _is_longer(cls, value: timedelta | None, info: ValidationInfo) -> timedelta | None:
        window = info.data.get("window")
        if value is not None and window is not None and value < window:
            raise PydanticCustomError("order", "must not be shorter than window")
        return value

    @field_validator("schedule", mode="after")
    @classmethod
    def _one_rhythm(cls, value: Schedule | None, info: ValidationInfo) -> Schedule | None:
        window = info.data.get("window", ...)
        if value is None and window is None:
            raise PydanticCustomError("alternative", "required, or window")
        if value is not None and window not in (None, ...):
            raise PydanticCustomError("alternative", "not together with window")
        return value


class Category(Record):
    """What notifications of one kind may do.

    Attributes:
        policy: ``required`` cannot be switched off; ``opt_in`` is off until it is switched on.
        channels: on or off for those who chose nothing; one that is on is taken at every priority.
        priority_at_most: what is more urgent counts as this urgent.
        quiet_hours: whether it waits for the end of a person's quiet hours.
    """

    title: Line | None = None
    policy: Policy = "opt_out"
    channels: ChannelChoices = ChannelChoices()
    priority_at_most: Priority | None = None
    quiet_hours: Literal["respect", "ignore"] = "respect"
    throttle: Throttle | None = None
    digest: DigestSpec | None = None


class NamedCategory(Category):
    """A record with the name that it is written under."""

    category: Identifier

    @property
    def record(self) -> Category:
        """The record without the name."""
        return Category.model_validate(self.model_dump(exclude={"category"}, exclude_unset=True))


@dataclass(frozen=True, slots=True)
class KnownCategory:
    """A category as it holds for a notification: its record with what the notification's tenant has changed.

    Attributes:
        tenant: whose changes are in it.
        changed: the fields that the tenant has changed, and ``channels.email`` for a channel.
    """

    name: str
    record: Category
    tenant: str | None = None
    changed: frozenset[str] = frozenset()

    def rule(self, *fields: str) -> str:
        """Say who has decided one of these fields: ``category:billing`` or ``tenant:acme``."""
        if self.tenant is not None and not self.changed.isdisjoint(fields):
            return f"tenant:{self.tenant}"
        return f"category:{self.name}"


def with_changes(name: str, record: Category | None, tenant: str, changes: Category) -> KnownCategory:
    """Put a tenant's changes over a category; a category that is known to the tenant alone is the tenant's."""
    said = changes.model_dump(exclude_unset=True)
    before: Mapping[str, Any] = record.model_dump(exclude_unset=True) if record is not None else {}
    channels = {**before.get("channels", {}), **said.get("channels", {})}
    document = {**before, **said, **({"channels": channels} if channels else {})}
    changed = frozenset(said) | {f"channels.{channel}" for channel in said.get("channels", ())}
    return KnownCategory(name, Category.model_validate(document), tenant, changed)
