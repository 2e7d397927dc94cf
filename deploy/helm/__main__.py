"""Lints the chart and prints what it renders: ``python -m deploy.helm [VALUES]``, from the repository's root.

Helm is the real one, as a library: the same code as ``helm lint --strict`` and ``helm template``, without a cluster.
"""

import sys
from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parent / "carillon"
# Everything at once, so that one rendering shows each template to the checks.
EVERYTHING = {
    "console": {"enabled": True, "settings": {"CONSOLE_URL": "https://console.example.com"}},
    "sandbox": {"enabled": True},
    "sms": {"callbacks": {"enabled": True}},
    "httpRoute": {
        "enabled": True,
        "host": "notifications.example.com",
        "gateway": {"name": "gateway", "namespace": "gateway"},
    },
}

Manifest = dict[str, Any]


def values(path: Path, over: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the values of a file with others put over them."""
    read: dict[str, Any] = yaml.safe_load(path.read_text())
    return merged(read, over or {})


def merged(below: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Put values over others as Helm does: object by object."""
    both = dict(below)
    for name, value in over.items():
        kept = both.get(name)
        both[name] = merged(kept, value) if isinstance(kept, dict) and isinstance(value, dict) else value
    return both


def problems(given: dict[str, Any]) -> list[str]:
    """Return what Helm's linter finds, nothing when all is well."""
    found = helm_python.lint(CHART, given, strict=True)
    # 1 is a remark, such as that an icon is recommended.
    return [f"{each['path']}: {each['error']}" for each in found["messages"] if each["severity"] > 1]


def rendered(given: dict[str, Any]) -> list[Manifest]:
    """Return every resource.

    Raises:
        helm_python.HelmError: a value is missing or not one of the schema's.
    """
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(given)
        texts = chart.render(given, name="carillon", namespace="carillon")
    return [
        manifest
        for path, text in texts.items()
        if path.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


def main() -> int:
    """Print the resources, or what is wrong with the chart; return the exit status."""
    given = values(Path(sys.argv[1])) if sys.argv[1:] else values(CHART / "ci" / "prod-values.yaml", EVERYTHING)
    if found := problems(given):
        sys.stderr.write("".join(f"{each}\n" for each in found))
        return 1
    manifests = rendered(given)
    for each in manifests:
        # Where `helm install --namespace carillon` would put it.
        each["metadata"].setdefault("namespace", "carillon")
    yaml.safe_dump_all(manifests, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
