"""What a publisher hears: receipts, refusals, and the errors that carry them."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from shared.core.clock import rfc3339
from shared.core.errors import CarillonError


class Status(StrEnum):
    """What a receipt says."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class FieldProblem(BaseModel):
    """One field of a payload and what is wrong with it.

    Attributes:
        meant: the field that was most likely meant.
    """

    model_config = ConfigDict(frozen=True)

    field: str
    problem: str
    meant: str | None = None

    def __str__(self) -> str:
        problem = f"{self.problem}, did you mean {self.meant}?" if self.meant else self.problem
        return f"{self.field}: {problem}" if self.field else problem


class Refusal(BaseModel):
    """Why a publish was rejected."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    fields: tuple[FieldProblem, ...] = ()

    def __str__(self) -> str:
        problems = "; ".join(map(str, self.fields))
        return f"{self.code}: {self.message}{f' {problems}' if problems else ''}"


class Receipt(BaseModel):
    """The router's answer to one publish; what it says beyond these fields is in ``model_extra``.

    Attributes:
        warnings: what will not happen although it was accepted.
        sends: how often it was sent until this answer came. A duplicate with more than one is usually the same publish.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    status: Status
    notification_id: str | None = None
    alert_id: str | None = None
    accepted_at: Annotated[AwareDatetime, PlainSerializer(rfc3339)] | None = None
    error: Refusal | None = None
    warnings: tuple[FieldProblem, ...] = ()
    sends: int = Field(default=1, exclude=True)

    @property
    def refusal(self) -> Refusal:
        """Why it was rejected, also where the router gave no reason."""
        return self.error or Refusal(code="rejected", message="The router gave no reason.")

    def document(self) -> dict[str, Any]:
        """Return the receipt as the router wrote it."""
        return self.model_dump(mode="json", exclude_unset=True)


class Refused(CarillonError):
    """The router rejected a publish; sending it again would not help, except for the code ``rate_limited``."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(str(receipt.error or receipt.status))
        self.receipt = receipt


class NoReceipt(CarillonError):
    """No answer came; the publish may have been accepted, so send it again with ``key`` only.

    With an outbox the publish is kept there and sent again without the caller.

    Attributes:
        key: the idempotency key that was used, None when the payload has an ``id`` of its own.
    """

    def __init__(self, problem: str, key: str | None) -> None:
        super().__init__(f"no receipt: {problem}")
        self.key = key
