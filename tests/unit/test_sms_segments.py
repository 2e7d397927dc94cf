"""How many SMS a text takes."""

import pytest

from services.sms.segments import Segments, count_segments

FAMILY = "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}\u200d\N{BOY}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", Segments("gsm7", 1)),
        ("x" * 160, Segments("gsm7", 1)),
        ("x" * 161, Segments("gsm7", 2)),
        ("x" * 306, Segments("gsm7", 2)),
        ("x" * 307, Segments("gsm7", 3)),
        # Two septets each.
        ("€" * 80, Segments("gsm7", 1)),
        ("€" * 81, Segments("gsm7", 2)),
        # The escape and its character stay together: 76 to a segment, not 76.5.
        ("€" * 152, Segments("gsm7", 2)),
        ("€" * 153, Segments("gsm7", 3)),
        ("ш" * 70, Segments("ucs2", 1)),
        ("ш" * 71, Segments("ucs2", 2)),
        ("ш" * 134, Segments("ucs2", 2)),
        ("ш" * 135, Segments("ucs2", 3)),
        # One character outside of GSM-7 makes the whole text UCS-2.
        ("x" * 70 + "ш", Segments("ucs2", 2)),
        # A surrogate pair stays together: 33 to a segment.
        ("\N{GRINNING FACE}" * 35, Segments("ucs2", 1)),
        ("\N{GRINNING FACE}" * 66, Segments("ucs2", 2)),
        ("\N{GRINNING FACE}" * 67, Segments("ucs2", 3)),
        # 11 units that stay together: 6 to a segment.
        (FAMILY * 6, Segments("ucs2", 1)),
        (FAMILY * 12, Segments("ucs2", 2)),
        (FAMILY * 13, Segments("ucs2", 3)),
        ("\r\n" * 80, Segments("gsm7", 1)),
        ("`", Segments("ucs2", 1)),
    ],
)
def test_a_text_takes_as_many_segments_as_its_alphabet_allows(text: str, found: Segments) -> None:
    assert count_segments(text) == found
