"""Every alert fires when it should and stays silent when it should not: ``promtool test rules`` over made-up series."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.__main__ import CONSOLES, FOLDER, files
from deploy.monitoring.rules import ALERTS
from tests.prometheus import promtool

ROOT = Path(__file__).parents[2]
ALERT = {alert.full_name.removeprefix("Carillon"): alert for alert in ALERTS}

_LATENCY = "carillon_delivery_latency_seconds"
_EVERYBODY = tuple(f'up{{job="carillon", service="{name}"}}' for name in ("router", "email", "sms", "push", "realtime"))


@dataclass(frozen=True)
class Case:
    """Series from time 0 on, one value a minute in promtool's notation, and the alert at one moment.

    Attributes:
        fires: the labels beside severity, and the summary, of each that fires; nothing when all is silent.
    """

    what: str
    alert: str
    at: str
    series: dict[str, str]
    fires: tuple[tuple[dict[str, str], str], ...] = field(default=())


def latencies(channel: str, priority: str, bound: str, *, each_minute: int, within: int) -> dict[str, str]:
    """Write a histogram of so many deliveries a minute for two days, so many of them within the bound."""
    labels = f'channel="{channel}", priority="{priority}"'
    return {
        f'{_LATENCY}_bucket{{{labels}, le="{bound}"}}': f"0+{within}x2880",
        f"{_LATENCY}_count{{{labels}}}": f"0+{each_minute}x2880",
    }


def without(absent: str) -> dict[str, str]:
    return {series: "1x30" for series in _EVERYBODY if absent not in series}


def _unreadable(which: str) -> str:
    return f'carillon_deliveries_total{{channel="email", outcome="dead_lettered", reason="unreadable", {which}}}'


CASES = (
    Case(
        "two of a hundred critical mails are late",
        "DeliveriesLate",
        "2h",
        latencies("email", "critical", "10.0", each_minute=100, within=98),
        (
            (
                {"channel": "email", "priority": "critical"},
                "critical deliveries over email are late: the month's budget is being spent 20 times too fast.",
            ),
        ),
    ),
    Case(
        "two of a hundred normal mails are late",
        "DeliveriesLate",
        "2h",
        latencies("email", "normal", "300.0", each_minute=100, within=98),
    ),
    Case(
        "a single critical SMS, late",
        "DeliveriesLate",
        "5m",
        {
            f'{_LATENCY}_bucket{{channel="sms", priority="critical", le="10.0"}}': "0x5",
            f'{_LATENCY}_count{{channel="sms", priority="critical"}}': "0 1x4",
        },
    ),
    Case("nothing to deliver", "DeliveriesLate", "2h", latencies("sms", "critical", "10.0", each_minute=0, within=0)),
    Case(
        "five of a hundred low pushes are late for days",
        "DeliveriesSlow",
        "30h",
        latencies("push", "low", "1800.0", each_minute=100, within=95),
        (
            (
                {"channel": "push", "priority": "low"},
                "For a day too many low deliveries over push have been late.",
            ),
        ),
    ),
    Case(
        "two of a hundred low pushes are late for days",
        "DeliveriesSlow",
        "30h",
        latencies("push", "low", "1800.0", each_minute=100, within=98),
    ),
    Case(
        "an inbox entry waits for two minutes and more, and a mail for an hour",
        "DeliveriesWait",
        "10m",
        {
            'carillon_oldest_open_delivery_age_seconds{channel="realtime"}': "120x20",
            'carillon_oldest_open_delivery_age_seconds{channel="email"}': "3600x20",
            'carillon_oldest_open_delivery_age_seconds{channel="sms"}': "120x20",
        },
        (
            ({"channel": "realtime"}, "A delivery over realtime has waited for 2m 0s."),
            ({"channel": "email"}, "A delivery over email has waited for 1h 0m 0s."),
        ),
    ),
    Case(
        "an inbox entry waited once",
        "DeliveriesWait",
        "10m",
        {'carillon_oldest_open_delivery_age_seconds{channel="realtime"}': "0 120x3 0x20"},
    ),
    Case(
        "every tenth push expires",
        "DeliveriesExpire",
        "30m",
        {
            'carillon_deliveries_total{channel="push", outcome="expired", reason="expired"}': "0+10x60",
            'carillon_deliveries_total{channel="push", outcome="delivered", reason=""}': "0+90x60",
        },
        (({"channel": "push"}, "150 deliveries over push expired in 15 minutes."),),
    ),
    Case(
        "one push in a hundred expires",
        "DeliveriesExpire",
        "30m",
        {
            'carillon_deliveries_total{channel="push", outcome="expired", reason="expired"}': "0+1x60",
            'carillon_deliveries_total{channel="push", outcome="delivered", reason=""}': "0+99x60",
        },
    ),
    Case(
        "a tenth of the mails is refused, and one delivery has no provider",
        "DeadLetters",
        "30m",
        {
            'carillon_deliveries_total{channel="email", outcome="dead_lettered", reason="rejected"}': "0+10x60",
            'carillon_deliveries_total{channel="email", outcome="delivered", reason=""}': "0+90x60",
            'carillon_deliveries_total{channel="push", outcome="dead_lettered", reason="no_provider"}': "0x20 15x40",
        },
        (
            ({"channel": "email"}, "150 deliveries over email became dead letters in 15 minutes."),
            ({"channel": "push"}, "15 deliveries over push became dead letters in 15 minutes."),
        ),
    ),
    Case(
        "a mail that is refused now and then",
        "DeadLetters",
        "30m",
        {
            'carillon_deliveries_total{channel="email", outcome="dead_lettered", reason="rejected"}': "0+1x60",
            'carillon_deliveries_total{channel="email", outcome="delivered", reason=""}': "0+99x60",
        },
    ),
    Case(
        "two routers put rows away that nobody can read",
        "UnreadableRows",
        "30m",
        {_unreadable(f'instance="{name}"'): "0x20 15x40" for name in "ab"},
        (({"channel": "email"}, "30 deliveries over email could not be read and were put away."),),
    ),
    Case(
        "rows that nobody can read were put away an hour ago",
        "UnreadableRows",
        "90m",
        {_unreadable('instance="a"'): "0x20 15x90"},
    ),
    Case(
        "one process after the other dies over a mail",
        "WorkersDie",
        "30m",
        {'carillon_deliveries_total{channel="email", outcome="dead_lettered", reason="worker_died"}': "0x20 15x40"},
        (({"channel": "email"}, "Processes of email died over 15 deliveries again and again."),),
    ),
    Case(
        "processes die and come back, and no delivery is given up",
        "WorkersDie",
        "30m",
        {
            'carillon_deliveries_total{channel="email", outcome="dead_lettered", reason="worker_died"}': "0x60",
            'carillon_deliveries_total{channel="email", outcome="delivered", reason=""}': "0+90x60",
        },
    ),
    Case(
        "one of two processes is refused by the relay",
        "ProviderPaused",
        "5m",
        {
            'carillon_provider_paused{channel="email", provider="smtp", instance="a"}': "1x10",
            'carillon_provider_paused{channel="email", provider="smtp", instance="b"}': "0x10",
        },
        (
            (
                {"channel": "email", "provider": "smtp"},
                "smtp refuses us; deliveries over email wait or take another way.",
            ),
        ),
    ),
    Case(
        "the relay takes mail",
        "ProviderPaused",
        "5m",
        {'carillon_provider_paused{channel="email", provider="smtp"}': "0x10"},
    ),
    Case(
        "one process still asks the relay that was paused by hand, and is refused",
        "ProviderPaused",
        "5m",
        {
            'carillon_provider_paused{channel="email", provider="smtp", instance="a"}': "1x10",
            'carillon_provider_paused_by_hand{channel="email", provider="smtp", instance="b"}': "1x10",
        },
    ),
    Case(
        "the pause of another relay hides nothing",
        "ProviderPaused",
        "5m",
        {
            'carillon_provider_paused{channel="email", provider="smtp"}': "1x10",
            'carillon_provider_paused_by_hand{channel="email", provider="smtp"}': "0x10",
            'carillon_provider_paused_by_hand{channel="email", provider="smtp-2"}': "1x10",
        },
        (
            (
                {"channel": "email", "provider": "smtp"},
                "smtp refuses us; deliveries over email wait or take another way.",
            ),
        ),
    ),
    Case(
        "a pause that was forgotten",
        "ProviderPausedByHand",
        "5h",
        {
            'carillon_provider_paused_by_hand{channel="email", provider="smtp", instance="a"}': "1x320",
            'carillon_provider_paused_by_hand{channel="email", provider="smtp-2", instance="a"}': "0x320",
        },
        (({"channel": "email", "provider": "smtp"}, "smtp of email has been paused by hand for four hours."),),
    ),
    Case(
        "a pause of three hours",
        "ProviderPausedByHand",
        "5h",
        {'carillon_provider_paused_by_hand{channel="email", provider="smtp"}': "0x60 1x180 0x80"},
    ),
    Case(
        "the brake is on",
        "ForgettingStopped",
        "10m",
        {'carillon_forgetting_stopped{channel="push"}': "1x20"},
        (({"channel": "push"}, "So many addresses of push look gone that none is forgotten any more."),),
    ),
    Case(
        "the brake is off again", "ForgettingStopped", "10m", {'carillon_forgetting_stopped{channel="push"}': "1x3 0x9"}
    ),
    Case(
        "rows are missing, and two routers say so",
        "AuditImbalance",
        "10m",
        {f'carillon_audit_imbalance{{channel="sms", instance="{name}"}}': "3x20" for name in "ab"},
        (({"channel": "sms"}, "The audit cannot account for 3 deliveries of sms."),),
    ),
    Case("the accounts balance", "AuditImbalance", "10m", {'carillon_audit_imbalance{channel="sms"}': "0x20"}),
    Case(
        "nobody works on overdue rows",
        "AuditOverdue",
        "10m",
        {'carillon_audit_overdue{channel="push"}': "7x20"},
        (({"channel": "push"}, "7 deliveries of push are overdue, and nobody works on them."),),
    ),
    Case(
        "overdue rows after an outage are swept",
        "AuditOverdue",
        "10m",
        {'carillon_audit_overdue{channel="push"}': "7x2 0x20"},
    ),
    Case(
        "the last audit was made at 60 s, as one router knows",
        "AuditorSilent",
        "20m",
        {
            'carillon_audit_last_success_timestamp_seconds{service="router"}': "60x30",
            'carillon_audit_last_success_timestamp_seconds{service="email"}': "0x30",
        },
        (({}, "No audit has been made for more than five minutes."),),
    ),
    Case(
        "no router for four minutes",
        "AuditorSilent",
        "14m",
        {
            'carillon_audit_last_success_timestamp_seconds{service="router"}': "0+60x10 stale",
            'carillon_audit_last_success_timestamp_seconds{service="email"}': "0x30",
        },
    ),
    Case(
        "no router for ten minutes",
        "AuditorSilent",
        "20m",
        {
            'carillon_audit_last_success_timestamp_seconds{service="router"}': "0+60x10 stale",
            'carillon_audit_last_success_timestamp_seconds{service="email"}': "0x30",
        },
        (({}, "No audit has been made for more than five minutes."),),
    ),
    Case(
        "an audit every minute",
        "AuditorSilent",
        "20m",
        {
            'carillon_audit_last_success_timestamp_seconds{service="router"}': "0+60x30",
            'carillon_audit_last_success_timestamp_seconds{service="email"}': "0x30",
        },
    ),
    Case(
        "one of two routers has no broker",
        "BrokerAway",
        "5m",
        {
            'carillon_broker_up{service="router", instance="a"}': "0x10",
            'carillon_broker_up{service="router", instance="b"}': "1x10",
        },
        (({"service": "router"}, "A process of router has no connection to the broker."),),
    ),
    Case("the broker was restarted", "BrokerAway", "5m", {'carillon_broker_up{service="router"}': "1 0 1x10"}),
    Case(
        "the store does not answer",
        "StoreAway",
        "5m",
        {'carillon_store_up{service="email"}': "0x10"},
        (({"service": "email"}, "The store does not answer email, or too few replicas have what was written."),),
    ),
    Case("a failover of the store", "StoreAway", "5m", {'carillon_store_up{service="email"}': "1 0 1x10"}),
    Case(
        "the store was set to evict",
        "StoreMayEvict",
        "5m",
        {'carillon_store_may_evict{service="email"}': "0x10", 'carillon_store_may_evict{service="router"}': "1x10"},
        (({}, "The store drops records when its memory is full: its maxmemory-policy is not noeviction."),),
    ),
    Case("the store keeps everything", "StoreMayEvict", "5m", {'carillon_store_may_evict{service="email"}': "0x10"}),
    Case(
        "a store without a file",
        "StoreNotPersistent",
        "10m",
        {'carillon_store_append_only{service="router"}': "0x30", 'carillon_store_append_only{service="sms"}': "1x30"},
        (({}, "A server of the store keeps no append-only file: what was accepted is lost with its process."),),
    ),
    Case(
        "the file was off for a minute",
        "StoreNotPersistent",
        "10m",
        {'carillon_store_append_only{service="router"}': "1x10 0x2 1x30"},
    ),
    Case(
        "no process of push is known, and that of sms does not answer",
        "ServiceGone",
        "5m",
        {**without("push"), 'up{job="carillon", service="sms"}': "0x30"},
        (
            ({"service": "sms"}, "No process of sms answers."),
            ({"service": "push", "job": "carillon"}, "No process of push answers."),
        ),
    ),
    Case("every service answers", "ServiceGone", "5m", without("nothing")),
    Case(
        "push and sms are left out, and no process of sms and email answers",
        "ServiceGone",
        "5m",
        {
            **without("push"),
            'up{job="carillon", service="sms"}': "0x30",
            'up{job="carillon", service="email"}': "0x30",
            **{
                f'carillon_channel_left_out{{channel="{channel}", service="router", instance="{name}"}}': f"{said}x30"
                for name in "ab"
                for channel, said in (("push", 1), ("sms", 1), ("email", 0), ("realtime", 0))
            },
        },
        (({"service": "email"}, "No process of email answers."),),
    ),
    Case(
        "one of two processes is restarted",
        "ServiceGone",
        "5m",
        {**without("push"), 'up{job="carillon", service="push", instance="a"}': "0x30",
         'up{job="carillon", service="push", instance="b"}': "1x30"},
    ),
    Case(
        "an alert went unanswered",
        "EscalationExhausted",
        "6m",
        {'carillon_exhausted_escalations_total{service="router"}': "0x4 1x30"},
        (({}, "An alert went through its whole escalation, and nobody has answered it."),),
    ),
    Case(
        "alerts are answered",
        "EscalationExhausted",
        "6m",
        {'carillon_exhausted_escalations_total{service="router"}': "5x30"},
    ),
    Case(
        "nobody is on call for two types in the night, as both routers know",
        "OncallGap",
        "15m",
        {
            **{f'carillon_oncall_gaps{{within="24h", instance="{name}"}}': "2x30" for name in "ab"},
            'carillon_oncall_gaps{within="24h", service="email"}': "0x30",
        },
        (({}, "Within a day there are 2 times at which nobody is on call."),),
    ),
    Case(
        "a gap next week, and one that was filled within minutes",
        "OncallGap",
        "15m",
        {'carillon_oncall_gaps{within="7d"}': "1x30", 'carillon_oncall_gaps{within="24h"}': "1x4 0x26"},
    ),
)  # fmt: skip


def as_promtool_reads(case: Case) -> dict[str, Any]:
    alert = ALERT[case.alert]
    expected = [
        {
            "exp_labels": {**labels, "severity": alert.severity},
            "exp_annotations": alert.rule()["annotations"] | {"summary": summary},
        }
        for labels, summary in case.fires
    ]
    return {
        "name": case.what,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": alert.full_name, "exp_alerts": expected}],
    }


def rules_of(alert: str) -> dict[str, Any]:
    """Return the rules that an alert needs; for a day and more, all of them take promtool ten seconds."""
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
    needed = [rule for group in groups for rule in group["rules"] if rule.get("alert") == ALERT[alert].full_name]
    assert len(needed) == 1
    for rule in needed:
        read = set(re.findall(r"carillon:[a-z_:0-9]+", rule["expr"]))
        needed += [each for group in groups for each in group["rules"] if each.get("record") in read]
    return {
        "groups": [{**group, "rules": [rule for rule in group["rules"] if rule in needed]} for group in groups],
    }


def run(case: Case, folder: Path) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules_of(case.alert), sort_keys=False))
    tests = folder / "cases.yaml"
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [as_promtool_reads(case)]}
    tests.write_text(yaml.safe_dump(content, sort_keys=False))
    promtool("test", "rules", tests)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.what}")
def test_an_alert_fires_or_stays_silent(case: Case, tmp_path: Path) -> None:
    run(case, tmp_path)


def test_every_alert_has_a_case_that_fires_and_one_that_stays_silent() -> None:
    assert {case.alert for case in CASES if case.fires} == set(ALERT)
    assert {case.alert for case in CASES if not case.fires} == set(ALERT)


def test_a_case_that_is_wrong_is_found(tmp_path: Path) -> None:
    silent = next(case for case in CASES if not case.fires)
    wrong = Case(silent.what, silent.alert, silent.at, silent.series, (({"channel": "email"}, "anything"),))
    with pytest.raises(AssertionError, match="FAILED"):
        run(wrong, tmp_path)


def test_the_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "rules", FOLDER / "rules.yaml")


def test_every_alert_has_a_runbook_with_the_same_sections() -> None:
    sections = ["## What users notice", "## What it means", "## First look", "## What to do", "## When it ends"]
    for alert in ALERTS:
        lines = (ROOT / alert.runbook).read_text().splitlines()
        assert lines[0] == f"# {alert.full_name}"
        assert [line for line in lines if line.startswith("## ")] == sections, alert.runbook


def test_the_commands_of_a_runbook_can_be_copied() -> None:
    for alert in ALERTS:
        text = (ROOT / alert.runbook).read_text()
        # Not indented it is no code block but a sentence that goes on in the next line.
        assert not re.search(r"^(carillon|kubectl) ", text, re.MULTILINE), alert.runbook
        assert re.findall(r"kubectl(?! -n carillon)", text) == [], alert.runbook


def test_every_alert_tells_where_its_runbook_is() -> None:
    # The name that Alertmanager's templates, Grafana and pagers look for.
    assert all(alert.rule()["annotations"]["runbook_url"].endswith(alert.runbook) for alert in ALERTS)


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.name for path in (ROOT / "docs" / "runbooks").iterdir()} == {Path(a.runbook).name for a in ALERTS}


def test_the_generated_files_are_those_of_the_code() -> None:
    stale = [path.name for path, content in files().items() if not path.exists() or path.read_text() != content]
    assert stale == [], "out of date: python -m deploy.monitoring"


def test_no_generated_file_is_left_over() -> None:
    kept = {*(FOLDER / "dashboards").glob("*.json"), *CONSOLES.iterdir()}
    assert kept == {path for path in files() if path.suffix in (".json", ".html")}
