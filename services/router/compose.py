"""From what a publisher wrote to what is to be said and to whom: a pure function per kind of publish.

It knows no directory and no store. What it returns is complete except for who the recipients are.
"""

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from services.router.payloads import notifications as p
from services.router.payloads.rejection import Rejected, RejectionCode
from services.router.tasks import Audience, Crowd, People
from shared.clock import epoch_ms
from shared.keys import new_notification_id, shard_of_key
from shared.model import (
    AlertDetails,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    MobileToken,
    Notification,
    PhoneNumber,
    Platform,
    Priority,
    WebSubscription,
)
from shared.people import PushSubscription
from shared.topics import Kind


@dataclass(frozen=True, slots=True)
class Draft:
    """A notification before planning.

    Attributes:
        audience: whom to look up; None when the publisher gave addresses.
        direct: deliveries to the addresses that the publisher gave.
        send_at_ms: 0 for at once.
        alert_type: for an alert.
    """

    notification: Notification
    audience: Audience | None
    direct: tuple[Delivery, ...]
    send_at_ms: int
    expires_ms: int
    fingerprint: str
    idempotency_key: str
    dedup_key: str
    alert_type: str | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """What one kind of publish says, and to whom."""

    content: Content
    audience: Audience | None = None
    direct: tuple[Delivery, ...] = ()


@dataclass(frozen=True, slots=True)
class _Times:
    """When something is due and until when it is tried, by what its publisher said."""

    now_ms: int
    lifetime_s: int

    def due_ms(self, said: p.Envelope) -> int:
        due_ms = epoch_ms(said.send_at) if said.send_at else 0
        return due_ms if due_ms > self.now_ms else 0

    def expires_ms(self, said: p.Envelope) -> int:
        asked = []
        if said.expires_at is not None:
            asked.append(epoch_ms(said.expires_at))
        if said.ttl_s is not None:
            asked.append(self.now_ms + round(said.ttl_s * 1000))
        return min(asked) if asked else max(self.now_ms, self.due_ms(said)) + self.lifetime_s * 1000


def compose(
    kind: Kind, publish: p.Notification, *, now_ms: int, lifetime_s: int, unstable: frozenset[str] = frozenset()
) -> Draft:
    """Turn a checked publish into a draft.

    Args:
        lifetime_s: how long a notification without a deadline of its own is tried.
        unstable: fields that came from MQTT properties and may differ between two sends of the same publish.

    Raises:
        Rejected: with the code ``expired``.
    """
    times = _Times(now_ms, lifetime_s)
    send_at_ms, expires_ms = times.due_ms(publish), times.expires_ms(publish)
    if expires_ms <= now_ms:
        raise Rejected(RejectionCode.EXPIRED, "Its deadline has passed.")
    if expires_ms <= send_at_ms:
        raise Rejected(RejectionCode.EXPIRED, "Its deadline is before its send_at.")
    key = publish.id or ""
    dedup_key = _dedup_key(publish)
    # An alert's deduplication and its idempotency key are looked at on one shard; the first is the stronger bond.
    owner = dedup_key or key
    said = _say(publish, times)
    notification = Notification(
        id=new_notification_id(shard_of_key(owner) if owner else None),
        kind=kind.value,
        priority=publish.priority,
        accepted_ms=now_ms,
        content=said.content,
        channels=publish.channels,
        events=publish.events,
    )
    return Draft(
        notification=notification,
        audience=said.audience,
        direct=said.direct,
        send_at_ms=send_at_ms,
        expires_ms=expires_ms,
        fingerprint=_fingerprint(kind, publish, unstable) if key else "",
        idempotency_key=key,
        dedup_key=dedup_key,
        alert_type=publish.alert_type if isinstance(publish, p.Alert) else None,
    )


def _dedup_key(publish: p.Notification) -> str:
    # With the level: a critical alert must not pass for the repetition of an open warning about the same trouble.
    if isinstance(publish, p.CriticalAlert | p.WarningAlert | p.InfoAlert) and publish.dedup_key:
        return f"{publish.level}|{publish.alert_type}|{publish.dedup_key}"
    return ""


def _fingerprint(kind: Kind, publish: p.Notification, unstable: frozenset[str]) -> str:
    document = publish.model_dump(mode="json", exclude={"id"})
    # What an MQTT property said counts as not said; a batch has handed it down to its mails.
    for each in (document, *document.get("emails", ())):
        each.update(dict.fromkeys(unstable))
    # Sorted, because a publisher that builds its JSON again may write the same object in another order.
    body = json.dumps(document, sort_keys=True)
    return blake2b(f"{kind}|{body}".encode(), digest_size=16).hexdigest()


