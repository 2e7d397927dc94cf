"""What holds for every SMS, whoever carries it: where it may go, how often, and who wants none.

What is refused here costs nothing and ends as suppressed.
"""

from services.sms.caps import Caps
from services.sms.countries import is_allowed
from services.sms.unwanted import Unwanted
from shared.core.errors import DeliveryError, DeliveryRefused, PermanentFailure, Reason
from shared.core.model import PhoneNumber
from shared.delivery.attempt import Attempt, Receipt
from shared.ledger.confirmations import Confirmations


class SmsRules:
    """The rules and what they remember."""

    def __init__(self, countries: frozenset[str], unwanted: Unwanted, caps: Caps, confirmations: Confirmations) -> None:
        self._countries = countries
        self._unwanted = unwanted
        self._caps = caps
        self._confirmations = confirmations

    async def check(self, attempt: Attempt) -> Receipt | None:
        """Let an SMS go out, unless a callback said that an earlier attempt, which was in doubt, was accepted.

        Raises:
            DeliveryRefused: it may not.
            StoreUnavailable: the store cannot be asked.
        """
        if attempt.in_doubt:
            provider_id = await self._confirmations.taken(attempt.notification, attempt.delivery)
            if provider_id:
                return Receipt(provider_id, "told by a callback")
        address = attempt.delivery.address
        if not isinstance(address, PhoneNumber):
            raise PermanentFailure(Reason.REJECTED, "not a phone number")
        if not is_allowed(address.phone, self._countries):
            raise DeliveryRefused(Reason.COUNTRY_NOT_ALLOWED)
        await self._unwanted.check(address.phone)
        await self._caps.count(attempt, address)
        return None

    async def learn(self, attempt: Attempt, error: DeliveryError | None) -> None:
        """Take note of what the provider said."""
        if isinstance(attempt.delivery.address, PhoneNumber):
            await self._unwanted.note(attempt.delivery.address.phone, error)
