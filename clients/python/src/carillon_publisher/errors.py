"""What can go wrong for a publisher: the class says what happens next.

    CarillonError
    +- Refused              the router rejected the publish; sending it again would not help
    |  +- RateLimited       too much in a short time; again after ``retry_after_s``
    +- NoReceipt            nobody answered in time; it may have been accepted, so send it again with ``key`` only
    +- NotConnected         the broker or the HTTP door cannot be reached, or refuses us (also a ConnectionError)
    +- WrongAddress         the URL, the key or the CA file cannot be used (also a ValueError)
    +- OutboxError          the outbox did not take or find it; what it held before is still there
       +- OutboxInUse       another process has the file
       +- OutboxUnusable    it is no outbox, damaged, or cannot be read or written now
       +- OutboxFull        it holds as much as it may
       +- KeyInUse          another entry has the idempotency key

What no broker would take at all (a topic with ``#``, a payload of 2 MiB) is a ValueError, before anything is sent. The
messages name rules and files, and never an address, a token or the content of a publish.
"""

from typing import Any

from carillon_publisher.receipts import FieldProblem, Receipt


class CarillonError(Exception):
    """Something about publishing went wrong; the classes below say what."""


class Refused(CarillonError):
    """The router rejected a publish.

    Attributes:
        receipt: what it answered.
        code: for example ``invalid_payload``; the list is in the wire contract.
        fields: what is wrong, field by field.
    """

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(str(receipt.refusal))
        self.receipt = receipt
        self.code: str = receipt.refusal.code
        self.fields: tuple[FieldProblem, ...] = receipt.refusal.fields

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.receipt,)


class RateLimited(Refused):
    """This publisher has published too much in a short time.

    Attributes:
        retry_after_s: when it can be accepted; None if the router did not say.
    """

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt)
        self.retry_after_s = receipt.refusal.retry_after_s


class NoReceipt(CarillonError):
    """No answer came; the publish may have been accepted.

    With an outbox the publish is kept there and sent again without the caller.

    Attributes:
        key: the idempotency key that was used, None when the payload has an ``id`` of its own.
    """

    def __init__(self, problem: str, key: str | None) -> None:
        super().__init__(f"no receipt: {problem}")
        self.problem = problem
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.key)


class NotConnected(CarillonError, ConnectionError):
    """The broker or the HTTP door cannot be reached, or refuses us."""


class WrongAddress(CarillonError, ValueError):
    """The URL, the key or the CA file cannot be used; the message does not repeat them."""


class OutboxError(CarillonError):
    """The outbox could not write or read something. What it held before is still there."""


class OutboxInUse(OutboxError):
    """Another process, or another publisher of this one, has the file."""


class OutboxUnusable(OutboxError):
    """The file is not an outbox that this version can read, or cannot be read or written now."""


class OutboxFull(OutboxError):
    """The outbox holds as much as it may; the publish was not taken."""


class KeyInUse(OutboxError):
    """The idempotency key belongs to another entry of the outbox; the publish was not taken."""


def refused(receipt: Receipt) -> Refused:
    """Return the error that a rejection is."""
    return RateLimited(receipt) if receipt.refusal.code == "rate_limited" else Refused(receipt)


def wait_of(receipt: Receipt) -> float | None:
    """Return in how many seconds the same publish can be accepted; None if waiting would not help."""
    refusal = receipt.error
    if refusal is None or refusal.code != "rate_limited" or refusal.retry_after_s is None:
        return None
    return max(refusal.retry_after_s, 0.0)
