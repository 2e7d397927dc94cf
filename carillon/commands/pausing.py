"""``carillon provider``: writes who paused what, and reads it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from time import monotonic
from typing import TypeVar

import click

from carillon.commands.moments import read_moment
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.settings import OperatorSettings
from carillon.status.documents import provider_document
from carillon.status.providers import read_providers
from carillon.status.spans import short
from carillon.status.status import ProviderStatus
from shared.core.clock import from_epoch_ms, rfc3339
from shared.delivery.by_hand import DEFAULT_LENGTH, ByHand, Pause, PauseKind, Target
from shared.delivery.standing import ProviderState
from shared.runtime.alive import Processes
from shared.runtime.draining import UnderWay, provider_names, under_way
from shared.store.keys import Keys
from shared.store.store import Store

AnswerT = TypeVar("AnswerT")

_POLL_S = 0.5
_WORDS = {PauseKind.PAUSE: "paused", PauseKind.DRAIN: "drained"}
# The other pause, that of a provider which refuses us.
_HEALTH = {ProviderState.PAUSED: "refuses us"}


def pause_provider(
    target: str, *, reason: str, length: timedelta | None, until: str | None, by: str | None, as_json: bool
) -> None:
    """Pause a provider or a channel, and say until when."""
    what, write = _pausing(target, PauseKind.PAUSE, reason=reason, length=length, until=until, by=by)
    pause = asyncio.run(_do(write))
    if as_json:
        print_json(pause.document())
        return
    click.echo(f"{what}  paused until {rfc3339(pause.until)}")


def drain_provider(
    target: str,
    *,
    reason: str,
    length: timedelta | None,
    until: str | None,
    by: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Pause a provider or a channel, and wait until nothing is under way through it."""
    what, write = _pausing(target, PauseKind.DRAIN, reason=reason, length=length, until=until, by=by)

    async def drain(store: Store, keys: Keys) -> tuple[Pause, UnderWay]:
        pause = await write(store, keys)
        return pause, await _until_idle(store, keys, what, timeout_s)

    pause, left = asyncio.run(_do(drain))
    if not left.is_over:
        hosts = ", ".join(dict.fromkeys(each.host for each in left.waited_for))
        raise AnswerIsNo(
            f"{what} is paused until {rfc3339(pause.until)}, but {left.attempts} attempts are known to be under way"
            f" after {timeout_s:g} s; waited for processes on {hosts}"
        )
    if as_json:
        print_json(pause.document())
        return
    click.echo(f"{what}  drained: nothing is under way; paused until {rfc3339(pause.until)}")


def resume_provider(target: str, *, by: str | None, as_json: bool) -> None:
    """End a pause."""
    what, who = _read(target), _who(by)

    async def resume(store: Store, keys: Keys) -> tuple[Pause | None, list[Pause]]:
        hand = ByHand(store, keys)
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


def print_providers(*, as_json: bool) -> None:
    """Print what is paused by hand, and how each provider is."""
    providers, paused = asyncio.run(_do(read_providers))
    if as_json:
        documents = [provider_document(each) for each in providers]
        print_json({"paused": [each.document() for each in paused], "providers": documents})
        return
    by_hand, health = {each.target: each for each in paused}, {}
    for each in providers:
        health[Target(each.channel, each.name)] = _health(each)
    targets = sorted({*by_hand, *health})
    if not targets:
        click.echo("nothing is paused by hand, and no process of a channel with providers is there")
        return
    heads = ("target", "by hand", "until", "by", "why", "health")
    print_columns([heads, *((str(each), *_paused(each, by_hand), health.get(each, "-")) for each in targets)])


Act = Callable[[Store, Keys], Awaitable[AnswerT]]


async def _do(act: Act[AnswerT]) -> AnswerT:
    async with open_store(OperatorSettings.load()) as (store, keys):
        return await act(store, keys)


def _pausing(
    target: str, kind: PauseKind, *, reason: str, length: timedelta | None, until: str | None, by: str | None
) -> tuple[Target, Act[Pause]]:
    """Read what was typed, and return what writes it."""
    if length is not None and until is not None:
        raise click.UsageError("--for and --until both say when it ends: give one of them")
    what, who = _read(target), _who(by)
    end = None if until is None else read_moment(until, "--until")
    lasts = length if length is not None else DEFAULT_LENGTH

    async def write(store: Store, keys: Keys) -> Pause:
        await _check_name(store, keys, what)
        try:
            return await ByHand(store, keys).pause(what, reason=reason, by=who, length=lasts, until=end, kind=kind)
        except ValueError as error:
            raise click.UsageError(f"{what}: {error}") from None

    return what, write


async def _check_name(store: Store, keys: Keys, target: Target) -> None:
    """Refuse a provider that the channel has not, as far as its processes of the last hour say."""
    if not target.provider:
        return
    names = provider_names((await Processes(store, keys).of([target.channel]))[target.channel])
    if not names:
        click.echo(f"carillon: no process of {target.channel} was heard of in the last hour: not checked", err=True)
    elif target.provider not in names:
        there = ", ".join(f"{target.channel}/{name}" for name in names)
        raise click.BadParameter(f"there is no {printable(str(target))}; there are {there}", param_hint="TARGET")


async def _until_idle(store: Store, keys: Keys, target: Target, timeout_s: float) -> UnderWay:
    paused_at, deadline_s = await _now(store), monotonic() + timeout_s
    while True:
        processes = await Processes(store, keys).of([target.channel])
        found = under_way(processes[target.channel], target, paused_at)
        if found.is_over or monotonic() > deadline_s:
            return found
        await asyncio.sleep(_POLL_S)


async def _now(store: Store) -> datetime:
    seconds, microseconds = await store.command("TIME")
    return from_epoch_ms(int(seconds) * 1000 + int(microseconds) // 1000)


def _read(text: str) -> Target:
    try:
        return Target.read(text)
    except ValueError as error:
        raise click.BadParameter(printable(str(error)), param_hint="TARGET") from None


def _who(by: str | None) -> str:
    if not by:
        raise click.BadParameter("nobody is logged in; say who does it", param_hint="--by")
    return by


def _paused(target: Target, by_hand: Mapping[Target, Pause]) -> tuple[str, ...]:
    pause = by_hand.get(target)
    if pause is not None:
        return _WORDS[pause.kind], rfc3339(pause.until), pause.by, pause.reason
    whole = by_hand.get(Target(target.channel))
    return ("-", "-", "-", "-") if whole is None else (f"with {target.channel}", rfc3339(whole.until), "-", "-")


def _health(provider: ProviderStatus) -> str:
    worst = provider.worst
    if worst.state is ProviderState.UNKNOWN:
        return "not used yet"
    if worst.state is ProviderState.WELL:
        return "well"
    of = f" ({provider.unwell} of {provider.processes} processes)" if provider.unwell < provider.processes else ""
    said = " ".join(filter(None, (worst.server, worst.reason, worst.detail)))
    return f"{_HEALTH.get(worst.state, worst.state.value)}{of} for {short(worst.for_s)}" + (f": {said}" if said else "")
