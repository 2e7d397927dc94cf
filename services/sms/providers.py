"""The provider of the SMS channel: Twilio's Messages API.

One delivery is one request. Twilio has no idempotency key for it, so an attempt that may have arrived is reported as
``OutcomeUnknown`` and never repeated here.
"""

import math
from datetime import datetime

import aiohttp
from twilio.rest import Client  # type: ignore[import-untyped]

from services.sms.countries import is_allowed
from services.sms.http_client import MessageClient
from services.sms.settings import SmsSettings
from services.sms.text import sms_text
from services.sms.verdict import RefusalError, UnreadableAnswerError, verdict
from shared.clock import Clock, SystemClock, from_epoch_ms
from shared.errors import DeliveryRefused, OutcomeUnknown, PermanentFailure, Reason
from shared.model import Attempt, Delivery, PhoneNumber, Receipt

# twilio.com/docs/messaging/api/message-resource, ValidityPeriod: 1 to 36,000 seconds in Twilio's queue.
VALIDITY_MAX_S = 36_000

# The SDK reads TWILIO_* from the process's environment where an argument is empty; an empty mapping would count as none
# given. Region and edge would change the host.
_NO_ENVIRONMENT = {"TWILIO_REGION": "", "TWILIO_EDGE": ""}


class TwilioProvider:
    """Hands text messages to Twilio; to be made inside the running loop.

    Args:
        settings: account, sender, allowed countries and bounds.
        clock: for the time that is left of a delivery, and a Retry-After that is a date.
    """

    name = "twilio"

    def __init__(self, settings: SmsSettings, clock: Clock | None = None) -> None:
        self._countries = settings.countries
        self._clock = clock or SystemClock()
        self._http = MessageClient(settings.sms_concurrency, self._clock)
        client = Client(
            settings.sms_twilio_account_sid,
            settings.sms_twilio_auth_token.get_secret_value(),
            http_client=self._http,
            environment=_NO_ENVIRONMENT,
        )
        if settings.sms_twilio_base_url:
            client.api.base_url = settings.sms_twilio_base_url
        # Asked for here, because the SDK imports it at first use, which takes most of a second.
        self._messages = client.messages
        self._sender = settings.sender

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether it goes to a telephone number."""
        return isinstance(delivery.address, PhoneNumber)

    async def send(self, attempt: Attempt) -> Receipt:
        """Hand one text message to Twilio."""
        address = attempt.delivery.address
        if not isinstance(address, PhoneNumber):
            raise PermanentFailure(Reason.REJECTED, "not a phone number")
        if not is_allowed(address.phone, self._countries):
            raise DeliveryRefused(Reason.COUNTRY_NOT_ALLOWED)
        try:
            message = await self._messages.create_async(
                to=address.phone,
                body=sms_text(attempt.content),
                validity_period=validity_s(attempt.delivery, self._clock.now()),
                **self._sender,
            )
        except (RefusalError, UnreadableAnswerError, aiohttp.ClientError, OSError) as error:
            # From None: some of the library's errors hold the URL, which names the account.
            raise verdict(error) from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            # What the SDK raises where a field of the answer has another type than it expects.
            raise OutcomeUnknown(Reason.BAD_ANSWER, type(error).__name__) from None
        return Receipt(provider_id=message.sid)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def validity_s(delivery: Delivery, now: datetime) -> int:
    """Return for how many seconds Twilio may keep trying: until the delivery expires, as far as Twilio goes."""
    left_s = (from_epoch_ms(delivery.expires_ms) - now).total_seconds()
    return min(max(math.ceil(left_s), 1), VALIDITY_MAX_S)
