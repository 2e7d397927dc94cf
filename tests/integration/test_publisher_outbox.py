"""A publisher with an outbox, against brokers and routers that go away, and killed itself."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio
from click.testing import CliRunner, Result

from carillon.commands.send import send
from carillon.local.ports import free_port
from carillon.local.servers import ROOT, LocalServer
from carillon.local.stack import Stack
from carillon.publisher import IDEMPOTENCY_PROPERTY, NoReceipt, Publisher, Refused, Status
from carillon_publisher.outbox.outbox import KeyInUse, Outbox, OutboxFull, OutboxInUse, OutboxUnusable, State
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.packets import Incoming
from shared.store.keys import Keys, shard_of_key
from tests.command_line import CommandLine
from tests.fakes.clock import StandingClock
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]

TOPIC = "notifications/realtime/user/user123"
ACCEPTED = {"status": "accepted", "notification_id": "first", "accepted_at": "2026-01-05T09:00:00.123Z"}
REJECTED = {
    "status": "rejected",
    "error": {"code": "invalid_payload", "message": "One field is not valid.", "fields": [
        {"field": "message", "problem": "required"}
    ]},
}  # fmt: skip
# The machine may be busy.
WITHIN_S = 30.0

# Submits "k0", "k1", … and prints each key once its submit has returned.
SUBMITTING = """
import asyncio, sys
from pathlib import Path
from carillon.publisher import Publisher

