"""Which dead letters a command is to touch, and the question before it does."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from carillon.commands.choices import INTAKE
from carillon.commands.durations import Duration
from carillon.commands.output import AnswerIsNo, CannotWork
from shared.core.channels import LANES

if TYPE_CHECKING:
    from shared.ledger.dead_letters import DeadLetters, Wanted


@dataclass(frozen=True, slots=True)
class Filters:
    """What was typed; None is any."""

    channel: str | None
    reason: str | None
    older_than: timedelta | None
    notification_id: str | None
    limit: int | None

    async def wanted(self, letters: "DeadLetters") -> "Wanted":
        """Turn an age into a time by the store's clock, so that later steps mean the same dead letters."""
        from shared.ledger.dead_letters import Wanted

        until = await letters.now() - (self.older_than or timedelta(0))
        return Wanted(until, lane=self.channel, reason=self.reason, notification_id=self.notification_id)


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command options to choose dead letters by, as the parameter ``filters``."""

    @wraps(command)
    def with_filters(**given: Any) -> None:  # noqa: ANN401 - whatever the command's other options are
        command(filters=Filters(**{each.name: given.pop(each.name) for each in fields(Filters)}), **given)

    for option in (
        click.option("--limit", type=click.IntRange(1), help="At most so many, the oldest first."),
        click.option("--notification-id", help="Only this notification's."),
        click.option("--older-than", type=Duration(), help="Only those that ended this long ago or earlier."),
        click.option("--reason", help="Only those with this reason (for intake: this code)."),
        click.option("--channel", type=click.Choice([*LANES, INTAKE]), help="Only this channel's."),
    ):
        with_filters = option(with_filters)
    return with_filters


def counts_text(counts: Counter[str]) -> str:
    """Write counts by channel or reason: ``3 (2 email, 1 sms)``."""
    return f"{counts.total()} ({', '.join(f'{count} {word}' for word, count in counts.most_common())})"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before going on.

    Raises:
        AnswerIsNo: the answer was no.
        CannotWork: there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CannotWork("there is nobody to ask for confirmation here; say --yes")
    if not click.confirm(question, err=True):
        raise AnswerIsNo("nothing was done")
