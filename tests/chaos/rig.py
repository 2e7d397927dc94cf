"""One run: a system of real processes, a publisher, faults, and the evidence that they leave.

Promises to run mosquitto and redis-server, and to keep the journals of publisher and providers outside the system under
test. It ends by itself, and ends only its own processes.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from carillon.local.child import Child
from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from carillon.publisher import Publisher
from shared.core.errors import StoreUnavailable
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger
from shared.store.keys import Keys
from shared.store.store import Store
from tests import warm_start
from tests.chaos.evidence import EFFECTS, PUBLISHED, Evidence, Fault, add_fault, dump_store, read_evidence
from tests.chaos.proxy import Proxy
from tests.chaos.traffic import MIX, Traffic
from tests.redis_sets import ClusterSet, SentinelSet
from tests.sandbox_client import SandboxClient

CHANNELS = ("email", "sms", "push", "realtime")

# What quiet time has held leaves spread over so long after it.
RELEASE_WITHIN_S = 2

_POLL_S = 0.1
_AUDIT_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a run is.

    Attributes:
        faults: how many faults the scenario plays; 0 for its own number.
        processes: of each service.
        services: the channel services that run beside the router.
        answer_s: how long a slow provider takes for its answer; without it a kill would find hardly anything in hand.
        attempt_deadline_s: short, so that a run need not wait for half a minute after every kill. The longer value of
            production only makes things take longer.
        lease_margin_s: short for the same reason, unless the store itself fails.
    """

    notifications: int = 20_000
    per_second: float = 150.0
    faults: int = 0
    seed: int = 1
    processes: int = 2
    services: tuple[str, ...] = CHANNELS
    answer_s: float = 0.05
    attempt_deadline_s: int = 3
    lease_margin_s: int = 10

    @property
    def lease_s(self) -> float:
        """How long a channel service's claim holds."""
        return self.attempt_deadline_s + self.lease_margin_s

    @property
    def lasts_s(self) -> float:
        """How long publishing takes if nothing delays it."""
        return self.notifications / self.per_second


StoreSet = ClusterSet | SentinelSet


