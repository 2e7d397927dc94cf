"""The process that ``tests.warm_start`` asks: it has imported our programs, and forks one for each order.

It is ``python -m tests.warm_server FD``, with one end of a socket pair as that file descriptor. An order is a JSON
object with three file descriptors for standard input, output and error, and one that takes the exit status. The answer
is the process id. It has one thread and no event loop, so what it forks is as a new interpreter is after its imports.
"""

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from importlib import import_module
from typing import Any

# What the programs import. Not the SMS service's own modules: every other service would show their metrics.
_IMPORTED = (
    "carillon.__main__",
    "carillon.commands.auditing",
    "carillon.commands.dropping",
    "carillon.commands.importing",
    "carillon.commands.listing",
    "carillon.commands.replaying",
    "carillon.commands.sending",
    "carillon.commands.signing",
    "carillon.commands.templates",
    "carillon.commands.tracing",
    "sandbox.__main__",
    "services.email.__main__",
    "services.push.__main__",
    "services.realtime.__main__",
    "services.router.__main__",
    "tests.chaos.publishing",
)

_RUN = ("__main__", "publishing")

_ORDER_BYTES = 1 << 18
_FILES = 4
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(control: socket.socket) -> None:
    """Fork what is ordered, and report the ends, until the other end of the socket is closed."""
    statuses: dict[int, int] = {}
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while True:
        ready = [file for file, _ in poll.poll()]
        if woken in ready:
            os.read(woken, 4096)
            _report_ends(statuses)
        if control.fileno() in ready:
            message, files, *_ = socket.recv_fds(control, _ORDER_BYTES, _FILES)
            if not message:
                return
            *standard, status = files
            server = os.getpid()
            pid = os.fork()
            if pid == 0:
                control.detach()
                _become(json.loads(message), standard, server)
                return
            statuses[pid] = status
            for file in standard:
                os.close(file)
            control.send(str(pid).encode())


def _report_ends(statuses: dict[int, int]) -> None:
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        file = statuses.pop(pid)
        os.write(file, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(file)


def _become(order: dict[str, Any], standard: list[int], server: int) -> None:
    """Turn this fork into the program."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if order["own_session"]:
        os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, order["orphan_signal"], 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    for target, file in enumerate(standard):
        os.dup2(file, target)
    os.closerange(len(standard), os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    sys.argv[1:] = order["arguments"]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in _IMPORTED:
        import_module(name)
        # It is run under the name __main__ later.
        if name.endswith(_RUN):
            del sys.modules[name]
    # What was imported is neither collected nor, through that, copied.
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
