"""From content to the text of an SMS: pure functions, except for the number that an alert is answered with.

Promises that a text composed here is within the bounds. If it is too long, it is shortened at the end of a word. How to
answer an alert stands at the end in any case. A text that a publisher wrote as an SMS goes out unchanged or not at all:
half a message may say the opposite.
"""

from services.sms.alerts import SentAlerts
from services.sms.answers import suffix
from services.sms.segments import Segments, clusters, count_segments
from shared.core.errors import PermanentFailure, Reason
from shared.core.model import Content, PhoneNumber
from shared.core.topics import Kind
from shared.delivery.attempt import Attempt

# Twilio error 21617: "The concatenated message body exceeds the 1600 character limit".
LIMIT_CHARACTERS = 1600
# Three dots, and not the one character …: that one is not in GSM 03.38 and would make every part of the message UCS-2,
# with 67 characters in place of 153.
_ELLIPSIS = "..."
# A word that is longer than this (a link, a hash, a text without spaces) is cut.
_LONGEST_WORD = 40
# The title that the wire contract gives a notification without one. It tells a reader nothing.
_DEFAULT_TITLE = "Notification"


class Texts:
    """Says what an attempt sends.

    Args:
        max_segments: what one text may cost.
        alerts: None where nobody can answer.
    """

    def __init__(self, max_segments: int, alerts: SentAlerts | None = None) -> None:
        self._max_segments = max_segments
        self._alerts = alerts

    async def of(self, attempt: Attempt, address: PhoneNumber, *, answerable: bool) -> tuple[str, Segments]:
        """Return the text and what it is sent as.

        Args:
            attempt: has the content.
            address: whom to.
            answerable: people can answer its sender.

        Raises:
            PermanentFailure: a publisher wrote an SMS that is too long.
            StoreUnavailable: the number to answer with could not be stored.
        """
        if attempt.notification.kind == Kind.SMS_SEND:
            text = written_text(attempt.content, self._max_segments)
        else:
            text = composed_text(
                attempt.content, self._max_segments, await self._suffix(attempt, address) if answerable else ""
            )
        return text, count_segments(text)

    async def _suffix(self, attempt: Attempt, address: PhoneNumber) -> str:
        if self._alerts is None:
            return ""
        with attempt.handover.waiting(Reason.OWN_LIMIT, "the number to answer by"):
            number = await self._alerts.number_for(attempt, address)
        return "" if number is None else suffix(number)


def written_text(content: Content, max_segments: int) -> str:
    """Return what a publisher wrote as an SMS.

    Raises:
        PermanentFailure: it takes more segments than are allowed.
    """
    segments = count_segments(content.message)
    if segments.count > max_segments or len(content.message) > LIMIT_CHARACTERS:
        raise PermanentFailure(Reason.TOO_LARGE, f"{segments.count} segments, at most {max_segments}")
    return content.message


def composed_text(content: Content, max_segments: int, end: str = "") -> str:
    """Join title and message, or what an alert says, within the limits.

    Args:
        content: title, message and alert.
        max_segments: what it may cost.
        end: stands at the end in any case; the text before it is shortened.
    """
    text = _alert_text(content) if content.alert else _titled(content)
    # A message may be far longer, so only as much is read as can count.
    if len(text) <= LIMIT_CHARACTERS and _fits(text + end, max_segments):
        return text + end
    return _shortened(text[: LIMIT_CHARACTERS + 1], max_segments, _ELLIPSIS + end)


def _fits(text: str, max_segments: int) -> bool:
    return len(text) <= LIMIT_CHARACTERS and count_segments(text).count <= max_segments


def _shortened(text: str, max_segments: int, end: str) -> str:
    """Return the longest beginning that fits together with the end, cut between words if possible."""
    pieces = clusters(text)
    fits, too_long = 0, len(pieces)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _fits("".join(pieces[:middle]) + end, max_segments):
            fits = middle
        else:
            too_long = middle
    if not pieces[fits].isspace():
        word = next((n for n in range(min(fits, _LONGEST_WORD)) if pieces[fits - 1 - n].isspace()), 0)
        fits -= word
    return "".join(pieces[:fits]).rstrip() + end


def _titled(content: Content) -> str:
    title = content.title.strip()
    if not title or title == _DEFAULT_TITLE or content.message.startswith(title):
        return content.message
    return f"{title}{' ' if title[-1] in '.:!?' else ': '}{content.message}"


def _alert_text(content: Content) -> str:
    if content.alert is None or content.answer_label is not None:
        return content.message
    systems = f" ({', '.join(content.alert.affected_systems)})" if content.alert.affected_systems else ""
    return f"[{content.alert.level.upper()}] {content.message}{systems}"
