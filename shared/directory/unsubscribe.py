"""Tokens that let the holder unsubscribe one mailbox from one category, without a login (RFC 8058).

Promises:

- A token holds no address, only its digest.
- Nobody without the secret can make a token or change what it is about.
- A token never expires, because the link in an old mail must keep working. Only a change of the secret ends all tokens.

A token without a category means every category. The links in some old mails have such tokens.
"""

import base64
import binascii
import hmac
import re
from dataclasses import dataclass

# How a token begins and is signed: a key that was derived for one purpose opens nothing else.
_OF_ALL = b"carillon unsubscribe v1\0"
_OF_CATEGORY = b"carillon unsubscribe v2\0"
_DIGEST_BYTES = 32
# RFC 2104, 5: half of the hash at least, and 80 bits.
_MAC_BYTES = 16
_FIXED_BYTES = _DIGEST_BYTES + _MAC_BYTES

# The path at which the realtime service answers.
PATH = "/v1/unsubscribe"

# Strictly what ``token`` makes: 48 bytes, and a category of at most 64 characters of four bytes
# (shared.core.fields.Word).
_TOKEN = re.compile(r"[A-Za-z0-9_-]{64,406}")


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """What a token is about.

    Attributes:
        address_digest: see ``shared.directory.suppression.digest``.
        category: None is every category.
    """

    address_digest: str
    category: str | None = None


def token(secret: str, address_digest: str, category: str) -> str:
    """Make the token of a mailbox and a category.

    Args:
        address_digest: see ``shared.directory.suppression.digest``.
    """
    return _written(secret, bytes.fromhex(address_digest), category.encode())


def read_token(secret: str, text: str) -> Unsubscribed | None:
    """Return what a token is about, None where it is not one of ours."""
    if not _TOKEN.fullmatch(text):
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    address, about = raw[:_DIGEST_BYTES], raw[_FIXED_BYTES:]
    # Made again, so that one mailbox and category have one token, however base64 may be written.
    if not hmac.compare_digest(text, _written(secret, address, about)):
        return None
    return Unsubscribed(address.hex(), about.decode() if about else None)


def _written(secret: str, address: bytes, about: bytes) -> str:
    raw = address + _mac(secret, address, about) + about
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mac(secret: str, address: bytes, about: bytes) -> bytes:
    purpose = _OF_CATEGORY if about else _OF_ALL
    return hmac.digest(secret.encode(), purpose + address + about, "sha256")[:_MAC_BYTES]
