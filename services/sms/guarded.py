"""What holds for every SMS, whoever carries it: where it may go, how often, and who does not want any.

A provider put behind this promises nothing of it itself. What is refused here costs nothing and ends as suppressed.
"""

from collections.abc import Iterable

from services.sms.alerts import SentAlerts
from services.sms.caps import Caps
from services.sms.confirmations import Confirmations
from services.sms.countries import is_allowed
from services.sms.unwanted import Unwanted
from shared.errors import DeliveryError, DeliveryRefused, PermanentFailure, Reason
from shared.model import Attempt, Delivery, PhoneNumber, Receipt
from shared.provider import Provider


class Rules:
    """The rules and what they remember.

    Args:
        alerts: None where nobody can answer.
    """

    def __init__(
        self,
        countries: frozenset[str],
        unwanted: Unwanted,
        caps: Caps,
        confirmations: Confirmations,
        alerts: SentAlerts | None,
    ) -> None:
        self._countries = countries
        self._unwanted = unwanted
        self._caps = caps
        self._confirmations = confirmations
        self._alerts = alerts

    async def already_taken(self, attempt: Attempt) -> Receipt | None:
        """Say of an attempt in doubt that an earlier one was taken, where a callback has told so."""
        if not attempt.in_doubt:
            return None
        provider_id = await self._confirmations.taken(attempt.notification, attempt.delivery)
        return Receipt(provider_id, "told by a callback") if provider_id else None

    async def note(self, attempt: Attempt, error: DeliveryError | None) -> None:
        """Take note of what the provider said."""
        if isinstance(attempt.delivery.address, PhoneNumber):
            await self._unwanted.note(attempt.delivery.address.phone, error)

    async def check(self, attempt: Attempt) -> None:
        """Let an SMS go out.

        Raises:
            DeliveryRefused: it may not.
            StoreUnavailable: nobody can tell.
        """
        address = attempt.delivery.address
        if not isinstance(address, PhoneNumber):
            raise PermanentFailure(Reason.REJECTED, "not a phone number")
        if not is_allowed(address.phone, self._countries):
            raise DeliveryRefused(Reason.COUNTRY_NOT_ALLOWED)
        await self._unwanted.check(address.phone)
        await self._caps.count(attempt, address)
        if self._alerts is not None:
            await self._alerts.remember(attempt, address)


class Guarded:
    """A provider behind the rules."""

    def __init__(self, provider: Provider, rules: Rules) -> None:
        self._provider = provider
        self._rules = rules

    @property
    def name(self) -> str:
        """The provider's."""
        return self._provider.name

    def handles(self, delivery: Delivery) -> bool:
        """Tell what the provider can carry."""
        return self._provider.handles(delivery)

    async def send(self, attempt: Attempt) -> Receipt:
        """Let the provider make one attempt, if there is need and it may."""
        if receipt := await self._rules.already_taken(attempt):
            return receipt
        await self._rules.check(attempt)
        try:
            receipt = await self._provider.send(attempt)
        except DeliveryError as error:
            await self._rules.note(attempt, error)
            raise
        await self._rules.note(attempt, None)
        return receipt

    async def close(self) -> None:
        """Close the provider."""
        await self._provider.close()


def guarded(rules: Rules, providers: Iterable[Provider]) -> tuple[Guarded, ...]:
    """Put providers behind the rules."""
    return tuple(Guarded(provider, rules) for provider in providers)
