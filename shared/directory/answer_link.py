"""Tokens that let the holder acknowledge one alert in the name of one person, without a login.

Promises:

- Nobody without the secret can make a token or change what it is about.
- A token says one alert, one person, by which way it was sent, and until when it counts.
- Text that is no token costs a look at its letters, and a forged one costs one HMAC. Neither asks the store.

A token does not say that the person was told of the alert; ``shared.ledger.answering`` does.
"""

import base64
import binascii
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from shared.core.clock import from_epoch_ms
from shared.core.fields import IDENTIFIER_CHARS
from shared.core.incidents import Way

# A key that was derived for one purpose opens nothing else.
_PURPOSE = b"carillon answer v1\0"
# RFC 2104, 5: half of the hash at least, and 80 bits.
_MAC_BYTES = 16
_WAY_BYTES = 1
# Seconds since 1970; four bytes would end in 2106.
_EXPIRY_BYTES = 5
_ID_BYTES = 16
_FIXED_BYTES = _MAC_BYTES + _WAY_BYTES + _EXPIRY_BYTES + _ID_BYTES
_UTF8_BYTES = 4

# The path at which the realtime service answers.
PATH = "/v1/answer"

# As long as the ledger keeps an ended alert by default (RECORD_RETENTION_S). Each message about an open alert has a
# link of its own, so a long one does not outlive its links.
LIFETIME = timedelta(days=7)


def _characters(raw_bytes: int) -> int:
    return (raw_bytes * 4 + 2) // 3


# Strictly what ``token`` makes, with one byte of a user id at least.
_TOKEN = re.compile(
    f"[A-Za-z0-9_-]{{{_characters(_FIXED_BYTES + 1)},{_characters(_FIXED_BYTES + _UTF8_BYTES * IDENTIFIER_CHARS)}}}"
)


# What a link was sent in.
_NUMBERS = {Way.MAIL_LINK: 1, Way.PUSH: 2}
_WAYS = {number: way for way, number in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class AnswerLink:
    """What a token is about.

    Attributes:
        alert_id: the alert's notification id.
        user_id: in whose name it acknowledges.
        expires_at: in whole seconds; from then on it is refused.
    """

    alert_id: str
    user_id: str
    way: Way
    expires_at: datetime


def token(secret: str, link: AnswerLink) -> str:
    """Write a token."""
    expiry = int(link.expires_at.timestamp()).to_bytes(_EXPIRY_BYTES)
    about = bytes([_NUMBERS[link.way]]) + expiry + UUID(link.alert_id).bytes + link.user_id.encode()
    return _written(secret, about)


def read_token(secret: str, text: str, now: datetime) -> AnswerLink | None:
    """Return what a token is about; None where it is not one of ours, or is too old."""
    if not _TOKEN.fullmatch(text):
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    about = raw[_MAC_BYTES:]
    # Made again, so that a link has one token, however base64 may be written.
    if not hmac.compare_digest(text, _written(secret, about)):
        return None
    way, expiry, alert_id, user_id = _parts(about)
    link = AnswerLink(alert_id, user_id, way, expiry) if way is not None else None
    return link if link is not None and now < link.expires_at else None


def _parts(about: bytes) -> tuple[Way | None, datetime, str, str]:
    """Take apart what was signed. A way of a later release is None."""
    expiry_at, id_at = _WAY_BYTES, _WAY_BYTES + _EXPIRY_BYTES
    user_at = id_at + _ID_BYTES
    expires_at = from_epoch_ms(int.from_bytes(about[expiry_at:id_at]) * 1000)
    return _WAYS.get(about[0]), expires_at, str(UUID(bytes=about[id_at:user_at])), about[user_at:].decode()


def _written(secret: str, about: bytes) -> str:
    mac = hmac.digest(secret.encode(), _PURPOSE + about, "sha256")[:_MAC_BYTES]
    return base64.urlsafe_b64encode(mac + about).decode().rstrip("=")
