"""From an attempt to the mail that is sent: a pure function.

Promises that neither title nor address can add or change a header field. Every attempt at a delivery has the same
Message-ID, so a program that compares them recognises a mail that was sent twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from services.email.letter import letter, plain, with_button
from services.email.mime import (
    LINE_LIMIT_CHARACTERS,
    MIME_FIELDS,
    alternatives,
    field_names,
    mailbox,
    unstructured,
)
from services.email.sender import Sender
from services.email.unsubscribe import Unsubscribe
from shared.core.clock import from_epoch_ms
from shared.core.errors import PermanentFailure, Reason
from shared.core.incidents import Way
from shared.core.model import Content, EmailAddress, Priority
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt
from shared.directory.suppression import must_arrive
from shared.ledger.confirmations import mail_reference

# C0, DEL and C1, and the two separators that str.splitlines knows beside them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 5321, 4.1.2: what ends an address on an SMTP command line, or a mailbox in a header.
_NOT_IN_ADDRESS = re.compile(r'[\s<>()\[\],;:\\"]')
# Not standardised; these values are what mail programs set and read (RFC 4021, 2.1.53 registers Importance).
_URGENT = {Priority.HIGH: "2 (High)", Priority.CRITICAL: "1 (Highest)"}
# Of the systems of an alert a subject names so much.
_WHERE_CHARS = 80
# At worst HTML becomes text at 1 ms a kilobyte (measured).
_LONG_HTML_CHARS = 8 * 1024


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail on its way to one recipient.

    Attributes:
        sender: the address of the envelope. Relays report non-delivery to it.
        raw: header and body as they are transmitted, without the dots of SMTP.
    """

    sender: str
    recipient: str
    message_id: str
    raw: bytes


def takes_long(content: Content) -> bool:
    """Tell whether writing the mail may take more than some milliseconds: its HTML has to become text."""
    return not content.message and len(content.html_body or "") > _LONG_HTML_CHARS


def render(
    attempt: Attempt,
    sender: Sender,
    now: datetime,
    unsubscribe: Unsubscribe | None = None,
    answer_links: AnswerLinks | None = None,
    *,
    marks: Mapping[str, str] | None = None,
) -> Mail:
    """Write the mail of an attempt.

    Args:
        attempt: its address is an ``EmailAddress``.
        sender: who it is from.
        now: the time for its Date field.
        unsubscribe: makes the links of RFC 8058; None for no such link.
        answer_links: makes the links to acknowledge an alert; None for no such link.
        marks: header fields that the relay repeats in its reports, with ``{}`` for the mail's reference.

    Raises:
        PermanentFailure: it cannot be written without harm; no personal data in the text.
    """
    delivery, content = attempt.delivery, attempt.content
    address = delivery.address
    if not isinstance(address, EmailAddress):
        raise PermanentFailure(Reason.REJECTED, "not an email address")
    subject = _subject(content)
    _refuse_injection(subject=subject, name=address.name or "", address=address.email)
    reference = mail_reference(attempt.notification.id, delivery.key)
    message_id = f"<{reference}@{sender.domain}>"
    fields = {
        "From": _from(sender),
        "To": mailbox(address.name, address.email),
        "Subject": unstructured("Subject", subject),
        "Date": _date(int(now.timestamp())),
        "Message-ID": message_id,
        # RFC 3834, 5: keeps vacation responders quiet.
        "Auto-Submitted": "auto-generated",
        "X-Carillon-Notification": attempt.notification.public_id,
    }
    if delivery.priority in _URGENT:
        fields |= {"X-Priority": _URGENT[delivery.priority], "Importance": "high"}
    if unsubscribe and content.category is not None and not (delivery.required or must_arrive(delivery.priority)):
        # Without a category there is nothing to unsubscribe from, and from a required one nobody can.
        fields |= unsubscribe.fields(address.email, content.category)
    fields |= {name: text.replace("{}", reference) for name, text in (marks or {}).items()}
    try:
        link = answer_links.of(attempt, Way.MAIL_LINK, now) if answer_links is not None else None
        said = (content, delivery.priority, from_epoch_ms(attempt.notification.accepted_ms), link)
        raw = alternatives(
            fields, plain(*said), with_button(content, delivery.priority, link) if content.html_body else letter(*said)
        )
    except UnicodeEncodeError:
        raise PermanentFailure(Reason.REJECTED, "the text is not valid Unicode") from None
    _refuse_other_fields(raw, [*fields, *MIME_FIELDS])
    return Mail(sender.address, address.email, message_id, raw)


def _subject(content: Content) -> str:
    alert = content.alert
    if alert is None or content.answer_label is not None:
        return content.title
    # With what planning has put around it: that it begins again and again, and how many are open.
    before, _, after = content.title.partition(alert.title) if alert.title in content.title else ("", "", "")
    subject = f"{before}[{alert.level.upper()}] {alert.type}{after}"
    where = ", ".join(alert.affected_systems) or alert.source or ""
    # What a header cannot have, stands in the mail.
    if not where or _CONTROL.search(where) or "=?" in where:
        return subject
    return f"{subject}: {where if len(where) <= _WHERE_CHARS else where[: _WHERE_CHARS - 1].rstrip() + '…'}"


@lru_cache(maxsize=1)
def _from(sender: Sender) -> str:
    return mailbox(sender.name, sender.address)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    # Written once for all mails of a second, because it takes as long as the whole text.
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _refuse_injection(**texts: str) -> None:
    for name, text in texts.items():
        if _CONTROL.search(text):
            raise PermanentFailure(Reason.REJECTED, f"control character in the {name}")
        # RFC 2047, 2: an encoded word. A mail program could decode it to anything.
        if "=?" in text:
            raise PermanentFailure(Reason.REJECTED, f"encoded word in the {name}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PermanentFailure(Reason.REJECTED, f"the {name} is not valid Unicode") from None
    # An address outside ASCII needs SMTPUTF8 all the way to the recipient. The intake refuses such addresses, too.
    address = texts["address"]
    local, _, domain = address.rpartition("@")
    if not local or not domain or not address.isascii() or _NOT_IN_ADDRESS.search(address):
        raise PermanentFailure(Reason.REJECTED, "malformed address")


def _refuse_other_fields(raw: bytes, expected: list[str]) -> None:
    """Compare the fields that a reader will find with those that were meant: the last check against injection."""
    header, _, _ = raw.partition(b"\r\n\r\n")
    too_long = max(map(len, header.split(b"\r\n"))) > LINE_LIMIT_CHARACTERS
    if too_long or field_names(header) != [name.lower() for name in expected]:
        raise PermanentFailure(Reason.REJECTED, "the header is not what was meant")
