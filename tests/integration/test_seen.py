"""Who has read a notification in the inbox is a part of its trace, however many people were told."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from shared.core.model import Notification
from shared.directory.people import Person
from shared.ledger import ledger
from shared.ledger.new_records import NewRecord
from shared.ledger.reader import Seen, Trace
from tests.conftest import EmptyStore
from tests.realtime import Realtime, notification, realtime_node
from tests.waiting import eventually


@pytest_asyncio.fixture
async def node(store: EmptyStore, broker: LocalServer, topic_prefix: str) -> AsyncIterator[Realtime]:
    async with realtime_node(store.url, broker.url, topic_prefix) as running:
        for user_id in ("ada", "bob"):
            await running.context.directory.put(Person(user_id=user_id))
        yield running


async def seen(node: Realtime, sent: Notification, recipient: str | None = None) -> Seen:
    return await Trace(node.context.store, node.context.keys).seen(sent.id, recipient)


async def accepted(node: Realtime, message: str) -> Notification:
    sent = notification(message)
    await node.context.ledger.accept(NewRecord(sent, []))
    return sent


async def until_seen(node: Realtime, sent: Notification, *users: str) -> None:
    async def is_seen() -> bool:
        return [*(await seen(node, sent)).by] == [*users]

    await eventually(is_seen, what=f"seen by {users}")


async def test_whoever_reads_an_entry_has_seen_it_from_the_first_time_on(node: Realtime) -> None:
    sent = await accepted(node, "hello")
    await node.to_user("ada", sent)
    await node.to_user("bob", sent)
    assert (await seen(node, sent)).by == {}
    assert (await node.call("POST", f"/v1/inbox/{sent.id}/read", "ada"))[0] == 204
    await until_seen(node, sent, "ada")
    first = (await seen(node, sent)).by["ada"]
    for change, who in (("unread", "ada"), ("read", "ada"), ("read", "bob")):
        assert (await node.call("POST", f"/v1/inbox/{sent.id}/{change}", who))[0] == 204
    await until_seen(node, sent, "ada", "bob")
    assert (await seen(node, sent)).by["ada"] == first
    assert [*(await seen(node, sent, "bob")).by] == ["bob"]
    assert (await seen(node, sent, "carol")) == Seen()


async def test_who_has_only_archived_an_entry_has_not_read_it(node: Realtime) -> None:
    archived, read = [await accepted(node, text) for text in ("first", "second")]
    for sent in (archived, read):
        await node.to_user("ada", sent)
    assert (await node.call("POST", f"/v1/inbox/{archived.id}/archive", "ada"))[0] == 204
    assert (await node.call("POST", "/v1/inbox/read-all", "ada"))[0] == 204
    await until_seen(node, read, "ada")
    assert (await seen(node, archived)).by == {}


async def test_marking_everything_as_read_counts_for_each_entry_that_was_unread(node: Realtime) -> None:
    own, early, archived, late = [await accepted(node, text) for text in ("own", "early", "archived", "late")]
    await node.to_user("ada", own)
    await node.to_all(early)
    await node.to_all(archived)
    await node.to_all(late)
    assert (await node.call("POST", f"/v1/inbox/{archived.id}/archive", "ada"))[0] == 204
    assert (await node.call("POST", f"/v1/inbox/{late.id}/read", "bob"))[0] == 204
    await until_seen(node, late, "bob")
    assert (await node.call("POST", "/v1/inbox/read-all", "ada"))[0] == 204
    await until_seen(node, late, "bob", "ada")
    await until_seen(node, own, "ada")
    await until_seen(node, early, "ada")
    assert (await seen(node, archived)).by == {}


async def test_a_bounded_number_of_people_is_named(node: Realtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST_SEEN", 2)
    sent = await accepted(node, "to all")
    for user in ("ada", "bob"):
        await node.context.ledger.seen(sent.id, user)
    await node.context.ledger.seen(sent.id, "ada")
    assert (await seen(node, sent)).complete
    await node.context.ledger.seen(sent.id, "carol")
    found = await seen(node, sent)
    assert ([*found.by], found.complete) == (["ada", "bob"], False)
    # Of somebody who is not named, nobody can say that the entry was not read.
    assert not (await seen(node, sent, "carol")).complete
    assert (await seen(node, sent, "ada")).complete


async def test_what_the_ledger_does_not_know_is_not_made_by_its_readers(node: Realtime) -> None:
    unknown = notification("never accepted")
    await node.to_user("ada", unknown)
    assert (await node.call("POST", f"/v1/inbox/{unknown.id}/read", "ada"))[0] == 204
    known = await accepted(node, "accepted")
    await node.to_user("ada", known)
    assert (await node.call("POST", f"/v1/inbox/{known.id}/read", "ada"))[0] == 204
    await until_seen(node, known, "ada")
    assert await seen(node, unknown) == Seen()
    assert not await node.context.ledger.seen("no id", "ada")
