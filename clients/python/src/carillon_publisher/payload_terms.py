"""What a payload says about its own sending: its idempotency key and its deadline.

Promises to be pure and total: what is wrong with a payload is for the router to say, and counts here as not said.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from carillon_publisher.clock import epoch_ms

_CENTURY_S = timedelta(days=36_525).total_seconds()

# A time outside is a mistake of unit (milliseconds) rather than an intention, and the router refuses it.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
# RFC 3339, 5.6: the zone is not optional.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


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
    expires_at = moment(document.get("expires_at"))
    if expires_at is not None:
        asked.append(epoch_ms(expires_at))
    return min(asked, default=None)


def moment(value: object) -> datetime | None:
    """Read epoch seconds or RFC 3339 with a zone as an aware datetime; None if the router takes no such time."""
    found = None
    # What is neither in the calendar nor in the years that the machine's clock can tell.
    with suppress(ValueError, OverflowError, OSError):
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, str) and _RFC_3339.fullmatch(value):
            found = datetime.fromisoformat(value.upper()).astimezone(UTC)
    return found if found is not None and _EARLIEST <= found < _LATEST else None
