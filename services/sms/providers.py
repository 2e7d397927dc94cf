"""Which providers carry SMS, the preferred one first: one line each."""

from collections.abc import Sequence
from typing import Any

from services.sms.desk import Desk
from services.sms.settings import SmsSettings
from services.sms.twilio.provider import TWILIO
from services.sms.vonage import VONAGE
from shared.runtime.providers import ProviderKind, groups_of

PROVIDERS: Sequence[ProviderKind[Any, Desk]] = [
    TWILIO,
    VONAGE,
]


class SmsServiceSettings(SmsSettings):
    """All that the SMS service reads: the channel's settings and those of its providers."""

    groups = groups_of(PROVIDERS)
