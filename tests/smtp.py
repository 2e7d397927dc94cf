"""Shared by the tests of the email channel: attempts, settings, and a relay that follows a script."""

import asyncio
import base64
import hmac
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sandbox.credentials import SES_REGION
from sandbox.server import Sandbox
from services.email.providers import EmailServiceSettings
from services.email.settings import EmailSettings
from services.email.smtp.provider import SmtpProvider, SmtpSettings, smtp_providers
from shared.core.clock import SystemClock
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority
from shared.delivery.attempt import Attempt
from shared.runtime.providers import Parts
from tests.waiting import eventually

ID = "01893e4a-0000-7003-8000-000000000000"


def token_without_category(secret: str, address_digest: str) -> str:
    """Make a token as in mails that were sent before links had a category."""
    address = bytes.fromhex(address_digest)
    mac = hmac.digest(secret.encode(), b"carillon unsubscribe v1\0" + address, "sha256")[:16]
    return base64.urlsafe_b64encode(address + mac).decode()


def attempt(
    to: str = "user123@example.com",
    title: str = "Hello",
    message: str = "Good morning.",
    priority: Priority = Priority.NORMAL,
    html_body: str | None = None,
) -> Attempt:
    delivery = Delivery(
        key="email:user123",
        channel=Channel.EMAIL,
        priority=priority,
        address=EmailAddress(email=to),
        due_ms=0,
        expires_ms=10**13,
    )
    notification = Notification(
        id=ID,
        kind="email_send",
        priority=priority,
        accepted_ms=0,
        content=Content(title=title, message=message, html_body=html_body),
    )
    return Attempt(notification, delivery, number=1, in_doubt=False, deadline=datetime.now(UTC))


def email_settings(*urls: str, **others: Any) -> EmailServiceSettings:
    return EmailServiceSettings.model_validate(
        {
            "mqtt_url": "mqtt://localhost",
            "redis_url": "redis://localhost",
            "email_smtp_url": ",".join(urls),
            "email_from": "Carillon <notifications@example.com>",
            **others,
        }
    )


def ses_environment(box: Sandbox) -> dict[str, str]:
    """The settings that send mail to the sandbox's SES."""
    return {
        "EMAIL_SES_REGION": SES_REGION,
        "EMAIL_SES_ACCESS_KEY_ID": box.credentials.ses_access_key_id,
        "EMAIL_SES_SECRET_ACCESS_KEY": box.credentials.ses_secret_access_key,
        "EMAIL_SES_URL": box.addresses.http_url,
    }


def ses_settings(box: Sandbox, **others: str) -> EmailServiceSettings:
    """Settings of the email service with SES alone."""
    given = {name.lower(): value for name, value in ses_environment(box).items()} | others
    return EmailServiceSettings.model_validate(
        {
            "mqtt_url": "mqtt://localhost",
            "redis_url": "redis://localhost",
            "email_from": "Carillon <notifications@example.com>",
            **given,
        }
    )


def open_smtp(settings: EmailSettings) -> SmtpProvider:
    """The provider of the first relay, as the service builds it."""
    smtp = settings.of(SmtpSettings)
    assert smtp is not None
    return smtp_providers(smtp, Parts(settings, SystemClock()))[0]


@dataclass
class Relay:
    """A relay that answers each command from a script, and counts.

    Attributes:
        script: for each connection in turn, the answers that differ from a polite relay's, by the command's first word;
            GREETING and CONTENT stand for the two that follow no command, None for closing without a word.
    """

    script: list[dict[str, str | None]] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    commands: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        special = self.script[self.connections] if self.connections < len(self.script) else {}
        self.connections += 1
        self.open += 1
        self.writers.append(writer)
        usual = {
            "GREETING": "220 localhost", "EHLO": "250-localhost\r\n250 SIZE 1000000", "DATA": "354 go on",
            "CONTENT": "250 2.0.0 Ok: queued as 4bQ7xyz", "QUIT": "221 bye",
        }  # fmt: skip
        word = "GREETING"
        try:
            while (answer := {**usual, **special}.get(word, "250 2.0.0 Ok")) is not None:
                writer.write(f"{answer}\r\n".encode())
                await writer.drain()
                if answer.startswith("354"):
                    self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                    word = "CONTENT"
                elif word == "QUIT" or answer.startswith("421"):
                    break
                else:
                    word = (await reader.readuntil(b"\r\n")).split()[0].decode()
                    self.commands.append(word)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def relay(*script: dict[str, str | None], tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    scripted = Relay(list(script))
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        scripted.url = f"smtp://127.0.0.1:{port}?tls={'implicit' if tls else 'none'}"
        yield scripted
        for writer in scripted.writers:
            writer.transport.abort()
        await eventually(lambda: scripted.open == 0)


@dataclass
class PasswordRelay:
    """A relay of aiosmtpd's that asks for STARTTLS and a password, which can change while mails flow.

    Attributes:
        mails: what arrived: recipient, bytes and when, by ``time.monotonic``.
        logins: when somebody tried to log in, by the same clock.
        reply: said to every MAIL instead of the usual answer.
        silent: take connections and commands, and never answer again.
    """

    user: str = "user@example.com"
    password: str = "first,pass/word"
    mails: list[tuple[str, bytes, float]] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    reply: str | None = None
    silent: bool = False
    port: int = 0
    _sessions: WeakKeyDictionary[Session, str] = field(default_factory=WeakKeyDictionary)
    _connections: set["_Connection"] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its URL, with the password of the moment."""
        return f"smtp://{quote(self.user, safe='')}:{quote(self.password, safe='')}@127.0.0.1:{self.port}?tls=starttls"

    @property
    def recipients(self) -> Counter[str]:
        """How many mails each recipient got."""
        return Counter(to for to, _, _ in self.mails)

    async def start(self, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._connections, tls), "127.0.0.1", self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End it and its connections at once."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
        await eventually(lambda: not self._connections)

    def authenticate(
        self, _server: SMTP, session: Session, _envelope: Envelope, _mechanism: str, credentials: object
    ) -> AuthResult:
        right = credentials == LoginPassword(self.user.encode(), self.password.encode())
        self.logins.append(time.monotonic())
        self._sessions[session] = self.password
        return AuthResult(success=right, handled=False)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.reply is not None:
            return self.reply
        # A login with a password that is not valid any more counts for nothing.
        if self._sessions.get(session) != self.password:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails += [(to, content, time.monotonic()) for to in envelope.rcpt_tos]
        return "250 2.0.0 Ok: queued as 4bQ7xyz"


class _Connection(SMTP):
    def __init__(self, relay: PasswordRelay, connections: set["_Connection"], tls: ssl.SSLContext) -> None:
        super().__init__(
            relay, hostname="localhost", tls_context=tls, require_starttls=True, auth_required=True,
            auth_exclude_mechanism=["LOGIN"], authenticator=relay.authenticate, loop=asyncio.get_running_loop(),
        )  # fmt: skip
        self._relay = relay
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(error)

    async def push(self, status: Any) -> None:
        if self._relay.silent:
            await asyncio.Event().wait()  # Cancelled by the end of the connection.
        await super().push(status)

    def abort(self) -> None:
        transport = self._original_transport or self.transport
        if isinstance(transport, asyncio.Transport):
            transport.abort()
