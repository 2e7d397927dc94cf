"""``carillon up`` as people run it: its output, its exit status, and what is left when it ends."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest
import pytest_asyncio
from click.testing import CliRunner

from carillon.commands.up import up as up_command
from carillon.local.child import Child, ChildFailed
from carillon.local.first_steps import client_snippets
from carillon.local.ports import (
    LOOPBACK,
    PORT_OPTIONS,
    PORTS_IN_A_ROW,
    SERVICES,
    PortOption,
    Ports,
    free_port,
    is_free,
)
from carillon.local.servers import ROOT, find_server
from carillon.local.system import up
from tests.waiting import eventually

# Seven processes start one after the other and side by side; the machine may be busy.
_UP_WITHIN_S = 90.0


@pytest.fixture
def ports() -> Ports:
    return Ports.free()


def command(data: Path, ports: Ports) -> list[str]:
    options = (part for choice in PORT_OPTIONS for part in (choice.option, str(getattr(ports, choice.field))))
    embedded = ["--embedded"] if os.environ.get("CARILLON_EMBEDDED") == "1" else []
    return [sys.executable, "-m", "carillon", "up", "--data", str(data), *options, *embedded]


@pytest_asyncio.fixture
async def run_up(tmp_path: Path, ports: Ports) -> AsyncIterator[Callable[..., Child]]:
    runs: list[Child] = []

    def describe(*options: str) -> Child:
        log = tmp_path / f"up-{len(runs)}.log"

        async def ready() -> bool:
            return "Carillon is up." in log.read_text()

        started = [*command(tmp_path / "data", ports), *options]
        runs.append(Child("up", started, log=log, ready=ready, working_folder=ROOT, grace_s=60))
        return runs[-1]

    yield describe
    for run in runs:
        await run.stop()


def nothing_is_left(ports: Ports) -> bool:
    return all(is_free(port) for port in ports.all())


async def watched(session: aiohttp.ClientSession, ports: Ports) -> bool:
    async with session.get(f"http://{LOOPBACK}:{ports.prometheus}/api/v1/targets") as answer:
        targets = (await answer.json())["data"]["activeTargets"]
    return {target["labels"]["service"] for target in targets} == set(SERVICES)


async def interrupted(run: Child) -> int | None:
    assert run.pid is not None
    os.kill(run.pid, signal.SIGINT)
    await eventually(lambda: not run.alive, within_s=60)
    return run.exit_status


@pytest.mark.parametrize("choice", PORT_OPTIONS, ids=lambda choice: choice.field)
def test_a_busy_port_is_named_with_the_option_that_changes_it(choice: PortOption, tmp_path: Path, ports: Ports) -> None:
    port = getattr(ports, choice.field)
    with socket.create_server((LOOPBACK, port)):
        ended = subprocess.run(  # noqa: S603 - our own command
            command(tmp_path, ports), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert f"port {port} " in line
    assert choice.option in line
    assert not (tmp_path / "logs").exists()


def test_all_busy_ports_are_named_at_once_and_what_moves_them_together(tmp_path: Path, ports: Ports) -> None:
    with (
        socket.create_server((LOOPBACK, ports.mqtt)),
        socket.create_server((LOOPBACK, ports.ops("sms"))),
        socket.create_server((LOOPBACK, ports.smtp)),
    ):
        ended = subprocess.run(  # noqa: S603 - our own command
            command(tmp_path, ports), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    assert ended.returncode == 2
    *lines, hint = ended.stderr.splitlines()
    named = [re.match(r"carillon: port (\d+) .* choose another with (\S+) or", line) for line in lines]
    assert [found and (int(found[1]), found[2]) for found in named] == [
        (ports.mqtt, "--mqtt-port"), (ports.smtp, "--smtp-port"), (ports.ops("sms"), "--ops-port-base"),
    ]  # fmt: skip
    assert hint == "carillon: or move all ports at once with --port-base"


def test_a_base_moves_every_port_but_those_that_are_given_by_themselves(tmp_path: Path) -> None:
    base = free_port(in_a_row=PORTS_IN_A_ROW)
    moved = Ports.from_base(base)
    assert moved.all() == set(range(base, base + PORTS_IN_A_ROW))
    asked = [sys.executable, "-m", "carillon", "up", "--data", str(tmp_path), "--port-base", str(base)]
    with socket.create_server((LOOPBACK, 0)) as server:
        own = server.getsockname()[1]
        with contextlib.ExitStack() as stack:
            for port in moved.all() - {moved.http}:
                stack.enter_context(socket.create_server((LOOPBACK, port)))
            ended = subprocess.run(  # noqa: S603 - our own command
                [*asked, "--http-port", str(own)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
            )
    named = {int(port) for port in re.findall(r"port (\d+) ", ended.stderr)}
    assert named == moved.all() - {moved.http} | {own}


def test_the_help_tells_the_order_of_the_ports() -> None:
    shown = CliRunner().invoke(up_command, ["--help"], terminal_width=500).output
    assert "N mqtt, N+1 redis, N+2 http, N+3 sandbox, N+4 smtp, N+5 apns, N+6 sms callback, N+7 prometheus" in shown
    assert "N+8 console, N+9 to N+13 ops (router, email, sms, push, realtime)" in shown
    assert Ports.from_base(100) == Ports(
        mqtt=100,
        redis=101,
        http=102,
        sandbox=103,
        smtp=104,
        apns=105,
        sms_callback=106,
        prometheus=107,
        console=108,
        ops_base=109,
    )


def test_a_port_that_is_asked_for_twice_is_refused(
    tmp_path: Path, ports: Ports, capsys: pytest.CaptureFixture[str]
) -> None:
    assert up(data=tmp_path, ports=replace(ports, smtp=ports.ops("sms"))) == 2
    assert "asked for twice, by --smtp-port and --ops-port-base" in capsys.readouterr().err


def test_a_channel_that_is_not_there_cannot_be_left_out(
    tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARILLON_WITHOUT", "smss")
    assert up(data=tmp_path, ports=ports) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("carillon: CARILLON_WITHOUT: must be channels")


@pytest.mark.timeout(300)
async def test_the_system_comes_up_goes_down_and_comes_up_again_with_its_data(
    run_up: Callable[..., Child], ports: Ports
) -> None:
    first = run_up()
    await first.start(_UP_WITHIN_S)
    printed = first.log.read_text()
    assert re.search(r"^broker: (mosquitto|rumqttd)", printed, re.MULTILINE)
    assert re.search(r"^people: ", printed, re.MULTILINE)
    found = re.search(r"(http://\S+)/#token=(\S+)", printed)
    assert found
    sign_in = re.search(rf"http://{LOOPBACK}:{ports.console}/sign-in\?link=\S+", printed)
    # Before anything else that is to be opened.
    assert sign_in
    assert sign_in.start() < found.start()
    assert f"broker            mqtt://{LOOPBACK}:{ports.mqtt}\n" in printed
    snippets = client_snippets(f"mqtt://{LOOPBACK}:{ports.mqtt}", "")
    assert all(f"\n  {snippet.command}\n" in printed for snippet in snippets)
    async with aiohttp.ClientSession() as session:
        for url in re.findall(r"http://\S+/metrics", printed):
            async with session.get(url) as answer:
                assert "carillon_" in await answer.text()
        async with session.get(sign_in[0]) as answer:
            assert "Sign in" in await answer.text()
        headers = {"Authorization": f"Bearer {found[2]}"}
        async with session.get(f"{found[1]}/v1/inbox", headers=headers) as answer:
            assert answer.status == 200
        if find_server("prometheus"):
            # It reads its list of targets some seconds after it is ready.
            await eventually(lambda: watched(session, ports), 30, "every service watched")
            dashboards = re.search(r"Prometheus +(http://\S+)", printed)
            assert dashboards
            async with session.get(dashboards[1]) as answer:
                page = await answer.text()
            (overview,) = re.findall(r'href="([^"]*)">Overview<', page)
            async with session.get(urljoin(dashboards[1], unescape(overview))) as answer:
                assert answer.status == 200
    assert await interrupted(first) == 0
    assert nothing_is_left(ports)

    second = run_up("--json")
    second.environment = os.environ | {"CARILLON_WITHOUT": "sms"}
    await second.start(_UP_WITHIN_S)
    assert is_free(ports.ops("sms"))
    assert "people: " not in second.log.read_text()
    assert await interrupted(second) == 0
    assert nothing_is_left(ports)
    said = [json.loads(line) for line in second.log.read_text().splitlines()]
    (places,) = (each for each in said if "inbox" in each)
    assert places["inbox"].keys() == {"user123", "admin1"}
    assert places["sign_in"].startswith(f"http://{LOOPBACK}:{ports.console}/sign-in?link=")
    assert places["broker"] == f"mqtt://{LOOPBACK}:{ports.mqtt}"
    assert places["publish"] == {snippet.name: snippet.command for snippet in snippets}
    assert places["metrics"]["router"] == f"http://{LOOPBACK}:{ports.ops('router')}/metrics"
    assert places["metrics"].keys() == {*SERVICES} - {"sms"}
    assert said[-1] == {"message": "stopped"}


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.timeout(200)
async def test_nothing_is_left_when_up_itself_is_killed(run_up: Callable[..., Child], ports: Ports) -> None:
    run = run_up()
    # Fewer processes start sooner, and end alike.
    run.environment = os.environ | {"CARILLON_WITHOUT": "realtime,sms,push"}
    await run.start(_UP_WITHIN_S)
    # There is no page that a link could lead to.
    assert "inbox of" not in run.log.read_text()
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    await eventually(lambda: nothing_is_left(ports), within_s=30, what="every port free again")


async def test_an_interrupted_start_leaves_nothing(run_up: Callable[..., Child], ports: Ports, tmp_path: Path) -> None:
    run = run_up()

    run.environment = os.environ | {"CARILLON_WITHOUT": "email,sms,push"}

    async def interrupt() -> None:
        await eventually(lambda: run.log.exists() and "sandbox: " in run.log.read_text(), within_s=60)
        assert run.pid is not None
        os.kill(run.pid, signal.SIGINT)

    interrupting = asyncio.create_task(interrupt(), name="interrupt")
    with pytest.raises(ChildFailed, match="ended at start with status 0"):
        await run.start(_UP_WITHIN_S)
    await interrupting
    assert nothing_is_left(ports)
    assert (tmp_path / "data" / "jwt_secret").exists()
