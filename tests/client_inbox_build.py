"""``@carillon/inbox`` as its users have it: packed from clients/inbox, and installed into a folder of somebody's own.

Nothing is written into the source tree. tests/client_inbox holds what those users have beside it: React, Vite and
TypeScript, pinned, and installed once for each lock, see ``tests.node_packages``.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.client_node_build import CLIENTS, ROOT, npm
from tests.node_packages import install

_USERS = Path(__file__).parent / "client_inbox"
_PAGE = Path("services/realtime/page")
_NOT_SOURCE = shutil.ignore_patterns("node_modules", "dist", "*.tgz")


@dataclass(frozen=True)
class Packed:
    """What ``npm pack`` made."""

    archive: Path
    files: frozenset[str]


def pack(cache: Path, folder: Path) -> Packed:
    """Copy the source into an empty folder, and build and pack it there.

    Raises:
        NotInstalled: npm could not get what the build needs.
    """
    package = folder / "clients" / "inbox"
    installed = install(cache, CLIENTS / "inbox")
    shutil.copytree(CLIENTS / "inbox", package, ignore=_NOT_SOURCE)
    shutil.copytree(ROOT / _PAGE, folder / _PAGE)
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    (package / "node_modules").symlink_to(installed / "node_modules")
    printed = npm(package, "pack", "--json", "--pack-destination", str(folder))
    (described,) = json.loads(printed[printed.index("[") :])
    return Packed(folder / described["filename"], frozenset(each["path"] for each in described["files"]))


def shop(cache: Path, packed: Packed, folder: Path, react: str = "") -> Path:
    """Install the package into an empty folder, beside React and Vite, and return the folder.

    Args:
        cache: where packages of others are installed once.
        packed: the package.
        folder: the empty folder.
        react: a folder in tests/client_inbox that pins another React than the newest one.

    Raises:
        NotInstalled: npm could not get the packages.
    """
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    npm(folder, "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", str(packed.archive))
    others = [install(cache, _USERS / react)] if react else []
    for source in (*others, install(cache, _USERS)):
        _link(source / "node_modules", folder / "node_modules")
    for path in _USERS.iterdir():
        if path.suffix in {".tsx", ".mjs"}:
            shutil.copyfile(path, folder / path.name)
    return folder


def _link(source: Path, target: Path) -> None:
    """Put links to the packages beside those that are there already, which stay."""
    for path in source.iterdir():
        if path.name.startswith("@"):
            (target / path.name).mkdir(exist_ok=True)
            _link(path, target / path.name)
        elif not path.name.startswith(".") and not (target / path.name).exists():
            (target / path.name).symlink_to(path)