@dataclass(slots=True)
class Rig:
    """A running system; made by ``running``.

    Attributes:
        proxies: the links by name, ``email-broker`` and so on; empty when the scenario does not ask for them.
        draw: the seeded source of the schedule.
        notes: what a scenario reports of its run besides the table's figures.
        ended: processes that ended without having been killed or stopped, each with its exit status.
        store_set: the servers of a store with replicas. They replace the stack's own, which is idle then.
        relay: a mail relay in its own process, which replaces the sandbox's.
    """

    plan: Plan
    folder: Path
    stack: Stack
    proxies: dict[str, Proxy]
    draw: random.Random
    ttl_s: float | None = None
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)
    processes: Mapping[tuple[str, int], Mapping[str, str]] = field(default_factory=dict)
    publisher: Child | None = None
    notes: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    store_set: StoreSet | None = None
    relay: SandboxClient | None = None

    @property
    def store_url(self) -> str:
        """The store that the services use."""
        return self.stack.environment["REDIS_URL"]

    @property
    def services(self) -> tuple[str, ...]:
        """Router and channels, as many as run."""
        return ("router", *self.plan.services)

    @property
    def sandbox(self) -> SandboxClient:
        """The providers."""
        return SandboxClient(self.stack.sandbox_url, self.stack.environment)

    @property
    def traffic(self) -> Traffic:
        """What is published."""
        return Traffic(self.plan.seed, self.plan.notifications, self.plan.services, self.ttl_s, self.mix)

    async def start_service(self, service: str, index: int) -> None:
        """Start one process, or start it again, on its links and with its own settings."""
        settings = {**self._links(service), **self.processes.get((service, index), {})}
        if self.relay is not None:
            settings["EMAIL_SMTP_URL"] = self.relay.environment["EMAIL_SMTP_URL"]
        await self.stack.start_service(service, index, settings)

    async def supervise(self) -> None:
        """Restart processes that end by themselves, as a cluster would, and record them; until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            for child in self.stack.children:
                if child.died:
                    self.ended.append(f"{child.name} ended with status {child.exit_status}")
                    await self.stack.restart(child)

    async def bounce(self, name: str, index: int, away_s: float) -> None:
        """Kill a process, wait, start it again, and note it as a fault."""
        begin = time.time()
        await self.stack.kill(name, index)
        await asyncio.sleep(away_s)
        if name in self.services:
            await self.start_service(name, index)
        else:
            await self.stack.restart(self.stack.child(name))
        self.note(f"SIGKILL, {away_s:.1f} s away", f"{name}-{index}", begin)

    def send_signal(self, service: str, index: int, number: signal.Signals) -> None:
        """Send one process a signal."""
        pid = self.stack.child(service, index).pid
        if pid is not None:
            os.kill(pid, number)

    def note(self, what: str, target: str, begin: float) -> None:
        """Write down a fault that is over now."""
        add_fault(self.folder, Fault(what, target, begin, time.time()))

    async def clear_script(self) -> None:
        """End the providers' faults. What they have kept stays."""
        for url in (self.stack.sandbox_url, *([self.relay.url] if self.relay else [])):
            async with aiohttp.ClientSession(url, raise_for_status=True) as session:
                await session.delete("/script")

    async def every(self, share: float = 0.85) -> AsyncIterator[int]:
        """Yield the numbers of the faults, spread over that share of the publishing time."""
        started_s, step_s = time.monotonic(), self.plan.lasts_s * share / self.plan.faults
        for number in range(self.plan.faults):
            at_s = started_s + (number + self.draw.uniform(0.3, 0.9)) * step_s
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            yield number

    async def prepare_directory(self) -> None:
        """Write everybody into the directory."""
        async with Publisher(self.stack.broker.url) as publisher, asyncio.TaskGroup() as group:
            for topic, record in self.traffic.people():
                group.create_task(publisher.publish(topic, record, timeout_s=60), name=topic)

    async def start_publisher(self) -> None:
        """Start the publisher's process."""
        plan = {
            "url": self._links("publisher").get("MQTT_URL", self.stack.broker.url),
            "journal": str(self.folder / PUBLISHED),
            "seed": self.plan.seed,
            "count": self.plan.notifications,
            "services": self.plan.services,
            "ttl_s": self.ttl_s,
            "mix": self.mix,
            "per_second": self.plan.per_second,
            "within_s": self.plan.lasts_s * 3 + 120,
        }

        async def ready() -> bool:
            return (self.folder / PUBLISHED).exists()

        self.publisher = Child(
            "publisher",
            [sys.executable, "-m", "tests.chaos.publishing", json.dumps(plan)],
            log=self.folder / "publisher.log",
            ready=ready,
            working_folder=ROOT,
            grace_s=5,
        )
        await self.publisher.start()

    async def published(self) -> None:
        """Return when the publisher has ended; it is bounded in time."""
        while self.publisher is not None and self.publisher.alive:  # noqa: ASYNC110 - a process; nothing tells us
            await asyncio.sleep(_POLL_S)

    async def settled(self, within_s: float) -> bool:
        """Wait until nothing is open; False when something still is."""
        deadline = time.monotonic() + within_s
        async with Store(self.store_url) as store:
            ledger = Ledger(store, Keys())
            while time.monotonic() < deadline:
                try:
                    if not any(work.count for work in (await open_work(ledger.store, ledger.keys)).values()):
                        return True
                except StoreUnavailable:
                    pass
                await asyncio.sleep(_POLL_S)
        return False

    async def audit(self) -> str:
        """Run ``carillon audit --deep``, and return what it complains of."""
        command = [sys.executable, "-m", "carillon", "audit", "--deep", "--since", "24h"]
        with TemporaryFile() as given, TemporaryFile() as said:
            standard = (given, said, said)
            status = await warm_start.run(command, standard, self.stack.command_environment(), _AUDIT_WITHIN_S)
            said.seek(0)
            return said.read().decode() if status else ""

    async def evidence(self) -> Evidence:
        """Collect what was left behind."""
        await dump_store(self.store_url, self.folder)
        return read_evidence(self.folder)

    def log_lines(self, service: str, index: int) -> Iterator[dict[str, Any]]:
        """Read what one process has logged, all its starts together."""
        for line in self.stack.child(service, index).log.read_text().splitlines():
            # The log also holds what the interpreter prints when a process fails.
            if line.startswith("{"):
                yield json.loads(line)

    def _links(self, client: str) -> dict[str, str]:
        """Return the settings that lead a client through its proxies."""
        found: dict[str, str] = {}
        for name, proxy in self.proxies.items():
            owner, _, server = name.partition("-")
            if owner == client:
                found |= _through(server, proxy.port, self.stack.environment)
        return found


# Which setting holds the address of each server.
_ADDRESSES = {
    "broker": "MQTT_URL",
    "store": "REDIS_URL",
    "smtp": "EMAIL_SMTP_URL",
    "twilio": "SMS_TWILIO_BASE_URL",
    "apns": "PUSH_APNS_URL",
    "fcm": "PUSH_FCM_URL",
}
_PROVIDERS = {"email": ("smtp",), "sms": ("twilio",), "push": ("apns", "fcm")}


