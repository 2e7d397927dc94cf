"""Shared by the tests of the SMS service: settings that point at a sandbox, and attempts."""

import time
from datetime import UTC, datetime
from typing import Any, cast

from sandbox import vonage
from sandbox.server import Sandbox
from services.sms.desk import Desk, SmsParts
from services.sms.providers import SmsServiceSettings
from services.sms.settings import SmsSettings
from services.sms.text import Texts
from services.sms.twilio.provider import TwilioProvider, TwilioSettings, twilio_providers
from shared.core.clock import SystemClock
from shared.core.model import (
    AlertDetails,
    Channel,
    Content,
    Delivery,
    Notification,
    PhoneNumber,
    Priority,
)
from shared.core.topics import Kind
from shared.delivery.attempt import Attempt
from shared.store.keys import new_notification_id

PHONE = "+12025550123"


def settings_for(box: Sandbox, **others: Any) -> SmsSettings:
    """The settings that point at a sandbox."""
    return SmsServiceSettings.model_validate(
        {
            "mqtt_url": "mqtt://localhost",
            "redis_url": "redis://localhost",
            "sms_twilio_account_sid": box.credentials.twilio_sid,
            "sms_twilio_auth_token": box.credentials.twilio_token,
            "sms_twilio_from": "+15005550006",
            "sms_twilio_base_url": box.addresses.http_url,
            "sms_allowed_countries": "US",
            **others,
        }
    )


def vonage_settings_for(box: Sandbox, **others: Any) -> SmsSettings:
    """The settings that point at a sandbox's Vonage, which is the only provider."""
    key, secret = vonage.account(box.credentials)
    return SmsServiceSettings.model_validate(
        {
            "mqtt_url": "mqtt://localhost",
            "redis_url": "redis://localhost",
            "sms_vonage_api_key": key,
            "sms_vonage_api_secret": secret,
            "sms_vonage_from": "Carillon",
            "sms_vonage_base_url": box.addresses.http_url,
            "sms_allowed_countries": "US",
            **others,
        }
    )


def parts_for(settings: SmsSettings) -> Desk:
    """The parts that providers need to send, without a store. Only callbacks would need the rest of a desk."""
    return cast("Desk", SmsParts(settings, SystemClock(), Texts(settings.sms_max_segments)))


def open_twilio(settings: SmsSettings) -> tuple[TwilioProvider, ...]:
    """A provider for each sender, without a store."""
    twilio = settings.of(TwilioSettings)
    assert twilio is not None
    return twilio_providers(twilio, parts_for(settings))


def attempt(
    to: str = PHONE,
    message: str = "Good morning.",
    title: str = "",
    *,
    kind: Kind = Kind.SMS_SEND,
    priority: Priority = Priority.NORMAL,
    recipient: str | None = None,
    alert: AlertDetails | None = None,
    ttl_s: float = 3600,
    in_doubt: bool = False,
    events: bool = False,
) -> Attempt:
    """An attempt at a notification of its own."""
    delivery = Delivery(
        key="sms:0" if recipient is None else f"sms:{recipient}",
        channel=Channel.SMS,
        priority=priority,
        address=PhoneNumber(phone=to),
        recipient=recipient,
        due_ms=0,
        expires_ms=round((time.time() + ttl_s) * 1000),
    )
    notification = Notification(
        id=new_notification_id(),
        kind=kind,
        priority=priority,
        accepted_ms=0,
        content=Content(title=title, message=message, alert=alert),
        events=events,
    )
    return Attempt(notification, delivery, number=1, in_doubt=in_doubt, deadline=datetime.now(UTC))


def outbox(box: Sandbox) -> list[dict[str, Any]]:
    """What arrived at the sandbox, oldest first."""
    return [entry.as_json() for entry in box.kept.select()]
