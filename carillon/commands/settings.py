"""What the commands need to know of the system they talk to.

Settings come from the environment, under the names that the services read. What is not there comes from the system that
``carillon up`` runs on this machine, but only when the environment does not name another system: no command reads one
system's store and publishes to another's broker.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from carillon.local.places import DATA_VARIABLE, DEFAULT_DATA, read_environment
from services.router.settings import PlanningSettings
from shared.core.errors import ConfigError

# Whoever sets one of these means the system that it belongs to.
_SYSTEM_VARIABLES = ("MQTT_URL", "REDIS_URL", "REALTIME_JWT_SECRET")

_UNSET = SecretStr("")


class OperatorSettings(PlanningSettings):
    """The settings of the commands; each command asks for what it needs."""

    mqtt_url: SecretStr = Field(_UNSET, description="mqtt://[user:pass@]host[:1883] or mqtts://…")
    redis_url: SecretStr = Field(_UNSET, description="redis://…, rediss://…, redis+cluster://… or redis+sentinel://…")
    realtime_jwt_secret: SecretStr = Field(_UNSET, description="signs tokens with HS256")
    realtime_jwt_audience: str | None = Field(None, description="claim aud of a token")
    realtime_jwt_issuer: str | None = Field(None, description="claim iss of a token")
    realtime_link_secret: SecretStr = Field(_UNSET, description="signs links in mail, push and calendars")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, and the local system for what is not there."""
        sources = super().settings_customise_sources(
            settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
        )
        return (*sources, _LocalSystem(settings_cls))

    def needed(self, name: str) -> str:
        """Return the value of a setting that a command cannot do without.

        Raises:
            ConfigError: it is set nowhere; the message names the variable.
        """
        value: str = getattr(self, name).get_secret_value()
        if not value:
            variable = name.upper()
            other = _names_another_system(read_environment(data_folder()))
            raise ConfigError(
                f"{variable} is not set, and {other} names another system than the one of `carillon up`"
                if other
                else f"{variable} is not set, and there is no system of `carillon up` to take it from"
            )
        return value

    def origin(self, name: str) -> str:
        """Say where the value of a setting came from, for the line that tells that it does not work."""
        variable = name.upper()
        if os.environ.get(variable) or os.environ.get(f"{variable}_FILE"):
            return variable
        return "`carillon up` (is it running?)"


class _LocalSystem(PydanticBaseSettingsSource):
    """The settings that ``carillon up`` wrote down."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - the base's shape
        """Return one setting's text."""
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return every setting that the local system has."""
        local = read_environment(data_folder())
        if _names_another_system(local):
            return {}
        return {name: local[name.upper()] for name in self.settings_cls.model_fields if local.get(name.upper())}


def data_folder() -> Path:
    """Return where the local system keeps its data."""
    return Path(os.environ.get(DATA_VARIABLE) or DEFAULT_DATA)


def _names_another_system(local: dict[str, str]) -> str:
    """Return the variable of the environment that points elsewhere, nothing when none does."""
    for name in _SYSTEM_VARIABLES:
        if os.environ.get(f"{name}_FILE"):
            return f"{name}_FILE"
        if os.environ.get(name) and os.environ[name] != local.get(name):
            return name
    return ""
