"""``carillon send``: publish, print the receipt, and follow the notification to its end when asked to.

With ``--outbox`` the publish is in a local file before it is sent; ``kept`` deals with what is in that file.
"""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import click

from carillon.commands.broker_and_store import open_publisher, open_store
from carillon.commands.durations import Duration
from carillon.commands.following import Followed, follow
from carillon.commands.kept import StillKept, drop, flush, keeping_publisher, list_entries
from carillon.commands.output import AnswerIsNo, json_option, print_columns, print_json, printable
from carillon.commands.rows import row_document, task_text, when, whom
from carillon.commands.settings import OperatorSettings
from carillon.publisher import FieldProblem, NoReceipt, Publisher, Receipt, Refused, Status
from shared.core.clock import rfc3339
from shared.ledger.reader import Trace, TracedRow


@dataclass(frozen=True, slots=True)
class _Order:
    """What was asked for on the command line; ``outbox`` and ``follow_s`` are None without their options."""

    topic: str
    payload: bytes
    key: str | None
    timeout_s: float
    outbox: Path | None
    follow_s: float | None
    as_json: bool


@click.command()
@click.argument("topic", required=False)
@click.argument("payload", required=False)
@click.option("--key", help="Idempotency key; made up when the payload has no id.")
@click.option("--timeout", type=Duration(), default="10s", show_default=True, help="How long to wait for the receipt.")
@click.option("--wait", is_flag=True, help="Follow the notification until its deliveries have ended.")
@click.option("--wait-timeout", type=Duration(), default="60s", show_default=True, help="How long to follow it.")
@click.option("--client-id", envvar="CARILLON_CLIENT_ID", help="Name at the broker, where it binds names to logins.")
@click.option(
    "--outbox", type=click.Path(path_type=Path, dir_okay=False), help="Keep it in this file until it has its receipt."
)
@click.option("--flush", "flushing", is_flag=True, help="Send what is kept in the outbox.")
@click.option("--list", "listing", is_flag=True, help="List what is kept in the outbox.")
@click.option("--drop", "dropping", metavar="KEY", multiple=True, help="Forget a refused or stale entry of the outbox.")
@json_option
def send(
    *,
    topic: str | None,
    payload: str | None,
    key: str | None,
    timeout: timedelta,
    wait: bool,
    wait_timeout: timedelta,
    client_id: str | None,
    outbox: Path | None,
    flushing: bool,
    listing: bool,
    dropping: tuple[str, ...],
    as_json: bool,
) -> None:
    """Publish PAYLOAD on TOPIC and print the receipt.

    TOPIC is relative to TOPIC_PREFIX. PAYLOAD is a JSON text, @FILE to read it from a file, - to read it from standard
    input, or '' for an empty payload, which deletes a directory entry or cancels a notification. A connection that is
    lost before the receipt came is built again, and the same publish is sent again under the same key.

    With --wait each delivery is printed when it has ended. Steps of an escalation and notifications that are scheduled
    for later are named, and not waited for.

    With --outbox the publish is written to a file first, and removed when its receipt is there. Without a receipt it
    stays, and is sent again by the next command with this file. The file holds payloads as they are.

    Exit status: 0 accepted (or known already); 1 rejected, not answered in time, or with --wait expired, dead-lettered,
    not ended in time, or nothing delivered; 2 wrong use or settings; 3 no receipt yet, and kept in the outbox.

    \b
    Examples:
      carillon send notifications/realtime/user/user123 '{"message": "Hello"}'
      carillon send --wait notifications/email/send @mail.json
      carillon send notifications/cancel/0197c5a2-7f00-7003-8000-000000000000 ''
      carillon send directory/user/user123 ''
      carillon send --outbox kept.db notifications/email/send @mail.json
      carillon send --outbox kept.db --flush
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    if flushing or listing or dropping:
        if outbox is None:
            raise click.UsageError("--flush, --list and --drop need --outbox FILE")
        if topic is not None or flushing + listing + bool(dropping) > 1:
            raise click.UsageError("--flush, --list, --drop and a publish exclude each other")
        if listing:
            list_entries(outbox, as_json=as_json)
        elif dropping:
            drop(outbox, dropping)
        else:
            flush(OperatorSettings.load(), client_id, outbox, timeout.total_seconds(), as_json=as_json)
        return
    if topic is None or payload is None:
        raise click.UsageError(f"Missing argument '{'TOPIC' if topic is None else 'PAYLOAD'}'.")
    settings = OperatorSettings.load()
    if wait:
        # Before anything is published.
        settings.needed("redis_url")
    follow_s = wait_timeout.total_seconds() if wait else None
    order = _Order(topic, _read(payload), key, timeout.total_seconds(), outbox, follow_s, as_json)
    sys.exit(0 if asyncio.run(_send(settings, order, client_id)) else 1)


def _read(payload: str) -> bytes:
    if payload == "-":
        return sys.stdin.buffer.read()
    if payload.startswith("@"):
        try:
            return Path(payload[1:]).read_bytes()
        except OSError as error:
            raise click.UsageError(f"{payload[1:]} cannot be read ({error.strerror})") from None
    return payload.encode()


async def _send(settings: OperatorSettings, order: _Order, client_id: str | None) -> bool:
    if order.outbox is not None:
        async with keeping_publisher(settings, client_id, order.outbox) as publisher:
            receipt = await _receipt(publisher, order)
    else:
        async with open_publisher(settings, client_id) as publisher:
            receipt = await _receipt(publisher, order)
    if order.as_json:
        print_json(receipt.document())
    else:
        _print_receipt(receipt)
    if receipt.status is Status.REJECTED:
        return False
    if order.follow_s is None or receipt.notification_id is None:
        return True
    return await _follow(settings, receipt.notification_id, order.follow_s, as_json=order.as_json)


async def _receipt(publisher: Publisher, order: _Order) -> Receipt:
    try:
        return await publisher.publish(order.topic, order.payload, order.key, timeout_s=order.timeout_s)
    except Refused as refused:
        return refused.receipt
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except NoReceipt as error:
        if order.outbox is not None:
            raise StillKept(str(error), order.outbox) from None
        again = f"with --key {error.key}" if error.key else "with the same id"
        raise AnswerIsNo(f"{error}; it may have been accepted, so send it again only {again}") from None


def _print_receipt(receipt: Receipt) -> None:
    match receipt.status:
        case Status.REJECTED if receipt.error is not None:
            click.echo(printable(f"rejected  {receipt.error.code}: {receipt.error.message}"))
            if receipt.error.fields:
                print_columns([_cells(each) for each in receipt.error.fields], indent="  ")
            return
        case Status.DUPLICATE if receipt.sends > 1:
            click.echo(f"accepted  {receipt.notification_id}, by an earlier one of {receipt.sends} sends")
        case Status.DUPLICATE:
            click.echo(f"duplicate  of {receipt.notification_id}, which was accepted before")
        case _:
            subject = f"  {receipt.notification_id}" if receipt.notification_id else ""
            click.echo(f"accepted{subject}" + (f"  {rfc3339(receipt.accepted_at)}" if receipt.accepted_at else ""))
    if receipt.alert_id:
        click.echo(f"  alert_id  {receipt.alert_id}")
    for name in ("session_id", "unread"):
        if name in (receipt.model_extra or {}):
            click.echo(printable(f"  {name}  {(receipt.model_extra or {})[name]}"))
    if receipt.warnings:
        print_columns([("warning", *_cells(each)) for each in receipt.warnings], indent="  ")


def _cells(each: FieldProblem) -> tuple[str, str]:
    meant = f", did you mean {each.meant}?" if each.meant else ""
    return each.field or "(payload)", each.problem + meant


async def _follow(settings: OperatorSettings, notification_id: str, timeout_s: float, *, as_json: bool) -> bool:
    def tell(row: TracedRow) -> None:
        if as_json:
            print_json(row_document(row))
        else:
            text = f"{row.state:<13}  {row.lane:<8}  {whom(row):<20}  {row.reason or 'ok':<18}  {rfc3339(row.until)}"
            click.echo(printable(text))

    async with open_store(settings) as (store, keys):
        followed = await follow(Trace(store, keys), notification_id, tell, timeout_s)
    if followed is None:
        raise AnswerIsNo("the notification has no record; do MQTT_URL and REDIS_URL name the same system?")
    if as_json:
        print_json(_summary(followed))
    else:
        _print_summary(followed, timeout_s)
    return followed.all_well


def _summary(followed: Followed) -> dict[str, object]:
    return {
        "ended": dict(followed.ended),
        "open": [row_document(row) for row in followed.open_deliveries],
        "not_waited_for": [row_document(row) for row in followed.later],
    }


def _print_summary(followed: Followed, timeout_s: float) -> None:
    ended: Counter[str] = Counter({state.value: count for state, count in followed.ended.items()})
    click.echo("ended: " + (", ".join(f"{count} {state}" for state, count in ended.most_common()) or "none"))
    for row in followed.later:
        what = task_text(row) if row.task is not None else f"{row.lane} to {whom(row)}"
        click.echo(printable(f"not waited for: {what}, {when(row)}"))
    if followed.reached_nobody:
        click.echo("nothing was delivered")
    if followed.open_deliveries:
        click.echo(f"not ended within {timeout_s:g} s: {len(followed.open_deliveries)}")
