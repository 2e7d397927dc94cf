"""The models of HTTP for publishers: the document is written from them, and the tests compare real answers with them.

As in ``services.realtime.http.shapes``, an optional field is left out and never null. Receipts are the router's, as the
wire contract's section 3 has them.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, RootModel
from pydantic.json_schema import SkipJsonSchema

from services.realtime.http.shapes import Error
from shared.core.incidents import AlertState
from shared.core.model import Channel, Priority, State

DELIVERIES_DEFAULT = 100
DELIVERIES_MOST = 1_000

# Never null on the wire.
Absent = SkipJsonSchema[None]

Count = Annotated[int, Field(ge=0)]


class TopicPath(BaseModel):
    """Where to publish."""

    topic: str = Field(
        min_length=1,
        description="A topic as publishers use it on MQTT, with its slashes and without the prefix, such as "
        "`notifications/realtime/user/user123`.",
    )


class PublishHeaders(BaseModel):
    """What MQTT says in user properties."""

    idempotency_key: str | Absent = Field(
        None,
        alias="Idempotency-Key",
        description="The same key again within 24 hours is the same notification. The payload's `id` goes before it.",
    )
    traceparent: str | Absent = Field(None, description="The trace that the publish belongs to (W3C Trace Context).")
    tracestate: str | Absent = Field(None, description="As in W3C Trace Context.")
    specversion: str | Absent = Field(
        None,
        alias="ce-specversion",
        description="`1.0`: this is a CloudEvent in binary mode, and other `ce-` headers are its attributes.",
    )


class Payload(RootModel[dict[str, Any]]):
    """What the topic takes on MQTT: a JSON object.

    With the content type `application/cloudevents+json` a CloudEvent in structured mode, whose `data` is that object.
    """


class Warned(BaseModel):
    """A field and what is wrong with it, or what will not happen although the publish is accepted."""

    field: str = Field(description="Its path, such as `prioriy`.")
    problem: str
    meant: str | Absent = Field(None, description="The field that was most likely meant.")


class NotRecalled(BaseModel):
    """Deliveries of one channel that were sent, or may have been, and cannot be taken back."""

    channel: Channel
    count: Count


class Recall(BaseModel):
    """What a recall does, counted in deliveries."""

    stopped: Count = Field(description="Ended before they left.")
    inbox: Count = Field(description="Entries that leave inboxes and the feed.")
    push: Count = Field(description="Pushes that are replaced or removed where the device allows it.")
    not_recalled: list[NotRecalled]


class Accepted(BaseModel):
    """The publish is stored and will be carried out."""

    status: Literal["accepted"]
    accepted_at: str
    notification_id: str | Absent = Field(None, description="Not where nothing is announced, as in the directory.")
    alert_id: str | Absent = None
    recall: Recall | Absent = Field(None, description="For a cancellation with `recall`.")
    warnings: list[Warned] | Absent = None


class Duplicate(BaseModel):
    """A publish with that idempotency key was accepted before."""

    status: Literal["duplicate"]
    notification_id: str = Field(description="That of the first one.")
    alert_id: str | Absent = None


class Rejection(BaseModel):
    """Why a publish was not accepted."""

    code: Literal[
        "invalid_json",
        "invalid_payload",
        "too_large",
        "unknown_topic",
        "idempotency_conflict",
        "rate_limited",
        "unauthorized",
        "expired",
    ]
    message: str = Field(description="A sentence for people.")
    fields: list[Warned] | Absent = None
    retry_after_s: float | Absent = Field(None, description="When to come again, for `rate_limited`.")


class Rejected(BaseModel):
    """The router's receipt for a publish that was not accepted."""

    status: Literal["rejected"]
    error: Rejection


class NotPublished(RootModel[Rejected | Error]):
    """The router's receipt, or an error of this call itself; both say `error.code` and `error.message`."""


class NotificationPath(BaseModel):
    """Which notification."""

    id: str = Field(min_length=1, description="The `notification_id` of the receipt.")


class NotificationQuery(BaseModel):
    """How much of it."""

    limit: int = Field(
        DELIVERIES_DEFAULT,
        ge=1,
        description=f"An answer lists {DELIVERIES_MOST} deliveries at most, whatever more is asked for.",
    )


class AlertOutcome(BaseModel):
    """Where an alert stands."""

    state: AlertState
    acknowledged_by: str | Absent = None
    acknowledged_at: AwareDatetime | Absent = None
    resolved_at: AwareDatetime | Absent = None


class Confirmed(BaseModel):
    """What the provider said after it had taken the message."""

    outcome: str = Field(description="`taken`, `sent`, `delivered`, `failed` or, of a mail, `complained`.")
    at: AwareDatetime


class DeliveryOutcome(BaseModel):
    """What became of one delivery."""

    channel: Channel
    recipient: str | Absent = Field(None, description="A user. Absent where the publisher gave an address.")
    everybody: Literal[True] | Absent = Field(
        None, description="It is the one entry that everybody reads, or `groups`."
    )
    groups: list[str] | Absent = None
    state: State
    reason: str | Absent = Field(None, description="Why it ended so, or why the last attempt failed.")
    rule: str | Absent = Field(None, description="Which rule suppressed or holds it.")
    recalls: Literal[True] | Absent = Field(None, description="It takes back what another one has delivered.")
    since: AwareDatetime = Field(description="When it was first due.")
    next_at: AwareDatetime | Absent = Field(None, description="When it is tried next.")
    ended_at: AwareDatetime | Absent = None
    expires_at: AwareDatetime
    attempts: Count = Field(description="How many were made.")
    confirmation: Confirmed | Absent = None


class DeliveryCount(BaseModel):
    """How many deliveries stand alike."""

    channel: Channel
    state: State
    reason: str | Absent = None
    recalls: Literal[True] | Absent = None
    count: Count


class NotificationOutcome(BaseModel):
    """What became of a notification; nothing of what it said, and no address."""

    notification_id: str
    kind: str
    priority: Priority
    channels: list[str] | Absent = Field(None, description="Only these, where the publisher said so.")
    accepted_at: AwareDatetime
    cancelled_at: AwareDatetime | Absent = None
    recalled_at: AwareDatetime | Absent = None
    open: Count = Field(description="Deliveries, and steps that plan deliveries, that have not ended.")
    alert: AlertOutcome | Absent = None
    counts: list[DeliveryCount] = Field(description="Of the deliveries that are listed.")
    deliveries: list[DeliveryOutcome]
    complete: bool = Field(description="Whether every delivery that there is now is listed.")
