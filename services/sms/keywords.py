"""What a person who answers an SMS asks for: a pure function."""

import re
from dataclasses import dataclass
from enum import StrEnum

# help.twilio.com, "Twilio support for opt-out keywords": the defaults; only as the whole message.
_STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit"})
_START = frozenset({"start", "unstop", "yes"})
_ACKNOWLEDGE = re.compile(r"ack\b[\s.,:;!-]*(.*)", re.IGNORECASE | re.DOTALL)

# What an acknowledgement's note may be (the publish that acknowledges has the same bound).
NOTE_CHARS = 1_000


class Request(StrEnum):
    """What is asked for; the words are metric labels."""

    STOP = "stop"
    START = "start"
    ACKNOWLEDGE = "acknowledge"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the words after an acknowledgement."""

    request: Request
    note: str = ""


def read(body: str) -> Asked:
    """Read an inbound SMS."""
    text = body.strip()
    word = text.rstrip(".!").casefold()
    if word in _STOP:
        return Asked(Request.STOP)
    if word in _START:
        return Asked(Request.START)
    if found := _ACKNOWLEDGE.fullmatch(text):
        return Asked(Request.ACKNOWLEDGE, found[1].strip()[:NOTE_CHARS])
    return Asked(Request.OTHER)
