"""The release workflow is one by GitHub's schema, builds what there is, and trusts nothing that can move."""

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest
import yaml

from carillon.version import VERSION
from deploy.helm.__main__ import CHART
from tests.manifests import ROOT

FILE = ROOT / ".github" / "workflows" / "release.yml"
# YAML 1.1 reads the key `on` as true; GitHub does not.
WORKFLOW: dict[str, Any] = {
    "on" if name is True else name: each for name, each in yaml.safe_load(FILE.read_text()).items()
}
JOBS: dict[str, Any] = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]


def test_it_is_a_workflow_by_githubs_schema() -> None:
    schema = json.loads((files("check_jsonschema.builtin_schemas.vendor") / "github-workflows.json").read_text())
    validator = jsonschema_rs.validator_for(schema)
    assert [f"{list(each.instance_path)}: {each.message}" for each in validator.iter_errors(WORKFLOW)] == []
    assert not validator.is_valid(WORKFLOW | {"jobs": {"check": {"step": []}}})


def test_it_starts_with_a_version_alone_and_asks_that_it_is_ours() -> None:
    assert WORKFLOW["on"] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    (asked,) = (step["run"] for _, step in STEPS if step.get("id") == "version")
    (expression,) = re.findall(r"sed -n '(.*?)' shared/core/version.py", asked)
    assert expression == r's/^VERSION = "\(.*\)"$/\1/p'
    assert f'\nVERSION = "{VERSION}"\n' in (ROOT / "shared" / "core" / "version.py").read_text()


def test_every_action_is_pinned_to_a_commit_and_says_which_version_it_is() -> None:
    lines = re.findall(r"uses: (.*)$", FILE.read_text(), re.MULTILINE)
    assert len(lines) == sum("uses" in step for _, step in STEPS)
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    # The same action is the same commit everywhere.
    pinned: dict[str, set[str]] = {}
    for line in lines:
        pinned.setdefault(line.partition("@")[0], set()).add(line)
    assert all(len(each) == 1 for each in pinned.values())


def test_each_job_has_the_rights_that_it_needs_and_a_limit() -> None:
    assert WORKFLOW["permissions"] == {}
    writing = {
        name: {right for right, level in job["permissions"].items() if level == "write"} for name, job in JOBS.items()
    }
    assert writing == {
        "check": set(),
        "images": {"packages", "id-token"},
        "chart": {"packages", "id-token"},
        "packages": set(),
        "pypi": {"id-token"},
        "npm": {"id-token"},
        "release": {"contents", "id-token"},
    }
    assert all(0 < job["timeout-minutes"] <= 60 for job in JOBS.values())
    assert {name for name, job in JOBS.items() if job.get("environment") == "release"} == {"pypi", "npm"}
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_no_script_has_a_value_of_the_event_put_into_it() -> None:
    # Through the environment a name with a quote in it stays a name.
    assert [step["run"] for _, step in STEPS if "${{" in step.get("run", "")] == []
    assert set(re.findall(r"secrets\.(\w+)", FILE.read_text())) == {"GITHUB_TOKEN"}


def test_nothing_is_published_before_the_checks() -> None:
    def before(name: str) -> set[str]:
        needs = JOBS[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*(before(each) for each in direct))

    assert all("check" in before(name) for name in JOBS if name != "check")
    assert before("release") == JOBS.keys() - {"release"}


def test_it_builds_and_signs_every_image_of_the_dockerfile() -> None:
    stages = re.findall(r"^FROM code AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert JOBS["images"]["strategy"]["matrix"]["image"] == stages
    arguments = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    (build,) = (step["with"] for name, step in STEPS if name == "images" and step.get("id") == "build")
    assert {line.partition("=")[0] for line in build["build-args"].splitlines()} <= {*arguments}
    assert (build["sbom"], build["push"]) == (True, True)
    for name in ("images", "chart", "release"):
        assert any("cosign sign" in step.get("run", "") for step in JOBS[name]["steps"])


def test_the_chart_that_it_packs_names_the_images_that_it_published() -> None:
    (script,) = (step["run"] for name, step in STEPS if name == "chart" and "helm package" in step.get("run", ""))
    (expression,) = re.findall(r"s\|\^(.*?)\$\|", script)
    assert len(re.findall(rf"^{expression}$", (CHART / "values.yaml").read_text(), re.MULTILINE)) == 1


@pytest.mark.parametrize("client", ["inbox", "node"])
def test_the_npm_packages_are_of_this_version(client: str) -> None:
    assert json.loads((ROOT / "clients" / client / "package.json").read_text())["version"] == VERSION


def test_the_python_package_is_of_this_version() -> None:
    text = (ROOT / "clients" / "python" / "src" / "carillon_publisher" / "version.py").read_text()
    assert f'\nVERSION = "{VERSION}"\n' in text


def test_the_changelog_has_notes_for_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.partition(f"\n## [{VERSION}]")[2].partition("\n## [")[0].strip()
