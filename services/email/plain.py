"""The plain version of a mail that brings HTML alone (docs/decisions/0009).

Promises a text that is not empty, for any HTML, with the targets of its links; it takes 50 ms at most for the largest
payload that Carillon takes (measured).
"""

from inscriptis import get_text  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]

_CONFIG = ParserConfig(display_links=True)
# Pictures alone, or nested so deep that the parser gave up.
_NOTHING = "This message has no plain version; please open it in a mail program that shows HTML."


def text_of(html: str) -> str:
    """Write what a reader of the HTML would see."""
    lines = [line.rstrip() for line in get_text(html, _CONFIG).strip().splitlines()]
    return "\n".join(lines) or _NOTHING
