"""``carillon explain``: what can be typed; ``carillon.commands.explaining`` does it."""

import click

from carillon.commands.output import json_option


@click.command()
@click.argument("topic")
@click.argument("payload")
@click.option("--user", "user_id", metavar="USER_ID", help="Only what this person gets.")
@click.option("--at", metavar="TIME", help="As if it were this time: RFC 3339 with a zone, or seconds since 1970.")
@json_option
def explain(*, topic: str, payload: str, user_id: str | None, at: str | None, as_json: bool) -> None:
    """Say who would hear what, when and why, if PAYLOAD were published on TOPIC. Nothing is sent and nothing counted.

    PAYLOAD is a JSON object, @FILE, or - for standard input. There is one line for each person and channel: what
    becomes of it (send, silent, held, digest, suppressed, expired), when, and the rule that says so. Addresses are
    masked. It is the router's own planner with the router's settings, where ROUTER_..., DELIVERY_LIFETIME_S and
    TEMPLATES_DIR are set as the router has them.

    Exit status: 0 it would be accepted; 1 it would be refused; 2 wrong use or settings.

    \b
    Examples:
      carillon explain notifications/realtime/user/user123 '{"message": "Paid", "category": "billing"}'
      carillon explain notifications/alerts/warning/disk '{"message": "Full"}' --user user123 --at 2026-12-24T23:00:00Z
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.explaining import print_explanation

    print_explanation(topic, payload, user_id=user_id, at=at, as_json=as_json)
