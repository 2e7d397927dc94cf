"""Settings of the SMS channel, whoever carries the SMS."""

from dataclasses import dataclass
from typing import ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from services.sms.caps import CapLimits
from services.sms.countries import parse_countries
from shared.core.model import Channel
from shared.runtime.settings import ChannelSettings, CommonSettings


@dataclass(frozen=True, slots=True)
class CallbackEndpoint:
    """Where we listen for callbacks, and the URL (without a slash at its end) that providers call."""

    host: str
    port: int
    url: str


class SmsSettings(ChannelSettings):
    """What every provider of SMS reads; ``services.sms.providers`` adds the settings of each provider."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "SMS_")
    channel: ClassVar[Channel] = Channel.SMS

    ops_port: int = Field(9102, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    sms_concurrency: int = Field(10, ge=1, le=1000, description="sends in flight")
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
    sms_callback_host: str = Field("0.0.0.0", description="address of the callback endpoint")  # noqa: S104 - providers come from outside
    sms_callback_port: int | None = Field(
        None, ge=0, le=65535, description="port for the providers' status callbacks and inbound SMS; none: no endpoint"
    )
    sms_callback_url: str | None = Field(
        None, description="what providers call that endpoint by, exactly: https://host[:port][/path]"
    )

    @property
    def countries(self) -> frozenset[str]:
        """The allowed countries; ``*`` stands for all of them."""
        return parse_countries(self.sms_allowed_countries)

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
        """Where providers' callbacks come in; None for nowhere."""
        if self.sms_callback_port is None or self.sms_callback_url is None:
            return None
        return CallbackEndpoint(self.sms_callback_host, self.sms_callback_port, self.sms_callback_url.rstrip("/"))

    @field_validator("sms_allowed_countries")
    @classmethod
    def _are_countries(cls, value: str) -> str:
        parse_countries(value)
        return value

    @field_validator("sms_callback_url")
    @classmethod
    def _is_callback_url(cls, value: str | None) -> str | None:
        if value is not None and not is_plain_url(value):
            raise ValueError("a URL of the form https://host[:port][/path] is required")
        return value

    @model_validator(mode="after")
    def _callbacks_are_whole(self) -> Self:
        if (self.sms_callback_port is None) != (self.sms_callback_url is None):
            raise ValueError("SMS_CALLBACK_PORT and SMS_CALLBACK_URL are set together or not at all")
        return self


def is_plain_url(value: str) -> bool:
    """Tell whether a URL names a server and perhaps a path, and nothing else."""
    try:
        url = urlsplit(value)
        usable = bool(url.hostname) and url.port != 0
    except ValueError:
        return False
    return usable and url.scheme in ("http", "https") and not (url.username or url.query or url.fragment)
