"""What the sandbox's providers took and kept, newest last. The page shows it as their outbox.

Promises that an entry is there, and in the journal if there is one, before its sender gets an answer. Memory stays
bounded: beyond MAX_ENTRIES entries or MAX_SIZE_BYTES of content the oldest are dropped. Nothing here survives the
process.
"""

import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sandbox.journal import Journal

MAX_ENTRIES = 50_000
MAX_SIZE_BYTES = 256 * 1024 * 1024

Channel = Literal["email", "sms", "push"]
Provider = Literal["smtp", "ses", "twilio", "apns", "fcm", "webpush", "vonage", "ntfy"]
Content = Mapping[str, object]
"""Title, body and whatever else a provider can tell of an entry."""


@dataclass(slots=True)
class Effect:
    """What a provider took, before it has a number.

    Attributes:
        to: The address: a mail address, a phone number, a device token, a subscription's name.
        id: The id that the provider answers with.
        notification_id: The sender's own id, where it can be seen.
        content: Title, body and extras, or a function that computes them when somebody looks.
        size_bytes: The size of what was sent, for the bound on what is kept.
        answered: False if the sender is deliberately left without an answer.
    """

    channel: Channel
    provider: Provider
    to: str
    id: str
    content: Content | Callable[[], Content]
    size_bytes: int
    notification_id: str | None = None
    answered: bool = True


@dataclass(slots=True)
class Entry:
    """One effect that is kept, numbered from 1 without gaps."""

    n: int
    at: str
    effect: Effect

    def journal_line(self) -> dict[str, object]:
        """The effect as the journal has it: who and which, no content."""
        effect = self.effect
        line: dict[str, object] = {
            "n": self.n,
            "provider": effect.provider,
            "to": effect.to,
            "id": effect.id,
            "at": self.at,
        }
        if effect.notification_id is not None:
            line["notification_id"] = effect.notification_id
        return line

    def as_json(self) -> dict[str, object]:
        """The entry as outbox.json has it. The content is computed at the first look and then kept."""
        effect = self.effect
        if callable(effect.content):
            effect.content = effect.content()
        content = dict(effect.content)
        entry: dict[str, object] = {
            "n": self.n,
            "channel": effect.channel,
            "provider": effect.provider,
            "to": effect.to,
            "title": content.pop("title", ""),
            "body": content.pop("body", ""),
            "at": self.at,
            "id": effect.id,
            "answered": effect.answered,
        }
        if effect.notification_id is not None:
            entry["notification_id"] = effect.notification_id
        return entry | content


class Kept:
    """The bounded list of entries, and the only place that adds to it."""

    def __init__(
        self,
        journal: Journal | None = None,
        *,
        max_entries: int = MAX_ENTRIES,
        max_size_bytes: int = MAX_SIZE_BYTES,
    ) -> None:
        self.epoch = uuid.uuid4().hex
        """Differs from process to process, because the numbers start again at 1."""
        self._journal = journal
        self._entries: deque[Entry] = deque()
        self._size_bytes = 0
        self._max_entries = max_entries
        self._max_size_bytes = max_size_bytes
        self._last_n = 0

    @property
    def first_n(self) -> int:
        """The number of the oldest entry that is still here, or of the next one if there is none."""
        return self._entries[0].n if self._entries else self._last_n + 1

    def __len__(self) -> int:
        return len(self._entries)

    async def keep(self, effect: Effect) -> Entry:
        """Add one effect; returns when it may be answered.

        Raises:
            OSError: the journal could not be written.
        """
        self._last_n += 1
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = Entry(self._last_n, now, effect)
        self._entries.append(entry)
        self._size_bytes += effect.size_bytes
        while len(self._entries) > self._max_entries or self._size_bytes > self._max_size_bytes:
            self._size_bytes -= self._entries.popleft().effect.size_bytes
        if self._journal is not None:
            await self._journal.write(entry.journal_line())
        return entry

    def select(
        self, *, since: int = 0, channel: str | None = None, to: str | None = None, limit: int | None = None
    ) -> list[Entry]:
        """The newest `limit` entries after number `since`, of one channel and to one address, newest last."""
        chosen: list[Entry] = []
        for entry in self._newest_first(since):
            if limit is not None and len(chosen) >= limit:
                break
            if channel in (None, entry.effect.channel) and to in (None, entry.effect.to):
                chosen.append(entry)
        chosen.reverse()
        return chosen

    def clear(self) -> None:
        """Forget every entry; numbers go on."""
        self._entries.clear()
        self._size_bytes = 0

    def _newest_first(self, since: int) -> Iterator[Entry]:
        for entry in reversed(self._entries):
            if entry.n <= since:
                return
            yield entry
