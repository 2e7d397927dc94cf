"""What a person who answers an SMS asks for: a pure function.

STOP and its like come before everything. As at Twilio, they count only as the whole message.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

# twilio.com/docs/messaging/tutorials/advanced-opt-out: the defaults, with REVOKE and OPTOUT since May 2025
# (twilio.com/en-us/blog/update-to-fcc-s-sms-opt-out-keywords). 47 CFR 64.1200(a)(10) also names "opt out", which Twilio
# does not read.
_STOP = frozenset(
    {"stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out", "opt-out"}
)
# help.twilio.com, "Twilio support for opt-out keywords". So is YES, which means something else as the answer to an
# alert.
_START = frozenset({"start", "unstop"})
_YES = "yes"
_HELP = frozenset({"help", "info"})

_SURELY = r"(?:acknowledged?|acked|ack)(?![^\W\d_])"
# With a skin tone, and with the selector for the emoji form.
_THUMB = "\N{THUMBS UP SIGN}[\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}-\N{EMOJI MODIFIER FITZPATRICK TYPE-6}\ufe0f]*"
_CASUALLY = rf"(?:okay(?![^\W\d_])|ok(?![^\W\d_])|yes(?![^\W\d_])|thumbs[ -]?up(?![^\W\d_])|{_THUMB})"
_NUMBER = r"(?P<number>\d{1,2})(?!\d)"
_BETWEEN = r"[\s.,:;!#-]*"
# Casual words count alone or with a number. Only a word that means nothing else may begin a sentence.
_ANSWERS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"{_SURELY}{_BETWEEN}(?P<words>{_NUMBER}{_BETWEEN}(?P<note>.*))",
        rf"{_SURELY}{_BETWEEN}(?P<words>(?P<note>.*))",
        rf"{_CASUALLY}{_BETWEEN}(?P<words>{_NUMBER}{_BETWEEN}(?P<note>.*))",
        rf"{_CASUALLY}{_BETWEEN}",
        rf"#?{_NUMBER}{_BETWEEN}(?P<word>{_SURELY}|{_CASUALLY})?{_BETWEEN}",
    )
)
# What iPhones ("Liked ...") and Android's Messages send as SMS when somebody reacts with a thumbs-up.
_REACTION = re.compile(rf"(?:liked|{_THUMB} to) [\u201c\"](.*)[\u201d\"]", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"\bReply ACK (\d{1,2})\b")

# The bound of an acknowledgement's note, as for the publish that acknowledges.
NOTE_CHARS = 1_000


class Request(StrEnum):
    """What is asked for; the words are metric labels."""

    STOP = "stop"
    START = "start"
    HELP = "help"
    ACKNOWLEDGE = "acknowledge"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        number: which alert an acknowledgement is for; None if it does not say so.
        note: what follows the number, or the word.
        words: all that follows the word, for the case that the number is not an alert's.
        is_bare: it is a number and nothing else.
        may_start: the word also undoes a STOP.
    """

    request: Request
    number: int | None = None
    note: str = ""
    words: str = ""
    is_bare: bool = False
    may_start: bool = False


def read(body: str) -> Asked:
    """Read an inbound SMS."""
    text = body.strip()
    word = " ".join(text.rstrip(".! ").casefold().split())
    for words, request in ((_STOP, Request.STOP), (_START, Request.START), (_HELP, Request.HELP)):
        if word in words:
            return Asked(request)
    if found := _REACTION.fullmatch(text):
        quoted = _QUOTED.search(found[1])
        return Asked(Request.ACKNOWLEDGE, int(quoted[1]) if quoted else None)
    for answer in _ANSWERS:
        if found := answer.fullmatch(text):
            return _acknowledgement(found, may_start=word == _YES)
    return Asked(Request.OTHER)


def _acknowledgement(found: re.Match[str], *, may_start: bool) -> Asked:
    said = found.groupdict()
    number = said.get("number")
    return Asked(
        Request.ACKNOWLEDGE,
        int(number) if number else None,
        (said.get("note") or "").strip()[:NOTE_CHARS],
        (said.get("words") or "").strip()[:NOTE_CHARS],
        is_bare="word" in said and said["word"] is None,
        may_start=may_start,
    )
