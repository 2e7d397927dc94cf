"""Addresses so that somebody who knows them recognises them, and nobody else learns them."""

from shared.core.model import Address, EmailAddress, Feed, MobileToken, PhoneNumber, UserInbox, WebSubscription

_SHOWN = 2


def masked(address: Address) -> str:
    """Write an address masked: ``a…@example.com``, ``+33…78``, ``ios …9f``; nothing for an inbox."""
    match address:
        case EmailAddress(email=email):
            local, _, domain = email.rpartition("@")
            return f"{local[:1]}…@{domain}"
        case PhoneNumber(phone=phone):
            return f"{phone[: _SHOWN + 1]}…{phone[-_SHOWN:]}"
        case MobileToken(platform=platform, token=token):
            return f"{platform} …{token[-_SHOWN:]}"
        case WebSubscription(endpoint=endpoint):
            return f"web {endpoint.partition('//')[2].partition('/')[0]}"
        case UserInbox() | Feed():
            return ""
