"""The catalogue on the store: categories and tenants.

A record that cannot be read counts as none, and is logged: what is about it is planned by the rules for all.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from shared.directory.categories import Category, KnownCategory, with_changes
from shared.directory.record import Record
from shared.directory.tenants import Tenant
from shared.store.keys import Keys
from shared.store.replies import pairs
from shared.store.store import Store

log = logging.getLogger(__name__)

_R = TypeVar("_R", bound=Record)


# As the people's: keyed by the stored text, so they can be neither stale nor wrong.
@lru_cache(maxsize=2_000)
def _category(record: bytes) -> Category | None:
    return _parsed(Category, record)


@lru_cache(maxsize=2_000)
def _tenant(record: bytes) -> Tenant | None:
    return _parsed(Tenant, record)


def _parsed(model: type[_R], record: bytes) -> _R | None:
    try:
        return model.model_validate_json(record, extra="ignore")
    except ValidationError as error:
        extra = {"record": model.__name__, "problems": error.error_count()}
        log.error("unreadable record of the catalogue", extra=extra)  # noqa: TRY400 - its text is nobody's business here
        return None


def _by_name(flat: Any) -> dict[str, bytes]:  # noqa: ANN401 - the store's answer
    return {name.decode(errors="replace"): record for name, record in pairs(flat)}


def _there(names: Sequence[str], records: Sequence[bytes | None]) -> dict[str, bytes]:
    return {name: record for name, record in zip(names, records, strict=True) if record is not None}


@lru_cache(maxsize=10_000)
def _known(name: str, record: bytes | None, tenant: str | None, of_tenant: bytes | None) -> KnownCategory | None:
    category = _category(record) if record is not None else None
    changes = _tenant(of_tenant) if of_tenant is not None else None
    if tenant is not None and changes is not None and name in changes.categories:
        try:
            return with_changes(name, category, tenant, changes.categories[name])
        except ValidationError:
            # Each is right, and both together are not: a window beside a schedule.
            log.error("a tenant's changes do not fit a category")  # noqa: TRY400 - as above
    return KnownCategory(name, category) if category is not None else None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of the categories and tenants that were asked for: the records as they are stored."""

    categories: Mapping[str, bytes] = field(default_factory=dict)
    tenants: Mapping[str, bytes] = field(default_factory=dict)

    def category(self, name: str | None, tenant: str | None = None) -> KnownCategory | None:
        """Return a category as it holds for a tenant's notifications; None where there is none."""
        if name is None:
            return None
        return _known(name, self.categories.get(name), tenant, self.tenants.get(tenant) if tenant is not None else None)

    def tenant(self, name: str | None) -> Tenant | None:
        """Return a tenant's record; None where there is none."""
        record = self.tenants.get(name) if name is not None else None
        return _tenant(record) if record is not None else None

    def known_to(self, tenant: str | None) -> list[KnownCategory]:
        """List every category as it holds for a tenant's notifications, with those that the tenant alone has."""
        record = self.tenant(tenant)
        names = {*self.categories, *(record.categories if record is not None else ())}
        return [known for name in sorted(names) if (known := self.category(name, tenant)) is not None]


NO_CATALOGUE = Catalogue()


class Catalogues:
    """The records of categories and tenants on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._categories = keys.categories
        self._tenants = keys.tenants

    async def look_up(self, categories: Collection[str], tenants: Collection[str]) -> Catalogue:
        """Read these, in one round trip."""
        asked = {key: list(names) for key, names in ((self._categories, categories), (self._tenants, tenants)) if names}
        if not asked:
            return NO_CATALOGUE
        # Submitted here and in no tasks of their own, so that they leave with what the caller asks at the same time.
        answers = await asyncio.gather(*(self._store.submit("HMGET", key, *names) for key, names in asked.items()))
        found = {key: _there(names, answer) for (key, names), answer in zip(asked.items(), answers, strict=True)}
        return Catalogue(found.get(self._categories, {}), found.get(self._tenants, {}))

    async def for_tenant(self, tenant: str | None) -> Catalogue:
        """Read every category and one tenant, in one round trip."""
        tenants = [tenant] if tenant is not None else []
        flat, of_tenant = await asyncio.gather(
            self._store.command("HGETALL", self._categories), self._get(self._tenants, tenants)
        )
        return Catalogue(_by_name(flat), of_tenant)

    async def all(self) -> Catalogue:
        """Read everything."""
        found = await asyncio.gather(
            *(self._store.command("HGETALL", key) for key in (self._categories, self._tenants))
        )
        return Catalogue(*map(_by_name, found))

    async def _get(self, key: str, names: Collection[str]) -> dict[str, bytes]:
        wanted = list(names)
        if not wanted:
            return {}
        return _there(wanted, await self._store.command("HMGET", key, *wanted))

    async def put_category(self, name: str, record: Category) -> None:
        """Write a category in place of the one before."""
        await self._put(self._categories, name, record)

    async def put_tenant(self, name: str, record: Tenant) -> None:
        """Write a tenant in place of the one before."""
        await self._put(self._tenants, name, record)

    async def _put(self, key: str, name: str, record: Record) -> None:
        text = record.model_dump_json(exclude_unset=True, by_alias=True)
        await self._store.command("HSET", key, name, text, lasting=True)

    async def delete_category(self, name: str) -> None:
        """Forget a category; its notifications are planned as those without one."""
        await self._store.command("HDEL", self._categories, name, lasting=True)

    async def delete_tenant(self, name: str) -> None:
        """Forget a tenant."""
        await self._store.command("HDEL", self._tenants, name, lasting=True)
