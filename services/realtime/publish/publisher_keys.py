"""Which publisher a request comes from, by the key in its Authorization header.

Promises that only the SHA-256 of a key is looked for, so that the time of an answer tells nothing about a key. A key
that was taken out of its record is refused after ``KNOWN_S`` at the latest.

Unknown keys are bounded work. The same one again is refused without a question to the store for ``UNKNOWN_S``. One
address has ``NEW_KEYS_PER_S`` looked up. A key that was good before is looked up whatever else comes from its address.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web

from services.realtime.access.addresses import Addresses
from services.realtime.access.rates import Rates
from services.realtime.access.refusals import Refusal, too_many_requests
from shared.core.topics import PLAIN_PUBLISHER

KNOWN_S = 5.0
UNKNOWN_S = 5.0

# Digests that are remembered of either sort, some 300 bytes each.
KEPT = 5_000

# Keys that are looked up for one address although they are not known to be good, over time and at once.
NEW_KEYS_PER_S = 5.0
NEW_KEYS_AT_ONCE = 50

# Ours have some 50. A longer one is none, and is not hashed.
_KEY_CHARS = 512
ValueT = TypeVar("ValueT")

LookUp = Callable[[str], Awaitable[str | None]]
"""Returns the name of the publisher whose record has the key with this SHA-256 (hex)."""


def no_publisher() -> Refusal:
    """Refuse a request without the key of a publisher."""
    headers = {"WWW-Authenticate": "Bearer"}
    return Refusal(
        401, "unauthorized", "The key of a publisher is required: Authorization: Bearer KEY.", headers=headers
    )


class PublisherKeys:
    """Keys of publishers, as this process knows them.

    Args:
        look_up: asks the directory.
        monotonic_s: the clock that memory and rates go by.
    """

    def __init__(
        self, look_up: LookUp, addresses: Addresses, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._look_up = look_up
        self._addresses = addresses
        self._monotonic_s = monotonic_s
        self._new_keys = Rates(NEW_KEYS_PER_S, NEW_KEYS_AT_ONCE, monotonic_s)
        # Digest -> the publisher and until when that holds. The one that was looked up last stands at the end.
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asked: dict[str, asyncio.Task[str | None]] = {}

    async def publisher(self, request: web.Request) -> str:
        """Return the name of the publisher that makes a request.

        Raises:
            Refusal: it has no key, or one that nobody has; or its address tries too many.
            StoreUnavailable: nobody can tell now.
        """
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key or len(key) > _KEY_CHARS:
            raise no_publisher()
        digest = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        now_s = self._monotonic_s()
        name, until_s = self._known.get(digest, (None, 0.0))
        if name is not None and now_s < until_s:
            return name
        if now_s < self._unknown.get(digest, 0.0):
            raise no_publisher()
        if name is None and digest not in self._asked and (wait_s := self._new_keys.take(self._addresses.of(request))):
            raise too_many_requests("Too many unknown keys from this address in too short a time.", wait_s)
        name = await self._asked_once(digest)
        if name is None:
            raise no_publisher()
        return name

    async def _asked_once(self, digest: str) -> str | None:
        """Ask the directory; requests that come with the same key meanwhile share the answer."""
        task = self._asked.get(digest)
        if task is None:
            task = self._asked[digest] = asyncio.create_task(self._ask(digest), name="publisher-key")
            task.add_done_callback(lambda _task: self._asked.pop(digest, None))
        # A client that goes away does not take the answer from the others.
        return await asyncio.shield(task)

    async def _ask(self, digest: str) -> str | None:
        name = await self._look_up(digest)
        if name == PLAIN_PUBLISHER:
            # It stands for everybody who publishes on a plain topic, and is nobody to speak for here.
            name = None
        now_s = self._monotonic_s()
        self._known.pop(digest, None)
        self._unknown.pop(digest, None)
        if name is None:
            _keep(self._unknown, digest, now_s + UNKNOWN_S)
        else:
            _keep(self._known, digest, (name, now_s + KNOWN_S))
        return name


def _keep(kept: OrderedDict[str, ValueT], digest: str, value: ValueT) -> None:
    kept[digest] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
