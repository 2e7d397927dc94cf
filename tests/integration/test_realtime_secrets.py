"""A secret that is replaced: the new one signs, and what the old one has signed is accepted as long as it is named."""

from pathlib import Path
from typing import Any

import jwt
import pytest

from carillon.local.servers import LocalServer
from services.email.providers import EmailServiceSettings
from shared.directory.answer_link import token as answer_token
from shared.directory.people import OnCall
from shared.directory.rota_calendar import link_path
from shared.directory.suppression import digest
from shared.directory.unsubscribe import token as unsubscribe_token
from tests.command_line import CommandLine
from tests.conftest import EmptyStore
from tests.integration.test_realtime_answer import told
from tests.realtime import bearer, realtime_node

NEW, OLD, STRANGER = "n" * 32, "o" * 40, "s" * 40

pytestmark = [pytest.mark.real_store, pytest.mark.real_broker]


@pytest.mark.parametrize(("secrets", "works"), [(f"{NEW} {OLD}", {NEW, OLD}), (NEW, {NEW})])
async def test_tokens_and_links_work_while_their_secret_is_named(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, secrets: str, works: set[str]
) -> None:
    settings: dict[str, Any] = {
        "realtime_jwt_secret": secrets,
        "realtime_link_secret": secrets,
        "email_unsubscribe_secret": secrets,
        "email_unsubscribe_url": "https://notify.example.com",
    }
    async with realtime_node(store.url, broker.url, topic_prefix, **settings) as node:
        entry = OnCall.model_validate({"alert_type": "disk", "users": ["user1"]})
        await node.context.directory.put_oncall("disk", entry)
        link = await told(node, "user1")
        for secret in (NEW, OLD, STRANGER):
            paths = {
                f"/v1/answer?token={answer_token(secret, link)}": 400,
                f"/v1/unsubscribe?token={unsubscribe_token(secret, digest('user1@example.com'), 'billing')}": 400,
                link_path(secret, "disk"): 401,
            }
            for path, refused in paths.items():
                async with node.client.get(f"{node.url}{path}") as answer:
                    assert answer.status == (200 if secret in works else refused), (secret, path)
            async with node.client.get(f"{node.url}/v1/inbox", headers=bearer("user1", secret=secret)) as answer:
                assert answer.status == (200 if secret in works else 401)


async def test_the_first_of_several_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = f"{NEW} {OLD}"
    command = CommandLine(tmp_path, REALTIME_JWT_SECRET=secrets, REALTIME_LINK_SECRET=secrets)
    assert (await command("oncall", "link", "disk")).out.strip() == link_path(NEW, "disk")
    assert jwt.decode((await command("token", "user1")).out.strip(), NEW, ["HS256"])["sub"] == "user1"
    for name, value in {
        "MQTT_URL": "mqtt://broker", "REDIS_URL": "redis://store", "EMAIL_SMTP_URL": "smtp://relay",
        "EMAIL_FROM": "a@example.com", "EMAIL_UNSUBSCRIBE_SECRET": secrets,
        "EMAIL_UNSUBSCRIBE_URL": "https://example.com", "REALTIME_LINK_SECRET": secrets, "REALTIME_PUBLIC_URL": "https://example.com",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = EmailServiceSettings.load()
    assert settings.answer_links is not None
    assert settings.answer_links.secret == NEW
    assert settings.unsubscribe is not None
    assert settings.unsubscribe.secret == NEW


async def test_a_secret_of_words_is_one_secret(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> None:
    words = f"correct horse battery staple and {OLD}"
    async with realtime_node(store.url, broker.url, topic_prefix, realtime_jwt_secret=words) as node:
        for secret, status in ((words, 200), (OLD, 401)):
            async with node.client.get(f"{node.url}/v1/inbox", headers=bearer("user1", secret=secret)) as answer:
                assert answer.status == status
