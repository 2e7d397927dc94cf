"""Begins and ends silences for people, whichever way they ask: over HTTP, or in the console.

The record and the store are the router's own. What a silence has kept from telling is looked at again when it ends
here, as it is when it ends over MQTT.
"""

import secrets
from enum import StrEnum

from shared.core.clock import Clock
from shared.directory.rulebook import Rulebook
from shared.directory.silences import Silence
from shared.ledger.held import Muted

# Short enough to be typed, and one in 2^48 is never chosen twice.
_ID_BYTES = 6


class Ended(StrEnum):
    """What came of ending a silence."""

    ENDED = "ended"
    DELETED = "deleted"
    """It had not begun."""
    WAS_OVER = "was_over"
    UNKNOWN = "unknown"


class Silencing:
    """The silences of one store.

    Args:
        muted: what silences have kept from telling.
    """

    def __init__(self, rulebook: Rulebook, muted: Muted, clock: Clock) -> None:
        self._rulebook = rulebook
        self._muted = muted
        self._clock = clock

    async def begin(self, silence: Silence) -> str:
        """Write a silence, and return its id.

        Raises:
            TooManyRules: there is no room for one more.
        """
        silence_id = new_silence_id()
        await self._rulebook.put(silence_id, silence)
        return silence_id

    async def end(self, silence_id: str) -> Ended:
        """End a silence now, or delete one that has not begun."""
        silence = (await self._rulebook.get(Silence, [silence_id])).get(silence_id)
        if silence is None:
            return Ended.UNKNOWN
        now = self._clock.now()
        state = silence.state_at(now)
        if state == "over":
            # The call before may have been broken off here.
            ended = Ended.WAS_OVER
        elif state == "holds" and silence.starts_at != now:
            await self._rulebook.put(silence_id, silence.model_copy(update={"ends_at": now}))
            ended = Ended.ENDED
        else:
            await self._rulebook.delete(Silence, silence_id)
            ended = Ended.DELETED
        await self._muted.release(f"silence:{silence_id}")
        return ended


def new_silence_id() -> str:
    """Make an id, as ``carillon silence add`` makes them."""
    return secrets.token_hex(_ID_BYTES)
