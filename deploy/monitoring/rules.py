"""Prometheus' recording and alerting rules.

There are two severities. ``page`` wakes somebody: notifications do not reach people, or soon will not. ``ticket`` waits
for the next working day. Every alert has a runbook of its name in docs/runbooks.

Every series has the label ``service`` (from the scrape configuration). All routers measure the same store and report
the same number. So ``max`` over processes is right, and a sum would be a multiple.
"""

from dataclasses import dataclass
from typing import Any, Literal

from carillon.local.ports import SERVICES
from carillon.status.thresholds import (
    AUDITOR_SILENT_S,
    CHANNEL_WAITS_S,
    DEAD_LETTERS_MOST,
    DEAD_LETTERS_PART,
    OUR_REASONS,
    REALTIME_WAITS_S,
)
from deploy.monitoring.slo import ENOUGH, FAST, OBJECTIVES, SLOW, WINDOWS, BurnRate
from shared.core.model import Priority

JOB = "carillon"
RUNBOOKS = "docs/runbooks"
# The prefix of a runbook's path in the annotation: the address where the person who is paged can read this repository,
# such as "https://git.example.com/carillon/blob/main/". Without it the annotation has only the path in the repository.
RUNBOOKS_AT = ""

_LATENCY = "carillon_delivery_latency_seconds"
_OURS = "|".join(OUR_REASONS)
_BY_HAND = "carillon_provider_paused_by_hand"


@dataclass(frozen=True)
class Alert:
    """One alert.

    Attributes:
        name: without the prefix ``Carillon``; the runbook has it in lower case with dashes.
        lasts: how long it must hold before it fires.
        summary: one line with Prometheus' own templates.
    """

    name: str
    expression: str
    lasts: str
    severity: Literal["page", "ticket"]
    summary: str

    @property
    def full_name(self) -> str:
        """The name that is shown."""
        return f"Carillon{self.name}"

    @property
    def runbook(self) -> str:
        """The runbook's path in the repository."""
        words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in self.name)
        return f"{RUNBOOKS}/{words.removeprefix('-')}.md"

    def rule(self) -> dict[str, Any]:
        """Return the alert as Prometheus reads it."""
        return {
            "alert": self.full_name,
            "expr": self.expression,
            "for": self.lasts,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "runbook_url": f"{RUNBOOKS_AT}{self.runbook}"},
        }


def _late(priority: Priority, window: str) -> str:
    objective = OBJECTIVES[priority]
    within = f'{_LATENCY}_bucket{{priority="{priority}", le="{objective.within_s:.1f}"}}'
    every = f'{_LATENCY}_count{{priority="{priority}"}}'
    return (
        f"(1 - sum by (channel) (rate({within}[{window}]))"
        f" / sum by (channel) (rate({every}[{window}]))) / {objective.budget:g}"
    )


def _burn_rate(window: str) -> str:
    return f"carillon:late_deliveries:burn_rate{window}"


def _burns(*rates: BurnRate) -> str:
    def one(rate: BurnRate) -> str:
        enough = f"sum by (channel, priority) (increase({_LATENCY}_count[{rate.long}])) >= {ENOUGH}"
        return (
            f"({_burn_rate(rate.long)} > {rate.factor:g} and {_burn_rate(rate.short)} > {rate.factor:g} and {enough})"
        )

    return " or ".join(map(one, rates))


def _ended(outcome: str, by: str) -> str:
    return f'sum by ({by}) (increase(carillon_deliveries_total{{outcome="{outcome}"}}[15m]))'


def _part_ends_as(outcome: str, part: float) -> str:
    count = _ended(outcome, "channel")
    ends = 'sum by (channel) (increase(carillon_deliveries_total{outcome!="suppressed"}[15m]))'
    return f"({count} >= {DEAD_LETTERS_MOST} and {count} > {part:g} * {ends})"


def _gone() -> str:
    answers = f'max by (service) (up{{job="{JOB}"}}) == 0'
    absent = (f'absent(up{{job="{JOB}", service="{service}"}})' for service in SERVICES)
    # Nobody misses a service that the routers plan nothing for.
    left_out = 'label_replace(max by (channel) (carillon_channel_left_out) == 1, "service", "$1", "channel", "(.*)")'
    return f"({' or '.join([answers, *absent])}) unless on (service) {left_out}"


def _dead_letters_by(reason: str) -> str:
    return f'sum by (channel) (increase(carillon_deliveries_total{{outcome="dead_lettered", reason="{reason}"}}[15m]))'


