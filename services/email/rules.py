"""Keeps mail from addresses that bounced or unsubscribed, and adds those that a relay says do not exist.

A wrong setting must not suppress everybody, so ``shared.delivery.forgetting`` limits how many addresses are added. Over
the limit a delivery still ends as a dead letter, but its address stays usable: the next mail to it is tried.
"""

import logging
from collections.abc import Awaitable, Callable

from shared.core.errors import DeliveryError, PermanentFailure, RecipientGone, StoreUnavailable
from shared.core.model import Channel, EmailAddress
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.forgetting import ForgettingLimit
from shared.directory.suppression import Cause, Suppressions, digest
from shared.telemetry import metrics

log = logging.getLogger(__name__)


class MailRules:
    """The rules of the email channel.

    Args:
        suppressions: the list that is asked and added to.
        count: how many people the directory has.
        limit: counts what the relays answer about addresses.
    """

    def __init__(
        self, suppressions: Suppressions, count: Callable[[], Awaitable[int]], limit: ForgettingLimit | None = None
    ) -> None:
        self._suppressions = suppressions
        self._count = count
        self._limit = limit or ForgettingLimit(Channel.EMAIL)

    async def check(self, attempt: Attempt) -> Receipt | None:
        """Let a mail pass unless its address is suppressed.

        Raises:
            DeliveryRefused: it is.
        """
        delivery = attempt.delivery
        if isinstance(delivery.address, EmailAddress):
            of_address = digest(delivery.address.email)
            required = delivery.required is True
            category = attempt.content.category
            await self._suppressions.check(of_address, delivery.priority, category, required=required)
        return None

    async def learn(self, attempt: Attempt, error: DeliveryError | None) -> None:
        """Suppress an address that does not exist, unless too many seem not to."""
        address = attempt.delivery.address
        if isinstance(error, RecipientGone) and isinstance(address, EmailAddress):
            await self._consider(address, error.detail)
        elif error is None or isinstance(error, PermanentFailure):
            self._limit.answered()

    async def _consider(self, address: EmailAddress, detail: str) -> None:
        try:
            # With an empty directory publishers give all addresses themselves, and nobody knows how many there are.
            self._limit.known = await self._count() or None
            if self._limit.may_forget() and await self._suppressions.add(digest(address.email), Cause.BOUNCE, detail):
                metrics.forgotten_addresses.labels(Channel.EMAIL).inc()
        except StoreUnavailable:
            # The next mail to it is refused in the same way.
            log.warning("address not suppressed, the store is away")
