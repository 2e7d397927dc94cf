"""``carillon send``: what can be typed; ``carillon.commands.sending`` does it."""

import sys
from datetime import timedelta
from pathlib import Path

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option
from carillon.commands.payload import read_payload


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
        from carillon.commands.kept import drop, flush, list_entries

        if listing:
            list_entries(outbox, as_json=as_json)
        elif dropping:
            drop(outbox, dropping)
        else:
            flush(client_id, outbox, timeout.total_seconds(), as_json=as_json)
        return
    if topic is None or payload is None:
        raise click.UsageError(f"Missing argument '{'TOPIC' if topic is None else 'PAYLOAD'}'.")
    from carillon.commands.sending import Order, publish

    follow_s = wait_timeout.total_seconds() if wait else None
    order = Order(topic, read_payload(payload), key, timeout.total_seconds(), outbox, follow_s, as_json)
    sys.exit(0 if publish(order, client_id) else 1)
