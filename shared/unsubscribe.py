"""Tokens that let whoever holds one unsubscribe one mailbox, without a login (RFC 8058).

Promises that a token holds no address, only its digest, that nobody without the secret can make one, and that one of
today is good for ever: an old mail's link must keep working. Changing the secret ends them all.
"""

import base64
import binascii
import hmac
import re

# How a token begins and is signed: a key that was derived for one purpose opens nothing else.
_PURPOSE = b"carillon unsubscribe v1\0"
_DIGEST_BYTES = 32
# RFC 2104, 5: half of the hash at least, and 80 bits.
_MAC_BYTES = 16

# The path at which the realtime service answers.
PATH = "/v1/unsubscribe"

# Strictly what ``token`` makes, so that one mailbox has one token.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{64}")


def token(secret: str, address_digest: str) -> str:
    """Make the token of a mailbox.

    Args:
        address_digest: see ``shared.suppression.digest``.
    """
    raw = bytes.fromhex(address_digest)
    return base64.urlsafe_b64encode(raw + _mac(secret, raw)).decode()


def digest_of(secret: str, text: str) -> str | None:
    """Return the digest that a token stands for, None where it is not one of ours."""
    if not _TOKEN.fullmatch(text):
        return None
    try:
        raw = base64.urlsafe_b64decode(text)
    except binascii.Error:
        return None
    address, mac = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    return address.hex() if hmac.compare_digest(mac, _mac(secret, address)) else None


def _mac(secret: str, raw: bytes) -> bytes:
    return hmac.digest(secret.encode(), _PURPOSE + raw, "sha256")[:_MAC_BYTES]
