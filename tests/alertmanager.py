"""Alertmanager in tests: messages as version 4 of its webhook has them, and two real ones as a cluster."""

import asyncio
import functools
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from carillon.local.child import Child
from carillon.local.ports import LOOPBACK, free_port
from carillon.local.servers import find_server
from shared.core.clock import rfc3339
from shared.core.errors import CarillonError
from tests.waiting import eventually

STARTED = "2026-11-28T12:00:00.123456789Z"
ENDED = "2026-11-28T12:30:00Z"
# What Go writes where there is no time.
NEVER = "0001-01-01T00:00:00Z"


def alert(
    number: int = 1, *, status: str | None = "firing", labels: Mapping[str, str] | None = None, **fields: Any
) -> Any:
    """Write one alert as Alertmanager does; None as a field's value leaves the field out."""
    written = {
        "status": status,
        "labels": {"alertname": "DiskFull", "instance": f"db{number}:9100", "severity": "page", **(labels or {})},
        "annotations": {"summary": f"The disk of db{number} is full"},
        "startsAt": STARTED,
        "endsAt": ENDED if status == "resolved" else NEVER,
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=disk_free+%3C+1",
        "fingerprint": f"{number:016x}",
    } | fields
    return {name: value for name, value in written.items() if value is not None}


def message(*alerts: Any, **fields: Any) -> Any:
    """Write a message as Alertmanager does."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="DiskFull"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "carillon",
        "groupLabels": {"alertname": "DiskFull"},
        "commonLabels": {"alertname": "DiskFull"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "alerts": list(alerts),
    } | fields


async def post_message(
    client: aiohttp.ClientSession, url: str, key: str, posted: Any, path: str = "disk_full"
) -> tuple[int, Any]:
    """Post a message, or bytes in its place: status and JSON of the answer."""
    body = posted if isinstance(posted, bytes) else json.dumps(posted).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with client.post(f"{url}/v1/alertmanager/{path}", data=io.BytesIO(body), headers=headers) as answer:
        return answer.status, await answer.json()


# A cluster of real ones.

PROGRAM = "prometheus-alertmanager"


class Cluster:
    """Two Alertmanagers of this machine that know each other, and what Prometheus and people say to them.

    Each receiver is a label ``receiver`` of the alerts. Messages go out fast: a group's first after ``GROUP_WAIT_S``,
    its next after ``GROUP_INTERVAL_S``, and what goes on is repeated after ``REPEAT_INTERVAL_S``.

    Args:
        folder: for everything of theirs.
        receivers: by name, the receiver as the configuration has it.
        peer_timeout: how long the second waits for the first to have sent a message; Alertmanager's default is 15s.
        are_peers: they know each other; else it is as if the network between them were cut.
    """

    GROUP_WAIT_S = 0.2
    GROUP_INTERVAL_S = 1
    REPEAT_INTERVAL_S = 2

    def __init__(
        self, folder: Path, receivers: Mapping[str, Any], *, peer_timeout: str, are_peers: bool = True
    ) -> None:
        program = find_server(PROGRAM)
        if program is None:
            raise CarillonError(f"{PROGRAM} is not installed")
        configuration = folder / "alertmanager.yaml"
        # JSON is YAML, too.
        configuration.write_text(json.dumps(_configuration(receivers)))
        ports = [(free_port(), free_port()) for _ in range(2)]
        self.urls = [f"http://{LOOPBACK}:{port}" for port, _ in ports]
        self.members = [
            Child(
                f"alertmanager-{number}",
                [
                    str(program), f"--config.file={configuration}", f"--storage.path={folder / f'storage-{number}'}",
                    f"--web.listen-address={LOOPBACK}:{port}", f"--cluster.listen-address={LOOPBACK}:{gossip_port}",
                    f"--cluster.advertise-address={LOOPBACK}:{gossip_port}",
                    *([f"--cluster.peer={LOOPBACK}:{ports[1 - number][1]}"] if are_peers else []),
                    f"--cluster.peer-timeout={peer_timeout}",
                    # A cluster settles after some of these.
                    "--cluster.gossip-interval=20ms", "--cluster.pushpull-interval=1s",
                    "--cluster.reconnect-interval=500ms", "--log.level=debug",
                ],
                log=folder / f"alertmanager-{number}.log",
                ready=functools.partial(_has_settled, url, 2 if are_peers else 1),
                working_folder=folder,
            )
            for number, ((port, gossip_port), url) in enumerate(zip(ports, self.urls, strict=True))
        ]  # fmt: skip
        self._started: dict[str, datetime] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Cluster"]:
        """Run both until the end of the context."""
        try:
            await asyncio.gather(*(member.start() for member in self.members))
            yield self
        finally:
            await asyncio.gather(*(member.kill() for member in self.members))

    async def say(self, name: str, *, is_over: bool = False, **labels: str) -> None:
        """Say to every living member, as Prometheus does, that an alert is firing, or that it is over."""
        now = datetime.now(UTC)
        started = self._started.setdefault(json.dumps([name, labels], sort_keys=True), now)
        posted = {
            "startsAt": rfc3339(started),
            "labels": {"alertname": name, "severity": "page", **labels},
            "annotations": {
                "summary": f"{name} {labels.get('instance', '')} is burning",
                "value": str(now.timestamp()),
            },
            "generatorURL": "http://prometheus.example:9090/graph",
            "endsAt": rfc3339(now if is_over else now + timedelta(minutes=10)),
        }
        await self._post("alerts", [posted])

    async def silence(self, name: str, length: timedelta) -> None:
        """Silence an alert by its name in one member; the other learns it."""
        now = datetime.now(UTC)
        matcher = {"name": "alertname", "value": name, "isRegex": False, "isEqual": True}
        posted = {
            "matchers": [matcher], "startsAt": rfc3339(now), "endsAt": rfc3339(now + length),
            "createdBy": "tests", "comment": "tests",
        }  # fmt: skip
        await self._post("silences", posted, first_only=True)

        async def both_know() -> bool:
            return all([len(await self._get(url, "silences")) > 0 for url in self._living()])

        await eventually(both_know, what="the silence in both members")

    def _living(self) -> list[str]:
        return [url for url, member in zip(self.urls, self.members, strict=True) if member.alive]

    async def _post(self, what: str, posted: Any, *, first_only: bool = False) -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            for url in self._living()[: 1 if first_only else None]:
                async with session.post(f"{url}/api/v2/{what}", json=posted):
                    pass

    async def _get(self, url: str, what: str) -> Any:
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"{url}/api/v2/{what}") as answer,
        ):
            return await answer.json()


async def _has_settled(url: str, members: int) -> bool:
    """Tell whether a member is one of so many, and has settled."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v2/status") as answer:
            cluster = (await answer.json())["cluster"]
            return cluster["status"] == "ready" and len(cluster["peers"]) == members
    except (aiohttp.ClientError, OSError, KeyError, ValueError):
        return False


def _configuration(receivers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "route": {
            "receiver": next(iter(receivers)),
            "group_by": ["alertname"],
            "group_wait": f"{round(Cluster.GROUP_WAIT_S * 1000)}ms",
            "group_interval": f"{Cluster.GROUP_INTERVAL_S}s",
            "repeat_interval": f"{Cluster.REPEAT_INTERVAL_S}s",
            "routes": [{"receiver": name, "matchers": [f'receiver="{name}"']} for name in receivers],
        },
        "receivers": [{"name": name, **receiver} for name, receiver in receivers.items()],
    }


def webhook(url: str, key: str) -> dict[str, Any]:
    """Write a receiver that posts to Carillon."""
    authorization = {"type": "Bearer", "credentials": key}
    return {"webhook_configs": [{"url": url, "send_resolved": True, "http_config": {"authorization": authorization}}]}
