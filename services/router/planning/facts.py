"""What the stages know about one person beside the directory's record: looked up, or computed once for all channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.core.model import Priority
from shared.directory.categories import DATA, KnownCategory
from shared.directory.tenants import Tenant

Then = Literal["drop", "hold", "fold"]

# A longer value is no key.
VALUE_CHARS = 256

_URGENCY = list(Priority)


@dataclass(frozen=True, slots=True)
class Limit:
    """A throttle that has been counted for a person and a notification.

    Attributes:
        rule: whose it is.
        at_ms: 0 where it lets the notification through, else from when on it does; None for never.
    """

    rule: str
    then: Then
    at_ms: int | None


@dataclass(frozen=True, slots=True)
class Quiet:
    """The quiet time in which a person is.

    Attributes:
        rule: whose it is.
        within_ms: what it has held leaves spread over this time after it.
    """

    until_ms: int
    rule: str
    within_ms: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What was looked up about one person and one notification.

    Attributes:
        looks_until_ms: until when the person is taken to look at the screen; 0 for somebody who does not.
        category: the notification's, as it holds for its tenant.
        tenant: the notification's.
        limits: each throttle that counts it.
        quiet: None where it is not quiet for the person.
    """

    looks_until_ms: int = 0
    category: KnownCategory | None = None
    tenant: Tenant | None = None
    limits: tuple[Limit, ...] = ()
    quiet: Quiet | None = None


NO_FACTS = Facts()


def priority_in(priority: Priority, category: KnownCategory | None, *, is_alert: bool) -> Priority:
    """Return how urgent something is at most in its category; an alert's topic says how urgent it is."""
    most = category.record.priority_at_most if category is not None else None
    if most is None or is_alert or _URGENCY.index(priority) <= _URGENCY.index(most):
        return priority
    return most


class UnusableKey(ValueError):
    """What a notification says in a field by which it is to be counted or put together; names the field."""


def value_at(data: Mapping[str, Any], field: str | None) -> str:
    """Return what a field of the data says, as a key; nothing where there is no field, or it is not there.

    Args:
        field: such as ``data.thread.id``.

    Raises:
        UnusableKey: there is something else than a text, a number or a truth value, or a long text.
    """
    if field is None:
        return ""
    found: Any = data
    for name in field.removeprefix(DATA).split("."):
        if found is None:
            return ""
        if not isinstance(found, Mapping):
            raise UnusableKey(field)
        found = found.get(name)
    if found is None:
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    if not isinstance(found, str | int | float) or len(str(found)) > VALUE_CHARS:
        raise UnusableKey(field)
    return str(found)


def unusable_key(data: Mapping[str, Any], category: KnownCategory) -> str | None:
    """Name the field by which a category counts or puts together what the data says nothing usable in."""
    for asks in (category.record.throttle, category.record.digest):
        if asks is not None:
            try:
                value_at(data, asks.key)
            except UnusableKey as error:
                return str(error)
    return None
