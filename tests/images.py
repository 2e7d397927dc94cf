"""Starts each image once against a local system: ``python -m tests.images BUILD_FOLDER``, as root, after the build.

What it shows for each of the five: as user 10001 the image's own command becomes ready with the stack's settings,
writes nothing into the image, and ends with status 0 on SIGTERM. The images run under buildah's chroot isolation, as
they were built.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from carillon.child import Child
from carillon.local import ROOT
from carillon.ports import LOOPBACK, SERVICES, free_port
from carillon.stack import Stack, is_ready, with_login
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
            files = _readable_copy(stack.data / "sandbox", Path(folder))
            for service in SERVICES:
                print(await _started_once(buildah, stack, service, files))  # noqa: T201 - what make shows
        finally:
            await stack.stop()


def _readable_copy(source: Path, folder: Path) -> Path:
    """Copy key files so that the image's user may read them, as a pod's group may."""
    target = folder / "files"
    shutil.copytree(source, target)
    for each in (folder, target):
        each.chmod(0o755)
    for file in target.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    return target


async def _started_once(buildah: Buildah, stack: Stack, service: str, files: Path) -> str:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    container = await buildah("from", "--pull-never", f"localhost/carillon/{service}:{version}")
    try:
        config = json.loads(await buildah("inspect", container))["OCIv1"]["config"]
        assert config["User"] == USER, config["User"]
        port = free_port(stack.ports.all())
        process = Child(
            service,
            [
                *buildah.command,
                *("run", "--isolation", "chroot", "--user", USER, "--volume", f"{files}:{files}:ro"),
                *(part for pair in _environment(stack, service, port, files) for part in ("--env", pair)),
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


def _environment(stack: Stack, service: str, port: int, files: Path) -> list[str]:
    others = tuple(prefix for owner, prefix in _OWN_PREFIX.items() if owner != service)
    ours = {name: value for name, value in stack.environment.items() if not name.startswith(others)}
    ours |= {"MQTT_URL": with_login(stack.broker.url, stack.broker.credentials_of(service)), "OPS_PORT": str(port)}
    if service == "realtime":
        ours["REALTIME_PORT"] = str(free_port({*stack.ports.all(), port}))
    sandbox = str(stack.data / "sandbox")
    return [f"{name}={value.replace(sandbox, str(files))}" for name, value in ours.items()]


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
