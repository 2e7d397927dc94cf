"""The router's settings."""

import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from shared.core.model import RECALLED_TEXT
from shared.core.rates import Rate, read_rate
from shared.directory.quiet_hours import QuietHours
from shared.runtime.settings import CommonSettings


def _read_json(value: object) -> object:
    """Read a document that the environment holds as a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError("json", "must be a JSON object") from None


class PlanningSettings(CommonSettings):
    """What planning goes by: the router's, and whoever asks what it would decide."""

    router_push_hold_s: float = Field(
        3, ge=0, le=60, description="a low or normal push to somebody who is looking waits so long, seconds; 0: never"
    )
    router_person_daily_limit: int = Field(
        0, ge=0, le=100_000, description="notifications that a person hears within 24 hours; 0: no limit"
    )
    router_quiet_hours: Annotated[QuietHours | None, NoDecode, BeforeValidator(_read_json)] = Field(
        None, description="quiet hours of everybody whom nobody else says any for, as JSON"
    )
    router_release_within_s: float = Field(
        60, ge=0, le=3600, description="what quiet hours have held leaves spread over so long after them, seconds"
    )
    templates_dir: Path | None = Field(None, description="folder of the templates that notifications may name")


class RouterSettings(PlanningSettings):
    """What the router reads beside the common settings."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "ROUTER_", "TEMPLATES_")

    ops_port: int = Field(9100, ge=0, le=65535)
    router_batch: int = Field(25, ge=1, le=1000, description="publishes taken at a time")
    router_alert_template: str | None = Field(
        None, description="template in TEMPLATES_DIR that alerts are written with; empty: the built-in texts"
    )
    router_audit_interval_s: float = Field(60, ge=1, le=3600, description="time from one audit to the next, seconds")
    router_task_concurrency: int = Field(
        8, ge=1, le=100, description="fan-out pages and other tasks in hand; of short ones up to four times as many"
    )
    router_unknown_fields: Literal["warn", "reject"] = Field(
        "warn", description="a field of a notification that is not known: warn in the receipt, or reject"
    )
    router_recalled_text: str = Field(
        RECALLED_TEXT, min_length=1, max_length=200, description="what a device shows in the place of a recalled push"
    )
    router_publisher_rate: Annotated[Rate, NoDecode, BeforeValidator(read_rate)] = Field(
        Rate(1000, 60), description="publishes of one publisher on from/…, such as 1000/60s; 0: no limit"
    )
