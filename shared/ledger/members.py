"""The members of an incident that is told as a group: alerts that came with the same group key."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from shared.core.incidents import Happened, Way, line
from shared.ledger.alerts import Answered
from shared.store.keys import Keys, shard_of_key
from shared.store.replies import pairs, read_object
from shared.store.store import Store, load_script

_resolve_member = load_script(__package__, "resolve_member", "ledger")


@dataclass(frozen=True, slots=True)
class MemberState:
    """A member of an incident that is told as a group.

    Attributes:
        first_ms: when it came first, milliseconds since 1970; ``last_ms``: the last time.
        number: in the order in which they came.
        said: as its publisher said it.
    """

    key: str
    id: str
    is_open: bool
    first_ms: int
    last_ms: int
    count: int
    number: int
    said: Mapping[str, Any]

    @classmethod
    def read(cls, key: bytes, text: bytes, said: bytes | None) -> Self | None:
        """Read what the store holds; None where that is damaged."""
        try:
            state, first, last, count, number, member_id = text.decode().split("|", 5)
            times = int(first), int(last), int(count), int(number)
            return cls(key.decode(), member_id, state == "open", *times, read_object(said))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Members:
    """The members of incidents on one store."""

    store: Store
    keys: Keys

    async def resolve(
        self, incident_key: str, member_key: str, way: Way | None, *, starts_ms: int = 0, note: str = ""
    ) -> tuple[Answered, str]:
        """Write that the alert with these keys is over, as its publisher says.

        Args:
            starts_ms: since when it was so, milliseconds since 1970; one that began later is another one. 0 for
                whichever is open.

        Returns:
            ``UNKNOWN`` where none is open; else also the id of the incident, which is over itself if the answer is
            ``OVER``: the caller is to resolve it.
        """
        base = self.keys.shard(shard_of_key(incident_key))
        said = line(Happened.MEMBER_RESOLVED, way=way, note=note)
        verdict, incident_id = await self.store.script(
            _resolve_member, base, incident_key, member_key, said, starts_ms, lasting=True
        )
        return Answered(verdict.decode()), incident_id.decode()

    async def of(self, incident_id: str) -> list[MemberState]:
        """Return the members of an incident that is told as a group, the oldest first."""
        base = self.keys.shard_of(incident_id)
        states, said = await asyncio.gather(
            self.store.submit("HGETALL", f"{base}:alerts:{incident_id}"),
            self.store.submit("HGETALL", f"{base}:alerts_said:{incident_id}"),
        )
        texts = dict(pairs(said))
        found = [MemberState.read(key, text, texts.get(key)) for key, text in pairs(states)]
        return sorted((each for each in found if each is not None), key=lambda each: (each.first_ms, each.id))

    async def added(self, incident_id: str) -> int:
        """Return the number of the last that became a member of an incident."""
        record = f"{self.keys.shard_of(incident_id)}:n:{incident_id}"
        count = await self.store.command("HGET", record, "members_added")
        return int(count) if count is not None and count.isdigit() else 0
