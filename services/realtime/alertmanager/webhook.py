"""Reads what Alertmanager posts to a webhook: version 4 of its message.

Promises that any bytes end in a message, an ``UnreadableMessage`` or, for a single alert, an ``UnreadableAlert``: one
wrong alert does not take the others with it. Neither repeats what was posted.

The message is that of Alertmanager's documentation, "Configuration", ``<webhook_config>``, and of its
``notify/webhook/webhook.go`` and ``template/template.go``. What is common to all alerts stands in each of them, too,
and is not read.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from services.realtime.access.bodies import read_json
from services.realtime.access.refusals import FieldProblem, from_validation

VERSION = "4"

Texts = dict[str, str]

_MAPS = ("annotations", "groupLabels", "labels")


class AlertStatus(StrEnum):
    """Whether an alert goes on."""

    FIRING = "firing"
    RESOLVED = "resolved"


class _Posted(BaseModel):
    """Frozen, and tolerant of the fields of later releases."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, strict=True, alias_generator=to_camel
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: object) -> object:
        """Take null for an empty map: Go writes so one that was never made."""
        if not isinstance(value, dict):
            return value
        return {name: each for name, each in value.items() if each is not None or name not in _MAPS}


class Message(_Posted):
    """One message: the alerts of one group as they are now.

    Attributes:
        group_key: names the group and the route, the same in every member of a cluster.
        truncated_alerts: how many alerts of the group ``max_alerts`` has left out.
        alerts: not read yet.
    """

    version: Literal["4"]
    group_key: str = Field(min_length=1)
    truncated_alerts: Annotated[StrictInt, Field(ge=0)] = 0
    receiver: str = ""
    group_labels: Texts = Field(default_factory=dict)
    external_url: str = Field("", alias="externalURL")
    alerts: list[Any]


class Alert(_Posted):
    """One alert.

    Attributes:
        starts_at, ends_at: RFC 3339, as they were written.
        fingerprint: of the labels; empty in messages of very old releases.
    """

    status: Annotated[AlertStatus, Field(strict=False)]
    labels: Texts
    annotations: Texts = Field(default_factory=dict)
    starts_at: str = ""
    ends_at: str = ""
    generator_url: str = Field("", alias="generatorURL")
    fingerprint: str = ""


class UnreadableMessage(Exception):
    """Nothing of the message can be used.

    Attributes:
        problems: what is wrong, field by field.
    """

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("unreadable message")
        self.problems = tuple(problems)


class UnreadableAlert(Exception):
    """One alert of a message cannot be used.

    Attributes:
        problems: what is wrong, field by field, within the alert.
    """

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("unreadable alert")
        self.problems = tuple(problems)


def read_message(body: bytes) -> Message:
    """Read a message, but not its alerts.

    Raises:
        UnreadableMessage: it is no JSON, of another version, or lacks what it must have.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise UnreadableMessage([FieldProblem("body", "must be a JSON object in UTF-8")])
    try:
        return Message.model_validate(value)
    except ValidationError as error:
        raise UnreadableMessage(from_validation(error).fields) from None


def read_alert(value: object) -> Alert:
    """Read one alert of a message.

    Raises:
        UnreadableAlert: it lacks what it must have.
    """
    try:
        return Alert.model_validate(value)
    except ValidationError as error:
        # Named by the field and never by a label, which a user has made up.
        fields = dict.fromkeys(problem.field.split(".", 1)[0] for problem in from_validation(error).fields)
        raise UnreadableAlert([FieldProblem(name, "missing, or not what it must be") for name in fields]) from None