ALERTS = (
    Alert(
        "DeliveriesLate",
        _burns(*FAST),
        "2m",
        "page",
        "{{ $labels.priority }} deliveries over {{ $labels.channel }} are late: the month's budget is being spent "
        '{{ $value | printf "%.0f" }} times too fast.',
    ),
    Alert(
        "DeliveriesSlow",
        _burns(*SLOW),
        "15m",
        "ticket",
        "For a day too many {{ $labels.priority }} deliveries over {{ $labels.channel }} have been late.",
    ),
    Alert(
        "DeliveriesWait",
        f'max by (channel) (carillon_oldest_open_delivery_age_seconds{{channel="realtime"}}) > {REALTIME_WAITS_S} '
        f"or max by (channel) (carillon_oldest_open_delivery_age_seconds) > {CHANNEL_WAITS_S}",
        "5m",
        "page",
        "A delivery over {{ $labels.channel }} has waited for {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "DeliveriesExpire",
        _part_ends_as("expired", DEAD_LETTERS_PART),
        "5m",
        "page",
        '{{ $value | printf "%.0f" }} deliveries over {{ $labels.channel }} expired in 15 minutes.',
    ),
    Alert(
        "DeadLetters",
        f"{_part_ends_as('dead_lettered', DEAD_LETTERS_PART)} or "
        f'sum by (channel) (increase(carillon_deliveries_total{{reason=~"{_OURS}"}}[15m])) > 0',
        "0m",
        "ticket",
        '{{ $value | printf "%.0f" }} deliveries over {{ $labels.channel }} became dead letters in 15 minutes.',
    ),
    Alert(
        "UnreadableRows",
        f"{_dead_letters_by('unreadable')} > 0",
        "0m",
        "page",
        '{{ $value | printf "%.0f" }} deliveries over {{ $labels.channel }} could not be read and were put away.',
    ),
    Alert(
        "WorkersDie",
        f"{_dead_letters_by('worker_died')} > 0",
        "0m",
        "page",
        'Processes of {{ $labels.channel }} died over {{ $value | printf "%.0f" }} deliveries again and again.',
    ),
    Alert(
        "ProviderPaused",
        # Whoever has paused it by hand knows.
        "max by (channel, provider) (carillon_provider_paused) == 1"
        f" unless max by (channel, provider) ({_BY_HAND}) == 1",
        "1m",
        "page",
        "{{ $labels.provider }} refuses us; deliveries over {{ $labels.channel }} wait or take another way.",
    ),
    Alert(
        "ProviderPausedByHand",
        f"max by (channel, provider) ({_BY_HAND}) == 1",
        "4h",
        "ticket",
        "{{ $labels.provider }} of {{ $labels.channel }} has been paused by hand for four hours.",
    ),
    Alert(
        "ForgettingStopped",
        "max by (channel) (carillon_forgetting_stopped) == 1",
        "5m",
        "ticket",
        "So many addresses of {{ $labels.channel }} look gone that none is forgotten any more.",
    ),
    Alert(
        "AuditImbalance",
        "max by (channel) (carillon_audit_imbalance) > 0",
        "3m",
        "page",
        "The audit cannot account for {{ $value }} deliveries of {{ $labels.channel }}.",
    ),
    Alert(
        "AuditOverdue",
        "max by (channel) (carillon_audit_overdue) > 0",
        "5m",
        "page",
        "{{ $value }} deliveries of {{ $labels.channel }} are overdue, and nobody works on them.",
    ),
    Alert(
        "AuditorSilent",
        # Over time, because a router that has ended no longer reports its last audit, and the other services report 0.
        f"time() - max(max_over_time(carillon_audit_last_success_timestamp_seconds[1h])) > {AUDITOR_SILENT_S}",
        "2m",
        "ticket",
        "No audit has been made for more than five minutes.",
    ),
    Alert(
        "BrokerAway",
        "min by (service) (carillon_broker_up) == 0",
        "1m",
        "page",
        "A process of {{ $labels.service }} has no connection to the broker.",
    ),
    Alert(
        "StoreAway",
        "min by (service) (carillon_store_up) == 0",
        "1m",
        "page",
        "The store does not answer {{ $labels.service }}, or too few replicas have what was written.",
    ),
    Alert(
        "StoreMayEvict",
        "max(carillon_store_may_evict) == 1",
        "1m",
        "page",
        "The store drops records when its memory is full: its maxmemory-policy is not noeviction.",
    ),
    Alert(
        "StoreNotPersistent",
        "min(carillon_store_append_only) == 0",
        "5m",
        "ticket",
        "A server of the store keeps no append-only file: what was accepted is lost with its process.",
    ),
    Alert("ServiceGone", _gone(), "2m", "page", "No process of {{ $labels.service }} answers."),
    Alert(
        "EscalationExhausted",
        "sum(increase(carillon_exhausted_escalations_total[10m])) > 0",
        "0m",
        "page",
        "An alert went through its whole escalation, and nobody has answered it.",
    ),
    Alert(
        "OncallGap",
        'max(carillon_oncall_gaps{within="24h"}) > 0',
        "10m",
        "ticket",
        "Within a day there are {{ $value }} times at which nobody is on call.",
    ),
)

_RECORDED = (
    ("carillon:open_deliveries", "max by (channel) (carillon_open_deliveries)"),
    ("carillon:realtime_sessions", "sum(carillon_realtime_sessions)"),
    (
        "carillon:attempt_duration_seconds:p99_5m",
        "histogram_quantile(0.99, sum by (channel, provider, le) (rate(carillon_attempt_duration_seconds_bucket[5m])))",
    ),
    (
        "carillon:delivery_latency_seconds:p99_5m",
        f"histogram_quantile(0.99, sum by (channel, priority, le) (rate({_LATENCY}_bucket[5m])))",
    ),
)


def groups() -> dict[str, Any]:
    """Return all rules as a rule file of Prometheus holds them."""
    burn_rates = [
        {"record": _burn_rate(window), "expr": _late(priority, window), "labels": {"priority": str(priority)}}
        for window in WINDOWS
        for priority in OBJECTIVES
    ]
    recorded = [{"record": name, "expr": expression} for name, expression in _RECORDED]
    return {
        "groups": [
            {"name": "carillon-burn-rates", "rules": burn_rates},
            {"name": "carillon-recorded", "rules": recorded},
            {"name": "carillon-alerts", "rules": [alert.rule() for alert in ALERTS]},
        ]
    }


def expressions() -> list[str]:
    """Return every expression of the rules."""
    return [rule["expr"] for group in groups()["groups"] for rule in group["rules"]]
