"""``carillon up``: the whole system on this machine, with sample people, until Ctrl-C.

Promises that a busy port is named before anything starts, and that no process is left when it has ended. A second run
on the same data folder continues. The people are loaded once, so later changes to them stay.
"""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import aiohttp
import jwt
import redis.asyncio

from carillon.local.child import Child, ChildFailed
from carillon.local.first_steps import SAMPLE_USER, client_snippets, send_examples
from carillon.local.log_view import LogView, heading
from carillon.local.places import DATA_VARIABLE, DEFAULT_DATA
from carillon.local.ports import PORT_BASE_OPTION, PORT_OPTIONS, SERVICES, Ports, is_free
from carillon.local.prometheus import DASHBOARDS, local_prometheus, prometheus_url
from carillon.local.servers import ROOT
from carillon.local.stack import Stack
from carillon.local.supervisor import Supervisor
from services.push.webpush.allowed_hosts import BROWSER_PUSH_HOSTS
from shared.core.channels import WITHOUT_VARIABLE, Channel, read_without
from shared.core.errors import CarillonError
from shared.delivery import http_answer

SAMPLE_DIRECTORY = ROOT / "carillon" / "local" / "sample_directory.jsonl"
_LOADED = "carillon:sample_directory"

_REFUSED, _FAILED = 2, 1
_TOKEN_LIFETIME = timedelta(days=7)
_LOG_POLL_S = 0.2
# For a subscription of one browser at the sandbox.
_ANSWER_BYTES, _ANSWER_WITHIN_S = 16 * 1024, 10.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(*, data: Path = DEFAULT_DATA, ports: Ports | None = None, embedded: bool = False, as_json: bool = False) -> int:
    """Run the whole system until SIGINT, SIGTERM or SIGHUP, and return the exit status.

    Args:
        data: folder for everything that lasts.
        ports: where to listen.
        embedded: take the embedded broker and store even where mosquitto and redis-server are installed.
        as_json: print an object a line, for a program.

    Returns:
        0 when it was told to end, 1 when a part could not be kept running, 2 when it could not begin.
    """
    ports = ports or Ports()
    if problems := _port_problems(ports):
        sys.stderr.write("".join(f"carillon: {problem}\n" for problem in problems))
        return _REFUSED
    asked = os.environ.get(WITHOUT_VARIABLE, "")
    try:
        without = read_without(asked)
    except ValueError as error:
        sys.stderr.write(f"carillon: {WITHOUT_VARIABLE}: {error}\n")
        return _REFUSED
    try:
        # Folders that are made here hold keys.
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        stack = Stack(
            data,
            ports=ports,
            embedded=embedded or None,
            settings={WITHOUT_VARIABLE: asked} if without else None,
            services=[service for service in SERVICES if service not in without],
            browser_push_hosts=BROWSER_PUSH_HOSTS,
            console=True,
        )
    except (CarillonError, OSError) as error:
        sys.stderr.write(f"carillon: {error}\n")
        return _REFUSED
    return asyncio.run(_Run(stack, sys.stdout, as_json=as_json).until_told_to_stop())


def _port_problems(ports: Ports) -> list[str]:
    """Return what is wrong with the ports, a line for each, nothing when they can be used."""
    seen: dict[int, str] = {}
    problems: list[str] = []
    for choice in PORT_OPTIONS:
        first: int = getattr(ports, choice.field)
        count = len(SERVICES) if choice.field == "ops_base" else 1
        for port in range(first, first + count):
            if port in seen:
                problems.append(f"port {port} is asked for twice, by {seen[port]} and {choice.option}")
            elif not is_free(port):
                problems.append(
                    f"port {port} ({choice.purpose}) cannot be used, probably because something listens on it; "
                    f"choose another with {choice.option} or {choice.variable}"
                )
            seen.setdefault(port, choice.option)
    if len(problems) > 1:
        problems.append(f"or move all ports at once with {PORT_BASE_OPTION}")
    return problems


