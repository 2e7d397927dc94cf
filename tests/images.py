"""Starts each image once against a local system: ``python -m tests.images BUILD_FOLDER``, as root, after the build.

It shows for each of the five images that its own command, as user 10001, becomes ready with the stack's settings,
writes nothing into the image, and ends with status 0 on SIGTERM. The images run under buildah's chroot isolation, as in
the build.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from carillon.local.child import Child
from carillon.local.ports import LOOPBACK, SERVICES, free_port
from carillon.local.stack import Stack, is_ready, with_login
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
            for service in SERVICES:
                print(await _started_once(buildah, stack, service, files))  # noqa: T201 - what make shows
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


async def _started_once(buildah: Buildah, stack: Stack, service: str, files: Files) -> str:
    container = await buildah("from", "--pull-never", f"localhost/carillon/{service}:{VERSION}")
    try:
        config = json.loads(await buildah("inspect", container))["OCIv1"]["config"]
        assert config["User"] == USER, config["User"]
        port = free_port(stack.ports.all())
        settings = files.environment(service) | {"OPS_PORT": str(port)}
        if service == "realtime":
            settings["REALTIME_PORT"] = str(free_port({*stack.ports.all(), port}))
        process = Child(
            service,
            [
                *buildah.command,
                *("run", "--isolation", "chroot", "--user", USER, "--volume", f"{files.folder}:{files.folder}:ro"),
                *(part for name, value in settings.items() for part in ("--env", f"{name}={value}")),
                *(container, "--", *config["Entrypoint"]),
            ],
            log=stack.data / "logs" / f"image-{service}.log",
            ready=lambda: is_ready(f"http://{LOOPBACK}:{port}/readyz"),
        )
        root, began, started = Path(await buildah("mount", container)), time.time(), time.monotonic()
        await process.start()
        took_s = time.monotonic() - started
        os.kill(_pid_of(service, root), signal.SIGTERM)
        status = await eventually(lambda: _ended(process), 40, f"{service} ends")
        assert status == "0", f"{service} ended with status {status}"
        written = [str(f) for place in ("app", "opt", "home", "var") for f in _newer(root / place, began)]
        assert not written, written
        size_mb = sum(f.lstat().st_size for place in ("app", "opt") for f in (root / place).rglob("*")) / 1e6
        return f"{service}: ready in {took_s:.1f} s, ended with 0; {size_mb:.0f} MB on top of the base"
    finally:
        await buildah("rm", container)


async def _ended(process: Child) -> str | None:
    return None if process.exit_status is None else str(process.exit_status)


def _pid_of(service: str, root: Path) -> int:
    """Return the process inside the container: the image's own command, under the image's own root."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if command[1:3] == [b"-m", f"services.{service}".encode()] and (folder / "root").readlink() != Path(
                    "/"
                ):
                    return int(folder.name)
            except OSError:
                continue
    raise RuntimeError(f"{service} does not run under {root}")


def _newer(folder: Path, began: float) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and file.lstat().st_mtime > began]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).resolve()))
