"""What a publisher hears: receipts, with refusals and warnings, and the later steps of a notification.

Promises to read what this or a later Carillon writes: what it does not know is kept in ``extra``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from carillon_publisher.clock import rfc3339


class Status(StrEnum):
    """What a receipt says."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of a payload and what is wrong with it.

    Attributes:
        field: its path (``emails.3.to``), or the name of a topic level; empty for the whole payload.
        problem: a short stable phrase such as ``required``.
        meant: the field that was most likely meant.
    """

    field: str
    problem: str
    meant: str | None = None

    def __str__(self) -> str:
        problem = f"{self.problem}, did you mean {self.meant}?" if self.meant else self.problem
        return f"{self.field}: {problem}" if self.field else problem

    @classmethod
    def read(cls, document: object) -> Self:
        """Read one from a receipt.

        Raises:
            ValueError: it is none.
        """
        said = _object(document)
        return cls(_text(said, "field"), _text(said, "problem"), _text_or_none(said, "meant"))

    def document(self) -> dict[str, str]:
        """Return it as it stands in a receipt."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a publish was rejected.

    Attributes:
        retry_after_s: with the code ``rate_limited``, when it can be accepted.
    """

    code: str
    message: str
    fields: tuple[FieldProblem, ...] = ()
    retry_after_s: float | None = None

    def __str__(self) -> str:
        problems = "; ".join(map(str, self.fields))
        return f"{self.code}: {self.message}{f' {problems}' if problems else ''}"

    @classmethod
    def read(cls, document: object) -> Self:
        """Read one from a receipt.

        Raises:
            ValueError: it is none.
        """
        said = _object(document)
        wait_s = said.get("retry_after_s")
        if wait_s is not None and (isinstance(wait_s, bool) or not isinstance(wait_s, int | float)):
            raise ValueError("retry_after_s is not a number")
        return cls(_text(said, "code"), _text(said, "message"), _problems(said, "fields"), wait_s)

    def document(self) -> dict[str, Any]:
        """Return it as it stands in a receipt."""
        wait = {} if self.retry_after_s is None else {"retry_after_s": self.retry_after_s}
        fields = [each.document() for each in self.fields]
        return {"code": self.code, **wait, "message": self.message, "fields": fields}


@dataclass(frozen=True, slots=True)
class Receipt:
    """The router's answer to one publish.

    Attributes:
        notification_id: of a duplicate, the first one's.
        warnings: what will not happen although it was accepted.
        extra: what it says beyond these fields.
        sends: how often it was sent until this answer came. A duplicate with more than one is usually the same publish.
    """

    status: Status
    notification_id: str | None = None
    alert_id: str | None = None
    accepted_at: datetime | None = None
    error: Refusal | None = None
    warnings: tuple[FieldProblem, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    sends: int = 1

    @property
    def refusal(self) -> Refusal:
        """Why it was rejected, also where the router gave no reason."""
        return self.error or Refusal(code="rejected", message="The router gave no reason.")

    @classmethod
    def read(cls, payload: bytes | str) -> Self:
        """Read a receipt as it came.

        Raises:
            ValueError: it is none.
        """
        said = _object(json.loads(payload))
        accepted_at = _text_or_none(said, "accepted_at")
        error = said.get("error")
        known = {"status", "notification_id", "alert_id", "accepted_at", "error", "warnings"}
        return cls(
            status=Status(_text(said, "status")),
            notification_id=_text_or_none(said, "notification_id"),
            alert_id=_text_or_none(said, "alert_id"),
            accepted_at=None if accepted_at is None else _moment(accepted_at),
            error=None if error is None else Refusal.read(error),
            warnings=_problems(said, "warnings"),
            extra={name: value for name, value in said.items() if name not in known},
        )

    def document(self) -> dict[str, Any]:
        """Return the receipt as the router wrote it."""
        said = {
            "status": self.status.value,
            "notification_id": self.notification_id,
            "alert_id": self.alert_id,
            "accepted_at": None if self.accepted_at is None else rfc3339(self.accepted_at),
            "error": None if self.error is None else self.error.document(),
            "warnings": [each.document() for each in self.warnings] or None,
        }
        return {**{name: value for name, value in said.items() if value is not None}, **self.extra}


@dataclass(frozen=True, slots=True)
class Event:
    """One later step of a notification that was published with ``events=True``.

    Attributes:
        state: of one delivery: ``delivered``, ``suppressed``, ``expired``, ``dead_lettered``; ``accepted`` for the
            notification itself.
        channel: None for what belongs to none.
        reason: a word from a fixed list; None where there is nothing to explain.
        extra: what it says beyond these fields.
    """

    state: str
    channel: str | None
    recipient: str | None
    reason: str | None
    at: datetime
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def read(cls, payload: bytes | str) -> Self:
        """Read an event as it came.

        Raises:
            ValueError: it is none.
        """
        said = _object(json.loads(payload))
        channel, recipient, reason = (_text_or_none(said, name) for name in ("channel", "recipient", "reason"))
        known = {"state", "channel", "recipient", "reason", "at"}
        extra = {name: value for name, value in said.items() if name not in known}
        return cls(_text(said, "state"), channel, recipient, reason, _moment(_text(said, "at")), extra)


def _object(document: object) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - what came, not what was called
    return document


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")  # noqa: TRY004 - what came, not what was called
    return value


def _text_or_none(said: Mapping[str, Any], name: str) -> str | None:
    return None if said.get(name) is None else _text(said, name)


def _problems(said: Mapping[str, Any], name: str) -> tuple[FieldProblem, ...]:
    listed = said.get(name) or []
    if not isinstance(listed, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004 - what came, not what was called
    return tuple(map(FieldProblem.read, listed))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment
