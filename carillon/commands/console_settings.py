"""The settings of the console, under the prefix ``CONSOLE_``."""

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from carillon.commands.settings import OperatorSettings
from carillon.console.oidc import OidcSettings
from carillon.console.roles import Role
from shared.runtime.settings import SECRET_BYTES, base_url, public_url


def _secrets(value: SecretStr) -> SecretStr:
    """Refuse a signing secret that could be guessed."""
    if any(len(each.encode()) < SECRET_BYTES for each in value.get_secret_value().split()):
        raise ValueError(f"each must be at least {SECRET_BYTES} bytes long")
    return value


def _origin(value: str | None) -> str | None:
    return None if value is None else base_url(value)


def _read_roles(value: object) -> object:
    """Read ``sre=operator,support=viewer``."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    roles = {name.strip(): word.strip() for name, _, word in pairs}
    if any(not name or Role.of(word) is None for name, word in roles.items()):
        raise ValueError(f"must be NAME=ROLE, comma-separated; roles are {', '.join(each.word for each in Role)}")
    return roles


class ConsoleSettings(OperatorSettings):
    """What ``carillon console`` reads beside what every command does."""

    prefixes: ClassVar[tuple[str, ...]] = (*OperatorSettings.prefixes, "CONSOLE_")

    console_token: SecretStr = Field(SecretStr(""), description="what a program's request presents; made up if not set")
    console_session_secret: Annotated[SecretStr, AfterValidator(_secrets)] = Field(
        SecretStr(""),
        description="signs sessions; several, the newest first, with spaces between; made up if not set",
    )
    console_url: Annotated[str | None, AfterValidator(public_url)] = Field(
        None, description="where people reach the console: https://…"
    )

    console_prometheus_url: Annotated[str | None, AfterValidator(_origin)] = Field(
        None, description="a Prometheus that scrapes the services: the page Now shows its latencies"
    )

    console_oidc_issuer: Annotated[str | None, AfterValidator(public_url)] = Field(
        None, description="the OpenID Connect provider that people sign in with: https://…"
    )
    console_oidc_client_id: str | None = Field(None, description="how it knows the console")
    console_oidc_client_secret: SecretStr = Field(SecretStr(""), description="the console's secret there")
    console_oidc_roles_claim: str = Field(
        "roles", description="the claim of the ID token that holds the roles; a dot leads into an object"
    )
    console_oidc_roles: Annotated[dict[str, str], NoDecode, BeforeValidator(_read_roles)] = Field(
        {}, description="what the provider calls each role, such as sre=operator,support=viewer; empty: as here"
    )

    @model_validator(mode="after")
    def _oidc_settings_go_together(self) -> Self:
        given = {
            "CONSOLE_OIDC_ISSUER": self.console_oidc_issuer,
            "CONSOLE_OIDC_CLIENT_ID": self.console_oidc_client_id,
            "CONSOLE_OIDC_CLIENT_SECRET": self.console_oidc_client_secret.get_secret_value(),
        }
        if any(given.values()):
            missing = [name for name, value in (given | {"CONSOLE_URL": self.console_url}).items() if not value]
            if missing:
                raise ValueError(f"{', '.join(missing)}: required, because CONSOLE_OIDC_… is set")
        return self

    @property
    def oidc(self) -> OidcSettings | None:
        """The provider; None where only links let people in."""
        if self.console_oidc_issuer is None or self.console_oidc_client_id is None:
            return None
        names = self.console_oidc_roles or {role.word: role.word for role in Role}
        return OidcSettings(
            issuer=self.console_oidc_issuer,
            client_id=self.console_oidc_client_id,
            client_secret=self.console_oidc_client_secret.get_secret_value(),
            roles_claim=self.console_oidc_roles_claim,
            roles={name: role for name, word in names.items() if (role := Role.of(word)) is not None},
        )

    @property
    def session_secrets(self) -> list[str]:
        """The secrets, the newest first."""
        return self.console_session_secret.get_secret_value().split()
