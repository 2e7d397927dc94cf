"""Until when a client wants an entry or an alert to be put away, in a request or in a frame."""

import math
from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from services.realtime.access.refusals import FieldProblem, invalid
from shared.core.durations import Duration
from shared.core.fields import Moment

UNTIL = {
    "anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}],
    "description": "Seconds since 1970, or RFC 3339 with a zone.",
}
FOR = {
    "anyOf": [
        {"type": "string", "pattern": "^[1-9][0-9]{0,6}[smhd]$"},
        {"type": "number", "exclusiveMinimum": 0},
    ],
    "description": "`30s`, `10m`, `2h` or `7d`; a number is seconds.",
}


class Snooze(BaseModel):
    """Until when an entry is put away: one of the two fields."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"oneOf": [{"required": ["until"]}, {"required": ["for"]}]}
    )

    until: Annotated[Moment | None, WithJsonSchema(UNTIL)] = None
    length: Annotated[Duration | None, WithJsonSchema(FOR)] = Field(None, alias="for")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.until is None) is (self.length is None):
            raise PydanticCustomError("one_of", "needs either until or for")
        return self

    def ends_at(self, now: datetime, longest: timedelta) -> datetime:
        """Return when it comes back.

        Raises:
            Refusal: that is in the past, or further ahead than the longest time for which it may be put away.
        """
        ends_at = now + self.length if self.length is not None else self.until
        assert ends_at is not None  # noqa: S101 - see _one_of_both
        name = "for" if self.length is not None else "until"
        if ends_at <= now:
            raise invalid(FieldProblem(name, "must be in the future"))
        if ends_at > now + longest:
            raise invalid(FieldProblem(name, f"must be at most {math.floor(longest.total_seconds())} seconds ahead"))
        return ends_at
