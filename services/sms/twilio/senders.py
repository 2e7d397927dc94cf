"""What Twilio sends from: numbers, short codes, names and messaging services."""

import re

# twilio.com/docs/messaging/api/message-resource, parameters From and MessagingServiceSid: a number in E.164 or a short
# code, an alphanumeric sender of at most 11 characters with a letter, or the SID of a messaging service.
_NUMBER = re.compile(r"\+[1-9]\d{6,14}|\d{3,8}", re.ASCII)
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_MESSAGING_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
# twilio.com/docs/glossary/what-is-a-short-code: five or six digits in most countries.
_SHORT_CODE = re.compile(r"\d{3,8}", re.ASCII)


def parse_senders(text: str) -> tuple[str, ...]:
    """Read a comma-separated list, the preferred one first.

    Raises:
        ValueError: a sentence for the operator.
    """
    senders = tuple(part.strip() for part in text.split(","))
    if not all(any(kind.fullmatch(each) for kind in (_NUMBER, _NAME, _MESSAGING_SERVICE)) for each in senders):
        raise ValueError("a number in E.164 form, a short code, a sender name or a messaging service MG… is required")
    if len(set(senders)) < len(senders):
        raise ValueError("each sender may stand there once")
    return senders


def sender_parameter(sender: str) -> dict[str, str]:
    """Return a sender as the SDK's ``create`` takes it."""
    return {"messaging_service_sid" if _MESSAGING_SERVICE.fullmatch(sender) else "from_": sender}


def can_be_answered(sender: str) -> bool:
    """Tell whether people can answer what a sender sends, which they cannot where it is a name."""
    return not _NAME.fullmatch(sender) or _NUMBER.fullmatch(sender) is not None


def is_short_code(sender: str) -> bool:
    """Tell whether a sender is a short code."""
    return _SHORT_CODE.fullmatch(sender) is not None
