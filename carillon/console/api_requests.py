"""What may be asked of the console, with the limits of every field."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

from shared.core.durations import Duration
from shared.core.fields import Identifier, Moment
from shared.core.topics import TOPIC_BYTES
from shared.ledger.past import LONGEST_SPAN_S

RECORDS = 10_000
# Planned within the time that a request may take, with some room.
NOTIFICATIONS = 20_000


def _is_remembered(since: timedelta) -> timedelta:
    if since.total_seconds() > LONGEST_SPAN_S:
        raise PydanticCustomError("duration", "must be at most 7d")
    return since


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ExplainRequest(_Request):
    """``POST /v1/explain``: a publish that is not made.

    Attributes:
        user: only what this person gets.
        at: as if it were this time.
    """

    topic: Annotated[str, Field(min_length=1, max_length=TOPIC_BYTES)]
    payload: dict[str, Any]
    user: Identifier | None = None
    at: Moment | None = None


class ReplayRequest(_Request):
    """``POST /v1/replay-decisions``: a change that is not made.

    Attributes:
        records: what is laid over, as ``carillon directory import`` takes it.
        user: only what went to this person.
        people: compare person by person, too.
        limit: of notifications, the earliest first.
    """

    since: Annotated[Duration, AfterValidator(_is_remembered)] = timedelta(days=7)
    records: Annotated[list[dict[str, Any]], Field(alias="with", max_length=RECORDS)]
    user: Identifier | None = None
    people: StrictBool = False
    limit: Annotated[int, Field(strict=True, ge=1, le=NOTIFICATIONS)] = NOTIFICATIONS
