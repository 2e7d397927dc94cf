"""The time, behind a protocol, so that rules about time are tested without waiting."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What can tell the time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)


def epoch_ms(moment: datetime) -> int:
    """Turn an aware datetime into whole milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def from_epoch_ms(moment_ms: int) -> datetime:
    """Turn milliseconds since 1970 into an aware datetime in UTC."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC)


def rfc3339(moment: datetime) -> str:
    """Write an aware datetime as ``2026-01-05T09:00:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
