"""Mail through SMTP relays, in the operator's order of preference.

One delivery is one recipient and one mail. Each relay is a provider of its own, so the operator sees which one fails.
If a relay fails, limits or refuses us before it took anything, the same attempt goes on with the next relay
(``shared.delivery.failover``).
"""

import asyncio
import re
import ssl
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from services.email.render import Mail
from services.email.settings import EmailSettings
from services.email.smtp.connection import Connection
from services.email.smtp.marks import marks
from services.email.smtp.pool import Connections
from services.email.smtp.relays import Relay, parse_relays
from services.email.writer import Writer
from shared.core.errors import Reason, TemporaryFailure
from shared.core.model import Delivery, EmailAddress
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.capacity import Places
from shared.runtime.providers import Parts, ProviderKind
from shared.runtime.settings import ProviderSettings

# What Postfix, Exim and others answer; the syntax of the text is nobody's standard.
_QUEUE_ID = re.compile(r"\b(?:queued as|id=)\s*([\w.+/-]{4,64})", re.ASCII | re.IGNORECASE)

# A mail that was claimed ahead waits less than this for another one to be sent, unless the relay has become slow.
PLACE_WAIT_S = 2.0


class SmtpSettings(ProviderSettings):
    """What hands mail to relays.

    Promises that every relay and the CA file are usable.
    """

    email_smtp_url: SecretStr = Field(
        description="smtp://[user:pass@]host:port[?tls=none|starttls|implicit], several in order of preference"
    )
    email_ca_file: Path | None = Field(None, description="CA bundle of the relays, default the system's")

    @property
    def relays(self) -> tuple[Relay, ...]:
        """Whom to hand mail to, the preferred one first."""
        return parse_relays(self.email_smtp_url.get_secret_value())

    def tls_context(self) -> ssl.SSLContext:
        """Build what verifies the relays' certificates; reads files."""
        return ssl.create_default_context(cafile=self.email_ca_file)

    @field_validator("email_smtp_url")
    @classmethod
    def _are_relays(cls, value: SecretStr) -> SecretStr:
        parse_relays(value.get_secret_value())
        return value

    @field_validator("email_ca_file")
    @classmethod
    def _is_ca_bundle(cls, value: Path | None) -> Path | None:
        try:
            ssl.create_default_context(cafile=value)
        except OSError:
            # ssl.SSLError is one, too: the file is not there, or it is not PEM.
            raise ValueError("the file cannot be read as PEM certificates") from None
        return value


def smtp_providers(smtp: SmtpSettings, parts: Parts[EmailSettings]) -> tuple["SmtpProvider", ...]:
    """Make a provider for each relay: ``smtp``, ``smtp-2`` and so on, because a host is no metric label."""
    return tuple(
        SmtpProvider(relay, smtp.tls_context(), parts, f"smtp-{position}" if position > 1 else "smtp")
        for position, relay in enumerate(smtp.relays, 1)
    )


class SmtpProvider:
    """Hands mail to a relay.

    Args:
        relay: whom to hand it to.
        tls: verifies its certificate.
        parts: sender and bounds.
        name: the metric label.
    """

    def __init__(self, relay: Relay, tls: ssl.SSLContext, parts: Parts[EmailSettings], name: str = "smtp") -> None:
        self.name = name
        self._connections = Connections(relay, tls)
        self._places = Places(parts.settings.email_concurrency)
        self._writer = Writer(parts, marks(relay))

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether it goes to a mailbox."""
        return isinstance(delivery.address, EmailAddress)

    async def send(self, attempt: Attempt) -> Receipt:
        """Hand one mail to the relay."""
        mail = await self._writer.write(attempt)
        try:
            with attempt.handover.waiting(Reason.OWN_LIMIT, "a free connection of ours"):
                await self._places.take(attempt.delivery.priority, PLACE_WAIT_S)
        except TimeoutError:
            # The relay was not asked, so it is not down.
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
            # Also when cancelled: what the relay still answers must not be read as the answer to the next mail.
            connection.close()
            raise
        self._connections.give_back(connection)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        self._writer.close()
        await self._connections.close()

    async def _announced(self, mail: Mail, attempt: Attempt) -> Connection:
        """Return a connection on which the relay has asked for the content."""
        if attempt.reach_within is None:
            return await self._connections.announce(mail)
        try:
            async with asyncio.timeout(attempt.reach_within.total_seconds()):
                return await self._connections.announce(mail)
        except TimeoutError:
            raise TemporaryFailure(Reason.TIMEOUT, "not reached") from None


SMTP = ProviderKind(SmtpSettings, smtp_providers)
