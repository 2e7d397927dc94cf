"""``carillon send``: publish, print the receipt, and follow the notification to its end when asked to."""

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import click

from carillon.connections import open_publisher, open_store
from carillon.durations import Duration
from carillon.following import Followed, follow
from carillon.output import AnswerIsNo, json_option, print_columns, print_json, printable
from carillon.publisher import NoReceipt, Publisher, Receipt, Refused, Status
from carillon.rows import row_document, task_text, whom
from carillon.settings import OperatorSettings
from shared.clock import rfc3339
from shared.ledger import ROUTER_LANE
from shared.model import State
from shared.trace import Trace, TracedRow


@click.command()
@click.argument("topic")
@click.argument("payload")
@click.option("--key", help="Idempotency key; made up when the payload has no id.")
@click.option("--timeout", type=Duration(), default="10s", show_default=True, help="How long to wait for the receipt.")
@click.option("--wait", is_flag=True, help="Follow the notification until its deliveries have ended.")
@click.option("--wait-timeout", type=Duration(), default="60s", show_default=True, help="How long to follow it.")
@click.option("--client-id", envvar="CARILLON_CLIENT_ID", help="Name at the broker, where it binds names to logins.")
@json_option
def send(
    topic: str,
    payload: str,
    key: str | None,
    timeout: timedelta,  # noqa: ASYNC109 - not a coroutine; the option's name
    *,
    wait: bool,
    wait_timeout: timedelta,
    client_id: str | None,
    as_json: bool,
) -> None:
    """Publish PAYLOAD on TOPIC and print the receipt.

    TOPIC is relative to TOPIC_PREFIX. PAYLOAD is a JSON text, @FILE to read it from a file, - to read it from standard
    input, or '' for an empty payload, which deletes a directory entry or cancels a notification. A connection that is
    lost before the receipt came is built again, and the same publish is sent again under the same key.

    With --wait each delivery is printed when it has ended. Steps of an escalation and notifications that are scheduled
    for later are named, and not waited for.

    Exit status: 0 accepted (or known already), 1 rejected, without an answer in time, or (with --wait) expired,
    dead-lettered or not ended in time, 2 wrong use or settings.

    \b
    Examples:
      carillon send notifications/realtime/user/user123 '{"message": "Hello"}'
      carillon send --wait notifications/email/send @mail.json
      carillon send notifications/cancel/0197c5a2-7f00-7003-8000-000000000000 ''
      carillon send directory/user/user123 ''
    """  # noqa: D301 - click's mark for lines that are kept as they are
    settings = OperatorSettings.load()
    if wait:
        settings.needed("redis_url")
    data = _read(payload)
    well = asyncio.run(
        _send(settings, topic, data, key, timeout, wait_timeout if wait else None, client_id, as_json=as_json)
    )
    sys.exit(0 if well else 1)
