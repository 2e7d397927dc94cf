"""Settings of the SMS service."""

import re
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from services.sms.countries import parse_countries
from shared.settings import CommonSettings

# twilio.com/docs/messaging/api/message-resource, parameters From and MessagingServiceSid: a number in E.164 or a short
# code, an alphanumeric sender of at most 11 characters with a letter, or the SID of a messaging service.
_NUMBER = re.compile(r"\+[1-9]\d{6,14}|\d{3,8}", re.ASCII)
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_MESSAGING_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")


class SmsSettings(CommonSettings):
    """What the SMS service reads."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "SMS_")

    ops_port: int = Field(9102, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    sms_concurrency: int = Field(10, ge=1, le=1000, description="sends in flight")
    sms_twilio_account_sid: str = Field(pattern=r"^AC[0-9A-Za-z]+$", description="the account: AC…")
    sms_twilio_auth_token: SecretStr = Field(min_length=1, description="the account's token")
    sms_twilio_from: str = Field(description="sender: a number, or a messaging service MG…")
    sms_twilio_base_url: str | None = Field(None, description="only to point at another server")
    sms_allowed_countries: str = Field(description="ISO codes, comma-separated, or *")

    @property
    def countries(self) -> frozenset[str]:
        """The allowed countries; ``*`` stands for all of them."""
        return parse_countries(self.sms_allowed_countries)

    @property
    def sender(self) -> dict[str, str]:
        """The sender as the SDK's ``create`` takes it."""
        is_service = _MESSAGING_SERVICE.fullmatch(self.sms_twilio_from)
        return {"messaging_service_sid" if is_service else "from_": self.sms_twilio_from}

    @field_validator("sms_twilio_from")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        if not any(kind.fullmatch(value) for kind in (_NUMBER, _NAME, _MESSAGING_SERVICE)):
            raise ValueError(
                "a number in E.164 form, a short code, a sender name or a messaging service MG… is required"
            )
        return value

    @field_validator("sms_allowed_countries")
    @classmethod
    def _are_countries(cls, value: str) -> str:
        parse_countries(value)
        return value

    @field_validator("sms_twilio_base_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            url = urlsplit(value)
            usable = bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if not usable or url.scheme not in ("http", "https") or url.username or url.query or url.fragment:
            raise ValueError("a URL of the form https://host[:port] is required")
        return value
