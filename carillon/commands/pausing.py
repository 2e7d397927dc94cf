"""``carillon provider``: writes who paused what, and reads it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import click

from carillon.commands.broker_and_store import open_store
from carillon.commands.moments import read_moment
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.settings import OperatorSettings
from shared.core.clock import rfc3339
from shared.delivery.by_hand import DEFAULT_LENGTH, ByHand, Pause, Target

AnswerT = TypeVar("AnswerT")


def pause_provider(
    target: str, *, reason: str, length: timedelta | None, until: str | None, by: str | None, as_json: bool
) -> None:
    """Pause a provider or a channel, and say until when."""
    if length is not None and until is not None:
        raise click.UsageError("--for and --until both say when it ends: give one of them")
    what, who = _read(target), _who(by)
    end = None if until is None else read_moment(until, "--until")
    lasts = length if length is not None else DEFAULT_LENGTH
    try:
        pause = asyncio.run(_do(lambda hand: hand.pause(what, reason=reason, by=who, length=lasts, until=end)))
    except ValueError as error:
        raise click.UsageError(f"{target}: {error}") from None
    if as_json:
        print_json(pause.document())
        return
    click.echo(f"{what}  paused until {rfc3339(pause.until)}")


def resume_provider(target: str, *, by: str | None, as_json: bool) -> None:
    """End a pause."""
    what, who = _read(target), _who(by)

    async def resume(hand: ByHand) -> tuple[Pause | None, list[Pause]]:
        return await hand.resume(what, by=who), await hand.paused()

    was, paused = asyncio.run(_do(resume))
    if was is None:
        names = ", ".join(str(each.target) for each in paused)
        raise AnswerIsNo(f"{what} is not paused; " + (f"paused: {names}" if names else "nothing is"))
    if as_json:
        print_json(was.document())
        return
    still = [str(each.target) for each in paused if each.target.channel is what.channel]
    click.echo(f"{what}  resumed" + (f"; still paused: {', '.join(still)}" if still else ""))


def print_paused(*, as_json: bool) -> None:
    """Print what is paused."""
    paused = asyncio.run(_do(lambda hand: hand.paused()))
    if as_json:
        print_json([each.document() for each in paused])
    elif not paused:
        click.echo("nothing is paused by hand")
    else:
        heads = ("target", "how", "since", "until", "by", "reason")
        print_columns([heads, *map(_cells, paused)])


async def _do(act: Callable[[ByHand], Awaitable[AnswerT]]) -> AnswerT:
    async with open_store(OperatorSettings.load()) as (store, keys):
        return await act(ByHand(store, keys))


def _read(text: str) -> Target:
    try:
        return Target.read(text)
    except ValueError as error:
        raise click.BadParameter(printable(str(error)), param_hint="TARGET") from None


def _who(by: str | None) -> str:
    if not by:
        raise click.BadParameter("nobody is logged in; say who does it", param_hint="--by")
    return by


def _cells(pause: Pause) -> tuple[str, ...]:
    since, until = rfc3339(pause.since), rfc3339(pause.until)
    return str(pause.target), pause.kind.value, since, until, pause.by, pause.reason
