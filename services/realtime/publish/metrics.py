"""The metric of HTTP for publishers."""

from prometheus_client import Counter

# What a publish may be answered with. Any other status is a fault here.
STATUSES = (200, 202, 400, 401, 403, 408, 409, 413, 429, 500, 503)

http_publishes = Counter("carillon_http_publishes", "Publishes over HTTP by the status of their answer.", ["status"])


def prepare() -> None:
    """Create the series at 0."""
    for status in STATUSES:
        http_publishes.labels(str(status))
