"""What a message about a group of alerts says: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.core.durations import written
from shared.core.model import AlertDetails, Content, Flapped

# So many are named; the others are counted.
NAMED = 10
_LINE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Member:
    """One alert of a group.

    Attributes:
        since: when it was heard of first.
        number: in the order in which they came, from 1.
        said: what it said itself.
    """

    id: str
    since: datetime
    message: str
    source: str | None = None
    systems: tuple[str, ...] = ()
    number: int = 0

    @property
    def line(self) -> str:
        """One line that names it."""
        where = ", ".join(self.systems) or self.source
        text = " ".join(self.message.split())
        return (f"{where}: {text}" if where else text)[:_LINE_CHARS]


def flapping_line(flapped: Flapped) -> str:
    """Say that an alert has begun again and again."""
    within, hold = (written(timedelta(seconds=each)) for each in (flapped.within_s, flapped.hold_s))
    return f"This has begun {flapped.times} times within {within}. For {hold} nobody is told of it again."


def news_content(content: Content, members: Sequence[Member], count: int, *, begins: bool = False) -> Content:
    """Say which alerts are new in a group, or are open.

    Args:
        content: what the group's first alert said.
        members: those to be named, the oldest first.
        count: how many of the group are open.
        begins: it is the first that is told of them, or the first that somebody is told.
    """
    lines = [f"- {member.line}" for member in members[:NAMED]]
    if len(members) > NAMED:
        lines.append(f"and {len(members) - NAMED} more")
    alerts = "1 alert is" if count == 1 else f"{count} alerts are"
    message = "\n".join([f"{alerts} open.", *lines])
    if begins and content.flapping is not None:
        message = f"{flapping_line(content.flapping)}\n\n{message}"
    said = {"title": f"{content.title} ({count})", "message": message, "html_body": None}
    return content.model_copy(update={**said, "alert": _where(content.alert, members[:NAMED])})


def _where(alert: AlertDetails | None, members: Sequence[Member]) -> AlertDetails | None:
    """Say where all of them are, and not where the first one was."""
    if alert is None or not members:
        return alert
    systems = dict.fromkeys(system for member in members for system in member.systems)
    sources = {member.source for member in members}
    source = sources.pop() if len(sources) == 1 else None
    return alert.model_copy(update={"affected_systems": tuple(systems), "source": source})
