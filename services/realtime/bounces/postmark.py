"""Postmark's webhooks: one record a request, with a name and a password that we gave.

Postmark signs nothing. Whoever knows the password can report anything.

Sources: postmarkapp.com/developer/webhooks, pages ``webhooks-overview`` (basic authentication), ``bounce-webhook`` and
``spam-complaint-webhook``; postmarkapp.com/developer/api/bounce-api (the bounce types).
"""

import hashlib
import hmac
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from services.realtime.access.refusals import Refusal
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

# Of the bounce types, those that are about the mailbox and last. Postmark deactivates the address after them, too.
_TYPES = {
    "HardBounce": Cause.BOUNCE,
    "BadEmailAddress": Cause.BOUNCE,
    "SpamComplaint": Cause.COMPLAINT,
}
# The mail has not arrived, and Postmark does not try again.
_GIVEN_UP = frozenset({"SoftBounce", "Blocked", "DnsError", "SpamNotification", "DMARCPolicy", "ManuallyDeactivated"})


def translate(record: Mapping[str, Any]) -> Entry:
    """Translate one record."""
    if text(record, "RecordType") not in ("Bounce", "SpamComplaint"):
        return Outcome.IGNORED
    kind = text(record, "Type")
    cause, address, said = _TYPES.get(kind), text(record, "Email"), detail("postmark", kind)
    # The field that our mails have through Postmark's relays; Postmark gives each mail a Message-ID of its own.
    mail = reference(part(record, "Metadata").get("carillon"))
    if cause is None:
        return lost(address, said, mail) if kind in _GIVEN_UP else Outcome.SOFT
    return Finding(address, cause, said, mail, arrived=cause is Cause.COMPLAINT)


class Postmark:
    """Reads Postmark's reports.

    Args:
        user: as it stands in the webhook's URL.
        password: the same.
    """

    def __init__(self, user: str, password: str) -> None:
        self._credentials = f"{user}:{password}".encode()

    def admit(self, headers: Mapping[str, str]) -> None:
        """Check name and password (RFC 7617)."""
        if "Authorization" not in headers:
            # A client may wait for the challenge before it shows them.
            raise _unauthorized()
        scheme, _, shown = headers["Authorization"].partition(" ")
        try:
            credentials = b64decode(shown.strip(), validate=True)
        except ValueError:
            credentials = b""
        if scheme.lower() != "basic" or not hmac.compare_digest(credentials, self._credentials):
            raise ReportRefused(Outcome.FORGED, _unauthorized())

    async def read(self, headers: Mapping[str, str], body: bytes) -> Report:  # noqa: ARG002 - judged by ``admit``
        """Translate."""
        return Report([translate(json_object(body))], hashlib.sha256(body).hexdigest())


def build(settings: RealtimeSettings) -> Postmark | None:
    """Build it where its password is set."""
    password = settings.realtime_bounces_postmark_password
    if password is None:
        return None
    return Postmark(settings.realtime_bounces_postmark_user, password.get_secret_value())


def _unauthorized() -> Refusal:
    challenge = {"WWW-Authenticate": 'Basic realm="bounces", charset="UTF-8"'}
    return Refusal(401, "unauthorized", "The name and the password of the webhook are required.", headers=challenge)