class _Run:
    """One run of a stack in front of a person."""

    def __init__(self, stack: Stack, out: TextIO, *, as_json: bool) -> None:
        self._stack = stack
        self._out = out
        self._as_json = as_json
        self._colour = out.isatty() and "NO_COLOR" not in os.environ
        self._told_to_stop = asyncio.Event()
        self._prometheus: Child | None = None

    async def until_told_to_stop(self) -> int:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            if await self._unless_told_to_stop(self._start()):
                await self._unless_told_to_stop(self._follow())
        except ChildFailed as failed:
            self._say(f"{failed}. Its last lines:")
            for line in failed.last_lines:
                self._say(f"    {line}")
            return _FAILED
        except CarillonError as error:
            self._say(f"carillon: {error}")
            return _FAILED
        finally:
            self._say("stopping: console, services, sandbox, broker, store")
            if self._prometheus:
                await self._prometheus.stop()
            await self._stack.stop()
        self._say("stopped")
        return 0

    def _on_signal(self) -> None:
        if self._told_to_stop.is_set():
            # At the second signal it does not wait any longer.
            for child in (*self._stack.children, *filter(None, [self._prometheus])):
                child.end_now()
        self._told_to_stop.set()

    async def _unless_told_to_stop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do the work and return whether it ended before the stop was asked for."""
        working = asyncio.create_task(work, name="work")
        stopping = asyncio.create_task(self._told_to_stop.wait(), name="wait for a signal")
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            working.result()
            return True
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return False

    async def _start(self) -> None:
        await self._stack.start(self._say)
        await self._load_people()
        await self._start_prometheus()
        self._welcome(await self._sign_in_link())

    async def _follow(self) -> None:
        followed = [child for child in self._stack.children if child not in (self._stack.broker, self._stack.store)]
        files = [(child.name, child.log) for child in followed]
        view = LogView(files, colour=self._colour, as_json=self._as_json)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._show(view), name="show logs")
                tasks.create_task(Supervisor(self._stack, self._say).watch(), name="watch processes")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _show(self, view: LogView) -> None:
        while True:
            news = "\n".join(view.news())
            if news:
                self._print(news)
            await asyncio.sleep(_LOG_POLL_S)

    async def _start_prometheus(self) -> None:
        targets = {service: self._stack.ops_url(service) for service in self._stack.services}
        self._prometheus = local_prometheus(self._stack.data, self._stack.ports.prometheus, targets)
        if self._prometheus is None:
            return
        try:
            await self._prometheus.start()
        except ChildFailed as failed:
            # The system works without it.
            self._say(f"{failed}; its log is {self._prometheus.log}")
            self._prometheus = None

    async def _load_people(self) -> None:
        # Remembered in the store itself, because the folder may have another store than the last time.
        async with redis.asyncio.from_url(self._stack.store.url) as store:
            if await store.exists(_LOADED):
                return
            await self._import_people()
            await store.set(_LOADED, 1)

    async def _import_people(self) -> None:
        people = self._stack.data / "sample_directory.jsonl"
        people.write_text(await self._people())
        await self._command("directory", "import", str(people))
        self._say(f"people: {people}")

    async def _people(self) -> str:
        """Return the sample directory with a browser's subscription at the sandbox put in."""
        records = [json.loads(line) for line in SAMPLE_DIRECTORY.read_text().splitlines()]
        async with aiohttp.ClientSession(self._stack.sandbox_url, raise_for_status=True) as session:
            for record in records:
                for device in record.get("devices", []):
                    if device.get("subscription") == "sandbox":
                        body = {"name": record["user_id"]}
                        async with session.post("/webpush/subscriptions", json=body) as answer:
                            read = await http_answer.whole(answer, _ANSWER_BYTES, _ANSWER_WITHIN_S)
                            device["subscription"] = json.loads(read)
        return "".join(json.dumps(record) + "\n" for record in records)

    async def _sign_in_link(self) -> str:
        """Make a link to the console, for the one who reads what this prints."""
        made = json.loads(await self._command("--json", "console", "link", "--for", "12h"))
        return str(made["sign_in"])

    async def _command(self, *words: str) -> str:
        """Run a command on the stack, and return what it prints.

        Raises:
            CarillonError: it did not do what it was asked to.
        """
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "carillon", *words),
            cwd=ROOT,
            env=self._stack.command_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await running.communicate()
        text = printed.decode(errors="replace").strip()
        if running.returncode:
            raise CarillonError(f"`carillon {' '.join(words)}` did not work: {text}")
        return text

    def _welcome(self, sign_in: str) -> None:
        stack = self._stack
        people = (SAMPLE_USER, "admin1") if Channel.REALTIME in stack.services else ()
        inbox = {user: f"{stack.realtime_url}/#token={_token(stack, user)}" for user in people}
        metrics = {name: f"{stack.ops_url(name)}/metrics" for name in stack.services}
        prometheus = f"{prometheus_url(stack.ports.prometheus)}/{DASHBOARDS}" if self._prometheus else None
        broker = stack.broker.url
        snippets = client_snippets(broker, stack.topic_prefix)
        if self._as_json:
            places = {
                "sign_in": sign_in, "console": f"{stack.console_url}/", "broker": broker, "inbox": inbox,
                "outbox": f"{stack.sandbox_url}/", "metrics": metrics,
                "prometheus": prometheus, "data": str(stack.data),
                "publish": {snippet.name: snippet.command for snippet in snippets},
            }  # fmt: skip
            self._print(json.dumps({"message": "Carillon is up.", **places}))
            return
        prefix = "" if stack.data == DEFAULT_DATA else f"{DATA_VARIABLE}={shlex.quote(str(stack.data))} "
        lines = [
            "",
            heading("Carillon is up.", colour=self._colour),
            f"  console           {sign_in}",
            f"                    signs you in, once; another link: {prefix}carillon console link",
            *(f"  {f'inbox of {user}':<17} {url}" for user, url in inbox.items()),
            f"  outbox            {stack.sandbox_url}/",
            f"  broker            {broker}",
            *(f"  metrics {name:<9} {url}" for name, url in metrics.items()),
            *([f"  Prometheus        {prometheus}"] if prometheus else []),
            f"  logs and data     {stack.data}",
            "",
            heading("Try it, in another terminal:", colour=self._colour),
        ]
        for example in send_examples(prefix):
            lines += [f"  # {example.purpose}", f"  {example.command}"]
        lines += ["", heading("Or with another MQTT client:", colour=self._colour)]
        for snippet in snippets:
            # Only its first line is indented: inside the quotes every space counts.
            lines += [f"  # {snippet.purpose}", f"  {snippet.command}"]
        self._say("\n".join([*lines, "", "Ctrl-C stops everything.", ""]))

    def _say(self, text: str) -> None:
        self._print(json.dumps({"message": text}) if self._as_json else text)

    def _print(self, text: str) -> None:
        try:
            self._out.write(text + "\n")
            self._out.flush()
        except BrokenPipeError:
            # Nobody reads the output any more.
            self._told_to_stop.set()


def _token(stack: Stack, user_id: str) -> str:
    now = datetime.now(UTC)
    claims = {"sub": user_id, "iat": now, "exp": now + _TOKEN_LIFETIME}
    return jwt.encode(claims, stack.environment["REALTIME_JWT_SECRET"], algorithm="HS256")
