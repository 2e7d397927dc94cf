"""The index of what was said to whom: which records name a person, an address, or an id of their publisher's.

The scripts that write rows write it in the same exchange (``note_told`` in ``lua/ledger.lua``). It promises nothing: an
entry may be missing, or lead to a record that is gone or says nothing of that name. So whoever reads it looks at the
record. No entry keeps a notification from being accepted.

A name is never written. Its hash says in which part of a day's index it stands, and what it is called there. An address
is hashed as the suppression list hashes it. A record's place is its id without what the shard's key says already. Of
one name, day and shard the newest ``TOLD_MOST`` places are kept (``lua/ledger.lua``).

What an earlier release has accepted is not in the index.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b

from redis.exceptions import ResponseError

from shared.core.model import Delivery, EmailAddress, PhoneNumber, Row
from shared.directory.suppression import digest
from shared.store.keys import SHARDS, Keys, shard_of_id
from shared.store.store import Store, each, load_script

_places = load_script(__package__, "told_places", "ledger")

DAY_MS = 86_400_000

# Parts of the index of one shard's day. At a million names in a day a part holds a hundred and some, which Redis keeps
# in one compact piece (hash-max-listpack-entries, 512 by default).
PARTS = 512

# The index of a day is kept until what is tried until the end of the next day has been kept; what is tried for longer
# keeps it a week longer at most.
LONGEST_DAYS = 9

_PART_BYTES = 2
_NAME_BYTES = 6
_PLACE_BYTES = 14
# Where the version and the shard stand in an id without its hyphens (RFC 9562, 5.7; ``shared.store.keys``).
_SHARD_AT = 12

_REMEMBERED = 50_000


def person_name(user_id: str) -> str:
    """Name a person."""
    return f"p{user_id}"


def address_name(address: str) -> str:
    """Name a mail address or a telephone number, in whatever case."""
    return f"a{digest(address)}"


def address_hash_name(address_hash: str) -> str:
    """Name an address by its hash, ``shared.directory.suppression.digest``."""
    return f"a{address_hash}"


def own_name(publishers_id: str) -> str:
    """Name what a publisher calls its notification: an idempotency key, or an alert's dedup key."""
    return f"i{publishers_id}"


def names(rows: Iterable[Row]) -> Iterator[str]:
    """Name whom rows are for, and where they go; a device's token is no name that anybody asks for."""
    for row in rows:
        for user_id in row.user_ids:
            yield person_name(user_id)
        if isinstance(row, Delivery):
            match row.address:
                case EmailAddress(email=email):
                    yield address_name(email)
                case PhoneNumber(phone=phone):
                    yield address_name(phone)


def own_names(idempotency_key: str, dedup_key: str) -> Iterator[str]:
    """Name what a publisher calls its notification, given the keys as the ledger has them.

    Args:
        idempotency_key: perhaps in its publisher's own space.
        dedup_key: of an alert, likewise: ``LEVEL|TYPE|KEY``. A key that the router has made up has a line break in it.
    """
    own = _without_space(idempotency_key)
    if own:
        yield own_name(own)
    _, _, said = _without_space(dedup_key).partition("|")
    _, _, said = said.partition("|")
    if said and "\n" not in said:
        yield own_name(said)


def _without_space(key: str) -> str:
    return key.partition("\n")[2] if key.startswith("from/") and "\n" in key else key


def packed(notification_id: str, chosen: Iterable[str]) -> bytes:
    """Write names as ``note_told`` reads them: the record's place and each name once; nothing where there are none."""
    hashes = dict.fromkeys(map(_hashed, chosen))
    return _place(notification_id) + b"".join(hashes) if hashes else b""


class Told:
    """The index on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def records(self, name: str, days: Sequence[int]) -> dict[int, list[str]]:
        """Return the ids of the records that stand under a name, by day.

        Args:
            days: since 1970, by the store's clock.
        """
        hashed = _hashed(name)
        part, called = int.from_bytes(hashed[:_PART_BYTES]), hashed[_PART_BYTES:]
        asked = [
            self._store.submit_script(_places, self._keys.shard(shard), part, called, *days) for shard in range(SHARDS)
        ]
        found: dict[int, list[str]] = {}
        for shard, answer in enumerate(await each(asked)):
            # Something else may stand there.
            of_days = () if isinstance(answer, ResponseError) else answer
            for day, places in zip(days, of_days, strict=False):
                if places:
                    found.setdefault(day, []).extend(_ids(shard, places))
        return found


@lru_cache(_REMEMBERED)
def _hashed(name: str) -> bytes:
    text = blake2b(name.encode(errors="surrogatepass"), digest_size=_PART_BYTES + _NAME_BYTES).digest()
    part = int.from_bytes(text[:_PART_BYTES]) % PARTS
    return part.to_bytes(_PART_BYTES) + text[_PART_BYTES:]


def _place(notification_id: str) -> bytes:
    # All but the third group.
    return bytes.fromhex(f"{notification_id[:8]}{notification_id[9:13]}{notification_id[19:23]}{notification_id[24:]}")


def _ids(shard: int, places: bytes) -> Iterator[str]:
    for start in range(0, len(places) - _PLACE_BYTES + 1, _PLACE_BYTES):
        place = places[start : start + _PLACE_BYTES].hex()
        text = f"{place[:_SHARD_AT]}7{shard:03x}{place[_SHARD_AT:]}"
        record_id = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        # What is damaged is no id.
        with suppress(ValueError):
            shard_of_id(record_id)
            yield record_id
