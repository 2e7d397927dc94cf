"""The dev overlay's Prometheus asks every process, and every dashboard is to be seen there and without a Grafana."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from carillon.local.ports import SERVICES
from deploy.monitoring.__main__ import CONSOLES, FOLDER
from deploy.monitoring.console import NAME
from deploy.monitoring.panels import BOARDS, expressions
from deploy.monitoring.rules import JOB
from shared.core.model import Channel
from tests.manifests import Pod, of_kind
from tests.prometheus import promtool


def files(name: str) -> dict[str, str]:
    """Return the content of the ConfigMap of this name, whatever hash it ends in."""
    maps = of_kind("dev", "ConfigMap")
    (found,) = (each for each in maps if re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", each))
    content: dict[str, str] = maps[found]["data"]
    return content


def workload(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind("dev", "Deployment")[name]["spec"]["template"]["spec"]
    return spec


def mounted(name: str) -> set[str]:
    """Return the files that the one container of a pod finds in its ConfigMaps."""
    spec = workload(name)
    (container,) = spec["containers"]
    at = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    found = set()
    for volume in spec["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            settings = source["configMap"]
            for key in of_kind("dev", "ConfigMap")[settings["name"]]["data"]:
                paths = [
                    item["path"] for item in settings.get("items", [{"key": key, "path": key}]) if item["key"] == key
                ]
                found |= {f"{at[volume['name']]}/{path}" for path in paths}
    return found


def test_prometheus_takes_its_configuration_and_the_rules(tmp_path: Path) -> None:
    text = files("prometheus-settings")["prometheus.yaml"]
    (rules,) = yaml.safe_load(text)["rule_files"]
    (tmp_path / "rules.yaml").write_text(files("carillon-rules")["rules.yaml"])
    (tmp_path / "prometheus.yaml").write_text(text.replace(rules, str(tmp_path / "rules.yaml")))
    assert "SUCCESS" in promtool("check", "config", tmp_path / "prometheus.yaml")
    assert files("carillon-rules")["rules.yaml"] == (FOLDER / "rules.yaml").read_text()
    (container,) = workload("prometheus")["containers"]
    (named,) = (each.split("=")[1] for each in container["args"] if each.startswith("--config.file="))
    assert mounted("prometheus") == {named, rules}


@pytest.mark.parametrize("service", SERVICES)
def test_prometheus_asks_every_process_under_the_labels_of_the_rules(service: str) -> None:
    (job,) = yaml.safe_load(files("prometheus-settings")["prometheus.yaml"])["scrape_configs"]
    assert job["job_name"] == JOB
    (relabel,) = job["relabel_configs"]
    pod = Pod("dev", service)
    names = [name for each in job["dns_sd_configs"] for name in each["names"] if each["port"] == pod.ports["ops"]]
    assert [re.fullmatch(relabel["regex"], name)[1] for name in names] == [service]  # type: ignore[index]
    assert relabel["target_label"] == "service"
    target = of_kind("dev", "Service")[names[0]]["spec"]
    # An address for each pod, and also of those that are not ready: their numbers matter most.
    assert (target["clusterIP"], target["publishNotReadyAddresses"]) == ("None", True)
    assert target["selector"].items() <= pod.labels.items()


def test_grafana_shows_every_dashboard_from_the_one_source() -> None:
    (provider,) = yaml.safe_load(files("grafana-boards")["boards.yaml"])["providers"]
    folder = provider["options"]["path"]
    shown = {path for path in mounted("grafana") if path.startswith(folder)}
    assert shown == {f"{folder}/{name}.json" for name in BOARDS}
    provisioning = {path for path in mounted("grafana") if "/provisioning/" in path}
    assert {Path(path).parent.name for path in provisioning} == {"datasources", "dashboards"}
    (source,) = yaml.safe_load(files("grafana-sources")["sources.yaml"])["datasources"]
    (port,) = of_kind("dev", "Service")["prometheus"]["spec"]["ports"]
    assert (source["type"], source["url"]) == ("prometheus", f"http://prometheus:{port['port']}")


def test_every_dashboard_has_its_own_name_and_every_panel_its_own_title_unit_and_source() -> None:
    boards = [json.loads((FOLDER / "dashboards" / f"{name}.json").read_text()) for name in BOARDS]
    assert len({board["uid"] for board in boards} | {board["title"] for board in boards}) == 2 * len(boards)
    for board in boards:
        titles = [panel["title"] for panel in board["panels"]]
        assert len(set(titles)) == len(titles)
        for panel in board["panels"]:
            assert panel["description"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["datasource"]["uid"] == "${source}"
            shown = {target["legendFormat"] for target in panel["targets"]}
            assert panel["type"] == "stat" or "" not in shown, panel["title"]


def test_every_panel_is_to_be_seen_in_the_expression_browser() -> None:
    page = (CONSOLES / NAME).read_text()
    shown = [parse_qs(urlsplit(unescape(address)).query) for address in re.findall(r'href="(\.\./graph[^"]*)"', page)]
    asked = {values[0] for query in shown for name, values in query.items() if name.endswith(".expr")}
    every = {expression for channel in Channel for expression in expressions(channel)}
    assert asked == every
    assert not [name for query in shown for name in query if name.startswith("g10.")]
    # Prometheus takes the page for a template.
    assert "{{" not in page
