"""The providers of the email channel: SMTP relays, in the operator's order of preference.

One delivery is one recipient, one mail and one attempt. Each relay is a provider of its own, so that one that cannot be
reached, refuses us or puts us off before it took anything is followed by the next (``shared.delivery.failover``), and
that the operator sees which one it is.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

from services.email.render import Mail, render, takes_long
from services.email.settings import EmailSettings
from services.email.smtp.connection import Connection
from services.email.smtp.pool import Connections
from services.email.smtp.relays import Relay
from shared.core.clock import Clock, SystemClock
from shared.core.errors import Reason, TemporaryFailure
from shared.core.model import Delivery, EmailAddress
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.capacity import Places

# What Postfix, Exim and others answer; the syntax of the text is nobody's standard.
_QUEUE_ID = re.compile(r"\b(?:queued as|id=)\s*([\w.+/-]{4,64})", re.ASCII | re.IGNORECASE)

# Longer than a mail that was claimed ahead waits for one of the others to be sent, unless the relay has become slow.
PLACE_WAIT_S = 2.0


def smtp_providers(settings: EmailSettings, clock: Clock | None = None) -> tuple["SmtpProvider", ...]:
    """Make a provider for each relay: ``smtp``, ``smtp-2`` and so on, because a host is no metric label."""
    return tuple(
        SmtpProvider(settings, relay, f"smtp-{position}" if position > 1 else "smtp", clock)
        for position, relay in enumerate(settings.relays, 1)
    )


class SmtpProvider:
    """Hands mail to a relay.

    Args:
        settings: sender and bounds.
        relay: whom to hand it to.
        name: the metric label.
        clock: for the Date field.
    """

    def __init__(self, settings: EmailSettings, relay: Relay, name: str = "smtp", clock: Clock | None = None) -> None:
        self.name = name
        self._sender = settings.sender
        self._unsubscribe = settings.unsubscribe
        self._connections = Connections(relay, settings.tls_context())
        self._places = Places(settings.email_concurrency)
        self._clock = clock or SystemClock()
        # One thread: more would only take turns with each other.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="long mails")

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether it goes to a mailbox."""
        return isinstance(delivery.address, EmailAddress)

    async def send(self, attempt: Attempt) -> Receipt:
        """Hand one mail to the relay."""
        mail = await self._rendered(attempt)
        try:
            with attempt.handover.waiting(Reason.OWN_LIMIT, "a free connection of ours"):
                await self._places.take(attempt.delivery.priority, PLACE_WAIT_S)
        except TimeoutError:
            # The relay was not asked, and is not away.
            raise TemporaryFailure(Reason.OWN_LIMIT, "every connection is busy") from None
        try:
            answer = await self._handed_over(mail, attempt)
        finally:
            self._places.give()
        found = _QUEUE_ID.search(answer)
        return Receipt(provider_id=found[1] if found else mail.message_id)

    async def _handed_over(self, mail: Mail, attempt: Attempt) -> str:
        with attempt.handover.waiting(Reason.TIMEOUT, "the relay to ask for the content"):
            connection = await self._announced(mail, attempt)
        attempt.handover.leaves()
        try:
            answer = await connection.hand_over(mail)
        except BaseException:
            # Cancelled, too: what the relay still answers must not be read as the answer to the next mail.
            connection.close()
            raise
        self._connections.give_back(connection)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        self._writer.shutdown(wait=False, cancel_futures=True)
        await self._connections.close()

    async def _rendered(self, attempt: Attempt) -> Mail:
        """Write the mail; a long one beside the others, which are sent meanwhile."""
        arguments = (attempt, self._sender, self._clock.now(), self._unsubscribe)
        if not takes_long(attempt.content):
            return render(*arguments)
        with attempt.handover.waiting(Reason.OWN_LIMIT, "its text version"):
            return await asyncio.get_running_loop().run_in_executor(self._writer, render, *arguments)

    async def _announced(self, mail: Mail, attempt: Attempt) -> Connection:
        """Return a connection on which the relay has asked for the content."""
        if attempt.reach_within is None:
            return await self._connections.announce(mail)
        try:
            async with asyncio.timeout(attempt.reach_within.total_seconds()):
                return await self._connections.announce(mail)
        except TimeoutError:
            raise TemporaryFailure(Reason.TIMEOUT, "not reached") from None
