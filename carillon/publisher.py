"""The publisher's client under the name that it had as a part of this package; it is a distribution of its own.

``carillon_publisher`` (``clients/python``) is the one implementation. What embeds ``carillon.publisher`` goes on
working. ``Publisher`` is here the asynchronous one.
"""

from carillon_publisher.errors import NoReceipt, NotConnected, Refused
from carillon_publisher.mqtt import IDEMPOTENCY_PROPERTY
from carillon_publisher.publisher import OUTSTANDING
from carillon_publisher.publisher import AsyncPublisher as Publisher
from carillon_publisher.receipts import FieldProblem, Receipt, Refusal, Status

__all__ = [
    "IDEMPOTENCY_PROPERTY",
    "OUTSTANDING",
    "FieldProblem",
    "NoReceipt",
    "NotConnected",
    "Publisher",
    "Receipt",
    "Refusal",
    "Refused",
    "Status",
]
