"""Publishes that announce nothing themselves: they act on a notification, an alert, a session or the directory."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, StrictBool, Tag, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from services.router.payloads.envelope import JsonObject, Payload
from services.router.payloads.push_to import text_or_object
from services.router.payloads.rejection import OBJECT_TAG, TEXT_TAG
from shared.core.durations import Duration
from shared.core.fields import Email, Identifier, Line, Moment, Word
from shared.directory.liveness import SourceName
from shared.directory.policies import NotifyTarget

NOTE_CHARS = 1_000
# Milliseconds since 1970 fit, and a JSON number holds it exactly in every language.
SESSION = 10**15 - 1

Session = Annotated[int, Field(strict=True, ge=0, le=SESSION)]
Note = Annotated[str, Field(min_length=1, max_length=NOTE_CHARS)]


class Cancel(Payload):
    """``notifications/cancel/{notification_id}``: end what has not left yet.

    Attributes:
        recall: take back what was delivered, too.
    """

    notification_id: Identifier
    recall: StrictBool = False


class AlertAcknowledge(Payload):
    """``notifications/alerts/acknowledge/{alert_id}``: ``user_id`` has seen it and takes it."""

    alert_id: Identifier
    user_id: Identifier
    note: Note | None = None


class AlertResolve(Payload):
    """``notifications/alerts/resolve/{alert_id}``: the trouble is over.

    Attributes:
        user_id: who says so, where it is a person.
    """

    alert_id: Identifier
    user_id: Identifier | None = None
    note: Note | None = None


class AlertSnooze(Payload):
    """``notifications/alerts/snooze/{alert_id}``: ``user_id`` takes it, and it is open again at the end.

    Attributes:
        length: how long from now on, in place of ``until``.
    """

    alert_id: Identifier
    user_id: Identifier
    length: Duration | None = Field(default=None, alias="for")
    until: Moment | None = Field(default=None, validate_default=True)
    note: Note | None = None

    @field_validator("until", mode="after")
    @classmethod
    def _one_end(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        if value is None and info.data.get("length", ...) is None:
            raise PydanticCustomError("alternative", "required, or for")
        if value is not None and info.data.get("length") is not None:
            raise PydanticCustomError("alternative", "not together with for")
        return value


class AlertReassign(Payload):
    """``notifications/alerts/reassign/{alert_id}``: ``user_id`` hands it on, and it escalates from there."""

    alert_id: Identifier
    user_id: Identifier
    to: NotifyTarget
    note: Note | None = None


Answer: TypeAlias = AlertAcknowledge | AlertResolve | AlertSnooze | AlertReassign

DeviceInfo = Annotated[
    Annotated[JsonObject, Tag(OBJECT_TAG)] | Annotated[Line, Tag(TEXT_TAG)],
    Discriminator(
        text_or_object, custom_error_type="device_info", custom_error_message="must be an object or a string"
    ),
]


class _Session(Payload):
    """A session that somebody else's gateway holds."""

    user_id: Identifier
    session_id: Identifier | None = None
    # Checked as gateways send it, and kept nowhere: nobody reads it, and it may be personal.
    device_info: DeviceInfo | None = None


class SessionConnect(_Session):
    """``websocket/connect/{user_id}``: with a tenant, only its notifications and nobody's are shown."""

    tenant: Identifier | None = None


class SessionDisconnect(_Session):
    """``websocket/disconnect/{user_id}``."""


class SessionHeartbeat(_Session):
    """``websocket/heartbeat/{user_id}``."""


class DeleteUser(Payload):
    """An empty payload on ``directory/user/{user_id}``: forget this person."""

    user_id: Identifier


class DeleteOnCall(Payload):
    """An empty payload on ``directory/oncall/{alert_type}``: forget this entry."""

    alert_type: Identifier


class DeletePublisher(Payload):
    """An empty payload on ``directory/publisher/{publisher}``: forget this record and its keys."""

    publisher: Identifier


class DeleteCategory(Payload):
    """An empty payload on ``directory/category/{category}``: forget this category."""

    category: Identifier


class DeleteTenant(Payload):
    """An empty payload on ``directory/tenant/{tenant}``: forget this tenant."""

    tenant: Identifier


class DeletePolicy(Payload):
    """An empty payload on ``directory/policy/{policy}``: forget this policy."""

    policy: Identifier


class DeleteLiveness(Payload):
    """An empty payload on ``directory/liveness/{source}``: it is not expected any more."""

    source: SourceName


class Beat(Payload):
    """``liveness/{source}``: the source is alive, whatever the payload says."""

    source: SourceName


class Birth(Payload):
    """``liveness/{source}/birth``: it has connected.

    Attributes:
        session: a number that is another one at each connect; its Last Will says the same.
    """

    source: SourceName
    session: Session | None = None


class Death(Payload):
    """``liveness/{source}/death``: its connection is gone; usually its Last Will.

    Attributes:
        session: that of the birth before.
        clean: it goes of its own will, and nobody need be told.
    """

    source: SourceName
    session: Session | None = None
    clean: StrictBool = False


class DeleteSilence(Payload):
    """An empty payload on ``directory/silence/{silence}``: end this silence, and forget it."""

    silence: Identifier


class DeleteInhibition(Payload):
    """An empty payload on ``directory/inhibition/{inhibition}``: forget this inhibition."""

    inhibition: Identifier


DeleteRule: TypeAlias = DeletePolicy | DeleteSilence | DeleteInhibition
Said: TypeAlias = Beat | Birth | Death
Delete: TypeAlias = (
    DeleteUser | DeleteOnCall | DeletePublisher | DeleteCategory | DeleteTenant | DeleteRule | DeleteLiveness
)


class Suppress(Payload):
    """``directory/suppress/{channel}``: an address that bounced, complained or unsubscribed, or is to be used again.

    Attributes:
        reason: required, except to take back all reasons.
        category: what was unsubscribed from; None is every category.
        detail: what the report says, for example a status code.
        remove: take it back.
    """

    model_config = ConfigDict(extra="forbid")

    # The one channel whose service asks the list.
    channel: Literal["email"]
    address: Email
    remove: StrictBool = False
    reason: Literal["bounce", "complaint", "unsubscribed"] | None = Field(default=None, validate_default=True)
    category: Word | None = None
    detail: Line | None = None

    @field_validator("category", mode="after")
    @classmethod
    def _is_unsubscribed_from(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("reason", "unsubscribed") != "unsubscribed":
            raise PydanticCustomError("alternative", "only with the reason unsubscribed")
        return value

    @field_validator("reason", mode="after")
    @classmethod
    def _is_said(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and not info.data.get("remove", True):
            raise PydanticCustomError("alternative", "required, or remove")
        return value


Control: TypeAlias = Cancel | Answer | SessionConnect | SessionDisconnect | SessionHeartbeat | Delete | Suppress | Said
