"""SMS through Twilio's Messages API: one provider for each sender of one account.

One delivery is one request. Twilio has no idempotency key for it, so an attempt that may have arrived is
``OutcomeUnknown`` and is never repeated here. Each sender is a provider of its own, so the delivery loop fails over
from one sender to the next.
"""

from aiohttp import web
from pydantic import Field, SecretStr, field_validator
from twilio.rest import Client  # type: ignore[import-untyped]

from services.sms import metrics, reference
from services.sms.desk import Desk, SmsParts
from services.sms.settings import is_plain_url
from services.sms.twilio.callbacks import DELIVERY_PARAMETER, STATUS_PATH, Callbacks
from services.sms.twilio.http_client import MessageClient
from services.sms.twilio.senders import can_be_answered, is_short_code, parse_senders, sender_parameter
from services.sms.twilio.verdict import RefusalError, UnreadableAnswerError, verdict
from shared.core.errors import OutcomeUnknown, PermanentFailure, Reason
from shared.core.model import Delivery, PhoneNumber
from shared.delivery.attempt import Attempt, Receipt
from shared.runtime.providers import ProviderKind
from shared.runtime.settings import ProviderSettings

# twilio.com/docs/messaging/api/message-resource, ValidityPeriod: seconds that Twilio may keep a message queued.
_VALIDITY_S = (1, 36_000)
# The SDK reads TWILIO_* from the process's environment where an argument is empty; an empty mapping would count as none
# given. Region and edge would change the host.
_NO_ENVIRONMENT = {"TWILIO_REGION": "", "TWILIO_EDGE": ""}


class TwilioSettings(ProviderSettings):
    """What carries SMS through an account at Twilio."""

    sms_twilio_account_sid: str = Field(pattern=r"^AC[0-9A-Za-z]+$", description="the account: AC…")
    sms_twilio_auth_token: SecretStr = Field(min_length=1, description="the account's token")
    sms_twilio_from: str = Field(
        description="senders in order of preference, comma-separated: numbers, names or messaging services MG…"
    )
    sms_twilio_base_url: str | None = Field(None, description="only to point at another server")

    @property
    def senders(self) -> tuple[str, ...]:
        """The senders in order of preference."""
        return parse_senders(self.sms_twilio_from)

    @field_validator("sms_twilio_from")
    @classmethod
    def _are_senders(cls, value: str) -> str:
        parse_senders(value)
        return value

    @field_validator("sms_twilio_base_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is not None and not is_plain_url(value):
            raise ValueError("a URL of the form https://host[:port] is required")
        return value


def twilio_providers(twilio: TwilioSettings, parts: SmsParts) -> tuple["TwilioProvider", ...]:
    """Build a provider for each sender, in order of preference. Call it inside the running loop."""
    return tuple(
        TwilioProvider(twilio, parts, sender, "twilio" if number == 1 else f"twilio-{number}")
        for number, sender in enumerate(twilio.senders, start=1)
    )


def twilio_routes(twilio: TwilioSettings, desk: Desk) -> tuple[web.RouteDef, ...]:
    """Return the routes that Twilio calls."""
    endpoint = desk.settings.callbacks
    if endpoint is None:
        return ()
    token = twilio.sms_twilio_auth_token.get_secret_value()
    return Callbacks(token, endpoint.url, desk.confirming, desk.inbound).routes()


class TwilioProvider:
    """Hands text messages to Twilio. Make it inside the running loop.

    Args:
        twilio: the account.
        parts: the texts, and the clock for a Retry-After date and for the validity period.
        sender: a number, a name or a messaging service.
        name: the metric label of this sender.
    """

    def __init__(self, twilio: TwilioSettings, parts: SmsParts, sender: str, name: str = "twilio") -> None:
        self.name = name
        self._clock = parts.clock
        self._http = MessageClient(parts.settings.sms_concurrency, self._clock)
        client = Client(
            twilio.sms_twilio_account_sid,
            twilio.sms_twilio_auth_token.get_secret_value(),
            http_client=self._http,
            environment=_NO_ENVIRONMENT,
        )
        if twilio.sms_twilio_base_url:
            client.api.base_url = twilio.sms_twilio_base_url
        # The SDK imports this at first use, which takes most of a second. So it is used here once.
        self._messages = client.messages
        self._sender = sender_parameter(sender)
        self._is_short_code = is_short_code(sender)
        self._texts = parts.texts
        self._can_be_answered = can_be_answered(sender)
        self._callbacks = parts.settings.callbacks

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
        except (RefusalError, UnreadableAnswerError) as error:
            raise verdict(error, short_code=self._is_short_code) from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            # The SDK raises these if a field of the answer has an unexpected type.
            raise OutcomeUnknown(Reason.BAD_ANSWER, type(error).__name__) from None
        metrics.segments.labels(segments.encoding).inc(segments.count)
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


TWILIO = ProviderKind(TwilioSettings, twilio_providers, twilio_routes)
