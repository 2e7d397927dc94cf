"""Starts our own programs in a hundredth of a second instead of one: forked from a process that has imported them.

Importing takes a service most of a second of processor time, and the tests start hundreds. ``tests.warm_server`` does
it once for each process of pytest. What is forked is a process like any other, with its own environment, files, group
and exit status. Everything else is started as always: other programs, and on systems that are not Linux everything.

A program that is started within ``from_scratch`` begins as an interpreter of its own: where its memory is looked at,
or its start is what the test is about.
"""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from carillon.local import child
from carillon.local.child import Running
from carillon.local.ports import SERVICES
from carillon.local.servers import ROOT

_SERVICES = tuple(f"services.{service}" for service in SERVICES)
_PROGRAMS = ("carillon", "sandbox", "tests.chaos.publishing", *_SERVICES)
# These act on an interpreter when it begins.
_FOR_INTERPRETERS = ("PYTHON", "LD_")
_POLL_S = 0.01
_ANSWER_BYTES = 64

_start_cold = child.start_process


class _Server:
    """One end of the socket to a process that forks others; it ends when the socket is closed."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control

    def fork(self, order: Mapping[str, object], *files: int) -> int:
        """Have a process made, and return its id."""
        socket.send_fds(self.control, [json.dumps(order).encode()], files)
        answer = self.control.recv(_ANSWER_BYTES)
        if not answer:
            raise RuntimeError("tests.warm_server has ended; what it said is on standard error")
        return int(answer)


class _Servers:
    """The server that has imported what all programs share, and that of each program."""

    def __init__(self) -> None:
        control, theirs = _pair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "tests.warm_server", str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._first = _Server(control)
        self._of: dict[str, _Server] = {}

    def of(self, program: str) -> _Server:
        if program not in self._of:
            control, theirs = _pair()
            with theirs:
                self._first.fork({"serve": program}, theirs.fileno())
            self._of[program] = _Server(control)
        return self._of[program]

    def end(self) -> None:
        for server in (*self._of.values(), self._first):
            server.control.close()
        self._process.wait()


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class WarmProcess:
    """A forked process, as ``subprocess.Popen`` shows one."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when it has ended."""
        if (status := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            # It may end meanwhile, and the server leaves no zombie.
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _look(self, within_s: float | None) -> int | None:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            if poll.poll(None if within_s is None else within_s * 1000):
                # Nothing was written when the server is gone, and then the process is too.
                self.returncode = int(os.read(self._status, _ANSWER_BYTES) or -signal.SIGKILL)
                os.close(self._status)
        return self.returncode


_servers: _Servers | None = None
_cold = 0


@contextmanager
def from_scratch() -> Iterator[None]:
    """Start programs as new interpreters."""
    global _cold  # noqa: PLW0603 - it is that of the whole process
    _cold += 1
    try:
        yield
    finally:
        _cold -= 1


def stop() -> None:
    """End the servers at the end of the tests."""
    global _servers  # noqa: PLW0603 - they are those of the whole process
    if _servers is not None:
        _servers.end()
        _servers = None


async def run(
    command: Sequence[str], standard: Sequence[IO[bytes]], environment: Mapping[str, str], within_s: float
) -> int:
    """Run a program in the repository's root with its standard input, output and error; return its exit status."""
    process = _fork(command, standard, environment) or _popen(command, standard, environment)
    try:
        async with asyncio.timeout(within_s):
            while (status := process.poll()) is None:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(_POLL_S)
            return status
    finally:
        process.kill()
        process.wait()


def _popen(
    command: Sequence[str], standard: Sequence[IO[bytes]], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    given, out, err = standard
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=given, stdout=out, stderr=err)  # noqa: S603 - ours


def _fork(
    command: Sequence[str],
    standard: Sequence[IO[bytes]],
    environment: Mapping[str, str],
    *,
    own_session: bool = False,
    orphan_signal: signal.Signals = signal.SIGKILL,
) -> WarmProcess | None:
    """Return a fork of the server that is this program, None for what has to begin as an interpreter."""
    global _servers  # noqa: PLW0603 - they are those of the whole process
    if sys.platform != "linux" or _cold or list(command[:2]) != [sys.executable, "-m"] or command[2] not in _PROGRAMS:
        return None
    if _for_interpreter(environment) != _for_interpreter(os.environ):
        return None
    if _servers is None:
        _servers = _Servers()
    order = {
        "program": command[2],
        "arguments": command[3:],
        "environment": dict(environment),
        "own_session": own_session,
        "orphan_signal": int(orphan_signal),
    }
    status, theirs = os.pipe()
    try:
        pid = _servers.of(command[2]).fork(order, *(each.fileno() for each in standard), theirs)
    finally:
        os.close(theirs)
    return WarmProcess(pid, status)


def start_process(
    command: Sequence[str],
    output: BinaryIO,
    *,
    environment: Mapping[str, str],
    working_folder: Path | None,
    orphan_signal: signal.Signals,
) -> Running:
    """Do what ``carillon.local.child.start_process`` does, faster where that is possible."""
    if working_folder == ROOT:
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - not a file on disk
            warm = _fork(
                command,
                (nothing, output, output),
                environment,
                own_session=True,
                orphan_signal=orphan_signal,
            )
        if warm is not None:
            return warm
    return _start_cold(
        command, output, environment=environment, working_folder=working_folder, orphan_signal=orphan_signal
    )


def _for_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    # Stack sets it for all that it starts, and the server has it.
    ours = {name: value for name, value in environment.items() if name.startswith(_FOR_INTERPRETERS)}
    return ours | {"PYTHONUNBUFFERED": "1"}
