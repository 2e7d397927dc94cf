"""A store that knows a user for each service: everything works, and nobody reaches further than the table says."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from carillon.local.stack import Stack, with_login
from carillon.store.users import STORE_ROLES
from services.sms.keys import number_key
from shared.store.keys import Keys
from tests.command_line import CommandLine
from tests.store_users import give_users, refused
from tests.system import System, open_system

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]

NOBODY_MAY = (
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("CONFIG", "GET", "requirepass"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("RANDOMKEY",),
    ("EVAL", "return redis.call('PING')", "0"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "FLUSH"),
    ("SHUTDOWN", "NOSAVE"),
    ("BGREWRITEAOF",),
    ("REPLICAOF", "NO", "ONE"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("ACL", "SETUSER", "default", "on"),
    ("SWAPDB", "0", "1"),
    ("SET", "not-ours", "1"),
    ("GET", "not-ours"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("guarded"))
    give_users(stack)
    await stack.start()
    yield stack
    await stack.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def system(guarded: Stack) -> AsyncIterator[System]:
    async with open_system(guarded) as system:
        yield system


def user_of(stack: Stack, role: str) -> Redis:
    return Redis.from_url(with_login(stack.store.url, stack.store.credentials_of(role)))


async def test_every_channel_and_the_command_line_work_and_nothing_is_refused(system: System) -> None:
    stack = system.stack
    number = f"+1212555{uuid.uuid4().int % 10_000:04}"
    person = await system.person(
        roles=["admin"], groups=["ops"], email="ops@example.com", phone=number,
        devices=[{"platform": "ios", "token": uuid.uuid4().hex * 2}], preferences={"sms": True},
    )  # fmt: skip
    await system.publish("directory/oncall/disk", {"users": [person]})
    await system.publish("directory/category/billing", {"title": "Billing"})
    await system.publish("directory/tenant/acme", {"title": "Acme"})
    async with system.socket(person) as socket:
        alert = await system.publish("notifications/alerts/critical/disk", {"message": "disk full"})
        await socket.next("notification")
        await system.arrived(channel="email", to="ops@example.com")
        await system.arrived(channel="sms", to=number)
        await system.arrived(channel="push")
        assert alert.notification_id is not None
        status, _ = await system.call("POST", f"/v1/alerts/{alert.notification_id}/acknowledge", person)
        assert status == 204
        for topic in ("realtime/group/ops", "realtime/broadcast", "system/maintenance"):
            await system.publish(f"notifications/{topic}", {"message": "m"})
        await system.publish("notifications/system/status", {"message": "all is well"})
        await system.publish("notifications/email/send", {"to": "a@example.com", "subject": "s", "body": "b"})
        await system.publish("notifications/sms/send", {"phone": number, "message": "m"})
        await system.publish("directory/suppress/email", {"address": "b@example.com", "reason": "manual"})
        later = await system.publish(f"notifications/realtime/user/{person}", {"message": "m", "ttl_s": 60})
        assert later.notification_id is not None
        await system.in_inbox(person, later.notification_id)
        await system.publish("notifications/cancel/" + later.notification_id, {})
        for path in ("/v1/inbox/read-all", "/v1/tickets"):
            status, _ = await system.call("POST", path, person)
            assert status < 300
        billed = {"message": "m", "category": "billing", "tenant": "acme"}
        await system.publish(f"notifications/realtime/user/{person}", billed)
        choices = {"email": False, "categories": {"billing": {"email": True}}}
        status, _ = await system.call("PUT", "/v1/preferences", person, json=choices)
        assert status < 300
        await system.arrived(channel="email", to="a@example.com")
    command = CommandLine(stack.data, REDIS_URL=with_login(stack.store.url, stack.store.credentials_of("operator")))
    by_hand = ("--by", "ops")
    pausing = ("provider", "pause", "sms", "--reason", "a test", *by_hand)
    for arguments in (
        ("audit",), ("trace", alert.notification_id), ("dead-letters", "list"), pausing, ("provider", "list"),
        ("provider", "resume", "sms", *by_hand),
    ):  # fmt: skip
        ran = await command(*arguments)
        assert ran.status == 0, ran.err
    assert await refused(stack) == []


@pytest.mark.parametrize("role", STORE_ROLES)
async def test_no_user_reaches_beyond_carillons_own_commands_and_keys(guarded: Stack, role: str) -> None:
    async with user_of(guarded, role) as client:
        for command in NOBODY_MAY:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command)  # type: ignore[no-untyped-call]
        assert await client.ping()


@pytest.mark.parametrize(
    ("role", "key", "reads"),
    [
        ("email", Keys().user("user1") + ":record", True),
        ("email", number_key(Keys(), "+12125550100"), False),
        ("email", Keys().slots + ":owners", False),
        ("sms", Keys().user("user1") + ":record", True),
        ("sms", Keys().suppressed("email", "x"), False),
        ("push", number_key(Keys(), "+12125550100"), False),
        ("push", Keys().oncall, False),
        ("realtime", number_key(Keys(), "+12125550100"), False),
        ("realtime", Keys().rejected, False),
        ("realtime", Keys().categories, True),
        ("router", number_key(Keys(), "+12125550100"), False),
        # Who has paused what; nobody pauses another's.
        *((channel, Keys().providers + ":paused", True) for channel in ("email", "sms", "push")),
        *((service, Keys().providers + ":paused", False) for service in ("router", "realtime")),
    ],
)
async def test_what_is_anothers_is_read_only_or_out_of_reach(
    guarded: Stack, role: str, key: str, *, reads: bool
) -> None:
    async with user_of(guarded, role) as client:
        with pytest.raises(NoPermissionError):
            await client.hset(key, "field", "value")
        if reads:
            assert await client.exists(key) in (0, 1)
        else:
            with pytest.raises(NoPermissionError):
                await client.exists(key)
