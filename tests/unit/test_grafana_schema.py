"""Every dashboard is one of Grafana 12, by the types of its own SDK: nothing in it is unknown, nothing gets lost."""

import json
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.monitoring.panels import BOARDS
from tests.manifests import ROOT

FOLDER = ROOT / "deploy" / "monitoring" / "dashboards"
# Of Grafana 12.0 (public/app/features/dashboard/state/DashboardMigrator.ts: DASHBOARD_SCHEMA_VERSION); 11 has 39 to 41.
SCHEMA_VERSION = 41

boards = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)


@pytest.fixture(scope="module", autouse=True)
def panels_and_queries() -> None:
    """Let the SDK know the types of each panel's options and of each query."""
    register_default_plugins()


def through_the_sdk(written: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    for panel in read["panels"]:
        # The SDK writes that nothing is said of how lines are drawn.
        if panel["fieldConfig"]["defaults"].get("custom") == {}:
            del panel["fieldConfig"]["defaults"]["custom"]
    return read


@boards
def test_grafanas_types_know_everything_that_a_dashboard_says(path: Path) -> None:
    written = json.loads(path.read_text())
    assert through_the_sdk(written) == written
    assert written["schemaVersion"] >= SCHEMA_VERSION


@boards
def test_a_field_that_grafana_does_not_know_would_be_noticed(path: Path) -> None:
    written = json.loads(path.read_text())
    written["panels"][0]["options"]["reduceOptons"] = {}
    assert through_the_sdk(written) != written


@boards
def test_nobody_loses_a_panel(path: Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    assert {panel["type"] for panel in panels} <= {"timeseries", "stat"}
    assert [panel["title"] for panel in panels] == [panel.title for panel in BOARDS[path.stem]]
