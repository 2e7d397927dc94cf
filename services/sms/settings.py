"""Settings of the SMS service."""

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from services.sms.countries import parse_countries
from shared.settings import CommonSettings

# twilio.com/docs/messaging/api/message-resource, parameters From and MessagingServiceSid: a number in E.164, a short
# code, an alphanumeric sender of at most 11 characters with a letter, or the SID of a messaging service.
_FROM = r"^(\+[1-9]\d{6,14}|\d{3,8}|MG[0-9a-fA-F]{32}|[0-9 ]{0,10}[A-Za-z][A-Za-z0-9 ]{0,10})$"


class SmsSettings(CommonSettings):
    """What the SMS service reads."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "SMS_")

    ops_port: int = Field(9102, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    sms_concurrency: int = Field(10, ge=1, le=1000, description="sends in flight")
    sms_twilio_account_sid: str = Field(pattern=r"^AC[0-9A-Za-z]+$", description="the account: AC…")
    sms_twilio_auth_token: SecretStr = Field(min_length=1, description="the account's token")
    sms_twilio_from: str = Field(pattern=_FROM, description="sender: a number, or a messaging service MG…")
    sms_twilio_base_url: str | None = Field(None, description="only to point at another server")
    sms_allowed_countries: str = Field(description="ISO codes, comma-separated, or *")

    @property
    def countries(self) -> frozenset[str]:
        """The allowed countries; ``*`` stands for all of them."""
        return parse_countries(self.sms_allowed_countries)

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
