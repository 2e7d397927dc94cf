"""Where notifications are published, from one URL."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from carillon_publisher.errors import WrongAddress

_FORMS = "mqtt://[user:pass@]host[:1883], mqtts://…, http://host[:port] or https://…"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and who we are to it."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, url: str, ca_file: Path | None = None) -> Self:
        """Read a URL ``mqtt://…`` or ``mqtts://…``.

        Raises:
            WrongAddress: it is not one; the message does not repeat it, for it may hold a password.
        """
        parts, port = _split(url)
        if parts.scheme not in ("mqtt", "mqtts"):
            raise WrongAddress(f"the url must look like {_FORMS}")
        secure = parts.scheme == "mqtts"
        return cls(
            host=parts.hostname or "",
            port=port or (8883 if secure else 1883),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=trusting(ca_file) if secure else None,
        )


def is_http(url: str) -> bool:
    """Tell whether a URL names the HTTP door, and not a broker.

    Raises:
        WrongAddress: it names neither.
    """
    parts, _ = _split(url)
    if parts.scheme in ("http", "https"):
        if "@" in parts.netloc:
            raise WrongAddress("the key of an http url is given as key=, not in the url")
        return True
    return False


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that trusts a CA bundle, or the system's without one.

    Raises:
        WrongAddress: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # An ssl.SSLError is one, too.
        raise WrongAddress(f"the CA file cannot be used ({error.strerror})") from None


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("mqtt", "mqtts", "http", "https") or not parts.hostname:
        raise WrongAddress(f"the url must look like {_FORMS}")
    return parts, port
