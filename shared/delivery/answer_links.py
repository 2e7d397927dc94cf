"""The links in messages about an alert: whoever opens one acknowledges in the name of the person it was sent to."""

from dataclasses import dataclass, field
from datetime import datetime

from shared.core.incidents import Way
from shared.delivery.attempt import Attempt
from shared.directory.answer_link import LIFETIME, PATH, AnswerLink, token


@dataclass(frozen=True, slots=True)
class AnswerLinks:
    """Makes links.

    Attributes:
        url: where the realtime service is reached from outside, without a slash at its end.
        secret: signs the links; the realtime service has the same one.
    """

    url: str
    secret: str = field(repr=False)

    def of(self, attempt: Attempt, way: Way, now: datetime) -> str | None:
        """Return the link for an attempt; None if nobody has to acknowledge what it tells, or it tells no person."""
        alert, recipient = attempt.notification.content.alert, attempt.delivery.recipient
        if alert is None or not alert.requires_acknowledgment or recipient is None or attempt.delivery.recalls:
            return None
        link = AnswerLink(attempt.notification.public_id, recipient, way, now + LIFETIME)
        # What a token is made of needs no escaping in a URL.
        return f"{self.url}{PATH}?token={token(self.secret, link)}"
