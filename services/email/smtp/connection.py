"""One connection to a relay: open it, send one mail after the other, leave.

Promises that every failure says whether the mail can have arrived. If ``hand_over`` fails or is cancelled, the caller
closes the connection, because nobody knows what the relay would answer next.
"""

import asyncio
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Self

import aiosmtplib

from services.email.render import Mail
from services.email.smtp.dialogue import Dialogue
from services.email.smtp.relays import Relay, Tls
from services.email.smtp.verdict import verdict, verdict_after_data

# Connecting, TLS and login together. Shorter than an attempt's deadline, so that there is time for the next relay. If
# there is one, the delivery loop allows less.
CONNECT_TIMEOUT_S = 10.0
# A connection is not used for ever, so that we notice when the relay changes its addresses or certificates.
AGE_LIMIT_S = 300.0
MAILS_LIMIT = 100
# In a row; relays slow down whom they refuse again and again (Postfix, smtpd_soft_error_limit: 10).
REFUSALS_LIMIT = 5
QUIT_TIMEOUT_S = 2.0

_NO_EHLO = frozenset({500, 502})  # RFC 5321, 3.2: a server without extensions, to be greeted with HELO
CLOSING = 421  # RFC 5321, 3.8: and closes the connection
_QUIT = b"QUIT\r\n"
# A challenge keeps the password off an unprotected connection. The method is chosen here, because aiosmtplib's own
# login tries all of them: three failures for one wrong password look like an attack.
_METHODS = ("plain", "login", "cram-md5")
_METHODS_UNPROTECTED = ("cram-md5", "plain", "login")


def _recipient_refused(code: int, text: str) -> aiosmtplib.SMTPRecipientRefused:
    # Without the address: an error must not hold it.
    return aiosmtplib.SMTPRecipientRefused(code, text, "")


def _sender_refused(code: int, text: str) -> aiosmtplib.SMTPSenderRefused:
    return aiosmtplib.SMTPSenderRefused(code, text, "")


