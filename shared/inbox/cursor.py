"""Cursors: places on a user's line, up to which a client has been told.

Entries are numbered by sequence as they are written, in the user's own log and in the feed's. They are told by key, in
the order of acceptance. These two orders may differ. So after a client was told some of several entries, one sequence
alone may not describe how far it is. The cursor then has a part: of the entries up to a sequence, those up to a key
were told.
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

# Two positions, each an epoch of 8 bytes and a sequence; behind them a part, where there is one.
_PLACE = struct.Struct(">8sQ8sQ")
_PART = struct.Struct(">QQQ")


class Entry(Protocol):
    """An entry of a line: it has a sequence in its own log, and a key on the line."""

    @property
    def seq(self) -> int:
        """When it was written, in its own log."""
        ...

    @property
    def key(self) -> int:
        """Where people read it; no two entries of a line have the same."""
        ...


def key_of(order: int, *, broadcast: bool) -> int:
    """Return the key of an entry; an own entry stands before a broadcast of the same order."""
    return 2 * order + broadcast


def is_broadcast(entry: Entry) -> bool:
    """Tell whether an entry stands in the feed."""
    return bool(entry.key & 1)


@dataclass(frozen=True, slots=True)
class Part:
    """The entries beyond a cursor's sequences that were told: up to these sequences, and with a key up to ``key``."""

    user_until: int
    feed_until: int
    key: int

    def holds(self, entry: Entry) -> bool:
        """Tell whether an entry is one of those that are told together, told yet or not."""
        return entry.seq <= (self.feed_until if is_broadcast(entry) else self.user_until)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place on a user's line: how far he has been told of his own entries and of the feed's.

    An epoch is 16 hexadecimal digits, or empty before anything was stored; it changes when a history was lost.

    Attributes:
        part: what was told beyond the sequences.
    """

    user_epoch: str = ""
    user_seq: int = 0
    feed_epoch: str = ""
    feed_seq: int = 0
    part: Part | None = None

    @property
    def user_known(self) -> int:
        """The newest own sequence that it tells of."""
        return max(self.user_seq, self.part.user_until if self.part else 0)

    @property
    def feed_known(self) -> int:
        """The newest sequence of the feed that it tells of."""
        return max(self.feed_seq, self.part.feed_until if self.part else 0)

    def encode(self) -> str:
        """Write it as the opaque text that clients keep."""
        packed = _PLACE.pack(
            bytes.fromhex(self.user_epoch), self.user_seq, bytes.fromhex(self.feed_epoch), self.feed_seq
        )
        if self.part is not None:
            packed += _PART.pack(self.part.user_until, self.part.feed_until, self.part.key)
        return urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def decode(cls, text: str) -> Self | None:
        """Read a client's text; None when it is not one of ours."""
        try:
            packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            user_epoch, user_seq, feed_epoch, feed_seq = _PLACE.unpack(packed[: _PLACE.size])
            part = Part(*_PART.unpack(packed[_PLACE.size :])) if len(packed) > _PLACE.size else None
        except (binascii.Error, struct.error, ValueError):
            return None
        return cls(_epoch(user_epoch), user_seq, _epoch(feed_epoch), feed_seq, part)

    def passed(self, entry: Entry) -> bool:
        """Tell whether an entry was told."""
        if entry.seq <= (self.feed_seq if is_broadcast(entry) else self.user_seq):
            return True
        return self.part is not None and self.part.holds(entry) and entry.key <= self.part.key


def _epoch(packed: bytes) -> str:
    return packed.hex() if any(packed) else ""


def cursors_behind(start: Cursor, until: Cursor, entries: Sequence[Entry]) -> list[Cursor]:
    """Return the cursor after each of some entries that are told one after another.

    Args:
        start: before the first of them.
        until: a place behind all of them.
        entries: all that is to be told between the two, by key.
    """
    cursors: list[Cursor] = []
    user_next, feed_next = _least_left(entries, broadcast=False), _least_left(entries, broadcast=True)
    place = replace(start, part=None)
    for index, entry in enumerate(entries):
        if is_broadcast(entry):
            place = replace(place, feed_seq=max(place.feed_seq, entry.seq))
        else:
            place = replace(place, user_seq=max(place.user_seq, entry.seq))
        if place.user_seq < user_next[index + 1] and place.feed_seq < feed_next[index + 1]:
            cursors.append(place)
        else:
            cursors.append(replace(start, part=Part(until.user_seq, until.feed_seq, entry.key)))
    return cursors


def _least_left(entries: Sequence[Entry], *, broadcast: bool) -> list[float]:
    """Return, for each place in the list, the least sequence in one log from there on."""
    least: list[float] = [float("inf")]
    for entry in reversed(entries):
        least.append(min(least[-1], entry.seq) if is_broadcast(entry) is broadcast else least[-1])
    least.reverse()
    return least
