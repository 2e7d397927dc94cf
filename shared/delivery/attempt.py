"""One try at a delivery: what a provider is given, what it answers, and how far the try has come.

An attempt may be cut off at its deadline. What that means depends on whether anything may have left us by then. A
provider says where it waits for something of ours: a free connection, its pace, an access token. If an attempt is cut
off there, nothing was sent, so nobody can have received it. If the provider says nothing, an attempt that is cut off is
in doubt. A provider that does not use this is still correct: its attempts are only in doubt more often.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.core.errors import DeliveryError, OutcomeUnknown, Reason, TemporaryFailure
from shared.core.model import Content, Delivery, Notification


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
            # Kept, because the attempt was cut off here.
            raise
        except BaseException:
            self._waits_for = before
            raise
        self._waits_for = before

    def waits_for(self, reason: Reason, what: str) -> None:
        """Say within ``waiting`` what else is waited for."""
        self._waits_for = (reason, what)

    def leaves(self) -> None:
        """Say that the delivery may be on its way from now on."""
        self._has_left = True

    def cut_off(self) -> DeliveryError:
        """Return what it means that the attempt was cut off."""
        if self._has_left or self._waits_for is None:
            return OutcomeUnknown(Reason.TIMEOUT)
        reason, what = self._waits_for
        return TemporaryFailure(reason, f"waited for {what}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a delivery: what a provider is given.

    Attributes:
        number: counted from 1.
        in_doubt: an earlier attempt may have arrived although nobody saw the provider's answer.
        deadline: when this attempt is cut off.
        reach_within: how long the provider may take to be ready for the handover, because another provider stands by.
            After that the attempt ends with a ``TemporaryFailure``. None: no limit but the deadline.
        handover: where the provider says that nothing has left yet.
        asked_at: when the provider was asked.
    """

    notification: Notification
    delivery: Delivery
    number: int
    in_doubt: bool
    deadline: datetime
    reach_within: timedelta | None = None
    handover: Handover = field(default_factory=Handover, compare=False, repr=False)
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False, repr=False)

    @property
    def content(self) -> Content:
        """What to say: the delivery's own content, else the notification's."""
        own = self.delivery.content
        if own is None:
            return self.notification.content
        if self.notification.template is None:
            return own
        # Each reader has texts of their own; the data is the same for all, and stored once.
        return own.model_copy(update={"data": self.notification.content.data})


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider's "accepted"; it does not say that anyone saw it.

    Attributes:
        detail: a short technical text for the trace; no personal data.
    """

    provider_id: str | None = None
    detail: str = ""
