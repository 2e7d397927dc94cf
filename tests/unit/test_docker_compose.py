"""compose.yaml is one by the specification's schema, and its settings are those that the services accept."""

import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from carillon.commands.console_settings import ConsoleSettings
from carillon.version import VERSION
from deploy.dev_secrets.__main__ import dev_secrets, write_to
from services.email.providers import EmailServiceSettings
from services.push.providers import PushServiceSettings
from services.realtime.settings import RealtimeSettings
from services.router.settings import RouterSettings
from services.sms.providers import SmsServiceSettings
from shared.runtime.service import DRAIN_S
from shared.runtime.settings import CommonSettings
from tests.manifests import ROOT

FILE = ROOT / "deploy" / "compose" / "compose.yaml"
MOUNTED = "/run/secrets/carillon"
SETTINGS: dict[str, type[CommonSettings]] = {
    "router": RouterSettings,
    "email": EmailServiceSettings,
    "sms": SmsServiceSettings,
    "push": PushServiceSettings,
    "realtime": RealtimeSettings,
    "console": ConsoleSettings,
}
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")

Project = dict[str, Any]


@pytest.fixture(scope="module")
def project() -> Project:
    """The file as Compose reads it where no variable is set."""
    read: Project = _interpolated(yaml.safe_load(FILE.read_text()))
    return read


def _interpolated(part: Any, **variables: str) -> Any:
    if isinstance(part, dict):
        return {name: _interpolated(each, **variables) for name, each in part.items()}
    if isinstance(part, list):
        return [_interpolated(each, **variables) for each in part]
    return _VARIABLE.sub(lambda found: variables.get(found[1], found[2]), part) if isinstance(part, str) else part


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    assert write_to(folder, dev_secrets())
    return folder


def sources(service: dict[str, Any]) -> dict[str, str]:
    """Return what is mounted, by where it is mounted."""
    return {each.split(":")[1]: each.split(":")[0] for each in service.get("volumes", [])}


def schema() -> Any:
    vendored = files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    return json.loads(vendored.read_text())


def test_it_is_a_compose_file_by_the_specifications_schema(project: Project) -> None:
    validator = jsonschema_rs.validator_for(schema())
    assert [f"{list(each.instance_path)}: {each.message}" for each in validator.iter_errors(project)] == []
    broken = project | {"services": project["services"] | {"router": {"imgae": "x"}}}
    assert not validator.is_valid(broken)


@pytest.mark.parametrize("service", SETTINGS)
def test_a_service_starts_with_its_settings_and_the_secrets_that_setup_makes(
    service: str, project: Project, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = project["services"][service]
    volume = sources(described)[MOUNTED]
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in described["environment"].items():
        monkeypatch.setenv(name, str(value).replace(MOUNTED, str(secrets / volume)))
    settings = SETTINGS[service].load()
    # Stricter than the process, which judges only what begins with one of its prefixes.
    known = {name.upper() for name in SETTINGS[service].every_field()} | {"CARILLON_CLIENT_ID"}
    named = described["environment"]
    assert {name for name in named if name not in known and name.removesuffix("_FILE") not in known} == set()
    secret = {name.upper() for name, field in SETTINGS[service].every_field().items() if "Secret" in str(field)}
    assert secret & named.keys() == set()
    if isinstance(settings, RealtimeSettings):
        assert described["ports"] == [f"127.0.0.1:{settings.realtime_port}:{settings.realtime_port}"]


def test_a_channel_is_left_out_by_two_variables(project: Project) -> None:
    without = _interpolated(yaml.safe_load(FILE.read_text()), CARILLON_WITHOUT="sms", SCALE_SMS="0")
    scales = {name: each["scale"] for name, each in without["services"].items() if "scale" in each}
    assert scales == {"email": "1", "sms": "0", "push": "1"}
    for name in (*SETTINGS, "console"):
        assert without["services"][name]["environment"]["CARILLON_WITHOUT"] == "sms"
        assert project["services"][name]["environment"]["CARILLON_WITHOUT"] == ""


def test_setup_makes_what_every_part_mounts_and_never_twice(project: Project, secrets: Path) -> None:
    setup = project["services"]["setup"]
    made = {source for place, source in sources(setup).items() if place.startswith("/secrets/")}
    assert made == {path.name for path in secrets.iterdir()}
    for name, service in project["services"].items():
        mounted = {source for place, source in sources(service).items() if place.startswith("/run/secrets/")}
        assert mounted <= made
        if mounted:
            # A part has its own alone, and waits for them.
            assert mounted == {f"{name}-secrets"}
            assert service["depends_on"]["setup"] == {"condition": "service_completed_successfully"}
    before = {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()}
    assert not write_to(secrets, dev_secrets())
    assert {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()} == before


def test_the_servers_find_their_files(project: Project, secrets: Path) -> None:
    for name in ("mosquitto", "redis"):
        service = project["services"][name]
        mounted = sources(service)
        own = [place for place in mounted if place.endswith(f"{name}.conf") and "common" not in place]
        text = (FILE.parent / mounted[own[0]]).resolve().read_text()
        assert own[0] == service["command"][-1]
        needed = set(re.findall(rf"/run/secrets/{name}/(\S+)", text))
        assert needed
        assert {file for file in needed if not (secrets / mounted[f"/run/secrets/{name}"] / file).exists()} == set()
        for source in mounted.values():
            assert source in project["volumes"] or (FILE.parent / source).exists()


def test_the_images_are_published_ones_of_this_version_or_built_under_the_same_names(project: Project) -> None:
    services = project["services"]
    builds = {each["image"]: each["build"] for each in services.values() if "build" in each}
    assert all(each["profiles"] == ["build"] for each in services.values() if "build" in each)
    ran = {each["image"] for each in services.values() if "build" not in each} - {
        "eclipse-mosquitto:2.0.22",
        "redis:7.4",
    }
    assert ran == builds.keys() == {f"carillon/{name}:{VERSION}" for name in (*list(SETTINGS)[:5], "carillon")}
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for image, build in builds.items():
        assert image.split("/")[1].split(":")[0] == build["target"]
        assert build["target"] in stages
        assert (FILE.parent / build["context"]).resolve() == ROOT


def test_nothing_but_the_ways_in_can_be_reached_and_nobody_has_more_rights_than_needed(project: Project) -> None:
    services = project["services"]
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published.keys() == {"mosquitto", "realtime", "console", "sandbox"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    # The console and the sandbox stay on this machine, whatever BIND says.
    text = FILE.read_text()
    assert '"127.0.0.1:8026:8026"' in text
    assert '"127.0.0.1:8025:8025"' in text
    for name, service in services.items():
        if "build" not in service:
            assert service["cap_drop"] == ["ALL"], name
        if name in SETTINGS:
            assert service["read_only"] is True
            assert int(service["stop_grace_period"].removesuffix("s")) >= DRAIN_S + 10


def test_no_secret_stands_in_the_file() -> None:
    assert not re.search(r"password=|://[^/\s{]*:[^/\s{]*@|PRIVATE KEY", FILE.read_text())
