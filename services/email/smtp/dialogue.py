"""Commands and replies on a connection to a relay, in groups where the relay takes them so (PIPELINING, RFC 2920).

Promises that each reply belongs to its own command: if a relay says anything unasked, the connection is closed.
aiosmtplib makes the connections, but waits for the reply to each command and drops what arrives earlier
(docs/decisions/0010).
"""

import asyncio
import re
from typing import Self

import aiosmtplib

# RFC 5321, 4.2: three digits, then a space for the last line of a reply and a hyphen for any other.
_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\n]*?))?\r?\n", re.DOTALL)
# RFC 5321, 4.5.3.1.5: 512 bytes a line; long policies come in many of them.
REPLIES_LIMIT_BYTES = 32 * 1024

_NO_REPLY = -1


class Dialogue(asyncio.Protocol):
    """What is said on one connection; one question at a time.

    Args:
        transport: connected, greeted, and logged in. From now on we read everything that arrives on it.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._received = bytearray()
        self._replies: list[aiosmtplib.SMTPResponse] = []
        self._wanted = 0
        self._answered: asyncio.Future[None] | None = None

    @classmethod
    def take_over(cls, smtp: aiosmtplib.SMTP) -> Self:
        """Go on where aiosmtplib has logged in.

        Raises:
            SMTPServerDisconnected: the relay has gone already.
        """
        transport = smtp.transport
        if not isinstance(transport, asyncio.Transport) or transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("after the login")
        dialogue = cls(transport)
        transport.set_protocol(dialogue)
        return dialogue

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed the connection, as far as we know."""
        return not self._transport.is_closing()

    async def ask(self, *commands: bytes) -> list[aiosmtplib.SMTPResponse]:
        """Send commands, or a mail's content, in one piece and wait for a reply to each.

        Returns:
            The replies; fewer than commands, but at least one, where the relay closed the connection in between.

        Raises:
            SMTPServerDisconnected: there was no reply at all.
            SMTPResponseException: what came is no reply of SMTP.
        """
        if self._transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("before the command")
        self._replies, self._wanted = [], len(commands)
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(b"".join(commands))
        try:
            await self._answered
        finally:
            self._wanted = 0
        return self._replies

    def say(self, command: bytes) -> None:
        """Send a command whose reply nobody waits for; the connection is closed next."""
        if not self._transport.is_closing():
            self._transport.write(command)

    def close(self) -> None:
        """Close the connection at once."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what the relay says."""
        self._received += data
        while len(self._replies) < self._wanted:
            try:
                reply = _next_reply(self._received)
            except aiosmtplib.SMTPResponseException as error:
                self._end(error)
                return
            if reply is None:
                return
            self._replies.append(reply)
        if self._received:
            # For example the 421 of a relay that closes because we were idle. It must not be taken for an answer.
            self._transport.close()
        self._end(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """Take note that nothing more will come."""
        self._end(None if self._replies else aiosmtplib.SMTPServerDisconnected("without a reply"))

    def _end(self, error: Exception | None) -> None:
        if self._answered is None or self._answered.done():
            return
        if error is None:
            self._answered.set_result(None)
        else:
            self._answered.set_exception(error)


def _next_reply(received: bytearray) -> aiosmtplib.SMTPResponse | None:
    """Take one whole reply from what was received; None when more is to come.

    Raises:
        SMTPResponseException: this is no reply, or an endless one.
    """
    texts: list[bytes] = []
    at = 0
    while line := _REPLY_LINE.match(received, at):
        code, separator, text = line.groups()
        texts.append((text or b"").strip())
        at = line.end()
        if separator != b"-":
            del received[:at]
            return aiosmtplib.SMTPResponse(int(code), b"\n".join(texts).decode(errors="surrogateescape"))
    if received.find(b"\n", at) >= 0 or len(received) > REPLIES_LIMIT_BYTES:
        raise aiosmtplib.SMTPResponseException(_NO_REPLY, "not a reply")
    return None
