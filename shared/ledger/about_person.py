"""What support looks at of one person: the entry, the person's choices, what stands against the addresses, what waits.

    about = await AboutPeople(store, keys, retention_s=settings.record_retention_s).read("user123", recent=20)

Promises to write nothing. Addresses and devices are as the directory has them: whoever shows them masks them
(``shared.directory.masking``).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from shared.core.clock import Clock, SystemClock, from_epoch_ms
from shared.core.model import Channel
from shared.directory.directory import Directory
from shared.directory.people import OwnChoices, Person
from shared.directory.suppression import Entry, Suppressions, digest
from shared.ledger.finding import OUTCOMES, Finder, Page
from shared.ledger.found import Filters, Found, Records, RowKeys
from shared.ledger.held import Held
from shared.store.keys import Keys, is_notification_id
from shared.store.store import Store

MOST_HELD = 100

_OPEN = Filters(outcomes=OUTCOMES["open"])


@dataclass(frozen=True, slots=True)
class AboutPerson:
    """One person.

    Attributes:
        entry: what the directory says; None where it knows nobody of this name.
        own: what the person chose and registered; it goes before the entry.
        deleted_at: when a person of this name was last deleted; what was said before is not found.
        suppressions: the reasons against the entry's addresses, by channel.
        held: what waits for the end of quiet hours and the like, or for a digest, by its time; at most ``MOST_HELD``.
        recent: the newest notifications, with a cursor for more.
    """

    user_id: str
    entry: Person | None
    own: OwnChoices
    deleted_at: datetime | None
    suppressions: dict[Channel, tuple[Entry, ...]]
    held: tuple[Found, ...]
    recent: Page

    @property
    def is_known(self) -> bool:
        """Tell whether there is anything to show."""
        return self.entry is not None or bool(self.recent.found) or self.deleted_at is not None


class AboutPeople:
    """Reads on one store; see ``Finder``."""

    def __init__(self, store: Store, keys: Keys, *, retention_s: int, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        self._directory = Directory(store, keys, clock)
        self._suppressions = {
            channel: Suppressions(store, keys, channel, clock) for channel in (Channel.EMAIL, Channel.SMS)
        }
        self._held = Held(store, keys)
        self._records = Records(store, keys)
        self._finder = Finder(store, keys, retention_s=retention_s, clock=clock)

    async def read(self, user_id: str, *, recent: int = 20) -> AboutPerson:
        """Return what is known of a person.

        Args:
            recent: so many of the newest notifications.
        """
        (entry, own), deleted_s, held, page = await asyncio.gather(
            self._directory.entry_and_choices(user_id),
            self._directory.deleted_at(user_id),
            self._held_for(user_id),
            self._finder.by_person(user_id, limit=recent),
        )
        return AboutPerson(
            user_id=user_id,
            entry=entry,
            own=own,
            deleted_at=None if deleted_s is None else from_epoch_ms(deleted_s * 1000),
            suppressions=await self._against(entry),
            held=held,
            recent=page,
        )

    async def _held_for(self, user_id: str) -> tuple[Found, ...]:
        of_records: dict[str, list[str]] = {}
        for record_id, key in await self._held.of(user_id, MOST_HELD):
            if is_notification_id(record_id):
                of_records.setdefault(record_id, []).append(key)
        read = await asyncio.gather(
            *(self._records.read(record_id, RowKeys(tuple(keys)), _OPEN) for record_id, keys in of_records.items())
        )
        return tuple(found for found in read if found is not None)

    async def _against(self, entry: Person | None) -> dict[Channel, tuple[Entry, ...]]:
        if entry is None:
            return {}
        addresses = {Channel.EMAIL: entry.email, Channel.SMS: entry.phone}
        there = {channel: address for channel, address in addresses.items() if address is not None}
        found = await asyncio.gather(
            *(self._suppressions[channel].entries(digest(address)) for channel, address in there.items())
        )
        return {channel: tuple(entries) for channel, entries in zip(there, found, strict=True) if entries}
