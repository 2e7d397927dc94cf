"""SendGrid's Event Webhook: a list of events, signed with ECDSA.

Sources: twilio.com/docs/sendgrid/for-developers/tracking-events, pages ``event`` (the events) and
``getting-started-event-webhook-security-features`` (the signature).
"""

import hashlib
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from services.realtime.access.bodies import read_json
from services.realtime.bounces.report import (
    ENTRIES_MOST,
    Entry,
    Finding,
    Outcome,
    Report,
    ReportRefused,
    detail,
    lost,
    reference,
    text,
)
from services.realtime.settings import RealtimeSettings, ecdsa_key
from shared.directory.suppression import Cause

SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"

# A bounce event has the type "bounce" or "blocked". SendGrid suppresses the address after the first one only. The
# classification is optional; these are about us, or pass.
_NOT_THE_ADDRESS = frozenset(
    {"content", "reputation", "technical", "frequency or volume too high", "mailbox unavailable"}
)
# Why SendGrid drops a mail instead of sending it: the address is on its own suppression list.
_DROPPED = {
    "bounced address": Cause.BOUNCE,
    "invalid": Cause.BOUNCE,
    "spam reporting address": Cause.COMPLAINT,
}


def translate(event: Mapping[str, Any]) -> Entry:
    """Translate one event."""
    address, status = text(event, "email"), text(event, "status")
    # The argument that our mails have through SendGrid's relays; in bounces also the Message-ID.
    mail = reference(event.get("carillon"), event.get("smtp-id"))
    match text(event, "event"):
        case "bounce":
            about = text(event, "bounce_classification").lower()
            if text(event, "type") != "bounce" or about in _NOT_THE_ADDRESS:
                return lost(address, detail("sendgrid", text(event, "type"), status), mail)
            return Finding(address, Cause.BOUNCE, detail("sendgrid", "bounce", status), mail)
        case "dropped":
            cause = _DROPPED.get(text(event, "reason").lower())
            said = detail("sendgrid", "dropped", status)
            # An address that has unsubscribed at SendGrid, for example.
            if cause is None:
                return lost(address, said, mail) if mail else Outcome.IGNORED
            return Finding(address, cause, said, mail)
        case "spamreport":
            return Finding(address, Cause.COMPLAINT, detail("sendgrid", "spamreport"), mail, arrived=True)
        case "deferred":
            return Outcome.SOFT
        case _:
            return Outcome.IGNORED


class SendGrid:
    """Reads SendGrid's reports.

    Args:
        public_key: what SendGrid shows as verification key: base64 of the DER form.
    """

    def __init__(self, public_key: str) -> None:
        self._key = ecdsa_key(public_key)

    def admit(self, headers: Mapping[str, str]) -> None:
        """Refuse what has no signature."""
        if SIGNATURE not in headers or TIMESTAMP not in headers:
            raise ReportRefused(Outcome.FORGED)

    async def read(self, headers: Mapping[str, str], body: bytes) -> Report:
        """Check the signature over the time and the body, byte for byte, and translate."""
        try:
            signed = headers[TIMESTAMP].encode() + body
            self._key.verify(b64decode(headers[SIGNATURE], validate=True), signed, ec.ECDSA(hashes.SHA256()))
            signed_at = datetime.fromtimestamp(int(headers[TIMESTAMP]), UTC)
        except (InvalidSignature, ValueError, OverflowError, OSError):
            raise ReportRefused(Outcome.FORGED) from None
        events = read_json(body)
        if not isinstance(events, list):
            raise ReportRefused(Outcome.MALFORMED)
        if len(events) > ENTRIES_MOST:
            raise ReportRefused(Outcome.TOO_LARGE)
        entries = [translate(event) if isinstance(event, dict) else Outcome.UNREADABLE for event in events]
        # Not the signature, of which there are two valid forms: s, and the order of the curve less s.
        return Report(entries, hashlib.sha256(signed).hexdigest(), signed_at)


def build(settings: RealtimeSettings) -> SendGrid | None:
    """Build it where its key is set."""
    key = settings.realtime_bounces_sendgrid_public_key
    return SendGrid(key) if key is not None else None
