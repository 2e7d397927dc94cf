"""What ``tests.warm_start`` forks is as an interpreter of its own would be."""

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import aiohttp
import pytest

from carillon.local.ports import SERVICES
from carillon.local.stack import Stack
from tests.command_line import CommandLine
from tests.warm_start import WarmProcess, from_scratch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")


async def test_a_command_prints_and_ends_as_one_that_is_started_from_scratch(tmp_path: Path) -> None:
    command = CommandLine(tmp_path)
    statuses = []
    for words in (["--version"], ["token", "user123"], ["no-such-command"]):
        with from_scratch():
            cold = await command(*words)
        assert await command(*words) == cold
        statuses.append(cold.status)
    assert statuses == [0, 2, 2]


async def test_each_service_shows_the_metrics_of_its_own(tmp_path: Path) -> None:
    shown: list[dict[str, set[str]]] = []
    for how in (nullcontext(), from_scratch()):
        stack = Stack(tmp_path / str(len(shown)))
        try:
            with how:
                await stack.start()
            async with aiohttp.ClientSession() as http:
                shown.append({service: await names(http, stack, service) for service in SERVICES})
        finally:
            await stack.stop()
    assert shown[0] == shown[1]


async def names(http: aiohttp.ClientSession, stack: Stack, service: str) -> set[str]:
    async with http.get(f"{stack.ops_url(service)}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {line.split()[2] for line in lines if line.startswith("# TYPE ")}


async def test_a_process_has_its_own_group_and_tells_how_it_ended(tmp_path: Path) -> None:
    stack = Stack(tmp_path, services=())
    try:
        await stack.start()
        pid = stack.sandbox.pid
        assert isinstance(stack.sandbox._running, WarmProcess)
        assert pid is not None
        assert os.getpgid(pid) == os.getsid(pid) == pid
        os.kill(pid, signal.SIGKILL)
        assert stack.sandbox._running.wait(30) == -signal.SIGKILL
        assert not stack.sandbox.alive
        await stack.start_sandbox()
        assert await stack.sandbox.stop() == 0
    finally:
        await stack.stop()
