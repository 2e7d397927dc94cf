"""Two releases side by side: the next one writes a version of payloads that this one does not know."""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from carillon.local.child import Child
from carillon.local.ports import free_port
from carillon.local.servers import ROOT
from carillon.local.stack import Stack, with_login
from shared.core.model import JOB_VERSION, READABLE_VERSION
from shared.store.keys import Keys
from shared.store.store import Store
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.timeout(180)]

NewStack = Callable[..., Stack]

MAILS = 20
NEXT_VERSION = READABLE_VERSION + 1


def next_release(folder: Path) -> Path:
    """Make the next release, which writes and reads one version more: a copy of this one's code with other numbers."""
    for package in ("services", "shared"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    model = folder / "shared" / "core" / "model.py"
    text = model.read_text()
    for name, version in (("JOB_VERSION", JOB_VERSION), ("READABLE_VERSION", READABLE_VERSION)):
        assert f"\n{name} = {version}\n" in text
        text = text.replace(f"\n{name} = {version}\n", f"\n{name} = {NEXT_VERSION}\n")
    model.write_text(text)
    return folder


class Newer:
    """A process of the next release beside those of a stack."""

    def __init__(self, stack: Stack, code: Path, service: str, **settings: str) -> None:
        self.port = free_port(stack.ports.all())
        own = {f"{word.upper()}_" for word in ("email", "sms", "push", "realtime")} - {f"{service.upper()}_"}
        environment = {
            name: value for name, value in stack.command_environment().items() if not name.startswith(tuple(own))
        }
        url = with_login(stack.broker.url, stack.broker.credentials_of(service))
        ours = {"MQTT_URL": url, "OPS_PORT": str(self.port), "PYTHONPATH": str(code)}
        self.child = Child(
            f"{service}-next",
            [sys.executable, "-m", f"services.{service}"],
            log=stack.data / "logs" / f"{service}-next.log",
            ready=self._is_ready,
            environment=environment | ours | settings,
            working_folder=code,
            grace_s=35,
        )

    async def _is_ready(self) -> bool:
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


async def left_alone(system: System) -> float:
    async with system.http.get(f"{system.stack.ops_url('email')}/metrics") as answer:
        text = await answer.text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "carillon_left_rows_total" and sample.labels == {"channel": "email", "why": "newer"}
    )


async def send(system: System, round_: str, **fields: object) -> list[str]:
    """Send some mails, each to an address of its own, and return the notifications' ids."""
    ids = []
    for number in range(MAILS):
        # Irregular, because the broker gives the publishes to the routers in turn, and their jobs to the services.
        priority = "critical" if number % 5 in (0, 1, 3) else "high"
        mail = {"to": f"{round_}{number}@example.com", "subject": "Hello", "body": "Text", "priority": priority}
        receipt = await system.publish("notifications/email/send", mail | fields)
        assert receipt.notification_id is not None
        ids.append(receipt.notification_id)
    return ids


async def versions(system: System, ids: list[str]) -> dict[str, int]:
    """Return in which version the mail to each address stands in the ledger."""
    found = {}
    async with Store(system.stack.store.url) as store:
        for notification_id in ids:
            record = f"{Keys().shard_of(notification_id)}:n:{notification_id}"
            spec = json.loads(await store.command("HGET", record, "d:email:0"))
            found[spec["address"]["email"]] = spec["v"]
    return found


async def test_a_rolling_update_loses_and_misreads_nothing(new_stack: NewStack, tmp_path: Path) -> None:
    stack = new_stack(("router", "email"), {"EMAIL_FROM": "old@example.com"})
    await stack.start()
    code = next_release(tmp_path / "next")
    router = Newer(stack, code, "router")
    email = Newer(stack, code, "email", EMAIL_FROM="new@example.com")
    try:
        async with open_system(stack) as system:
            # Written by the old release, and due when the new one runs beside it.
            ids = await send(system, "before", send_at=time.time() + 5)
            await router.child.start()
            await email.child.start()
            ids += await send(system, "beside")
            ids += await send(system, "later", send_at=time.time() + 3)
            written = await versions(system, ids)
            assert set(Counter(written.values())) == {JOB_VERSION, NEXT_VERSION}

            await eventually(lambda: left_alone(system), 30, "a row that the old release left alone")
            # The update ends: what was left alone has only the new release to go to.
            assert await stack.stop_service("email") == 0
            assert await stack.stop_service("router") == 0
            await system.arrived(len(ids), within_s=60, channel="email")
            ids += await send(system, "after")
            entries = await system.arrived(len(ids), within_s=30, channel="email")
    finally:
        await router.child.stop()
        await email.child.stop()
    # Nothing is lost, and nothing is sent twice.
    assert Counter(entry["to"] for entry in entries) == Counter(
        [*written, *(f"after{n}@example.com" for n in range(MAILS))]
    )
    senders = {entry["to"]: entry["from"] for entry in entries}
    # Nothing is misread: the old release sent nothing of the new one's, which in turn knows both.
    assert {senders[to] for to, version in written.items() if version == NEXT_VERSION} == {"new@example.com"}
    assert {senders[to] for to, version in written.items() if version == JOB_VERSION} >= {"old@example.com"}
    lines = [json.loads(line) for line in (stack.data / "logs" / "email.log").read_text().splitlines()]
    assert len([line for line in lines if line["event"] == "rows left to another release"]) == 1
