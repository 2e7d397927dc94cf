"""The rulebook on the store: policies, and whatever else decides about alerts and is written under a name.

One mechanism for all of them: a hash for each kind, of name and JSON. A record that cannot be read counts as none, and
is logged: one bad record must not silence, or wake, anybody else.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

from pydantic import ValidationError

from shared.directory.inhibitions import Inhibition
from shared.directory.liveness import Liveness
from shared.directory.policies import EscalationPolicy
from shared.directory.record import Record
from shared.directory.silences import Silence
from shared.store.keys import Keys
from shared.store.replies import pairs
from shared.store.store import Store

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)

# What each kind is called: in the topic, in the store and in messages.
KINDS: Mapping[type[Record], str] = {
    EscalationPolicy: "policy",
    Silence: "silence",
    Inhibition: "inhibition",
    Liveness: "liveness",
}

# Each alert is held against all silences and inhibitions.
RULES = 5_000
# One of these concerns its own source alone.
SOURCES = 250_000


# Keyed by the stored text, so it can be neither stale nor wrong.
@lru_cache(maxsize=20_000)
def _parsed(model: type[R], text: bytes) -> R | None:
    try:
        return model.model_validate_json(text, extra="ignore")
    except ValidationError as error:
        extra = {"record": KINDS[model], "problems": error.error_count()}
        log.error("unreadable record of the rulebook", extra=extra)  # noqa: TRY400 - its text is nobody's business here
        return None


def most_of(model: type[Record]) -> int:
    """Return how many records of a kind there may be."""
    return SOURCES if issubclass(model, Liveness) else RULES


# A longer number is no time.
_SECONDS_DIGITS = 11


class TooManyRules(ValueError):
    """There is no room for one more of this kind."""


class Rulebook:
    """The named records on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def _key(self, model: type[Record]) -> str:
        return self._keys.rules(KINDS[model])

    async def get(self, model: type[R], names: Collection[str]) -> dict[str, R]:
        """Read those of these records that are there, in one round trip."""
        wanted = list(names)
        if not wanted:
            return {}
        found = await self._store.command("HMGET", self._key(model), *wanted)
        return _readable(model, {name: text for name, text in zip(wanted, found, strict=True) if text is not None})

    async def all(self, model: type[R]) -> dict[str, R]:
        """Read every record of a kind."""
        found = pairs(await self._store.command("HGETALL", self._key(model)))
        return _readable(model, {name.decode(errors="replace"): text for name, text in found})

    async def count(self, model: type[Record]) -> int:
        """Return how many records of a kind there are."""
        return int(await self._store.command("HLEN", self._key(model)))

    async def put(self, name: str, record: Record) -> None:
        """Write a record in place of the one before.

        Raises:
            TooManyRules: it is a new one beyond ``most_of``.
        """
        key = self._key(type(record))
        most = most_of(type(record))
        if await self._store.command("HLEN", key) >= most and isinstance(record, Silence):
            await self._forget_ended()
        if await self._store.command("HLEN", key) >= most and not await self._store.command("HEXISTS", key, name):
            raise TooManyRules
        text = record.model_dump_json(exclude_unset=True, by_alias=True)
        await self._store.command("HSET", key, name, text, lasting=True)

    async def _forget_ended(self) -> None:
        """Forget silences that have ended, the newest of them included: there is no room."""
        now = datetime.now(UTC)
        for name, silence in (await self.all(Silence)).items():
            if silence.ends_at <= now:
                await self.delete(Silence, name)

    async def note_matched(self, model: type[Record], names: Collection[str]) -> None:
        """Write down that these records have been about something just now."""
        seconds = round(time.time())
        pairs_of = [part for name in names for part in (name, seconds)]
        if pairs_of:
            await self._store.command("HSET", f"{self._key(model)}:matched", *pairs_of)

    async def matched(self, model: type[Record]) -> dict[str, int]:
        """Return when records of a kind were last about something, in seconds since 1970."""
        found = pairs(await self._store.command("HGETALL", f"{self._key(model)}:matched"))
        return {
            name.decode(errors="replace"): int(at) for name, at in found if at.isdigit() and len(at) <= _SECONDS_DIGITS
        }

    async def delete(self, model: type[Record], name: str) -> bool:
        """Forget a record; return whether it was there."""
        key = self._key(model)
        # In one exchange: whoever cancels something waits for this, too.
        matched = self._store.submit("HDEL", f"{key}:matched", name)
        was_there, _ = await asyncio.gather(self._store.submit("HDEL", key, name, lasting=True), matched)
        return bool(was_there)


def _readable(model: type[R], texts: Mapping[str, bytes]) -> dict[str, R]:
    return {name: record for name, text in texts.items() if (record := _parsed(model, text)) is not None}
