"""The metrics of Alertmanager's webhook; their labels come from fixed lists."""

from enum import StrEnum

from prometheus_client import Counter

from services.realtime.alertmanager.webhook import AlertStatus

# What a message may be answered with. Any other status is a fault here.
STATUSES = (200, 400, 401, 403, 413, 429, 500, 503)


class Outcome(StrEnum):
    """What became of one alert of a message."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    """For good: the same alert would be refused again."""
    UNANSWERED = "unanswered"
    """Nobody has taken it for now: Alertmanager is to send the message again."""


UNREADABLE = "unreadable"

messages = Counter(
    "carillon_alertmanager_messages", "Messages of Alertmanager by the status of their answer.", ["status"]
)
alerts = Counter(
    "carillon_alertmanager_alerts",
    "Alerts in messages of Alertmanager by what they say and what became of them.",
    ["status", "outcome"],
)
truncated = Counter(
    "carillon_alertmanager_truncated_alerts", "Alerts that Alertmanager has left out of its messages (max_alerts)."
)
left_out = Counter(
    "carillon_alertmanager_labels_left_out", "Labels of alerts of Alertmanager that are not within the limits of ours."
)


def prepare() -> None:
    """Create the series at 0."""
    for status in STATUSES:
        messages.labels(str(status))
    for said in (*AlertStatus, UNREADABLE):
        for outcome in Outcome:
            alerts.labels(said, outcome)
