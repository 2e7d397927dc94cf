"""Writes beside a delivery what was reported of its mail: that it was given up, or that its reader complained.

Promises that a report which names no mail of ours, or one that went to another address, changes nothing, and that the
same report again changes nothing more. If an alert's mail was given up, that is evidence for its escalation.
"""

import logging
from asyncio import Future
from collections.abc import Callable

from services.realtime.bounces.report import Finding
from shared.core.clock import Clock
from shared.core.model import Channel
from shared.core.topics import Topics
from shared.ledger.confirmations import Confirmations, Outcome, told

log = logging.getLogger(__name__)


class ReportedMails:
    """Writes to one ledger.

    Args:
        publish: publishes an event.
    """

    def __init__(
        self, confirmations: Confirmations, topics: Topics, publish: Callable[[str, str], "Future[bool]"], clock: Clock
    ) -> None:
        self._confirmations = confirmations
        self._topics = topics
        self._publish = publish
        self._clock = clock

    async def note(self, finding: Finding, address_digest: str) -> None:
        """Write down what was reported of a mail, if it is known which one it was.

        Args:
            address_digest: of the address that the report names.
        """
        found = await self._confirmations.mail(finding.reference, address_digest) if finding.reference else None
        if found is None:
            return
        outcome = Outcome.COMPLAINED if finding.arrived else Outcome.FAILED
        confirmed = await self._confirmations.write(*found, outcome, finding.detail, "")
        if confirmed is None or not confirmed.news:
            return
        log.info(
            "confirmation",
            extra={
                "notification_id": confirmed.notification_id, "delivery_id": "/".join(found),
                "channel": Channel.EMAIL.value, "outcome": outcome.value, "detail": finding.detail,
            },
        )  # fmt: skip
        step = told(self._topics, confirmed, outcome, finding.detail, self._clock)
        if step is not None:
            self._publish(*step)
