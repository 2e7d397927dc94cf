"""Mailgun's webhooks: one event a request, with an HMAC over a time and a random token.

The HMAC does not cover the event. Whoever reads one request could send its time and token again with another event. So
a token counts once, for the event that it came with.

Sources: documentation.mailgun.com/docs/mailgun/user-manual, pages ``webhooks/securing-webhooks`` (the signature),
``webhooks/webhook-retries`` and ``events/events`` (the events).
"""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.realtime.bounces.report import (
    Entry,
    Finding,
    Outcome,
    Report,
    ReportRefused,
    detail,
    json_object,
    lost,
    part,
    reference,
    text,
)
from services.realtime.settings import RealtimeSettings
from shared.directory.suppression import Cause

# The token has 50 characters, and the signature is the hex form of SHA-256.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
_TIME = re.compile(r"\d{1,12}", re.ASCII)

# Why a mail failed for good: "bounce" is the word of the receiving server, the others mean that the address is on
# Mailgun's own lists. Others ("generic", "old", "espblock") are about the sender, or nobody could be reached.
_REASONS = {
    "bounce": Cause.BOUNCE,
    "suppress-bounce": Cause.BOUNCE,
    "suppress-complaint": Cause.COMPLAINT,
}


def translate(event: Mapping[str, Any]) -> Entry:
    """Translate one event."""
    address, reason = text(event, "recipient"), text(event, "reason")
    mail = reference(part(part(event, "message"), "headers").get("message-id"))
    match text(event, "event"):
        case "failed":
            status = part(event, "delivery-status")
            cause = _REASONS.get(reason)
            code = status.get("enhanced-code") or status.get("code")
            if text(event, "severity") != "permanent":
                # Mailgun tries again.
                return Outcome.SOFT
            if cause is None or text(status, "bounce-type") == "soft":
                return lost(address, detail("mailgun", reason, code), mail)
            return Finding(address, cause, detail("mailgun", reason, code), mail)
        case "complained":
            return Finding(address, Cause.COMPLAINT, detail("mailgun", "complained"), mail, arrived=True)
        case _:
            return Outcome.IGNORED


class Mailgun:
    """Reads Mailgun's reports.

    Args:
        signing_key: the HTTP webhook signing key of the account.
    """

    def __init__(self, signing_key: str) -> None:
        self._key = signing_key.encode()

    def admit(self, headers: Mapping[str, str]) -> None:
        """Let everything pass: the signature stands in the body."""

    async def read(self, headers: Mapping[str, str], body: bytes) -> Report:  # noqa: ARG002 - nothing stands there
        """Check the signature over time and token, and translate."""
        document = json_object(body)
        signature = part(document, "signature")
        token, time = text(signature, "token"), str(signature.get("timestamp", ""))
        if not _TOKEN.fullmatch(token) or not _TIME.fullmatch(time):
            raise ReportRefused(Outcome.FORGED)
        own = hmac.digest(self._key, (time + token).encode(), "sha256").hex()
        # For a subaccount's domain, the second one is by the key of the account above it.
        given = (text(signature, "signature"), text(signature, "parent-signature"))
        if not any(hmac.compare_digest(own.encode(), each.lower().encode()) for each in given):
            raise ReportRefused(Outcome.FORGED)
        try:
            signed_at = datetime.fromtimestamp(int(time), UTC)
        except (ValueError, OverflowError, OSError):
            raise ReportRefused(Outcome.FORGED) from None
        event = part(document, "event-data")
        if not event:
            raise ReportRefused(Outcome.MALFORMED)
        return Report([translate(event)], token, signed_at)


def build(settings: RealtimeSettings) -> Mailgun | None:
    """Build it where its key is set."""
    key = settings.realtime_bounces_mailgun_signing_key
    return Mailgun(key.get_secret_value()) if key is not None else None
