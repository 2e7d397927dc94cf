"""SMTP: a relay that accepts every mail and keeps it.

Promises one entry a recipient, SMTPUTF8, 8BITMIME and PIPELINING, and STARTTLS with AUTH if a user is set. Checks no
address and delivers nothing. Bounds: SIZE_LIMIT_BYTES a mail, CONNECTION_LIMIT connections.
"""

import asyncio
import hmac
import logging
import re
import ssl
import uuid
from functools import partial
from typing import AnyStr

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session, TLSSetupException

from sandbox import mail
from sandbox.exchange import CutConnectionError, is_answered, play_after, play_silence
from sandbox.kept import Effect, Kept
from sandbox.listener import Connections, Listener
from sandbox.script import Fault, Script, Stage

_log = logging.getLogger(__name__)

SIZE_LIMIT_BYTES = 35 * 1024 * 1024
CONNECTION_LIMIT = 1_000

# A path without quoting, comments or source route, and what may follow it (RFC 5321, 4.1.2).
_PLAIN_ADDRESS = re.compile(r"<(?P<address>[^\s<>@\"\\,:;()\[\]]+@[^\s<>@\"\\,:;()\[\]]+)>(?P<parameters>(?: .*)?)")
# RFC 4954, 6.
_CREDENTIALS_INVALID = "535 5.7.8 Authentication credentials invalid"
# RFC 5321, 3.8: a server that is too busy says 421 and closes.
_TOO_MANY = b"421 4.3.2 Too many connections\r\n"


class Relay:
    """What the relay does with a mail: the handler that aiosmtpd calls by the names of its methods."""

    def __init__(self, kept: Kept, script: Script, user: str | None, password: str | None) -> None:
        self._kept = kept
        self._script = script
        self._user = user
        self._password = password

    async def handle_EHLO(  # noqa: N802  # aiosmtpd names its hooks after the commands.
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Say what the relay can do."""
        del server, envelope
        session.host_name = hostname
        # aiosmtpd reads command by command from one buffer, which is all that PIPELINING asks (RFC 2920, 3.2).
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", responses[-1]]

    async def handle_AUTH(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, arguments: list[str]
    ) -> object:
        """Let a scripted refusal come before the password is looked at."""
        del server, session, envelope, arguments
        return await self._played((), "auth", "login") or MISSING

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take the sender."""
        del server, session
        if refusal := await self._played((), "mail", "login"):
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take one recipient."""
        del server, session
        if refusal := await self._played((address,), "rcpt"):
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep the mail, once for each recipient."""
        del server, session
        fault = self._script.take("smtp", envelope.rcpt_tos, "data")
        if refusal := await _refusal(fault):
            return refusal
        raw = envelope.original_content or b""
        queue_id = uuid.uuid4().hex
        notification_id = mail.notification_id(raw)
        for position, to in enumerate(envelope.rcpt_tos):
            effect = Effect(
                channel="email",
                provider="smtp",
                to=to,
                id=f"{queue_id}-{position}" if position else queue_id,
                content=partial(_read, raw, envelope.mail_from),
                size_bytes=len(raw),
                notification_id=notification_id,
                answered=is_answered(fault),
            )
            await self._kept.keep(effect)
        await play_after(fault)
        return f"250 2.0.0 OK queued as {queue_id}"

    async def before_data(self, envelope: Envelope) -> None:
        """Play a fault that comes when DATA is said and nothing is read.

        Raises:
            CutConnectionError: the fault says so.
        """
        await play_silence(self._script.take("smtp", envelope.rcpt_tos, "command"))

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, credentials: object
    ) -> AuthResult:
        """Check user and password."""
        del server, session, envelope, mechanism
        if self._user is None or self._password is None or not isinstance(credentials, LoginPassword):
            return AuthResult(success=False, handled=False)
        right_user = hmac.compare_digest(credentials.login, self._user.encode())
        right_password = hmac.compare_digest(credentials.password, self._password.encode())
        return AuthResult(success=right_user and right_password, handled=False)

    async def _played(self, to: tuple[str, ...], *stages: Stage) -> str | None:
        """The reply that a fault at this stage gives instead of the usual one."""
        fault = self._script.take("smtp", to, *stages)
        refusal = await _refusal(fault)
        if refusal is None:
            await play_after(fault)
        return refusal


