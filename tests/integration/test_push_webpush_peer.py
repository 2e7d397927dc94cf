"""Web Push against an implementation that is not ours: npm's web-push-testing, which checks and decrypts."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from carillon.local.ports import free_port
from services.push.settings import PushSettings
from services.push.webpush.provider import WebPushSettings
from shared.core.clock import SystemClock
from shared.core.errors import RecipientGone
from shared.core.model import WebSubscription
from shared.delivery.provider import Provider
from tests.attempts import outcome
from tests.node_packages import NODE
from tests.push import build_providers, make_attempt, settings_from
from tests.waiting import eventually

# What the package's command line starts as a daemon, in the foreground.
_START = """
const { PushApiModel } = require('web-push-testing/src/PushApiModel.js');
const Server = require('web-push-testing/src/server.js');
new Server(new PushApiModel(), Number(process.argv[1])).startServer();
"""


@dataclass
class Peer:
    """The running server."""

    url: str

    async def call(self, path: str, body: object) -> Any:
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json(content_type=None) if answer.content_type == "application/json" else None

    async def subscribe(self, key: str) -> tuple[WebSubscription, str]:
        """Subscribe with this application server key; returns the subscription and the peer's name for it."""
        data = (await self.call("subscribe", {"userVisibleOnly": "true", "applicationServerKey": key}))["data"]
        return WebSubscription(endpoint=data["endpoint"], **data["keys"]), data["clientHash"]

    async def messages(self, name: str) -> list[str]:
        """Return what arrived, decrypted by the peer."""
        messages: list[str] = (await self.call("get-notifications", {"clientHash": name}))["data"]["messages"]
        return messages

    async def answers(self) -> bool:
        try:
            await self.call("status", {})
        except aiohttp.ClientError:
            return False
        return True


@pytest.fixture
async def peer(node_packages: Path) -> AsyncIterator[Peer]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        NODE, "-e", _START, str(port), cwd=node_packages, stdout=asyncio.subprocess.DEVNULL
    )
    peer = Peer(f"http://localhost:{port}")
    await eventually(peer.answers, within_s=30, what="the peer answers")
    yield peer
    process.kill()
    await process.wait()


@pytest.fixture
def settings(tmp_path: Path) -> PushSettings:
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "vapid.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return settings_from(
        {
            "PUSH_WEBPUSH_VAPID_KEY_FILE": str(file),
            "PUSH_WEBPUSH_SUBJECT": "mailto:operator@example.com",
            "PUSH_WEBPUSH_ALLOWED_HOSTS": "localhost",
        }
    )


@pytest.fixture
async def provider(settings: PushSettings) -> AsyncIterator[Provider]:
    [provider] = build_providers(settings, SystemClock())
    yield provider
    await provider.close()


def public_key(settings: PushSettings) -> str:
    """The application server key as a page gives it to the browser."""
    web = settings.of(WebPushSettings)
    assert web is not None
    key = load_pem_private_key(web.push_webpush_vapid_key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return (
        base64.urlsafe_b64encode(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        .decode()
        .rstrip("=")
    )


async def test_another_implementation_reads_the_text_that_was_sent(
    peer: Peer, provider: Provider, settings: PushSettings
) -> None:
    browser, name = await peer.subscribe(public_key(settings))
    texts = ["Good morning.", "Grüße 🎉\n„zwei“", "", "ä" * 1900, "x" * 9000]
    for text in texts:
        await provider.send(make_attempt(browser, title="Hello", message=text, data={"n": [1, None]}))
    read = [json.loads(message) for message in await peer.messages(name)]
    assert [message["title"] for message in read] == ["Hello"] * len(texts)
    assert [message["body"] for message in read[:4]] == texts[:4]
    assert read[4]["body"].removesuffix("…") in texts[4]
    assert [message.get("truncated", False) for message in read] == [False, False, False, False, True]


async def test_another_implementation_says_when_a_subscription_is_gone(
    peer: Peer, provider: Provider, settings: PushSettings
) -> None:
    browser, name = await peer.subscribe(public_key(settings))
    await peer.call(f"expire-subscription/{name}", {})
    assert isinstance(await outcome(provider, make_attempt(browser)), RecipientGone)
    assert await peer.messages(name) == []
