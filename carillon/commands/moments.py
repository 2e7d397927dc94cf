"""Times as people type them: RFC 3339 with a zone, seconds since 1970, or how long ago: ``2h``."""

from datetime import datetime, timedelta

import click
from pydantic import TypeAdapter, ValidationError

from carillon.commands.durations import Duration
from shared.core.clock import SystemClock
from shared.core.fields import Moment

_moment: TypeAdapter[datetime] = TypeAdapter(Moment)


def read_moment(text: str, option: str) -> datetime:
    """Read what was typed behind an option.

    Raises:
        click.BadParameter: it is no time; the message names the option.
    """
    try:
        return _moment.validate_python(float(text) if text.replace(".", "", 1).isdecimal() else text)
    except ValidationError as error:
        raise click.BadParameter(str(error.errors()[0]["msg"]), param_hint=option) from None


def read_moment_or_ago(text: str, option: str) -> datetime:
    """Read what was typed behind an option: a time, or how long ago, with its unit.

    Raises:
        click.BadParameter: it is neither; the message names the option.
    """
    if text[-1:] in "smhd" and text[:1].isdigit():
        try:
            ago: timedelta = Duration().convert(text, None, None)
        except click.BadParameter as error:
            raise click.BadParameter(error.message, param_hint=option) from None
        return SystemClock().now() - ago
    return read_moment(text, option)
