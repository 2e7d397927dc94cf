"""Publish notifications with Carillon, over MQTT or HTTP.

    from carillon_publisher import Publisher

    with Publisher("mqtt://localhost") as publisher:
        receipt = publisher.send_user("user123", message="Hello")

What a program imports stands here; the modules are the inside.
"""

from carillon_publisher.errors import (
    CarillonError,
    KeyInUse,
    NoReceipt,
    NotConnected,
    OutboxError,
    OutboxFull,
    OutboxInUse,
    OutboxUnusable,
    RateLimited,
    Refused,
    WrongAddress,
)
from carillon_publisher.publisher import AsyncPublisher
from carillon_publisher.receipts import Event, FieldProblem, Receipt, Refusal, Status
from carillon_publisher.sync import Publisher

__all__ = [
    "AsyncPublisher",
    "CarillonError",
    "Event",
    "FieldProblem",
    "KeyInUse",
    "NoReceipt",
    "NotConnected",
    "OutboxError",
    "OutboxFull",
    "OutboxInUse",
    "OutboxUnusable",
    "Publisher",
    "RateLimited",
    "Receipt",
    "Refusal",
    "Refused",
    "Status",
    "WrongAddress",
]
