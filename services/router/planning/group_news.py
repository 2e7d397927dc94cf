"""What a message about a group of alerts says: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.core.model import Content

# So many are named; the others are counted.
NAMED = 10
_LINE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Member:
    """One alert of a group.

    Attributes:
        since: when it was heard of first.
        said: what it said itself.
    """

    id: str
    since: datetime
    message: str
    source: str | None = None
    systems: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """One line that names it."""
        where = ", ".join(self.systems) or self.source
        text = " ".join(self.message.split())
        return (f"{where}: {text}" if where else text)[:_LINE_CHARS]


def news_content(content: Content, members: Sequence[Member], count: int) -> Content:
    """Say which alerts are new in a group, or are still open.

    Args:
        content: what the group's first alert said.
        members: those to be named, the oldest first.
        count: how many of the group are open.
    """
    lines = [f"- {member.line}" for member in members[:NAMED]]
    if len(members) > NAMED:
        lines.append(f"and {len(members) - NAMED} more")
    alerts = "1 alert is" if count == 1 else f"{count} alerts are"
    message = "\n".join([f"{alerts} open.", *lines])
    return content.model_copy(update={"title": f"{content.title} ({count})", "message": message, "html_body": None})
