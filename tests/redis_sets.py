"""Redis with high availability: a master with a replica and Sentinels, and a cluster.

Real processes in private folders on free loopback ports, with TLS beside the plain ports where a test asks for it.
Promises that when ``start`` returns, every part knows every other one and replicas follow. Failover is quick: a master
counts as dead after a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from carillon.local.child import Child
from carillon.local.ports import LOOPBACK, free_port
from carillon.local.servers import LocalServer, find_server, local_store
from sandbox.authority import make_authority, make_server
from tests.waiting import eventually

SERVICE = "primary"

_DEAD_AFTER_MS = 1000
_SLOTS = 16384

# The first copy is sent at once; by default a replica waits for others to join (redis.conf, repl-diskless-sync-delay).
_FOLLOW_AT_ONCE = ("--repl-diskless-sync-delay", "0")


async def ask(server: LocalServer, *command: str | int) -> Any:
    """Send one command to one server, whoever it is for."""
    async with Redis(host=LOOPBACK, port=server.port, protocol=2) as client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def info(server: LocalServer, section: str) -> dict[str, Any]:
    """Read one section of what a server says of itself; nothing when it does not answer."""
    try:
        async with Redis(host=LOOPBACK, port=server.port) as client:
            found: dict[str, Any] = await client.info(section)
            return found
    except (RedisError, OSError):
        return {}


async def follows(replica: LocalServer) -> bool:
    """Tell whether a replica has its master's data and follows it."""
    found = await info(replica, "replication")
    return found.get("master_link_status") == "up"


async def is_master(server: LocalServer) -> bool:
    """Tell whether a server takes writes."""
    return (await info(server, "replication")).get("role") == "master"


_given_out: set[int] = set()


def _port() -> int:
    """Return a free port that no other server of this process was given, for none of them may run yet."""
    port = free_port(_given_out)
    _given_out.add(port)
    return port


def _server(data: Path, *options: str | int) -> LocalServer:
    server = local_store(data, _port(), embedded=False)
    server.command += [*_FOLLOW_AT_ONCE, *map(str, options)]
    return server


class Tls:
    """A certificate authority, and a certificate of it for the loopback address, in files.

    Args:
        data: takes the files.
    """

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True)
        self.ca_file, ca_key_file = data / "ca.crt", data / "ca.key"
        self._key_file, self._chain_file = data / "tls.key", data / "tls.crt"
        for file, content in zip((ca_key_file, self.ca_file), make_authority(), strict=True):
            file.write_bytes(content)
        made = make_server(ca_key_file, self.ca_file, [LOOPBACK], also_client=True)
        for file, content in zip((self._key_file, self._chain_file), made, strict=True):
            file.write_bytes(content)

    @property
    def options(self) -> dict[str, str]:
        """What every server of a set is told, beside its port."""
        return {
            "tls-cert-file": str(self._chain_file),
            "tls-key-file": str(self._key_file),
            "tls-ca-cert-file": str(self.ca_file),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }


def _with_tls(server: LocalServer, tls: Tls | None) -> int:
    """Give a server a port with TLS, and return the one that the others of its set know it by."""
    if tls is None:
        return server.port
    port = _port()
    options = {**tls.options, "tls-port": str(port)}
    server.command += [part for name, value in options.items() for part in (f"--{name}", value)]
    return port


class SentinelSet:
    """A master, its replica, and three Sentinels that promote the replica when the master is gone.

    Args:
        data: takes the files of all of them.
        tls: with it clients, replicas and Sentinels meet on ports with TLS; the others are for the test.
    """

    def __init__(self, data: Path, tls: Tls | None = None) -> None:
        self._tls = tls
        self.master, self.replica = _server(data / "master"), _server(data / "replica")
        self._known_ports = {id(each): _with_tls(each, tls) for each in (self.master, self.replica)}
        self.replica.command += ["--replicaof", f"{LOOPBACK} {self._known_port(self.master)}"]
        self._sentinel_ports: list[int] = []
        self.sentinels = [self._sentinel(data / f"sentinel-{number}") for number in range(3)]
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self._sentinel_ports)
        self.url = (
            f"rediss+sentinel://{hosts}/{SERVICE}?ssl_ca_certs={tls.ca_file}"
            if tls
            else f"redis+sentinel://{hosts}/{SERVICE}"
        )

    def _known_port(self, server: LocalServer) -> int:
        return self._known_ports[id(server)]

    @property
    def children(self) -> list[Child]:
        """All processes."""
        return [self.master, self.replica, *self.sentinels]

    async def start(self) -> None:
        """Start everything."""
        await self.master.start()
        await self.replica.start()
        await eventually(partial(follows, self.replica), within_s=30, what="the replica following")
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))
        for sentinel in self.sentinels:
            await eventually(partial(_knows_all, sentinel), within_s=30, what="Sentinels that agree")

    async def stop(self) -> None:
        """End everything."""
        await asyncio.gather(*(child.kill() for child in reversed(self.children)))

    async def promoted(self) -> None:
        """Return when the replica has become the master, for every Sentinel."""
        for sentinel in self.sentinels:
            await eventually(
                partial(_names, sentinel, self._known_port(self.replica)), within_s=30, what="the promotion"
            )
        await eventually(partial(is_master, self.replica), within_s=30, what="the replica being master")

    async def rejoin(self) -> None:
        """Make the old master the new one's replica, and run it if it does not run.

        Without this, Sentinels take ten seconds for it.
        """
        await self.master.start()
        await ask(self.master, "REPLICAOF", LOOPBACK, self._known_port(self.replica))
        await eventually(partial(follows, self.master), within_s=30, what="the old master following")
        self.master, self.replica = self.replica, self.master

    def _sentinel(self, data: Path) -> LocalServer:
        port = _port()
        folder = data / "sentinel"
        folder.mkdir(parents=True)
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind {LOOPBACK}\ndir {folder}\n"
            f"sentinel monitor {SERVICE} {LOOPBACK} {self._known_port(self.master)} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {_DEAD_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        known_port = port
        if self._tls is not None:
            known_port = _port()
            options = {**self._tls.options, "tls-port": str(known_port)}
            with configuration.open("a") as file:
                file.writelines(f"{name} {value}\n" for name, value in options.items())
        self._sentinel_ports.append(known_port)
        return LocalServer(
            "store",
            [str(find_server("redis-server")), str(configuration), "--sentinel"],
            url=f"redis://{LOOPBACK}:{port}",
            version="Sentinel",
            folder=folder,
            log=data / "logs" / "sentinel.log",
            port=port,
        )


