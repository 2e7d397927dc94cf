"""Each image holds one service, listens where its pod says, and runs as the user that its pod names."""

import re

import pytest

from tests.manifests import ROOT, Pod

STAGES = dict(
    re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
)
services = pytest.mark.parametrize("service", ["router", "email", "sms", "push", "realtime"])


@services
def test_an_image_holds_its_own_service_and_packages_alone(service: str) -> None:
    copied = re.findall(r"^COPY (.*)$", STAGES[service] + STAGES["code"], re.MULTILINE)
    assert sorted(copied) == sorted(
        [
            f"--from={service}-packages /opt/carillon /opt/carillon",
            f"services/{service} services/{service}/",
            "services/__init__.py services/",
            "shared shared/",
        ]
    )
    packages = STAGES[f"{service}-packages"]
    assert re.findall(r"requirements/(\S+)", packages) == [f"{service}.txt", "tracing.txt"]
    # What OpenTelemetry needs is there for whoever asks for it alone.
    assert f"--require-hashes -r {service}.txt ${{TRACING:+-r tracing.txt}}" in packages


@services
def test_an_image_runs_its_service_as_the_pods_user_and_exposes_the_pods_ports(service: str) -> None:
    pod = Pod("prod", service)
    security = pod.spec["securityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in STAGES[service]
    assert f'ENTRYPOINT ["python", "-m", "services.{service}"]' in STAGES[service]
    (exposed,) = re.findall(r"^EXPOSE (.*)$", STAGES[service], re.MULTILINE)
    assert {int(port) for port in exposed.split()} == set(pod.ports.values())
    assert "command" not in pod.container
    assert "args" not in pod.container
