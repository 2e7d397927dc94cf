"""The settings of the console, under the prefix ``CONSOLE_``."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, SecretStr

from carillon.commands.settings import OperatorSettings
from shared.runtime.settings import SECRET_BYTES, base_url, public_url


def _secrets(value: SecretStr) -> SecretStr:
    """Refuse a signing secret that could be guessed."""
    if any(len(each.encode()) < SECRET_BYTES for each in value.get_secret_value().split()):
        raise ValueError(f"each must be at least {SECRET_BYTES} bytes long")
    return value


def _origin(value: str | None) -> str | None:
    return None if value is None else base_url(value)


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

    @property
    def session_secrets(self) -> list[str]:
        """The secrets, the newest first."""
        return self.console_session_secret.get_secret_value().split()
