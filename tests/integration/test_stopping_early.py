"""A service that is told to stop while it still waits for the store or the broker ends at once, with status 0."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from carillon.local.child import Child
from carillon.local.ports import LOOPBACK, SERVICES, free_port
from carillon.local.servers import ROOT, LocalServer
from tests.conftest import EmptyStore
from tests.sandbox_client import SandboxClient

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

# Far less than a drain may take, and more than a busy machine needs to end a process.
PROMPTLY_S = 8.0

_OWN = {"email": "EMAIL_", "sms": "SMS_", "push": "PUSH_", "realtime": "REALTIME_", "router": "ROUTER_"}


@contextmanager
def silent_port() -> Iterator[int]:
    """Listen and never answer."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("away", ["store", "broker", "both", "store silent", "broker silent"])
@pytest.mark.parametrize("service", SERVICES)
async def test_a_signal_while_something_is_away_at_the_start_ends_it_with_status_0(
    service: str, away: str, sandbox: SandboxClient, store: EmptyStore, broker: LocalServer, tmp_path: Path
) -> None:
    ops_port = free_port()
    with ExitStack() as cleanup:
        port = cleanup.enter_context(silent_port()) if "silent" in away else free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(tuple(_OWN.values()))},
            **{name: value for name, value in sandbox.environment.items() if name.startswith(_OWN[service])},
            "MQTT_URL": f"mqtt://{LOOPBACK}:{port}" if away.startswith(("broker", "both")) else broker.url,
            "REDIS_URL": f"redis://{LOOPBACK}:{port}" if away.startswith(("store", "both")) else store.url,
            "TOPIC_PREFIX": f"{service}-{ops_port}/",
            "OPS_HOST": LOOPBACK,
            "OPS_PORT": str(ops_port),
        }
        if service == "realtime":
            environment |= {"REALTIME_PORT": str(free_port()), "REALTIME_JWT_SECRET": "x" * 32}

        async def waits() -> bool:
            try:
                async with session.get(f"http://{LOOPBACK}:{ops_port}/readyz") as answer:
                    return answer.status == HTTPStatus.SERVICE_UNAVAILABLE
            except aiohttp.ClientError:
                return False

        process = Child(
            service,
            [sys.executable, "-m", f"services.{service}"],
            log=tmp_path / "log",
            ready=waits,
            environment=environment,
            working_folder=ROOT,
        )
        cleanup.callback(process.end_now)
        async with aiohttp.ClientSession() as session:
            await process.start()
        told_s = time.monotonic()
        assert await process.stop(grace_s=60) == 0, process.last_lines()
        assert time.monotonic() - told_s < PROMPTLY_S
        assert "Traceback" not in process.log.read_text()