def _say(publish: p.Notification, times: _Times) -> _Said:
    match publish:
        case p.RealtimeUser():
            return _Said(_realtime(publish), People(user_ids=(publish.user_id,)))
        case p.RealtimeGroup():
            return _Said(_realtime(publish), Crowd(groups=(publish.group_id,)))
        case p.RealtimeBroadcast():
            return _Said(_realtime(publish), Crowd(groups=publish.target_groups or None))
        case p.CriticalAlert() | p.WarningAlert() | p.InfoAlert():
            # Who answers for it is the directory's to say.
            return _Said(_alert(publish))
        case p.SystemStatus():
            return _Said(_status(publish), Crowd())
        case p.SystemMaintenance():
            return _Said(_maintenance(publish), Crowd())
        case p.EmailSend():
            return _emails(publish.category, (publish,), times)
        case p.EmailBatch():
            return _emails(publish.category, publish.emails, times)
        case p.SmsSend():
            return _sms(publish, times)
        case p.PushMobile():
            return _push(publish, times)


def _realtime(publish: p.Realtime) -> Content:
    return Content(
        title=publish.title,
        message=publish.message,
        type=publish.type,
        category=publish.category,
        data=publish.data,
    )


def _alert(publish: p.CriticalAlert | p.WarningAlert | p.InfoAlert) -> Content:
    return Content(
        title=f"{publish.level.capitalize()} alert: {publish.alert_type}",
        message=publish.message,
        type="alert",
        category=publish.category,
        data=publish.data,
        alert=AlertDetails(
            type=publish.alert_type,
            level=publish.level,
            source=publish.source,
            severity=publish.severity,
            affected_systems=publish.affected_systems,
            requires_acknowledgment=publish.level == "critical",
        ),
    )


def _status(publish: p.SystemStatus) -> Content:
    services = publish.services if isinstance(publish.services, dict) else list(publish.services)
    data: dict[str, Any] = {"status": publish.status, "services": services}
    return Content(title="System status", message=publish.message, type="status", category=publish.category, data=data)


def _maintenance(publish: p.SystemMaintenance) -> Content:
    data: dict[str, Any] = {
        "starts_at": publish.starts_at.isoformat() if publish.starts_at else None,
        "ends_at": publish.ends_at.isoformat() if publish.ends_at else None,
        "services": list(publish.services),
    }
    return Content(
        title="Scheduled maintenance",
        message=publish.message,
        type="maintenance",
        category=publish.category,
        data={name: value for name, value in data.items() if value is not None},
    )


def _emails(category: str | None, mails: tuple[p.EmailSend, ...], times: _Times) -> _Said:
    def content(mail: p.EmailSend) -> Content:
        return Content(
            title=mail.subject, message=mail.body or "", html_body=mail.html_body, type="email", category=mail.category
        )

    alone = len(mails) == 1

    # A mail of a batch has inherited what the batch says and it does not, so its own times are all there is to know.
    direct = tuple(
        Delivery(
            key=f"email:{index}",
            channel=Channel.EMAIL,
            priority=mail.priority,
            address=EmailAddress(email=mail.to),
            content=None if alone else content(mail),
            due_ms=times.due_ms(mail),
            expires_ms=times.expires_ms(mail),
        )
        for index, mail in enumerate(mails)
    )

    if alone:
        return _Said(content(mails[0]), direct=direct)
    summary = Content(title="", message="", type="email", category=category, data={"emails": len(mails)})
    return _Said(summary, direct=direct)


def _sms(publish: p.SmsSend, times: _Times) -> _Said:
    delivery = Delivery(
        key="sms:0",
        channel=Channel.SMS,
        priority=publish.priority,
        address=PhoneNumber(phone=publish.phone),
        due_ms=times.due_ms(publish),
        expires_ms=times.expires_ms(publish),
    )
    content = Content(title="", message=publish.message, type="sms", category=publish.category)
    return _Said(content, direct=(delivery,))


def _push(publish: p.PushMobile, times: _Times) -> _Said:
    content = Content(
        title=publish.title, message=publish.message, type="push", category=publish.category, data=publish.data
    )
    audience = People(user_ids=(publish.user_id,), only_push=publish.platform) if publish.user_id else None

    direct = tuple(
        Delivery(
            key=f"push:{index}",
            channel=Channel.PUSH,
            priority=publish.priority,
            address=device_address(publish.platform, token),
            due_ms=times.due_ms(publish),
            expires_ms=times.expires_ms(publish),
        )
        for index, token in enumerate(publish.tokens or ())
    )
    return _Said(content, audience, direct)


def device_address(platform: Platform, token: str | PushSubscription) -> MobileToken | WebSubscription:
    """Turn a device, as a publisher or the directory writes it, into the address of a push."""
    if isinstance(token, PushSubscription):
        return WebSubscription(endpoint=str(token.endpoint), p256dh=token.keys.p256dh, auth=token.keys.auth)
    return MobileToken(platform=Platform.IOS if platform is Platform.IOS else Platform.ANDROID, token=token)


def is_urgent(priority: Priority) -> bool:
    """Tell whether mail is sent beside realtime and push."""
    return priority in (Priority.HIGH, Priority.CRITICAL)
