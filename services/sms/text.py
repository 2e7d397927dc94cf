"""From content to the text of an SMS: a pure function."""

from shared.model import Content

# Twilio error 21617: "The concatenated message body exceeds the 1600 character limit".
LIMIT_CHARACTERS = 1600
# Three dots, and not the one character …: that one is not in GSM 03.38 and would make every part of the message UCS-2,
# with 67 characters in place of 153.
_ELLIPSIS = "..."
# What the wire contract gives a notification without a title; it tells a reader nothing.
_DEFAULT_TITLE = "Notification"


def sms_text(content: Content) -> str:
    """Join title and message, or what an alert says, within the limit."""
    text = _alert_text(content) if content.alert else _titled(content)
    if len(text) <= LIMIT_CHARACTERS:
        return text
    return text[: LIMIT_CHARACTERS - len(_ELLIPSIS)].rstrip() + _ELLIPSIS


def _titled(content: Content) -> str:
    title = content.title.strip()
    if not title or title == _DEFAULT_TITLE or content.message.startswith(title):
        return content.message
    return f"{title}{' ' if title[-1] in '.:!?' else ': '}{content.message}"


def _alert_text(content: Content) -> str:
    if content.alert is None:
        return content.message
    systems = f" ({', '.join(content.alert.affected_systems)})" if content.alert.affected_systems else ""
    return f"[{content.alert.level.upper()}] {content.message}{systems}"