def _through(server: str, port: int, environment: Mapping[str, str]) -> dict[str, str]:
    name = _ADDRESSES[server]
    parts = urlsplit(environment[name])
    return {name: parts._replace(netloc=f"{parts.hostname}:{port}").geturl()}


def _targets(stack: Stack, services: tuple[str, ...]) -> dict[str, int]:
    """Return every link of a system and the port that it leads to."""
    links = {"publisher-broker": stack.ports.mqtt}
    for service in services:
        links[f"{service}-broker"] = stack.ports.mqtt
        links[f"{service}-store"] = stack.ports.redis
        for provider in _PROVIDERS.get(service, ()):
            links[f"{service}-{provider}"] = urlsplit(stack.environment[_ADDRESSES[provider]]).port or 0
    return links


@asynccontextmanager
async def _relay(folder: Path) -> AsyncIterator[SandboxClient]:
    """Run a second sandbox, used only for mail. It writes its effects into the same journal."""
    described = folder / "relay" / "sandbox.json"

    async def ready() -> bool:
        return described.exists()

    ports = [part for name in ("http", "smtp", "apns") for part in (f"--{name}-port", "0")]
    child = Child(
        "relay",
        [sys.executable, "-m", "sandbox", "--data", str(described.parent), "--journal", str(folder / EFFECTS), *ports],
        log=folder / "relay.log",
        ready=ready,
        working_folder=ROOT,
        grace_s=5,
    )
    await child.start()
    try:
        addresses = json.loads(described.read_text())
        yield SandboxClient(addresses["http_url"], {"EMAIL_SMTP_URL": addresses["smtp_url"]})
    finally:
        await child.stop()


@asynccontextmanager
async def running(
    folder: Path,
    plan: Plan,
    *,
    proxied: bool = False,
    ttl_s: float | None = None,
    mix: Mapping[str, int] = MIX,
    processes: Mapping[tuple[str, int], Mapping[str, str]] | None = None,
    prepare: Callable[[Rig], Awaitable[None]] | None = None,
    store_set: Callable[[Path], StoreSet] | None = None,
    own_relay: bool = False,
) -> AsyncIterator[Rig]:
    """Start a system, and stop it at the end.

    Args:
        folder: takes journals, logs and data; empty.
        proxied: put a proxy into every link.
        ttl_s: see ``Traffic``, as for ``mix``.
        processes: more settings for one process, by service and index.
        prepare: called when everything runs, before anything is published.
        store_set: describes a store with replicas; the services wait for one of them.
        own_relay: mail goes to its own process, so that its faults do not slow the other providers down.
    """
    common = {
        "DELIVERY_ATTEMPT_DEADLINE_S": str(plan.attempt_deadline_s),
        "DELIVERY_LEASE_MARGIN_S": str(plan.lease_margin_s),
        # The inboxes are read at the end; none may have dropped an entry.
        "INBOX_LIMIT": "10000",
        # All its SMS go to one block of numbers.
        "SMS_CAP_PER_NUMBER": "0",
        "SMS_CAP_PER_PREFIX": "0",
        "ROUTER_RELEASE_WITHIN_S": str(RELEASE_WITHIN_S),
    }
    replicated = store_set(folder / "store") if store_set else None
    if replicated is not None:
        common |= {"REDIS_URL": replicated.url, "REDIS_WAIT_REPLICAS": "1"}
    stack = Stack(folder / "stack", embedded=False, settings=common, services=())
    stack.sandbox.command += ["--journal", str(folder / EFFECTS)]
    draw = random.Random(plan.seed)  # noqa: S311 - repeatable, and no secret
    rig = Rig(plan, folder, stack, {}, draw, ttl_s, mix, processes or {}, store_set=replicated)
    async with AsyncExitStack() as cleanup:
        if replicated is not None:
            cleanup.push_async_callback(replicated.stop)
            await replicated.start()
        cleanup.push_async_callback(stack.stop)
        await stack.start()
        if own_relay:
            rig.relay = await cleanup.enter_async_context(_relay(folder))
        if proxied:
            for name, port in _targets(stack, rig.services).items():
                rig.proxies[name] = await cleanup.enter_async_context(Proxy(name, port))
        async with asyncio.TaskGroup() as starting:
            for service in rig.services:
                for index in range(plan.processes):
                    starting.create_task(rig.start_service(service, index), name=f"start {service}-{index}")
        try:
            await rig.prepare_directory()
            if prepare is not None:
                await prepare(rig)
            await rig.start_publisher()
            yield rig
        finally:
            if rig.publisher is not None:
                await rig.publisher.kill()
