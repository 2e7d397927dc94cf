"""``carillon silence``: publishes the record of a silence, and reads what is in the store."""

import asyncio
import json
from datetime import datetime, timedelta

import click
from pydantic import ValidationError

from carillon.commands.moments import read_moment
from carillon.commands.opening_broker import open_publisher
from carillon.commands.opening_store import open_store
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.settings import OperatorSettings
from carillon.publisher import NoReceipt, Refused
from shared.core.clock import SystemClock, epoch_ms, from_epoch_ms, rfc3339
from shared.core.matchers import MatcherError, read_matchers
from shared.core.topics import Kind, Topics
from shared.directory.rulebook import Rulebook
from shared.directory.silences import NamedSilence, Silence
from shared.ledger.silencing import new_silence_id

# The publisher puts the prefix before it.
_TOPICS = Topics()
_OPTIONS = {"matchers": "MATCHER", "ends_at": "--for", "starts_at": "--starts", "created_by": "--by"}


def add_silence(
    matchers: tuple[str, ...],
    *,
    length: timedelta,
    comment: str,
    starts: str | None,
    by: str | None,
    timeout_s: float,
    client_id: str | None,
    as_json: bool,
) -> None:
    """Publish a new silence and print its id."""
    settings = OperatorSettings.load()
    starts_at = _now() if starts is None else read_moment(starts, "--starts")
    silence = _record(
        new_silence_id(),
        {
            "matchers": [str(each) for text in matchers for each in _read(text)],
            "starts_at": rfc3339(starts_at),
            "ends_at": rfc3339(starts_at + length),
            "comment": comment,
            "created_by": by or None,
        },
    )
    asyncio.run(_publish(settings, client_id, silence.silence, silence.record, timeout_s))
    if as_json:
        print_json(_document(silence.silence, silence.record, _now()))
        return
    since = "" if starts is None else f" from {rfc3339(starts_at)}"
    click.echo(f"{silence.silence}  silent{since} until {rfc3339(silence.ends_at)}")


def print_silences(*, is_all: bool, as_json: bool) -> None:
    """Print the silences, the one that ends first at the top."""
    found, matched, now = asyncio.run(_read_all(OperatorSettings.load()))
    shown = sorted(
        ((name, each) for name, each in found.items() if is_all or now < each.ends_at),
        key=lambda pair: (pair[1].ends_at, pair[0]),
    )
    if as_json:
        print_json([_document(name, each, now, matched.get(name)) for name, each in shown])
    elif shown:
        rows = [("id", "state", "from", "until", "by", "matched", "matchers", "comment")]
        for name, each in shown:
            starts = rfc3339(each.starts_at) if each.starts_at is not None else "-"
            rows.append((
                name, each.state_at(now), starts, rfc3339(each.ends_at), each.created_by or "-",
                _matched(matched.get(name), each, now), " ".join(each.matchers), each.comment,
            ))  # fmt: skip
        print_columns(rows)


def expire_silence(silence_id: str, *, timeout_s: float, client_id: str | None, as_json: bool) -> None:
    """End a silence now, or delete one that has not begun."""
    settings = OperatorSettings.load()
    found, _, now = asyncio.run(_read_all(settings))
    silence = found.get(silence_id)
    if silence is None:
        raise AnswerIsNo(f"there is no silence {printable(silence_id)}; see `carillon silence list --all`")
    state = silence.state_at(now)
    if state == "over":
        raise AnswerIsNo(f"the silence {silence_id} was over at {rfc3339(silence.ends_at)}")
    # One that begins in this millisecond cannot end in it.
    has_begun = silence.starts_at is None or silence.starts_at < now
    ended = silence.model_copy(update={"ends_at": now}) if has_begun else None
    asyncio.run(_publish(settings, client_id, silence_id, ended, timeout_s))
    if as_json:
        print_json({"id": silence_id, "ended": has_begun, "deleted": not has_begun})
    else:
        click.echo(f"{silence_id}  {'ended' if has_begun else 'deleted, before it began'}")


def _read(text: str) -> tuple[object, ...]:
    try:
        found = read_matchers(text)
    except MatcherError as error:
        raise click.BadParameter(f"{printable(text)}: {error}", param_hint="MATCHER") from None
    if not found:
        raise click.BadParameter("there is none in it", param_hint="MATCHER")
    return found


def _record(silence_id: str, document: dict[str, object]) -> NamedSilence:
    try:
        return NamedSilence.model_validate(document | {"silence": silence_id})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        raise click.BadParameter(first["msg"], param_hint=_OPTIONS.get(field, f"--{field}")) from None


async def _publish(
    settings: OperatorSettings, client_id: str | None, silence_id: str, record: Silence | None, timeout_s: float
) -> None:
    topic = _TOPICS.publish(Kind.DIRECTORY_SILENCE, silence_id)
    payload = record.model_dump_json(exclude_none=True) if record is not None else ""
    async with open_publisher(settings, client_id) as publisher:
        try:
            await publisher.publish(topic, payload.encode(), timeout_s=timeout_s)
        except Refused as refused:
            raise AnswerIsNo(f"rejected: {refused.receipt.error or 'the router gave no reason'}") from None
        except NoReceipt as error:
            raise AnswerIsNo(f"{error}; see `carillon silence list`") from None


async def _read_all(settings: OperatorSettings) -> tuple[dict[str, Silence], dict[str, int], datetime]:
    """Read every silence, when each last matched, and the time by the store's clock, which the router goes by."""
    async with open_store(settings) as (store, keys):
        rulebook = Rulebook(store, keys)
        found, matched = await rulebook.all(Silence), await rulebook.matched(Silence)
        seconds, microseconds = await store.command("TIME")
    return found, matched, from_epoch_ms(int(seconds) * 1000 + int(microseconds) // 1000)


def _now() -> datetime:
    return from_epoch_ms(epoch_ms(SystemClock().now()))


def _matched(seconds: int | None, silence: Silence, now: datetime) -> str:
    """Say when a silence last kept an alert from telling; one that is over and never did may have been a mistake."""
    if seconds is not None:
        return rfc3339(from_epoch_ms(seconds * 1000))
    return "never" if silence.state_at(now) == "over" else "-"


def _document(silence_id: str, silence: Silence, now: datetime, matched_s: int | None = None) -> dict[str, object]:
    document = json.loads(silence.model_dump_json(exclude_none=True))
    last = {} if matched_s is None else {"last_matched": rfc3339(from_epoch_ms(matched_s * 1000))}
    return {"id": silence_id, "state": silence.state_at(now), **document, **last}
