"""From what a publisher wrote to what is to be said and to whom: a pure function per kind of publish.

It knows no directory and no store. What it returns is complete except for who the recipients are.
"""

from collections.abc import Callable
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
    direct: Callable[[int, int], tuple[Delivery, ...]] = lambda _due_ms, _expires_ms: ()


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
    send_at_ms = epoch_ms(publish.send_at) if publish.send_at else 0
    if send_at_ms <= now_ms:
        send_at_ms = 0
    expires_ms = _deadline(publish, now_ms, send_at_ms, lifetime_s)
    if expires_ms <= now_ms:
        raise Rejected(RejectionCode.EXPIRED, "Its deadline has passed.")
    key = publish.id or ""
    dedup_key = (
        f"{publish.alert_type}|{publish.dedup_key}" if isinstance(publish, p.Alert) and publish.dedup_key else ""
    )
    # An alert's deduplication and its idempotency key are looked at on one shard; the first is the stronger bond.
    owner = dedup_key or key
    said = _say(publish)
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
        direct=said.direct(send_at_ms, expires_ms),
        send_at_ms=send_at_ms,
        expires_ms=expires_ms,
        fingerprint=_fingerprint(kind, publish, unstable) if key else "",
        idempotency_key=key,
        dedup_key=dedup_key,
        alert_type=publish.alert_type if isinstance(publish, p.Alert) else None,
    )


def _deadline(publish: p.Envelope, now_ms: int, send_at_ms: int, lifetime_s: int) -> int:
    asked = []
    if publish.expires_at is not None:
        asked.append(epoch_ms(publish.expires_at))
    if publish.ttl_s is not None:
        asked.append(now_ms + round(publish.ttl_s * 1000))
    return min(asked) if asked else max(now_ms, send_at_ms) + lifetime_s * 1000


def _fingerprint(kind: Kind, publish: p.Notification, unstable: frozenset[str]) -> str:
    body = publish.model_dump_json(exclude={"id", *unstable})
    return blake2b(f"{kind}|{body}".encode(), digest_size=16).hexdigest()


def _say(publish: p.Notification) -> _Said:
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
            return _emails(publish.category, (publish,))
        case p.EmailBatch():
            return _emails(publish.category, publish.emails)
        case p.SmsSend():
            return _sms(publish)
        case p.PushMobile():
            return _push(publish)


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


def _emails(category: str | None, mails: tuple[p.EmailSend, ...]) -> _Said:
    def content(mail: p.EmailSend) -> Content:
        return Content(
            title=mail.subject, message=mail.body, html_body=mail.html_body, type="email", category=mail.category
        )

    alone = len(mails) == 1

    def direct(due_ms: int, expires_ms: int) -> tuple[Delivery, ...]:
        return tuple(
            Delivery(
                key=f"email:{index}",
                channel=Channel.EMAIL,
                priority=mail.priority,
                address=EmailAddress(email=mail.to),
                content=None if alone else content(mail),
                due_ms=max(due_ms, epoch_ms(mail.send_at)) if mail.send_at and not alone else due_ms,
                expires_ms=min(expires_ms, epoch_ms(mail.expires_at)) if mail.expires_at else expires_ms,
            )
            for index, mail in enumerate(mails)
        )

    if alone:
        return _Said(content(mails[0]), direct=direct)
    summary = Content(title="", message="", type="email", category=category, data={"emails": len(mails)})
    return _Said(summary, direct=direct)


def _sms(publish: p.SmsSend) -> _Said:
    def direct(due_ms: int, expires_ms: int) -> tuple[Delivery, ...]:
        return (
            Delivery(
                key="sms:0",
                channel=Channel.SMS,
                priority=publish.priority,
                address=PhoneNumber(phone=publish.phone),
                due_ms=due_ms,
                expires_ms=expires_ms,
            ),
        )

    content = Content(title="", message=publish.message, type="sms", category=publish.category)
    return _Said(content, direct=direct)


def _push(publish: p.PushMobile) -> _Said:
    content = Content(
        title=publish.title, message=publish.message, type="push", category=publish.category, data=publish.data
    )
    audience = People(user_ids=(publish.user_id,), only_push=publish.platform) if publish.user_id else None

    def direct(due_ms: int, expires_ms: int) -> tuple[Delivery, ...]:
        return tuple(
            Delivery(
                key=f"push:{index}",
                channel=Channel.PUSH,
                priority=publish.priority,
                address=device_address(publish.platform, token),
                due_ms=due_ms,
                expires_ms=expires_ms,
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
