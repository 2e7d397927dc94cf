"""Amazon SES: bounces and complaints that it publishes on an SNS topic.

Reads both forms: identity notifications (``notificationType``) and events of a configuration set (``eventType``).

Sources: docs.aws.amazon.com/ses/latest/dg, pages ``notification-contents`` and
``event-publishing-retrieving-sns-contents``; the signature in ``sns``.
"""

import functools
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from services.realtime.access.bodies import read_json
from services.realtime.bounces.report import Entry, Finding, Outcome, Report, detail, lost, part, reference, text
from services.realtime.bounces.sns import UNSUBSCRIPTION, Sns
from services.realtime.settings import RealtimeSettings, topic_list
from shared.directory.suppression import Cause

log = logging.getLogger(__name__)

# Permanent bounces whose subtype does not mean a bad mailbox: the person left one of SES's own contact lists.
_NOT_THE_ADDRESS = frozenset({"UnsubscribedRecipient"})
# RFC 5965, 7.3, and RFC 6650: feedback that is no wish to get no more mail.
_NO_COMPLAINT = frozenset({"not-spam", "auth-failure", "virus"})


def translate(message: str) -> list[Entry]:
    """Translate the message that SES gave to SNS."""
    document = read_json(message)
    if not isinstance(document, dict):
        # For example the sentence by which SES tries out a topic.
        return [Outcome.IGNORED]
    match text(document, "eventType") or text(document, "notificationType"):
        case "Bounce":
            return list(_bounce(part(document, "bounce"), _mail(document)))
        case "Complaint":
            return list(_complaint(part(document, "complaint"), _mail(document)))
        case "DeliveryDelay":
            return [Outcome.SOFT]
        case _:
            return [Outcome.IGNORED]


def _mail(document: Mapping[str, Any]) -> str:
    """Return which mail it was. Identity notifications say so only where they include the original headers."""
    mail = part(document, "mail")
    headers = mail.get("headers")
    listed = (each for each in headers if isinstance(each, dict)) if isinstance(headers, list) else ()
    named = [text(each, "value") for each in listed if text(each, "name").lower() == "message-id"]
    return reference(*named, text(part(mail, "commonHeaders"), "messageId"))


def _bounce(bounce: Mapping[str, Any], mail: str) -> Iterator[Entry]:
    kind, subtype = text(bounce, "bounceType"), text(bounce, "bounceSubType")
    for recipient in _recipients(bounce, "bouncedRecipients"):
        if recipient is None:
            yield Outcome.UNREADABLE
            continue
        said = detail("ses", kind, subtype, text(recipient, "status"))
        if kind != "Permanent" or subtype in _NOT_THE_ADDRESS:
            yield lost(text(recipient, "emailAddress"), said, mail)
        else:
            yield Finding(text(recipient, "emailAddress"), Cause.BOUNCE, said, mail)


def _complaint(complaint: Mapping[str, Any], mail: str) -> Iterator[Entry]:
    kind = text(complaint, "complaintFeedbackType")
    # SES names everybody at that domain whom the mail went to. A mail of Carillon goes to one address.
    for recipient in _recipients(complaint, "complainedRecipients"):
        if recipient is None:
            yield Outcome.UNREADABLE
        elif kind in _NO_COMPLAINT:
            yield Outcome.IGNORED
        else:
            address, said = text(recipient, "emailAddress"), detail("ses", "complaint", kind)
            yield Finding(address, Cause.COMPLAINT, said, mail, arrived=True)


def _recipients(event: Mapping[str, Any], name: str) -> Iterator[dict[str, Any] | None]:
    listed = event.get(name)
    if not isinstance(listed, list):
        yield None
        return
    for each in listed:
        yield each if isinstance(each, dict) else None


class Ses:
    """Reads SES's reports.

    Args:
        sns: that they come by.
    """

    def __init__(self, sns: Sns) -> None:
        self._sns = sns

    def admit(self, headers: Mapping[str, str]) -> None:
        """Let everything pass: the signature stands in the body, and headers are not signed."""

    async def read(self, headers: Mapping[str, str], body: bytes) -> Report:  # noqa: ARG002 - nothing stands there
        """Check the signature of SNS, and translate."""
        message = await self._sns.read(body)
        if message.subscribe_url is not None:
            confirm = functools.partial(self._sns.confirm, message.subscribe_url)
            return Report([Outcome.IGNORED], message.id, message.at, confirm)
        if message.kind == UNSUBSCRIPTION:
            log.warning("no more bounce reports from SES, its topic was unsubscribed from")
            return Report([Outcome.IGNORED], message.id, message.at)
        return Report(translate(message.text), message.id, message.at)


def build(settings: RealtimeSettings) -> Ses | None:
    """Build it where its topics are set."""
    topics = settings.realtime_bounces_ses_topic_arns
    return Ses(Sns(topic_list(topics))) if topics else None
