"""Names every placeholder that is left: ``python -m deploy.placeholders FILE...``, or ``-`` for standard input.

A file holds the objects that `kubectl kustomize` or `helm template` prints. Promises exit status 1 while one is left, 0
where there is none, and 2 where a file cannot be read or holds no object: then nothing was checked.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# RFC 2606 reserves these names; the rest stands in the overlays and in the values of the chart's test.
PATTERNS = {
    "a name that is reserved for examples": re.compile(r"\bexample\.(?:com|net|org)\b|\.example\b", re.IGNORECASE),
    "the example's reversed name": re.compile(r"\bcom\.example\b"),
    "the example's account at Apple": re.compile(r"\b(?:ABC123DEFG|DEF123GHIJ)\b"),
    "an account of zeros": re.compile(r"\b(?:MG|AC)0{32}\b"),
}
# Where these stand as they are: what a dashboard, an alert or a program says.
_OTHERS = {"PrometheusRule"}
_DASHBOARD = "grafana_dashboard"


@dataclass(frozen=True)
class Placeholder:
    """One that is left.

    Attributes:
        where: kind, name and path of the value.
        value: the whole value.
        why: what it is.
    """

    where: str
    value: str
    why: str


def placeholders(manifests: list[dict[str, Any]]) -> Iterator[Placeholder]:
    """Yield what is left of the example, in the order of the objects."""
    for each in manifests:
        metadata = each.get("metadata") or {}
        if each.get("kind") in _OTHERS or _DASHBOARD in (metadata.get("labels") or {}):
            continue
        name = f"{each.get('kind')}/{metadata.get('name')}"
        for path, value in _texts(each):
            for why, pattern in PATTERNS.items():
                if pattern.search(value):
                    yield Placeholder(f"{name} {path}", value, why)


def _texts(part: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - what a manifest holds
    if isinstance(part, dict):
        for name, each in part.items():
            yield from _texts(each, f"{path}.{name}" if path else str(name))
    elif isinstance(part, list):
        for number, each in enumerate(part):
            yield from _texts(each, f"{path}[{number}]")
    elif isinstance(part, str):
        yield path, part


def main() -> int:
    """Print them, one a line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.placeholders",
        description="Name every placeholder that is left in rendered manifests.",
        epilog="Exit status: 0 none is left; 1 some are; 2 nothing could be checked.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="rendered manifests; - is standard input")
    found: list[Placeholder] = []
    for file in parser.parse_args().files:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text()
            manifests = [each for each in yaml.safe_load_all(text) if each]
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            sys.stderr.write(f"{file}: cannot be read as manifests ({type(error).__name__})\n")
            return 2
        if not manifests or not all(isinstance(each, dict) and "kind" in each for each in manifests):
            sys.stderr.write(f"{file}: holds no Kubernetes objects\n")
            return 2
        found += placeholders(manifests)
    for each in found:
        sys.stdout.write(f"{each.where}: {each.value!r}: {each.why}\n")
    sys.stderr.write(f"{len(found)} placeholders are left\n" if found else "no placeholder is left\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
