"""Tenants: customers of a publisher, each with its own name, look, quiet hours and changes of categories.

There is one level: a tenant has no tenants, and takes nothing from another.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from shared.core.fields import HttpsUrl, Identifier, Line, Locale, ZoneName
from shared.directory.categories import Category
from shared.directory.quiet_hours import QuietHours
from shared.directory.record import Record

TENANT_CATEGORIES = 200
FOOTER_CHARS = 1000
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


def _colour(text: str) -> str:
    if not _COLOUR.fullmatch(text):
        raise PydanticCustomError("colour", "must be a colour such as #0a7cff")
    return text


class Brand(Record):
    """What a tenant's notifications look like; templates get it as ``brand``."""

    name: Line | None = None
    logo_url: HttpsUrl | None = None
    colour: Annotated[str, AfterValidator(_colour)] | None = None
    footer: Annotated[str, Field(max_length=FOOTER_CHARS)] | None = None


class Tenant(Record):
    """A tenant (wire contract, section 2).

    Attributes:
        timezone: of its people who have none of their own; ``locale`` likewise.
        quiet_hours: of its people who have none of their own.
        categories: what it changes of categories.
    """

    title: Line | None = None
    timezone: ZoneName | None = None
    locale: Locale | None = None
    quiet_hours: QuietHours | None = None
    brand: Brand | None = None
    categories: Annotated[dict[Identifier, Category], Field(max_length=TENANT_CATEGORIES)] = Field(default_factory=dict)


class NamedTenant(Tenant):
    """A record with the name that it is written under."""

    tenant: Identifier

    @property
    def record(self) -> Tenant:
        """The record without the name."""
        return Tenant.model_validate(self.model_dump(exclude={"tenant"}, exclude_unset=True))
