"""The notifications that publishers may send, one model per topic, with the limits of every field.

Fields that a model does not know are ignored, so that publishers may be newer than Carillon. A field that it knows must
have its type, without conversions. The level of a topic stands in the model under its name, next to the payload's
fields. Alerts, status and maintenance have the priority of their topic, whatever the payload says.

Limits of a single channel (4,096 bytes of push, segments of an SMS) are the channel's: it shortens or refuses.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from services.router.payloads.envelope import (
    SMS_CHARS,
    SYSTEMS,
    Body,
    Envelope,
    JsonObject,
    Key,
    Names,
    Prioritised,
)
from services.router.payloads.mails import EmailBatch, EmailSend
from services.router.payloads.push_to import PushTo
from services.router.payloads.rejection import LIST_TAG, OBJECT_TAG
from services.router.payloads.templated import TemplatedNotification
from shared.core.durations import Duration
from shared.core.fields import Identifier, Line, Moment, Phone, Word, unique
from shared.core.model import Priority
from shared.directory.people import GROUPS

# Labels of an alert that its publisher may add.
LABELS = 64


class Realtime(Prioritised):
    """Something to read in the inbox."""

    message: Body
    title: Line = "Notification"
    type: Word = "info"
    data: JsonObject = Field(default_factory=dict)


class RealtimeUser(Realtime):
    """``notifications/realtime/user/{user_id}``."""

    user_id: Identifier


class RealtimeGroup(Realtime):
    """``notifications/realtime/group/{group_id}``: to the group's members."""

    group_id: Identifier


class RealtimeBroadcast(Realtime):
    """``notifications/realtime/broadcast``; no ``target_groups`` is everybody."""

    target_groups: Annotated[tuple[Identifier, ...], Field(max_length=GROUPS), AfterValidator(unique)] = ()


class Alert(Envelope):
    """Something is wrong; ``dedup_key`` names what, so that one trouble is one alert.

    Attributes:
        group_key: alerts with the same one are members of one incident.
        starts_at: since when it has been so.
        expires_after: it is over when nobody has said for so long that it is still so.
        status: a resolved one ends the open one with its ``dedup_key``, and tells nobody.
    """

    alert_type: Identifier
    message: Body
    source: Line | None = None
    severity: Word | None = None
    affected_systems: Names = ()
    labels: Annotated[dict[Line, Line], Field(max_length=LABELS)] = Field(default_factory=dict)
    data: JsonObject = Field(default_factory=dict)
    dedup_key: Key | None = None
    group_key: Key | None = None
    starts_at: Moment | None = None
    status: Literal["firing", "resolved"] = "firing"
    expires_after: Duration | None = None


class CriticalAlert(Alert):
    """``notifications/alerts/critical/{alert_type}``."""

    level: ClassVar[Literal["critical"]] = "critical"
    priority: ClassVar[Priority] = Priority.CRITICAL


class WarningAlert(Alert):
    """``notifications/alerts/warning/{alert_type}``."""

    level: ClassVar[Literal["warning"]] = "warning"
    priority: ClassVar[Priority] = Priority.HIGH


class InfoAlert(Alert):
    """``notifications/alerts/info/{alert_type}``."""

    level: ClassVar[Literal["info"]] = "info"
    priority: ClassVar[Priority] = Priority.NORMAL


def _list_or_object(value: object) -> str | None:
    if isinstance(value, Mapping):
        return OBJECT_TAG
    return LIST_TAG if isinstance(value, (list, tuple)) else None


Services = Annotated[
    Annotated[Names, Tag(LIST_TAG)]
    | Annotated[Annotated[dict[Line, Line], Field(max_length=SYSTEMS)], Tag(OBJECT_TAG)],
    Discriminator(_list_or_object, custom_error_type="services", custom_error_message="must be a list or an object"),
]


class SystemStatus(Envelope):
    """``notifications/system/status``; ``services`` are names, or names with their states."""

    priority: ClassVar[Priority] = Priority.NORMAL

    message: Body
    status: Word | None = None
    services: Services = ()


class SystemMaintenance(Envelope):
    """``notifications/system/maintenance``."""

    priority: ClassVar[Priority] = Priority.HIGH

    message: Body
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    services: Names = ()

    @field_validator("ends_at", mode="after")
    @classmethod
    def _ends_after_start(cls, value: Moment | None, info: ValidationInfo) -> Moment | None:
        starts_at = info.data.get("starts_at")
        if value is not None and starts_at is not None and value <= starts_at:
            raise PydanticCustomError("order", "must be after starts_at")
        return value


class SmsSend(Prioritised):
    """``notifications/sms/send``."""

    phone: Phone
    message: Annotated[str, Field(min_length=1, max_length=SMS_CHARS)]


class PushMobile(PushTo):
    """``notifications/push/mobile/{platform}``: to a person's devices of that platform, to these tokens, or to both."""

    message: Body
    title: Line = "Notification"
    data: JsonObject = Field(default_factory=dict)


Notification: TypeAlias = (
    RealtimeUser
    | RealtimeGroup
    | RealtimeBroadcast
    | CriticalAlert
    | WarningAlert
    | InfoAlert
    | SystemStatus
    | SystemMaintenance
    | EmailSend
    | EmailBatch
    | SmsSend
    | PushMobile
    | TemplatedNotification
)
