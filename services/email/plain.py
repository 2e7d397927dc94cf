"""The plain version of a mail that has only HTML (docs/decisions/0009).

Promises a text for any HTML. The text is never empty and has the targets of the links. The cost is known before the
work is done: if the tables of a document would be huge as text, their cells stand one below the other. A document that
cannot be laid out at all becomes its words, without the targets of its links.
"""

import logging
import re
from html import unescape
from typing import Any

from inscriptis import Inscriptis  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]
from lxml import etree  # type: ignore[import-untyped]
from lxml.etree import ParserError  # type: ignore[import-untyped]
from lxml.html import document_fromstring  # type: ignore[import-untyped]

from services.email.table_area import AreaExceeded, bounded_tables

log = logging.getLogger(__name__)

# A newsletter with nested tables has a few hundred thousand at most. This many take a quarter of a second and a few
# megabytes.
AREA_CHARS = 1_000_000

# Longer HTML is not laid out: its tree alone would take dozens of megabytes.
LAID_OUT_CHARS = 512 * 1024

# A text that is more than so many times as long as its HTML loses its indentation.
MOST_GROWTH = 2

# An element on lines of its own that is not indented.
_BLOCK = "article"
_OF_TABLES = ("table", "thead", "tbody", "tfoot", "tr", "td", "th")
# The parts of a style that are read. Margins and indents are not: they could be any number of lines and blanks.
_STYLES = frozenset(("display", "white-space"))
_LIST_DIGITS = 9
_NOT_READ = ("head", "script", "style", "template")
# The parser refuses a text that says which encoding it has.
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*>")
_MARKUP = re.compile(r"<[^<>]*>")
_UNREAD_MARK = re.compile(r"<(/?)(?:head|script|style|template)\b", re.IGNORECASE)
# Pictures alone.
_NOTHING = "This message has no plain version; please open it in a mail program that shows HTML."


def text_of(html: str) -> str:
    """Write what a reader of the HTML would see."""
    text = _text(html) if len(html) <= LAID_OUT_CHARS else ""
    # The parser gives up on elements that are nested some hundred deep.
    text = text.strip() or _words(html)
    # Each nested list adds indentation. With thousands of lines that would be most of the mail.
    indented = len(text) <= MOST_GROWTH * len(html)
    lines = [line.rstrip() if indented else line.strip() for line in text.splitlines()]
    return "\n".join(lines) or _NOTHING


def _text(html: str) -> str:
    try:
        tree = document_fromstring(_DECLARATION.sub("", html, count=1))
    except (ParserError, ValueError):
        return ""
    _calm(tree)
    try:
        return _laid_out(tree)
    except AreaExceeded:
        for element in tree.iter(*_OF_TABLES):
            element.tag = _BLOCK
    except Exception:  # noqa: BLE001 - whatever the library stumbles over, the mail goes out
        log.warning("an HTML mail could not be laid out as text")
    try:
        return _laid_out(tree)
    except Exception:  # noqa: BLE001 - as above
        return _words_of(tree)


def _laid_out(tree: Any) -> str:  # noqa: ANN401 - lxml's HTML has no types
    config = ParserConfig(display_links=True, custom_html_tag_handler_mapping=bounded_tables(AREA_CHARS))
    text: str = Inscriptis(tree, config).get_text()
    return text


def _calm(tree: Any) -> None:  # noqa: ANN401
    """Remove from a document what would inflate its text, and what the layout cannot read."""
    for element in tree.iter(etree.Element):
        style = element.get("style")
        if style is not None:
            kept = [each for each in style.split(";") if each.partition(":")[0].strip().lower() in _STYLES]
            element.set("style", ";".join(kept))
        value = element.get("value") if element.tag == "li" else None
        if value is not None and not (value.isascii() and value.isdigit() and len(value) <= _LIST_DIGITS):
            del element.attrib["value"]


def _words_of(tree: Any) -> str:  # noqa: ANN401
    etree.strip_elements(tree, *_NOT_READ, with_tail=False)
    return "\n".join(filter(None, (piece.strip() for piece in tree.itertext())))


def _words(html: str) -> str:
    """Return the words of a document that is not parsed, in time that grows with its length alone."""
    read: list[str] = []
    at, skipping = 0, False
    for mark in _UNREAD_MARK.finditer(html):
        if not skipping:
            read.append(html[at : mark.start()])
        at, skipping = mark.start(), not mark[1]
    if not skipping:
        read.append(html[at:])
    pieces = (unescape(piece).strip() for part in read for piece in _MARKUP.split(part))
    return "\n".join(filter(None, pieces))
