"""A clock that stands still until it is moved."""

from datetime import UTC, datetime, timedelta


class StandingClock:
    """Tells the same time until ``move``; ``sleep`` moves it instead of waiting."""

    def __init__(self, at: datetime = datetime(2026, 1, 5, 9, tzinfo=UTC)) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    async def sleep(self, wait_s: float) -> None:
        self.move(wait_s)

    def move(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)


class Seconds:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s
