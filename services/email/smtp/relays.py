"""What ``EMAIL_SMTP_URL`` says: relays to hand mail to.

Refuses a malformed value with a sentence that does not repeat it, because it may hold a password. Promises that a
password never leaves in clear text unless the operator wrote ``tls=none``.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import SecretStr

# IANA service names: smtp 25; RFC 6409, 3.1: submission 587; RFC 8314, 7.3: submissions 465.
SMTP_PORT = 25
SUBMISSION_PORT = 587
SUBMISSIONS_PORT = 465


class Tls(StrEnum):
    """How a connection is protected: not at all, after ``STARTTLS``, or from the first byte."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Relay:
    """A server that takes our mail."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: SecretStr | None = None


def parse_relays(text: str) -> tuple[Relay, ...]:
    """Read a comma-separated list of relays, the preferred one first.

    Raises:
        ValueError: a sentence for the operator.
    """
    urls = [part.strip() for part in text.split(",")]
    return tuple(_parse_relay(url, f"relay {number}: " if len(urls) > 1 else "") for number, url in enumerate(urls, 1))


def _parse_relay(text: str, which: str) -> Relay:
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or SMTP_PORT
    except ValueError:
        url, host, port = SplitResult("", "", "", "", ""), None, SMTP_PORT
    if url.scheme != "smtp" or not host or url.path not in ("", "/") or url.fragment:
        raise ValueError(
            f"{which}a URL of the form smtp://[user:password@]host:port[?tls=none|starttls|implicit] is required;"
            " special characters in user and password are percent-encoded"
        )
    if (url.username is None) != (url.password is None):
        raise ValueError(f"{which}user and password go together")
    tls = _parse_tls(url.query, port, which, has_password=url.password is not None)
    if url.username is None or url.password is None:
        return Relay(host, port, tls)
    return Relay(host, port, tls, unquote(url.username), SecretStr(unquote(url.password)))


def _parse_tls(query: str, port: int, which: str, *, has_password: bool) -> Tls:
    wanted = dict(parse_qsl(query, keep_blank_values=True))
    word = wanted.pop("tls", None)
    if wanted:
        raise ValueError(f"{which}the only parameter of the URL is tls")
    if word is not None:
        try:
            return Tls(word)
        except ValueError:
            raise ValueError(f"{which}tls is none, starttls or implicit") from None
    tls = {SUBMISSIONS_PORT: Tls.IMPLICIT, SUBMISSION_PORT: Tls.STARTTLS}.get(port, Tls.NONE)
    if has_password and tls is Tls.NONE:
        raise ValueError(f"{which}the password would leave unencrypted; add tls=starttls or implicit, or else tls=none")
    return tls
