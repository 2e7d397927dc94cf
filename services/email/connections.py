"""Open connections to one relay, kept and used again.

Promises that a connection carries one mail at a time, that it is closed after any error and at the limits below, and
that nothing of a mail was sent when ``begin`` fails. There are at most as many connections as mails were in flight at
once, because an idle one is always taken before another is opened.
"""

import asyncio
import ssl
from collections import deque
from time import monotonic

import aiosmtplib

from services.email.relays import Relay, Tls
from services.email.render import Mail
from services.email.verdict import verdict, verdict_after_data
from shared.errors import TemporaryFailure

# Connecting, TLS and login together. Shorter than an attempt's deadline, so that there is time for the next relay.
CONNECT_TIMEOUT_S = 10.0
# RFC 5321, 4.5.3.2.7: servers wait at least five minutes for a command; hosted relays are known to wait far less.
IDLE_LIMIT_S = 30.0
# So that a change of the relay's addresses or certificates is noticed, and one connection is not used for ever.
AGE_LIMIT_S = 300.0
MAILS_LIMIT = 100
# A relay that could not be reached is asked last for this long.
AVOID_S = 30.0
QUIT_TIMEOUT_S = 2.0

_DATA_EXPECTED = 354  # RFC 5321, 4.2.3
# A challenge keeps the password off an unprotected connection; aiosmtplib has one try for each method, and with a wrong
# password three failures in a row look like an attack.
_METHODS = ("plain", "login", "cram-md5")
_METHODS_UNPROTECTED = ("cram-md5", "plain", "login")


