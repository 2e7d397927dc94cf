"""How large the tables of an HTML document would be as text: what laying them out costs, reckoned before it is done.

A table as text is a rectangle: each row is as high as its highest cell, each column as wide as its widest. A document
of 50 KB with one long line and many short ones is a rectangle of 150 million characters, and took 447 MB. Reckoning
takes one walk over the document. It errs on the large side, so that a document within the bound is cheap.
"""

from typing import Any

# A line costs more than its characters; measured.
_LINE_CHARS = 16

_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "center", "dd", "div", "dl", "dt", "fieldset", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre",
    "section", "ul",
))  # fmt: skip


class _Box:
    """What flows into one cell, or into the document."""

    def __init__(self) -> None:
        self.width = self.lines = 0
        self._run = 0

    def write(self, chars: int) -> None:
        self._run += chars
        self.width = max(self.width, self._run)

    def end_line(self) -> None:
        self.lines += 1
        self._run = 0


class TableArea:
    """Measures one document."""

    def __init__(self) -> None:
        self.chars = 0

    def measure(self, tree: Any) -> int:  # noqa: ANN401 - lxml has no types
        """Return the characters of all tables of a document as text, those within others counted each time."""
        self._flow(tree, _Box(), as_is=False)
        return self.chars

    def _flow(self, element: Any, box: _Box, *, as_is: bool) -> None:  # noqa: ANN401
        as_is = as_is or element.tag == "pre" or "pre" in (element.get("style") or "")
        self._text(element.text, box, as_is=as_is)
        for child in element:
            if not isinstance(child.tag, str):
                pass  # A comment.
            elif child.tag == "table":
                self._table(child, box, as_is=as_is)
            elif child.tag in _BLOCKS:
                box.end_line()
                self._flow(child, box, as_is=as_is)
                box.end_line()
            else:
                box.write(len(child.get("href") or ""))
                self._flow(child, box, as_is=as_is)
            self._text(child.tail, box, as_is=as_is)

    @staticmethod
    def _text(text: str | None, box: _Box, *, as_is: bool) -> None:
        if not text:
            return
        lines = text.split("\n") if as_is else [" ".join(text.split())]
        for line in lines[:-1]:
            box.write(len(line))
            box.end_line()
        box.write(len(lines[-1]) + 1)

    def _table(self, table: Any, outer: _Box, *, as_is: bool) -> None:  # noqa: ANN401
        columns: list[int] = []
        height = 0
        for row in _rows(table):
            lines = 1
            for index, cell in enumerate(each for each in row if each.tag in ("td", "th")):
                box = _Box()
                self._flow(cell, box, as_is=as_is)
                lines = max(lines, box.lines + 1)
                if index == len(columns):
                    columns.append(0)
                columns[index] = max(columns[index], box.width)
            height += lines
        width = sum(columns) + 2 * len(columns)
        self.chars += height * (width + _LINE_CHARS)
        outer.end_line()
        outer.width = max(outer.width, width)
        outer.lines += height


def _rows(table: Any) -> list[Any]:  # noqa: ANN401
    """Return a table's own rows, not those of tables within it."""
    rows = []
    for child in table:
        if child.tag == "tr":
            rows.append(child)
        elif child.tag in ("tbody", "thead", "tfoot"):
            rows += [each for each in child if each.tag == "tr"]
    return rows
