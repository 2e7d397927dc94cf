"""A template on its whole way: what the providers got for people of two languages, and a broadcast's one entry."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

DATA = {"name": "User & Co", "joined": "2026-11-02", "tasks": 2}


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


@pytest.mark.parametrize(
    ("locale", "title", "sms", "push", "html"),
    [
        (
            "en-GB",
            "Welcome, User & Co",
            "Welcome, User & Co: 2 tasks wait for you.",
            "2 tasks wait for you, User & Co.",
            "since 2 November 2026",
        ),
        (
            "fr",
            "Bienvenue, User & Co",
            "Bienvenue, User & Co : 2 tâches vous attendent.",
            "2 tâches vous attendent, User & Co.",
            "depuis le 2 novembre 2026",
        ),
    ],
)
async def test_every_channel_speaks_the_readers_language(
    system: System, locale: str, title: str, sms: str, push: str, html: str
) -> None:
    mailbox = f"{uuid.uuid4().hex}@example.com"
    phone = f"+1212555{uuid.uuid4().int % 10_000:04}"
    token = uuid.uuid4().hex * 2
    user_id = await system.person(
        email=mailbox,
        phone=phone,
        locale=locale,
        preferences={"sms": True},
        devices=[{"platform": "android", "token": token}],
    )
    payload = {"template": "welcome", "data": DATA, "priority": "critical"}
    receipt = await system.publish(f"notifications/realtime/user/{user_id}", payload)
    (mail,) = await system.arrived(to=mailbox)
    assert (mail["title"], "User &amp; Co" in mail["html_body"], html in mail["html_body"]) == (title, True, True)
    (text,) = await system.arrived(to=phone)
    assert text["body"] == sms
    (shown,) = await system.arrived(to=token)
    assert (shown["title"], shown["body"]) == (title, push)
    entry = await system.in_inbox(user_id, receipt.notification_id or "")
    assert (entry["title"], entry["data"]) == (title, DATA)


async def test_a_broadcast_is_one_entry_and_mails_in_each_language(system: System) -> None:
    group = uuid.uuid4().hex
    mailbox = f"{group}@example.com"
    user_id = await system.person(email=mailbox, locale="fr", groups=[group])
    payload = {"template": "welcome", "data": DATA, "priority": "high", "target_groups": [group]}
    receipt = await system.publish("notifications/realtime/broadcast", payload)
    assert (await system.in_inbox(user_id, receipt.notification_id or ""))["title"] == "Welcome, User & Co"
    (mail,) = await system.arrived(to=mailbox)
    assert mail["title"] == "Bienvenue, User & Co"
