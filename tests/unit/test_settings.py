"""Settings: a wrong one stops the process with one line that names it and never its value."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.router.settings import RouterSettings
from shared.core.errors import ConfigError
from shared.mqtt.address import BrokerAddress
from shared.runtime.settings import CommonSettings
from shared.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2"
REQUIRED = {"MQTT_URL": f"mqtt://router:{SECRET}@localhost", "REDIS_URL": f"redis://:{SECRET}@localhost"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(RouterSettings.prefixes):
            monkeypatch.delenv(name)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal() -> str:
    with pytest.raises(ConfigError) as caught:
        RouterSettings.load()
    text = str(caught.value)
    assert SECRET not in text
    assert "\n" not in text
    return text


def test_defaults_are_those_of_the_contract() -> None:
    settings = RouterSettings.load()
    assert settings.topic_prefix == ""
    assert settings.ops_port == 9100
    assert (settings.inbox_limit, settings.inbox_retention_s) == (100, 30 * 86400)
    assert (settings.record_retention_s, settings.delivery_lifetime_s) == (7 * 86400, 86400)
    assert settings.alert_escalation_after_s == 300
    assert (settings.log_level, settings.log_format) == ("INFO", "json")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_one_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    assert refusal() == f"{name}: required"
    environment.setenv(name, "")
    assert refusal() == f"{name}: required"


def test_all_that_are_missing_are_named_in_one_line(environment: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        environment.delenv(name)
    assert refusal() == "MQTT_URL: required; REDIS_URL: required"


def test_a_log_level_may_be_written_small(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOG_LEVEL", "debug")
    assert RouterSettings.load().log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPS_PORT", SECRET),
        ("OPS_PORT", "65536"),
        ("INBOX_LIMIT", "0"),
        ("DELIVERY_LIFETIME_S", "-1"),
        ("ALERT_ESCALATION_AFTER_S", "0"),
        ("ALERT_ESCALATION_AFTER_S", "nan"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("TOPIC_PREFIX", "a/+/b"),
        ("TOPIC_PREFIX", "a/#"),
        ("TOPIC_PREFIX", "{environment}/"),
        ("TOPIC_PREFIX", "$share/router/"),
        ("ROUTER_BATCH", "many"),
    ],
)
def test_a_malformed_one_is_named_without_its_value(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    text = refusal()
    assert text.startswith(f"{name}: ")
    assert len(value) < 3 or value not in text


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("MQTT_ULR", "MQTT_URL"),
        ("REDIS_URI", "REDIS_URL"),
        ("TOPIC_PREFIXES", "TOPIC_PREFIX"),
        ("OPS_PORTS", "OPS_PORT"),
        ("INBOX_RETENTION", "INBOX_RETENTION_S"),
        ("ROUTER_BATCHES", "ROUTER_BATCH"),
        ("MQTT_URL_FIEL", "MQTT_URL_FILE"),
        ("CARILLON_WIHTOUT", "CARILLON_WITHOUT"),
    ],
)
def test_a_misspelt_one_is_refused_with_a_suggestion(
    environment: pytest.MonkeyPatch, name: str, suggestion: str
) -> None:
    environment.setenv(name, SECRET)
    assert refusal() == f"{name}: unknown setting, did you mean {suggestion}?"


@pytest.mark.parametrize("name", ["REDIS_MAXMEMORY", "OPS_PORT_NUMBER", "MQTT_PORT", "MQTT_PORT_", "REDIS_PORT_X_TCP"])
def test_an_unknown_one_under_a_prefix_of_ours_is_refused(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "1")
    assert refusal().startswith(f"{name}: unknown setting")


def test_a_name_under_another_prefix_is_not_ours_to_judge(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PGHOST", "localhost")
    environment.setenv("EMAIL_SMTP_URL", "smtp://localhost")
    RouterSettings.load()


# What Kubernetes injects for a Service called redis with a port called client (docs: "Service", environment variables).
SERVICE_LINKS = {
    "REDIS_SERVICE_HOST": "10.0.0.11",
    "REDIS_SERVICE_PORT": "6379",
    "REDIS_SERVICE_PORT_CLIENT": "6379",
    "REDIS_PORT": "tcp://10.0.0.11:6379",
    "REDIS_PORT_6379_TCP": "tcp://10.0.0.11:6379",
    "REDIS_PORT_6379_TCP_PROTO": "tcp",
    "REDIS_PORT_6379_TCP_PORT": "6379",
    "REDIS_PORT_6379_TCP_ADDR": "10.0.0.11",
}


def test_the_service_links_of_kubernetes_are_ignored(environment: pytest.MonkeyPatch) -> None:
    for name, value in SERVICE_LINKS.items():
        environment.setenv(name, value)
        environment.setenv(name.replace("REDIS", "MQTT_BROKER"), value)
    RouterSettings.load()


def test_a_service_link_is_not_taken_for_a_setting_of_that_name(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPS_PORT", "tcp://10.0.0.12:9100")
    assert RouterSettings.load().ops_port == 9100


def test_a_file_stands_for_any_setting(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("mqtt://localhost:1884\n")
    environment.delenv("MQTT_URL")
    environment.setenv("MQTT_URL_FILE", str(file))
    (tmp_path / "limit").write_text("7")
    environment.setenv("INBOX_LIMIT_FILE", str(tmp_path / "limit"))
    settings = RouterSettings.load()
    assert settings.mqtt_url.get_secret_value() == "mqtt://localhost:1884"
    assert settings.inbox_limit == 7


def test_a_setting_and_its_file_together_are_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("mqtt://localhost:1884")
    environment.setenv("MQTT_URL_FILE", str(tmp_path / "url"))
    assert refusal() == "MQTT_URL and MQTT_URL_FILE are both set; keep one"


def test_an_unreadable_file_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("MQTT_URL")
    environment.setenv("MQTT_URL_FILE", str(tmp_path / "missing"))
    assert refusal().startswith("MQTT_URL_FILE: cannot read the file")
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + SECRET.encode())
    environment.setenv("MQTT_URL_FILE", str(tmp_path / "binary"))
    assert refusal().startswith("MQTT_URL_FILE: cannot read the file")


def test_an_empty_file_is_a_missing_setting(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("\n")
    environment.delenv("MQTT_URL")
    environment.setenv("MQTT_URL_FILE", str(tmp_path / "url"))
    assert refusal() == "MQTT_URL: required"


def test_a_setting_that_is_a_file_has_no_file_that_stands_for_it(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("MQTT_CA_FILE", str(tmp_path / "ca.pem"))
    assert RouterSettings.load().mqtt_ca_file == tmp_path / "ca.pem"
    environment.setenv("MQTT_CA_FILE_FILE", str(tmp_path / "name"))
    assert refusal().startswith("MQTT_CA_FILE_FILE: unknown setting")


def test_secrets_are_masked_in_what_is_logged() -> None:
    shown = RouterSettings.load().masked()
    assert SECRET not in str(shown)
    assert set(REQUIRED) <= {name.upper() for name in shown}
    assert SECRET not in repr(RouterSettings.load())


@pytest.mark.parametrize(
    ("url", "host", "port", "username", "password"),
    [
        ("mqtt://broker", "broker", 1883, None, None),
        ("mqtts://broker", "broker", 8883, None, None),
        ("mqtt://broker:1884", "broker", 1884, None, None),
        ("mqtt://[::1]:1884", "::1", 1884, None, None),
        ("mqtt://a%40b:p%2Fq%3A@broker", "broker", 1883, "a@b", "p/q:"),
    ],
)
def test_a_broker_url_is_read(url: str, host: str, port: int, username: str | None, password: str | None) -> None:
    address = BrokerAddress.parse(url)
    assert (address.host, address.port, address.username, address.password) == (host, port, username, password)
    assert (address.tls is not None) == url.startswith("mqtts")


@pytest.mark.parametrize(
    "url",
    [
        f"http://{SECRET}@broker",
        f"mqtt://user:{SECRET}@",
        f"mqtt://user:{SECRET}@broker:port",
        f"mqtt://user:{SECRET}@broker:70000",
        f"mqtt://user:{SECRET}@[::1",
        f"mqtt:{SECRET}",
        SECRET,
    ],
)
def test_a_malformed_broker_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^MQTT_URL: ") as caught:
        BrokerAddress.parse(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__context__)


def test_a_missing_or_broken_authority_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^MQTT_CA_FILE: "):
        BrokerAddress.parse("mqtts://broker", tmp_path / "missing.pem")
    (tmp_path / "broken.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"^MQTT_CA_FILE: "):
        BrokerAddress.parse("mqtts://broker", tmp_path / "broken.pem")


@pytest.mark.parametrize(
    "url",
    [
        f"http://{SECRET}@store",
        f"redis://user:{SECRET}@store:port",
        f"redis://user:{SECRET}@store:70000",
        f"redis://user:{SECRET}@[::1",
        f"redis://store?{SECRET}=1",
        f"redis://store?socket_timeout={SECRET}",
        f"redis://store/{SECRET}",
        f"redis+cluster://user:{SECRET}@store:port",
        f"redis+sentinel://user:{SECRET}@one:26379,two:26379",
        f"redis+sentinel://user:{SECRET}@one:port/primary",
        f"rediss+sentinel://user:{SECRET}@one",
        f"rediss+cluster://user:{SECRET}@one/1",
        f"redis+sentinel://one/primary?{SECRET}=1",
        f"rediss+cluster://one?ssl_cert_reqs={SECRET}",
        f"rediss://store?ssl_ca_certs=/{SECRET}/missing.pem",
        f"rediss+sentinel://one/primary?ssl_ca_certs=/{SECRET}/missing.pem",
        f"rediss+cluster://one?ssl_ca_certs=/{SECRET}/missing.pem",
        SECRET,
    ],
)
def test_a_malformed_store_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^REDIS_URL: ") as caught:
        Store(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://store",
        "rediss://user:p%40ss@store:6380/3",
        "redis+sentinel://one,two:26380/primary",
        "rediss+sentinel://user:p%40ss@one,two:26380/primary",
        "rediss+cluster://user:p%40ss@one,two:6380",
    ],
)
def test_a_store_url_is_taken(url: str) -> None:
    Store(url)


def test_every_setting_says_what_it_means() -> None:
    for name, field in CommonSettings.model_fields.items():
        if not name.startswith("log_"):
            assert field.description, name


def run_router(environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    mine = {name: value for name, value in os.environ.items() if not name.startswith(RouterSettings.prefixes)}
    return subprocess.run(
        [sys.executable, "-m", "services.router"],
        cwd=ROOT, env={**mine, **environment}, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"MQTT_ULR": SECRET}, "MQTT_ULR"),
        # Found when it is used, behind the first log lines.
        ({"MQTT_URL": f"mqtt://user:{SECRET}@[::1"}, "MQTT_URL"),
        ({"REDIS_URL": f"redis://user:{SECRET}@store:port"}, "REDIS_URL"),
        (
            {"CARILLON_WITHOUT": "sms,psuh"},
            "CARILLON_WITHOUT: must be channels, comma-separated; there are realtime, email, sms, push",
        ),
        ({"CARILLON_WITHOUT": "sms,push,email,realtime"}, "CARILLON_WITHOUT: leaves no channel to tell anybody by"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_status_2_and_one_line(wrong: dict[str, str], named: str) -> None:
    ended = run_router({**REQUIRED, "OPS_HOST": "127.0.0.1", "OPS_PORT": "0", **wrong})
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert named in line
    assert SECRET not in ended.stderr + ended.stdout
