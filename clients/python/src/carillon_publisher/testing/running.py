"""A real Carillon for a test run: ``carillon up`` in a process of its own, on free ports, with a folder of its own.

Promises that nothing leaves this machine, that mails, SMS and pushes end in a sandbox which shows them, and that all
its processes end with the block.
"""

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import Request, urlopen

from carillon_publisher.errors import CarillonError
from carillon_publisher.testing.checks import Json

# Below the ports that Linux gives to outgoing connections (net.ipv4.ip_local_port_range starts at 32768).
_PORTS = range(15_000, 32_000)
# What ``carillon up --port-base`` takes, with some room.
_IN_A_ROW = 16
_TRIES = 200
_LOOPBACK = "127.0.0.1"

_UP_WITHIN_S = 60.0
_DOWN_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.05


class NotStarted(CarillonError):
    """``carillon up`` did not come up."""


@dataclass(frozen=True, slots=True)
class RunningCarillon:
    """Where a Carillon runs. It has the sample people ``user123``, who is reached on every channel, and ``admin1``.

    Attributes:
        mqtt_url: for ``Publisher``.
        http_url: the door for publishers with a key, and the people's inbox.
        sandbox_url: what was sent, as a page.
        data: its folder, for ``CARILLON_DATA``.
    """

    mqtt_url: str
    http_url: str
    sandbox_url: str
    data: Path
    _tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    def sent(self, count: int = 1, within_s: float = 10.0, **wanted: str) -> list[dict[str, Any]]:
        """Wait until so much has reached the sandbox, and return it, oldest first.

        Args:
            wanted: for example ``channel="email"`` or ``to="user@example.com"``.

        Raises:
            TimeoutError: it has not come.
        """

        def matching() -> list[dict[str, Any]]:
            entries = _get(urljoin(self.sandbox_url, "outbox.json"))
            return [each for each in entries if all(each.get(name) == value for name, value in wanted.items())]

        return _eventually(matching, count, within_s, f"{count} sent with {wanted}")

    def inbox(self, user_id: str = "user123", count: int = 1, within_s: float = 10.0) -> list[dict[str, Any]]:
        """Wait until so many notifications are in the inbox of a sample person, and return them, newest first.

        Raises:
            TimeoutError: they have not come.
        """

        def entries() -> list[dict[str, Any]]:
            answer = _get(urljoin(self.http_url, "v1/inbox"), self._tokens[user_id])
            found: list[dict[str, Any]] = answer["notifications"]
            return found

        return _eventually(entries, count, within_s, f"{count} in the inbox of {user_id}")


def command() -> Path | None:
    """Return where the command ``carillon`` is: beside this Python, or on the path; None where it is not installed."""
    beside = Path(sys.executable).with_name("carillon")
    found = beside if beside.exists() else shutil.which("carillon")
    return None if found is None else Path(found)


@contextmanager
def running(carillon: Path, data: Path) -> Iterator[RunningCarillon]:
    """Start a Carillon, and end it after the block.

    Args:
        carillon: the command.
        data: an empty folder, which is not removed.

    Raises:
        NotStarted: it does not come up; the message has its last words.
    """
    log = data / "up.log"
    options = ["--json", "--data", str(data), "--port-base", str(_free_ports())]
    with log.open("wb") as written:
        process = subprocess.Popen(  # noqa: S603 - the command that was found
            [carillon, "up", *options], stdout=written, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    try:
        yield _come_up(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_DOWN_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _come_up(process: "subprocess.Popen[bytes]", log: Path) -> RunningCarillon:
    deadline_s = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline_s and process.poll() is None:
        places = _places(log)
        if places is not None:
            return places
        time.sleep(_LOOK_EVERY_S)
    last = " ".join(log.read_text(errors="replace").splitlines()[-3:])
    raise NotStarted(f"carillon up did not come up: {last}")


def _places(log: Path) -> RunningCarillon | None:
    """Read where everything is, once ``carillon up`` has said so."""
    for line in log.read_text(errors="replace").splitlines():
        document: Any = None
        with suppress(ValueError):
            # The last line may be half written.
            document = json.loads(line)
        if isinstance(document, dict) and "inbox" in document:
            inboxes = {user: url.partition("#token=") for user, url in document["inbox"].items()}
            (http_url, *_), *_ = inboxes.values()
            tokens = {user: token for user, (_, _, token) in inboxes.items()}
            return RunningCarillon(document["broker"], http_url, document["outbox"], Path(document["data"]), tokens)
    return None


def _free_ports() -> int:
    """Return the first of so many free ports in a row; another program may take one a moment later."""
    for _ in range(_TRIES):
        first = random.choice(_PORTS)  # noqa: S311 - no secret
        if all(_is_free(port) for port in range(first, first + _IN_A_ROW)):
            return first
    raise NotStarted(f"no {_IN_A_ROW} free ports in a row between {_PORTS.start} and {_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


def _get(url: str, token: str | None = None) -> Json:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with urlopen(Request(url, headers=headers), timeout=5) as answer:  # noqa: S310 - of our own process
        return json.load(answer)


def _eventually(
    look: Callable[[], list[dict[str, Any]]], count: int, within_s: float, what: str
) -> list[dict[str, Any]]:
    deadline_s = time.monotonic() + within_s
    while True:
        entries = look()
        if len(entries) >= count:
            return entries
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(_LOOK_EVERY_S)
