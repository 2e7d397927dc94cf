"""The Redis keys of the SMS service, which nobody else reads."""

from hashlib import sha256

from shared.store.keys import Keys


def number_key(keys: Keys, phone: str) -> str:
    """The base key of what is remembered of one number; the number itself does not stand in it."""
    return keys.tagged(f"sms:{sha256(phone.encode()).hexdigest()[:32]}")


def prefix_key(keys: Keys, digits: str) -> str:
    """The base key of a block of numbers, named by the digits that they have in common."""
    return keys.tagged(f"sms:p{digits}")


def inbound_key(keys: Keys, message_id: str) -> str:
    """The mark that an inbound SMS has been dealt with. Kept a day."""
    return keys.tagged(f"sms:in{message_id}")
