"""``carillon send``: publish, print the receipt, and follow the notification to its end when asked to.

With an outbox the publish is in a local file before it is sent; ``kept`` deals with what is in that file.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import click

from carillon.commands.kept import StillKept
from carillon.commands.opening_broker import new_publisher, open_publisher
from carillon.commands.output import AnswerIsNo, print_columns, print_json, printable
from carillon.commands.settings import OperatorSettings
from carillon.publisher import FieldProblem, NoReceipt, Publisher, Receipt, Refused, Status
from shared.core.clock import rfc3339


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for on the command line; ``outbox`` and ``follow_s`` are None without their options."""

    topic: str
    payload: bytes
    key: str | None
    timeout_s: float
    outbox: Path | None
    follow_s: float | None
    as_json: bool


def publish(order: Order, client_id: str | None) -> bool:
    """Publish, print the receipt, follow what is to be followed, and tell whether all went well."""
    settings = OperatorSettings.load()
    if order.follow_s is not None:
        # Before anything is published.
        settings.needed("redis_url")
    return asyncio.run(_send(settings, order, client_id))


async def _send(settings: OperatorSettings, order: Order, client_id: str | None) -> bool:
    if order.outbox is not None:
        async with new_publisher(settings, client_id, order.outbox) as publisher:
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
    from carillon.commands.following import print_ends

    return await print_ends(settings, receipt.notification_id, order.follow_s, as_json=order.as_json)


async def _receipt(publisher: Publisher, order: Order) -> Receipt:
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
        if name in receipt.extra:
            click.echo(printable(f"  {name}  {receipt.extra[name]}"))
    if receipt.warnings:
        print_columns([("warning", *_cells(each)) for each in receipt.warnings], indent="  ")


def _cells(each: FieldProblem) -> tuple[str, str]:
    meant = f", did you mean {each.meant}?" if each.meant else ""
    return each.field or "(payload)", each.problem + meant
