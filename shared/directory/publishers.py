"""Who publishes: what a publisher may do, how much of it, and by which keys it is known over HTTP.

The broker's roles let only the login of a name publish below ``from/{name}/``, so whatever comes there is that
publisher's. What comes on a plain topic belongs to ``shared.core.topics.PLAIN_PUBLISHER``. A publisher without a record
is one of ``Publisher()``.

A record that cannot be read forbids everything, and is logged: a damaged record must not give a right back.
"""

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic_core import PydanticCustomError

from shared.core.fields import Identifier, unique
from shared.core.model import Priority
from shared.core.rates import Rate, read_rate
from shared.core.topics import PLAIN_PUBLISHER
from shared.store.keys import Keys
from shared.store.replies import pairs, scored
from shared.store.store import Store, each, load_script

log = logging.getLogger(__name__)

_put = load_script(__package__, "publisher_put")

MAY_FILTERS = 100
KEYS = 20
FILTER_CHARS = 200
SHARE = 1000.0

# What one may publish on whose record says nothing else.
NOTIFICATIONS = "notifications/#"

# A SHA-256 in lower-case hexadecimal.
_DIGEST = re.compile("[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LEVEL = re.compile(r"[+]|[^+#\x00-\x1f\x7f]*")


def _topic_filter(text: str) -> str:
    """Refuse what is no topic filter (MQTT 5, 4.7.1), or has another publisher's topics in mind."""
    levels = text.split("/")
    inner = levels[:-1] if levels[-1] == "#" else levels
    if not all(_LEVEL.fullmatch(level) for level in inner):
        raise PydanticCustomError("filter", "must be a topic filter")
    if text.startswith(("from/", "$")):
        raise PydanticCustomError("filter", "without from/ and the publisher")
    return text


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise PydanticCustomError("digest", "must be a SHA-256 in hexadecimal")
    return text


def _name(text: str) -> str:
    if not may_be_named(text):
        raise PydanticCustomError("name", "must be a login: 1 to 64 letters, digits, hyphens, dots and underscores")
    return text


def may_be_named(name: str) -> bool:
    """Tell whether a publisher can have this name: it is a level of topics and a login, or the plain topics' one."""
    return bool(_NAME.fullmatch(name)) or name == PLAIN_PUBLISHER


Filter = Annotated[str, Field(min_length=1, max_length=FILTER_CHARS), AfterValidator(_topic_filter)]
KeyDigest = Annotated[str, AfterValidator(_digest)]
PublisherName = Annotated[str, Field(min_length=1), AfterValidator(_name)]


class Publisher(BaseModel):
    """The record of a publisher (wire contract, section 2).

    Attributes:
        may: filters of the topics that it may publish on, without prefix and ``from/``; None is ``notifications/#``,
            and everything for the plain topics' publisher.
        may_answer: whose notifications and alerts it may cancel, acknowledge, resolve.
        priority_at_most: nothing more urgent is taken from it.
        rate: how many publishes in what time; None is the router's default.
        share: of what waits in a lane, compared with the other publishers' shares.
        tenant: what its notifications belong to that say nothing else.
        unknown_fields: None is the router's default.
        keys: SHA-256 of each key with which it publishes over HTTP.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    may: Annotated[tuple[Filter, ...], Field(max_length=MAY_FILTERS), AfterValidator(unique)] | None = None
    may_answer: Literal["own", "any"] = "own"
    priority_at_most: Priority | None = None
    rate: Annotated[Rate, BeforeValidator(read_rate), PlainSerializer(str)] | None = None
    share: Annotated[float, Field(strict=True, gt=0, le=SHARE)] = 1.0
    tenant: Identifier | None = None
    unknown_fields: Literal["warn", "reject"] | None = None
    keys: Annotated[tuple[KeyDigest, ...], Field(max_length=KEYS), AfterValidator(unique)] = ()

    def may_publish(self, topic: str, *, plain: bool) -> bool:
        """Tell whether it may publish on a topic.

        Args:
            topic: without prefix and ``from/``.
            plain: it is the plain topics' publisher, whom the broker's roles alone limit where there is no record.
        """
        if self.may is None:
            return plain or matches(NOTIFICATIONS, topic)
        return any(matches(each, topic) for each in self.may)


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a filter names a topic (MQTT 5, 4.7.1)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(levels) or level not in ("+", levels[index]):
            # "a/#" names "a", too.
            return False
    return len(wanted) == len(levels) or wanted[len(levels) :] == ["#"]


# As the people's: keyed by the stored text, so it can be neither stale nor wrong.
_NOTHING = Publisher(may=(), priority_at_most=Priority.LOW)


@lru_cache(maxsize=1_000)
def _parse(record: bytes) -> Publisher:
    try:
        return Publisher.model_validate_json(record, extra="ignore")
    except ValidationError as error:
        log.error("unreadable record of a publisher", extra={"problems": error.error_count()})  # noqa: TRY400 - it holds digests
        return _NOTHING


class NamedPublisher(Publisher):
    """A record with the name that it is written under."""

    publisher: PublisherName

    @property
    def record(self) -> Publisher:
        """The record without the name."""
        return Publisher.model_validate(self.model_dump(exclude={"publisher"}, exclude_unset=True))


class KeyInUse(Exception):
    """A key belongs to another publisher."""


class Publishers:
    """The publishers' records on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._base = keys.publishers

    async def put(self, name: str, record: Publisher) -> None:
        """Write a record in place of the one before; its keys, and no others, are this publisher's.

        Raises:
            KeyInUse: one of the keys is another publisher's; nothing was written.
        """
        text = record.model_dump_json(exclude_unset=True, exclude_none=True)
        if not await self._store.script(_put, self._base, name, text, *record.keys, lasting=True):
            raise KeyInUse

    async def delete(self, name: str) -> None:
        """Forget a record and its keys."""
        await self._store.script(_put, self._base, name, "", lasting=True)

    async def get(self, names: Sequence[str]) -> dict[str, Publisher]:
        """Return those who have a record, in one round trip."""
        if not names:
            return {}
        found = await self._store.command("HMGET", f"{self._base}:records", *names)
        return {name: _parse(record) for name, record in zip(names, found, strict=True) if record is not None}

    async def all(self) -> dict[str, Publisher]:
        """Return all records by name."""
        flat: list[bytes] = await self._store.command("HGETALL", f"{self._base}:records")
        return {name.decode(errors="replace"): _parse(record) for name, record in pairs(flat)}

    async def counted(self, name: str) -> int:
        """Return how many publishes of this one count against its rate now."""
        counted: int = await self._store.command("ZCARD", f"{self._keys.publisher(name)}:rate")
        return counted

    async def names(self) -> list[str]:
        """Return who has a record, by name."""
        return sorted(
            name.decode(errors="replace") for name in await self._store.command("HKEYS", f"{self._base}:records")
        )

    async def lately(self, names: Sequence[str]) -> dict[str, tuple[int, int | None]]:
        """Return how many publishes of each count against its rate now, and when the newest was (ms since 1970).

        Of one that has no rate, none is counted.
        """
        keys = [f"{self._keys.publisher(name)}:rate" for name in names]
        counted = [self._store.submit("ZCARD", key) for key in keys]
        newest = [self._store.submit("ZRANGE", key, 0, 0, "REV", "WITHSCORES") for key in keys]
        found = zip(names, await each(counted), await each(newest), strict=True)
        return {
            name: (
                count if isinstance(count, int) else 0,
                scored(last)[0][1] if last and isinstance(last, list) else None,
            )
            for name, count, last in found
        }

    async def of_key(self, digest: str) -> str | None:
        """Return whose a key is, told by its SHA-256 in hexadecimal."""
        name = await self._store.command("HGET", f"{self._base}:keys", digest)
        return None if name is None else name.decode()
