"""The provider of the SMS channel: Twilio's Messages API, one sender of one account.

One delivery is one request. Twilio has no idempotency key for it, so an attempt that may have arrived is reported as
``OutcomeUnknown`` and never repeated here. Each sender is a provider of its own, so that the delivery loop goes on to
the next one as it does between providers.
"""

import aiohttp
from twilio.rest import Client  # type: ignore[import-untyped]

from services.sms import reference
from services.sms.http_client import MessageClient
from services.sms.settings import SmsSettings, can_be_answered, sender_parameter
from services.sms.text import Texts
from services.sms.verdict import RefusalError, UnreadableAnswerError, is_short_code, verdict
from shared.core.clock import Clock, SystemClock
from shared.core.errors import OutcomeUnknown, PermanentFailure, Reason
from shared.core.model import Delivery, PhoneNumber
from shared.delivery.attempt import Attempt, Receipt
from shared.telemetry import metrics

STATUS_PATH = "/v1/twilio/status"
INBOUND_PATH = "/v1/twilio/inbound"
DELIVERY_PARAMETER = "delivery"

# twilio.com/docs/messaging/api/message-resource, ValidityPeriod: seconds that Twilio may keep a message queued.
_VALIDITY_S = (1, 36_000)
# The SDK reads TWILIO_* from the process's environment where an argument is empty; an empty mapping would count as none
# given. Region and edge would change the host.
_NO_ENVIRONMENT = {"TWILIO_REGION": "", "TWILIO_EDGE": ""}


def twilio_providers(settings: SmsSettings, texts: Texts, clock: Clock | None = None) -> tuple["TwilioProvider", ...]:
    """Build a provider for each sender, in order of preference; to be called inside the running loop."""
    return tuple(
        TwilioProvider(settings, texts, sender, "twilio" if number == 1 else f"twilio-{number}", clock=clock)
        for number, sender in enumerate(settings.senders, start=1)
    )


class TwilioProvider:
    """Hands text messages to Twilio; to be made inside the running loop.

    Args:
        settings: the account.
        texts: what is sent.
        sender: a number, a name or a messaging service.
        name: the metric label, which tells the senders apart.
        clock: for a Retry-After that is a date, and for how long a message is worth sending.
    """

    def __init__(
        self, settings: SmsSettings, texts: Texts, sender: str, name: str = "twilio", *, clock: Clock | None = None
    ) -> None:
        self.name = name
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
        self._sender = sender_parameter(sender)
        self._is_short_code = is_short_code(sender)
        self._texts = texts
        self._can_be_answered = can_be_answered(sender)
        self._callbacks = settings.callbacks

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether it goes to a telephone number."""
        return isinstance(delivery.address, PhoneNumber)

    async def send(self, attempt: Attempt) -> Receipt:
        """Hand one text message to Twilio."""
        address = attempt.delivery.address
        if not isinstance(address, PhoneNumber):
            raise PermanentFailure(Reason.REJECTED, "not a phone number")
        text, segments = await self._texts.of(attempt, address, answerable=self._can_be_answered)
        try:
            with self._http.making(attempt):
                message = await self._messages.create_async(
                    to=address.phone, body=text, validity_period=self._validity_s(attempt.delivery),
                    **self._sender, **self._callback(attempt),
                )  # fmt: skip
        except (RefusalError, UnreadableAnswerError, aiohttp.ClientError, OSError) as error:
            # From None: some of the library's errors hold the URL, which names the account.
            raise verdict(error, short_code=self._is_short_code) from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            # What the SDK raises where a field of the answer has another type than it expects.
            raise OutcomeUnknown(Reason.BAD_ANSWER, type(error).__name__) from None
        metrics.sms_segments.labels(segments.encoding).inc(segments.count)
        return Receipt(message.sid, f"{segments.count} {segments.encoding}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _validity_s(self, delivery: Delivery) -> int:
        left_s = int(delivery.expires_ms / 1000 - self._clock.now().timestamp())
        return min(max(left_s, _VALIDITY_S[0]), _VALIDITY_S[1])

    def _callback(self, attempt: Attempt) -> dict[str, str]:
        if self._callbacks is None:
            return {}
        # Twilio signs the URL too, so nobody can make a callback speak of another delivery.
        delivery = reference.write(attempt.notification.id, attempt.delivery.key)
        return {"status_callback": f"{self._callbacks.url}{STATUS_PATH}?{DELIVERY_PARAMETER}={delivery}"}
