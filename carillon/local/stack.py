"""The whole system on this machine: broker, store, sandbox and the five services, each a process of its own.

Promises that every part answers once ``start`` has returned, and that every port is on the loopback address. The
providers are the sandbox's: nothing leaves this machine, unless ``browser_push_hosts`` allows pushes to browsers. A
data folder serves one stack at a time. A second start on it continues where the first one stopped. Does not watch the
processes: a supervisor finds them in ``children``.
"""

import asyncio
import fcntl
import os
import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from carillon.local.child import Child
from carillon.local.places import ENVIRONMENT_FILE
from carillon.local.ports import LOOPBACK, SERVICES, Ports, free_port
from carillon.local.servers import ROOT, LocalServer, local_broker, local_store
from sandbox.credentials import service_environment
from shared.core.errors import CarillonError
from shared.core.model import Channel

# Prefixes of settings that only one service gets. No service gets the credentials of another. Email makes the links to
# unsubscribe, email and push those to acknowledge an alert, and realtime serves all of them.
_CONSOLE = "console"
_OWN_PREFIX = {channel.value: f"{channel.upper()}_" for channel in Channel} | {_CONSOLE: "CONSOLE_"}
_OWN_PREFIXES = tuple(_OWN_PREFIX.values())
_ANSWER_LINKS = ("REALTIME_LINK_", "REALTIME_PUBLIC_")
_SHARED_BY = {
    "email": ("EMAIL_UNSUBSCRIBE_", *_ANSWER_LINKS),
    "push": _ANSWER_LINKS,
    "realtime": ("EMAIL_UNSUBSCRIBE_",),
}

# Longer than a service's grace period for what it has in hand.
_SERVICE_GRACE_S = 35.0
_PROBE_TIMEOUT_S = 2.0
_SAMPLE_TEMPLATES = ROOT / "carillon" / "local" / "sample_templates"
_PREFIX = "TOPIC_PREFIX"
_ORIGINS = "REALTIME_ALLOWED_ORIGINS"


