"""One child process: started, waited for, stopped by its process id.

Promises that ``start`` returns only when the child really answers, and that ``stop`` and ``kill`` return only when it
is gone. On Linux a child never outlives the process that started it. Other systems have no parent-death signal, so
there a starter that is killed leaves its children running.

Output goes to a log file, never to a pipe that somebody has to drain. Independent of the event loop: a child started in
one loop may be stopped in another.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Protocol

from shared.core.errors import CarillonError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_S = 0.02
# Generous, for a busy machine; a child that ends is noticed at once.
READY_WITHIN_S = 60.0
_KILLED_WITHIN_S = 5.0
_LOG_LIMIT_BYTES = 32 * 1024 * 1024
_TAIL_BYTES = 16 * 1024


class ChildFailed(CarillonError):
    """A child ended, or did not answer in time, while it was being started."""

    def __init__(self, name: str, problem: str, last_lines: Sequence[str]) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem
        self.last_lines = list(last_lines)
        # Shown under a traceback, for instance that of a failed test.
        self.add_note("\n".join(["Its last lines:", *self.last_lines]))


class Running(Protocol):
    """A process as ``subprocess.Popen`` shows it."""

    @property
    def pid(self) -> int: ...  # noqa: D102

    def poll(self) -> int | None: ...  # noqa: D102

    def wait(self, timeout: float | None = None) -> int: ...  # noqa: D102

    def send_signal(self, sig: int) -> None: ...  # noqa: D102


def start_process(
    command: Sequence[str],
    output: BinaryIO,
    *,
    environment: Mapping[str, str],
    working_folder: Path | None,
    orphan_signal: signal.Signals,
) -> Running:
    """Start a process in a process group of its own; ``output`` takes all it prints."""
    return subprocess.Popen(  # noqa: S603 - the command is ours, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=working_folder,
        start_new_session=True,
        preexec_fn=_die_with_parent(orphan_signal),  # noqa: PLW1509 - one system call, nothing that locks
    )


class Child:
    """A child process in a process group of its own, so that a terminal's Ctrl-C reaches only us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        ready: Callable[[], Awaitable[bool]],
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
        grace_s: float = 10.0,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """Describe the process; nothing runs yet.

        Args:
            name: what people see, for instance ``email`` or ``router-1``.
            command: the program and its arguments.
            log: the file that takes stdout and stderr, appended to.
            ready: tells whether the child answers; called repeatedly while it starts. It must not raise.
            environment: the whole environment of the child; None for a copy of ours.
            working_folder: where the child runs; None for our own.
            grace_s: how long ``stop`` waits between SIGTERM and SIGKILL.
            orphan_signal: what the child gets when its starter is gone (Linux only).
        """
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = environment
        self.wanted = False
        self._ready = ready
        self._working_folder = working_folder
        self._grace_s = grace_s
        self._orphan_signal = orphan_signal
        self._running: Running | None = None
        self._log_begin = 0

    @property
    def pid(self) -> int | None:
        """The process id, None before the first start."""
        return self._running.pid if self._running else None

    @property
    def exit_status(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs or before the first start."""
        return self._running.poll() if self._running else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._running is not None and self._running.poll() is None

    @property
    def died(self) -> bool:
        """Whether it ended without having been asked to."""
        return self.wanted and not self.alive

    async def start(self, within_s: float = READY_WITHIN_S) -> None:
        """Start the process and wait until it answers.

        Raises:
            ChildFailed: it ended, or did not answer within the time; it is gone then.
        """
        if self.alive:
            return
        self._spawn()
        try:
            problem = await self._wait_until_ready(within_s)
        except BaseException:
            self.end_now()
            raise
        if problem:
            self.end_now()
            raise ChildFailed(self.name, problem, self.last_lines())

    async def stop(self, grace_s: float | None = None) -> int | None:
        """Ask the process to end, insist after the grace period, and return its exit status."""
        self.wanted = False
        if self._running is not None and self.alive:
            with suppress(ProcessLookupError):
                self._running.send_signal(signal.SIGTERM)
            await self._gone_within(self._grace_s if grace_s is None else grace_s)
        return await self.kill()

    async def kill(self) -> int | None:
        """End the process and its whole group at once, as a crash would, and return its exit status."""
        self.wanted = False
        if self._running is not None:
            # Even if the leader is gone, because a grandchild may be left.
            self._signal_group(signal.SIGKILL)
            await self._gone_within(_KILLED_WITHIN_S)
        return self.exit_status

    async def restart(self) -> None:
        """Stop, then start with the same command."""
        await self.stop()
        await self.start()

    def end_now(self) -> None:
        """End the process and its whole group without waiting for anything else."""
        self.wanted = False
        self._signal_group(signal.SIGKILL)
        if self._running is not None:
            with suppress(subprocess.TimeoutExpired):
                self._running.wait(_KILLED_WITHIN_S)

    def last_lines(self, count: int = 15) -> list[str]:
        """Return the newest lines of the log since the last start."""
        try:
            size_bytes = self.log.stat().st_size
            # Shorter than at the start: it was emptied meanwhile.
            begin = self._log_begin if self._log_begin <= size_bytes else 0
            with self.log.open("rb") as log:
                log.seek(max(begin, size_bytes - _TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()[-count:]
        except FileNotFoundError:
            return []

    def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as log:
            self._log_begin = log.tell()
            self._running = start_process(
                self.command,
                log,
                environment=dict(os.environ if self.environment is None else self.environment),
                working_folder=self._working_folder,
                orphan_signal=self._orphan_signal,
            )
        self.wanted = True

    async def _wait_until_ready(self, within_s: float) -> str:
        """Return what went wrong, nothing when the child answers."""
        deadline = monotonic() + within_s
        answered = False
        # Asked only while the child lives: another server on the same port would answer as well.
        while self.alive and not answered and monotonic() < deadline:
            answered = await self._ready()
            if not answered:
                await asyncio.sleep(_POLL_S)
        if not self.alive:
            return f"ended at start with status {self.exit_status}"
        return "" if answered else f"did not answer within {within_s:g} s"

    async def _gone_within(self, wait_s: float) -> None:
        deadline = monotonic() + wait_s
        while self.alive and monotonic() < deadline:  # noqa: ASYNC110 - nothing tells us; a watcher is tied to a loop
            await asyncio.sleep(_POLL_S)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._running is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running.pid, number)


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return what the child does before its program starts: ask the kernel for a signal when the starter is gone.

    The signal comes when the starting *thread* ends, so children are to be started in the main thread.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    starter = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != starter:  # The starter was gone before we asked.
            os._exit(1)

    return ask
