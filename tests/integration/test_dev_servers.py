"""The broker and the store of the dev overlay, from its own configuration and Secrets, let in who belongs there."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from carillon.broker.roles import SERVICES
from carillon.local.child import Child
from carillon.local.ports import free_port
from carillon.local.servers import find_plugin, find_server
from deploy.dev_secrets.__main__ import CLIENTS, Secrets, dev_secrets
from shared.core.errors import BrokerUnavailable, StoreUnavailable
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.store import Store
from tests.conftest import need
from tests.manifests import of_kind

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]


@pytest.fixture(scope="module")
def made() -> Secrets:
    return dev_secrets()


def written(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, mode=0o700)
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return folder


def configuration(name: str) -> dict[str, str]:
    """Return the files of the overlay's ConfigMap of this name."""
    (found,) = (each for each in of_kind("dev", "ConfigMap") if re.fullmatch(rf"{name}-[a-z0-9]{{10}}", each))
    files: dict[str, str] = of_kind("dev", "ConfigMap")[found]["data"]
    return files


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broker(made: Secrets, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """The port of a mosquitto with the overlay's files; only what this machine has elsewhere is put in its place."""
    need("mosquitto")
    folder, port = tmp_path_factory.mktemp("mosquitto"), free_port()
    secrets = written(folder / "secrets", made["mosquitto-secrets"])
    common = written(folder / "common", configuration("mosquitto-settings"))
    data = written(folder / "data", {})
    plugin = find_plugin()
    assert plugin is not None
    text = configuration("mosquitto-place")["mosquitto.conf"]
    for place, here in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/mosquitto/config/common", str(common)),
        ("/usr/lib/mosquitto_dynamic_security.so", str(plugin)),
        ("/run/secrets/mosquitto", str(secrets)),
        ("/mosquitto/data", str(data)),
    ):
        assert place in text
        text = text.replace(place, here)
    # Started as root, mosquitto would become a user that may not read the folder.
    own = written(folder / "place", {"mosquitto.conf": text + ("user root\n" if os.geteuid() == 0 else "")})
    command = [str(find_server("mosquitto")), "-c", str(own / "mosquitto.conf")]
    server = Child("mosquitto", command, log=folder / "log", ready=lambda: answers(port))
    await server.start()
    yield port
    await server.stop()


def connection(url: str, port: int, folder: Path, made: Secrets, client_id: str = "") -> Broker:
    """Connect as the owner of an address within the cluster would, to this machine."""
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname, parts.port) == ("mqtts", "mosquitto", 8883)
    here = parts._replace(netloc=f"{parts.username}:{parts.password}@localhost:{port}").geturl()
    ca_file = folder / "ca.crt"
    ca_file.write_text(made["broker-ca"]["ca.crt"])
    return Broker(BrokerAddress.parse(here, ca_file), client_id or str(parts.username))


@pytest.mark.parametrize("login", [*SERVICES, *CLIENTS, "console"])
async def test_the_broker_knows_everybody_who_has_a_login(
    broker: int, made: Secrets, login: str, tmp_path: Path
) -> None:
    url = made["client-logins"][login] if login in CLIENTS else made[f"{login}-secrets"]["MQTT_URL"]
    async with connection(url, broker, tmp_path, made) as connected:
        assert connected.is_open


async def test_the_broker_lets_a_publisher_publish_and_nothing_else(broker: int, made: Secrets, tmp_path: Path) -> None:
    async with (
        connection(made["router-secrets"]["MQTT_URL"], broker, tmp_path, made, "router-0") as router,
        connection(made["client-logins"]["publisher"], broker, tmp_path, made) as publisher,
    ):
        await router.subscribe("$share/router/notifications/#")
        await publisher.publish("notifications/email/send", "{}")
        assert [incoming.topic for incoming in await router.take(1)] == ["notifications/email/send"]
        with pytest.raises(BrokerUnavailable, match="0x87"):
            await publisher.publish("internal/email/critical", "{}")


async def test_nobody_comes_in_without_a_login(broker: int, made: Secrets, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(made["broker-ca"]["ca.crt"])
    with pytest.raises(BrokerUnavailable, match=r"authori[sz]ed"):
        async with Broker(BrokerAddress.parse(f"mqtts://localhost:{broker}", tmp_path / "ca.crt"), "stranger"):
            pass


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_nobody_trusts_a_broker_of_another_authority(broker: int, made: Secrets, tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        async with connection(made["router-secrets"]["MQTT_URL"], broker, tmp_path, dev_secrets()):
            pass


async def test_the_store_knows_the_services_password_and_nobody_else(made: Secrets, tmp_path: Path) -> None:
    need("redis-server")
    port = free_port()
    secrets = written(tmp_path / "secrets", made["redis-secrets"])
    data = written(tmp_path / "data", {})
    text = configuration("redis-settings")["redis.conf"]
    for place, here in (("/data", str(data)), ("/run/secrets/redis", str(secrets))):
        assert place in text
        text = text.replace(place, here)
    own = written(tmp_path / "place", {"redis.conf": text})
    command = [str(find_server("redis-server")), str(own / "redis.conf"), "--port", str(port), "--bind", "127.0.0.1"]
    server = Child("redis", command, log=tmp_path / "log", ready=lambda: answers(port))
    await server.start()
    try:
        for service in SERVICES:
            url = made[f"{service}-secrets"]["REDIS_URL"]
            assert "@redis:6379/" in url
            async with Store(url.replace("@redis:6379", f"@127.0.0.1:{port}")) as store:
                await store.ping()
        with pytest.raises(StoreUnavailable):
            async with Store(f"redis://127.0.0.1:{port}/0") as store:
                await store.ping()
    finally:
        await server.stop()
