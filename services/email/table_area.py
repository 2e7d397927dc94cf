"""How large the tables of an HTML document are as text, computed just before they are laid out.

A table as text is a rectangle: each row is as high as its highest cell, each column as wide as its widest. A document
of 50 KB with one long line and many short ones is a rectangle of 150 million characters. It took 447 MB.
"""

from typing import Any

from inscriptis.model.tag import CustomHtmlTagHandlerMapping  # type: ignore[import-untyped]
from inscriptis.model.tag.table_tag import table_end_handler  # type: ignore[import-untyped]

# A line costs more than its characters (measured).
_LINE_CHARS = 16
_SEPARATOR_CHARS = 2


class AreaExceeded(Exception):
    """The tables of a document would be larger than they may be."""


def bounded_tables(most_chars: int) -> CustomHtmlTagHandlerMapping:
    """Limit the characters that inscriptis lays out for one document's tables. A nested table counts once a level.

    The handlers raise ``AreaExceeded`` before they lay out the table that exceeds the limit.
    """
    left = most_chars

    def end_table(state: Any) -> None:  # noqa: ANN401 - the library has no types
        nonlocal left
        left -= _area(state.current_table[-1])
        if left < 0:
            raise AreaExceeded
        table_end_handler(state)

    return CustomHtmlTagHandlerMapping(start_tag_mapping={}, end_tag_mapping={"table": end_table})


def _area(table: Any) -> int:  # noqa: ANN401
    columns: list[int] = []
    height = 0
    for row in table.rows:
        lines = 1
        for index, cell in enumerate(row.columns):
            # The block that a cell has not closed yet counts, too.
            texts = [*cell.blocks, cell.current_block.content]
            lines = max(lines, sum(text.count("\n") + 1 for text in texts))
            if index == len(columns):
                columns.append(0)
            columns[index] = max(columns[index], *(len(line) for text in texts for line in text.split("\n")))
        height += lines
    width = sum(columns) + _SEPARATOR_CHARS * len(columns)
    return height * (width + _LINE_CHARS)
