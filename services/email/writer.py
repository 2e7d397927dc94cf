"""Writes mails for a provider. A long one is written in a thread, so that the others are sent meanwhile."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from services.email.render import Mail, render, takes_long
from services.email.settings import EmailSettings
from shared.core.errors import Reason
from shared.delivery.attempt import Attempt
from shared.runtime.providers import Parts


class Writer:
    """Writes the mails of one provider. Close it with the provider."""

    def __init__(self, parts: Parts[EmailSettings]) -> None:
        self._sender = parts.settings.sender
        self._unsubscribe = parts.settings.unsubscribe
        self._clock = parts.clock
        # One thread, because more would only wait for each other.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="long mails")

    async def write(self, attempt: Attempt) -> Mail:
        """Write the mail of an attempt.

        Raises:
            PermanentFailure: it cannot be written without harm.
        """
        arguments = (attempt, self._sender, self._clock.now(), self._unsubscribe)
        if not takes_long(attempt.content):
            return render(*arguments)
        with attempt.handover.waiting(Reason.OWN_LIMIT, "its text version"):
            return await asyncio.get_running_loop().run_in_executor(self._thread, render, *arguments)

    def close(self) -> None:
        """Give up what is being written."""
        self._thread.shutdown(wait=False, cancel_futures=True)
