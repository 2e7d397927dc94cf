"""Compiles MJML that contains Jinja to HTML that contains the same Jinja.

MJML is compiled once, when a template is loaded. Jinja's expressions are replaced by placeholders before and put back
afterwards, so that neither language sees the other. Promises that no expression gets lost without an error.
"""

import re

from mjml import mjml2html

from services.router.templates.problems import BrokenTemplate

_JINJA = re.compile(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
# Letters and digits only: it must be the same in text, in an attribute and in a style.
_PLACE = re.compile(r"jinja(\d+)place")
_TAG = re.compile(r"<(/?)(mj[a-z-]*)\b[^>]*?(/?)>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# documentation.mjml.io, the components that the compiler knows; it skips an unknown one without a word.
_ELEMENTS = frozenset(
    re.findall(
        r"\S+",
        """mjml mj-head mj-body mj-attributes mj-all mj-class mj-breakpoint mj-font mj-html-attributes mj-selector
    mj-html-attribute mj-preview mj-style mj-title mj-accordion mj-accordion-element mj-accordion-title
    mj-accordion-text mj-button mj-carousel mj-carousel-image mj-column mj-divider mj-group mj-hero mj-image mj-navbar
    mj-navbar-link mj-raw mj-section mj-social mj-social-element mj-spacer mj-table mj-text mj-wrapper""",
    )
)


def html_of(source: str, file: str) -> str:
    """Compile MJML to HTML.

    Raises:
        BrokenTemplate: with file and, where it is known, line.
    """
    kept: list[re.Match[str]] = []

    def take_out(found: re.Match[str]) -> str:
        if found[0].startswith("{#"):
            return ""
        kept.append(found)
        return f"jinja{len(kept) - 1}place"

    plain = _JINJA.sub(take_out, source)
    _check_elements(source, file)
    try:
        # No fonts: opening a mail would tell the font's host who reads it and when.
        html = mjml2html(plain, fonts={})
    except ValueError as error:
        raise BrokenTemplate(file, None, f"MJML: {error}") from None
    survivors = {int(found[1]) for found in _PLACE.finditer(html)}
    for index, found in enumerate(kept):
        if index not in survivors:
            raise BrokenTemplate(
                file,
                _line(source, found.start()),
                "MJML drops this expression: put it into an element with text, or into <mj-raw>",
            )
    return _PLACE.sub(lambda place: kept[int(place[1])][0], html)


def _check_elements(source: str, file: str) -> None:
    """Find what the compiler skips or reports without a line."""
    # Blanked and not removed, so that positions stay.
    text = _COMMENT.sub(_blank, _JINJA.sub(_blank, source))
    opened: list[tuple[str, int]] = []
    for tag in _TAG.finditer(text):
        closes, name, is_empty = tag.groups()
        line = _line(source, tag.start())
        if name not in _ELEMENTS:
            raise BrokenTemplate(file, line, f"<{name}> is not an element of MJML that can be used here")
        if closes:
            if not opened or opened.pop()[0] != name:
                raise BrokenTemplate(file, line, f"</{name}> closes nothing")
        elif not is_empty:
            opened.append((name, line))
    if opened:
        name, line = opened[-1]
        raise BrokenTemplate(file, line, f"<{name}> is not closed")


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1
