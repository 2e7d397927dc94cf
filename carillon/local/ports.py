"""Where the parts of a local system listen, and which ports of this machine are free.

Does not reserve ports: another program may take a free port a moment after the answer.
"""

import random
import socket
from collections.abc import Collection
from dataclasses import astuple, dataclass, replace

from shared.core.channels import Channel

LOOPBACK = "127.0.0.1"
# In the order of their ops ports: the last is the one that people talk to.
SERVICES = ("router", *(each.value for each in Channel if each is not Channel.REALTIME), Channel.REALTIME.value)

# Below the ports that Linux gives to outgoing connections (net.ipv4.ip_local_port_range starts at 32768), so that no
# client of ours takes a port between the check and the start of the server.
FREE_PORTS = range(15_000, 32_000)
_TRIES = 1000


@dataclass(frozen=True)
class PortOption:
    """How a port of ``carillon up`` is chosen."""

    field: str
    option: str
    variable: str
    purpose: str


PORT_OPTIONS = (
    PortOption("mqtt", "--mqtt-port", "CARILLON_MQTT_PORT", "the broker"),
    PortOption("redis", "--redis-port", "CARILLON_REDIS_PORT", "the store"),
    PortOption("http", "--http-port", "REALTIME_PORT", "the inbox page, WebSocket and SSE"),
    PortOption("sandbox", "--sandbox-port", "CARILLON_SANDBOX_PORT", "the sandbox's page and HTTP providers"),
    PortOption("smtp", "--smtp-port", "CARILLON_SMTP_PORT", "the sandbox's SMTP"),
    PortOption("apns", "--apns-port", "CARILLON_APNS_PORT", "the sandbox's APNs"),
    PortOption("sms_callback", "--sms-callback-port", "SMS_CALLBACK_PORT", "Twilio's callbacks"),
    PortOption("console", "--console-port", "CARILLON_CONSOLE_PORT", "the operators' console"),
    PortOption("ops_base", "--ops-port-base", "CARILLON_OPS_PORT_BASE", "probes and metrics, one port per service"),
    PortOption("prometheus", "--prometheus-port", "CARILLON_PROMETHEUS_PORT", "Prometheus, where it is installed"),
)

# Moves all ports, except those that are given on their own.
PORT_BASE_OPTION = "--port-base"


def is_free(port: int) -> bool:
    """Return whether a server of ours could listen on that port of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of a server that has just ended do not count, a listening server does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
        return True


def free_port(taken: Collection[int] = (), *, in_a_row: int = 1) -> int:
    """Return a free port, the first of so many in a row, none of them among those already taken."""
    for _ in range(_TRIES):
        first = random.choice(FREE_PORTS)  # noqa: S311 - no secret
        if all(port not in taken and is_free(port) for port in range(first, first + in_a_row)):
            return first
    raise OSError(f"no free port between {FREE_PORTS.start} and {FREE_PORTS.stop - 1}")


# The order of ``Ports.from_base``. The last one stands for as many as there are services.
IN_A_ROW = ("mqtt", "redis", "http", "sandbox", "smtp", "apns", "sms_callback", "prometheus", "console", "ops_base")
PORTS_IN_A_ROW = len(IN_A_ROW) - 1 + len(SERVICES)
HIGHEST_PORT = 65_535


@dataclass(frozen=True)
class Ports:
    """Where the parts of one system listen; the ops endpoints follow ``ops_base`` in the order of SERVICES."""

    mqtt: int = 1883
    redis: int = 6379
    http: int = 8080
    sandbox: int = 8025
    smtp: int = 1025
    apns: int = 2197
    sms_callback: int = 8082
    ops_base: int = 9100
    prometheus: int = 9190
    console: int = 8026

    @classmethod
    def from_base(cls, base: int) -> "Ports":
        """Return ports in a row, in the order of IN_A_ROW."""
        return cls(**{name: base + offset for offset, name in enumerate(IN_A_ROW)})

    @classmethod
    def free(cls) -> "Ports":
        """Return ports that nobody uses at the moment."""
        ops_base = free_port(in_a_row=len(SERVICES))
        ports = cls(ops_base=ops_base)
        taken = {ops_base + offset for offset in range(len(SERVICES))}
        for name in ("mqtt", "redis", "http", "sandbox", "smtp", "apns", "sms_callback", "prometheus", "console"):
            port = free_port(taken)
            taken.add(port)
            ports = replace(ports, **{name: port})
        return ports

    def ops(self, service: str) -> int:
        """Return the port for probes and metrics of the first process of a service."""
        return self.ops_base + SERVICES.index(service)

    def all(self) -> set[int]:
        """Return every port that is used."""
        return {*astuple(self), *(self.ops(service) for service in SERVICES)}