async def _knows_all(sentinel: LocalServer) -> bool:
    async with Redis(host=LOOPBACK, port=sentinel.port) as client:
        master: Any = await client.sentinel_master(SERVICE)
    known: tuple[int, int] = (master["num-slaves"], master["num-other-sentinels"])
    return known == (1, 2)


async def _names(sentinel: LocalServer, port: int) -> bool:
    _, found = await ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
    return int(found) == port


class ClusterSet:
    """Three masters that share the slots, with a replica each.

    Args:
        data: takes the files of all of them.
        tls: with it clients and nodes meet on ports with TLS; the others are for the test.
    """

    def __init__(self, data: Path, tls: Tls | None = None) -> None:
        nodes = [self._node(data / f"node-{number}") for number in range(6)]
        self.masters, self.replicas = nodes[:3], nodes[3:]
        self._known_ports = {id(node): _with_tls(node, tls) for node in nodes}
        seeds = ",".join(f"{LOOPBACK}:{self._known_ports[id(node)]}" for node in self.masters)
        self.url = f"redis+cluster://{seeds}"
        if tls is not None:
            for node in nodes:
                node.command += ["--tls-cluster", "yes"]
            self.url = f"rediss+cluster://{seeds}?ssl_ca_certs={tls.ca_file}"

    @property
    def children(self) -> list[LocalServer]:
        """All processes; the replica of each master stands three after it."""
        return [*self.masters, *self.replicas]

    async def start(self) -> None:
        """Start everything and form the cluster."""
        await asyncio.gather(*(node.start() for node in self.children))
        step = -(-_SLOTS // len(self.masters))
        for number, master in enumerate(self.masters):
            await ask(master, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            last = min((number + 1) * step, _SLOTS) - 1
            await ask(master, "CLUSTER", "ADDSLOTSRANGE", number * step, last)
        for node in self.children[1:]:
            await ask(self.masters[0], "CLUSTER", "MEET", LOOPBACK, self._known_ports[id(node)], _bus_port(node))
        await self._everybody(lambda node: _sees(node, len(self.children)), "nodes that know each other")
        for master, replica in zip(self.masters, self.replicas, strict=True):
            name = (await ask(master, "CLUSTER", "MYID")).decode()
            await ask(replica, "CLUSTER", "REPLICATE", name)
        for replica in self.replicas:
            await eventually(partial(follows, replica), within_s=30, what="replicas following")
        await self._everybody(_is_whole, "a cluster that is whole")

    async def stop(self) -> None:
        """End everything."""
        await asyncio.gather(*(node.kill() for node in reversed(self.children)))

    async def promoted(self, number: int) -> None:
        """Return when the replica of that master has taken its place, for every node that runs."""
        await eventually(partial(is_master, self.replicas[number]), within_s=30, what="the promotion")
        await self._everybody(_is_whole, "a cluster that is whole")

    async def rejoin(self, number: int) -> None:
        """Start a master that was replaced, as the replica of the one that replaced it."""
        await self.masters[number].start()
        await eventually(partial(follows, self.masters[number]), within_s=30, what="the old master following")
        self.masters[number], self.replicas[number] = self.replicas[number], self.masters[number]

    async def _everybody(self, condition: Callable[[LocalServer], Awaitable[bool]], what: str) -> None:
        for node in self.children:
            if node.alive:
                await eventually(partial(condition, node), within_s=30, what=what)

    @staticmethod
    def _node(data: Path) -> LocalServer:
        # Its nodes.conf is in its folder. The bus has a port of its own; by default it is 10,000 above.
        return _server(
            data,
            *("--cluster-enabled", "yes", "--cluster-port", _port()),
            *("--cluster-node-timeout", _DEAD_AFTER_MS, "--cluster-replica-validity-factor", 0),
        )


def _bus_port(node: LocalServer) -> str:
    return node.command[node.command.index("--cluster-port") + 1]


async def _sees(node: LocalServer, count: int) -> bool:
    lines = (await ask(node, "CLUSTER", "NODES")).decode().splitlines()
    return len(lines) == count and not any("handshake" in line for line in lines)


async def _is_whole(node: LocalServer) -> bool:
    found: bytes = await ask(node, "CLUSTER", "INFO")
    return b"cluster_state:ok" in found
