"""What Redis gives back, read on this side; any of it may be damaged."""

import json
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
