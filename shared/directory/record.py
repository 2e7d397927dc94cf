"""What every record of the directory has in common."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Written once and used for years: an unknown field is refused, because a misspelt one would go unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, serialize_by_alias=True)
