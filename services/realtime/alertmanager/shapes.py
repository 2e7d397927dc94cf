"""The models of Alertmanager's webhook: the document is written from them, and tests compare real answers with them."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WithJsonSchema

from services.realtime.publish.shapes import Absent, Count, Warned
from shared.core.durations import Duration
from shared.core.fields import Identifier

Level = Literal["critical", "warning", "info"]
Length = Annotated[Duration, WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,4}[smhd]$"})]


class AlertTypePath(BaseModel):
    """Which type the alerts have."""

    alert_type: Identifier = Field(description="The type of the alerts. Their on-call entry is that of the type.")


class WebhookQuery(BaseModel):
    """How the alerts are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Annotated[Level | None, WithJsonSchema(TypeAdapter(Level).json_schema())] = Field(
        None,
        description="The level of every alert. Without it the label `severity` decides: `warning` and `warn`; `info`, "
        "`information` and `none`; any other, and none, is critical.",
    )
    expires_after: Length = Field(
        timedelta(days=1),
        description="An alert of which no message came for so long counts as resolved: Alertmanager sends none while a "
        "silence holds. Longer than Alertmanager's `repeat_interval`. `30m`, `24h` or `7d`.",
    )


class WebhookMessage(BaseModel):
    """Version 4 of the message of Alertmanager's webhook."""

    version: Literal["4"]
    group_key: str = Field(alias="groupKey", min_length=1)
    truncated_alerts: Count = Field(0, alias="truncatedAlerts")
    alerts: list[dict[str, Any]]


class RefusedAlert(BaseModel):
    """An alert that was refused for good."""

    alert: Count = Field(description="Its place in the message, counted from 0.")
    code: str = Field(description="`unreadable`, `too_many`, or the code of the router's receipt.")
    message: str = Field(description="A sentence for people.")
    fields: list[Warned] | Absent = None


class TakenMessage(BaseModel):
    """What became of the alerts of a message. All but the refused ones are in the ledger."""

    accepted: Count
    duplicates: Count = Field(description="Taken before, in the same state.")
    refused: Count
    refusals: list[RefusedAlert] | Absent = Field(None, description="Why, for the first 20.")
    truncated: Count = Field(description="Alerts that Alertmanager has left out. They are not resolved by that.")
    labels_left_out: Count = Field(description="Labels that are not within the limits of ours.")