class Stack:
    """A system on this machine. It starts with one process of each service; more or fewer can be started."""

    def __init__(
        self,
        data: Path,
        *,
        ports: Ports | None = None,
        embedded: bool | None = None,
        settings: Mapping[str, str] | None = None,
        services: Iterable[str] = SERVICES,
        browser_push_hosts: str = "",
        console: bool = False,
    ) -> None:
        """Describe the system; nothing runs yet.

        Args:
            data: folder for everything that lasts: broker, store, keys, logs. Made at the start.
            ports: where to listen; None for free ports.
            embedded: True for the embedded broker and store, False for mosquitto and redis-server, None for the latter
                where there are any.
            settings: more settings for every service, above those of the stack.
            services: which services to start, one process each.
            browser_push_hosts: where browsers that a person subscribes on the page may be reached, besides the sandbox.
            console: start the operators' console, too.
        """
        self.data = data.resolve()
        self.ports = ports or Ports.free()
        prefix = (settings or {}).get(_PREFIX, os.environ.get(_PREFIX, ""))
        self.broker: LocalServer = local_broker(
            self.data,
            self.ports.mqtt,
            embedded=embedded,
            logins=SERVICES,
            topic_prefix=prefix,
        )
        self.store: LocalServer = local_store(self.data, self.ports.redis, embedded=embedded)
        self.sandbox = self._describe_sandbox()
        self.environment: dict[str, str] = {}
        # With the topic prefix that the services inherit, so that a command in another terminal finds it.
        self._settings = {**({_PREFIX: prefix} if prefix else {}), **(settings or {})}
        self._first = tuple(services)
        self._browser_push_hosts = browser_push_hosts
        self.console: Child | None = self._describe_console() if console else None
        self._services: dict[tuple[str, int], Child] = {}
        self._service_ports: dict[tuple[str, int], tuple[int, int]] = {}
        self._lock: int | None = None

    @property
    def children(self) -> list[Child]:
        """All processes that were described, in the order of the start."""
        return [self.broker, self.store, self.sandbox, *self._above()]

    @property
    def services(self) -> tuple[str, ...]:
        """The services that it starts."""
        return self._first

    @property
    def topic_prefix(self) -> str:
        """What stands before the services' topics."""
        return self._settings.get(_PREFIX, "")

    @property
    def realtime_url(self) -> str:
        """The first realtime process: WebSocket, SSE, inbox and page."""
        return f"http://{LOOPBACK}:{self.ports.http}"

    @property
    def sandbox_url(self) -> str:
        """The sandbox's page, outbox and script."""
        return f"http://{LOOPBACK}:{self.ports.sandbox}"

    @property
    def console_url(self) -> str:
        """The operators' console, where there is one."""
        return f"http://{LOOPBACK}:{self.ports.console}"

    @property
    def sms_callback_url(self) -> str:
        """Where the sandbox's Twilio calls the first SMS process."""
        return f"http://{LOOPBACK}:{self.ports.sms_callback}"

    @property
    def environment_file(self) -> Path:
        """The settings of this stack as ``NAME=value`` lines, for the command line; readable by its owner only."""
        return self.data / ENVIRONMENT_FILE

    async def start(self, progress: Callable[[str], None] = lambda _line: None) -> None:
        """Start everything, broker and store first, and wait until every part is ready.

        Args:
            progress: is told in one line what runs.

        Raises:
            ChildFailed: a part did not start; everything is stopped then.
            CarillonError: another stack uses the data folder.
        """
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_data_folder()
        try:
            for server in (self.broker, self.store):
                await server.start()
                progress(f"{server.name}: {server.version}{f', {server.note}' if server.note else ''}")
            await self.start_sandbox()
            progress(f"sandbox: {self.sandbox_url}")
            async with asyncio.TaskGroup() as starting:
                for service in self._first:
                    starting.create_task(self.start_service(service), name=f"start {service}")
                if self.console is not None:
                    starting.create_task(self._start_console(self.console), name="start console")
            progress(f"services: {', '.join(self._first)}")
            if self.console is not None:
                progress(f"console: {self.console_url}")
        except BaseException as error:
            await self.stop()
            # Report the service that did not start, not the others, which were cancelled.
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from None
            raise

    async def start_sandbox(self) -> None:
        """Start the sandbox and take its settings into ``environment``."""
        (self.data / "sandbox" / "sandbox.json").unlink(missing_ok=True)
        await self.sandbox.start()
        self.environment = {
            "MQTT_URL": self.broker.url,
            "REDIS_URL": self.store.url,
            "OPS_HOST": LOOPBACK,
            **service_environment(self.data / "sandbox"),
            "TEMPLATES_DIR": str(_templates_folder()),
            "SMS_CALLBACK_HOST": LOOPBACK,
            "SMS_CALLBACK_PORT": str(self.ports.sms_callback),
            "SMS_CALLBACK_URL": self.sms_callback_url,
            "REALTIME_DEMO_PAGE": "on",
            "REALTIME_JWT_SECRET": self._secret("jwt_secret"),
            "REALTIME_LINK_SECRET": self._secret("link_secret"),
            "REALTIME_PUBLIC_URL": self.realtime_url,
            "EMAIL_UNSUBSCRIBE_SECRET": self._secret("unsubscribe_secret"),
            "EMAIL_UNSUBSCRIBE_URL": self.realtime_url,
            "CONSOLE_SESSION_SECRET": self._secret("console_secret"),
            "CONSOLE_URL": self.console_url,
            _ORIGINS: ",".join([self.realtime_url, f"http://localhost:{self.ports.http}", *_asked_origins()]),
            **self._settings,
        }
        if self._browser_push_hosts:
            self.environment["PUSH_WEBPUSH_ALLOWED_HOSTS"] += f",{self._browser_push_hosts}"
        self._write_environment()

    async def start_service(self, service: str, index: int = 0, settings: Mapping[str, str] | None = None) -> Child:
        """Start one process of a service, or start it again, and wait until it is ready.

        Args:
            service: its name.
            index: which of its processes; 0 has the stack's own ports, the others free ones.
            settings: more settings for this process alone; a start after that forgets them.
        """
        child = self._services.get((service, index))
        if child is None:
            child = self._services[service, index] = self._describe_service(service, index)
        child.environment = self._environment_of(service, index, settings or {})
        await child.start()
        return child

    async def stop_service(self, service: str, index: int = 0) -> int | None:
        """Let one process finish what it has in hand and end; return its exit status."""
        return await self._services[service, index].stop()

    async def kill(self, name: str, index: int = 0) -> None:
        """End a process at once, as a crash would: a service, or ``broker``, ``store``, ``sandbox``."""
        await self.child(name, index).kill()

    def child(self, name: str, index: int = 0) -> Child:
        """Return the process of a service, or ``broker``, ``store``, ``sandbox``."""
        other = {"broker": self.broker, "store": self.store, "sandbox": self.sandbox, _CONSOLE: self.console}
        return other.get(name) or self._services[name, index]

    def ops_url(self, service: str, index: int = 0) -> str:
        """Return the base of ``/healthz``, ``/readyz`` and ``/metrics`` of one process."""
        return f"http://{LOOPBACK}:{self._ports_of(service, index)[0]}"

    def http_url(self, index: int) -> str:
        """Return the base URL of one realtime process; ``realtime_url`` is the first one's."""
        return f"http://{LOOPBACK}:{self._ports_of('realtime', index)[1]}"

    def command_environment(self) -> dict[str, str]:
        """Return the whole environment of a command that is to talk to this stack."""
        return _inherited() | self.environment

    async def restart(self, child: Child) -> None:
        """Start a process that died, with the settings it had."""
        if child is self.sandbox:
            await self.start_sandbox()
        else:
            await child.start()

    async def stop(self) -> None:
        """Stop everything: the services first, which finish what they have in hand, then what they stand on."""
        await asyncio.gather(*(child.stop() for child in self._above()))
        for child in (self.sandbox, self.broker, self.store):
            await child.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _describe_sandbox(self) -> Child:
        folder = self.data / "sandbox"
        command = [sys.executable, "-m", "sandbox", "--data", str(folder), "--host", LOOPBACK]
        for name in ("http", "smtp", "apns"):
            port = self.ports.sandbox if name == "http" else getattr(self.ports, name)
            command += [f"--{name}-port", str(port)]
        command += ["--sms-inbound-url", f"{self.sms_callback_url}/v1/twilio/inbound"]

        async def ready() -> bool:
            return (folder / "sandbox.json").exists()

        return self._child("sandbox", command, ready, environment=_inherited(), grace_s=5)

    def _above(self) -> list[Child]:
        """Return what stands on broker, store and sandbox."""
        return [*self._services.values(), *([self.console] if self.console is not None else [])]

    def _describe_console(self) -> Child:
        # What it prints is kept in a file: no link and no token.
        command = [sys.executable, "-m", "carillon", "console", "--host", LOOPBACK, "--port", str(self.ports.console)]
        return self._child(_CONSOLE, [*command, "--quiet"], lambda: is_ready(f"{self.console_url}/healthz"), grace_s=10)

    async def _start_console(self, console: Child) -> None:
        console.environment = self.command_environment()
        await console.start()

    def _describe_service(self, service: str, index: int) -> Child:
        if service not in SERVICES:
            raise CarillonError(f"there is no service called {service}")
        return self._child(
            service if index == 0 else f"{service}-{index}",
            [sys.executable, "-m", f"services.{service}"],
            lambda: is_ready(f"{self.ops_url(service, index)}/readyz"),
            grace_s=_SERVICE_GRACE_S,
        )

    def _child(
        self,
        name: str,
        command: list[str],
        ready: Callable[[], Awaitable[bool]],
        *,
        grace_s: float,
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        return Child(
            name,
            command,
            log=self.data / "logs" / f"{name}.log",
            ready=ready,
            environment=environment,
            working_folder=ROOT,
            grace_s=grace_s,
        )

    def _environment_of(self, service: str, index: int, settings: Mapping[str, str]) -> dict[str, str]:
        others = tuple(prefix for owner, prefix in _OWN_PREFIX.items() if owner != service)
        shared = _SHARED_BY.get(service, ())
        ours = {
            name: value
            for name, value in self.environment.items()
            if name.startswith(shared) or not name.startswith(others)
        }
        ops_port, http_port = self._ports_of(service, index)
        ours["OPS_PORT"] = str(ops_port)
        if service == "realtime":
            ours["REALTIME_PORT"] = str(http_port)
        if service == "sms" and index:
            # Callbacks go to the first process, whichever sent the message.
            ours["SMS_CALLBACK_PORT"] = str(http_port)
        environment = _inherited() | ours | dict(settings)
        environment["MQTT_URL"] = with_login(environment["MQTT_URL"], self.broker.credentials_of(service))
        environment["REDIS_URL"] = with_login(environment["REDIS_URL"], self.store.credentials_of(service))
        return environment

    def _ports_of(self, service: str, index: int) -> tuple[int, int]:
        """Return the ports of one process: ops, and HTTP (realtime only)."""
        if index == 0:
            return self.ports.ops(service), self.ports.http
        if (service, index) not in self._service_ports:
            taken = self.ports.all().union(*self._service_ports.values())
            ops_port = free_port(taken)
            self._service_ports[service, index] = (ops_port, free_port({*taken, ops_port}))
        return self._service_ports[service, index]

    def _take_data_folder(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self.data / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise CarillonError(f"another Carillon runs on {self.data}") from None
        self._lock = lock

    def _secret(self, name: str) -> str:
        """Return a secret of this stack, which is made at its first start."""
        file = self.data / name
        if not file.exists():
            _write_private(file, secrets.token_urlsafe(32))
        return file.read_text()

    def _write_environment(self) -> None:
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in sorted(self.environment.items()))
        _write_private(self.environment_file, "".join(lines))


def with_login(url: str, credentials: str) -> str:
    """Return a server's address with ``login:password`` put in, unless it has a login already or there is none."""
    parts = urlsplit(url)
    if not credentials or parts.username:
        return url
    return parts._replace(netloc=f"{credentials}@{parts.netloc}").geturl()


def _templates_folder() -> Path:
    # Absolute, because services and commands run in different folders.
    asked = os.environ.get("TEMPLATES_DIR")
    return Path(asked).resolve() if asked else _SAMPLE_TEMPLATES


def _asked_origins() -> list[str]:
    """Return the origins that our own environment allows, besides the pages of this stack."""
    return [origin.strip() for origin in os.environ.get(_ORIGINS, "").split(",") if origin.strip()]


def _inherited() -> dict[str, str]:
    """Our own environment without settings that could point a service at the outside world, or that are for us only."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((*_OWN_PREFIXES, "CARILLON_", "OPS_", "MQTT_", "REDIS_"))
    }
    return mine | {"PYTHONUNBUFFERED": "1"}


async def is_ready(url: str) -> bool:
    """Tell whether an endpoint answers with 200."""
    timeout = aiohttp.ClientTimeout(total=_PROBE_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, at once or not at all."""
    draft = file.with_suffix(".draft")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as output:
        output.write(text)
    draft.replace(file)
