"""Reads what Redis returns; any of it may be damaged."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def read_object(text: bytes | str | None) -> dict[str, Any]:
    """Read a JSON object; of one that is damaged nothing is known, and it says nothing."""
    return object_or_none(text) or {}


def object_or_none(text: bytes | str | None) -> dict[str, Any] | None:
    """Read a JSON object; None when it is none."""
    try:
        # Not as ``json.loads`` guesses: what is written is UTF-8.
        read = json.loads(text.decode() if isinstance(text, bytes) else text or "")
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def decoded(name: bytes) -> str:
    """Decode a name that may hold any bytes, so that encoding it again gives the same bytes."""
    return name.decode(errors="surrogateescape")


def pairs(answer: Mapping[Any, Any] | Sequence[Any]) -> list[tuple[Any, Any]]:
    """Pair names and values, or members and scores: flat in RESP2 and from scripts, a map or pairs in RESP3.

    The client decides which of the two it speaks, and the server may not know the newer one.
    """
    if isinstance(answer, Mapping):
        return list(answer.items())
    if answer and isinstance(answer[0], list | tuple):
        return [(first, second) for first, second in answer]
    return list(zip(answer[::2], answer[1::2], strict=True))


def scored(answer: Sequence[Any]) -> list[tuple[bytes, int]]:
    """Read members with their scores, which are whole numbers."""
    return [(member, round(float(score))) for member, score in pairs(answer)]
