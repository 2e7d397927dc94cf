"""The plain version of a mail that brings HTML alone (docs/decisions/0009).

Promises a text that is not empty, for any HTML, with the targets of its links. What it costs is known before it is
done: a document whose tables would be huge as text gets one in which their cells stand one below the other.
"""

from inscriptis import Inscriptis  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]
from lxml.etree import ParserError  # type: ignore[import-untyped]
from lxml.html import document_fromstring  # type: ignore[import-untyped]

from services.email.table_area import TableArea

# A newsletter of tables within tables has some hundred thousand at most. This many take a quarter of a second and a few
# megabytes.
AREA_CHARS = 1_000_000

# How much longer than the HTML a text may be by its indentation.
MOST_GROWTH = 2

# An element on lines of its own that is not indented.
_BLOCK = "article"
_CONFIG = ParserConfig(display_links=True)
_OF_TABLES = ("table", "thead", "tbody", "tfoot", "tr", "td", "th")
# Pictures alone, or nested so deep that the parser gave up.
_NOTHING = "This message has no plain version; please open it in a mail program that shows HTML."


def text_of(html: str) -> str:
    """Write what a reader of the HTML would see."""
    try:
        tree = document_fromstring(html)
    except (ParserError, ValueError):
        return _NOTHING
    if TableArea().measure(tree) > AREA_CHARS:
        for element in tree.iter(*_OF_TABLES):
            element.tag = _BLOCK
    text = Inscriptis(tree, _CONFIG).get_text().strip()
    # Lists within lists within lists are indented with each; of thousands of lines that would be most of the mail.
    indented = len(text) <= MOST_GROWTH * len(html)
    lines = [line.rstrip() if indented else line.strip() for line in text.splitlines()]
    return "\n".join(lines) or _NOTHING
