"""Shared by the tests of the push service: attempts to send, and a sandbox process to send them to."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import aiohttp

from sandbox.credentials import service_environment
from sandbox.ntfy import access_token
from sandbox.server import Sandbox
from services.push.providers import PROVIDERS, PushServiceSettings
from services.push.settings import PushSettings
from shared.core.clock import Clock, epoch_ms
from shared.core.model import (
    Address,
    AlertDetails,
    Channel,
    Content,
    Delivery,
    MobileToken,
    Notification,
    Platform,
    Priority,
    WebSubscription,
)
from shared.delivery.attempt import Attempt
from shared.delivery.provider import Provider
from shared.runtime import providers
from shared.store.keys import new_notification_id

_ROOT = Path(__file__).parent.parent
_START_TIMEOUT_S = 20

IOS_TOKEN = "0a" * 32
ANDROID_TOKEN = "fcm-token:APA91b-" + "x" * 40
NTFY_TOPIC = "ops-7Kq_2"


def ios(token: str = IOS_TOKEN) -> MobileToken:
    return MobileToken(platform=Platform.IOS, token=token)


def android(token: str = ANDROID_TOKEN) -> MobileToken:
    return MobileToken(platform=Platform.ANDROID, token=token)


def ntfy(topic: str = NTFY_TOPIC) -> MobileToken:
    return MobileToken(platform=Platform.NTFY, token=topic)


class What(TypedDict, total=False):
    """The parts of an attempt that a test chooses. The rest has defaults."""

    title: str
    message: str
    data: dict[str, Any] | None
    category: str | None
    priority: Priority
    notification_id: str | None
    lifetime: timedelta
    alert: AlertDetails | None


def make_attempt(
    address: Address,
    *,
    title: str = "New Message",
    message: str = "You have a new message",
    data: dict[str, Any] | None = None,
    category: str | None = None,
    priority: Priority = Priority.NORMAL,
    notification_id: str | None = None,
    now: datetime | None = None,
    lifetime: timedelta = timedelta(hours=1),
    alert: AlertDetails | None = None,
) -> Attempt:
    now = now or datetime.now(UTC)
    return Attempt(
        notification=Notification(
            id=notification_id or new_notification_id(),
            kind="push_mobile",
            priority=priority,
            accepted_ms=epoch_ms(now),
            content=Content(
                title=title, message=message, data=data or {}, category=category, type="message", alert=alert
            ),
        ),
        delivery=Delivery(
            key="push:user123",
            channel=Channel.PUSH,
            priority=priority,
            address=address,
            recipient="user123",
            due_ms=epoch_ms(now),
            expires_ms=epoch_ms(now + lifetime),
        ),
        number=1,
        in_doubt=False,
        deadline=now + timedelta(seconds=30),
    )


def settings_from(environment: dict[str, str]) -> PushServiceSettings:
    """The settings that this environment holds, whatever the process's own says."""
    names = {name.lower(): value for name, value in environment.items() if name.startswith("PUSH_")}
    base = {"mqtt_url": "mqtt://127.0.0.1", "redis_url": "redis://127.0.0.1"}
    return PushServiceSettings.model_validate({**base, **names})


def ntfy_settings_for(box: Sandbox) -> PushServiceSettings:
    """The settings that point at a sandbox's ntfy, which is the only provider."""
    token = access_token(box.credentials)
    return settings_from({"PUSH_NTFY_URL": box.addresses.http_url, "PUSH_NTFY_TOKEN": token})


def changed(settings: PushSettings, **changes: object) -> PushServiceSettings:
    """The same settings, but for some of them; None unsets one."""
    values = settings.model_dump(exclude_unset=True)
    for kind in PROVIDERS:
        if group := settings.of(kind.settings):
            values |= group.model_dump(exclude_unset=True)
    return PushServiceSettings.model_validate(values | changes)


def build_providers(settings: PushSettings, clock: Clock) -> tuple[Provider, ...]:
    """The providers as the service builds them."""
    return providers.build_providers(PROVIDERS, providers.Parts(settings, clock))


class PushSandbox:
    """A running sandbox process."""

    def __init__(self, data: Path) -> None:
        self.settings = settings_from(service_environment(data))
        addresses = json.loads((data / "sandbox.json").read_text())
        self.http_url: str = addresses["http_url"]
        self.apns_url: str = addresses["apns_url"]

    async def play(self, provider: str, fault: dict[str, Any], *, to: str | None = None, times: int | None = 1) -> None:
        await self._call("POST", "/script", {"provider": provider, "to": to, "times": times, "fault": fault})

    async def clear(self) -> None:
        await self._call("DELETE", "/script")
        await self._call("DELETE", "/outbox.json")

    async def outbox(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = await self._call("GET", "/outbox.json")
        return entries

    async def subscribe(self, name: str) -> WebSubscription:
        answer = await self._call("POST", "/webpush/subscriptions", {"name": name})
        return WebSubscription(endpoint=answer["endpoint"], **answer["keys"])

    async def unsubscribe(self, name: str) -> None:
        await self._call("DELETE", f"/webpush/subscriptions/{name}")

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.http_url + path, json=body) as response,
        ):
            text = await response.text()
            assert response.status < 300, text
            return json.loads(text) if text else None


@contextmanager
def running_sandbox(data: Path) -> Iterator[PushSandbox]:
    """Start a sandbox process on free ports, and end it."""
    ready = data / "sandbox.json"
    command = [sys.executable, "-m", "sandbox", "--data", str(data)]
    command += ["--http-port", "0", "--smtp-port", "0", "--apns-port", "0"]
    with (data / "sandbox.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=_ROOT, stderr=log, env=os.environ)  # noqa: S603 - our own
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not ready.exists():
            assert process.poll() is None, (data / "sandbox.log").read_text()
            assert time.monotonic() < deadline, "the sandbox does not start"
            time.sleep(0.02)
        yield PushSandbox(data)
    finally:
        process.terminate()
        process.wait(10)
