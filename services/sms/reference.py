"""The name of a delivery as it stands in a callback's URL.

Letters, digits, - and _ only: a proxy that changes the quoting of a URL does not break the signature over it.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode


def write(notification_id: str, key: str) -> str:
    """Name a delivery."""
    return urlsafe_b64encode(f"{notification_id}/{key}".encode()).rstrip(b"=").decode()


def read(reference: str) -> tuple[str, str] | None:
    """Return notification id and key, None for what is no name of ours."""
    try:
        notification_id, slash, key = urlsafe_b64decode(reference + "=" * (-len(reference) % 4)).decode().partition("/")
    except (binascii.Error, ValueError):
        return None
    return (notification_id, key) if slash else None
