"""Providers that people have paused by hand: who did it, why, and until when.

One record for each channel, or provider of a channel, in one hash of the store. Whoever pauses or resumes writes it
here. Every process of a channel reads its own part of it again and again (``shared.delivery.pause_watch``).

Promises:

- A pause always has an end, and ends by itself.
- Times are those of the store's own clock.
- Of two people who change the same pause at the same moment, none overwrites the other's change without having seen it.

A pause by hand says nothing about how a provider is doing: that is ``shared.delivery.provider_health``.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from shared.core.clock import epoch_ms, from_epoch_ms, rfc3339
from shared.core.model import Channel
from shared.store.keys import Keys
from shared.store.replies import object_or_none, pairs
from shared.store.store import Store, load_script

# What can be paused: realtime's provider is the inbox, which stands in the store.
PAUSABLE = (Channel.EMAIL, Channel.SMS, Channel.PUSH)

# A pause without an end of its own.
DEFAULT_LENGTH = timedelta(hours=1)
# Deliveries live a day, unless they say otherwise. What is not used for longer is better taken out of the settings.
LONGEST = timedelta(days=31)
# How long it stays written that a pause is over, so that a process that starts lets go what waited for it.
REMEMBERED = timedelta(days=1)
# Records that hold. Names that no process knows can be paused, too.
MOST = 200

_TEXT_CHARS = 500
_NAME_CHARS = 100

_put = load_script(__package__, "pause_put")


class PauseKind(StrEnum):
    """How it was paused."""

    PAUSE = "pause"
    DRAIN = "drain"
    """Whoever did it waited until nothing was under way."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What is paused: a channel with all its providers, or one of them.

    Attributes:
        provider: empty for all.
    """

    channel: Channel
    provider: str = ""

    def __str__(self) -> str:
        return f"{self.channel.value}/{self.provider}" if self.provider else self.channel.value

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``email`` or ``email/smtp``.

        Raises:
            ValueError: a sentence for whoever typed it.
        """
        name, slash, provider = text.partition("/")
        if name == Channel.REALTIME:
            raise ValueError("realtime has no provider to pause: its deliveries go into the inbox")
        channel = next((each for each in PAUSABLE if each == name), None)
        if channel is None:
            raise ValueError(f"there is no channel {name!r}; there are {', '.join(PAUSABLE)}")
        is_name = provider.replace("-", "").replace("_", "").isalnum() and provider.isascii()
        if slash and (not is_name or len(provider) > _NAME_CHARS):
            raise ValueError(f"{text!r} names no provider; write CHANNEL or CHANNEL/PROVIDER, such as email/smtp")
        return cls(channel, provider)


@dataclass(frozen=True, slots=True)
class Pause:
    """A channel or provider through which nothing is sent, because somebody wanted that.

    Attributes:
        by: who paused it.
        since: when it was paused first, if it has been paused ever since.
        until: when it ends, or has ended.
        resumed_by: who ended it before its time.
    """

    target: Target
    kind: PauseKind
    reason: str
    by: str
    since: datetime
    until: datetime
    resumed_by: str = ""

    def written(self) -> str:
        """Write it for the store."""
        said = {"kind": self.kind, "reason": self.reason, "by": self.by, "resumed_by": self.resumed_by}
        return json.dumps(
            {"since_ms": epoch_ms(self.since), "until_ms": epoch_ms(self.until)} | {k: v for k, v in said.items() if v},
            ensure_ascii=False,
        )

    @classmethod
    def read(cls, target: Target, text: bytes | None) -> Self | None:
        """Read what ``written`` wrote; None where there is nothing, or something else."""
        said = object_or_none(text)
        if said is None:
            return None
        try:
            return cls(
                target,
                PauseKind(said.get("kind", PauseKind.PAUSE)),
                str(said.get("reason", "")),
                str(said.get("by", "")),
                from_epoch_ms(int(said["since_ms"])),
                from_epoch_ms(int(said["until_ms"])),
                str(said.get("resumed_by", "")),
            )
        except (KeyError, ValueError, TypeError, OverflowError, OSError):
            return None

    def document(self) -> dict[str, Any]:
        """Write it for people and programs."""
        return {
            "channel": self.target.channel.value, "provider": self.target.provider or None, "kind": self.kind.value,
            "reason": self.reason, "by": self.by, "since": rfc3339(self.since), "until": rfc3339(self.until),
        }  # fmt: skip


class ByHand:
    """Pauses and resumes providers, and says which are paused."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._key = f"{keys.providers}:paused"

    async def pause(
        self,
        target: Target,
        *,
        reason: str,
        by: str,
        length: timedelta = DEFAULT_LENGTH,
        until: datetime | None = None,
        kind: PauseKind = PauseKind.PAUSE,
    ) -> Pause:
        """Let nothing more be sent through a provider, or a whole channel, until an end; once more changes the end.

        Args:
            reason: for whoever looks at the list.
            by: who wants it.
            until: the end, in place of ``length``.

        Raises:
            ValueError: it cannot be so; a sentence for whoever wanted it.
            StoreUnavailable: nobody knows whether it is written.
        """
        texts = {"the reason": reason.strip(), "who pauses it": by.strip()}
        for what, text in texts.items():
            if not text:
                raise ValueError(f"{what} is needed")
            if len(text) > _TEXT_CHARS or not text.isprintable():
                raise ValueError(f"{what} must be one line of at most {_TEXT_CHARS} characters")
        while True:
            now, found = await self._read()
            end = until if until is not None else now + length
            if not now < end <= now + LONGEST:
                raise ValueError(f"the end must be in the future, and at most {LONGEST.days} days away")
            old = found.get(str(target))
            before = Pause.read(target, old)
            holds = before is not None and before.until > now
            if not holds and len(found) >= MOST:
                raise ValueError(f"{MOST} providers are paused already")
            since = before.since if before is not None and holds else now
            wanted = Pause(target, kind, reason.strip(), by.strip(), since, end)
            if await self._change(target, old, wanted, now):
                return wanted

    async def resume(self, target: Target, *, by: str) -> Pause | None:
        """End a pause now, and return what it was; None where this is not paused.

        Raises:
            StoreUnavailable: nobody knows whether it is written.
        """
        while True:
            now, found = await self._read()
            old = found.get(str(target))
            before = Pause.read(target, old)
            if before is None or before.until <= now:
                return None
            ended = Pause(target, before.kind, before.reason, before.by, before.since, now, by.strip())
            if await self._change(target, old, ended, now):
                return before

    async def paused(self) -> list[Pause]:
        """Return what is paused now, in the order of the names."""
        now, found = await self._read()
        read = [Pause.read(target, text) for name, text in found.items() if (target := _target_of(name)) is not None]
        return sorted((each for each in read if each is not None and each.until > now), key=lambda each: each.target)

    async def _read(self) -> tuple[datetime, dict[str, bytes]]:
        (seconds, microseconds), found = (
            await self._store.command("TIME"),
            await self._store.command("HGETALL", self._key),
        )
        now = from_epoch_ms(int(seconds) * 1000 + int(microseconds) // 1000)
        return now, {name.decode(errors="replace"): text for name, text in pairs(found)}

    async def _change(self, target: Target, old: bytes | None, new: Pause, now: datetime) -> bool:
        """Write a record if it is still as it was read, and take out those that were over long ago."""
        forgotten_ms = epoch_ms(now - REMEMBERED)
        return bool(
            await self._store.script(
                _put, self._key, str(target), old if old is not None else "", new.written(), forgotten_ms, lasting=True
            )
        )


def _target_of(name: str) -> Target | None:
    try:
        return Target.read(name)
    except ValueError:
        return None
