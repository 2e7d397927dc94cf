"""Times as people type them: RFC 3339 with a zone, or seconds since 1970."""

from datetime import datetime

import click
from pydantic import TypeAdapter, ValidationError

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
