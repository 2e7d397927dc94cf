"""The receipts as they go over the wire (wire contract, section 3).

They are written as dictionaries, because there are many of them. These types say what stands in one: the router's code
is checked against them, and the AsyncAPI document is written from them.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict


class RejectionCode(StrEnum):
    """The codes of a rejection receipt (wire contract, section 3)."""

    INVALID_JSON = "invalid_json"
    INVALID_PAYLOAD = "invalid_payload"
    TOO_LARGE = "too_large"
    UNKNOWN_TOPIC = "unknown_topic"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    EXPIRED = "expired"


Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Code = Annotated[str, Field(json_schema_extra={"enum": [code.value for code in RejectionCode]})]


class Problem(TypedDict):
    """A field, and what is wrong with it."""

    field: Annotated[str, Field(description="A path such as `emails.3.to`; empty for the whole payload.")]
    problem: Annotated[str, Field(description="A short stable phrase such as `required`.")]
    meant: NotRequired[Annotated[str, Field(description="The name that was most likely meant.")]]


class Refusal(TypedDict):
    """Why a publish was rejected."""

    code: Code
    message: str
    fields: list[Problem]
    retry_after_s: NotRequired[
        Annotated[int, Field(description="With `rate_limited`: the seconds after which another try may succeed.")]
    ]


class NotRecalled(TypedDict):
    """Deliveries of one channel that were sent, or may have been, and cannot be taken back."""

    channel: str
    count: int


class Recall(TypedDict):
    """What a recall does, counted in deliveries."""

    stopped: Annotated[int, Field(description="Ended before they left.")]
    inbox: Annotated[int, Field(description="Entries that leave inboxes and the feed.")]
    push: Annotated[int, Field(description="Pushes that are replaced or removed where the device allows it.")]
    not_recalled: list[NotRecalled]


class AcceptedReceipt(TypedDict):
    """The publish is stored, and what it asks for will be done."""

    status: Literal["accepted"]
    accepted_at: Instant
    notification_id: NotRequired[str]
    alert_id: NotRequired[str]
    recall: NotRequired[Annotated[Recall, Field(description="With a cancellation that asks for it.")]]
    warnings: NotRequired[Annotated[list[Problem], Field(description="What will not happen although it is accepted.")]]


class SessionReceipt(AcceptedReceipt):
    """A gateway's session is open."""

    session_id: str
    notifications: Annotated[
        Sequence[dict[str, Any]], Field(description="The 10 newest unread notifications at most, oldest first.")
    ]
    unread: int
    system_status: Annotated[
        dict[str, Any] | None, Field(description="The last system status; null where there was none.")
    ]


class DuplicateReceipt(TypedDict):
    """The same notification was accepted before."""

    status: Literal["duplicate"]
    notification_id: Annotated[str, Field(description="The first one's.")]
    alert_id: NotRequired[str]


class RejectedReceipt(TypedDict):
    """The publish is not accepted, now or ever; only `rate_limited` is worth another try."""

    status: Literal["rejected"]
    error: Refusal
