"""The page Providers: how each is, what is paused by hand, and a way to pause, drain and resume it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from carillon.console.forms import Form
from carillon.console.page import Action, Done, NotDone, Page, Problem, Section, Visit
from carillon.console.roles import Role
from shared.core.model import Channel
from shared.delivery.by_hand import DEFAULT_LENGTH, LONGEST, PAUSABLE, ByHand, Pause, PauseKind, Target
from shared.delivery.standing import ProviderState, Standing
from shared.ledger.lanes import open_work_lately
from shared.runtime.alive import Process, Processes
from shared.runtime.draining import UnderWay, under_way

_LIVE_S = 3.0
_COUNTED_WITHIN_MS = 1500
_STATES: dict[str, tuple[str, str, str]] = {
    ProviderState.WELL: ("well", "good", ""),
    ProviderState.UNKNOWN: ("not used yet", "none", "Nothing was sent through it since the processes began."),
    ProviderState.AVOIDED: ("avoided", "warn", "It failed or is slow, so others are asked first."),
    ProviderState.LIMITED: ("limits us", "warn", "It told us to wait."),
    ProviderState.DOWN: ("down", "bad", "It has lately failed for everybody. What waits is tried again by itself."),
    ProviderState.PAUSED: (
        "refuses us",
        "bad",
        "It refuses us, whoever it is for: look at credentials and quota.",
    ),
}


async def show(visit: Visit) -> dict[str, Any]:
    """Read pauses, what the processes say of their providers, and what waits."""
    backend = visit.backend
    paused = {each.target: each for each in await ByHand(backend.store, backend.keys).paused()}
    processes = await Processes(backend.store, backend.keys).of(PAUSABLE)
    work = await open_work_lately(backend.store, backend.keys, _COUNTED_WITHIN_MS)
    channels = [_channel(channel, processes.get(channel.value, []), paused, work.get(channel)) for channel in PAUSABLE]
    return {"channels": channels, "default_length": "1h"}


def _channel(channel: Channel, processes: Sequence[Process], paused: dict[Target, Pause], work: Any) -> dict[str, Any]:  # noqa: ANN401
    alive = [each for each in processes if each.is_alive]
    worst: dict[str, tuple[Standing, int]] = {}
    for process in alive:
        for standing in process.standings:
            known = worst.get(standing.provider)
            if known is None or standing.state.badness > known[0].state.badness:
                worst[standing.provider] = (standing, (known[1] if known else 0) + 1)
            else:
                worst[standing.provider] = (known[0], known[1] + 1)
    providers = []
    for name, (standing, count) in worst.items():
        word, tone, means = _STATES[standing.state]
        target = Target(channel, name)
        providers.append(
            {
                "target": target, "name": name, "word": word, "tone": tone, "means": means, "standing": standing,
                "count": count, "pause": paused.get(target), "left": _left(paused.get(target), alive),
            }
        )  # fmt: skip
    names = {each["name"] for each in providers}
    for target, pause in paused.items():
        if target.channel is channel and target.provider and target.provider not in names:
            providers.append(
                {"target": target, "name": target.provider, "word": "no process knows it", "tone": "warn", "means": "",
                 "standing": None, "count": 0, "pause": pause, "left": _left(pause, alive)}
            )  # fmt: skip
    return {
        "name": channel.value,
        "target": Target(channel),
        "pause": paused.get(Target(channel)),
        "left": _left(paused.get(Target(channel)), alive),
        "providers": providers,
        "processes": len(alive),
        "open": work.count if work is not None else 0,
        "oldest_s": work.oldest_age_s if work is not None else 0.0,
    }


def _left(pause: Pause | None, alive: Sequence[Process]) -> UnderWay | None:
    """Say what is still under way through something that is paused."""
    return under_way(alive, pause.target, pause.since) if pause is not None else None


def _target(visit: Visit) -> Target:
    text = visit.params["channel"]
    provider = visit.params.get("provider", "")
    try:
        return Target.read(f"{text}/{provider}" if provider not in ("", "all") else text)
    except ValueError as error:
        raise Problem(404, "Not there", f"{error}.") from None


async def pause(visit: Visit, form: Form) -> Done:
    """Pause or drain a provider, with a reason and an end."""
    target = _target(visit)
    reason = form.text("reason", required=True, most_chars=300)
    length = form.length("for", most=LONGEST) or DEFAULT_LENGTH
    drain = form.ticked("drain")
    form.check()
    if length <= timedelta(0):
        raise NotDone("Nothing was paused.", {"for": "must be longer than nothing"})
    by_hand = ByHand(visit.backend.store, visit.backend.keys)
    before = next((each for each in await by_hand.paused() if each.target == target), None)
    try:
        made = await by_hand.pause(
            target, reason=reason, by=visit.session.who, length=length,
            kind=PauseKind.DRAIN if drain else PauseKind.PAUSE,
        )  # fmt: skip
    except ValueError as error:
        raise NotDone(f"Nothing was paused: {error}.") from None
    words = f"{target} is paused until {made.until:%Y-%m-%d %H:%M} UTC."
    return Done(
        words + (" What is under way still ends." if drain else ""), to="/providers",
        before=before.document() if before else None, after=made.document(),
    )  # fmt: skip


async def resume(visit: Visit, _form: Form) -> Done:
    """End a pause."""
    target = _target(visit)
    was = await ByHand(visit.backend.store, visit.backend.keys).resume(target, by=visit.session.who)
    if was is None:
        raise NotDone(f"{target} is not paused (any more).")
    return Done(f"{target} sends again. What waited follows within seconds.", to="/providers", before=was.document())


PAGES = (
    Page(
        "providers", "/providers", "Providers", show, section=Section.WATCH, live_s=_LIVE_S,
        actions=(
            Action("/providers/{channel}/{provider}/pause", Role.OPERATOR, "provider.pause", pause, target="channel",
                   keeps=("reason", "for", "drain")),
            Action("/providers/{channel}/{provider}/resume", Role.OPERATOR, "provider.resume", resume,
                   target="channel"),
        ),
    ),
)  # fmt: skip
