"""Numbers that get no SMS: people who answered STOP, and numbers that reach nobody.

Promises that STOP holds until START, for critical notifications too: there are laws about it, and providers would
refuse them. A limit holds for numbers that reach nobody, see ``shared.delivery.forgetting``.
"""

from shared.core.clock import Clock
from shared.core.errors import DeliveryError, DeliveryRefused, PermanentFailure, Reason, RecipientGone
from shared.core.model import Channel, Priority
from shared.delivery.forgetting import ForgettingLimit
from shared.directory.suppression import Cause, Suppressions, digest
from shared.store.keys import Keys
from shared.store.store import Store
from shared.telemetry import metrics


class Unwanted:
    """The suppression list as the SMS service uses it."""

    def __init__(self, store: Store, keys: Keys, clock: Clock) -> None:
        self._list = Suppressions(store, keys, Channel.SMS, clock)
        self._limit = ForgettingLimit(Channel.SMS)

    async def check(self, phone: str) -> None:
        """Let an SMS go to a number that is not on the list.

        Raises:
            DeliveryRefused: the number is on the list.
        """
        # On this channel the list makes no exception, so the priority does not matter.
        await self._list.check(digest(phone), Priority.NORMAL)

    async def opt_out(self, phone: str, detail: str = "") -> None:
        """Take note that somebody wants no SMS."""
        await self._list.add(digest(phone), Cause.UNSUBSCRIBED, detail)

    async def opt_in(self, phone: str) -> None:
        """Take note that somebody wants SMS. A number that writes to us also reaches somebody."""
        await self._list.lift(digest(phone))

    async def is_opted_out(self, phone: str) -> bool:
        """Tell whether somebody wants no SMS."""
        return any(entry.cause is Cause.UNSUBSCRIBED for entry in await self._list.entries(digest(phone)))

    async def gone(self, phone: str, detail: str) -> None:
        """Take note that a number reaches nobody, unless too many seem to."""
        if self._limit.may_forget() and await self._list.add(digest(phone), Cause.BOUNCE, detail):
            metrics.forgotten_addresses.labels(Channel.SMS).inc()

    async def note(self, phone: str, error: DeliveryError | None) -> None:
        """Take note of how an attempt ended."""
        match error:
            case RecipientGone():
                await self.gone(phone, error.detail)
            case DeliveryRefused(reason=Reason.OPTED_OUT):
                await self.opt_out(phone, error.detail)
            case None | PermanentFailure():
                self._limit.answered()
