"""``carillon status``: looks once, or again and again, and prints what it finds."""

import asyncio
import io
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass

import click

from carillon.commands.output import AnswerIsNo, print_columns, print_json
from carillon.commands.settings import OperatorSettings
from carillon.status.documents import status_document, trouble_document
from carillon.status.reading import read_status
from carillon.status.spans import short, short_bytes
from carillon.status.status import ProviderStatus, Service, Status, Trouble
from carillon.status.troubles import BY_HAND
from shared.core.clock import rfc3339
from shared.core.errors import StoreUnavailable
from shared.delivery.standing import ProviderState
from shared.ledger.lanes import Lane
from shared.store.keys import Keys
from shared.store.store import Store

EVERY_S = 2.0

_HOME, _END_OF_LINE, _END_OF_SCREEN, _CLEAR = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"


@dataclass(slots=True)
class _Look:
    """What is printed: a status, or why there is none."""

    troubles: tuple[Trouble, ...]
    status: Status | None = None

    def show(self, *, as_json: bool) -> None:
        if as_json:
            print_json(_document(self))
        else:
            _print(self)

    @property
    def verdict(self) -> str:
        count = len(self.troubles)
        return f"not well: {count} trouble{'' if count == 1 else 's'}" if count else "all is well"


def show_status(*, watch: bool, without: frozenset[str], as_json: bool) -> None:
    """Print a status, or one after the other, and raise AnswerIsNo when the last is not well."""
    settings = OperatorSettings.load()
    url = settings.needed("redis_url")
    without |= settings.without
    look = asyncio.run(_watch(settings, url, without, as_json=as_json) if watch else _once(settings, url, without))
    if not watch:
        look.show(as_json=as_json)
    if look.troubles:
        raise AnswerIsNo(look.verdict)


async def _once(settings: OperatorSettings, url: str, without: frozenset[str]) -> _Look:
    async with Store(url) as store:
        return await _look(settings, store, without)


async def _look(settings: OperatorSettings, store: Store, without: frozenset[str]) -> _Look:
    try:
        status = await read_status(store, Keys(settings.topic_prefix), without=without)
    except StoreUnavailable as error:
        what = f"The store of {settings.origin('redis_url')} does not answer: {error}."
        return _Look((Trouble(what, "store-away", "store"),))
    return _Look(tuple(status.troubles), status)


async def _watch(settings: OperatorSettings, url: str, without: frozenset[str], *, as_json: bool) -> _Look:
    """Look again and again until Ctrl-C, and return the last look."""
    look = _Look(())
    on_screen = sys.stdout.isatty() and not as_json
    if on_screen:
        click.echo(_CLEAR, nl=False)
    async with Store(url) as store:
        try:
            while True:
                look = await _look(settings, store, without)
                if on_screen:
                    _draw(look)
                else:
                    look.show(as_json=as_json)
                    sys.stdout.flush()
                await asyncio.sleep(EVERY_S)
        except asyncio.CancelledError:
            # Ctrl-C, which is how this ends.
            if on_screen:
                click.echo()
            return look


def _draw(look: _Look) -> None:
    """Put a look in place of the one before, as far as the screen goes."""
    with redirect_stdout(io.StringIO()) as written:
        look.show(as_json=False)
    lines = written.getvalue().splitlines()
    width, height = shutil.get_terminal_size()
    # The last line stays free: a line feed there would move the others up.
    if len(lines) > height - 1:
        lines = [*lines[: max(0, height - 2)], f"... {len(lines) - height + 2} more lines than the screen has"]
    text = "".join(f"{line[:width]}{_END_OF_LINE}\n" for line in lines)
    click.echo(_HOME + text + _END_OF_SCREEN, nl=False)
    sys.stdout.flush()


def _document(look: _Look) -> dict[str, object]:
    if look.status is not None:
        return status_document(look.status)
    return {"well": False, "troubles": [trouble_document(each) for each in look.troubles]}


def _print(look: _Look) -> None:
    at = f", {rfc3339(look.status.at)}" if look.status is not None else ""
    click.echo(f"{look.verdict}{at}")
    for trouble in look.troubles:
        print_columns([("!", trouble.what)], notes=[[f"docs/runbooks/{trouble.runbook}.md"]])
    if look.status is not None:
        _print_status(look.status)


