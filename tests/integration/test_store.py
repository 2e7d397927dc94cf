"""The store's calls against real servers: one round trip for many, and away is away in every way it can be."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from redis.exceptions import ResponseError

from carillon.local.ports import free_port
from carillon.local.servers import LocalServer
from shared.core.errors import StoreUnavailable
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import NewRecord, NewRow
from shared.store import call_queue as module
from shared.store.keys import Keys, new_notification_id
from shared.store.store import PIPELINE_LIMIT, Line, Script, Store, on_line
from tests.conftest import EmptyStore
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

NewStore = Callable[[], LocalServer]

# A script that shows whether it ran, and how often.
COUNT = Script("test_count", "return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest_asyncio.fixture
async def opened(store: EmptyStore) -> AsyncIterator[Store]:
    async with Store(store.url) as opened:
        yield opened


async def test_commands_and_scripts_answer_in_the_order_of_their_submission(opened: Store) -> None:
    futures = [opened.submit("RPUSH", "list", number) for number in range(PIPELINE_LIMIT * 2 + 1)]
    scripts = [opened.submit_script(COUNT, "count", 1) for _ in range(PIPELINE_LIMIT + 1)]
    assert await asyncio.gather(*futures) == list(range(1, PIPELINE_LIMIT * 2 + 2))
    assert await asyncio.gather(*scripts) == list(range(1, PIPELINE_LIMIT + 2))
    assert await opened.command("LRANGE", "list", 0, 2) == [b"0", b"1", b"2"]


async def test_what_is_submitted_together_travels_together(opened: Store, store: EmptyStore) -> None:
    await asyncio.gather(*(opened.submit("PING") for _ in range(200)))
    # On one connection, so that nothing overtakes.
    clients = (await opened.command("CLIENT", "LIST")).decode().splitlines()
    database = f"db={urlsplit(store.url).path[1:]} "
    assert sum(database in line for line in clients) == 1


@pytest.mark.parametrize(("held_up", "beside"), [(Line.USUAL, Line.URGENT), (Line.TASKS, Line.USUAL)])
async def test_a_line_waits_for_no_other(opened: Store, held_up: Line, beside: Line) -> None:
    with on_line(held_up):
        blocked, behind = opened.submit("BLPOP", "list", 0), opened.submit("PING")
    with on_line(beside):
        assert await opened.command("PING") == b"PONG"
        assert not blocked.done()
        assert not behind.done()
        await opened.command("RPUSH", "list", "x")
    assert await blocked == [b"list", b"x"]
    assert await behind == b"PONG"


async def test_a_wrong_command_fails_alone(opened: Store) -> None:
    await opened.command("SET", "text", "x")
    good, bad, also_good = opened.submit("PING"), opened.submit("INCR", "text"), opened.submit("GET", "text")
    with pytest.raises(ResponseError, match="not an integer"):
        await bad
    assert (await good, await also_good) == (b"PONG", b"x")


async def test_a_call_that_cannot_be_sent_fails_alone_and_the_next_ones_work(opened: Store) -> None:
    # Half of a pair of surrogates is no UTF-8.
    good, bad, also_good = opened.submit("PING"), opened.submit("SET", "a", "\ud800"), opened.submit("GET", "a")
    with pytest.raises(UnicodeEncodeError):
        await bad
    assert (await good, await also_good) == (b"PONG", None)
    await opened.ping()


async def test_a_caller_that_gave_up_disturbs_no_other(opened: Store) -> None:
    given_up, other = opened.submit("SET", "a", "1"), opened.submit("PING")
    given_up.cancel()
    assert await other == b"PONG"


async def test_a_script_that_the_store_forgot_is_loaded_again_and_runs_once(opened: Store) -> None:
    assert await opened.script(COUNT, "count", 1) == 1
    await opened.command("SCRIPT", "FLUSH")
    assert await asyncio.gather(*(opened.submit_script(COUNT, "count", 1) for _ in range(3))) == [2, 3, 4]


def record() -> NewRecord:
    notification = Notification(
        id=new_notification_id(1),
        kind="email_send",
        priority=Priority.LOW,
        accepted_ms=1,
        content=Content(title="t", message="m"),
    )
    delivery = Delivery(
        key="email:0",
        channel=Channel.EMAIL,
        priority=Priority.LOW,
        address=EmailAddress(email="user@example.com"),
        expires_ms=2**42,
    )
    return NewRecord(notification, [NewRow(delivery)])


# What a store says that stands and cannot take a write: out of memory, no replica is left, it has become a replica.
CANNOT_WRITE = {
    "full": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    "without replicas": (
        ["CONFIG", "SET", "min-replicas-to-write", "1"],
        ["CONFIG", "SET", "min-replicas-to-write", "0"],
    ),
    "a replica": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
}


async def test_a_store_that_cannot_take_writes_is_away_and_nothing_is_half_written(new_store: NewStore) -> None:
    server = new_store()
    await server.start()
    async with Store(server.url) as opened:
        ledger = Ledger(opened, Keys())
        for problem, (begin, end) in CANNOT_WRITE.items():
            written = record()
            await opened.command(*begin)
            for call in (ledger.accept(written), opened.command("SET", "a", "b"), opened.script(COUNT, "count", 1)):
                with pytest.raises(StoreUnavailable):
                    await call
            assert await opened.command("DBSIZE") == 0, problem
            await opened.command(*end)
            assert await ledger.accept(written) == (Verdict.ACCEPTED, written.notification.id)
            await opened.command("FLUSHDB")


async def test_a_store_that_is_busy_is_away(new_store: NewStore) -> None:
    server = new_store()
    await server.start()
    async with Store(server.url) as opened, Store(server.url) as other:
        await opened.command("CONFIG", "SET", "busy-reply-threshold", "1")
        endless = opened.submit_script(Script("test_endless", "while true do end"), "k")

        async def busy() -> bool:
            try:
                await other.ping()
            except StoreUnavailable:
                return True
            return False

        await eventually(busy)
        await other.command("SCRIPT", "KILL")
        with pytest.raises(ResponseError):
            await endless
        await other.ping()


async def test_whoever_comes_after_the_end_is_told(store: EmptyStore) -> None:
    for url in (store.url, f"redis+cluster://127.0.0.1:{store.server.port}"):
        async with Store(url) as opened:
            pass
        with pytest.raises(StoreUnavailable):
            await opened.ping()


async def test_an_absent_store_is_told_at_once(new_store: NewStore) -> None:
    async with Store(new_store().url) as opened:
        started = time.monotonic()
        for _ in range(10):
            with pytest.raises(StoreUnavailable):
                await opened.ping()
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("gently", [True, False])
async def test_a_store_that_restarts_is_back_with_all_it_had(new_store: NewStore, gently: bool) -> None:
    server = new_store()
    await server.start()
    async with Store(server.url) as opened:
        await opened.script(COUNT, "count", 5)
        await (server.stop() if gently else server.kill())
        found = await asyncio.gather(*(opened.submit("PING") for _ in range(3)), return_exceptions=True)
        assert {type(answer) for answer in found} == {StoreUnavailable}
        await server.start()
        # Nothing is left of the broken connection: the first call already gets through.
        assert await opened.script(COUNT, "count", 1) == 6


async def test_a_store_that_hangs_is_away_and_its_late_answers_belong_to_nobody(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOCKET_TIMEOUT_S", 0.2)
    server = new_store()
    await server.start()
    async with Store(server.url) as opened:
        await opened.command("SET", "a", "before")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        late = opened.submit("GET", "a")
        with pytest.raises(StoreUnavailable):
            await late
        os.kill(server.pid, signal.SIGCONT)
        assert await opened.command("INCR", "number") == 1
        assert await opened.command("GET", "a") == b"before"


class Garbler:
    """Passes on what a store and its clients say, and changes the next answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._change: Callable[[bytes], bytes] | None = None

    def change_next(self, change: Callable[[bytes], bytes]) -> None:
        self._change = change

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def answer() -> None:
            while data := await far_reader.read(65_536):
                change, self._change = self._change, None
                writer.write(change(data) if change else data)

        answering = asyncio.create_task(answer(), name="answers")
        try:
            while data := await reader.read(65_536):
                far_writer.write(data)
        finally:
            answering.cancel()
            far_writer.close()
            writer.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda _data: b"\x00\x01garbage\r\n",
        lambda data: b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + data,
        lambda data: data + b"+OK\r\n",
        lambda _data: b"$999999999999999999999\r\n",
    ],
    ids=["garbage", "another protocol", "an answer too many", "a length that is none"],
)
@pytest.mark.parametrize("calls", [1, 5])
async def test_an_answer_that_cannot_be_read_is_away_and_nothing_is_sent_again(
    store: EmptyStore, change: Callable[[bytes], bytes], calls: int
) -> None:
    garbler = Garbler(store.server.port)
    database = urlsplit(store.url).path
    async with await asyncio.start_server(garbler.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Store(f"redis://127.0.0.1:{port}{database}") as opened:
            assert await opened.script(COUNT, "count", 1) == 1
            garbler.change_next(change)
            answers = await asyncio.gather(
                *(opened.script(COUNT, "count", 1) for _ in range(calls)), return_exceptions=True
            )
            assert {type(answer) for answer in answers} == {StoreUnavailable}
            # Each ran once, and the next call has a connection on which nothing is left over.
            assert await opened.script(COUNT, "count", 1) == 1 + calls + 1


async def test_what_waits_for_a_store_that_is_away_is_bounded(
    new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 3 * 1024 * 1024)
    monkeypatch.setattr(module, "EXCHANGE_BYTES", 1024 * 1024)
    server = new_store()
    await server.start()
    assert server.pid is not None
    async with Store(server.url) as opened:
        await opened.command("SET", "a", "before")
        os.kill(server.pid, signal.SIGSTOP)
        value = "x" * 1024 * 1024
        futures = [opened.submit("SET", f"key-{number}", value) for number in range(10)]
        with pytest.raises(StoreUnavailable, match="TooMuchWaits"):
            await futures[-1]
        os.kill(server.pid, signal.SIGCONT)
        answers = await asyncio.gather(*futures, return_exceptions=True)
        assert answers[:3] == [b"OK"] * 3
        assert sum(isinstance(answer, StoreUnavailable) for answer in answers) >= 6
        assert await opened.command("GET", "a") == b"before"


async def test_a_cluster_serves_the_ledger(new_store: NewStore) -> None:
    """One node that owns every slot: it refuses a script that leaves its hash tag."""
    server = new_store()
    # Its bus would listen 10,000 above, where the system hands out ports to whoever connects.
    server.command += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    await server.start()
    async with Store(server.url) as node:
        await node.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        async def formed() -> bool:
            return b"cluster_state:ok" in await node.command("CLUSTER", "INFO")

        await eventually(formed)
    url = server.url.replace("redis://", "redis+cluster://").removesuffix("/0")
    async with Store(url) as opened:
        ledger = Ledger(opened, Keys())
        records = [record() for _ in range(20)]
        assert {verdict for verdict, _ in await asyncio.gather(*map(ledger.accept, records))} == {Verdict.ACCEPTED}
        assert (await open_work(ledger.store, ledger.keys))["email"].count == 20
        await opened.ping()
        async with Store(server.url) as node:
            await node.command("SCRIPT", "FLUSH")
        assert await ledger.cancel(records[0].notification.id) is not None
        with pytest.raises(ResponseError):
            await opened.command(
                "INCR", f"{Keys().shard_of(records[1].notification.id)}:n:{records[1].notification.id}"
            )
