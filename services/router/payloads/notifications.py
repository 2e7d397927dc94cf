"""The notifications that publishers may send, one model per topic, with the limits of every field.

Fields that a model does not know are ignored, so that publishers may be newer than Carillon; a field that it knows must
have its type, without conversions. The level of a topic stands in the model under its name, next to the payload's
fields. Alerts, status and maintenance have the priority of their topic, whatever the payload says.

Limits of a single channel (4,096 bytes of push, segments of an SMS) are the channel's: it shortens or refuses.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from services.router.payloads.rejection import LIST_TAG, OBJECT_TAG, TEXT_TAG
from shared.fields import (
    Channels,
    DeviceToken,
    Email,
    Identifier,
    Line,
    Moment,
    Phone,
    Word,
    not_empty,
    single_line,
    unique,
)
from shared.model import Platform, Priority
from shared.people import GROUPS, PushSubscription

KEY_CHARS = 128
# Read on a phone or a page; whatever is longer is a document and belongs behind a link.
MESSAGE_CHARS = 10_000
# Never reached: the payload ends at 64 KiB. It bounds a body that comes by another way.
BODY_CHARS = 65_536
# Twilio, Message resource, parameter Body: at most 1,600 characters, error 21617 beyond.
SMS_CHARS = 1_600
BATCH_EMAILS = 1_000
PUSH_TOKENS = 500
SYSTEMS = 200
# System.Text.Json reads 64 levels by default (JsonSerializerOptions.MaxDepth); our own jobs add a few around it.
DATA_DEPTH = 32
# MQTT 5, 3.3.2.3.3: the message expiry, which counts as ttl_s, is a four-byte number of seconds.
TTL_S = 2**32 - 1


def _bounded(data: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is JSON to one reader only: deep nesting, and 1e999, which Python reads as infinity."""
    level: list[dict[str, Any] | list[Any]] = [data]
    for _ in range(DATA_DEPTH):
        below: list[dict[str, Any] | list[Any]] = []
        for container in level:
            for value in container.values() if isinstance(container, dict) else container:
                if isinstance(value, (dict, list)):
                    below.append(value)
                elif isinstance(value, float) and not isfinite(value):
                    raise PydanticCustomError("number_range", "holds a number that is out of range")
        if not below:
            return data
        level = below
    raise PydanticCustomError("depth", "nested too deep: at most {levels} levels", {"levels": DATA_DEPTH})


JsonObject = Annotated[dict[str, Any], AfterValidator(_bounded)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_CHARS), AfterValidator(single_line)]
Message = Annotated[str, Field(min_length=1, max_length=MESSAGE_CHARS)]
Body = Annotated[str, Field(min_length=1, max_length=BODY_CHARS)]
Names = Annotated[tuple[Line, ...], Field(max_length=SYSTEMS), AfterValidator(unique)]


