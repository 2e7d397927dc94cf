"""``carillon provider``: what can be typed; ``carillon.commands.pausing`` does it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from carillon.commands.durations import Duration
from carillon.commands.output import json_option

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

by_option = click.option(
    "--by",
    metavar="NAME",
    envvar=["USER", "CARILLON_CLIENT_ID"],
    help="Who does it. [default: who is logged in, else CARILLON_CLIENT_ID]",
)


@click.group()
def provider() -> None:
    """Stop sending through a provider, or a whole channel, and go on again.

    A TARGET is a channel (email, sms, push) or one of its providers (email/smtp, push/apns). Every process of the
    channel obeys within about a second. While one provider is paused, deliveries go through the channel's others. Where
    none is left, they wait: nothing is lost, and no attempt is used up. They still expire at their deadline.
    """


def _pausing(command: CommandT) -> CommandT:
    """Give a command what pausing needs."""
    for option in (
        json_option,
        by_option,
        click.option("--until", metavar="TIME", help="When it ends: RFC 3339 with a zone, or seconds since 1970."),
        click.option("--for", "length", type=Duration(), help="How long: 30m, 2h, 7d; at most 31 days. [default: 1h]"),
        click.option("--reason", required=True, help="Why; whoever looks at the list reads it."),
        click.argument("target", metavar="TARGET"),
    ):
        command = option(command)
    return command


@provider.command()
@_pausing
def pause(
    *, target: str, reason: str, length: timedelta | None, until: str | None, by: str | None, as_json: bool
) -> None:
    """Begin no new attempt through TARGET until the end.

    An attempt that is under way goes on to its end. The pause ends by itself. Pausing once more changes reason and end.

    Exit status: 0 paused; 2 wrong use or settings, or the store does not answer.

    \b
    Examples:
      carillon provider pause email/smtp --for 2h --reason 'the relay is moved'
      carillon provider pause sms --until 2026-01-05T09:00:00+01:00 --reason 'the account is empty'
    """  # noqa: D301 - click's mark for lines that are to stay as they are
    from carillon.commands.pausing import pause_provider

    pause_provider(target, reason=reason, length=length, until=until, by=by, as_json=as_json)


@provider.command()
@_pausing
@click.option(
    "--timeout", type=Duration(), default="90s", show_default=True, help="How long to wait for what is under way."
)
def drain(
    *,
    target: str,
    reason: str,
    length: timedelta | None,
    until: str | None,
    by: str | None,
    timeout: timedelta,
    as_json: bool,
) -> None:
    """Pause TARGET, and wait until no attempt through it is under way.

    The same as `pause`, which does not wait. After it the relay can be switched off.

    Exit status: 0 nothing is under way; 1 something still was when the time was over, and TARGET stays paused; 2 wrong
    use or settings, or the store does not answer.
    """
    from carillon.commands.pausing import drain_provider

    drain_provider(
        target, reason=reason, length=length, until=until, by=by, timeout_s=timeout.total_seconds(), as_json=as_json
    )


@provider.command()
@click.argument("target", metavar="TARGET")
@by_option
@json_option
def resume(*, target: str, by: str | None, as_json: bool) -> None:
    """End the pause of TARGET. What waited goes on some hundred a second, the critical ones first.

    Exit status: 0 resumed; 1 it is not paused; 2 wrong use or settings, or the store does not answer.
    """
    from carillon.commands.pausing import resume_provider

    resume_provider(target, by=by, as_json=as_json)


@provider.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the providers: which are paused by hand, by whom, why and until when, and how each is.

    A provider may also be paused because it refuses us. That ends by itself, and stands under health.
    """
    from carillon.commands.pausing import print_providers

    print_providers(as_json=as_json)
