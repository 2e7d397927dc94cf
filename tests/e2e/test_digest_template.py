"""The sample template of a digest on its whole way: two readers, each in their language, with a tenant's look."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

COMMENTS = [("Ada answered you", "I agree & more."), ("Grace answered you", "Me too."), ("Ada answered you", "Thanks!")]


@pytest_asyncio.fixture(loop_scope="session")
async def system(stack: Stack) -> AsyncIterator[System]:
    async with open_system(stack) as system:
        yield system


@pytest.fixture(params=["en", "fr"])
def locale(request: pytest.FixtureRequest) -> str:
    return str(request.param)


SUBJECT = {"en": "3 new comments", "fr": "3 nouveaux commentaires"}
MORE = {"en": "And one earlier comment.", "fr": "Et un commentaire plus ancien."}
COLON = {"en": ": ", "fr": " : "}


async def test_a_digest_is_written_in_the_readers_language_with_the_tenants_look(system: System, locale: str) -> None:
    unique = uuid.uuid4().hex[:8]
    category, tenant, token = f"comments-{unique}", f"tenant-{unique}", uuid.uuid4().hex * 2
    digest = {"window": "3s", "items": 2, "template": "comments-digest"}
    record = {"title": "Comments", "channels": {"email": True}, "digest": digest}
    await system.publish(f"directory/category/{category}", record)
    brand = {"name": "Acme", "colour": "#0a7cff", "footer": "Acme Ltd, 1 Example Street"}
    await system.publish(f"directory/tenant/{tenant}", {"brand": brand})
    mailbox = f"{unique}@example.com"
    devices = [{"platform": "android", "token": token}]
    person = await system.person(email=mailbox, locale=locale, timezone="Europe/Paris", devices=devices)
    for title, message in COMMENTS:
        said = {"title": title, "message": message, "data": {"actor": title.split()[0]}}
        receipt = await system.publish(
            f"notifications/realtime/user/{person}", {**said, "category": category, "tenant": tenant}
        )
        assert (receipt.status, list(receipt.warnings)) == ("accepted", [])
    (mail,) = await system.arrived(to=mailbox)
    assert mail["title"] == SUBJECT[locale]
    # The newest two, and how many there are beside them; each ends with the time in the reader's zone.
    colon = COLON[locale]
    first, second, more, footer = [line for line in mail["body"].splitlines() if line]
    assert first.startswith(f"- Grace answered you{colon}Me too. (")
    assert second.startswith(f"- Ada answered you{colon}Thanks! (")
    assert (more, footer) == (MORE[locale], brand["footer"])
    assert "4px solid #0a7cff" in mail["html_body"]
    (push,) = await system.arrived(to=token)
    assert (push["title"], push["body"]) == (SUBJECT[locale], f"Grace, Ada{colon}Thanks!")
    # A digest stands in no inbox: its items do.
    assert [entry["title"] for entry in await system.inbox(person)] == [title for title, _ in reversed(COMMENTS)]
