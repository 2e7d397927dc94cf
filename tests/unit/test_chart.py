"""The Helm chart renders the objects that kustomize builds, refuses values that cannot work, and leaves parts out."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import helm_python
import jsonschema_rs
import pytest
import yaml

from carillon.version import VERSION
from deploy.helm.__main__ import CHART, EVERYTHING, merged, problems, rendered, values
from shared.core.channels import Channel, read_without
from tests.manifests import ROOT, Manifest, built
from tests.manifests import rendered as overlay

PROD = values(CHART / "ci" / "prod-values.yaml")
SERVICES = ("router", "email", "sms", "push", "realtime")
# Said of everything, and different by the tool.
RECOMMENDED = {
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}
_HASH = re.compile(r"(-settings)-[a-z0-9]{10}\b")

Objects = dict[tuple[str, str], Manifest]


def compared(manifests: Iterable[Manifest]) -> Objects:
    """Return the objects by kind and name, without what the two tools say in their own way."""
    found: Objects = {}
    for each in json.loads(_HASH.sub(r"\1", json.dumps([*manifests]))):
        # The names of the namespace and of the release are the installer's.
        if each["kind"] == "Namespace":
            continue
        each["metadata"].pop("namespace", None)
        template = each.get("spec", {}).get("template", {}).get("metadata", {})
        for metadata in (each["metadata"], template):
            for label in RECOMMENDED:
                metadata.get("labels", {}).pop(label, None)
            # kustomize rolls the pods by the hash in a name, Helm by a sum in an annotation.
            metadata.get("annotations", {}).pop("checksum/settings", None)
            for empty in [name for name in ("labels", "annotations") if metadata.get(name) == {}]:
                del metadata[empty]
        found[each["kind"], each["metadata"]["name"]] = each
    return found


def assert_same(chart: Objects, kustomize: Objects) -> None:
    assert chart.keys() == kustomize.keys()
    for name, each in kustomize.items():
        assert chart[name] == each, name


def of_kind(manifests: Iterable[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def test_it_renders_what_the_overlay_prod_builds() -> None:
    assert_same(compared(rendered(PROD)), compared(overlay("prod")))


def test_with_keda_it_renders_what_the_overlay_prod_keda_builds() -> None:
    assert_same(compared(rendered(merged(PROD, {"keda": {"enabled": True}}))), compared(overlay("prod-keda")))


def test_with_everything_it_renders_what_the_components_add(tmp_path: Path) -> None:
    components = ["console", "http-route", "sandbox", "sms-callbacks", "tracing"]
    tracing = {"tracing": {"endpoint": "http://otel-collector.monitoring.svc:4318"}}
    console = "CONSOLE_URL=https://console.example.com"
    image = {"name": "carillon/carillon", "newName": "registry.example.com/carillon/carillon", "newTag": VERSION}
    kustomize = built(
        tmp_path,
        "prod",
        components,
        configMapGenerator=[{"name": "console-settings", "literals": [console]}],
        images=[image],
    )
    assert_same(compared(rendered(merged(merged(PROD, EVERYTHING), tracing))), compared(kustomize))


def test_a_console_that_asks_a_provider_who_somebody_is_may_reach_it(tmp_path: Path) -> None:
    settings = {"CONSOLE_URL": "https://console.example.com", "CONSOLE_OIDC_ISSUER": "https://login.example.com"}
    chart = compared(rendered(merged(PROD, {"console": {"enabled": True, "settings": settings}})))
    kustomize = compared(
        built(
            tmp_path,
            "prod",
            ["console", "console-oidc"],
            configMapGenerator=[{"name": "console-settings", "literals": [f"{k}={v}" for k, v in settings.items()]}],
            images=[
                {"name": "carillon/carillon", "newName": "registry.example.com/carillon/carillon", "newTag": VERSION}
            ],
        )
    )
    assert_same(chart, kustomize)
    # As the services reach their providers: public addresses alone.
    reached, providers = (chart["NetworkPolicy", name]["spec"] for name in ("console-oidc", "https-providers"))
    assert reached["egress"] == providers["egress"]
    assert reached["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "console"}}


def faults(manifest: Manifest) -> list[str]:
    """Return what is wrong with an object by the schema of its definition (tests/schemas)."""
    schema = json.loads((ROOT / "tests" / "schemas" / f"{manifest['kind'].lower()}.json").read_text())
    validator = jsonschema_rs.validator_for(schema)
    return [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(manifest)]


def test_routes_and_scaled_objects_are_as_their_definitions_want_them(tmp_path: Path) -> None:
    chart = rendered(merged(merged(PROD, EVERYTHING), {"keda": {"enabled": True}}))
    checked = 0
    for manifest in (*chart, *overlay("prod-keda"), *built(tmp_path, "prod", ["http-route"])):
        if manifest["kind"] in ("HTTPRoute", "ScaledObject"):
            checked += 1
            assert faults(manifest) == [], manifest["metadata"]["name"]
    scaled = of_kind(overlay("prod-keda"), "ScaledObject")
    # The chart and kustomize have the same ones, and each has one route.
    assert checked == 2 * (len(scaled) + 1)
    # A misspelt field, which a cluster drops without a word, is found.
    broken = json.loads(json.dumps(next(iter(scaled.values()))))
    broken["spec"]["cooldownPeriods"] = 30
    assert faults(broken) != []


@pytest.mark.parametrize("service", ["email", "sms", "push"])
def test_a_channel_can_be_left_out(service: str) -> None:
    without = rendered(merged(PROD, {service: {"enabled": False, "settings": {f"{service.upper()}_FROM": None}}}))
    before, after = compared(rendered(PROD)), compared(without)
    gone = {kind for kind, name in before.keys() - after.keys() if name.split("-")[0] == service}
    assert {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ServiceAccount"} <= gone
    assert {name.split("-")[0] for _, name in before.keys() - after.keys()} == {service}
    common = after["ConfigMap", "common-settings"]["data"]
    assert common.pop("CARILLON_WITHOUT") == service
    assert all(after[key] == before[key] for key in after)


def test_what_is_left_out_is_named_beside_what_is_being_drained() -> None:
    drained = {"common": {"settings": {"CARILLON_WITHOUT": "sms,push"}}}
    for given, named in ((drained, "sms,push"), (merged(drained, {"push": {"enabled": False}}), "sms,push")):
        common = of_kind(rendered(merged(PROD, given)), "ConfigMap")["common-settings"]["data"]
        assert common["CARILLON_WITHOUT"] == named
    off = {"enabled": False}
    common = of_kind(rendered(merged(PROD, {"sms": off, "email": off})), "ConfigMap")["common-settings"]["data"]
    assert common["CARILLON_WITHOUT"] == "email,sms"


def test_channels_are_left_out_by_the_chart_as_by_the_components(tmp_path: Path) -> None:
    off = {"enabled": False}
    chart = compared(rendered(merged(PROD, {"sms": off, "push": off})))
    kustomize = compared(built(tmp_path, "prod", ["without-sms", "without-push"]))
    for settings in ("sms-settings", "push-settings"):
        # Nobody reads them; kustomize cannot take back what the overlay below has made.
        del kustomize["ConfigMap", settings]
    for objects in (chart, kustomize):
        common = objects["ConfigMap", "common-settings"]["data"]
        assert read_without(common.pop("CARILLON_WITHOUT")) == {Channel.SMS, Channel.PUSH}
    assert_same(chart, kustomize)


def test_an_ingress_and_network_policies_can_be_left_to_others() -> None:
    off = {"enabled": False}
    found = rendered(merged(PROD, {"ingress": off, "networkPolicy": off, "monitoring": off}))
    assert {each["kind"] for each in found} & {"Ingress", "NetworkPolicy", "PodMonitor", "PrometheusRule"} == set()
    assert {each["apiVersion"].split("/")[0] for each in found} == {"apps", "autoscaling", "policy", "v1"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ingress": {"host": ""}}, "ingress.host"),
        ({"email": {"settings": {"EMAIL_FROM": None}}}, "email.settings.EMAIL_FROM is required"),
        ({"sms": {"settings": {"SMS_ALLOWED_COUNTRIES": None}}}, "sms.settings.SMS_ALLOWED_COUNTRIES is required"),
        ({"push": {"settings": dict.fromkeys(PROD["push"]["settings"])}}, "push.settings"),
        ({"console": {"enabled": True}}, "console.settings.CONSOLE_URL"),
        ({"emial": {}}, "emial"),
        ({"email": {"setings": {}}}, "setings"),
        ({"email": {"settings": {"email-from": "x"}}}, "email-from"),
        ({"router": {"replicas": {"min": 0, "max": 3}}}, "min"),
        ({"image": {"digests": {"router": "latest"}}}, "digests"),
    ],
)
def test_values_that_cannot_work_are_refused_by_their_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(said)):
        rendered(merged(PROD, given))


def test_a_digest_stands_in_the_place_of_the_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    found = of_kind(rendered(merged(PROD, {"image": {"digests": {"router": digest}}})), "Deployment")
    images = {name: each["spec"]["template"]["spec"]["containers"][0]["image"] for name, each in found.items()}
    assert images["router"] == f"registry.example.com/carillon/router@{digest}"
    assert images["email"] == f"registry.example.com/carillon/email:{VERSION}"


def test_a_changed_setting_rolls_the_pods_that_read_it() -> None:
    def sums(given: dict[str, Any]) -> dict[str, str]:
        found = of_kind(rendered(merged(PROD, given)), "Deployment")
        return {
            name: each["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for name, each in found.items()
        }

    before = sums({})
    changed = {name for name, each in sums({"email": {"settings": {"EMAIL_CONCURRENCY": 3}}}).items()
               if each != before[name]}  # fmt: skip
    assert changed == {"email"}
    everywhere = sums({"common": {"settings": {"LOG_LEVEL": "DEBUG"}}})
    assert {name for name in SERVICES if everywhere[name] != before[name]} == set(SERVICES)


def test_helm_finds_nothing_to_remark() -> None:
    assert problems(PROD) == []
    assert problems(merged(PROD, EVERYTHING)) == []
    assert problems(merged(PROD, {"emial": {}}))


def test_it_is_of_this_version_and_carries_the_rules_themselves() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    assert (CHART / "files" / "rules.yaml").resolve() == ROOT / "deploy" / "monitoring" / "rules.yaml"
    assert (CHART / "files" / "dashboards").resolve() == ROOT / "deploy" / "monitoring" / "dashboards"


def test_packed_it_needs_nothing_else_of_the_repository(tmp_path: Path) -> None:
    packed = helm_python.package(CHART, destination=tmp_path)
    with helm_python.Chart.load(packed) as chart:
        texts = chart.render(PROD, name="carillon", namespace="carillon")
    assert sum(text.count("kind: PrometheusRule") for text in texts.values()) == 1
    assert sum(text.count("grafana_dashboard") for text in texts.values()) == 6


def test_the_command_prints_what_the_checks_of_manifests_read() -> None:
    ran = subprocess.run([sys.executable, "-m", "deploy.helm"], cwd=ROOT, capture_output=True, check=True)
    assert {"Deployment", "HTTPRoute", "NetworkPolicy"} <= {each["kind"] for each in yaml.safe_load_all(ran.stdout)}