class Connection:
    """One connection to a relay, logged in."""

    def __init__(self, smtp: aiosmtplib.SMTP) -> None:
        self._dialogue = Dialogue.take_over(smtp)
        self._pipelines = smtp.supports_extension("pipelining")
        self._takes_size = smtp.supports_extension("size")
        self._opened_s = monotonic()
        self._mails = 0
        self._refusals = 0
        # Whether the relay may remember something of a mail that it refused.
        self._in_a_mail = False
        self.local_hostname = smtp.local_hostname
        self.idle_since_s = self._opened_s

    @classmethod
    async def open(cls, relay: Relay, tls: ssl.SSLContext, local_hostname: str | None) -> Self:
        """Connect and log in.

        Args:
            relay: whom to connect to.
            tls: verifies its certificate.
            local_hostname: how to introduce ourselves; None to find out.

        Raises:
            DeliveryError: the relay cannot be reached, or does not want us.
        """
        smtp = aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            use_tls=relay.tls is Tls.IMPLICIT,
            start_tls=relay.tls is Tls.STARTTLS,
            tls_context=tls,
            local_hostname=local_hostname,
            timeout=None,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await smtp.connect()
                await _introduce(smtp)
                await _log_in(smtp, relay)
            return cls(smtp)
        except (aiosmtplib.SMTPException, OSError) as error:
            smtp.close()
            # From None, here and below: the library's errors hold addresses and the relay's text.
            raise verdict(error) from None
        except BaseException:
            smtp.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it is open, as far as we know."""
        return self._dialogue.is_open

    @property
    def is_worn(self) -> bool:
        """Whether it is old enough to be replaced."""
        return self._mails >= MAILS_LIMIT or monotonic() - self._opened_s >= AGE_LIMIT_S

    async def announce(self, mail: Mail) -> None:
        """Name sender and recipient, and ask to hand the mail over. If this fails, nothing of the mail was sent.

        After a failure the connection is closed, or ready for the next mail.

        Raises:
            SMTPException: the relay does not want it, or has gone.
        """
        size = b" SIZE=%d" % len(mail.raw) if self._takes_size else b""
        steps = [
            (b"MAIL FROM:<%s>%s\r\n" % (mail.sender.encode("ascii"), size), 2, _sender_refused),
            (b"RCPT TO:<%s>\r\n" % mail.recipient.encode("ascii"), 2, _recipient_refused),
            (b"DATA\r\n", 3, aiosmtplib.SMTPDataError),
        ]
        if self._in_a_mail:
            # RFC 5321, 4.1.1.5: forget the refused one.
            steps.insert(0, (b"RSET\r\n", 2, _sender_refused))
        self._in_a_mail = True
        # RFC 2920, 3.1: DATA may end a group, because nothing is sent after it before its reply.
        for group in [steps] if self._pipelines else [[step] for step in steps]:
            try:
                replies = await self._dialogue.ask(*(command for command, _, _ in group))
            except BaseException:
                self._dialogue.close()
                raise
            for reply, (_, wanted, refusal) in zip(replies, group, strict=False):
                # RFC 5321, 4.2.1: the class says it all.
                if reply.code // 100 != wanted:
                    error = refusal(reply.code, reply.message)
                    self._close_unless_ready(error, replies, len(group))
                    raise error
            if len(replies) < len(group):
                raise aiosmtplib.SMTPServerDisconnected("before the content")
        self._in_a_mail = False

    def _close_unless_ready(
        self, error: aiosmtplib.SMTPResponseException, replies: Sequence[aiosmtplib.SMTPResponse], asked: int
    ) -> None:
        """Close the connection after a refusal, unless the relay waits for another mail on it."""
        self._refusals += 1
        # A relay may ask for the content of a mail that it has refused (RFC 2920, 3.1).
        is_ready = len(replies) == asked and replies[-1].code // 100 != 3
        # A refusal for good before any recipient was named is about us, and perhaps about our login.
        is_about_us = isinstance(error, aiosmtplib.SMTPSenderRefused) and error.code >= 500
        is_closing = any(reply.code == CLOSING for reply in replies)
        if not is_ready or is_about_us or is_closing or self._refusals >= REFUSALS_LIMIT:
            self._dialogue.close()

    async def hand_over(self, mail: Mail) -> str:
        """Send the mail that was announced, and return the text of the relay's answer.

        Raises:
            DeliveryError: it was not accepted, or nobody knows.
        """
        if not self.is_open:
            raise verdict(aiosmtplib.SMTPServerDisconnected("before the content"))
        try:
            (reply,) = await self._dialogue.ask(_with_dots(mail.raw))
            if reply.code // 100 != 2:
                raise aiosmtplib.SMTPDataError(reply.code, reply.message)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise verdict_after_data(error) from None
        self._mails += 1
        self._refusals = 0
        return reply.message

    def close(self) -> None:
        """Close at once: for a connection whose state nobody knows."""
        self._dialogue.close()

    def leave(self) -> None:
        """Say goodbye and close without waiting for the answer: the caller has a result to report."""
        self._dialogue.say(_QUIT)
        self._dialogue.close()

    async def quit(self) -> None:
        """Say goodbye and wait for the answer, but not for long."""
        try:
            async with asyncio.timeout(QUIT_TIMEOUT_S):
                await self._dialogue.ask(_QUIT)
        except (aiosmtplib.SMTPException, OSError):
            pass
        finally:
            self._dialogue.close()


async def _introduce(smtp: aiosmtplib.SMTP) -> None:
    try:
        await smtp.ehlo()
    except aiosmtplib.SMTPHeloError as error:
        if error.code not in _NO_EHLO:
            raise
        await smtp.helo()


async def _log_in(smtp: aiosmtplib.SMTP, relay: Relay) -> None:
    if relay.username is None or relay.password is None:
        return
    username, password = relay.username, relay.password.get_secret_value()
    preferred = _METHODS_UNPROTECTED if relay.tls is Tls.NONE else _METHODS
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


def _with_dots(raw: bytes) -> bytes:
    """Add the dots of DATA: one before each that starts a line, and the final one (RFC 5321, 4.5.2)."""
    return raw.replace(b"\r\n.", b"\r\n..") + b".\r\n"
