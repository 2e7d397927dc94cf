"""What each kind of publish may say, as types: the keyword arguments of ``send_user`` and the others.

The limits of the fields are the router's; it names the field in a refusal. A ``datetime`` needs a time zone. A field
that is None counts as not said.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Required, TypeAlias, TypedDict

Priority: TypeAlias = Literal["low", "normal", "high", "critical"]
Channel: TypeAlias = Literal["realtime", "email", "sms", "push"]
Platform: TypeAlias = Literal["ios", "android", "web", "ntfy"]
Level: TypeAlias = Literal["critical", "warning", "info"]
Moment: TypeAlias = datetime | float | str
"""An aware datetime, epoch seconds, or RFC 3339 with a zone."""


class Sending(TypedDict, total=False):
    """How a publish is sent; not a part of it.

    Attributes:
        timeout_s: how long to wait for the receipt.
    """

    timeout_s: float


class Action(TypedDict, total=False):
    """What a reader can do with a notification in the inbox: open ``url``, or press it.

    Attributes:
        id: tells it from the others.
        label: what stands on it.
        topic: true or a text: pressing it is published on ``notifications/actions/{notification_id}/{id}``.
    """

    id: Required[str]
    label: Required[str]
    url: str
    style: Literal["primary"]
    topic: bool | str


class Envelope(Sending, total=False):
    """What every notification may say beside its content.

    Attributes:
        id: the idempotency key. The same key again within 24 hours is the same notification.
        category: the series that it belongs to.
        tenant: whose customer's it is.
        channels: only these.
        send_at: not before.
        expires_at: not after; so does ``ttl_s``, counted from the acceptance.
        events: publish each later step, see ``events``.
    """

    id: str
    category: str
    tenant: str
    channels: Sequence[Channel]
    send_at: Moment
    expires_at: Moment
    ttl_s: float | timedelta
    events: bool
    actions: Sequence[Action]


class Prioritised(Envelope, total=False):
    """A notification whose publisher says how urgent it is."""

    priority: Priority


class Templated(Prioritised, total=False):
    """A notification that may name a template in place of its texts, and then gives it its variables in ``data``."""

    data: Mapping[str, Any]
    template: str
    locale: str
    timezone: str


class Realtime(Templated, total=False):
    """Something to read in the inbox; ``message`` or ``template`` is required."""

    message: str
    title: str
    type: str


class Broadcast(Realtime, total=False):
    """Without ``target_groups`` for everybody."""

    target_groups: Sequence[str]


class Alert(Envelope, total=False):
    """Something is wrong; ``dedup_key`` names what, so that one trouble is one alert."""

    message: Required[str]
    source: str
    severity: str
    affected_systems: Sequence[str]
    labels: Mapping[str, str]
    data: Mapping[str, Any]
    dedup_key: str
    group_key: str
    starts_at: Moment
    status: Literal["firing", "resolved"]
    expires_after: str | float


class Acknowledge(Sending, total=False):
    """``user_id`` has seen the alert and takes it."""

    user_id: Required[str]
    note: str


class Cancel(Sending, total=False):
    """What has not left is ended.

    Attributes:
        recall: take back what was delivered, too. What came of it stands in the receipt's ``extra["recall"]``.
    """

    recall: bool


class Resolve(Sending, total=False):
    """The trouble is over; ``user_id`` says so, where it is a person."""

    user_id: str
    note: str


class Status(Envelope, total=False):
    """How the system is; ``services`` are names, or names with their states."""

    message: Required[str]
    status: str
    services: Sequence[str] | Mapping[str, str]


class Maintenance(Envelope, total=False):
    """When something will be worked on."""

    message: Required[str]
    starts_at: Moment
    ends_at: Moment
    services: Sequence[str]


class Email(Templated, total=False):
    """One mail; ``subject`` and ``body`` or ``html_body``, or ``template``, are required."""

    subject: str
    body: str
    html_body: str


class Mail(TypedDict, total=False):
    """A mail of a batch."""

    to: Required[str]
    subject: str
    body: str
    html_body: str
    priority: Priority
    category: str
    tenant: str
    send_at: Moment
    expires_at: Moment
    ttl_s: float | timedelta
    actions: Sequence[Action]
    data: Mapping[str, Any]
    template: str
    locale: str
    timezone: str


class EmailBatch(Prioritised, total=False):
    """What a batch says of sending counts for each mail that does not say otherwise."""


class Sms(Templated, total=False):
    """One text; ``message`` or ``template`` is required."""

    message: str


class Push(Templated, total=False):
    """To a person's devices of one platform (``user_id``), to these ``tokens``, or to both."""

    message: str
    title: str
    user_id: str
    tokens: Sequence[str | Mapping[str, Any]]


def encoded(payload: Mapping[str, Any] | bytes, *, nulls: bool = False) -> bytes:
    """Write a payload as JSON: times as RFC 3339, durations as seconds, without fields that are None.

    Args:
        nulls: with them; in a user's record null clears a field.

    Raises:
        ValueError: it is not JSON (NaN, a time without a zone).
        TypeError: it holds what JSON does not know.
    """
    if isinstance(payload, bytes):
        return payload
    said = {name: value for name, value in payload.items() if nulls or value is not None}
    return json.dumps(said, allow_nan=False, default=_plain).encode()


def _plain(value: object) -> object:
    match value:
        case datetime():
            if value.tzinfo is None:
                raise ValueError("a time needs a time zone")
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return dict(value)
        case Sequence() | set() | frozenset():
            return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
