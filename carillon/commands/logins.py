"""The file of logins that ``broker-roles`` and ``store-users`` read."""

from collections.abc import Collection

from carillon.broker.roles import Login
from shared.core.errors import ConfigError


def read_logins(text: str, known: Collection[str]) -> list[Login]:
    """Read a file of logins.

    Args:
        known: the roles that there are.

    Raises:
        ConfigError: a line is wrong; the message has its number and not the password.
    """
    found: dict[str, Login] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3:
            raise ConfigError(f"line {number}: a name, a role and a password are required")
        name, role, password = words
        if role not in known:
            raise ConfigError(f"line {number}: there is no role {role}; there are {', '.join(known)}")
        if name in found:
            raise ConfigError(f"line {number}: {name} is there already")
        try:
            found[name] = Login(name, password, role)
        except ConfigError as error:
            raise ConfigError(f"line {number}: {error}") from None
    return list(found.values())
