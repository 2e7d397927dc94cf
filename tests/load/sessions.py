"""What ten thousand sessions on one realtime process cost, and how fast a broadcast and a reconnect storm go."""

import asyncio
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carillon.local.stack import Stack
from shared.core.topics import Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.load.crowd import Member, connect_all, members
from tests.waiting import eventually

SETTINGS = {
    # One address stands for everybody here.
    "REALTIME_MAX_SESSIONS_PER_ADDRESS": "100000",
    "REALTIME_NEW_SESSIONS_PER_ADDRESS_PER_S": "100000",
    "ROUTER_PUSH_HOLD_S": "0",
}

# Broadcasts that are published while everybody is disconnected or reconnecting.
DURING_THE_STORM = 10

# Beside the sessions: connections to broker and store, logs, the interpreter's own.
_OTHER_FILES = 500

_TOPIC = Topics().publish(Kind.REALTIME_BROADCAST)


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """What was measured. The times run until the last of all clients."""

    sessions: int
    kib_per_session: float
    broadcast_s: float
    storm_s: float
    gaps: int
    wrong: int


def raise_file_limit(sessions: int) -> None:
    """Let this process, and those that it starts, open a file for each session.

    Raises:
        SystemExit: the hard limit is too low.
    """
    needed = sessions + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SystemExit(f"{needed} open files are needed and {hard} allowed: ulimit -n {needed}, or --sessions")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def measure_sessions(stack: Stack, sessions: int) -> SessionFigures:
    """Connect everybody to the stack's one realtime process, broadcast, cut everybody off, and let them reconnect."""
    pid = stack.child("realtime").pid
    crowd = members(sessions, stack.environment["REALTIME_JWT_SECRET"])
    # The first ones find caches cold and code not loaded.
    await connect_all(crowd[:100], stack.realtime_url)
    before_kib = _resident_kib(pid)
    await connect_all(crowd[100:], stack.realtime_url)
    idle_kib = _resident_kib(pid) - before_kib
    async with Broker(BrokerAddress.parse(stack.broker.url), "bench") as publisher:
        # Once to warm up.
        await _broadcast(publisher, "first")
        await _everybody(crowd, lambda member: len(member.ids) == 1)
        started_s = time.perf_counter()
        await _broadcast(publisher, "measured")
        await _everybody(crowd, lambda member: len(member.ids) == 2)
        broadcast_s = max(member.last_s for member in crowd) - started_s
        for member in crowd:
            member.cut()
        async with asyncio.TaskGroup() as group:
            returning = group.create_task(connect_all(crowd, stack.realtime_url), name="storm")
            for number in range(DURING_THE_STORM):
                await _broadcast(publisher, f"storm {number}")
        total = 2 + DURING_THE_STORM
        await _everybody(crowd, lambda member: len(member.ids) >= total)
    wanted = crowd[0].ids
    wrong = sum(1 for member in crowd if member.ids != wanted or len(set(member.ids)) != total)
    gaps = sum(member.gaps for member in crowd)
    for member in crowd:
        member.cut()
    return SessionFigures(sessions, idle_kib / (sessions - 100), broadcast_s, returning.result(), gaps, wrong)


async def _broadcast(publisher: Broker, message: str) -> None:
    await publisher.publish(_TOPIC, json.dumps({"message": message, "channels": ["realtime"]}))


async def _everybody(crowd: list[Member], has: Callable[[Member], bool]) -> None:
    await eventually(lambda: all(map(has, crowd)), within_s=60, what="everybody to be told")


def _resident_kib(pid: int | None) -> int:
    """Read a process's resident memory (proc(5), VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
