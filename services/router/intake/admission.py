"""Who publishes, what that one may do, and whether it is too much: decided before a payload is read.

Promises:

- A publisher over its rate is refused at a small part of the cost of an accepted publish.
- The same idempotency key again counts once, so that whoever asks again does not use up his rate.
- The window slides: in no ``window_s`` seconds are more than ``count`` taken, over all routers.

A record is looked up again after ``KNOWN_S``; so long a change may take until every router goes by it.
"""

import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from pydantic_core import from_json
from redis.exceptions import ResponseError

from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode
from shared.core.model import Channel, Priority
from shared.core.rates import Rate
from shared.core.topics import LIVENESS_PUBLISHER, PLAIN_PUBLISHER, Kind
from shared.directory.publishers import Publisher, Publishers, may_be_named
from shared.store.keys import Keys
from shared.store.store import Store
from shared.store.windows import Ask, Windows

log = logging.getLogger(__name__)

KNOWN_S = 1.0
# Beyond so many, those that are old are forgotten: names come from topics, and anybody may make some up at a broker
# without logins.
KNOWN_MOST = 1_000
# One line in the log for all that is refused in so long.
TOLD_EVERY_S = 10.0
NAMED_MOST = 20

_URGENCY = {priority: number for number, priority in enumerate(Priority)}
# Topics that mean one channel and no other. What goes to people may take another channel.
_CHANNEL_OF = {
    Kind.EMAIL_SEND: Channel.EMAIL,
    Kind.EMAIL_BATCH: Channel.EMAIL,
    Kind.SMS_SEND: Channel.SMS,
    Kind.PUSH_MOBILE: Channel.PUSH,
    Kind.SYSTEM_STATUS: Channel.REALTIME,
    Kind.SESSION_CONNECT: Channel.REALTIME,
}
# What one is without a record.
NO_RECORD = Publisher()
_DIGEST_BYTES = 12


