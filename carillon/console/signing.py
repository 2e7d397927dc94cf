"""Texts that only this console can have written: cookies and the tokens of forms.

Promises that what is signed for one purpose is not taken for another. Several secrets may be in use: the first signs,
and what any of them has signed is taken, so that a secret can be changed while people are signed in.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

# Longer than anything that is signed here; what is longer is not looked at.
_LONGEST_CHARS = 4096


class Signing:
    """Signs and checks.

    Args:
        secrets: at least one, the newest first.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [each.encode() for each in secrets]

    def sign(self, purpose: str, document: dict[str, Any]) -> str:
        """Return a document as a text that fits into a cookie."""
        body = _text(json.dumps(document, separators=(",", ":")).encode())
        return f"{body}.{_text(self._mac(self._secrets[0], purpose, body))}"

    def read(self, purpose: str, signed: str) -> dict[str, Any] | None:
        """Return what was signed for this purpose; None for anything else."""
        if len(signed) > _LONGEST_CHARS or not signed.isascii():
            return None
        body, _, mac = signed.partition(".")
        if not self.goes_with(mac, purpose, body):
            return None
        read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return read

    def token(self, purpose: str, text: str) -> str:
        """Return a token that goes with a text."""
        return self._token_of(self._secrets[0], purpose, text).decode()

    def goes_with(self, token: str, purpose: str, text: str) -> bool:
        """Tell whether a token is the one of that text."""
        presented = token.encode(errors="replace")
        return any(hmac.compare_digest(self._token_of(each, purpose, text), presented) for each in self._secrets)

    def _token_of(self, secret: bytes, purpose: str, text: str) -> bytes:
        return _text(self._mac(secret, purpose, text)).encode()

    @staticmethod
    def _mac(secret: bytes, purpose: str, text: str) -> bytes:
        key = hmac.digest(secret, purpose.encode(), hashlib.sha256)
        return hmac.digest(key, text.encode(), hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
