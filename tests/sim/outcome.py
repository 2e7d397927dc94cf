"""Who heard what when, and where two tell of it differently."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.core.clock import from_epoch_ms, rfc3339

# What waited for the same moment leaves within a minute after it. What was released may begin or be held by something
# that then ends so much later, too.
SPREAD_MS = 3 * 60_000


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
    """What happened, and when; ``spread`` where the time may be up to ``SPREAD_MS`` later."""

    times: defaultdict[str, list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))

    def hear(self, heard: Heard, *, spread: bool = False) -> None:
        self.times[heard.what].append((heard.at_ms, spread))

    def digest(self, told: Told, *, spread: bool = False) -> None:
        self.times[told.what].append((told.at_ms, spread))

    def end(self, label: str, user: str, channel: str, why: str, at_ms: int, *, spread: bool = False) -> None:
        self.times[f"{channel} to {user} {label}: {why}"].append((at_ms, spread))


def differences(found: Outcome, reckoned: Outcome) -> Iterator[str]:
    """Say what one of them tells of and the other does not."""
    for what in sorted(found.times.keys() | reckoned.times.keys()):
        times, expected = sorted(found.times.get(what, [])), sorted(reckoned.times.get(what, []))
        fits = len(times) == len(expected) and all(
            0 <= at_ms - due_ms <= (SPREAD_MS if spread else 0)
            for (at_ms, _), (due_ms, spread) in zip(times, expected, strict=True)
        )
        if not fits:
            yield f"{what}: {_written(times)}, reckoned {_written(expected)}"


def _written(times: list[tuple[int, bool]]) -> str:
    return " ".join(f"{rfc3339(from_epoch_ms(at_ms))}{' or later' * spread}" for at_ms, spread in times) or "never"
