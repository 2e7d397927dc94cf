"""Find and Trace of the console on a store: bounded, and without an address anywhere where it does not belong."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from carillon.console.backend import Backend
from shared.core.errors import AttemptOutcome, Reason
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State, UserInbox
from shared.directory.suppression import digest
from shared.ledger.claims import Outcome
from shared.ledger.confirmations import Confirmations
from shared.ledger.confirmations import Outcome as Said
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import new_notification_id
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.console import RULES, Served, serving
from tests.records import LEASE, now_ms

pytestmark = pytest.mark.real_store

ADDRESS = "Ada.Lovelace@example.com"


@pytest_asyncio.fixture
async def alone(store: EmptyStore) -> AsyncIterator[Served]:
    """A console on an empty store, without a broker."""
    async with Store(store.url) as opened, serving(Backend(opened, RULES)) as served:
        yield served


def mail(recipient: str | None = "ada", address: str = ADDRESS, key: str = "email:ada") -> NewRow:
    return NewRow(
        Delivery(
            key=key, channel=Channel.EMAIL, priority=Priority.HIGH, address=EmailAddress(email=address),
            recipient=recipient, expires_ms=now_ms() + 3_600_000,
        )
    )  # fmt: skip


def entry(recipient: str) -> NewRow:
    return NewRow(
        Delivery(
            key=f"realtime:{recipient}", channel=Channel.REALTIME, priority=Priority.HIGH,
            address=UserInbox(user_id=recipient), recipient=recipient, expires_ms=now_ms() + 3_600_000,
        )
    )  # fmt: skip


async def said(served: Served, *rows: NewRow, category: str | None = None, kind: str = "realtime_user") -> str:
    notification = Notification(
        id=new_notification_id(), kind=kind, priority=Priority.HIGH, accepted_ms=now_ms(),
        content=Content(title="secret-title", message="secret-message", category=category),
    )  # fmt: skip
    await Ledger(served.store, served.keys).accept(NewRecord(notification, rows))
    return notification.id


async def attempted(served: Served, notification_id: str, key: str, how: Outcome) -> None:
    ledger = Ledger(served.store, served.keys)
    (claim,) = await ledger.claim([(notification_id, key)], LEASE)
    assert await ledger.finish(claim, how) == "finished"


async def test_an_address_is_found_by_its_hash_and_stands_in_no_url(alone: Served) -> None:
    viewer = await alone.person("viewer")
    sent, _ = await said(alone, mail()), await said(alone, mail("bob", "bob@example.com", "email:bob"))
    led = await viewer.act("/find", q=ADDRESS.lower())
    assert led.status == 303
    where = led.headers["Location"]
    assert digest(ADDRESS) in where
    assert "lovelace" not in where.lower()
    found = await viewer.get(where)
    assert sent in found.text
    assert "A…@example.com" in found.words
    assert "lovelace" not in found.text.lower()
    assert "bob" not in found.text
    for _, line in await alone.store.command("XRANGE", f"{alone.keys.console}:changes", "-", "+"):
        assert b"lovelace" not in str(line).lower().encode()


async def test_what_was_typed_is_recognised(alone: Served) -> None:
    viewer = await alone.person("viewer")
    sent = await said(alone, mail())
    for typed, where in ((sent, f"/trace/{sent}"), ("ada", "/find?person=ada"), ("+1 202-555 0188", "/find?address=")):
        led = await viewer.act("/find", q=typed)
        assert (led.status, led.headers["Location"][: len(where)]) == (303, where), led.words
    assert (await viewer.act("/find", q="ada", **{"as": "own"})).headers["Location"].startswith("/find?own=ada")
    assert (await viewer.act("/find", q="x" * 201)).status == 400
    assert (await viewer.act("/find", q="ada", outcome="nonsense")).status == 303
    assert (await viewer.get("/find?person=ada&outcome=nonsense")).status == 400
    assert (await viewer.get("/find?address=ada@example.com")).status == 400
    assert (await viewer.get("/find?person=ada&after=nonsense")).status == 400
    assert (await viewer.get("/find?from=yesterday")).status == 400


async def test_filters_and_the_link_to_older_ones(alone: Served) -> None:
    viewer = await alone.person("viewer")
    first = await said(alone, mail(), category="billing")
    await attempted(alone, first, "email:ada", Outcome(State.DEAD_LETTERED, Reason.REJECTED, provider="smtp"))
    for _ in range(35):
        await said(alone, mail())
    page = await viewer.get("/find?person=ada")
    assert page.text.count("/trace/") == 30
    assert "Show more" in page.words
    narrowed = await viewer.get(
        "/find?" + urlencode({"person": "ada", "category": "billing", "outcome": "undelivered"})
    )
    assert narrowed.text.count("/trace/") == 1
    assert first in narrowed.text
    assert "The provider refuses this message." in narrowed.words
    assert "Nothing was found" in (await viewer.get("/find?person=nobody")).words


async def test_a_trace_says_everything_that_happened_in_words_and_as_json(alone: Served) -> None:
    viewer = await alone.person("viewer")
    sent = await said(alone, mail(), entry("ada"))
    retry = Outcome(
        State.PENDING, Reason.RATE_LIMITED, word=AttemptOutcome.RETRY, provider="smtp", detail="451 4.7.1",
        wait=timedelta(0),
    )  # fmt: skip
    await attempted(alone, sent, "email:ada", retry)
    await attempted(alone, sent, "email:ada", Outcome(State.DELIVERED, provider="smtp", provider_id="queued-7"))
    await attempted(alone, sent, "realtime:ada", Outcome(State.DELIVERED, provider="inbox"))
    await Confirmations(alone.store, alone.keys).write(sent, "email:ada", Said.FAILED, "sendgrid bounce 5.1.1", "")
    await Ledger(alone.store, alone.keys).seen(sent, "ada")
    page = await viewer.get(f"/trace/{sent}")
    assert page.status == 200
    for words in (
        "Attempt 1: It failed for now, and is tried again. smtp · The provider says that we send too fast. · 451 4.7.1",
        "Attempt 2: The provider took it.", "The provider says: it did not arrive. sendgrid bounce 5.1.1",
        "did not arrive", "Read in the inbox.", "queued-7", "Seen by 1 person",
    ):  # fmt: skip
        assert words in page.words, words
    assert "secret" not in page.text
    assert "lovelace" not in page.text.lower()
    assert "style=" not in page.text
    # Find says as much, and no more than that the provider had taken it would be half the truth.
    listed = await viewer.get("/find?person=ada")
    assert "email did not arrive A…@example.com The provider had taken it, and said so" in listed.words
    assert "sendgrid bounce 5.1.1" in listed.words
    assert sent in (await viewer.get("/find?person=ada&outcome=not_arrived")).text
    assert "The provider had taken it" not in (await viewer.get("/find?person=ada&outcome=delivered")).words
    export = await viewer.get(f"/trace/{sent}/export.json")
    assert export.headers["Content-Disposition"] == f'attachment; filename="trace-{sent}.json"'
    document = json.loads(export.text)
    assert (document["notification_id"], document["complete"]) == (sent, True)
    assert [each["recipient"] for each in document["seen"]] == ["ada"]
    (of_mail,) = [each for each in document["deliveries"] if each["channel"] == "email"]
    assert [each["outcome"] for each in of_mail["callbacks"]] == ["failed"]
    assert "secret" not in export.text


async def test_a_large_fan_out_is_bounded_and_read_by_person(alone: Served) -> None:
    viewer = await alone.person("viewer")
    people = [f"user{number}" for number in range(400)]
    sent = await said(alone, *(entry(one) for one in people), kind="realtime_group")
    page = await viewer.get(f"/trace/{sent}")
    assert page.text.count('class="lane"') == 25
    assert page.text.count('<th scope="row" data-name="Channel">') == 100
    assert "It has many more" in page.words
    one = await viewer.get(f"/trace/{sent}?recipient=user399")
    assert one.text.count('<th scope="row" data-name="Channel">') == 1
    assert json.loads((await viewer.get(f"/trace/{sent}/export.json?recipient=user7")).text)["complete"] is True


async def test_what_is_not_there_is_said_in_words(alone: Served) -> None:
    viewer = await alone.person("viewer")
    for path in (f"/trace/{new_notification_id()}", "/trace/x", f"/trace/{new_notification_id()}/export.json"):
        page = await viewer.get(path)
        assert (page.status, "There is no notification of this id" in page.words) == (404, True)
    assert "Without a name, the newest notifications" in (await viewer.get("/find")).words
