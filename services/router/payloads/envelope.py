"""The fields that every notification may have, with their types and limits.

The models are frozen and ignore unknown fields. A printed model does not show its content.
"""

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from services.router.payloads.rejection import FLAG_TAG, TEXT_TAG
from shared.core.fields import (
    WORD_CHARS,
    Channels,
    HttpsUrl,
    Identifier,
    Line,
    Moment,
    Word,
    identifier,
    single_line,
    unique,
)
from shared.core.model import Priority

KEY_CHARS = 128
# Never reached: the payload ends at 64 KiB, and a text may fill it. It bounds one that comes by another way.
BODY_CHARS = 65_536
# Twilio, Message resource, parameter Body: at most 1,600 characters, error 21617 beyond.
SMS_CHARS = 1_600
SYSTEMS = 200
# As many as fit beside each other on a phone.
ACTIONS = 3
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
Body = Annotated[str, Field(min_length=1, max_length=BODY_CHARS)]
Names = Annotated[tuple[Line, ...], Field(max_length=SYSTEMS), AfterValidator(unique)]


class Payload(BaseModel):
    """Frozen, tolerant of unknown fields, and silent about its content where it is printed."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        # Titles, bodies and addresses would otherwise stand in every traceback that shows a model.
        return []


def _flag_or_text(value: object) -> str | None:
    if isinstance(value, bool):
        return FLAG_TAG
    return TEXT_TAG if isinstance(value, str) else None


ActionTopic = Annotated[
    Annotated[StrictBool, Tag(FLAG_TAG)] | Annotated[Word, Tag(TEXT_TAG)],
    Discriminator(
        _flag_or_text, custom_error_type="action_topic", custom_error_message="must be true, false or a string"
    ),
]


class Action(Payload):
    """What a reader can do with a notification in the inbox.

    Attributes:
        topic: pressing it is published on ``notifications/actions/{notification_id}/{id}``; a text is sent along.
    """

    id: Annotated[str, Field(min_length=1, max_length=WORD_CHARS), AfterValidator(identifier)]
    label: Line
    url: HttpsUrl | None = None
    style: Literal["primary"] | None = None
    topic: ActionTopic | None = Field(default=None, validate_default=True)

    @field_validator("topic", mode="after")
    @classmethod
    def _leads_somewhere(cls, value: bool | str | None, info: ValidationInfo) -> bool | str | None:
        url = info.data.get("url", ...)
        if not value and url is None:
            raise PydanticCustomError("alternative", "required, or url")
        if value and url not in (None, ...):
            raise PydanticCustomError("alternative", "not together with url")
        return value


def _one_each(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    if len({action.id for action in actions}) < len(actions):
        raise PydanticCustomError("repeated", "must have an id of its own each")
    return actions


class Envelope(Payload):
    """What every notification may say beside its content.

    Attributes:
        id: the publisher's idempotency key.
        tenant: whose customer's it is.
        channels: only these.
        send_at: not before.
        expires_at: not after; so does ``ttl_s``, counted from the acceptance, and the earlier of both counts.
        events: publish each later step.
    """

    id: Key | None = None
    category: Word | None = None
    tenant: Identifier | None = None
    channels: Channels | None = None
    send_at: Moment | None = None
    expires_at: Moment | None = None
    ttl_s: Annotated[float, Field(strict=True, gt=0, le=TTL_S)] | None = None
    events: StrictBool = False
    actions: Annotated[tuple[Action, ...], Field(max_length=ACTIONS), AfterValidator(_one_each)] = ()

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
