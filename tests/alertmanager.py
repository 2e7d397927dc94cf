"""Alertmanager's webhook in tests: messages as its version 4 has them."""

import io
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

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
