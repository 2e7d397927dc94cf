"""Settings: environment variables, read once at start, that refuse what they do not know.

If a variable under one of our prefixes is missing, malformed or misspelt, the process stops with exit status 2 and one
line that names it. The line never shows a value, because a value may be a secret.

``NAME_FILE=/path`` stands for ``NAME``, except for settings whose own name ends in ``_FILE``.
"""

import os
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.core.channels import read_without
from shared.core.errors import ConfigError
from shared.core.model import Channel
from shared.delivery.answer_links import AnswerLinks

SettingsT = TypeVar("SettingsT", bound="CommonSettings")
GroupT = TypeVar("GroupT", bound="ProviderSettings")

# What Kubernetes injects for a Service called mqtt, redis, realtime and so on; it is not ours to judge. NAME_PORT looks
# like a setting and is told by its value (Kubernetes documentation, "Service", environment variables).
_SERVICE_LINK = re.compile(
    r".+_SERVICE_HOST|.+_SERVICE_PORT(_[A-Z0-9_]+)?|.+_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
_SERVICE_LINK_PORT = re.compile(r"(tcp|udp|sctp)://.+")


def _upper_case(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _channels(value: str | None) -> str | None:
    """Refuse what is no channel, and all of them together."""
    read_without(value or "")
    return value


class CommonSettings(BaseSettings):
    """What every service reads.

    A subclass adds its own fields and its prefixes; a field's variable is its name in capitals.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)

    prefixes: ClassVar[tuple[str, ...]] = (
        "MQTT_", "REDIS_", "TOPIC_", "OPS_", "INBOX_", "RECORD_", "DELIVERY_", "ALERT_", "LOG_",
        # As much as tells a misspelt CARILLON_WITHOUT from what commands and clients read under CARILLON_.
        "CARILLON_W",
    )  # fmt: skip

    mqtt_url: SecretStr = Field(description="mqtt://[user:pass@]host[:1883] or mqtts://…")
    mqtt_ca_file: Path | None = Field(None, description="CA bundle for mqtts, default the system's")
    redis_url: SecretStr = Field(
        description="redis://…, redis+cluster://… or redis+sentinel://…/service; with rediss instead of redis by TLS"
    )
    redis_wait_replicas: int = Field(
        0, ge=0, le=10, description="replicas that must have a write before it is relied upon; see redis.md"
    )
    redis_wait_timeout_ms: int = Field(1000, ge=1, le=10_000, description="how long they may take, milliseconds")
    redis_allow_eviction: bool = Field(
        False, description="start on a Redis that drops records when its memory is full; see redis.md"
    )
    # Without wildcards; without $, which begins topics of the broker's own (MQTT 5, 4.7.2); without braces, which mark
    # hash tags in Redis keys.
    topic_prefix: str = Field("", pattern=r"^([^$+#{}\x00][^+#{}\x00]*)?$", description="put before every topic")
    ops_host: str = Field("0.0.0.0", description="address of the ops endpoint")  # noqa: S104 - probes come from outside the pod
    ops_port: int = Field(0, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    inbox_limit: int = Field(100, ge=1, le=10_000, description="inbox entries kept per user")
    inbox_retention_s: int = Field(30 * 86400, ge=60, description="how long an inbox entry is kept, seconds")
    record_retention_s: int = Field(
        7 * 86400, ge=60, description="how long an ended notification can be traced, seconds"
    )
    delivery_lifetime_s: int = Field(
        86400, ge=1, description="how long a delivery without a deadline is tried, seconds"
    )
    delivery_attempt_deadline_s: int = Field(
        30,
        ge=1,
        le=300,
        description="when one attempt is cut off, seconds",
    )
    delivery_lease_margin_s: int = Field(
        10,
        ge=1,
        le=300,
        description="what is in hand is taken over so long after its attempt should have ended, seconds; longer than a"
        " failover of the store takes",
    )
    alert_escalation_after_s: float = Field(
        300, gt=0, description="default wait before the admins are told again, seconds"
    )
    carillon_without: Annotated[str | None, AfterValidator(_channels)] = Field(
        None, description="channels that this system does without, comma-separated, such as sms,push"
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper_case)] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["json", "console"] = Field("json", description="json, or console for a person to read")

    @property
    def without(self) -> frozenset[Channel]:
        """The channels that this system does without."""
        return read_without(self.carillon_without or "")

    @property
    def inbox_retention(self) -> timedelta:
        """How long an inbox entry is kept."""
        return timedelta(seconds=self.inbox_retention_s)

    @property
    def delivery_attempt_deadline(self) -> timedelta:
        """When one attempt is cut off, connecting included."""
        return timedelta(seconds=self.delivery_attempt_deadline_s)

    @property
    def delivery_lease_margin(self) -> timedelta:
        """By how much a claim outlives the deadline of its attempt."""
        return timedelta(seconds=self.delivery_lease_margin_s)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment through our own source, which knows ``NAME_FILE`` and refuses unknown names."""
        return (init_settings, _StrictEnvironment(settings_cls, os.environ))

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigError: one line that names the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            raise ConfigError(_problems(error)) from None

    @classmethod
    def every_field(cls) -> dict[str, FieldInfo]:
        """Return what is read, by the variable's name in small letters."""
        return dict(cls.model_fields)

    def masked(self) -> dict[str, str]:
        """Return the settings for the log, secrets and URLs' credentials masked."""
        return {name: str(value) for name, value in self if value is not None}


class ProviderSettings(BaseModel):
    """The settings of one provider, which stand beside its channel's.

    A subclass adds its own fields; a field's variable is its name in capitals and begins with the channel's prefix.
    They are set whole or not at all: those without a default are needed as soon as one of them is set, and a provider
    of which none is set is not there. A validator may raise a ``ConfigError`` that names the variable.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def needed(cls) -> tuple[str, ...]:
        """Return the variables that this provider cannot do without."""
        return tuple(name.upper() for name, field in cls.model_fields.items() if field.is_required())

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self | None:
        """Read them out of all that is set; None where none of them is.

        Raises:
            ConfigError: one line that names the variable.
        """
        given = {name: values[name] for name in cls.model_fields if values.get(name) is not None}
        if not given:
            return None
        missing = [name for name in cls.needed() if name.lower() not in given]
        if missing:
            raise ConfigError(f"{', '.join(missing)}: required, because {next(iter(given)).upper()} is set")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigError(_problems(error)) from None


class ChannelSettings(CommonSettings):
    """What a channel service reads: the channel's own settings, and those of each provider that is configured.

    Attributes:
        channel: in which words a missing provider is told.
        groups: of all its providers, the preferred one first; at least one has to be set.
    """

    channel: ClassVar[Channel]
    groups: ClassVar[tuple[type[ProviderSettings], ...]] = ()

    _configured: tuple[ProviderSettings, ...] = PrivateAttr(())

    def of(self, group: type[GroupT]) -> GroupT | None:
        """Return a provider's settings; None where it is not configured."""
        return next((each for each in self._configured if isinstance(each, group)), None)

    @classmethod
    def every_field(cls) -> dict[str, FieldInfo]:
        """Return what is read, the providers' settings included."""
        fields = super().every_field()
        for group in cls.groups:
            fields |= group.model_fields
        return fields

    def masked(self) -> dict[str, str]:
        """Return the settings for the log, secrets and URLs' credentials masked."""
        configured = {name: str(value) for group in self._configured for name, value in group if value is not None}
        return super().masked() | configured

    @model_validator(mode="wrap")
    @classmethod
    def _with_providers(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - pydantic's shape
        problems: list[str] = []
        settings: Self | None = None
        try:
            settings = handler(values)
        except ValidationError as error:
            problems.append(_problems(error))
        configured: list[ProviderSettings] = []
        for group in cls.groups:
            try:
                if found := group.read(values):
                    configured.append(found)
            except ConfigError as error:
                problems.append(str(error))
        if cls.groups and not configured and not problems:
            names = " or ".join(group.needed()[0] for group in cls.groups)
            each = "with what belongs to it" if len(cls.groups) == 1 else "each with what belongs to it"
            problems.append(f"no {cls.channel} provider is configured: set {names}, {each}")
        if settings is None or problems:
            raise ConfigError("; ".join(problems))
        settings._configured = tuple(configured)  # noqa: SLF001 - our own
        return settings


# RFC 2104, 3: at least as long as the hash is, which is SHA-256 everywhere here.
SECRET_BYTES = 32
# So that a header line with it stays below the limit of 998 characters (RFC 5322, 2.1.1).
_URL_CHARS = 500
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


def long_enough(secret: SecretStr | None) -> SecretStr | None:
    """Refuse a signing secret that could be guessed; for ``AfterValidator``."""
    if secret is not None and len(secret.get_secret_value().encode()) < SECRET_BYTES:
        raise ValueError(f"must be at least {SECRET_BYTES} bytes long")
    return secret


def secrets_in(secret: SecretStr) -> tuple[str, ...]:
    """Return the secrets of a setting that may hold several, with spaces between them.

    The first one signs, and what any of them has signed is accepted. A text with spaces in which not every word is long
    enough is one secret.
    """
    text = secret.get_secret_value()
    words = tuple(text.split())
    return words if all(len(word.encode()) >= SECRET_BYTES for word in words) else (text,)


def public_url(url: str | None) -> str | None:
    """Refuse what mail programs would not call (RFC 8058, 3.1: an HTTPS URI), except on this machine."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = SplitResult("", "", "", "", ""), None, None
    del port
    allowed = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK_HOSTS)
    plain = url.isascii() and not set(url) & set(' <>"\\') and url.isprintable()
    if not allowed or not host or parts.query or parts.fragment or "@" in parts.netloc or not plain:
        raise ValueError("a URL such as https://notify.example.com is required, without a query")
    if len(url) > _URL_CHARS:
        raise ValueError(f"must be at most {_URL_CHARS} characters long")
    return url


def base_url(value: str, schemes: tuple[str, ...] = ("https", "http")) -> str:
    """Return where a provider's API is: the origin alone.

    Raises:
        ValueError: a sentence for the operator.
    """
    try:
        parts = urlsplit(value)
        is_origin = bool(parts.hostname) and parts.port != 0 and parts.path in ("", "/") and "@" not in parts.netloc
    except ValueError:
        parts, is_origin = SplitResult("", "", "", "", ""), False
    if parts.scheme not in schemes or not is_origin or parts.query or parts.fragment:
        raise ValueError(f"a URL of the form {schemes[0]}://host[:port] is required")
    return f"{parts.scheme}://{parts.netloc}"


class UnsubscribeSettings(CommonSettings):
    """What the email service, which makes links to unsubscribe, and the realtime service, which serves them, share."""

    email_unsubscribe_secret: Annotated[SecretStr | None, AfterValidator(long_enough)] = Field(
        None, description="signs the links to unsubscribe; the same for email and realtime; several, the newest first"
    )
    email_unsubscribe_url: Annotated[str | None, AfterValidator(public_url)] = Field(
        None, description="where those links reach the realtime service: https://…"
    )

    @model_validator(mode="after")
    def _unsubscribe_settings_go_together(self) -> Self:
        if (self.email_unsubscribe_secret is None) != (self.email_unsubscribe_url is None):
            raise ValueError("EMAIL_UNSUBSCRIBE_SECRET and EMAIL_UNSUBSCRIBE_URL go together")
        return self


class AnswerLinkSettings(CommonSettings):
    """What the services that send links to alerts, and the realtime service, which serves them, share."""

    answer_link_prefixes: ClassVar[tuple[str, ...]] = ("REALTIME_LINK_", "REALTIME_PUBLIC_")

    realtime_link_secret: Annotated[SecretStr | None, AfterValidator(long_enough)] = Field(
        None, description="signs links in mail, push and calendars; several, the newest first"
    )
    realtime_public_url: Annotated[str | None, AfterValidator(public_url)] = Field(
        None, description="where people reach the realtime service: https://…"
    )


class AnswerLinkSenderSettings(AnswerLinkSettings):
    """What a service that sends links to alerts reads."""

    @property
    def answer_links(self) -> AnswerLinks | None:
        """How people acknowledge with one click; None where they cannot."""
        if self.realtime_public_url is None or self.realtime_link_secret is None:
            return None
        return AnswerLinks(self.realtime_public_url.rstrip("/"), secrets_in(self.realtime_link_secret)[0])

    @model_validator(mode="after")
    def _link_settings_go_together(self) -> Self:
        if (self.realtime_link_secret is None) != (self.realtime_public_url is None):
            raise ValueError("REALTIME_LINK_SECRET and REALTIME_PUBLIC_URL go together")
        return self


class _StrictEnvironment(PydanticBaseSettingsSource):
    """The environment, where every name under a known prefix must be one of ours."""

    def __init__(self, settings_cls: type[BaseSettings], environment: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._fields = settings_cls.every_field() if issubclass(settings_cls, CommonSettings) else {}
        self._environment = {name: value for name, value in environment.items() if not _is_service_link(name, value)}

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - the base's shape
        """Return one setting's text, from the variable or from the file that stands for it."""
        name = field_name.upper()
        value, path = self._environment.get(name), self._environment.get(f"{name}_FILE")
        # A setting that is itself a file's name (…_FILE) is never read through another file.
        if path and not name.endswith("_FILE"):
            if value:
                raise ConfigError(f"{name} and {name}_FILE are both set; keep one")
            try:
                value = Path(path).read_text().strip()
            except OSError as error:
                raise ConfigError(f"{name}_FILE: cannot read the file ({error.strerror})") from None
            except UnicodeDecodeError:
                raise ConfigError(f"{name}_FILE: cannot read the file (not UTF-8)") from None
        return value or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return every setting that the environment holds."""
        self._refuse_unknown()
        values = {name: self.get_field_value(field, name)[0] for name, field in self._fields.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _refuse_unknown(self) -> None:
        known = {name.upper() for name in self._fields}
        known |= {f"{name}_FILE" for name in known if not name.endswith("_FILE")}
        prefixes: tuple[str, ...] = getattr(self.settings_cls, "prefixes", ())
        for name in sorted(self._environment):
            if name.startswith(prefixes) and name not in known:
                raise ConfigError(f"{name}: unknown setting{_suggestion(name, known)}")


def _is_service_link(name: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(name):
        return True
    return name.endswith("_PORT") and _SERVICE_LINK_PORT.fullmatch(value) is not None


def _suggestion(name: str, known: set[str]) -> str:
    # Imported here because it is needed only on the way out.
    import difflib  # noqa: PLC0415

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f", did you mean {close[0]}?" if close else ""


def _problems(error: ValidationError) -> str:
    return "; ".join(_problem(detail) for detail in error.errors())


def _problem(detail: Any) -> str:  # noqa: ANN401 - pydantic's error details
    name = ".".join(str(part) for part in detail["loc"]).upper() or "settings"
    if detail["type"] == "missing":
        return f"{name}: required"
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}"


def load_or_exit(settings_cls: type[SettingsT]) -> SettingsT:
    """Read the settings, or end the process with one clear line and exit status 2."""
    try:
        return settings_cls.load()
    except ConfigError as error:
        sys.stderr.write(f"carillon: {error}\n")
        raise SystemExit(2) from None
