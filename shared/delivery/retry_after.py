"""The Retry-After header: when a provider wants to be asked again."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def parse(value: str | None, now: datetime) -> timedelta | None:
    """Read seconds or an HTTP date (RFC 9110, 10.2.3); None where there is nothing to be read."""
    if not value:
        return None
    text = value.strip()
    try:
        if text.isascii() and text.isdigit():
            return timedelta(seconds=int(text))
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # A date without a zone is in UTC, as every HTTP date is.
    return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now, timedelta())