def _print_status(status: Status) -> None:
    click.echo()
    rows = [("SERVICE", "READY", "ALIVE", "VERSION", "OLDEST", "PROCESSES"), *map(_service, status.services.values())]
    print_columns(rows)
    click.echo()
    heading = ("LANE", "OPEN", "OLDEST", "OVERDUE", "WAIT critical/high/normal/low", "HANDED OVER", "ENDED IN 15 MIN")
    print_columns([heading, *(_lane(lane, status) for lane in status.lanes)])
    if status.providers:
        click.echo()
        print_columns([("PROVIDER", "STATE", "FOR", "WHY"), *map(_provider, status.providers)])
    click.echo()
    print_columns([("incidents", _incidents(status)), ("dead letters", _dead_letters(status)), *_rest(status)])


def _service(service: Service) -> tuple[str, ...]:
    if service.left_out and not service.processes:
        return service.name, "-", "-", "-", "-", "left out"
    now = max((each.heard_at for each in service.processes), default=None)
    oldest = service.alive[0].since if service.alive else None
    shown = [each for each in service.processes if each.word != "ready"]
    words = [f"{each.name} {each.word}{_of_process(each.word, each.silent_s, each.not_ready)}" for each in shown]
    versions = sorted({each.version for each in service.alive})
    return (
        service.name,
        str(len(service.ready)),
        str(len(service.alive)),
        ",".join(versions) or "-",
        short((now - oldest).total_seconds()) if now is not None and oldest is not None else "-",
        "; ".join(words) or "-",
    )


def _of_process(word: str, silent_s: float, not_ready: tuple[str, ...]) -> str:
    if word == "silent":
        return f" for {short(silent_s)}"
    return f" ({', '.join(not_ready)})" if word == "not ready" else ""


def _lane(lane: Lane, status: Status) -> tuple[str, ...]:
    waiting = "/".join(str(queue.waiting) for queue in lane.queues.values())
    accounts = status.lately.get(lane.name)
    ended = "-"
    if accounts is not None:
        counts = {"delivered": accounts.delivered, "expired": accounts.expired, "dead": accounts.dead_lettered}
        ended = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "-"
    return (
        lane.name, str(lane.open), short(lane.oldest_s) if lane.oldest_s else "-", str(lane.overdue), waiting,
        str(lane.handed_over), ended,
    )  # fmt: skip


def _provider(provider: ProviderStatus) -> tuple[str, ...]:
    worst = provider.worst
    of = f" ({provider.unwell} of {provider.processes})" if provider.unwell < provider.processes else ""
    again = "" if worst.again_in_s is None else f"asked again in {short(worst.again_in_s)}"
    why = " ".join(filter(None, (worst.server, worst.reason, worst.detail)))
    is_fine = worst.state in (ProviderState.WELL, ProviderState.UNKNOWN)
    state = "not used yet" if worst.state is ProviderState.UNKNOWN else worst.state.value
    if provider.by_hand is not None:
        pause = provider.by_hand
        why = f"by {pause.by} until {rfc3339(pause.until)}: {pause.reason}"
        return f"{provider.channel}/{provider.name}", f"{BY_HAND[pause.kind]} by hand", "-", why
    return (
        f"{provider.channel}/{provider.name}",
        state + ("" if is_fine else of),
        "-" if is_fine else short(worst.for_s),
        "; ".join(filter(None, (why, again))) or "-",
    )


def _incidents(status: Status) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sorted(status.incidents.states.items()))
    return f"{status.incidents.count or 'none'} open" + (f": {states}" if states else "")


def _dead_letters(status: Status) -> str:
    reasons = ", ".join(
        f"{count} {lane} {reason}" for (lane, reason), count in sorted(status.dead_letters.by_reason.items())
    )
    return f"{status.dead_letters.count or 'none'} in 15 min" + (f": {reasons}" if reasons else "")


def _rest(status: Status) -> list[tuple[str, str]]:
    audit = "none yet"
    if status.audit is not None:
        result = "the accounts balance, nothing is overdue" if status.audit.holds else "it does not hold"
        ago = short((status.at - status.audit.at).total_seconds())
        audit = f"{ago} ago by {'a router' if status.audit.by == 'router' else 'an operator'}: {result}"
    store = "may not be asked" if not status.store.known else f"{short_bytes(status.store.used_bytes)} in memory"
    return [("last audit", audit), ("store", store)]
