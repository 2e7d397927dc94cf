"""What the Kubernetes manifests say is what the services read, serve and need."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carillon.commands.console import console
from carillon.commands.console_settings import ConsoleSettings
from carillon.local.servers import STORE_PROMISES
from carillon.version import VERSION
from sandbox import credentials
from sandbox.__main__ import _options
from services.email.providers import EmailServiceSettings
from services.push.providers import PushServiceSettings
from services.realtime.settings import RealtimeSettings
from services.router.settings import RouterSettings
from services.sms.providers import SmsServiceSettings
from shared.core.errors import ConfigError
from shared.runtime.service import DRAIN_S
from shared.runtime.settings import ChannelSettings, CommonSettings
from tests.manifests import OVERLAYS, ROOT, SECRETS, Pod, of_kind, rendered

SETTINGS: dict[str, type[CommonSettings]] = {
    "router": RouterSettings,
    "email": EmailServiceSettings,
    "sms": SmsServiceSettings,
    "push": PushServiceSettings,
    "realtime": RealtimeSettings,
}
# For closing connections and writing the last lines, after the drain.
CLOSING_S = 10
CUSTOM = {
    "dev": set(),
    "prod": {"monitoring.coreos.com/v1"},
    "prod-keda": {"monitoring.coreos.com/v1", "keda.sh/v1alpha1"},
    "example": {"monitoring.coreos.com/v1"},
}
# OpenTelemetry reads its own.
FOREIGN = "OTEL_"

pods = pytest.mark.parametrize("pod", [Pod(o, s) for o in OVERLAYS for s in SETTINGS], ids=str)
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.fixture(scope="module")
def secret_values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file for every key of a Secret that a pod of ours may find, by the key's name."""
    folder = tmp_path_factory.mktemp("secrets")
    made = credentials.prepare(folder)
    texts = {
        "MQTT_URL": "mqtts://login:password@broker:8883",
        "REDIS_URL": "redis://:password@store:6379/0",
        "EMAIL_SMTP_URL": "smtp://user:password@smtp.example.com:587",
        "SMS_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "SMS_TWILIO_AUTH_TOKEN": "token",
        "REALTIME_JWT_SECRET": "s" * 32,
        "REALTIME_LINK_SECRET": "l" * 32,
        "PUSH_APNS_KEY_ID": "ABC123DEFG",
        "PUSH_APNS_TEAM_ID": "DEF123GHIJ",
        "CONSOLE_SESSION_SECRET": "c" * 32,
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    files = {name: folder / name for name in texts}
    return files | {
        "broker-ca.crt": made.ca_file,
        "sandbox-ca.crt": made.ca_file,
        "apns.p8": made.apns_key_file,
        "fcm.json": made.fcm_file,
        "vapid.pem": made.vapid_key_file,
    }


Load = Callable[..., CommonSettings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, secret_values: dict[str, Path]) -> Load:
    """A function that reads a service's settings from exactly the environment of its pod."""

    def read(pod: Pod, without: str = "", **more: str) -> CommonSettings:
        for name in os.environ:
            monkeypatch.delenv(name)
        for name, value in (pod.environment | more).items():
            if name != without:
                path = value.removeprefix(f"{SECRETS}/")
                monkeypatch.setenv(name, value if path == value else str(secret_values[path]))
        return (SETTINGS | {"console": ConsoleSettings})[pod.service].load()

    return read


@pods
def test_a_service_starts_with_the_environment_of_its_pod(pod: Pod, load: Load) -> None:
    load(pod)


@overlays
def test_the_page_for_trying_out_is_served_in_dev_alone(overlay: str, load: Load) -> None:
    settings = load(Pod(overlay, "realtime"))
    assert isinstance(settings, RealtimeSettings)
    assert settings.realtime_demo_page == ("on" if overlay == "dev" else "off")


@pods
def test_every_variable_is_a_setting_of_the_service(pod: Pod) -> None:
    # Stricter than the process, which judges only what begins with one of its prefixes.
    known = {name.upper() for name in SETTINGS[pod.service].every_field()}
    ours = {name for name in pod.environment if not name.startswith(FOREIGN)}
    assert {name for name in ours if name not in known and name.removesuffix("_FILE") not in known} == set()


@pytest.mark.parametrize("service", SETTINGS)
def test_a_variable_that_is_misspelt_or_missing_would_be_noticed(service: str, load: Load) -> None:
    with pytest.raises(ConfigError, match="MQTT_URI: unknown setting"):
        load(Pod("dev", service), MQTT_URI="x")
    with pytest.raises(ConfigError, match="REDIS_URL: required"):
        load(Pod("dev", service), without="REDIS_URL_FILE")


@pods
def test_a_setting_that_is_secret_comes_from_a_secret_as_a_file(pod: Pod) -> None:
    secret = {name.upper() for name, field in SETTINGS[pod.service].every_field().items() if "Secret" in str(field)}
    assert secret & pod.environment.keys() == set()
    assert not any("valueFrom" in variable for variable in pod.container["env"])


@pods
def test_every_file_that_a_setting_names_is_mounted(pod: Pod) -> None:
    named = {value for value in pod.environment.values() if value.startswith("/")}
    mounted = pod.secret_files
    assert {path for path in named if path not in mounted and f"{SECRETS}/*" not in mounted} == set()
    (mount,) = pod.container["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == (SECRETS, True)


@pods
def test_each_service_has_secrets_of_its_own(pod: Pod) -> None:
    assert set(pod.secret_files.values()) == {f"{pod.service}-secrets", "broker-ca"}


@overlays
def test_every_secret_is_described(overlay: str) -> None:
    readme = (ROOT / "deploy" / "k8s" / "README.md").read_text()
    for service in SETTINGS:
        for path, secret in Pod(overlay, service).secret_files.items():
            key = "ca.crt" if secret == "broker-ca" else path.removeprefix(f"{SECRETS}/")
            assert f"`{secret}`" in readme
            assert key == "*" or f"`{key}`" in readme


@overlays
def test_no_secret_stands_in_a_manifest(overlay: str) -> None:
    assert of_kind(overlay, "Secret") == {}
    assert not re.search(r"password=|://[^/\s]*:[^/\s]*@|PRIVATE KEY", str(rendered(overlay)))


@pods
def test_ports_are_those_that_the_process_listens_on(pod: Pod, load: Load) -> None:
    settings = load(pod)
    expected = {"ops": settings.ops_port}
    if isinstance(settings, RealtimeSettings):
        expected["http"] = settings.realtime_port
    if isinstance(settings, SmsServiceSettings) and settings.callbacks:
        expected["callbacks"] = settings.callbacks.port
    assert pod.ports == expected
    assert settings.ops_host == "0.0.0.0"  # noqa: S104 - the kubelet comes from outside the pod


@pods
def test_probes_ask_the_ops_endpoint(pod: Pod) -> None:
    asked = {probe: pod.container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/healthz", "port": "ops"},
        "liveness": {"path": "/healthz", "port": "ops"},
        "readiness": {"path": "/readyz", "port": "ops"},
    }


@pods
def test_a_pod_may_take_longer_than_its_drain(pod: Pod) -> None:
    hook = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod.spec["terminationGracePeriodSeconds"] >= hook + DRAIN_S + CLOSING_S


@pods
def test_an_update_or_a_node_drain_never_takes_the_last_pod(pod: Pod) -> None:
    rolling = pod.deployment["spec"]["strategy"]["rollingUpdate"]
    assert (rolling["maxSurge"], rolling["maxUnavailable"]) == (1, 0)
    budget = of_kind(pod.overlay, "PodDisruptionBudget")[pod.service]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= pod.labels.items()


@pods
def test_exactly_one_autoscaler_has_the_number_of_pods(pod: Pod) -> None:
    kind = "ScaledObject" if pod.overlay == "prod-keda" else "HorizontalPodAutoscaler"
    other = {"ScaledObject", "HorizontalPodAutoscaler"} - {kind}
    assert "replicas" not in pod.deployment["spec"]
    assert of_kind(pod.overlay, kind)[pod.service]["spec"]["scaleTargetRef"]["name"] == pod.service
    assert of_kind(pod.overlay, other.pop()) == {}


@pods
def test_a_pod_is_locked_down(pod: Pod) -> None:
    assert pod.spec["automountServiceAccountToken"] is False
    assert pod.spec["serviceAccountName"] == pod.service
    assert of_kind(pod.overlay, "ServiceAccount")[pod.service]["automountServiceAccountToken"] is False
    assert pod.spec["securityContext"]["runAsNonRoot"] is True
    assert pod.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@overlays
def test_the_namespace_is_closed_and_everything_is_in_it(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each["metadata"].get("namespace") for each in rendered(overlay) if each is not namespace} == {"carillon"}
    denied = of_kind(overlay, "NetworkPolicy")["deny-by-default"]["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@overlays
def test_every_opening_leads_to_a_port_that_somebody_has(overlay: str) -> None:
    workloads = [*of_kind(overlay, "Deployment").values(), *of_kind(overlay, "StatefulSet").values()]
    templates = [workload["spec"]["template"] for workload in workloads]
    for name, policy in of_kind(overlay, "NetworkPolicy").items():
        ports = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}
        selected = [each for each in templates if _matches(policy["spec"]["podSelector"], each["metadata"]["labels"])]
        assert selected, f"{name} is about nobody"
        for template in selected:
            (container,) = template["spec"]["containers"]
            assert ports <= {port["name"] for port in container["ports"]}


@overlays
def test_every_channel_that_has_providers_reaches_them_by_https(overlay: str) -> None:
    policy = of_kind(overlay, "NetworkPolicy")["https-providers"]["spec"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {443}
    reached = {service for service in SETTINGS if _matches(policy["podSelector"], Pod(overlay, service).labels)}
    assert reached == {service for service, settings in SETTINGS.items() if issubclass(settings, ChannelSettings)}


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


@overlays
def test_resources_carry_the_recommended_labels_and_this_version(overlay: str) -> None:
    for service in SETTINGS:
        pod = Pod(overlay, service)
        assert pod.labels["app.kubernetes.io/name"] == service
        assert pod.labels["app.kubernetes.io/part-of"] == "carillon"
        assert pod.labels["app.kubernetes.io/version"] == VERSION
        assert pod.container["image"].endswith(f"carillon/{service}:{VERSION}")


@overlays
def test_a_changed_setting_rolls_the_pods(overlay: str) -> None:
    names = [source["configMapRef"]["name"] for s in SETTINGS for source in Pod(overlay, s).container["envFrom"]]
    assert all(re.fullmatch(r"[a-z]+-settings-[a-z0-9]{10}", name) for name in names)


@overlays
def test_web_sockets_outlive_the_proxys_defaults(overlay: str) -> None:
    ingress = of_kind(overlay, "Ingress")["realtime"]
    annotations = ingress["metadata"]["annotations"]
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) >= 3600
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    service = of_kind(overlay, "Service")[path["backend"]["service"]["name"]]["spec"]
    assert service["selector"].items() <= Pod(overlay, "realtime").labels.items()
    assert {port["targetPort"] for port in service["ports"]} == {"http"}


@overlays
def test_only_custom_resources_have_no_schema(overlay: str) -> None:
    # `make check` holds the rest against the schemas of Kubernetes and says nothing of what it does not know.
    used = {each["apiVersion"] for each in rendered(overlay)}
    native = {"v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1"}
    assert used - native == CUSTOM[overlay]


@pytest.mark.parametrize("overlay", ["dev", "example"])
def test_nobody_from_outside_reaches_the_console_or_the_sandbox(overlay: str) -> None:
    (rules,) = (each["spec"]["rules"] for name, each in of_kind(overlay, "Ingress").items() if name == "realtime")
    assert "console" not in str(rules)
    for name in {"console", "sandbox"} & of_kind(overlay, "Deployment").keys():
        service = of_kind(overlay, "Service")[name]["spec"]
        assert service.get("type", "ClusterIP") == "ClusterIP"
        assert service["selector"] == {"app.kubernetes.io/name": name}
        labels = of_kind(overlay, "Deployment")[name]["spec"]["template"]["metadata"]["labels"]
        letting_in = [
            rule
            for policy in of_kind(overlay, "NetworkPolicy").values()
            if "Ingress" in policy["spec"]["policyTypes"] and _matches(policy["spec"]["podSelector"], labels)
            for rule in policy["spec"].get("ingress", [])
        ]
        assert "ingress-nginx" not in str(letting_in)
        assert all(rule["from"] for rule in letting_in)


@pytest.mark.parametrize("overlay", ["dev", "example"])
def test_the_console_starts_with_the_environment_of_its_pod(overlay: str, load: Load) -> None:
    pod = Pod(overlay, "console")
    settings = load(pod)
    known = {name.upper() for name in ConsoleSettings.every_field()}
    # The router's own, which planning does not go by, and what the commands in this pod read.
    others = {name.upper() for name in RouterSettings.every_field()} | {"CARILLON_CLIENT_ID"}
    assert {name.removesuffix("_FILE") for name in pod.environment} - known <= others | {"MQTT_CA"}
    assert isinstance(settings, ConsoleSettings)
    assert settings.console_url
    assert len(settings.session_secrets) == 1
    options = console.make_context("console", list(pod.container["args"][1:]), resilient_parsing=True).params
    assert (pod.container["args"][0], options["quiet"]) == ("console", True)
    assert pod.ports == {"http": options["port"]}
    assert set(pod.secret_files.values()) == {"console-secrets", "broker-ca"}


def test_the_sandbox_listens_where_the_channels_look_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod("dev", "sandbox")
    service = of_kind("dev", "Service")["sandbox"]["spec"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == pod.ports
    monkeypatch.setattr(sys, "argv", ["sandbox", *pod.container["args"]])
    options = _options()
    assert pod.ports == {"http": options.http_port, "smtp": options.smtp_port, "apns": options.apns_port}
    assert pod.container["command"] == ["python", "-m", "sandbox"]
    named = " ".join(
        Pod("dev", service).environment.get(name, "")
        for service, name in (("sms", "SMS_TWILIO_BASE_URL"), ("push", "PUSH_APNS_URL"), ("push", "PUSH_FCM_URL"))
    )
    assert named.split() == ["http://sandbox:8025", "https://sandbox:2197", "http://sandbox:8025"]


@pytest.mark.parametrize("file", ["overlays/dev/redis.conf", "examples/redis-cluster.yaml"])
def test_every_redis_promises_what_the_local_one_does(file: str) -> None:
    lines = {line.strip() for line in (ROOT / "deploy" / "k8s" / file).read_text().splitlines()}
    assert {f"{name} {value}" for name, value in STORE_PROMISES.items()} <= lines


def test_the_docs_name_what_every_redis_must_promise() -> None:
    text = (ROOT / "docs" / "guides" / "redis.md").read_text()
    assert [name for name, value in STORE_PROMISES.items() if f"`{name} {value}`" not in text] == []