class Connection(SMTP):
    """One connection to the relay; adds to aiosmtpd's what scripted faults and a prompt end need."""

    def __init__(self, relay: Relay, connections: Connections, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            relay,
            data_size_limit=SIZE_LIMIT_BYTES,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname="localhost",
            ident="Carillon sandbox",
            tls_context=tls,
            require_starttls=tls is not None,
            auth_required=tls is not None,
            # One mechanism only. Clients try the next one if the first is refused, and one login should give one
            # refusal.
            auth_exclude_mechanism=["LOGIN"],
            authenticator=relay.authenticate,
            loop=asyncio.get_running_loop(),
        )
        self._relay = relay
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; STARTTLS makes it a second time."""
        super().connection_made(transport)
        self._connections.add(self)
        if len(self._connections) > CONNECTION_LIMIT and isinstance(transport, asyncio.Transport):
            transport.write(_TOO_MANY)
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._connections.discard(self)
        super().connection_lost(error)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """Encrypt. Notices here if the client leaves meanwhile, because asyncio does not report it."""
        await super().smtp_STARTTLS(arg)
        if self._tls_protocol is not None and self.session is not None and self.session.ssl is None:
            self.connection_lost(None)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        """Read a mail, unless a fault comes first."""
        if self.envelope is not None and self.envelope.rcpt_tos:
            await self._relay.before_data(self.envelope)
        await super().smtp_DATA(arg)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Read the usual form of an address at once: a mail then takes 0.3 ms of CPU instead of 0.5 ms."""
        if plain := _PLAIN_ADDRESS.fullmatch(arg):
            return plain["address"], plain["parameters"]
        return super()._getaddr(arg)

    async def push(self, status: AnyStr) -> None:
        """Send a reply if anybody listens; after a 421 the connection is closed (RFC 5321, 3.8)."""
        if self.transport is None:
            return
        await super().push(status)
        code = status[:3] if isinstance(status, str) else status[:3].decode("ascii", "replace")
        if code == "421" and self.transport is not None:
            self.transport.close()

    async def handle_exception(self, error: Exception) -> str:
        """Cut the connection if a fault asks for it. Any other error is ours, and the client may try again."""
        if isinstance(error, CutConnectionError):
            self.abort()
            await asyncio.Event().wait()  # connection_lost comes next and cancels this task.
        if not isinstance(error, TLSSetupException):  # The client caused this one: it refused our certificate.
            _log.error("An SMTP command failed.", exc_info=error)
        return "451 4.3.0 Local error in processing"

    def abort(self) -> None:
        """End the connection without a word."""
        transport = self._original_transport or self.transport
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def smtp_listener(relay: Relay, tls: ssl.SSLContext | None) -> Listener:
    """A listener that speaks SMTP; with a TLS context it asks for STARTTLS and AUTH."""
    return Listener(lambda connections: Connection(relay, connections, tls))


async def _refusal(fault: Fault | None) -> str | None:
    """Play what comes before the command is carried out; None means that it may be.

    Raises:
        CutConnectionError: the fault says so.
    """
    if fault is None:
        return None
    await play_silence(fault)
    line = fault.reply
    if fault.operator:
        line = _CREDENTIALS_INVALID
    elif fault.status is not None:
        text = fault.body if isinstance(fault.body, str) else "Scripted refusal"
        line = f"{fault.status} {fault.code or f'{fault.status // 100}.0.0'} {' '.join(text.split())}"
    if line is not None:
        await asyncio.sleep(fault.delay_s)
    return line


def _read(raw: bytes, sender: str | None) -> dict[str, object]:
    return mail.read(raw) | {"from": sender, "size_bytes": len(raw)}
