"""Writes mails for a provider. A long one is written in a thread, so that the others are sent meanwhile."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from services.email.render import Mail, render, takes_long
from services.email.settings import EmailSettings
from shared.core.errors import Reason
from shared.delivery.attempt import Attempt
from shared.runtime.providers import Parts

# The thread that writes a long mail delays each step of the other mails by this much. A mail has eight steps: with
# Python's default of 5 ms they take 57 ms, with this 9 ms (measured). All the time it would cost a tenth of the rate.
_SWITCH_INTERVAL_S = 0.0005
_USUAL_SWITCH_INTERVAL_S = sys.getswitchinterval()


class Writer:
    """Writes the mails of one provider. Close it with the provider.

    Args:
        marks: as for ``render``.
    """

    def __init__(self, parts: Parts[EmailSettings], marks: Mapping[str, str] | None = None) -> None:
        self._marks = marks
        self._sender = parts.settings.sender
        self._unsubscribe = parts.settings.unsubscribe
        self._answer_links = parts.settings.answer_links
        self._clock = parts.clock
        # One thread, because more would only wait for each other.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="long mails")

    async def write(self, attempt: Attempt) -> Mail:
        """Write the mail of an attempt.

        Raises:
            PermanentFailure: it cannot be written without harm.
        """
        write = partial(
            render, attempt, self._sender, self._clock.now(), self._unsubscribe, self._answer_links, marks=self._marks
        )
        if not takes_long(attempt.content):
            return write()
        with attempt.handover.waiting(Reason.OWN_LIMIT, "its text version"):
            return await asyncio.get_running_loop().run_in_executor(self._thread, _beside_others, write)

    def close(self) -> None:
        """Give up what is being written."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _beside_others(write: Callable[[], Mail]) -> Mail:
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        return write()
    finally:
        sys.setswitchinterval(_USUAL_SWITCH_INTERVAL_S)