def check_served(kind: Kind, without: Collection[Channel]) -> None:
    """Refuse what only a channel could carry that this system does without.

    Raises:
        Rejected: nobody would ever send it.
    """
    channel = _CHANNEL_OF.get(kind)
    if channel in without:
        raise Rejected(
            RejectionCode.UNKNOWN_TOPIC, f"Nothing listens on this topic: this system does without {channel}."
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """One publish that asks to be let in.

    Attributes:
        name: tells it from every other one, and is the same when it is sent again.
    """

    publisher: str
    name: bytes


class Admission:
    """Lets publishes in, or not.

    Args:
        default: the rate of a publisher whose record names none; the plain topics' publisher and the watch have none.
    """

    def __init__(self, store: Store, keys: Keys, default: Rate) -> None:
        self._store = store
        self._keys = keys
        self._publishers = Publishers(store, keys)
        self._windows = Windows(store)
        self._default = default
        self._known: dict[str, tuple[float, Publisher]] = {}
        self._refused: Counter[str] = Counter()
        self._told_s = -math.inf

    async def records(self, names: Collection[str]) -> Mapping[str, Publisher]:
        """Return the records of these publishers, at most ``KNOWN_S`` old.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        now_s = time.monotonic()
        # Taken out before the wait for the store: another inflow may forget some of them meanwhile.
        known = {name: self._known[name] for name in names if name in self._known}
        records = {name: record for name, (_, record) in known.items()}
        old = [name for name in names if name not in known or known[name][0] < now_s - KNOWN_S]
        if not old:
            return records
        try:
            found = await self._publishers.get(old)
        except ResponseError:
            # Something else stands where the records are. What was known goes on, so that not everybody is stopped.
            log.error("publishers' records cannot be read")  # noqa: TRY400 - the error quotes the script
            found = {name: records[name] for name in old if name in records}
        records |= {name: found.get(name, NO_RECORD) for name in old}
        if len(self._known) > KNOWN_MOST:
            self._known = {name: one for name, one in self._known.items() if one[0] >= now_s - KNOWN_S}
        self._known |= {name: (now_s, records[name]) for name in old}
        return records

    def share_of(self, name: str) -> float:
        """Return the share of a publisher, as far as it is known by now."""
        known = self._known.get(name)
        return known[1].share if known else NO_RECORD.share

    def rate_of(self, name: str, record: Publisher) -> Rate:
        """Return the rate that holds for a publisher."""
        if record.rate is not None:
            return record.rate
        return Rate(0) if name in (PLAIN_PUBLISHER, LIVENESS_PUBLISHER) else self._default

    async def over_rate(self, asked: Sequence[Asked], records: Mapping[str, Publisher]) -> list[int]:
        """Count publishes, and return for each after how many seconds it may be tried again; 0 where it is let in.

        One round trip, and none where nobody has a rate.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        rates = {name: self.rate_of(name, records[name]) for name in {one.publisher for one in asked}}
        limited = [index for index, one in enumerate(asked) if rates[one.publisher].is_limit]
        asks = [_ask(self._keys, asked[index], rates[asked[index].publisher]) for index in limited]
        waits_s = [0] * len(asked)
        damaged: set[str] = set()
        refused: Counter[str] = Counter()
        for index, counted in zip(limited, await self._windows.count(asks), strict=True):
            publisher = asked[index].publisher
            if counted.damaged:
                damaged.add(publisher)
            elif counted.at_ms is None:
                waits_s[index] = max(1, math.ceil(counted.wait_ms / 1000))
                refused[publisher] += 1
        for _ in damaged:
            log.error("a publisher's rate cannot be counted, so it has none")
        if refused:
            self._tell(refused)
        return waits_s

    def _tell(self, refused: Counter[str]) -> None:
        self._refused += refused
        now_s = time.monotonic()
        if now_s - self._told_s >= TOLD_EVERY_S:
            # A name that no login can have is a stranger's text.
            named = {name: count for name, count in self._refused.most_common(NAMED_MOST) if may_be_named(name)}
            extra = {"refused": named, "all": self._refused.total()}
            log.warning("publishes over their publisher's rate refused", extra=extra)
            self._refused.clear()
            self._told_s = now_s


def _ask(keys: Keys, one: Asked, rate: Rate) -> Ask:
    return Ask(f"{keys.publisher(one.publisher)}:rate", one.name, rate.count, rate.window_s * 1000, "retry")


_number = itertools.count()


def name_of(key: str | None, payload: bytes, packet: str) -> bytes:
    """Name a publish so that it has the same name when it is sent again.

    Args:
        key: the idempotency key that an MQTT property says.
        packet: how the broker handed it over; empty where it does not send again.
    """
    if b'"id"' in payload:
        try:
            document = from_json(payload, cache_strings=False)
        except ValueError:
            document = None
        if isinstance(document, dict) and isinstance(document.get("id"), str):
            key = document["id"]
    said = (
        f"key {key}" if key is not None else f"packet {packet}" if packet else f"number {next(_number)} {id(_number)}"
    )
    return blake2b(said.encode(errors="replace"), digest_size=_DIGEST_BYTES).digest()


def too_many(wait_s: int) -> Rejected:
    """Build the refusal of a publish over its publisher's rate."""
    message = f"This publisher is over its rate. Try again in {wait_s} s."
    return Rejected(RejectionCode.RATE_LIMITED, message, retry_after_s=wait_s)


def check_topic(publisher: str, record: Publisher, topic: str, pattern: str) -> None:
    """Refuse a topic that a publisher's record does not allow.

    Args:
        topic: without prefix and ``from/``.
        pattern: the topic with its parameter's name.

    Raises:
        Rejected: with the code ``unauthorized``.
    """
    if not record.may_publish(topic, plain=publisher == PLAIN_PUBLISHER):
        raise _unauthorized(publisher, "may", f"does not allow {pattern}")


def check_priority(publisher: str, record: Publisher, priority: Priority) -> None:
    """Refuse what is more urgent than a publisher's record allows.

    Raises:
        Rejected: with the code ``unauthorized``.
    """
    most = record.priority_at_most
    if most is not None and _URGENCY[priority] > _URGENCY[most]:
        raise _unauthorized(publisher, "priority_at_most", f"does not allow {priority}")


def may_silence(publisher: str, record: Publisher) -> bool:
    """Tell whether a publisher may silence what others publish: nobody is restricted who has no record or login."""
    return record.may_answer == "any" or (publisher == PLAIN_PUBLISHER and record is NO_RECORD)


def not_own(publisher: str) -> Rejected:
    """Build the refusal of a cancellation or an answer to what another publisher has published."""
    return _unauthorized(publisher, "may_answer", "allows its own only")


def _unauthorized(publisher: str, field: str, problem: str) -> Rejected:
    who = "The plain topics' publisher" if publisher == PLAIN_PUBLISHER else "This publisher"
    return Rejected(
        RejectionCode.UNAUTHORIZED, f"{who} may not do this: see its record.", (FieldProblem(field, problem),)
    )