class Payload(BaseModel):
    """Frozen, tolerant of unknown fields, and silent about its content where it is printed."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        # Titles, bodies and addresses would otherwise stand in every traceback that shows a model.
        return []


class Envelope(Payload):
    """What every notification may say beside its content.

    Attributes:
        id: the publisher's idempotency key.
        channels: only these.
        send_at: not before.
        expires_at: not after; so does ``ttl_s``, counted from the acceptance, and the earlier of both counts.
        events: publish each later step.
    """

    id: Key | None = None
    category: Word | None = None
    channels: Channels | None = None
    send_at: Moment | None = None
    expires_at: Moment | None = None
    ttl_s: Annotated[float, Field(strict=True, gt=0, le=TTL_S)] | None = None
    events: StrictBool = False

    @field_validator("expires_at", mode="after")
    @classmethod
    def _expires_after_sending(cls, value: Moment | None, info: ValidationInfo) -> Moment | None:
        send_at = info.data.get("send_at")
        if value is not None and send_at is not None and value <= send_at:
            raise PydanticCustomError("order", "must be after send_at")
        return value


class Prioritised(Envelope):
    """A notification whose publisher says how urgent it is."""

    priority: Priority = Priority.NORMAL


class Realtime(Prioritised):
    """Something to read in the inbox."""

    message: Message
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
    """Something is wrong; ``dedup_key`` names what, so that one trouble is one alert."""

    alert_type: Identifier
    message: Message
    source: Line | None = None
    severity: Word | None = None
    affected_systems: Names = ()
    data: JsonObject = Field(default_factory=dict)
    dedup_key: Key | None = None


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

    message: Message
    status: Word | None = None
    services: Services = ()


class SystemMaintenance(Envelope):
    """``notifications/system/maintenance``."""

    priority: ClassVar[Priority] = Priority.HIGH

    message: Message
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


class EmailSend(Prioritised):
    """``notifications/email/send``: one mail to one address; without a ``body`` its text is made from ``html_body``."""

    to: Email
    subject: Line
    html_body: Body | None = None
    body: Body | None = Field(default=None, validate_default=True)

    @field_validator("body", mode="after")
    @classmethod
    def _text_or_html(cls, value: str | None, info: ValidationInfo) -> str | None:
        # An html_body that is not valid is missing here, and is a problem of its own.
        if value is None and info.data.get("html_body", "") is None:
            raise PydanticCustomError("alternative", "required, or html_body")
        return value


def _without_nulls(value: object) -> object:
    return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


class EmailBatch(Prioritised):
    """``notifications/email/batch``: what it says of sending counts for each mail that does not say otherwise."""

    inherited: ClassVar[tuple[str, ...]] = (
        "category",
        "channels",
        "send_at",
        "expires_at",
        "ttl_s",
        "events",
        "priority",
    )

    emails: Annotated[
        tuple[Annotated[EmailSend, BeforeValidator(_without_nulls)], ...],
        Field(max_length=BATCH_EMAILS),
        AfterValidator(not_empty),
    ]

    @field_validator("emails", mode="after")
    @classmethod
    def _inherit(cls, emails: tuple[EmailSend, ...], info: ValidationInfo) -> tuple[EmailSend, ...]:
        said = {
            name: info.data[name]
            for name in cls.inherited
            if name in info.data and info.data[name] != cls.model_fields[name].default
        }
        if not said:
            return emails
        return tuple(
            mail.model_copy(update={name: said[name] for name in said.keys() - mail.model_fields_set})
            for mail in emails
        )


class SmsSend(Prioritised):
    """``notifications/sms/send``."""

    phone: Phone
    message: Annotated[str, Field(min_length=1, max_length=SMS_CHARS)]


def text_or_object(value: object) -> str | None:
    """Tell the two forms of a field apart: a string or an object; None is neither."""
    if isinstance(value, (Mapping, PushSubscription)):
        return OBJECT_TAG
    return TEXT_TAG if isinstance(value, str) else None


PushToken = Annotated[
    Annotated[DeviceToken, Tag(TEXT_TAG)] | Annotated[PushSubscription, Tag(OBJECT_TAG)],
    Discriminator(
        text_or_object, custom_error_type="token", custom_error_message="must be a string or a subscription object"
    ),
]


class PushMobile(Prioritised):
    """``notifications/push/mobile/{platform}``: to a person's devices of that platform, to these tokens, or to both."""

    platform: Platform
    message: Message
    title: Line = "Notification"
    data: JsonObject = Field(default_factory=dict)
    tokens: (
        Annotated[
            tuple[PushToken, ...], Field(max_length=PUSH_TOKENS), AfterValidator(not_empty), AfterValidator(unique)
        ]
        | None
    ) = None
    user_id: Identifier | None = Field(default=None, validate_default=True)

    @field_validator("tokens", mode="after")
    @classmethod
    def _fit_platform(cls, value: tuple[PushToken, ...] | None, info: ValidationInfo) -> tuple[PushToken, ...] | None:
        platform = info.data.get("platform")
        if value is None or platform is None:
            return value
        wanted = PushSubscription if platform is Platform.WEB else str
        if not all(isinstance(token, wanted) for token in value):
            if platform is Platform.WEB:
                raise PydanticCustomError("token", "must be subscription objects for web")
            raise PydanticCustomError("token", "must be strings for ios and android")
        return value

    @field_validator("user_id", mode="after")
    @classmethod
    def _user_or_tokens(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("tokens", ()) is None:
            raise PydanticCustomError("alternative", "required, or tokens")
        return value


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
)