async def main(url, file, count):
    async with Publisher(url, outbox=Path(file)) as publisher:
        async def one(number):
            key = await publisher.submit("notifications/realtime/user/user123", {"message": "a"}, f"k{number}")
            print(key, flush=True)
        for begin in range(0, count, 10):
            await asyncio.gather(*(one(number) for number in range(begin, begin + 10)))
        print("left", await publisher.flush(60), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""

# Fills a disk that takes 256 KiB a file, and goes on when there is room again.
ON_A_SMALL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from carillon_publisher.outbox.outbox import Outbox, OutboxUnusable

async def main(file):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    kept = 0
    async with Outbox(file) as outbox:
        try:
            while kept < 1000:
                await outbox.insert("a/b", bytes(5000), f"k{kept}")
                kept += 1
        except OutboxUnusable as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await outbox.insert("a/b", bytes(5000), "later")
    print(kept)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A broker, a store and a router."""
    system = Stack(tmp_path_factory.mktemp("outbox"), embedded=False, services=("router",))
    await system.start()
    yield system
    await system.stop()


@asynccontextmanager
async def played_router(url: str, prefix: str = "") -> AsyncIterator[Broker]:
    async with Broker(BrokerAddress.parse(url), f"router-{prefix.strip('/')}") as router:
        await router.subscribe(f"{prefix}notifications/#")
        yield router


async def take(router: Broker) -> Incoming:
    async with asyncio.timeout(WITHIN_S):
        (incoming,) = await router.take(1)
    router.ack(incoming)
    return incoming


async def answer(router: Broker, incoming: Incoming, receipt: object = ACCEPTED) -> None:
    assert incoming.response_topic is not None
    await router.publish(incoming.response_topic, json.dumps(receipt), correlation=incoming.correlation)


def key_of(incoming: Incoming) -> str | None:
    return incoming.user_property(IDEMPOTENCY_PROPERTY)


async def counts(file: Path) -> dict[str, int]:
    """What a file holds, by state; states without an entry are left out."""
    async with Outbox(file, create=False) as outbox:
        return {state.value: count for state, count in (await outbox.counts()).items() if count}


async def accepted_keys(stack: Stack) -> set[str]:
    """The idempotency keys that the ledger knows."""
    found = set()
    async with redis.asyncio.from_url(stack.store.url, decode_responses=True) as store:
        async for name in store.scan_iter("*:idem:*", count=1000):
            key = name.rpartition(":idem:")[2]
            assert name == f"{Keys().shard(shard_of_key(key))}:idem:{key}"
            found.add(key)
    return found


async def notifications(stack: Stack) -> int:
    """How many notifications stand in the ledger."""
    async with redis.asyncio.from_url(stack.store.url) as store:
        return len([name async for name in store.scan_iter("carillon:*:n:*", count=1000)])


async def test_what_is_submitted_while_the_broker_is_away_is_sent_when_it_comes(
    new_broker: Callable[[], LocalServer], file: Path
) -> None:
    own = new_broker()
    async with Publisher(own.url, outbox=file) as publisher:
        keys = [await publisher.submit(TOPIC, {"number": number}) for number in range(20)]
        with pytest.raises(NoReceipt, match="broker is away"):
            await publisher.publish(TOPIC, {"number": 20}, "k20", timeout_s=0.1)
        await own.start()
        async with played_router(own.url) as router:
            taken = [await take(router) for _ in range(21)]
            assert {key_of(incoming) for incoming in taken} == {*keys, "k20"}
            for incoming in taken:
                await answer(router, incoming)
            assert await publisher.flush(WITHIN_S) == 0
    assert await counts(file) == {}


async def test_a_receipt_lost_with_the_broker_is_asked_for_again_under_the_same_key(
    new_broker: Callable[[], LocalServer], file: Path
) -> None:
    own = new_broker()
    await own.start()
    async with Publisher(own.url, outbox=file) as publisher, asyncio.TaskGroup() as group:
        async with played_router(own.url) as router:
            publish = group.create_task(publisher.publish(TOPIC, {"message": "a"}, timeout_s=WITHIN_S))
            first = await take(router)
            await own.kill()
        await own.start()
        async with played_router(own.url) as router:
            again = await take(router)
            assert key_of(again) == key_of(first) is not None
            await answer(router, again, {"status": "duplicate", "notification_id": "first"})
            receipt = await publish
    assert (receipt.status, receipt.notification_id) == (Status.DUPLICATE, "first")
    assert receipt.sends > 1
    assert await counts(file) == {}


async def test_a_router_killed_between_publish_and_receipt_makes_one_notification(stack: Stack, file: Path) -> None:
    before = await notifications(stack)
    router = stack.child("router")
    async with Publisher(stack.broker.url, outbox=file) as publisher:
        assert (await publisher.publish(TOPIC, {"message": "first"}, timeout_s=WITHIN_S)).status is Status.ACCEPTED
        os.kill(router.pid or 0, signal.SIGSTOP)
        publishes = [
            asyncio.create_task(publisher.publish(TOPIC, {"message": "a"}, f"stopped-{number}", timeout_s=WITHIN_S))
            for number in range(20)
        ]
        resending = publisher._resending
        assert resending is not None
        await eventually(lambda: len(resending._in_hand) == 20, WITHIN_S, "all on their way")
        await router.kill()
        await stack.start_service("router")
        receipts = await asyncio.gather(*publishes)
    assert {receipt.status for receipt in receipts} <= {Status.ACCEPTED, Status.DUPLICATE}
    assert len({receipt.notification_id for receipt in receipts}) == 20
    assert await notifications(stack) == before + 21
    assert await counts(file) == {}


async def test_a_publisher_killed_in_the_middle_loses_nothing_and_repeats_nothing(stack: Stack, file: Path) -> None:
    before = await notifications(stack)
    command = [sys.executable, "-c", SUBMITTING, stack.broker.url, str(file), "500"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    submitted = [(await process.stdout.readline()).decode().strip() for _ in range(200)]
    process.kill()
    submitted += (await process.stdout.read()).decode().split()
    await process.wait()
    assert 200 <= len(submitted) < 500

    # Somebody else opens the file: whatever was submitted has been or is accepted.
    async with Publisher(stack.broker.url, outbox=file) as publisher:
        assert await publisher.flush(WITHIN_S) == 0
    missing = set(submitted) - await accepted_keys(stack)
    assert missing == set()

    # The program runs again from its beginning, with the keys that it had.
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert printed.decode().splitlines()[-1] == "left 0"
    assert {f"k{number}" for number in range(500)} <= await accepted_keys(stack)
    assert await notifications(stack) == before + 500
    assert await counts(file) == {}


async def test_a_refused_publish_is_kept_with_its_error_and_never_sent_again(
    broker: LocalServer, topic_prefix: str, file: Path
) -> None:
    async with played_router(broker.url, topic_prefix) as router:
        async with Publisher(broker.url, topic_prefix=topic_prefix, outbox=file) as publisher:
            publish = asyncio.create_task(publisher.publish(TOPIC, {"title": "a"}, "published", timeout_s=WITHIN_S))
            await answer(router, await take(router), REJECTED)
            with pytest.raises(Refused):
                await publish
            await publisher.submit(TOPIC, {"title": "a"}, "submitted")
            await answer(router, await take(router), REJECTED)
            assert await publisher.flush(WITHIN_S) == 0
        async with Publisher(broker.url, topic_prefix=topic_prefix, outbox=file) as publisher:
            await publisher.submit(TOPIC, {"message": "a"}, "other")
            incoming = await take(router)
            assert key_of(incoming) == "other"
            await answer(router, incoming)
            assert await publisher.flush(WITHIN_S) == 0
            assert router.waiting == 0
            refused = await publisher.outbox.refused()
            assert await publisher.outbox.drop("submitted")
    assert [entry.key for entry in refused] == ["published", "submitted"]
    assert refused[0].payload == b'{"title": "a"}'
    assert refused[0].error is not None
    assert (refused[0].error.code, refused[0].error.fields[0].field) == ("invalid_payload", "message")
    assert await counts(file) == {"refused": 1}


async def test_a_stale_entry_is_reported_and_not_sent(
    broker: LocalServer, topic_prefix: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Standing long ago.
    async with Outbox(file, clock=StandingClock()) as outbox:
        await outbox.insert(topic_prefix + TOPIC, b"{}", "sent", sending=True)
        await outbox.insert(topic_prefix + TOPIC, b"{}", "never")
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix, outbox=file) as publisher,
    ):
        incoming = await take(router)
        assert key_of(incoming) == "never"
        await answer(router, incoming)
        assert await publisher.flush(WITHIN_S) == 0
        assert router.waiting == 0
        with pytest.raises(KeyInUse, match="stale"):
            await publisher.submit(TOPIC, b"{}", "sent")
        (stale,) = await publisher.outbox.stale()
        assert (stale.key, stale.state) == ("sent", State.STALE)
    # asyncio warns in the same log of steps that were slow.
    ours = [record for record in caplog.records if record.name.startswith("carillon_publisher.")]
    assert [record.message for record in ours if record.levelname == "WARNING"] == ["publishes that are not sent again"]


async def test_a_publish_without_an_answer_keeps_back_no_other_and_its_late_receipt_counts(
    broker: LocalServer, topic_prefix: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carillon_publisher.publisher.RECEIPT_TIMEOUT_S", 0.2)
    async with (
        played_router(broker.url, topic_prefix) as router,
        Publisher(broker.url, topic_prefix=topic_prefix, outbox=file) as publisher,
    ):
        await publisher.submit(TOPIC, b"{}", "poison")
        poison = await take(router)
        for number in range(10):
            publish = asyncio.create_task(publisher.publish(TOPIC, b"{}", f"k{number}", timeout_s=WITHIN_S))
            while key_of(incoming := await take(router)) == "poison":
                pass
            await answer(router, incoming)
            assert (await publish).status is Status.ACCEPTED
        assert (await publisher.outbox.counts())[State.WAITING] == 1
        # The first send's receipt, after it was given up and sent again.
        await answer(router, poison)
        assert await publisher.flush(WITHIN_S) == 0
    assert await counts(file) == {}


async def test_where_nobody_listens_few_publishes_ask_and_all_are_sent_when_somebody_does(
    broker: LocalServer, topic_prefix: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carillon_publisher.publisher.OUTSTANDING", 20)
    keys = {f"k{number}" for number in range(100)}
    async with Publisher(broker.url, topic_prefix=topic_prefix, outbox=file) as publisher:
        await asyncio.gather(*(publisher.submit(TOPIC, b"{}", key) for key in keys))
        resending = publisher._resending
        assert resending is not None
        await eventually(lambda: resending._window < 20 and not resending._in_hand, WITHIN_S, "probing")
        # A short while of the probing, which is what must not become a loop.
        before = sum(waiting.sends for waiting in resending._waiting.values())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await resending._empty.wait()
        assert sum(waiting.sends for waiting in resending._waiting.values()) - before <= 8
        async with played_router(broker.url, topic_prefix) as router:
            seen: set[str | None] = set()
            while seen != keys:
                async with asyncio.timeout(WITHIN_S):
                    taken = await router.take(500)
                seen |= {key_of(incoming) for incoming in taken}
                for incoming in taken:
                    router.ack(incoming)
                await asyncio.gather(*(answer(router, incoming) for incoming in taken))
            assert await publisher.flush(WITHIN_S) == 0
    assert await counts(file) == {}


async def test_a_second_process_on_the_file_is_told(broker: LocalServer, topic_prefix: str, file: Path) -> None:
    async with Publisher(broker.url, topic_prefix=topic_prefix, outbox=file) as publisher:
        ran = await CommandLine(file.parent)("send", "--outbox", str(file), "--list")
        assert (ran.status, ran.error_line) == (2, f"carillon: {file} is used by another process")
        with pytest.raises(OutboxInUse):
            async with Publisher(broker.url, outbox=file):
                pass
        await publisher.submit(TOPIC, b"{}")
    assert await counts(file) == {"waiting": 1}


async def test_a_full_outbox_refuses_a_publish_and_sends_what_it_has(
    new_broker: Callable[[], LocalServer], file: Path
) -> None:
    own = new_broker()
    async with Publisher(own.url, outbox=file, outbox_limit=5) as publisher:
        for number in range(5):
            await publisher.submit(TOPIC, {"number": number})
        with pytest.raises(OutboxFull, match="5 waiting"):
            await publisher.submit(TOPIC, {"number": 5})
        with pytest.raises(OutboxFull):
            await publisher.publish(TOPIC, {"number": 5})
        await own.start()
        async with played_router(own.url) as router:
            for _ in range(5):
                await answer(router, await take(router))
            assert await publisher.flush(WITHIN_S) == 0
            await publisher.submit(TOPIC, {"number": 5})


async def test_a_full_disk_is_told_and_takes_nothing_that_was_there(file: Path) -> None:
    command = [sys.executable, "-c", ON_A_SMALL_DISK, str(file)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    problem, kept = printed.decode().splitlines()
    assert f"{file} cannot be used" in problem
    assert 0 < int(kept) < 100
    async with Outbox(file) as outbox:
        assert [entry.key async for entry in outbox.entries()] == [
            *(f"k{number}" for number in range(int(kept))),
            "later",
        ]


async def test_without_an_outbox_there_is_nothing_to_submit_to(broker: LocalServer) -> None:
    async with Publisher(broker.url) as publisher:
        with pytest.raises(ValueError, match="no outbox"):
            await publisher.submit(TOPIC, b"{}")
        with pytest.raises(ValueError, match="no outbox"):
            await publisher.flush()


async def test_what_no_broker_would_take_is_not_kept(broker: LocalServer, file: Path) -> None:
    async with Publisher(broker.url, outbox=file) as publisher:
        with pytest.raises(ValueError, match="topic"):
            await publisher.submit("a/+", b"{}")
        with pytest.raises(ValueError, match="larger"):
            await publisher.submit(TOPIC, bytes(2 * 1024 * 1024))
        with pytest.raises(ValueError, match="key"):
            await publisher.submit(TOPIC, b"{}", "a\x00b")
    assert await counts(file) == {}


async def test_leaving_ends_publishes_that_wait_and_keeps_them(
    broker: LocalServer, topic_prefix: str, file: Path
) -> None:
    async with played_router(broker.url, topic_prefix) as router:
        async with Publisher(broker.url, topic_prefix=topic_prefix, outbox=file) as publisher:
            publish = asyncio.create_task(publisher.publish(TOPIC, b"{}", timeout_s=WITHIN_S))
            await take(router)
        with pytest.raises(NoReceipt, match="closed"):
            await publish
    assert await counts(file) == {"waiting": 1}


async def test_a_damaged_file_is_told_before_anything_is_sent(broker: LocalServer, file: Path) -> None:
    await asyncio.to_thread(file.write_bytes, b"damaged" * 1000)
    with pytest.raises(OutboxUnusable, match="damaged"):
        async with Publisher(broker.url, outbox=file):
            pass


@pytest.fixture
def command(stack: Stack) -> CommandLine:
    return CommandLine(stack.data)


async def test_send_with_an_outbox_prints_the_receipt_and_keeps_nothing(command: CommandLine, file: Path) -> None:
    ran = await command.send(TOPIC, {"message": "Hello"}, "--outbox", str(file))
    assert (ran.status, ran.err, ran.out.split()[0]) == (0, "", "accepted")
    assert await counts(file) == {}


async def test_send_without_a_receipt_keeps_it_and_flush_sends_it(command: CommandLine, file: Path) -> None:
    away = {"MQTT_URL": f"mqtt://127.0.0.1:{free_port()}"}
    ran = await command.send(TOPIC, {"message": "a"}, "--outbox", str(file), "--timeout", "0.3s", settings=away)
    assert (ran.status, ran.out) == (3, "")
    assert ran.error_line.endswith(f"kept in {file}, send again with: carillon send --outbox {file} --flush")
    assert await counts(file) == {"waiting": 1}
    ran = await command("send", "--outbox", str(file), "--flush", "--timeout", "0.3s", settings=away)
    assert (ran.status, ran.out) == (3, "accepted 0, waiting 1, refused 0, stale 0\n")
    ran = await command("send", "--outbox", str(file), "--flush", "--timeout", "30s")
    assert (ran.status, ran.out, ran.err) == (0, "accepted 1, waiting 0, refused 0, stale 0\n", "")


def test_flush_lists_what_is_refused_until_it_is_dropped(stack: Stack, file: Path) -> None:
    async def fill() -> None:
        async with Outbox(file) as outbox:
            await outbox.insert(TOPIC, b'{"title": "secret"}', "wrong")
            await outbox.insert(TOPIC, b'{"message": "secret"}', "right")

    def ran(*arguments: str) -> Result:
        return CliRunner(env=stack.environment).invoke(send, ["--outbox", str(file), *arguments])

    asyncio.run(fill())
    flushed = ran("--flush", "--timeout", "30s")
    summary, _, row = flushed.stdout.splitlines()
    assert flushed.exit_code == 1
    assert summary == "accepted 1, waiting 0, refused 1, stale 0"
    assert row.split()[0] == "refused"
    assert "wrong" in row
    assert row.endswith("invalid_payload: One field is not valid. message: required")
    assert "secret" not in flushed.output

    again = ran("--flush", "--json")
    assert (again.exit_code, json.loads(again.stdout)["refused"][0]["error"]["code"]) == (1, "invalid_payload")
    assert ran("--drop", "wrong").exit_code == 0
    assert ran("--drop", "wrong").exit_code == 1
    empty = ran("--flush", "--json")
    assert empty.exit_code == 0
    assert json.loads(empty.stdout) == {"accepted": 0, "waiting": 0, "refused": [], "stale": []}


def test_list_shows_what_is_kept_without_what_it_says(file: Path) -> None:
    async def fill() -> None:
        async with Outbox(file, clock=StandingClock()) as outbox:
            await outbox.insert(TOPIC, b'{"message": "secret"}', "k")

    asyncio.run(fill())
    listed = CliRunner().invoke(send, ["--outbox", str(file), "--list"])
    assert [line.split() for line in listed.output.splitlines()] == [
        ["STATE", "WRITTEN", "KEY", "TOPIC", "WHY"],
        ["waiting", "2026-01-05T09:00:00.000Z", "k", TOPIC, "-"],
    ]
    (entry,) = json.loads(CliRunner().invoke(send, ["--outbox", str(file), "--list", "--json"]).output)
    assert entry == {
        "state": "waiting",
        "key": "k",
        "topic": TOPIC,
        "written_at": "2026-01-05T09:00:00.000Z",
        "first_sent_at": None,
        "deadline": None,
        "error": None,
    }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--flush", "need --outbox"),
        ("--outbox {file} --flush", "does not exist"),
        ("--outbox {file} --list", "does not exist"),
        ("--outbox {file} --drop k", "does not exist"),
        ("--outbox {file} --flush --list", "exclude each other"),
        ("--outbox {file} --flush a/b payload", "exclude each other"),
        ("--outbox {file}", "TOPIC"),
        ("--outbox {file} a/b", "PAYLOAD"),
    ],
)
def test_wrong_use_of_an_outbox_makes_no_file(file: Path, arguments: str, problem: str) -> None:
    result = CliRunner().invoke(send, arguments.format(file=file).split())
    assert result.exit_code == 2
    assert problem in result.output
    assert list(file.parent.iterdir()) == []
