"""The command line as people run it: a process of its own (``tests.warm_start``)."""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from carillon.local.stack import Stack
from tests import warm_start

# A command needs less than a second; the machine may be busy.
_ENDS_WITHIN_S = 90.0

# Settings of the machine that would reach a command.
NOT_INHERITED = ("CARILLON_", "MQTT_", "REDIS_", "REALTIME_", "TOPIC_")


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error_line(self) -> str:
        """What it said on standard error, which must be one line."""
        (line,) = self.err.splitlines()
        return line


class CommandLine:
    """``carillon`` with the settings of one system, or with none."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.settings = settings

    async def __call__(self, *args: str, stdin: str = "", settings: Mapping[str, str] | None = None) -> Ran:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        environment |= {"CARILLON_DATA": str(self.data), **self.settings, **(settings or {})}
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            command = [sys.executable, "-m", "carillon", *args]
            status = await warm_start.run(command, (given, out, err), environment, _ENDS_WITHIN_S)
            out.seek(0)
            err.seek(0)
            return Ran(status, out.read().decode(), err.read().decode())

    async def send(self, topic: str, payload: object, *options: str, settings: Mapping[str, str] | None = None) -> Ran:
        """Run ``carillon send`` with an object as the payload."""
        return await self("send", topic, json.dumps(payload), *options, settings=settings)


@asynccontextmanager
async def running_system(data: Path, *services: str) -> AsyncIterator[tuple[Stack, CommandLine]]:
    """Run a broker, a store, the sandbox and these services, and hand out the command line that finds them."""
    stack = Stack(data, services=services)
    await stack.start()
    try:
        yield stack, CommandLine(stack.data)
    finally:
        await stack.stop()
