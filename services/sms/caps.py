"""Caps against SMS pumping: how many SMS may go to one number, and to one block of numbers, within a window.

Promises that no more than the caps go out in any window, over all processes of the service. A delivery counts once,
however often it is tried. SMS pumping works so: fraudsters have codes and alarms sent to numbers that earn them money,
and such numbers come in blocks. A critical notification to a person of the directory does not count against the block,
and its number has a higher cap: the directory's numbers are known, and an alarm must get through.
"""

from dataclasses import dataclass

from services.sms import metrics
from services.sms.keys import number_key, prefix_key
from shared.core.errors import DeliveryRefused, Reason
from shared.core.model import PhoneNumber, Priority
from shared.delivery.attempt import Attempt
from shared.store.keys import Keys
from shared.store.store import Store
from shared.store.windows import Ask, Windows

# Numbers are given to carriers, and rented out, in blocks of 10,000.
BLOCK_DIGITS = 4


@dataclass(frozen=True, slots=True)
class CapLimits:
    """How many SMS within the window; 0 is no limit.

    Attributes:
        per_number: to one number.
        per_number_critical: to one number, for a critical notification to a person of the directory.
        per_prefix: to the numbers that differ only in their last ``BLOCK_DIGITS`` digits.
    """

    window_s: int
    per_number: int
    per_number_critical: int
    per_prefix: int


class Caps:
    """Counts in the store."""

    def __init__(self, store: Store, keys: Keys, limits: CapLimits) -> None:
        self._windows = Windows(store)
        self._keys = keys
        self._limits = limits

    async def count(self, attempt: Attempt, address: PhoneNumber) -> None:
        """Count a delivery against the caps.

        Raises:
            DeliveryRefused: a cap is reached.
            StoreUnavailable: the counts cannot be read.
        """
        delivery = attempt.delivery
        known = delivery.recipient is not None and delivery.priority is Priority.CRITICAL
        name = f"{attempt.notification.id}/{delivery.key}"
        limits = self._limits
        per_number = limits.per_number_critical if known else limits.per_number
        await self._take("number", number_key(self._keys, address.phone), name, per_number)
        if not known:
            prefix = address.phone[:-BLOCK_DIGITS].lstrip("+")
            await self._take("prefix", prefix_key(self._keys, prefix), name, limits.per_prefix)

    async def _take(self, cap: str, key: str, name: str, most: int) -> None:
        ask = Ask(f"{key}:cap", name, most, self._limits.window_s * 1000, "retry")
        if most and not await self._windows.lets_in(ask):
            metrics.capped.labels(cap).inc()
            raise DeliveryRefused(Reason.RATE_CAPPED, f"more than {most} for one {cap}")
