"""Writes the rules and dashboards into this folder: ``python -m deploy.monitoring``, from the repository's root."""

import json
from pathlib import Path
from typing import Any

import yaml

from deploy.monitoring import console
from deploy.monitoring.panels import dashboards
from deploy.monitoring.rules import groups

FOLDER = Path(__file__).parent
CONSOLES = FOLDER / "consoles"
COMPONENT = FOLDER.parent / "k8s" / "components" / "monitoring"
_NOTE = "# Written by `python -m deploy.monitoring`.\n"


def files() -> dict[Path, str]:
    """Return every generated file with its content."""
    rules = groups()
    # Prometheus Operator's resource of the same rules.
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "carillon"},
        "spec": rules,
    }
    drawn = {
        FOLDER / "dashboards" / f"{name}.json": json.dumps(dashboard, indent=2, sort_keys=True) + "\n"
        for name, dashboard in dashboards().items()
    }
    return {
        FOLDER / "rules.yaml": _yaml(rules),
        COMPONENT / "prometheusrule.yaml": _yaml(resource),
        **drawn,
        CONSOLES / console.NAME: console.page(),
    }


def _yaml(content: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
    return _NOTE + text


def main() -> None:
    """Write what has changed."""
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


if __name__ == "__main__":
    main()
