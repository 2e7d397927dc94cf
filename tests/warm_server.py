"""The process that ``tests.warm_start`` asks: it has imported our programs, and forks one for each order.

It is ``python -m tests.warm_server FD``, with one end of a socket pair as that file descriptor. It has imported what
all services share. For each program it forks a server that imports the rest of that program, and no other program's:
a service shows the metrics of all that it has imported.

An order is a JSON object. With ``serve`` it comes with one end of another socket pair, and asks for the server of that
program. Else it comes with four files, for standard input, output and error and for the exit status, and asks for a
process. The answer is the process id. The servers have one thread and no event loop, so what they fork is as a new
interpreter is after its imports.
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

_BY_ALL = ("shared.delivery.rules", "shared.inbox.inbox", "shared.runtime.providers", "shared.runtime.service")
# What they import when they know what they are to do.
_LATER = {
    "carillon": (
        "carillon.commands.auditing",
        "carillon.commands.dropping",
        "carillon.commands.importing",
        "carillon.commands.listing",
        "carillon.commands.replaying",
        "carillon.commands.sending",
        "carillon.commands.signing",
        "carillon.commands.templates",
        "carillon.commands.tracing",
    ),
    "services.sms": ("twilio.rest.api",),
}
# What they write about themselves when they start, each time the same.
_WRITTEN = {"services.realtime": ("services.realtime.description", "description")}

_ORDER_BYTES = 1 << 18
_FILES = 4
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve(control: socket.socket) -> None:
    """Fork what is ordered, and report the ends, until the other end of the socket is closed."""
    # What was imported is neither collected nor, through that, copied.
    gc.collect()
    gc.freeze()
    statuses: dict[int, int] = {}
    servers: list[int] = []
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
                # They end as this one does, and what they took is counted with it.
                for server in servers:
                    os.waitpid(server, 0)
                return
            order = json.loads(message)
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                # Whoever is forked keeps nothing open of what is here.
                for file in (control.detach(), woken, wake, *statuses.values()):
                    os.close(file)
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                if "serve" in order:
                    _import(order["serve"])
                    serve(socket.socket(fileno=files[0]))
                else:
                    _become(order, files, parent)
                return
            if "serve" in order:
                servers.append(pid)
            else:
                statuses[pid] = files.pop()
            for file in files:
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


def _import(program: str) -> None:
    main = f"{program}.__main__" if hasattr(import_module(program), "__path__") else program
    for name in (main, *_LATER.get(program, ())):
        import_module(name)
    if program in _WRITTEN:
        module, function = _WRITTEN[program]
        getattr(import_module(module), function)()
    # It is run under the name __main__ instead.
    del sys.modules[main]


def _become(order: dict[str, Any], files: list[int], parent: int) -> None:
    """Turn this fork into the program."""
    if order["own_session"]:
        os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, order["orphan_signal"], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    for target, file in enumerate(files[:-1]):
        os.dup2(file, target)
    for file in files:
        os.close(file)
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    sys.argv[1:] = order["arguments"]
    runpy.run_module(order["program"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for name in _BY_ALL:
        import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
