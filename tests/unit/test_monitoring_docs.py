"""docs/guides/monitoring.md names the metrics and the promises about deliveries that the code has."""

from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from deploy.monitoring.rules import ALERTS
from deploy.monitoring.slo import ENOUGH, OBJECTIVES
from services.realtime.alertmanager import metrics as alertmanager_metrics
from services.realtime.bounces import metrics as bounces_metrics
from services.realtime.publish import metrics as publish_metrics
from services.sms import metrics as sms_metrics
from shared.telemetry import metrics

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "guides" / "monitoring.md"


def rows() -> list[str]:
    lines = []
    modules = (metrics, sms_metrics, bounces_metrics, publish_metrics, alertmanager_metrics)
    for metric in (each for module in modules for each in vars(module).values()):
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return lines


def test_every_metric_is_documented() -> None:
    document = DOCUMENT.read_text().splitlines()
    assert [row for row in rows() if row not in document] == []


def test_no_metric_is_documented_that_is_not_there() -> None:
    documented = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `carillon_")]
    assert [row for row in documented if row not in rows()] == []


def test_the_objectives_are_documented() -> None:
    document = DOCUMENT.read_text().splitlines()
    for priority, objective in OBJECTIVES.items():
        assert f"| {priority} | {objective.part * 100:g} % | {objective.within_s:g} s |" in document
    assert f"fewer than {ENOUGH} deliveries" in DOCUMENT.read_text()


def test_every_alert_is_documented_with_its_runbook() -> None:
    document = DOCUMENT.read_text()
    for alert in ALERTS:
        name = Path(alert.runbook).name
        assert f"| [`{alert.full_name}`](../runbooks/{name}) | {alert.severity} |" in document
