"""Records beside the ledger that nobody can read: they concern the one whose they are, and nobody else."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from carillon.local.servers import LocalServer
from services.router.intake.slots import Slots
from shared.core.clock import SystemClock
from shared.core.errors import DeliveryRefused, Reason
from shared.core.model import Channel, Priority
from shared.directory.directory import ANY_TYPE, Directory
from shared.directory.people import OnCall, Person
from shared.directory.suppression import Cause, Suppressions, digest
from shared.inbox.feed import Feed, FeedMirror
from shared.inbox.inbox import Inbox
from shared.inbox.sessions import Sessions
from shared.ledger.confirmations import Confirmations, Outcome
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.ledger.rejections import Rejections
from shared.store.keys import Keys
from shared.store.store import Store
from tests.conftest import EmptyStore
from tests.realtime import notification, realtime_node
from tests.smtp import attempt
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

MONTH = timedelta(days=30)
GARBAGE = b"\xff{garbage"
KEYS = Keys()


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


@pytest.mark.parametrize("garbage", [GARBAGE, b"[]", b"{}", b'{"at": 1, "detail": null}'])
async def test_a_reason_against_an_address_counts_though_nobody_can_read_when_it_was_given(
    opened: Store, garbage: bytes
) -> None:
    suppressions = Suppressions(opened, KEYS, Channel.EMAIL, SystemClock())
    whose = digest("user@example.com")
    await suppressions.add(whose, Cause.UNSUBSCRIBED)
    await opened.command("HSET", KEYS.suppressed("email", whose), Cause.BOUNCE.value, garbage)
    with pytest.raises(DeliveryRefused) as refused:
        await suppressions.check(whose, Priority.NORMAL)
    assert refused.value.reason is Reason.BOUNCED
    assert {entry.cause for entry in await suppressions.entries(whose)} == {Cause.BOUNCE, Cause.UNSUBSCRIBED}


async def test_an_oncall_entry_that_cannot_be_read_leaves_the_alert_to_those_of_every_type(opened: Store) -> None:
    directory = Directory(opened, KEYS)
    await directory.put_oncall(ANY_TYPE, OnCall(alert_type=ANY_TYPE, users=("anybody",)))
    await opened.command("HSET", KEYS.oncall, "disk", GARBAGE)
    found = await directory.oncall(["disk", "other"])
    assert {alert_type: entry.users for alert_type, entry in found.items()} == {
        "disk": ("anybody",),
        "other": ("anybody",),
    }


@pytest.mark.parametrize("garbage", [GARBAGE, b"null", b"[1]", b'"x"\n{}', b"[[]]\n{}"])
async def test_a_feed_entry_that_cannot_be_read_hides_no_other(opened: Store, garbage: bytes) -> None:
    feed = Feed(opened, KEYS, MONTH)
    mirror = FeedMirror(feed)
    for name in ("before", "bad", "after"):
        await feed.add(name, json.dumps({"id": name}), None)
    await opened.command("HSET", f"{KEYS.feed}:entries", "bad", garbage)
    await opened.command("SET", f"{KEYS.feed}:status", GARBAGE)
    assert [entry.id for entry in await mirror.refresh()] == ["before", "after"]
    # What was passed over is not read again and again.
    assert await mirror.refresh() == []
    assert await feed.put_status(1, "{}")


@pytest.mark.parametrize("garbage", [GARBAGE, b"", b"[]", b"q"])
async def test_an_inbox_entry_that_cannot_be_read_hides_no_other(opened: Store, garbage: bytes) -> None:
    inbox = Inbox(opened, KEYS, 100, MONTH)
    for name in ("before", "bad", "after"):
        await inbox.add("user1", name, json.dumps({"id": name}))
    base = KEYS.user("user1")
    await opened.command("HSET", f"{base}:entries", "bad", garbage)
    await opened.command("HSET", f"{base}:state", "before", GARBAGE)
    await opened.command("HSET", f"{base}:feed_state", "x", GARBAGE)
    mirror = FeedMirror(Feed(opened, KEYS, MONTH))
    for snapshot in (await inbox.everything("user1"), await inbox.after("user1", 0)):
        assert [entry.id for entry in snapshot.entries] == ["before", "after"]
    assert await inbox.mark("user1", "after", "read") is not None
    assert (await inbox.read_all("user1", mirror.log)).changed


@pytest.mark.parametrize("garbage", [b"{garbage", b"{}", b'{"reply_to": 1}', b"\xff"])
async def test_a_session_that_cannot_be_read_hides_no_other(opened: Store, garbage: bytes) -> None:
    directory, inbox = Directory(opened, KEYS), Inbox(opened, KEYS, 100, MONTH)
    sessions = Sessions(opened, KEYS, inbox, directory, FeedMirror(Feed(opened, KEYS, MONTH)))
    await sessions.open_session("user1", "good", reply_to="gateway/user1")
    await sessions.open_session("user1", "bad", reply_to="gateway/bad")
    await opened.command("HSET", f"{KEYS.user('user1')}:session_nodes", "bad", garbage)
    found = await sessions.targets_of("user1")
    assert [each.reply_to for each in found.gateways] == ["gateway/user1"]


async def test_a_slot_whose_lease_cannot_be_read_is_free(opened: Store) -> None:
    slots = Slots(opened, KEYS.slots, "one")
    await opened.command("HSET", f"{KEYS.slots}:owners", "0", GARBAGE)
    assert await slots.take() == 0
    assert await slots.renew(0)
    await opened.command("HSET", f"{KEYS.slots}:owners", "7", GARBAGE, "rubbish", GARBAGE)
    await opened.command("HSET", f"{KEYS.slots}:late", "0", GARBAGE)
    assert await slots.take_orphan(0) == 7
    assert await slots.take_orphan(0) is None


async def test_a_refusal_that_cannot_be_read_hides_no_other(opened: Store) -> None:
    rejections = Rejections(opened, KEYS, 600)
    error = {"code": "invalid_payload", "message": "No.", "fields": []}
    await rejections.keep([("notifications/x", 10, error)])
    await opened.command("XADD", KEYS.rejected, "*", "topic", "t", "size", "x", "error", GARBAGE)
    await opened.command("XADD", KEYS.rejected, "*", "another", "program's")
    await rejections.keep([("notifications/y", 10, error)])
    assert [each.topic for each in await rejections.newest(10)] == ["notifications/y", "notifications/x"]


async def test_a_confirmation_of_a_row_that_cannot_be_read_is_written_and_no_error(opened: Store) -> None:
    ledger, confirmations = Ledger(opened, KEYS), Confirmations(opened, KEYS)
    made = attempt("user@example.com")
    await ledger.accept(NewRecord(made.notification, [NewRow(made.delivery)]))
    record = f"{KEYS.shard_of(made.notification.id)}:n:{made.notification.id}"
    for name in (f"d:{made.delivery.key}", "c"):
        await opened.command("HDEL", record, name)
        assert await confirmations.write(made.notification.id, made.delivery.key, Outcome.SENT, "", "SM1") is None
    await opened.command("HSET", record, f"k:{made.delivery.key}", GARBAGE)
    assert await confirmations.taken(made.notification, made.delivery) is None


async def test_people_who_cannot_be_read_keep_no_alert_from_the_others(opened: Store) -> None:
    directory = Directory(opened, KEYS)
    for name in ("good", "bad"):
        await opened.command("ZADD", KEYS.admins, 0, name)
        await directory.put(Person(user_id=name, roles=("admin",)))
    await opened.command("SET", f"{KEYS.user('bad')}:record", GARBAGE)
    await opened.command("ZADD", KEYS.admins, 0, GARBAGE)
    assert await directory.admins() == ["good"]


@pytest.mark.real_broker
async def test_a_user_whose_inbox_is_damaged_ends_no_session_of_another(
    broker: LocalServer, store: EmptyStore, topic_prefix: str
) -> None:
    async with (
        realtime_node(store.url, broker.url, topic_prefix, heartbeat_s=0.4, feed_check_s=0.2) as node,
        node.session("user1") as damaged,
        node.session("user2") as sound,
    ):
        for client in (damaged, sound):
            await client.next("hello")
        keys, opened = node.context.keys, node.context.store
        await opened.command("DEL", f"{keys.user('user1')}:sessions")
        await opened.command("SET", f"{keys.user('user1')}:sessions", GARBAGE)
        await opened.command("HSET", f"{keys.feed}:meta", "seq", GARBAGE)
        theirs = f"{keys.user('user2')}:sessions"
        for _ in range(3):
            # Every session is kept alive again with each heartbeat.
            await opened.command("DEL", theirs)
            await eventually(lambda: opened.command("EXISTS", theirs))
        sent = await node.to_user("user2", notification("still here"))
        assert (await sound.next("notification"))["notification"]["id"] == sent.id
        # Lest closing the session is what is tested.
        await opened.command("DEL", f"{keys.user('user1')}:sessions")
