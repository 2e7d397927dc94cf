"""The store and the ledger on a Sentinel set and on a cluster: what was answered outlives the loss of a master."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from carillon.local.child import Child
from carillon.local.ports import free_port
from carillon.local.servers import LocalServer, local_store
from shared.core.errors import StoreUnavailable
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority, State
from shared.directory.directory import Directory
from shared.directory.people import Person
from shared.ledger.audit import Audit, Depth
from shared.ledger.claims import Outcome
from shared.ledger.lanes import open_work
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import NewRecord, NewRow
from shared.store import call_queue
from shared.store.keys import SHARDS, Keys, new_notification_id
from shared.store.store import Script, Store
from shared.store.until_stored import until_stored
from tests.conftest import EmptyStore, need
from tests.redis_sets import ClusterSet, SentinelSet, Tls, ask
from tests.waiting import eventually

pytestmark = pytest.mark.real_store

COUNT = Script("test_count", "return redis.call('INCRBY', KEYS[1], ARGV[1])")

_LEASE = timedelta(seconds=30)


def record(shard: int) -> NewRecord:
    notification = Notification(
        id=new_notification_id(shard),
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


@pytest_asyncio.fixture
async def sentinel_set(tmp_path: Path) -> AsyncIterator[SentinelSet]:
    need("redis-server")
    servers = SentinelSet(tmp_path)
    try:
        await servers.start()
        yield servers
    finally:
        await servers.stop()


@pytest_asyncio.fixture
async def cluster_set(tmp_path: Path) -> AsyncIterator[ClusterSet]:
    need("redis-server")
    servers = ClusterSet(tmp_path)
    try:
        await servers.start()
        yield servers
    finally:
        await servers.stop()


@asynccontextmanager
async def accepting(ledger: Ledger, receipts: list[str]) -> AsyncIterator[None]:
    """Accept one notification after the other on every shard, and write down what was answered."""

    async def accept(shard: int) -> None:
        while True:
            new = record(shard)
            verdict, notification_id = await until_stored(lambda new=new: ledger.accept(new))  # type: ignore[misc]
            assert (verdict, notification_id) == (Verdict.ACCEPTED, new.notification.id)
            receipts.append(notification_id)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(accept(shard), name=f"accept-{shard}") for shard in range(SHARDS)]
        yield
        for task in tasks:
            task.cancel()


async def missing(store: Store, receipts: list[str]) -> list[str]:
    """Return what was answered and is not there."""
    names = [f"{Keys().shard_of(one)}:n:{one}" for one in receipts]
    there = await asyncio.gather(*(store.submit("EXISTS", name) for name in names))
    return [one for one, exists in zip(receipts, there, strict=True) if not exists]


async def grows(receipts: list[str], by: int) -> None:
    aim = len(receipts) + by
    await eventually(lambda: len(receipts) >= aim, within_s=30, what=f"{by} more receipts")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.name == call_queue.__name__]


async def test_a_lasting_write_is_answered_only_when_the_replica_has_it(
    sentinel_set: SentinelSet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_queue, "BACK_AFTER_S", 0.2)
    caplog.set_level(logging.INFO, call_queue.__name__)
    async with Store(sentinel_set.url, 1, 200) as store:
        ledger = Ledger(store, Keys())
        first, second = record(0), record(1)
        assert (await ledger.accept(first))[0] is Verdict.ACCEPTED
        await store.replicated()

        assert sentinel_set.replica.pid is not None
        os.kill(sentinel_set.replica.pid, signal.SIGSTOP)
        try:
            # The second try finds everything written; that is not on the replica, either.
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="TooFewReplicas"):
                    await ledger.accept(second)
            with pytest.raises(StoreUnavailable):
                await store.replicated()
            # What is not promised to anybody goes on.
            assert (await ledger.claim([(first.notification.id, "email:0")], _LEASE))[0].verdict == "claimed"
            await store.ping()
        finally:
            os.kill(sentinel_set.replica.pid, signal.SIGCONT)
        assert (await until_stored(lambda: ledger.accept(second)))[0] is Verdict.ACCEPTED

        async def is_back() -> bool:
            await store.replicated()
            return "store back" in said(caplog)

        await eventually(is_back)
    assert said(caplog) == ["store away", "store back"]


async def test_a_repeated_write_that_finds_everything_written_waits_too(tmp_path: Path) -> None:
    """WAIT alone would not: Valkey counts up to what the connection wrote last, and a new one has written nothing."""
    master = local_store(tmp_path / "master", free_port(), embedded=True)
    replica = local_store(tmp_path / "replica", free_port(), embedded=True)
    replica.command += ["--replicaof", f"127.0.0.1 {master.port}"]
    once = Script("test_once", "return redis.call('SETNX', KEYS[1], '')")
    try:
        await master.start()
        await replica.start()
        async with Store(master.url, 1, 200) as store:
            await until_stored(store.replicated)
            assert replica.pid is not None
            os.kill(replica.pid, signal.SIGSTOP)
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="TooFewReplicas"):
                    await store.script(once, "written", lasting=True)
            assert await store.command("EXISTS", "written")
    finally:
        await replica.kill()
        await master.kill()


async def test_without_a_wait_a_write_does_not_ask_for_replicas(sentinel_set: SentinelSet) -> None:
    await sentinel_set.replica.kill()
    async with Store(sentinel_set.url) as store:
        assert (await Ledger(store, Keys()).accept(record(0)))[0] is Verdict.ACCEPTED
        assert await ask(sentinel_set.master, "EXISTS", "carillon:{wait0}") == 0


async def test_what_was_answered_outlives_a_master_that_sentinels_replace(
    sentinel_set: SentinelSet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, call_queue.__name__)
    receipts: list[str] = []
    async with Store(sentinel_set.url, 1, 500) as store:
        ledger = Ledger(store, Keys())
        async with accepting(ledger, receipts):
            await grows(receipts, 200)
            await sentinel_set.master.kill()
            await sentinel_set.promoted()
            # Until the old master is back as a replica nobody has a copy, and nothing is answered.
            await sentinel_set.rejoin()
            await grows(receipts, 200)
        assert await missing(store, receipts) == []
        # The new master was given none of the scripts before.
        assert await store.script(COUNT, "count", 1) == 1
    assert said(caplog)[0] == "store away"
    assert len(said(caplog)) <= 2


async def test_a_master_that_was_demoted_is_left(sentinel_set: SentinelSet, caplog: pytest.LogCaptureFixture) -> None:
    """For a moment it does not know, and takes writes that nobody will ever see."""
    async with Store(sentinel_set.url, 1, 500) as store:
        await store.command("SET", "a", 1, lasting=True)
        await ask(sentinel_set.sentinels[0], "SENTINEL", "FAILOVER", "primary")
        await sentinel_set.promoted()
        async with asyncio.TaskGroup() as group:
            group.create_task(until_stored(lambda: store.command("SET", "a", 2, lasting=True)), name="write")
            await eventually(lambda: said(caplog) == ["store away"])
            await sentinel_set.rejoin()
        assert await ask(sentinel_set.master, "GET", "a") == b"2"


async def test_sentinels_that_are_away_are_passed_over(sentinel_set: SentinelSet) -> None:
    for sentinel in sentinel_set.sentinels[:2]:
        await sentinel.kill()
    async with Store(sentinel_set.url) as store:
        async with asyncio.timeout(30):
            await store.ping()


async def test_a_cluster_serves_ledger_directory_and_audit(cluster_set: ClusterSet) -> None:
    async with Store(cluster_set.url, 1) as store:
        ledger, directory, keys = Ledger(store, Keys()), Directory(store, Keys()), Keys()
        records = [record(number % SHARDS) for number in range(64)]
        assert {verdict for verdict, _ in await asyncio.gather(*map(ledger.accept, records))} == {Verdict.ACCEPTED}
        per_master = [await ask(master, "DBSIZE") for master in cluster_set.masters]
        assert all(per_master), "each master has a part of it"
        claims = await ledger.claim([(one.notification.id, "email:0") for one in records[:32]], _LEASE)
        assert {claim.verdict for claim in claims} == {"claimed"}
        ended = await asyncio.gather(*(ledger.finish(claim, Outcome(State.DELIVERED)) for claim in claims))
        assert set(ended) == {"finished"}
        assert (await open_work(ledger.store, ledger.keys))["email"].count == 32

        people = [Person(user_id=f"user{number}", groups=["ops"]) for number in range(100)]
        await asyncio.gather(*map(directory.put, people))
        everybody = [user_id for part in directory.everybody() for user_id in await directory.page(part, "", 1000)]
        assert sorted(everybody) == sorted(await directory.page(directory.group("ops"), "", 1000))
        assert len(await directory.people(everybody)) == 100

        report = await Audit(store, keys, 600).run(timedelta(hours=1), Depth.RECORDS)
        assert not report.findings
        assert report.records_seen == 64


async def test_what_was_answered_outlives_a_master_of_a_cluster(
    cluster_set: ClusterSet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, call_queue.__name__)
    receipts: list[str] = []
    async with Store(cluster_set.url, 1, 500) as store:
        ledger = Ledger(store, Keys())
        async with accepting(ledger, receipts):
            await grows(receipts, 200)
            await cluster_set.masters[0].kill()
            await cluster_set.promoted(0)
            await cluster_set.rejoin(0)
            # Every shard again, those of the promoted one included.
            before = len(receipts)
            await eventually(
                lambda: len({one[15:18] for one in receipts[before:]}) == SHARDS, within_s=30, what="every shard"
            )
        assert await missing(store, receipts) == []
        await store.replicated()
    assert said(caplog)[0] == "store away"
    assert len(said(caplog)) <= 2


@asynccontextmanager
async def running(servers: SentinelSet | ClusterSet) -> AsyncIterator[None]:
    try:
        await servers.start()
        yield
    finally:
        await servers.stop()


@contextmanager
def stopped(*children: Child) -> Iterator[None]:
    """Let processes hang."""
    pids = [pid_of(child) for child in children]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def pid_of(child: Child) -> int:
    assert child.pid is not None
    return child.pid


async def ports_of_clients(servers: SentinelSet | ClusterSet) -> set[int]:
    """Return the ports on which the servers that take writes have our connections."""
    masters = [servers.master] if isinstance(servers, SentinelSet) else servers.masters
    found: set[int] = set()
    for master in masters:
        lines = (await ask(master, "CLIENT", "LIST", "TYPE", "normal")).decode().splitlines()
        ours = [line for line in lines if " name= " in line and "cmd=client" not in line]
        found |= {int(part.rpartition(":")[2]) for line in ours for part in line.split() if part.startswith("laddr=")}
    return found


@pytest.mark.parametrize("kind", [SentinelSet, ClusterSet])
async def test_with_tls_a_failover_is_followed_and_nothing_goes_without(
    tmp_path: Path, kind: type[SentinelSet] | type[ClusterSet]
) -> None:
    tls = Tls(tmp_path / "tls")
    servers = kind(tmp_path / "servers", tls)
    async with running(servers), Store(servers.url, 1, 1000) as store:
        receipts: list[str] = []
        async with accepting(Ledger(store, Keys()), receipts):
            await grows(receipts, 100)
            plain = {child.port for child in servers.children if isinstance(child, LocalServer)}
            assert (ports := await ports_of_clients(servers))
            assert not ports & plain
            if isinstance(servers, SentinelSet):
                await servers.master.kill()
                await servers.promoted()
                await servers.rejoin()
            else:
                await servers.masters[0].kill()
                await servers.promoted(0)
                await servers.rejoin(0)
            await grows(receipts, 100)
        assert await missing(store, receipts) == []


async def test_two_that_ask_at_once_forget_no_sentinel(sentinel_set: SentinelSet) -> None:
    first, *others = sentinel_set.sentinels
    with stopped(first):
        async with Store(sentinel_set.url, 1, 1000) as store:
            # Each has a connection of its own, and asks the first one in vain.
            await asyncio.gather(store.command("SET", "a", "1"), store.command("SET", "b", "1", lasting=True))
            os.kill(pid_of(first), signal.SIGCONT)
            with stopped(*others):
                await ask(sentinel_set.master, "CLIENT", "KILL", "TYPE", "normal")
                async with asyncio.timeout(20):
                    await until_stored(lambda: store.submit("SET", "a", "2"))


@pytest.mark.parametrize("kind", [SentinelSet, ClusterSet])
async def test_with_tls_a_server_of_another_authority_is_not_spoken_to(
    tmp_path: Path, kind: type[SentinelSet] | type[ClusterSet]
) -> None:
    servers = kind(tmp_path / "servers", Tls(tmp_path / "tls"))
    stranger = Tls(tmp_path / "stranger")
    url = f"{servers.url.partition('?')[0]}?ssl_ca_certs={stranger.ca_file}"
    async with running(servers), Store(url) as store:
        with pytest.raises(StoreUnavailable):
            await store.command("SET", "a", "1")


async def test_a_server_that_is_none_of_a_cluster_says_so(store: EmptyStore) -> None:
    async with Store(f"redis+cluster://127.0.0.1:{store.server.port}") as opened:
        with pytest.raises(StoreUnavailable, match="cluster support disabled"):
            await opened.ping()


async def test_a_hanging_node_holds_up_its_own_calls_only(cluster_set: ClusterSet) -> None:
    async with Store(cluster_set.url) as store:
        names = [f"key{number}" for number in range(50)]
        await asyncio.gather(*(store.submit("SET", name, "x") for name in names))
        node = cluster_set.masters[1]
        assert node.pid is not None
        os.kill(node.pid, signal.SIGSTOP)
        try:
            asked = [asyncio.ensure_future(store.submit("GET", name)) for name in names]
            done, waiting = await asyncio.wait(asked, timeout=0.5)
            assert {future.result() for future in done} == {b"x"}
            assert 0 < len(waiting) < len(names)
        finally:
            os.kill(node.pid, signal.SIGCONT)
        await asyncio.wait(waiting)


async def test_a_slot_that_moves_is_away_until_it_has_moved(cluster_set: ClusterSet) -> None:
    """A script that ran in between would see those of its keys only that are there already."""
    written = record(3)
    base = Keys().shard_of(written.notification.id)
    async with Store(cluster_set.url) as store:
        ledger = Ledger(store, Keys())
        await ledger.accept(written)
        slot = await ask(cluster_set.masters[0], "CLUSTER", "KEYSLOT", base)
        count = [await ask(master, "CLUSTER", "COUNTKEYSINSLOT", slot) for master in cluster_set.masters]
        source = cluster_set.masters[count.index(max(count))]
        target = next(master for master in cluster_set.masters if master is not source)
        names = [(await ask(node, "CLUSTER", "MYID")).decode() for node in (source, target)]
        await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])

        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await ledger.accept(written)
        # The rest goes on.
        assert (await ledger.accept(record(4)))[0] is Verdict.ACCEPTED

        for key in await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            await ask(source, "MIGRATE", "127.0.0.1", target.port, key.decode(), 0, 5000)
        for master in (target, source, *cluster_set.masters):
            await ask(master, "CLUSTER", "SETSLOT", slot, "NODE", names[1])
        found = await until_stored(lambda: ledger.claim([(written.notification.id, "email:0")], _LEASE))
        assert found[0].verdict == "claimed"
        assert await ask(target, "CLUSTER", "COUNTKEYSINSLOT", slot) > 0
