"""Starts each image once against a local system: ``python -m tests.images BUILD_FOLDER``, as root, after the build.

It shows for each of the six images that its own command, as user 10001, becomes ready with the stack's settings,
writes nothing into the image, and ends with status 0 on SIGTERM. The image of the command line runs the console and the
sandbox. The images run under buildah's chroot isolation, as in the build.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp

from carillon.local.child import Child
from carillon.local.ports import LOOPBACK, SERVICES, free_port
from carillon.local.stack import Stack, with_login
from carillon.version import VERSION
from tests.waiting import eventually

USER = "10001:10001"
_OWN_PREFIX = {"email": "EMAIL_", "sms": "SMS_", "push": "PUSH_", "realtime": "REALTIME_"}


class Buildah:
    """Buildah on the store that the images were built in."""

    def __init__(self, build: Path) -> None:
        self.command = ["buildah"]
        self.command += ["--root", str(build / "storage"), "--runroot", str(build / "run")]

    async def __call__(self, *args: str) -> str:
        process = await asyncio.create_subprocess_exec(*self.command, *args, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"buildah {args[0]} ended with status {process.returncode}")
        return printed.decode().strip()


async def main(build: Path) -> None:
    """Start every image, one after the other."""
    buildah = Buildah(build)
    with tempfile.TemporaryDirectory(prefix="carillon-images-") as folder:
        stack = Stack(Path(folder) / "stack", services=())
        await stack.start()
        try:
            files = Files(stack, Path(folder))
            for program in _programs(stack, files):
                print(await _started_once(buildah, stack, program, files))  # noqa: T201 - what make shows
        finally:
            await stack.stop()


class Files:
    """The files and folders that the stack's settings name, where an image's user may read them, as a pod's may."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self.folder = folder / "files"
        folder.chmod(0o755)
        self.folder.mkdir()
        named = {Path(value) for value in stack.environment.values() if value.startswith("/")}
        self._copies = {path: self.folder / path.name for path in named}
        assert len(set(self._copies.values())) == len(named), named
        for path, copy in self._copies.items():
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copy)
        for each in (self.folder, *self.folder.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o644)

    def environment(self, service: str) -> dict[str, str]:
        """Return the stack's settings of one service, and put the files that they name into the folder."""
        others = tuple(prefix for owner, prefix in _OWN_PREFIX.items() if owner != service)
        ours = {name: value for name, value in self._stack.environment.items() if not name.startswith(others)}
        url = with_login(self._stack.broker.url, self._stack.broker.credentials_of(service))
        copies = {str(path): str(copy) for path, copy in self._copies.items()}
        return {name: copies.get(value, value) for name, value in (ours | {"MQTT_URL": url}).items()}


@dataclass(frozen=True)
class _Program:
    """One thing that an image runs.

    Attributes:
        image: its name.
        module: what Python runs, to find the process by.
        arguments: behind the image's entry point, or in its place where they begin with ``python``.
        url: answers 200 when it is ready.
    """

    name: str
    image: str
    module: str
    settings: dict[str, str]
    url: str
    arguments: tuple[str, ...] = ()
    writable: tuple[Path, ...] = ()


def _programs(stack: Stack, files: Files) -> Iterator[_Program]:
    for service in SERVICES:
        port = free_port(stack.ports.all())
        settings = files.environment(service) | {"OPS_PORT": str(port)}
        if service == "realtime":
            settings["REALTIME_PORT"] = str(free_port({*stack.ports.all(), port}))
        yield _Program(service, service, f"services.{service}", settings, f"http://{LOOPBACK}:{port}/readyz")
    port = free_port(stack.ports.all())
    settings = {name: stack.environment[name] for name in ("MQTT_URL", "REDIS_URL", "REALTIME_JWT_SECRET")}
    settings["CONSOLE_TOKEN"] = secrets.token_urlsafe(32)
    asked = f"http://{LOOPBACK}:{port}/healthz"
    yield _Program("console", "carillon", "carillon", settings, asked, ("console", "--port", str(port)))
    port = free_port(stack.ports.all())
    data = files.folder.parent / "sandbox"
    data.mkdir()
    data.chmod(0o777)
    command = ("python", "-m", "sandbox", "--data", str(data), "--http-port", str(port))
    other = ("--smtp-port", "0", "--apns-port", "0")
    asked = f"http://{LOOPBACK}:{port}/healthz"
    yield _Program("sandbox", "carillon", "sandbox", {}, asked, command + other, writable=(data,))


async def _started_once(buildah: Buildah, stack: Stack, program: _Program, files: Files) -> str:
    container = await buildah("from", "--pull-never", f"localhost/carillon/{program.image}:{VERSION}")
    try:
        config = json.loads(await buildah("inspect", container))["OCIv1"]["config"]
        assert config["User"] == USER, config["User"]
        entry = () if program.arguments[:1] == ("python",) else config["Entrypoint"]
        volumes = (f"{files.folder}:{files.folder}:ro", *(f"{each}:{each}" for each in program.writable))
        process = Child(
            program.name,
            [
                *buildah.command,
                *("run", "--isolation", "chroot", "--user", USER),
                *(part for volume in volumes for part in ("--volume", volume)),
                *(part for name, value in program.settings.items() for part in ("--env", f"{name}={value}")),
                *(container, "--", *entry, *program.arguments),
            ],
            log=stack.data / "logs" / f"image-{program.name}.log",
            ready=lambda: _answers(program),
        )
        root, began, started = Path(await buildah("mount", container)), time.time(), time.monotonic()
        await process.start()
        took_s = time.monotonic() - started
        os.kill(_pid_of(program, root), signal.SIGTERM)
        status = await eventually(lambda: _ended(process), 40, f"{program.name} ends")
        assert status == "0", f"{program.name} ended with status {status}"
        written = [str(f) for place in ("app", "opt", "home", "var") for f in _newer(root / place, began)]
        assert not written, written
        size_mb = sum(f.lstat().st_size for place in ("app", "opt") for f in (root / place).rglob("*")) / 1e6
        return f"{program.name}: ready in {took_s:.1f} s, ended with 0; {size_mb:.0f} MB on top of the base"
    finally:
        await buildah("rm", container)


async def _answers(program: _Program) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(program.url) as answer:
            return answer.status == HTTPStatus.OK
    except (aiohttp.ClientError, OSError):
        return False


async def _ended(process: Child) -> str | None:
    return None if process.exit_status is None else str(process.exit_status)


def _pid_of(program: _Program, root: Path) -> int:
    """Return the process inside the container: the image's own command, under the image's own root."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if command[1:3] == [b"-m", program.module.encode()] and (folder / "root").readlink() != Path("/"):
                    return int(folder.name)
            except OSError:
                continue
    raise RuntimeError(f"{program.name} does not run under {root}")


def _newer(folder: Path, began: float) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and file.lstat().st_mtime > began]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).resolve()))
