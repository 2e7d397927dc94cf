"""What is known of a person, as a JSON object: addresses are masked unless somebody asks for them in full.

The token of a device is masked always: whoever has it can use it.
"""

from shared.core.clock import rfc3339
from shared.core.model import Channel, EmailAddress, PhoneNumber, Platform
from shared.directory.masking import masked
from shared.directory.people import Device, Person, WebDevice
from shared.directory.preferences import Preferences
from shared.directory.routes import device_address
from shared.directory.suppression import Entry
from shared.ledger.about_person import AboutPerson
from shared.ledger.found_documents import found_document, page_document


def person_document(about: AboutPerson, *, reveal: bool = False) -> dict[str, object]:
    """Return what is known of a person.

    Args:
        reveal: with the mail address and the telephone number in full.
    """
    own = about.own
    return {
        "user_id": about.user_id,
        "known": about.entry is not None,
        "deleted_at": rfc3339(about.deleted_at) if about.deleted_at is not None else None,
        "entry": None if about.entry is None else _entry_document(about.entry, reveal=reveal),
        "own": {
            "preferences": _preferences_document(own.preferences),
            "quiet_hours": own.quiet_hours.model_dump(mode="json") if own.quiet_hours is not None else None,
            "snooze_until": rfc3339(own.snooze_until) if own.snooze_until is not None else None,
            "devices": [_device_document(device) for device in own.devices],
        },
        "suppressions": {
            channel.value: [_suppression_document(entry) for entry in entries]
            for channel, entries in about.suppressions.items()
        },
        "held": [found_document(each) for each in about.held],
        "recent": page_document(about.recent),
    }


def shown_address(channel: Channel, address: str, *, reveal: bool) -> str:
    """Write a mail address or a telephone number, masked unless asked for in full."""
    if reveal:
        return address
    return masked(EmailAddress(email=address) if channel is Channel.EMAIL else PhoneNumber(phone=address))


def shown_device(device: Device) -> str:
    """Write a device so that its owner recognises it: ``ios …9f``."""
    if isinstance(device, WebDevice):
        return masked(device_address(Platform.WEB, device.subscription))
    return masked(device_address(device.platform, device.token))


def _entry_document(entry: Person, *, reveal: bool) -> dict[str, object]:
    email, phone = entry.email, entry.phone
    return {
        "email": shown_address(Channel.EMAIL, email, reveal=reveal) if email is not None else None,
        "phone": shown_address(Channel.SMS, phone, reveal=reveal) if phone is not None else None,
        "name": entry.name,
        "locale": entry.locale,
        "timezone": entry.timezone,
        "groups": entry.groups,
        "roles": entry.roles,
        "preferences": _preferences_document(entry.preferences),
        "quiet_hours": entry.quiet_hours.model_dump(mode="json") if entry.quiet_hours is not None else None,
        "snooze_until": rfc3339(entry.snooze_until) if entry.snooze_until is not None else None,
        "devices": [_device_document(device) for device in entry.devices],
    }


def _preferences_document(preferences: Preferences) -> dict[str, object]:
    # What nobody chose is left out.
    return preferences.model_dump(mode="json", exclude_none=True)


def _device_document(device: Device) -> dict[str, object]:
    registered = device.registered_at
    return {
        "platform": device.platform.value,
        "to": shown_device(device),
        "registered_at": rfc3339(registered) if registered is not None else None,
    }


def _suppression_document(entry: Entry) -> dict[str, object]:
    return {
        "cause": entry.cause.value,
        "category": entry.category,
        "at": rfc3339(entry.at),
        "detail": entry.detail,
    }
