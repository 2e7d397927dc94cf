"""Each image holds its own code, listens where its pod says, and runs as the user that its pod names."""

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


def test_the_image_of_the_command_line_holds_all_that_people_use() -> None:
    stage, packages = STAGES["carillon"], STAGES["carillon-packages"]
    assert sorted(re.findall(r"^COPY (.*)$", stage, re.MULTILINE)) == [
        "--from=carillon-packages /opt/carillon /opt/carillon",
        "carillon carillon/",
        "clients/python/src/carillon_publisher carillon_publisher/",
        "deploy/dev_secrets deploy/dev_secrets/",
        "sandbox sandbox/",
        "services services/",
    ]
    assert "--require-hashes -r carillon.txt ${TRACING:+-r tracing.txt}" in packages
    assert "USER 10001:10001\n" in stage
    assert 'ENTRYPOINT ["python", "-m", "carillon"]' in stage


def test_the_build_is_given_everything_that_an_image_takes() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    taken = {source for line in copied for source in line.split()}
    assert {source for source in taken if not any(f"{source}/".startswith(f"{each}/") for each in allowed)} == set()
    assert {each for each in allowed if not any(f"{source}/".startswith(f"{each}/") for source in taken)} == set()
    assert all((ROOT / source).exists() for source in taken)
