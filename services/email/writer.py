"""Writes mails for a provider. A long one is written in a thread, so that the others are sent meanwhile."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from services.email.render import Mail, render, takes_long
from services.email.sender import Sender
from services.email.settings import EmailSettings
from services.email.unsubscribe import Unsubscribe
from shared.core.errors import Reason
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt
from shared.runtime.providers import Parts

# The thread that writes a long mail delays each step of the other mails by this much. A mail has eight steps: with
# Python's default of 5 ms they take 57 ms, with this 9 ms (measured). All the time it would cost a tenth of the rate.
_SWITCH_INTERVAL_S = 0.0005
_USUAL_SWITCH_INTERVAL_S = sys.getswitchinterval()


class Writer:
    """Writes the mails of one provider. Close it with the provider."""

    def __init__(self, parts: Parts[EmailSettings]) -> None:
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
        arguments = (attempt, self._sender, self._clock.now(), self._unsubscribe, self._answer_links)
        if not takes_long(attempt.content):
            return render(*arguments)
        with attempt.handover.waiting(Reason.OWN_LIMIT, "its text version"):
            return await asyncio.get_running_loop().run_in_executor(self._thread, _render_beside_others, *arguments)

    def close(self) -> None:
        """Give up what is being written."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _render_beside_others(
    attempt: Attempt,
    sender: Sender,
    now: datetime,
    unsubscribe: Unsubscribe | None,
    answer_links: AnswerLinks | None,
) -> Mail:
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        return render(attempt, sender, now, unsubscribe, answer_links)
    finally:
        sys.setswitchinterval(_USUAL_SWITCH_INTERVAL_S)
