"""The open incidents that may keep others from telling, read again and again.

Promises that reading them again costs a call to each shard, and one look at each record that was not known. What an
incident says never changes, so its labels are read once.
"""

from typing import NamedTuple

from shared.core.matchers import Labels
from shared.ledger.incidents import Incidents
from shared.store.keys import SHARDS, Keys
from shared.store.store import Store, each, load_script

_told_incidents = load_script(__package__, "told_incidents", "ledger")

# Of each shard. Each alert is held against all of them while there are inhibitions.
INHIBITING_MOST = 300


class Inhibiting(NamedTuple):
    """An open incident that somebody was told about."""

    id: str
    labels: Labels


class InhibitingIncidents:
    """Reads those of one store; belongs to one task."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._incidents = Incidents(store, keys)
        self._labels: dict[str, Labels] = {}

    async def read(self) -> list[Inhibiting]:
        """Return the newest of each shard, at most ``INHIBITING_MOST``."""
        asked = [
            self._store.submit_script(_told_incidents, self._keys.shard(shard), INHIBITING_MOST)
            for shard in range(SHARDS)
        ]
        ids = [
            incident_id.decode() for answer in await each(asked) if isinstance(answer, list) for incident_id in answer
        ]
        new = [incident_id for incident_id in ids if incident_id not in self._labels]
        known = self._labels | await self._incidents.labels(new) if new else self._labels
        self._labels = {incident_id: known[incident_id] for incident_id in ids if incident_id in known}
        return [Inhibiting(incident_id, labels) for incident_id, labels in self._labels.items()]
