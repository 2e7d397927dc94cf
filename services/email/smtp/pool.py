"""Open connections to one relay, kept and used again.

Promises that a connection carries one mail at a time, and that it is closed when it is old or was idle too long. If
``announce`` fails, nothing of the mail was sent. An idle connection is always taken before another is opened, so there
are at most as many as mails were in flight at once.
"""

import asyncio
import ssl
from collections import deque
from time import monotonic

import aiosmtplib

from services.email.render import Mail
from services.email.smtp.connection import CLOSING, Connection
from services.email.smtp.relays import Relay
from services.email.smtp.verdict import verdict
from shared.core.errors import Reason, TemporaryFailure

# RFC 5321, 4.5.3.2.7: servers wait at least five minutes for a command; hosted relays are known to wait far less.
IDLE_LIMIT_S = 30.0
# After so many failed connections in a row the relay counts as down. One mail tries it after each pause, the others
# fail at once.
FAILED_OPENS = 3
OPEN_AGAIN_S = 1.0


class Connections:
    """The connections to one relay.

    Args:
        relay: whom to connect to.
        tls: verifies its certificate.
    """

    def __init__(self, relay: Relay, tls: ssl.SSLContext) -> None:
        self._relay = relay
        self._tls = tls
        # The longest idle one is on the left, the next to be used on the right, so that connections that are not needed
        # expire.
        self._idle: deque[Connection] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._local_hostname: str | None = None
        self._failed_opens = 0
        self._open_again_s = 0.0

    async def announce(self, mail: Mail) -> Connection:
        """Return a connection on which the relay has asked for this mail: an idle one, or else another.

        An idle connection that the relay has closed meanwhile is replaced once; nothing was sent yet.

        Raises:
            DeliveryError: the relay cannot be reached, or does not want us, or not this mail.
        """
        if (idle := self._take()) and await self._announced(idle, mail, may_be_stale=True):
            return idle
        connection = await self._open()
        await self._announced(connection, mail)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that waits for the next mail."""
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

    async def _announced(self, connection: Connection, mail: Mail, *, may_be_stale: bool = False) -> bool:
        """Tell whether a connection still works. If only the mail is refused, the connection is kept."""
        try:
            await connection.announce(mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            if connection.is_open:
                self.give_back(connection)
            elif may_be_stale and _is_gone(error):
                return False
            raise verdict(error) from None
        except BaseException:
            connection.close()
            raise
        return True

    async def _open(self) -> Connection:
        is_away = self._failed_opens >= FAILED_OPENS
        if is_away and monotonic() < self._open_again_s:
            raise TemporaryFailure(Reason.NETWORK, "not connected to a moment ago")
        self._open_again_s = monotonic() + OPEN_AGAIN_S
        try:
            connection = await Connection.open(self._relay, self._tls, self._local_hostname)
        except TemporaryFailure:
            self._failed_opens += 1
            raise
        self._failed_opens = 0
        # Kept, because asking the resolver again for every connection would cost a thread each.
        self._local_hostname = connection.local_hostname
        return connection

    def _reap_later(self) -> None:
        if self._idle and self._reaper is None:
            wait_s = self._idle[0].idle_since_s + IDLE_LIMIT_S - monotonic()
            self._reaper = asyncio.get_running_loop().call_later(wait_s, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        while self._idle and monotonic() - self._idle[0].idle_since_s >= IDLE_LIMIT_S:
            self._idle.popleft().leave()
        self._reap_later()


def _is_gone(error: Exception) -> bool:
    """Tell whether the relay had closed the connection, or was about to."""
    if isinstance(error, aiosmtplib.SMTPSenderRefused):
        # For example because we were idle too long.
        return error.code == CLOSING
    return isinstance(error, OSError)