class Connection:
    """One connection to a relay, logged in."""

    def __init__(self, smtp: aiosmtplib.SMTP) -> None:
        self._smtp = smtp
        self._opened_s = monotonic()
        self._mails = 0
        self.idle_since_s = self._opened_s

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it, as far as we know."""
        return self._smtp.is_connected

    @property
    def is_worn(self) -> bool:
        """Whether it has served long enough."""
        return self._mails >= MAILS_LIMIT or monotonic() - self._opened_s >= AGE_LIMIT_S

    async def begin(self, mail: Mail) -> None:
        """Open a mail transaction."""
        options = [f"SIZE={len(mail.raw)}"] if self._smtp.supports_extension("size") else []
        await self._smtp.mail(mail.sender, options=options)

    async def finish(self, mail: Mail) -> str:
        """Name the recipient, hand the mail over, and return the text of the relay's answer.

        Raises:
            DeliveryError: it was not accepted, or nobody knows.
        """
        protocol = self._smtp.protocol
        try:
            if protocol is None:
                raise aiosmtplib.SMTPServerDisconnected("before RCPT")
            await self._smtp.rcpt(mail.recipient)
            # DATA and the content in two steps, unlike aiosmtplib's own method: what fails before the relay asked for
            # the content has certainly not arrived.
            reply = await self._smtp.execute_command(b"DATA")
            if reply.code != _DATA_EXPECTED:
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)
            protocol.write(_with_dots(mail.raw))
        except (aiosmtplib.SMTPException, OSError) as error:
            # From None, here and below: the library's errors hold addresses and the relay's text.
            raise verdict(error) from None
        try:
            reply = await protocol.read_response()
            # RFC 5321, 4.2.1: any 2yz is a positive completion.
            if reply.code // 100 != 2:
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise verdict_after_data(error) from None
        self._mails += 1
        return reply.message

    def close(self) -> None:
        """Close at once; for a connection in a state that nobody knows."""
        self._smtp.close()

    def leave(self) -> None:
        """Say goodbye and close without waiting for the answer, so that nobody waits who has a result to report."""
        if self._smtp.protocol is not None and self._smtp.is_connected:
            self._smtp.protocol.write(b"QUIT\r\n")
        self._smtp.close()

    async def quit(self) -> None:
        """Say goodbye and wait for the answer, but not for long."""
        try:
            async with asyncio.timeout(QUIT_TIMEOUT_S):
                await self._smtp.quit()
        except (aiosmtplib.SMTPException, OSError):
            pass
        finally:
            self._smtp.close()


class Connections:
    """The connections to one relay.

    Args:
        relay: whom to connect to.
        tls: verifies its certificate.
    """

    def __init__(self, relay: Relay, tls: ssl.SSLContext) -> None:
        self._relay = relay
        self._tls = tls
        # The longest idle one is on the left, the next to be used on the right: what is not needed can grow cold.
        self._idle: deque[Connection] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._avoid_until_s = 0.0
        self._local_hostname: str | None = None

    @property
    def is_avoided(self) -> bool:
        """Whether the relay could not be reached a moment ago."""
        return monotonic() < self._avoid_until_s

    async def begin(self, mail: Mail) -> Connection:
        """Open a mail transaction on an idle connection, or else on another one.

        An idle connection that the relay has closed meanwhile is replaced once; nothing was sent yet.

        Raises:
            DeliveryError: the relay cannot be reached, or does not want us.
        """
        if (idle := self._take()) and await self._begun(idle, mail):
            return idle
        connection = await self._open()
        try:
            await connection.begin(mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            connection.close()
            raise verdict(error) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next mail; only after one that was accepted."""
        if connection.is_worn or not connection.is_open:
            connection.leave()
            return
        connection.idle_since_s = monotonic()
        self._idle.append(connection)
        self._reap_later()

    async def close(self) -> None:
        """Close the idle connections, politely."""
        if self._reaper:
            self._reaper.cancel()
        async with asyncio.TaskGroup() as farewells:
            while self._idle:
                farewells.create_task(self._idle.pop().quit(), name="smtp-quit")

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and not connection.is_worn:
                return connection
            connection.leave()
        return None

    @staticmethod
    async def _begun(connection: Connection, mail: Mail) -> bool:
        """Tell whether a connection that was idle still works."""
        try:
            await connection.begin(mail)
        except (aiosmtplib.SMTPServerDisconnected, OSError):
            connection.close()
            return False
        except aiosmtplib.SMTPException as error:
            connection.close()
            # RFC 5321, 3.8: 421 says that the server closes, for example because we were idle too long.
            if isinstance(error, aiosmtplib.SMTPResponseException) and error.code == 421:
                return False
            raise verdict(error) from None
        except BaseException:
            connection.close()
            raise
        return True

    async def _open(self) -> Connection:
        relay = self._relay
        smtp = aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            use_tls=relay.tls is Tls.IMPLICIT,
            start_tls=relay.tls is Tls.STARTTLS,
            tls_context=self._tls,
            local_hostname=self._local_hostname,
            timeout=None,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await smtp.connect()
                await smtp.ehlo()
                await self._log_in(smtp)
        except (aiosmtplib.SMTPException, OSError) as error:
            smtp.close()
            failure = verdict(error)
            if isinstance(failure, TemporaryFailure):
                self._avoid_until_s = monotonic() + AVOID_S
            raise failure from None
        except BaseException:
            smtp.close()
            raise
        self._avoid_until_s = 0.0
        # What aiosmtplib found out: asking the resolver again for every connection would cost a thread each.
        self._local_hostname = smtp.local_hostname
        return Connection(smtp)

    async def _log_in(self, smtp: aiosmtplib.SMTP) -> None:
        if self._relay.username is None or self._relay.password is None:
            return
        username, password = self._relay.username, self._relay.password.get_secret_value()
        preferred = _METHODS_UNPROTECTED if self._relay.tls is Tls.NONE else _METHODS
        method = next((method for method in preferred if method in smtp.server_auth_methods), None)
        match method:
            case "plain":
                await smtp.auth_plain(username, password)
            case "login":
                await smtp.auth_login(username, password)
            case "cram-md5":
                await smtp.auth_crammd5(username, password)
            case _:
                raise aiosmtplib.SMTPException("no AUTH method in common")

    def _reap_later(self) -> None:
        if self._idle and self._reaper is None:
            wait_s = self._idle[0].idle_since_s + IDLE_LIMIT_S - monotonic()
            self._reaper = asyncio.get_running_loop().call_later(wait_s, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        while self._idle and monotonic() - self._idle[0].idle_since_s >= IDLE_LIMIT_S:
            self._idle.popleft().leave()
        self._reap_later()


def _with_dots(raw: bytes) -> bytes:
    """Add the dots of DATA: one before each that starts a line, and the final one (RFC 5321, 4.5.2)."""
    return raw.replace(b"\r\n.", b"\r\n..") + b".\r\n"
