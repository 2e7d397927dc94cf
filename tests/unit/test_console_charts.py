"""Charts of the console as paths."""

import pytest

from carillon.console.charts import WIDTH, spark


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([None, None], ""),
        ([0.0, 1.0, 0.0], "M0.0 43.5L120.0 1.5L240.0 43.5"),
        # What is not known breaks the line, and what stands alone can still be seen.
        ([0.0, 1.0, None, 1.0, None], "M0.0 43.5L60.0 1.5M178.5 1.5L181.5 1.5"),
        ([None, 1.0], f"M238.5 1.5L{WIDTH:.1f} 1.5"),
    ],
)
def test_a_line_shows_every_value_that_is_known(values: list[float | None], line: str) -> None:
    assert spark(values).line == line
