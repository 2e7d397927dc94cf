"""Time zones by the names that other products give them."""

from pydantic import TypeAdapter, ValidationError

from shared.core.fields import ZoneName

_ZONE: TypeAdapter[str] = TypeAdapter(ZoneName)


def zone_name(text: str | None) -> str | None:
    """Return a name of the IANA database; None where it is none."""
    if text is None:
        return None
    try:
        return _ZONE.validate_python(text.strip())
    except ValidationError:
        return None
