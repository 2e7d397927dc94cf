"""What a provider reports about addresses, in Carillon's words.

``BounceProvider`` is the guide for another provider: one file here, one line in ``providers``, one setting.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from services.realtime.access.bodies import read_json
from services.realtime.access.refusals import Refusal
from shared.directory.suppression import Cause

# Of any kind, in one report. SendGrid posts at most 768 KB at a time, and the smallest events have some 200 bytes.
ENTRIES_MOST = 5000

# RFC 3463, 2, and RFC 5321, 4.2.1.
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}|[245]\d\d", re.ASCII)
# ``shared.ledger.confirmations.mail_reference``, perhaps as the local part of a Message-ID.
_REFERENCE = re.compile(r"(?:^|<)([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[0-9a-f]{16})(?:$|@)", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z-]{0,39}", re.ASCII)


class Outcome(StrEnum):
    """What became of a report, or of one of its entries. A fixed list, because it is a metric label."""

    # Of an entry.
    SUPPRESSED = "suppressed"
    KNOWN = "known"
    """It was on the suppression list already."""
    HELD = "held"
    """So many addresses were reported that no more are suppressed for now."""
    SOFT = "soft"
    """A failure that says nothing lasting about the address."""
    IGNORED = "ignored"
    """Not about a bad address."""
    UNREADABLE = "unreadable"
    # Of a whole report, which is refused.
    FORGED = "forged"
    STALE = "stale"
    REPLAYED = "replayed"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Finding:
    """What has become of a mail, or an address that is not to be used any more.

    Attributes:
        address: as the provider wrote it.
        cause: why it is not to be used any more; None where the mail was given up for another reason.
        detail: see ``detail``.
        reference: of the mail, see ``reference``; empty where the report does not say which one it was.
        arrived: the mail has reached its reader, who complained about it.
    """

    address: str
    cause: Cause | None
    detail: str
    reference: str = ""
    arrived: bool = False


def lost(address: str, said: str, of_mail: str) -> "Entry":
    """Return the entry of a mail that has not arrived, for a reason that says nothing lasting about its address."""
    return Finding(address, None, said, of_mail) if of_mail else Outcome.SOFT


# What one entry of a report says.
Entry = Finding | Outcome


@dataclass(frozen=True, slots=True)
class Report:
    """What an authentic request says.

    Attributes:
        once: tells this report from every other one of its provider.
        signed_at: None where the provider signs no time.
        confirm: what the provider waits for besides, to be done when nothing speaks against the report.
    """

    entries: Sequence[Entry]
    once: str
    signed_at: datetime | None = None
    confirm: Callable[[], Awaitable[None]] | None = None


class ReportRefused(Exception):
    """The request is not taken; nothing is written.

    Args:
        answer: None for the usual one of this outcome.
    """

    def __init__(self, outcome: Outcome, answer: Refusal | None = None) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.answer = answer


class BounceProvider(Protocol):
    """One provider's reports.

    For another provider:

    1. Write a pure function that translates one of its events into an ``Entry``. Only what says that the mailbox does
       not exist, or that its owner complained, is a ``Finding`` with a cause. What is about the sender, the content or
       a full mailbox is ``SOFT``, or ``lost`` if the provider has given the mail up. Name the provider's page for each
       word, and where the event says which mail it is about (``reference``).
    2. Write the check of its signature, in ``read``. Whatever does not hold is ``FORGED``.
    3. Add a setting for the secret, a line to ``providers.PROVIDERS``, one to the calls of ``http.operations``, and a
       section to docs/guides/bounces.md.
    """

    def admit(self, headers: Mapping[str, str]) -> None:
        """Look at what can be judged before the body is read.

        Raises:
            ReportRefused: the request is not the provider's.
            Refusal: it has to be made in another way.
        """

    async def read(self, headers: Mapping[str, str], body: bytes) -> Report:
        """Check the signature, and translate.

        Raises:
            ReportRefused: the request is not the provider's, or cannot be read.
            Refusal: nobody can tell now.
        """


def json_object(body: bytes | str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ReportRefused: it is none.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise ReportRefused(Outcome.MALFORMED)
    return value


def part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object within an object; empty if there is none."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def text(document: Mapping[str, Any], name: str) -> str:
    """Return a text within an object; empty if there is none."""
    value = document.get(name)
    return value if isinstance(value, str) else ""


def reference(*texts: object) -> str:
    """Return how Carillon called a mail, by the first of these texts that says so; empty if none does.

    Args:
        texts: a Message-ID, or a reference as it stands in it.
    """
    found = (_REFERENCE.search(each) for each in texts if isinstance(each, str))
    return next((match[1] for match in found if match), "")


def detail(provider: str, *said: object) -> str:
    """Write what the suppression list keeps: the provider and its codes.

    Keeps only what looks like a status code or a single word. The texts of mail servers quote addresses.
    """
    words = [str(each) for each in said if isinstance(each, str | int)]
    return " ".join([provider, *(word for word in words if _STATUS.fullmatch(word) or _WORD.fullmatch(word))])
