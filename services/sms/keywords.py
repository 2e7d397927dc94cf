"""What a person who answers an SMS asks for: a pure function.

A word that asks for silence goes before everything, and only as the whole message, as Twilio reads it.
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
# help.twilio.com, "Twilio support for opt-out keywords". So is YES, which to an alert means something else.
_START = frozenset({"start", "unstop"})
_YES = "yes"
_HELP = frozenset({"help", "info"})

_SURELY = r"(?:acknowledged?|acked|ack)(?![^\W\d_])"
# With skin tone and the selector that asks for the colourful form.
_THUMB = "\N{THUMBS UP SIGN}[\N{EMOJI MODIFIER FITZPATRICK TYPE-1-2}-\N{EMOJI MODIFIER FITZPATRICK TYPE-6}\ufe0f]*"
_CASUALLY = rf"(?:okay(?![^\W\d_])|ok(?![^\W\d_])|yes(?![^\W\d_])|thumbs[ -]?up(?![^\W\d_])|{_THUMB})"
_NUMBER = r"(?P<number>\d{1,2})(?!\d)"
_BETWEEN = r"[\s.,:;!#-]*"
# What people say in passing counts alone or with a number; only a word that means nothing else may begin a sentence.
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
# What iPhones ("Liked ...") and Android's Messages make of a thumb put up at a message of somebody who has SMS alone.
_REACTION = re.compile(rf"(?:liked|{_THUMB} to) [\u201c\"](.*)[\u201d\"]", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"\bReply ACK (\d{1,2})\b")

# What an acknowledgement's note may be (the publish that acknowledges has the same bound).
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
        number: which alert an acknowledgement is for, where it says so.
        note: what follows the number, or the word.
        words: what follows the word, in case that the number was none of an alert.
        is_bare: it is a number and nothing else.
        may_start: it is a word that ends silence, too.
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
