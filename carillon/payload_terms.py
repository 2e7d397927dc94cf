"""What a payload says about its own sending: its idempotency key and its deadline.

Promises to be pure and total: what is wrong with a payload is for the router to say, and counts here as not said.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic_core import PydanticCustomError

from shared.core.clock import epoch_ms
from shared.core.fields import moment

_CENTURY_S = timedelta(days=36_525).total_seconds()


def read_object(payload: bytes) -> dict[str, Any]:
    """Return the JSON object that a payload is, an empty one when it is none."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def own_key(document: Mapping[str, object]) -> str | None:
    """Return the payload's own idempotency key."""
    key = document.get("id")
    return key if isinstance(key, str) and is_key(key) else None


def is_key(text: str) -> bool:
    """Tell whether a text can be an idempotency key at all: one line that MQTT and SQLite take."""
    return bool(text) and text.isprintable()


def deadline_ms(document: Mapping[str, object], now_ms: int) -> int | None:
    """Return the moment after which the payload need not be sent, in epoch milliseconds; None when it names none.

    Args:
        now_ms: from when ``ttl_s`` is counted.
    """
    asked = []
    ttl_s = document.get("ttl_s")
    if isinstance(ttl_s, int | float) and not isinstance(ttl_s, bool) and 0 < ttl_s < _CENTURY_S:
        asked.append(now_ms + round(ttl_s * 1000))
    expires_at = document.get("expires_at")
    if expires_at is not None:
        with suppress(PydanticCustomError):
            asked.append(epoch_ms(moment(expires_at)))
    return min(asked, default=None)
