"""A client with a Last Will that is killed and comes back, through a real broker and router."""

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.core.topics import LIVENESS_PUBLISHER
from shared.ledger.incidents import Incident, Incidents
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


async def connect(system: System, source: str, session: int) -> asyncio.subprocess.Process:
    """Start a client that does nothing but hold a connection with a Last Will."""
    address = BrokerAddress.parse(system.stack.broker.url)
    process = await asyncio.create_subprocess_exec(
        # Without it, what a pipe gets comes in blocks.
        "stdbuf", "-oL", "mosquitto_sub",
        "-h", address.host, "-p", str(address.port), "-i", f"{source}-{session}", "-d",
        "-t", f"elsewhere/{source}", "-q", "1",
        "--will-topic", f"liveness/{source}/death", "--will-payload", json.dumps({"session": session}),
        "--will-qos", "1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    while b"SUBACK" not in (line := await process.stdout.readline()):
        assert line, "it ended"
    return process


async def inbox_of(system: System, user: str) -> list[dict[str, Any]]:
    return [entry for entry in await system.inbox(user) if entry.get("alert")]


async def test_a_client_that_is_killed_opens_an_incident_and_its_return_resolves_it(system: System) -> None:
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_sub is not installed")
    source, alert_type = f"gateway-{uuid.uuid4().hex[:8]}", f"plant-{uuid.uuid4().hex[:8]}"
    user = await system.person()
    await system.publish(f"directory/oncall/{alert_type}", {"users": [user]})
    receipt = await system.publish(
        f"directory/liveness/{source}", {"every": "1h", "alert_type": alert_type, "severity": "critical"}
    )
    assert receipt.status == "accepted", receipt
    first = await connect(system, source, 1)
    second = None
    try:
        assert (await system.publish(f"liveness/{source}/birth", {"session": 1})).status == "accepted"
        # Anything is a beat.
        async with Broker(BrokerAddress.parse(system.stack.broker.url), f"beat-{source}") as broker:
            for payload in (b"", b"\xff\x00", b"[1]"):
                await broker.publish(f"liveness/{source}", payload)
        first.kill()
        await first.wait()

        async def told() -> dict[str, Any] | None:
            entries = await inbox_of(system, user)
            return entries[0] if entries else None

        entry = await eventually(told, 30, "the incident in the inbox")
        assert entry["message"].startswith(f"{source} is gone: its connection broke.")
        second = await connect(system, source, 2)
        assert (await system.publish(f"liveness/{source}/birth", {"session": 2})).status == "accepted"
        async with Store(system.stack.environment["REDIS_URL"]) as store:
            incidents = Incidents(store, Keys())

            async def over() -> Incident | None:
                incident = await incidents.get(entry["alert"]["id"])
                return incident if incident is not None and incident.word == "resolved" else None

            incident = await eventually(over, 30, "the end of the incident")
            assert incident.publisher == LIVENESS_PUBLISHER
            assert incident.alert.labels == {"source": source}
            first_line, *_ = await incidents.timeline(incident.id)
            assert (first_line.what, first_line.said["from"]) == ("opened", "liveness")
    finally:
        for process in (first, second):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
