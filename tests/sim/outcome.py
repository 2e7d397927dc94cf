"""Who heard what when, and where two tell of it differently."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.core.clock import from_epoch_ms, rfc3339


@dataclass(frozen=True, slots=True)
class Heard:
    """A delivery.

    Attributes:
        labels: of what it told; of a digest several.
    """

    user: str
    channel: str
    labels: tuple[str, ...]
    at_ms: int
    silent: bool = False
    live: bool = True

    @property
    def what(self) -> str:
        """All but the time."""
        marks = (" silent" if self.silent else "") + ("" if self.live else " not live")
        return f"{self.channel} to {self.user} {' '.join(self.labels)}{marks}"


@dataclass(frozen=True, slots=True)
class Told:
    """A digest that was sent, or why it was not."""

    user: str
    channel: str
    labels: tuple[str, ...]
    why: str
    at_ms: int

    @property
    def what(self) -> str:
        """All but the time."""
        return f"digest by {self.channel} to {self.user} of {' '.join(self.labels)} {self.why}"


@dataclass(slots=True)
class Outcome:
    """What happened, and when."""

    times: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def hear(self, heard: Heard) -> None:
        self.times[heard.what].append(heard.at_ms)

    def digest(self, told: Told) -> None:
        self.times[told.what].append(told.at_ms)

    def end(self, label: str, user: str, channel: str, why: str, at_ms: int) -> None:
        self.times[f"{channel} to {user} {label}: {why}"].append(at_ms)


def differences(found: Outcome, reckoned: Outcome) -> Iterator[str]:
    """Say what one of them tells of and the other does not."""
    for what in sorted(found.times.keys() | reckoned.times.keys()):
        times, expected = sorted(found.times.get(what, [])), sorted(reckoned.times.get(what, []))
        if times != expected:
            yield f"{what}: {_written(times)}, reckoned {_written(expected)}"


def _written(times: list[int]) -> str:
    return " ".join(rfc3339(from_epoch_ms(at_ms)) for at_ms in times) or "never"
