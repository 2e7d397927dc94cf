"""Writes pages from templates: everything that is put in is text, and a name that a template misspells is an error.

Nothing here knows what a page is about. ``templates/parts.html`` has what pages share: times, badges, forms, and the
link to the next page.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared.core.clock import rfc3339

_FOLDER = Path(__file__).parent / "templates"


class Rendering:
    """The templates of the console."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            # In every file, whatever its name.
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "utc": utc, "rfc3339": rfc3339, "length": length, "segment": segment, "pretty": pretty, "count": count,
            # The built-in ``length`` is another one here.
            "how_many": len,
        }  # fmt: skip
        self._environment.globals |= {"query": query}

    def render(self, template: str, context: Mapping[str, Any]) -> str:
        """Write one template."""
        return self._environment.get_template(template).render(context)


def utc(moment: datetime) -> str:
    """Write a time for people: ``2026-01-05 09:00:00 UTC``."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def length(duration: timedelta | float) -> str:
    """Write a length of time in its two largest units: ``2d 3h``, ``4m 5s``, ``0.3s``."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < 10:
        return f"{sign}{seconds:.3g}s"
    left, parts = round(seconds), []
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        number, left = divmod(left, unit_s)
        if number:
            parts.append(f"{number}{unit}")
    return sign + " ".join(parts[:2])


def segment(text: str) -> str:
    """Write a text as one segment of a path."""
    return quote(text, safe="")


def pretty(document: object) -> str:
    """Write JSON for people."""
    return json.dumps(document, ensure_ascii=False, indent=2, default=str)


def count(number: float) -> str:
    """Write a number with its thousands apart."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def query(**fields: object) -> str:
    """Write a query of the fields that say something."""
    said = urlencode({name: value for name, value in fields.items() if value not in (None, "")})
    return f"?{said}" if said else "?"
