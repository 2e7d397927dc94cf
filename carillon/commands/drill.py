"""``carillon drill``: what can be typed; ``carillon.commands.drilling`` does it."""

import sys
from datetime import timedelta

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option

LONGEST = timedelta(hours=1)
# Over before the last step of an escalation that nobody has set up, at five minutes: it would page the operators.
USUAL = "4m"


@click.command()
@click.argument("alert_type", metavar="TYPE")
@click.option(
    "--timeout", type=Duration(), default=USUAL, show_default=True, help="How long to follow it, at most one hour."
)
@click.option("--client-id", envvar="CARILLON_CLIENT_ID", help="Name at the broker, where it binds names to logins.")
@json_option
def drill(*, alert_type: str, timeout: timedelta, client_id: str | None, as_json: bool) -> None:
    """Raise an alert of TYPE that is marked as a drill, and report how long it takes to reach each person.

    People notice it: it is a critical alert, by mail, push and SMS, at night, too, whatever they have chosen. Its
    message begins with DRILL. Whoever is on call for TYPE and the admins are told. While nobody acknowledges, the
    escalation goes on as that of any alert of TYPE. If it comes to its end, that counts as an alert that nobody has
    answered.

    It ends when everybody has seen it, when somebody acknowledges it, or after --timeout; then the alert is resolved.
    Ctrl-C resolves it, too. The time to a channel runs from the acceptance to the provider's answer. Seen means opened
    in the inbox.

    Exit status: 0 everybody was reached by a channel beside the inbox; 1 somebody was not, or the alert was rejected; 2
    wrong use or settings, or the alert could not be resolved; 130 ended by Ctrl-C.

    \b
    Examples:
      carillon drill disk_full
      carillon drill disk_full --timeout 2m --json
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    if timeout > LONGEST:
        raise click.BadParameter("at most one hour", param_hint="--timeout")
    from carillon.commands.drilling import run_drill

    sys.exit(0 if run_drill(alert_type, timeout, client_id, as_json=as_json) else 1)
