"""The Node client as its users have it: built from clients/node in a folder of its own, and driven by a test.

Nothing is written into the source tree. The packages that the build needs are installed once for each lock, see
``tests.node_packages``.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.node_packages import NODE, NPM, install

ROOT = Path(__file__).parents[1]
CLIENTS = ROOT / "clients"
_DRIVER = Path(__file__).parent / "client_node"
_NOT_SOURCE = shutil.ignore_patterns("node_modules", "dist", "*.tgz")
_BUILD_TIMEOUT_S = 60
_ANSWERS_WITHIN_S = 30.0


def build(cache: Path, folder: Path) -> Path:
    """Copy the client's source into an empty folder, build it there, and return the package's folder.

    Raises:
        NotInstalled: npm could not get what the build needs.
    """
    package = folder / "clients" / "node"
    installed = install(cache, CLIENTS / "node")
    shutil.copytree(CLIENTS / "node", package, ignore=_NOT_SOURCE)
    (package / "node_modules").symlink_to(installed / "node_modules")
    for shared in ("LICENSE", "clients/rules.json"):
        shutil.copyfile(ROOT / shared, folder / shared)
    shutil.copytree(_DRIVER, package / "driver")
    npm(package, "run", "build")
    return package


def npm(folder: Path, *arguments: str) -> str:
    """Run npm there and return what it printed."""
    return run(folder, NPM, *arguments, timeout_s=_BUILD_TIMEOUT_S)


def run(folder: Path, script: Path | str, *arguments: str, timeout_s: float = _ANSWERS_WITHIN_S) -> str:
    """Run a script with Node there and return what it printed; its errors are in the exception's notes."""
    command: Sequence[str] = (str(NODE), str(script), *arguments)
    # What npm runs looks for node there.
    environment = os.environ | {"PATH": os.pathsep.join([str(NODE.parent), os.environ.get("PATH", os.defpath)])}
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.CalledProcessError as error:
        error.add_note(f"{error.stdout}{error.stderr}")
        raise
    return done.stdout


def build_errors(package: Path, text: str) -> str:
    """Compile a text in TypeScript against the built package, and return what the compiler says of it."""
    (package / "checked").mkdir(exist_ok=True)
    (package / "checked" / "checked.mts").write_text(text)
    settings = {
        "extends": "../tsconfig.json",
        "compilerOptions": {"rootDir": ".", "noEmit": True},
        "include": ["checked.mts"],
    }
    (package / "checked" / "tsconfig.json").write_text(json.dumps(settings))
    try:
        return run(package, "node_modules/typescript/bin/tsc", "--project", "checked")
    except subprocess.CalledProcessError as error:
        return str(error.stdout)


def run_lines(folder: Path, script: str, lines: Sequence[str]) -> list[str]:
    """Run a script with Node there, give it these lines, and return those that it printed."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(  # noqa: S603 - our own command
        [str(NODE), script],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=_BUILD_TIMEOUT_S,
        input=text,
    )
    return done.stdout.splitlines()


class Failed(Exception):
    """What the client raised: the error's class and its fields."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['name']}: {error['message']}")
        self.name: str = error["name"]
        self.message: str = error["message"]
        self.error = error


@dataclass
class NodeClient:
    """A publisher in a Node process."""

    process: asyncio.subprocess.Process
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _answers: "dict[int, asyncio.Queue[dict[str, Any]]]" = field(default_factory=dict)

    async def call(self, method: str, *arguments: object) -> Any:
        """Call a method, and return what it resolved to.

        Raises:
            Failed: what it rejected with.
        """
        return _result(await asyncio.wait_for(self.start(method, *arguments).get(), _ANSWERS_WITHIN_S))

    def start(self, method: str, *arguments: object) -> "asyncio.Queue[dict[str, Any]]":
        """Call a method, and return where its answers come."""
        number = next(self._numbers)
        answers = self._answers[number] = asyncio.Queue()
        assert self.process.stdin is not None
        line = json.dumps({"id": number, "call": method, "args": arguments})
        self.process.stdin.write(f"{line}\n".encode())
        return answers

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            answer = json.loads(line)
            await self._answers[answer["id"]].put(answer)


def _result(answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise Failed(answer["error"])
    return answer["result"]


@asynccontextmanager
async def node_client(package: Path, **options: object) -> AsyncIterator[NodeClient]:
    """Connect a publisher with these options, and close it at the end.

    Raises:
        Failed: it could not connect.
    """
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), "driver/driver.mjs", json.dumps(options)),
        cwd=package,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    client = NodeClient(process)
    opened = client._answers[0] = asyncio.Queue()
    reading = asyncio.create_task(client.read(), name="node-client")
    try:
        _result(await asyncio.wait_for(opened.get(), _ANSWERS_WITHIN_S))
        yield client
        assert process.stdin is not None
        process.stdin.close()
        # A connection or a timer that were left would keep it.
        assert await asyncio.wait_for(process.wait(), _ANSWERS_WITHIN_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading
