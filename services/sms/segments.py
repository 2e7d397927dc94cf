"""How many SMS a text takes: a pure function.

Counts as Twilio's own calculator does. One character on the screen (an emoji with its skin tone, a letter with its
accent) is never split between two segments.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import regex  # type: ignore[import-untyped]

# 3GPP TS 23.038, 6.2.1: the default alphabet, 7 bits a character, and the extension table, whose characters take two.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€\f")
# A segment is 140 octets: 160 characters of 7 bits or 70 of 16. Where there are several, 6 octets of each say which one
# it is (3GPP TS 23.040, 9.2.3.24.1), which leaves 153 and 67.
_GSM7_ALONE, _GSM7_OF_MANY = 160, 153
_UCS2_ALONE, _UCS2_OF_MANY = 70, 67

# UAX #29, table 1c, as it was up to Unicode 15.0. The library's own \X follows later ones, which join the consonants of
# Indic scripts, and Twilio does not.
_CLUSTER = regex.compile(
    r"""
    \p{GCB=Prepend}*
    (?: \p{GCB=Regional_Indicator}{2}
      | \p{Extended_Pictographic} (?: \p{GCB=Extend}* \u200d \p{Extended_Pictographic} )*
      | \p{GCB=L}* (?: \p{GCB=V}+ | \p{GCB=LV} \p{GCB=V}* | \p{GCB=LVT} ) \p{GCB=T}*
      | \p{GCB=L}+
      | \p{GCB=T}+
      | [^\p{GCB=Control}\r\n]
    )
    [\p{GCB=Extend}\u200d\p{GCB=SpacingMark}]*
    | .
    """,
    regex.VERSION1 | regex.VERBOSE | regex.DOTALL,
)

Encoding = Literal["gsm7", "ucs2"]


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text is sent as."""

    encoding: Encoding
    count: int


def clusters(text: str) -> list[str]:
    """Split a text into pieces that must not be split further."""
    found: list[str] = _CLUSTER.findall(text)
    return found


def count_segments(text: str) -> Segments:
    """Count the segments of a text; an empty one is one segment."""
    if all(character in _BASIC or character in _EXTENDED for character in text):
        return Segments("gsm7", _fill((1 + (character in _EXTENDED) for character in text), _GSM7_ALONE, _GSM7_OF_MANY))
    sizes = (len(cluster.encode("utf-16-le", "surrogatepass")) // 2 for cluster in clusters(text))
    return Segments("ucs2", _fill(sizes, _UCS2_ALONE, _UCS2_OF_MANY))


def _fill(sizes: Iterable[int], alone: int, of_many: int) -> int:
    """Count the segments that pieces of these sizes fill in their order, none of them split."""
    count, used, total = 1, 0, 0
    for size in sizes:
        total += size
        if used + size > of_many:
            count, used = count + 1, 0
        used += size
    return 1 if total <= alone else count
