"""What a backlog of mails at a slow relay costs: jobs published again, memory, and how long a critical mail takes."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import aiohttp

from carillon.local.ports import LOOPBACK
from carillon.local.stack import Stack
from carillon.publisher import Publisher
from shared.core.model import Priority

# How long the relay takes for a mail, as a relay on the internet does. Over the default's ten connections the email
# service then hands it some 400 in a second.
RELAY_S = 0.02
_BATCH = 300
_PUBLISHES_AT_ONCE = 8
_PROBE_EVERY_S = 0.2
_PROBE_WITHIN_S = 30.0
_ADMIN = "admin@example.com"
# Who gets it, on which topic it is published, and what it says.
_Probe = tuple[str, str, Mapping[str, object]]
_TEXT = "Good morning. Your deployment has finished without an error; the details are in the log."


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was measured while mails waited.

    Attributes:
        redriven: jobs of mails that were published again.
        probes_ms: how long critical mails took to the relay, by what the others did meanwhile.
        alerts_ms: the same of critical alerts, which a router reads on a connection of their own.
    """

    mails: int
    delivered: int
    publish_s: float
    redriven: int
    broker_mib: float
    email_mib: float
    probes_ms: Mapping[str, list[float]]
    alerts_ms: Mapping[str, list[float]]


class SlowRelay:
    """A relay that takes every mail after a while, and notes when it had a probe's recipient."""

    def __init__(self) -> None:
        self.recipients: list[str] = []
        self.probes: dict[str, asyncio.Future[float]] = {}

    @property
    def taken(self) -> int:
        """How many mails it has taken."""
        return len(self.recipients)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak as much SMTP (RFC 5321) as our client needs, until it goes."""
        writer.write(b"220 relay ESMTP\r\n")
        recipient = ""
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    writer.write(b"250-relay\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif verb == b"RCPT":
                    recipient = line.decode().partition("<")[2].partition(">")[0]
                    writer.write(b"250 ok\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await writer.drain()
                    await reader.readuntil(b"\r\n.\r\n")
                    self._take(recipient)
                    await asyncio.sleep(RELAY_S)
                    writer.write(b"250 taken\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                else:
                    writer.write(b"250 ok\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _take(self, recipient: str) -> None:
        self.recipients.append(recipient)
        waiting = self.probes.pop(recipient, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(time.perf_counter())


@asynccontextmanager
async def slow_relay() -> AsyncIterator[tuple[SlowRelay, Mapping[str, str]]]:
    """Run the relay; yield it and the settings that point the email service at it."""
    relay = SlowRelay()
    server = await asyncio.start_server(relay.serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield relay, {"EMAIL_SMTP_URL": f"smtp://{LOOPBACK}:{port}?tls=none"}


async def measure_backlog(stack: Stack, relay: SlowRelay, mails: int, seconds: float) -> Backlog:
    """Publish mails faster than the relay takes them, and watch for so long while they wait."""
    async with Publisher(stack.broker.url) as publisher:
        await publisher.publish("directory/user/admin", {"email": _ADMIN, "roles": ["admin"]})

        async def probe(seconds: float) -> tuple[list[float], list[float]]:
            mails = await probe_for(publisher, relay, seconds / 2)
            return mails, await probe_for(publisher, relay, seconds / 2, _alert)

        idle_ms = await probe(seconds)
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            flood = group.create_task(_flood(publisher, mails), name="flood")
            publishing_ms: tuple[list[float], list[float]] = ([], [])
            while not flood.done():
                for found, more in zip(publishing_ms, await probe(_PROBE_EVERY_S), strict=True):
                    found.extend(more)
        publish_s = time.perf_counter() - began_s
        waiting_ms = await probe(seconds)
    probes_ms, alerts_ms = (
        dict(zip(("nothing waits", "they are published", "they wait"), times, strict=True))
        for times in zip(idle_ms, publishing_ms, waiting_ms, strict=True)
    )
    return Backlog(
        mails,
        relay.taken,
        publish_s,
        await _redriven(stack),
        _peak_mib(stack.broker.pid),
        _peak_mib(stack.child("email").pid),
        probes_ms,
        alerts_ms,
    )


async def _flood(publisher: Publisher, mails: int) -> None:
    places = asyncio.Semaphore(_PUBLISHES_AT_ONCE)

    async def publish(first: int) -> None:
        async with places:
            await publisher.publish("notifications/email/batch", batch(first, min(_BATCH, mails - first)))

    await asyncio.gather(*(publish(first) for first in range(0, mails, _BATCH)))


def _mail() -> _Probe:
    recipient = f"probe{time.monotonic_ns()}@example.com"
    mail = {"to": recipient, "subject": "Disk full", "body": _TEXT, "priority": "critical"}
    return recipient, "notifications/email/send", mail


def _alert() -> _Probe:
    return _ADMIN, "notifications/alerts/critical/disk", {"message": _TEXT, "source": f"node{time.monotonic_ns()}"}


async def probe_for(
    publisher: Publisher, relay: SlowRelay, seconds: float, probe: Callable[[], _Probe] = _mail
) -> list[float]:
    """Send a critical mail, or another probe, every now and then; return how long each took to the relay, ms."""
    found: list[float] = []
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        recipient, topic, body = probe()
        arrived = relay.probes[recipient] = asyncio.get_running_loop().create_future()
        began_s = time.perf_counter()
        await publisher.publish(topic, body)
        async with asyncio.timeout(_PROBE_WITHIN_S):
            found.append((await arrived - began_s) * 1000)
        await asyncio.sleep(_PROBE_EVERY_S)
    return found


def batch(first: int, count: int, priority: Priority = Priority.HIGH) -> Mapping[str, object]:
    """Make a batch of mails to ``count`` addresses from this number on."""
    emails = [
        {"to": f"user{number}@example.com", "subject": "Deployed", "body": _TEXT, "priority": priority.value}
        for number in range(first, first + count)
    ]
    assert len(json.dumps({"emails": emails})) < 64 * 1024
    return {"emails": emails}


async def _redriven(stack: Stack) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{stack.ops_url('router')}/metrics") as answer,
    ):
        text = await answer.text()
    found = re.findall(r'^carillon_redriven_deliveries_total\{channel="email"\} (\S+)', text, re.MULTILINE)
    return round(sum(map(float, found)))


def _peak_mib(pid: int | None) -> float:
    """Read the highest resident memory that a process has had (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(kib) / 1024


def percentiles(times_ms: list[float]) -> str:
    """Write p50, p99 and the longest."""
    if len(times_ms) < 2:
        return "too few"
    cuts = quantiles(times_ms, n=100, method="inclusive")
    return f"p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms, longest {max(times_ms):.0f} ms, of {len(times_ms)}"
