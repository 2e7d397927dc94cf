"""The Secrets that are made up for the dev overlay are those that it needs, and fit each other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from carillon.broker.roles import SERVICES
from deploy.dev_secrets.__main__ import CLIENTS, STORE_LOGIN, Secrets, dev_secrets
from sandbox.server import Options, running
from tests.manifests import ROOT, SECRETS, Pod, of_kind, rendered


@pytest.fixture(scope="module")
def made() -> Secrets:
    return dev_secrets()


def secrets_named_in(part: Any) -> Iterator[str]:
    """Return the names of all Secrets that a manifest refers to, at any depth."""
    if isinstance(part, dict):
        if isinstance(part.get("secretName"), str):
            yield part["secretName"]
        if isinstance(part.get("secret"), dict) and "name" in part["secret"]:
            yield part["secret"]["name"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from secrets_named_in(each)


def test_every_secret_that_the_overlay_names_is_made_and_no_other(made: Secrets) -> None:
    named = {name for each in rendered("dev") for name in secrets_named_in(each)}
    assert made.keys() - {"client-logins"} == named
    assert made["client-logins"].keys() == CLIENTS.keys() | {STORE_LOGIN}


def test_every_service_has_a_user_of_the_store_that_the_store_knows(made: Secrets) -> None:
    urls = {service: made[f"{service}-secrets"]["REDIS_URL"] for service in SERVICES}
    urls["operator"] = made["client-logins"][STORE_LOGIN]
    urls["console"] = made["console-secrets"]["REDIS_URL"]
    lines = made["redis-secrets"]["users.acl"].splitlines()
    assert lines[0] == "user default off"
    assert len(set(urls.values())) == len(urls) == len(lines) - 1
    for name, url in urls.items():
        parts = urlsplit(url)
        assert (parts.username, parts.hostname) == (name, "redis")
        assert any(line.startswith(f"user {name} on >{parts.password} ") for line in lines)


@pytest.mark.parametrize("service", of_kind("dev", "HorizontalPodAutoscaler"))
def test_every_file_that_a_pod_is_told_of_is_a_key(service: str, made: Secrets) -> None:
    pod = Pod("dev", service)
    for path in (value for value in pod.environment.values() if value.startswith(f"{SECRETS}/")):
        secret = pod.secret_files.get(path) or pod.secret_files[f"{SECRETS}/*"]
        key = "ca.crt" if secret == "broker-ca" else path.removeprefix(f"{SECRETS}/")
        assert made[secret][key]


def test_the_files_of_broker_and_store_are_keys(made: Secrets) -> None:
    for secret, configuration in (("mosquitto-secrets", "mosquitto.conf"), ("redis-secrets", "redis.conf")):
        text = (ROOT / "deploy" / "k8s" / "overlays" / "dev" / configuration).read_text()
        assert made[secret].keys() == set(re.findall(r"/run/secrets/[a-z]+/(\S+)", text))


def test_every_password_and_key_is_made_anew(made: Secrets) -> None:
    again = dev_secrets()
    same = [key for name, keys in made.items() for key in keys if keys[key] == again[name][key]]
    # It has no account.
    assert same == ["EMAIL_SMTP_URL"]


async def test_what_the_channels_have_is_what_the_sandbox_knows(made: Secrets, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, text in made["sandbox-secrets"].items():
        (keys / name).write_text(text)
    (deployment,) = (each for name, each in of_kind("dev", "Deployment").items() if name == "sandbox")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    name = container["args"][container["args"].index("--name") + 1]
    assert name in of_kind("dev", "Service")
    async with running(Options(data=tmp_path / "data", name=name, keys=keys)) as box:
        credentials = box.credentials
        assert made["sms-secrets"]["SMS_TWILIO_AUTH_TOKEN"] == credentials.twilio_token
        assert made["push-secrets"]["apns.p8"] == credentials.apns_key_file.read_text()
        assert made["push-secrets"]["sandbox-ca.crt"] == credentials.ca_file.read_text()
        theirs = json.loads(made["push-secrets"]["fcm.json"])
        ours = json.loads(credentials.fcm_file.read_bytes())
        assert theirs == {**ours, "token_uri": f"http://{name}:8025/token"}
