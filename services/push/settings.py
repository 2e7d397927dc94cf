"""Settings of the push service.

Promises that a provider is either configured completely or not at all, that at least one is, and that every key file
can be read and used, so that a wrong setting ends the process at once and not the first delivery.
"""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator
from yarl import URL

from services.push import credentials
from services.push.allowed_hosts import AllowedHosts
from shared.core.errors import ConfigError
from shared.core.model import AppEnvironment
from shared.runtime.settings import CommonSettings

# developer.apple.com, "Sending notification requests to APNs": the production server.
APNS_URL = "https://api.push.apple.com"
# The same page: the development server, for apps that developers run and test.
APNS_SANDBOX_URL = "https://api.sandbox.push.apple.com"
# firebase.google.com/docs/reference/fcm/rest: the service endpoint.
FCM_URL = "https://fcm.googleapis.com"
# firebase.google.com/docs/cloud-messaging/throttling-and-quotas: 600,000 messages a minute.
FCM_PER_SECOND = 10_000
# Where browsers are reached: Chrome and its relatives (fcm.googleapis.com), Firefox (*.push.services.mozilla.com), Edge
# (*.notify.windows.com), see pushpad.xyz/blog/what-are-the-browser-push-services; Safari (*.push.apple.com), see
# developer.apple.com, "Sending web push notifications in web apps and browsers".
BROWSER_PUSH_HOSTS = "fcm.googleapis.com,.push.services.mozilla.com,.notify.windows.com,.push.apple.com"

# The settings that stand or fall together: first those that are needed, then those that only refine them.
_GROUPS = (
    (
        ("push_apns_key_file", "push_apns_key_id", "push_apns_team_id", "push_apns_topic"),
        ("push_apns_url", "push_apns_sandbox_url", "push_apns_ca_file"),
    ),
    (("push_fcm_credentials_file",), ("push_fcm_url", "push_fcm_per_second")),
    (("push_webpush_vapid_key_file", "push_webpush_subject"), ("push_webpush_allowed_hosts",)),
)


class PushSettings(CommonSettings):
    """What the push service reads."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "PUSH_")

    ops_port: int = Field(9103, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    push_concurrency: int = Field(50, ge=1, le=1000, description="sends in flight")
    push_apns_key_file: Path | None = Field(None, description="the .p8 file with the provider token signing key")
    push_apns_key_id: str | None = Field(None, description="the id of that key")
    push_apns_team_id: str | None = Field(None, description="the developer team that owns the key")
    push_apns_topic: str | None = Field(None, description="the app's bundle id")
    push_apns_url: str = Field(APNS_URL, description="only to point at another server")
    push_apns_sandbox_url: str = Field(
        APNS_SANDBOX_URL,
        description="server for the environment sandbox; a `PUSH_APNS_URL` alone serves both",
    )
    push_apns_ca_file: Path | None = Field(None, description="CA bundle of that server, default the system's")
    push_fcm_credentials_file: Path | None = Field(None, description="the service account's JSON file")
    push_fcm_url: str = Field(FCM_URL, description="only to point at another server")
    push_fcm_per_second: int = Field(FCM_PER_SECOND, ge=1, description="sends a second, of this process")
    push_webpush_vapid_key_file: Path | None = Field(None, description="the application server's private key, PEM")
    push_webpush_subject: str | None = Field(None, description="whom push services may contact: mailto: or https:")
    push_webpush_allowed_hosts: str = Field(
        BROWSER_PUSH_HOSTS,
        description="hosts that subscriptions may name: host, host:port or .suffix; comma-separated",
    )

    @property
    def has_apns(self) -> bool:
        """Whether iOS devices can be reached."""
        return self.push_apns_key_file is not None

    @property
    def apns_urls(self) -> dict[AppEnvironment, str]:
        """Where the devices of each environment are reached."""
        only_one = "push_apns_url" in self.model_fields_set and "push_apns_sandbox_url" not in self.model_fields_set
        sandbox = self.push_apns_url if only_one else self.push_apns_sandbox_url
        return {AppEnvironment.PRODUCTION: self.push_apns_url, AppEnvironment.SANDBOX: sandbox}

    @property
    def has_fcm(self) -> bool:
        """Whether Android devices can be reached."""
        return self.push_fcm_credentials_file is not None

    @property
    def has_webpush(self) -> bool:
        """Whether browsers can be reached."""
        return self.push_webpush_vapid_key_file is not None

    @property
    def webpush_hosts(self) -> AllowedHosts:
        """The allowed hosts."""
        return AllowedHosts.parse(self.push_webpush_allowed_hosts)

    @field_validator("push_apns_url", "push_apns_sandbox_url")
    @classmethod
    def _is_https(cls, value: str) -> str:
        return _base_url(value, ("https",))

    @field_validator("push_fcm_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        return _base_url(value, ("https", "http"))

    @field_validator("push_webpush_allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        AllowedHosts.parse(value)
        return value

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        for needed, refining in _GROUPS:
            given = [name for name in needed + refining if name in self.model_fields_set]
            missing = [name.upper() for name in needed if name not in self.model_fields_set]
            if given and missing:
                raise ConfigError(f"{', '.join(missing)}: required, because {given[0].upper()} is set")
        if not (self.has_apns or self.has_fcm or self.has_webpush):
            names = " or ".join(needed[0].upper() for needed, _ in _GROUPS)
            raise ConfigError(f"no push provider is configured: set {names}, each with what belongs to it")
        return self

    @model_validator(mode="after")
    def _keys_are_usable(self) -> Self:
        if self.push_apns_key_file:
            credentials.load_apns_key(self.push_apns_key_file)
        if self.push_apns_ca_file:
            credentials.load_apns_tls(self.push_apns_ca_file)
        if self.push_fcm_credentials_file:
            credentials.load_service_account(self.push_fcm_credentials_file)
        if self.push_webpush_vapid_key_file:
            credentials.load_vapid(self.push_webpush_vapid_key_file, self.push_webpush_subject or "")
        return self


def _base_url(value: str, schemes: tuple[str, ...]) -> str:
    try:
        url = URL(value)
    except ValueError:
        url = URL()
    if url.scheme not in schemes or not url.host or url.path not in ("", "/") or url.query_string or url.user:
        raise ValueError(f"a URL of the form {schemes[0]}://host[:port] is required")
    return str(url.origin())
