"""Settings of the SMS service."""

import re
from dataclasses import dataclass
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from services.sms.caps import CapLimits
from services.sms.countries import parse_countries
from shared.runtime.settings import CommonSettings

# twilio.com/docs/messaging/api/message-resource, parameters From and MessagingServiceSid: a number in E.164 or a short
# code, an alphanumeric sender of at most 11 characters with a letter, or the SID of a messaging service.
_NUMBER = re.compile(r"\+[1-9]\d{6,14}|\d{3,8}", re.ASCII)
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_MESSAGING_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class CallbackEndpoint:
    """Where we listen for callbacks, and by what URL (without a slash at its end) Twilio calls us there."""

    host: str
    port: int
    url: str


def sender_parameter(sender: str) -> dict[str, str]:
    """Return a sender as the SDK's ``create`` takes it."""
    return {"messaging_service_sid" if _MESSAGING_SERVICE.fullmatch(sender) else "from_": sender}


def can_be_answered(sender: str) -> bool:
    """Tell whether people can answer what a sender sends, which they cannot where it is a name."""
    return not _NAME.fullmatch(sender) or _NUMBER.fullmatch(sender) is not None


class SmsSettings(CommonSettings):
    """What the SMS service reads."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "SMS_")

    ops_port: int = Field(9102, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    sms_concurrency: int = Field(10, ge=1, le=1000, description="sends in flight")
    sms_twilio_account_sid: str = Field(pattern=r"^AC[0-9A-Za-z]+$", description="the account: AC…")
    sms_twilio_auth_token: SecretStr = Field(min_length=1, description="the account's token")
    sms_twilio_from: str = Field(
        description="senders in order of preference, comma-separated: numbers, names or messaging services MG…"
    )
    sms_twilio_base_url: str | None = Field(None, description="only to point at another server")
    sms_allowed_countries: str = Field(description="ISO codes, comma-separated, or *")
    sms_max_segments: int = Field(
        10, ge=1, le=50, description="what one text may cost: longer ones are refused, composed ones shortened"
    )
    sms_cap_window_s: int = Field(3600, ge=1, le=7 * 86400, description="what the caps count within, seconds")
    sms_cap_per_number: int = Field(20, ge=0, le=10_000, description="SMS to one number at most; 0 is no cap")
    sms_cap_per_number_critical: int = Field(
        100, ge=0, le=10_000, description="the same where a critical one to a person of the directory still goes out"
    )
    sms_cap_per_prefix: int = Field(
        200, ge=0, le=100_000, description="SMS at most to the numbers that differ in the last four digits; 0 is no cap"
    )
    sms_callback_host: str = Field("0.0.0.0", description="address of the callback endpoint")  # noqa: S104 - Twilio comes from outside
    sms_callback_port: int | None = Field(
        None, ge=0, le=65535, description="port for Twilio's status callbacks and inbound SMS; none: no endpoint"
    )
    sms_callback_url: str | None = Field(
        None, description="what Twilio calls that endpoint by, exactly: https://host[:port][/path]"
    )

    @property
    def countries(self) -> frozenset[str]:
        """The allowed countries; ``*`` stands for all of them."""
        return parse_countries(self.sms_allowed_countries)

    @property
    def senders(self) -> tuple[str, ...]:
        """The senders in order of preference."""
        return tuple(part.strip() for part in self.sms_twilio_from.split(","))

    @property
    def cap_limits(self) -> CapLimits:
        """The caps."""
        return CapLimits(
            window_s=self.sms_cap_window_s,
            per_number=self.sms_cap_per_number,
            per_number_critical=self.sms_cap_per_number_critical,
            per_prefix=self.sms_cap_per_prefix,
        )

    @property
    def callbacks(self) -> CallbackEndpoint | None:
        """Where Twilio's callbacks come in; None for nowhere."""
        if self.sms_callback_port is None or self.sms_callback_url is None:
            return None
        return CallbackEndpoint(self.sms_callback_host, self.sms_callback_port, self.sms_callback_url.rstrip("/"))

    @field_validator("sms_twilio_from")
    @classmethod
    def _are_senders(cls, value: str) -> str:
        senders = [part.strip() for part in value.split(",")]
        if not all(any(kind.fullmatch(each) for kind in (_NUMBER, _NAME, _MESSAGING_SERVICE)) for each in senders):
            raise ValueError(
                "a number in E.164 form, a short code, a sender name or a messaging service MG… is required"
            )
        if len(set(senders)) < len(senders):
            raise ValueError("each sender may stand there once")
        return value

    @field_validator("sms_allowed_countries")
    @classmethod
    def _are_countries(cls, value: str) -> str:
        parse_countries(value)
        return value

    @field_validator("sms_twilio_base_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is not None and not _is_plain_url(value):
            raise ValueError("a URL of the form https://host[:port] is required")
        return value

    @field_validator("sms_callback_url")
    @classmethod
    def _is_callback_url(cls, value: str | None) -> str | None:
        if value is not None and not _is_plain_url(value):
            raise ValueError("a URL of the form https://host[:port][/path] is required")
        return value

    @model_validator(mode="after")
    def _callbacks_are_whole(self) -> Self:
        if (self.sms_callback_port is None) != (self.sms_callback_url is None):
            raise ValueError("SMS_CALLBACK_PORT and SMS_CALLBACK_URL are set together or not at all")
        return self


def _is_plain_url(value: str) -> bool:
    try:
        url = urlsplit(value)
        usable = bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return usable and url.scheme in ("http", "https") and not (url.username or url.query or url.fragment)
