"""The metrics that the wire contract names, each defined once; SMS has more of its own (``services.sms.metrics``).

Labels come from fixed lists only: never a user, an address or a notification id. ``prepare_channel``, ``prepare_lane``
and ``prepare_router`` create the series at 0, so that the first failure shows as an increase.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from shared.core.errors import AttemptOutcome, Reason
from shared.core.model import CAN_RECALL, RECALLED, Channel, Priority, State

MetricT = TypeVar("MetricT", bound=MetricWrapperBase)

# From one hop on one machine to a retry after a provider was down all night.
_LATENCY_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 21600)
_ATTEMPT_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_BY_POLICY = ["channel", "policy"]
POLICIES = ("none", "opt_out", "opt_in", "required")

notifications = Counter(
    "carillon_notifications", "Publishes by what became of them at intake.", ["kind", "priority", "outcome"]
)
deliveries = Counter(
    "carillon_deliveries",
    "Deliveries by how they ended; recalled: taken back after their end.",
    ["channel", "outcome", "reason"],
)
attempts = Counter("carillon_attempts", "Attempts by outcome.", ["channel", "provider", "outcome"])
attempt_duration = Histogram(
    "carillon_attempt_duration_seconds",
    "Time of one attempt at the provider.",
    ["channel", "provider"],
    buckets=_ATTEMPT_BUCKETS_S,
)
delivery_latency = Histogram(
    "carillon_delivery_latency_seconds",
    "Time from acceptance (or from the planned time) to the provider's answer.",
    ["channel", "priority"],
    buckets=_LATENCY_BUCKETS_S,
)
open_deliveries = Gauge("carillon_open_deliveries", "Deliveries that have not ended.", ["channel"])
oldest_open_delivery_age = Gauge(
    "carillon_oldest_open_delivery_age_seconds", "Time since the oldest open delivery became due.", ["channel"]
)
realtime_sessions = Gauge("carillon_realtime_sessions", "Open realtime sessions of this process.")
redriven_deliveries = Counter(
    "carillon_redriven_deliveries", "Jobs that nobody claimed in time, and that were published again.", ["channel"]
)
left_rows = Counter(
    "carillon_left_rows",
    "Rows met and not claimed, because they are in a newer version or unreadable; router is its own lane.",
    ["channel", "why"],
)
provider_paused = Gauge(
    "carillon_provider_paused", "1 while a provider refuses us and its deliveries wait.", ["channel", "provider"]
)
channel_left_out = Gauge(
    "carillon_channel_left_out", "1 where the router plans no delivery over a channel (CARILLON_WITHOUT).", ["channel"]
)
provider_paused_by_hand = Gauge(
    "carillon_provider_paused_by_hand",
    "1 while somebody has paused a provider, or its whole channel, by hand.",
    ["channel", "provider"],
)
forgetting_stopped = Gauge(
    "carillon_forgetting_stopped",
    "1 while so many addresses look gone that none is forgotten, because the fault may be ours.",
    ["channel"],
)
forgotten_addresses = Counter(
    "carillon_forgotten_addresses", "Addresses forgotten because their provider said that they are gone.", ["channel"]
)

held = Counter(
    "carillon_held", "Channels of people that wait for quiet hours or a throttle, by category policy.", _BY_POLICY
)
folded = Counter("carillon_folded", "Channels of people that go into a digest, by category policy.", _BY_POLICY)
throttled = Counter("carillon_throttled", "Deliveries that a throttle dropped, by category policy.", _BY_POLICY)

alert_template_failures = Counter(
    "carillon_alert_template_failures",
    "Texts of alerts that ROUTER_ALERT_TEMPLATE could not write, told in the built-in words.",
    ["channel"],
)
refused_publishes = Counter(
    "carillon_refused_publishes", "Publishes that the router refused, by the code of the receipt.", ["code"]
)
withheld_receipts = Counter(
    "carillon_withheld_receipts",
    "Receipts that were not published, because their topic is not below receipts/, or not their publisher's own.",
)

exhausted_escalations = Counter(
    "carillon_exhausted_escalations", "Escalations whose last step was made, because nobody had answered the alert."
)

# What is looked ahead for gaps, and where incidents that are open stand.
GAPS_WITHIN = ("24h", "7d")
INCIDENT_STATES = ("open", "acknowledged", "snoozed")

oncall_gaps = Gauge(
    "carillon_oncall_gaps",
    "Times at which nobody is on call for a type, that begin or go on within so long.",
    ["within"],
)
oncall_gap_time = Gauge(
    "carillon_oncall_gap_seconds", "How long these gaps last within that time, all types together.", ["within"]
)
oncall_next_gap = Gauge(
    "carillon_oncall_next_gap_seconds", "Time until the first gap begins; 0 in a gap, +Inf where none is within 7 days."
)
# Until the first look.
oncall_next_gap.set(math.inf)
oncall_unwatched = Gauge(
    "carillon_oncall_unwatched_entries", "On-call entries that the last look could not read, or not publish."
)
oncall_last_look = Gauge("carillon_oncall_last_look_timestamp_seconds", "When the on-call entries were last looked at.")
oncall_warnings = Counter(
    "carillon_oncall_warnings", "Warnings before a gap, and before a turn of somebody out of reach.", ["about"]
)
# The levels of alerts: what "severity" says of an incident is its publisher's own word.
SEVERITIES = ("critical", "warning", "info")
# From a glance at the phone to a weekend.
_ANSWER_BUCKETS_S = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600)

alert_told = Histogram(
    "carillon_alert_told_seconds",
    "Time from an alert, or from the time of its escalation's step, to the provider's answer, of each delivery.",
    ["severity"],
    buckets=_LATENCY_BUCKETS_S,
)
alert_seen = Histogram(
    "carillon_alert_seen_seconds",
    "Time from an alert's place in a person's inbox until that person has seen it there.",
    ["severity"],
    buckets=_ANSWER_BUCKETS_S,
)
alert_seen_acknowledged = Histogram(
    "carillon_alert_seen_acknowledged_seconds",
    "Time from seeing an alert in the inbox to the same person's acknowledgement.",
    ["severity"],
    buckets=_ANSWER_BUCKETS_S,
)
alert_acknowledged = Histogram(
    "carillon_alert_acknowledged_seconds",
    "Time from an alert to the first acknowledgement.",
    ["severity"],
    buckets=_ANSWER_BUCKETS_S,
)
alert_resolved = Histogram(
    "carillon_alert_resolved_seconds", "Time from an alert to its end.", ["severity"], buckets=_ANSWER_BUCKETS_S
)
open_incidents = Gauge("carillon_open_incidents", "Incidents that are not over, by where they stand.", ["state"])
liveness_sources = Gauge("carillon_liveness_sources", "Sources that were heard of, by how they are.", ["state"])
liveness_incidents = Counter(
    "carillon_liveness_incidents", "Incidents of missing sources that were opened and resolved.", ["what"]
)

audit_imbalance = Gauge(
    "carillon_audit_imbalance", "Rows that the last audit could not account for; router is its own lane.", ["channel"]
)
audit_overdue = Gauge(
    "carillon_audit_overdue", "Rows that the last audit found overdue; router is its own lane.", ["channel"]
)
audit_last_success = Gauge(
    "carillon_audit_last_success_timestamp_seconds", "When an audit was last carried out, whatever it found."
)

broker_up = Gauge("carillon_broker_up", "1 while every connection of this process's work to the broker stands.")
store_up = Gauge(
    "carillon_store_up", "0 while the store does not answer this process, or too few replicas have what was written."
)
store_may_evict = Gauge(
    "carillon_store_may_evict", "1 while the store drops records when its memory is full (maxmemory-policy)."
)
store_append_only = Gauge("carillon_store_append_only", "0 while a server of the store keeps no append-only file.")
# Until the store has said otherwise.
store_append_only.set(1)
store_short_writes = Counter(
    "carillon_store_short_writes", "Calls that were not answered because too few replicas had them in time."
)

INTAKE_OUTCOMES = ("accepted", "duplicate", "rejected")
LEFT_ROWS = ("newer", "unreadable")
ATTEMPT_OUTCOMES = [each for each in AttemptOutcome if each not in (AttemptOutcome.PAUSED, AttemptOutcome.SEEN)]

# Those of the router, when it plans people or cancels.
_DECISIONS = (
    Reason.CANCELLED, Reason.CHANNEL_RULE, Reason.NO_RECIPIENT, Reason.UNKNOWN_RECIPIENT, Reason.PREFERENCE_OFF,
    Reason.NO_ADDRESS, Reason.THROTTLED, Reason.DIGESTED,
)  # fmt: skip
_SUPPRESSIONS = (
    *_DECISIONS, Reason.COUNTRY_NOT_ALLOWED, Reason.OPTED_OUT, Reason.BOUNCED, Reason.RATE_CAPPED, Reason.SEEN,
)  # fmt: skip
_DEAD_LETTERS = (
    Reason.REJECTED, Reason.GONE, Reason.TOO_LARGE, Reason.NO_PROVIDER, Reason.INTERNAL_ERROR, Reason.WORKER_DIED,
    Reason.UNREADABLE,
)  # fmt: skip
ENDS: tuple[tuple[State, Reason], ...] = (
    (State.DELIVERED, Reason.NONE),
    (State.EXPIRED, Reason.EXPIRED),
    *((State.SUPPRESSED, reason) for reason in _SUPPRESSIONS),
    *((State.DEAD_LETTERED, reason) for reason in _DEAD_LETTERS),
)


@cache
def series(metric: MetricT, *labels: str) -> MetricT:
    """Look up one series of a metric; cached, because the look-up costs more than the count."""
    return metric.labels(*labels)


def _prepare_alerts() -> None:
    for severity in SEVERITIES:
        for histogram in (alert_told, alert_seen, alert_seen_acknowledged, alert_acknowledged, alert_resolved):
            histogram.labels(severity)


def prepare_channel(channel: Channel, providers: Iterable[str]) -> None:
    """Create the series of one channel service at 0."""
    for state, reason in ENDS:
        deliveries.labels(channel, state, reason)
    if channel in CAN_RECALL:
        deliveries.labels(channel, RECALLED, Reason.NONE)
    for provider in providers:
        attempt_duration.labels(channel, provider)
        provider_paused.labels(channel, provider)
        provider_paused_by_hand.labels(channel, provider)
        for outcome in ATTEMPT_OUTCOMES:
            attempts.labels(channel, provider, outcome)
    forgotten_addresses.labels(channel)
    _prepare_alerts()
    for priority in Priority:
        delivery_latency.labels(channel, priority)


def prepare_lane(lane: str) -> None:
    """Create the series that every worker has at 0."""
    for why in LEFT_ROWS:
        left_rows.labels(lane, why)


def prepare_router(kinds: Iterable[str], codes: Iterable[str]) -> None:
    """Create the router's series at 0."""
    for code in codes:
        refused_publishes.labels(code)
    _prepare_alerts()
    for within in GAPS_WITHIN:
        oncall_gaps.labels(within)
        oncall_gap_time.labels(within)
    for about in ("gap", "reach"):
        oncall_warnings.labels(about)
    for incident_state in INCIDENT_STATES:
        open_incidents.labels(incident_state)
    for kind in kinds:
        for priority in Priority:
            for outcome in INTAKE_OUTCOMES:
                notifications.labels(kind, priority, outcome)
    for what in ("opened", "resolved"):
        liveness_incidents.labels(what)
    for channel in Channel:
        alert_template_failures.labels(channel)
        for reason in _DECISIONS:
            deliveries.labels(channel, State.SUPPRESSED, reason)
        for policy in POLICIES:
            for counter in (held, folded, throttled):
                counter.labels(channel, policy)
        # Those of its sweeper.
        deliveries.labels(channel, State.EXPIRED, Reason.EXPIRED)
        open_deliveries.labels(channel)
        oldest_open_delivery_age.labels(channel)
        redriven_deliveries.labels(channel)
    for lane in (*Channel, "router"):
        for reason in (Reason.UNREADABLE, Reason.WORKER_DIED):
            deliveries.labels(lane, State.DEAD_LETTERED, reason)
