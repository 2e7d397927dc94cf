"""The provider of the email channel: SMTP relays, in the operator's order of preference.

One delivery is one recipient, one mail and one attempt. The next relay is asked when one cannot be reached or puts us
off before it took anything; a relay that refuses us is not worked around, because the operator must hear of it.
"""

import asyncio
import re

from services.email.connection import Connection
from services.email.connections import Connections
from services.email.render import Mail, render
from services.email.settings import EmailSettings
from shared.clock import Clock, SystemClock
from shared.errors import Reason, TemporaryFailure
from shared.model import Attempt, Delivery, EmailAddress, Receipt

# What Postfix, Exim and others answer; the syntax of the text is nobody's standard.
_QUEUE_ID = re.compile(r"\b(?:queued as|id=)\s*([\w.+/-]{4,64})", re.ASCII | re.IGNORECASE)


class SmtpProvider:
    """Hands mail to a relay.

    Args:
        settings: relays, sender and bounds.
        clock: for the Date field.
    """

    name = "smtp"

    def __init__(self, settings: EmailSettings, clock: Clock | None = None) -> None:
        tls = settings.tls_context()
        self._sender = settings.sender
        self._relays = [Connections(relay, tls) for relay in settings.relays]
        self._in_flight = asyncio.Semaphore(settings.email_concurrency)
        self._clock = clock or SystemClock()

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether it goes to a mailbox."""
        return isinstance(delivery.address, EmailAddress)

    async def send(self, attempt: Attempt) -> Receipt:
        """Hand one mail to the first relay that takes it."""
        mail = render(attempt, self._sender, self._clock.now())
        async with self._in_flight:
            relay, connection = await self._begin(mail)
            try:
                answer = await connection.finish(mail)
            except BaseException:
                # Cancelled, too: what the relay still answers must not be read as the answer to the next mail.
                connection.close()
                raise
            relay.give_back(connection)
        found = _QUEUE_ID.search(answer)
        return Receipt(provider_id=found[1] if found else mail.message_id)

    async def close(self) -> None:
        """Close the connections."""
        for relay in self._relays:
            await relay.close()

    async def _begin(self, mail: Mail) -> tuple[Connections, Connection]:
        failure = TemporaryFailure(Reason.NETWORK, "no relay")
        # Sorting is stable: the order of preference, those that could not be reached a moment ago last.
        for relay in sorted(self._relays, key=lambda relay: relay.is_avoided):
            try:
                return relay, await relay.begin(mail)
            except TemporaryFailure as error:
                failure = error
        raise failure
