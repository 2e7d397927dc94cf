"""How far an attempt has come: whether anything of it may have left us.

A provider says where it waits for something of ours (a free connection, its pace, an access token). An attempt that is
cut off there has sent nothing, so nobody may have got it. What nobody says anything about is in doubt when it is cut
off: a provider that does not use this loses nothing but a second look.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import DeliveryError, OutcomeUnknown, Reason, TemporaryFailure


class Handover:
    """The handover of one attempt to its provider."""

    def __init__(self) -> None:
        self._waits_for: tuple[Reason, str] | None = None
        self._has_left = False

    @contextmanager
    def waiting(self, reason: Reason, what: str) -> Iterator[None]:
        """Say that nothing leaves us while the context stands, unless ``leaves`` is called in it.

        Args:
            reason: of the failure, when the attempt is cut off here: ``OWN_LIMIT`` for a limit of ours, which says
                nothing about the provider.
            what: is waited for; a few words without personal data.
        """
        before, self._waits_for = self._waits_for, (reason, what)
        try:
            yield
        except asyncio.CancelledError:
            # Kept: here it was cut off.
            raise
        except BaseException:
            self._waits_for = before
            raise
        self._waits_for = before

    def waits_for(self, reason: Reason, what: str) -> None:
        """Say within ``waiting`` what else is waited for."""
        self._waits_for = (reason, what)

    def leaves(self) -> None:
        """Say that it may be on its way from now on."""
        self._has_left = True

    def cut_off(self) -> DeliveryError:
        """Return what it means that the attempt was cut off."""
        if self._has_left or self._waits_for is None:
            return OutcomeUnknown(Reason.TIMEOUT)
        reason, what = self._waits_for
        return TemporaryFailure(reason, f"waited for {what}")
