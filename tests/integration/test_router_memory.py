"""The router's memory while the store is away and publishers go on: it holds the limit of its pod."""

import asyncio
import itertools
import json
import os
import re
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from shared.ledger.lanes import open_work
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.store.keys import Keys
from shared.store.store import Store
from tests.waiting import eventually
from tests.warm_start import from_scratch

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

MIB = 1024 * 1024

# (topic, mails in each, how many): 500 publishes of about 1 MiB.
MANY_MAILS, LONG_MAILS, TOO_LARGE = (20, 1_000), (240, 17), 240


def memory_limit_bytes(service: str) -> int:
    """Read what the pod of a service may use."""
    documents = yaml.safe_load_all((ROOT / "deploy" / "k8s" / "base" / f"{service}.yaml").read_text())
    deployment = next(each for each in documents if each["kind"] == "Deployment")
    text = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    number, unit = re.fullmatch(r"([0-9]+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]
    return int(number) * MIB * (1024 if unit == "Gi" else 1)


def peak_bytes(pid: int | None) -> int:
    """Read how much memory a process has had at most (proc(5), VmHWM)."""
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def batch(mails: int) -> bytes:
    """Write a batch that has just under 1 MiB, however many mails share it."""
    frame = json.dumps({"to": "user1@example.com", "subject": "Your invoice", "body": ""})
    body = "x" * (MIB // mails - len(frame) - 4)
    mail = {"to": "user1@example.com", "subject": "Your invoice", "body": body}
    payload = json.dumps({"emails": [mail] * mails}).encode()
    assert 0.99 * MIB < len(payload) <= MIB
    return payload


def publishes() -> Iterator[tuple[str, bytes]]:
    """Yield the publishes, the kinds of them mixed."""
    kinds = [
        *((("notifications/email/batch", batch(mails)), count) for count, mails in (MANY_MAILS, LONG_MAILS)),
        (("notifications/realtime/user/user1", json.dumps({"message": "x" * (MIB - 16)}).encode()), TOO_LARGE),
    ]
    rounds = itertools.zip_longest(*([publish] * count for publish, count in kinds))
    yield from (publish for each in rounds for publish in each if publish is not None)


@pytest.mark.parametrize("killed", [False, True], ids=["lives", "killed"])
async def test_500_publishes_of_1_mib_fit_while_the_store_is_away(tmp_path: Path, *, killed: bool) -> None:
    stack = Stack(tmp_path, services=("router",))
    with from_scratch():
        await stack.start()
    name = f"publisher-{uuid.uuid4().hex[:12]}"
    answers: dict[bytes, dict[str, object]] = {}

    async def read_receipts(broker: Broker) -> None:
        while True:
            for incoming in await broker.take(100):
                assert incoming.correlation is not None
                answers[incoming.correlation] = json.loads(incoming.payload)
                broker.ack(incoming)

    try:
        router, store = stack.child("router"), stack.store
        assert store.pid is not None
        async with Broker(BrokerAddress.parse(stack.broker.url), name) as broker:
            await broker.subscribe(f"receipts/{name}")
            reading = asyncio.create_task(read_receipts(broker), name="receipts")
            os.kill(store.pid, signal.SIGSTOP)
            handed = []
            for number, (topic, payload) in enumerate(publishes()):
                await broker.sendable()
                handed.append(
                    broker.publish(topic, payload, response_topic=f"receipts/{name}", correlation=str(number).encode())
                )
            # From here on all of them are outstanding.
            assert len(await asyncio.gather(*handed)) == 500
            await eventually(lambda: "store away" in router.log.read_text(), 60, "the router to miss the store")
            away_peak = peak_bytes(router.pid)
            if killed:
                # Another one takes them over: all that its session holds is sent before the broker's first answer.
                await stack.kill("router")
            os.kill(store.pid, signal.SIGCONT)
            if killed:
                # It is ready when it has been through what waited in the session.
                with from_scratch():
                    await router.start(within_s=240)
            await eventually(lambda: len(answers) == 500, 240, "all publishes answered")
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        peak = peak_bytes(router.pid)
        limit = memory_limit_bytes("router")
        assert peak < limit, f"{peak // MIB} MiB, {away_peak // MIB} MiB while the store was away"
        print(f"peak {peak // MIB} MiB, {away_peak // MIB} MiB while the store was away, of {limit // MIB} MiB")  # noqa: T201 - the figure that docs/explanation/performance.md gives
        statuses = Counter(
            receipt["error"]["code"] if receipt["status"] == "rejected" else receipt["status"]  # type: ignore[index]
            for receipt in answers.values()
        )
        assert statuses == {"accepted": MANY_MAILS[0] + LONG_MAILS[0], "too_large": TOO_LARGE}
        async with Store(store.url) as opened:
            work = await open_work(opened, Keys())
        assert work["email"].count == sum(count * mails for count, mails in (MANY_MAILS, LONG_MAILS))
    finally:
        if store.alive and store.pid is not None:
            os.kill(store.pid, signal.SIGCONT)
        await stack.stop()
