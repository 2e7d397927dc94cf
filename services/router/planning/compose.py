"""Turns a publish into a draft: what is to be said and to whom, one pure function for each kind of publish.

It knows no directory and no store. A draft is complete except for who the recipients are.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from services.router.payloads import notifications as p
from services.router.payloads import templated as t
from services.router.payloads.envelope import Envelope
from services.router.payloads.mails import EmailBatch, EmailSend
from services.router.payloads.push_to import PushTo
from services.router.payloads.rejection import Rejected, RejectionCode
from services.router.planning.tasks import Audience, Crowd, GroupTimes, Maintain, People
from services.router.planning.texts import content_of, refusal, template_of, with_brand
from services.router.templates.folder import Templates
from services.router.templates.problems import Unrenderable
from shared.core.clock import epoch_ms
from shared.core.durations import milliseconds
from shared.core.model import (
    Action,
    AlertDetails,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Notification,
    PhoneNumber,
    Priority,
    TemplateUse,
    TraceContext,
)
from shared.core.topics import PLAIN_PUBLISHER, Kind
from shared.directory.policies import GROUP_WAIT, EscalationPolicy, Grouping
from shared.directory.routes import device_address
from shared.directory.tenants import Tenant
from shared.store.keys import new_notification_id, shard_of_key


@dataclass(frozen=True, slots=True)
class Draft:
    """A notification before planning.

    Attributes:
        audience: whom to look up; None when the publisher gave addresses.
        direct: deliveries to the addresses that the publisher gave.
        send_at_ms: 0 for at once.
        alert_type: for an alert.
        expires_after_ms: it is over when nobody has said for so long that it is still so; 0 for never.
        group: of an alert that is told with others; then ``dedup_key`` is the group's, and ``member_key`` its own.
        maintenance: what is worked on when, where its publisher says until when.
        say_for: writes again what a template has written, with a tenant's look.
    """

    notification: Notification
    audience: Audience | None
    direct: tuple[Delivery, ...]
    send_at_ms: int
    expires_ms: int
    fingerprint: str
    idempotency_key: str
    packet: str
    dedup_key: str
    alert_type: str | None = None
    group: GroupTimes | None = None
    member_key: str = ""
    expires_after_ms: int = 0
    maintenance: Maintain | None = None
    say_for: "Callable[[Tenant], Said] | None" = None

    @property
    def is_incident(self) -> bool:
        """Tell whether somebody has to answer, or its publisher says when it is over."""
        is_critical = self.notification.priority is Priority.CRITICAL
        return self.alert_type is not None and (is_critical or bool(self.dedup_key))


_SHORTEST_INTERVAL_MS = 1000


def of_its_own(draft: Draft, publisher: str) -> Draft:
    """Let a maintenance silence its publisher's own alerts alone."""
    if draft.maintenance is None:
        return draft
    return replace(draft, maintenance=draft.maintenance.model_copy(update={"publisher": publisher}))


def grouped(draft: Draft, policy: EscalationPolicy | None) -> Draft:
    """Put an alert with others that are told with it: by its policy's labels, or because its publisher says so.

    The group's key takes the place of its own, and decides on which shard it is.
    """
    alert, grouping = draft.notification.content.alert, policy.group if policy is not None else None
    if alert is None or (draft.group is None and grouping is None):
        return draft
    notification, key = draft.notification, draft.dedup_key
    is_critical = notification.priority is Priority.CRITICAL
    # Whoever puts them together has waited for others already.
    interval, repeat, wait_ms = GROUP_WAIT, Grouping.model_fields["repeat"].default, 0
    if grouping is not None:
        interval, repeat = grouping.interval, grouping.repeat
        default = timedelta(0) if is_critical else GROUP_WAIT
        wait_ms = milliseconds(default if grouping.wait is None else grouping.wait)
    if draft.group is None and grouping is not None:
        labels = alert.all_labels
        values = [",".join(sorted(labels.get(name, ()))) for name in grouping.by]
        name = blake2b("\n".join((*grouping.by, "", *values)).encode(), digest_size=16).hexdigest()
        key = _own(notification.publisher or PLAIN_PUBLISHER, f"{alert.level}|{alert.type}|\ngroup|{name}")
        new_id = new_notification_id(shard_of_key(key))
        notification = notification.model_copy(update={"id": new_id})
    times = GroupTimes(
        wait_ms=wait_ms,
        # A shorter one would keep a router busy with one group.
        interval_ms=max(milliseconds(interval), _SHORTEST_INTERVAL_MS),
        repeat_ms=milliseconds(repeat),
        starts_ms=epoch_ms(alert.starts_at) if alert.starts_at is not None else None,
    )
    member_key = draft.member_key or draft.dedup_key or notification.id
    return replace(draft, notification=notification, group=times, dedup_key=key, member_key=member_key)


NO_TEMPLATES: Templates = {}


@dataclass(frozen=True, slots=True)
class Said:
    """What one kind of publish says, and to whom."""

    content: Content
    audience: Audience | None = None
    direct: tuple[Delivery, ...] = ()
    template: TemplateUse | None = None


@dataclass(frozen=True, slots=True)
class _Times:
    """When something is due and until when it is tried, by what its publisher said."""

    now_ms: int
    lifetime_s: int

    def due_ms(self, said: Envelope) -> int:
        due_ms = epoch_ms(said.send_at) if said.send_at else 0
        return due_ms if due_ms > self.now_ms else 0

    def deadline_ms(self, said: Envelope) -> int | None:
        at_ms = None if said.expires_at is None else epoch_ms(said.expires_at)
        if said.ttl_s is None:
            return at_ms
        after_ms = self.now_ms + round(said.ttl_s * 1000)
        return after_ms if at_ms is None else min(at_ms, after_ms)

    def expires_ms(self, said: Envelope) -> int:
        deadline_ms = self.deadline_ms(said)
        if deadline_ms is not None:
            return deadline_ms
        return max(self.now_ms, self.due_ms(said)) + self.lifetime_s * 1000


def compose(
    kind: Kind,
    publish: p.Notification,
    *,
    now_ms: int,
    lifetime_s: int,
    unstable: frozenset[str] = frozenset(),
    packet: str = "",
    templates: Templates = NO_TEMPLATES,
    trace: TraceContext | None = None,
    publisher: str = PLAIN_PUBLISHER,
    tenant: str | None = None,
) -> Draft:
    """Turn a checked publish into a draft.

    Args:
        lifetime_s: how long a notification without a deadline of its own is tried.
        unstable: fields that came from MQTT properties and may differ between two sends of the same publish.
        packet: names what the broker handed over; stands in for the key of a publish that has none.
        trace: the trace that it belongs to; no part of what a repetition must share.
        publisher: whose it is; its keys are in a space of its own.
        tenant: its publisher's, for a notification that says none.

    Raises:
        Rejected: with the code ``expired``, or ``invalid_payload`` where there is no such template or the
            data does not fit it.
    """
    times = _Times(now_ms, lifetime_s)
    send_at_ms, expires_ms = times.due_ms(publish), times.expires_ms(publish)
    if expires_ms <= now_ms:
        raise Rejected(RejectionCode.EXPIRED, "Its deadline has passed.")
    if expires_ms <= send_at_ms:
        raise Rejected(RejectionCode.EXPIRED, "Its deadline is before its send_at.")
    key = _own(publisher, publish.id or "")
    dedup_key, member_key = _own(publisher, _dedup_key(publish)), ""
    if isinstance(publish, p.Alert) and publish.group_key:
        member_key, dedup_key = dedup_key, _own(publisher, f"{_kind_of(publish)}\nkey|{publish.group_key}")
    # Idempotency key and dedup key are checked on one shard. If there are both, the dedup key decides the shard.
    owner = dedup_key or key or packet
    said = _say(publish, times, templates)
    content = said.content
    if publish.actions:
        actions = tuple(Action.model_validate(each.model_dump()) for each in publish.actions)
        content = content.model_copy(update={"actions": actions})
    notification = Notification(
        id=new_notification_id(shard_of_key(owner) if owner else None),
        kind=kind.value,
        priority=publish.priority,
        accepted_ms=now_ms,
        content=content,
        channels=publish.channels,
        events=publish.events,
        deadline_ms=times.deadline_ms(publish),
        template=said.template,
        trace=trace,
        publisher=None if publisher == PLAIN_PUBLISHER else publisher,
        tenant=publish.tenant or tenant,
    )
    is_templated = said.template is not None or isinstance(publish, EmailBatch)
    return Draft(
        notification=notification,
        audience=said.audience,
        direct=said.direct,
        send_at_ms=send_at_ms,
        expires_ms=expires_ms,
        fingerprint=_fingerprint(kind, publish, unstable) if key and not _says_how_it_is(publish) else "",
        idempotency_key=key,
        packet="" if key else packet,
        dedup_key=dedup_key,
        member_key=member_key,
        expires_after_ms=_expires_after_ms(publish),
        maintenance=_maintenance_times(publish, now_ms),
        group=GroupTimes(wait_ms=0, interval_ms=0, repeat_ms=0) if member_key or _has_group(publish) else None,
        alert_type=publish.alert_type if isinstance(publish, p.Alert) else None,
        say_for=(lambda of: _say(publish, times, templates, of)) if is_templated and notification.tenant else None,
    )


def _own(publisher: str, key: str) -> str:
    """Put a key into its publisher's own space. A key is one line, so no key of another space can be this one."""
    return key if publisher == PLAIN_PUBLISHER or not key else f"from/{publisher}\n{key}"


def _maintenance_times(publish: p.Notification, now_ms: int) -> Maintain | None:
    if not isinstance(publish, p.SystemMaintenance) or publish.ends_at is None:
        return None
    starts_ms = epoch_ms(publish.starts_at) if publish.starts_at is not None else now_ms
    return Maintain(systems=publish.services, starts_ms=starts_ms, ends_ms=epoch_ms(publish.ends_at))


def _says_how_it_is(publish: p.Notification) -> bool:
    """Tell whether a publish is one of many that say how an alert is now: what they say of it differs a little."""
    return isinstance(publish, p.Alert) and "status" in publish.model_fields_set


def _expires_after_ms(publish: p.Notification) -> int:
    if not isinstance(publish, p.Alert) or publish.expires_after is None:
        return 0
    return milliseconds(publish.expires_after)


def _has_group(publish: p.Notification) -> bool:
    return isinstance(publish, p.Alert) and publish.group_key is not None


def _kind_of(publish: p.CriticalAlert | p.WarningAlert | p.InfoAlert | p.Alert) -> str:
    level = publish.level if isinstance(publish, p.CriticalAlert | p.WarningAlert | p.InfoAlert) else ""
    return f"{level}|{publish.alert_type}|"


def _dedup_key(publish: p.Notification) -> str:
    # With the level: a critical alert must not pass for the repetition of an open warning about the same trouble.
    if not isinstance(publish, p.CriticalAlert | p.WarningAlert | p.InfoAlert):
        return ""
    if publish.dedup_key:
        return f"{publish.level}|{publish.alert_type}|{publish.dedup_key}"
    # What nobody has to answer is never over: the next one is news. And without a source nobody can tell whether it is
    # the same trouble. A key is one line, so none is this one.
    if isinstance(publish, p.CriticalAlert) and publish.source:
        return f"{publish.level}|{publish.alert_type}|\n{publish.source}"
    return ""


def _fingerprint(kind: Kind, publish: p.Notification, unstable: frozenset[str]) -> str:
    document = publish.model_dump(mode="json", exclude={"id"})
    # What an MQTT property said counts as not said; a batch has handed it down to its mails.
    for each in (document, *document.get("emails", ())):
        each.update(dict.fromkeys(unstable))
        # Fields that an earlier release did not know, where nothing is said in them: its fingerprints hold on.
        for name in ("actions", "tenant", "labels", "group_key", "starts_at", "expires_after"):
            if not each.get(name):
                each.pop(name, None)
    # Sorted, because a publisher that builds its JSON again may write the same object in another order.
    body = json.dumps(document, sort_keys=True)
    return blake2b(f"{kind}|{body}".encode(), digest_size=16).hexdigest()


def _say(publish: p.Notification, times: _Times, templates: Templates, tenant: Tenant | None = None) -> Said:
    match publish:
        case p.RealtimeUser():
            return Said(_realtime(publish), People(user_ids=(publish.user_id,)))
        case p.RealtimeGroup():
            return Said(_realtime(publish), Crowd(groups=(publish.group_id,)))
        case p.RealtimeBroadcast():
            return Said(_realtime(publish), Crowd(groups=publish.target_groups or None))
        case p.CriticalAlert() | p.WarningAlert() | p.InfoAlert():
            # Who answers for it is the directory's to say.
            return Said(_alert(publish))
        case p.SystemStatus():
            return Said(_status(publish), Crowd())
        case p.SystemMaintenance():
            return Said(_maintenance(publish), Crowd())
        case EmailSend():
            return Said(_mail(publish), direct=(_mail_delivery(publish, 0, times),))
        case EmailBatch():
            return _batch(publish, times, templates, tenant)
        case p.SmsSend():
            return _sms(publish, times)
        case p.PushMobile():
            return _push(publish, times)
        case _:
            return _say_templated(publish, times, templates, tenant)


def _realtime(publish: p.Realtime) -> Content:
    return Content(
        title=publish.title,
        message=publish.message,
        type=publish.type,
        category=publish.category,
        data=publish.data,
    )


def _alert(publish: p.CriticalAlert | p.WarningAlert | p.InfoAlert) -> Content:
    alert = AlertDetails(
        type=publish.alert_type,
        level=publish.level,
        source=publish.source,
        severity=publish.severity,
        affected_systems=publish.affected_systems,
        requires_acknowledgment=publish.level == "critical",
        labels=publish.labels or None,
        starts_at=publish.starts_at,
    )
    return Content(
        title=alert.title,
        message=publish.message,
        type="alert",
        category=publish.category,
        data=publish.data,
        alert=alert,
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


def _mail(mail: EmailSend) -> Content:
    return Content(
        title=mail.subject, message=mail.body or "", html_body=mail.html_body, type="email", category=mail.category
    )


def _mail_delivery(
    mail: EmailSend | t.TemplatedEmail, index: int, times: _Times, content: Content | None = None
) -> Delivery:
    return Delivery(
        key=f"email:{index}",
        channel=Channel.EMAIL,
        priority=mail.priority,
        address=EmailAddress(email=mail.to),
        content=content,
        due_ms=times.due_ms(mail),
        expires_ms=times.expires_ms(mail),
    )


def _batch(publish: EmailBatch, times: _Times, templates: Templates, tenant: Tenant | None) -> Said:
    # A mail of a batch has inherited what the batch says and it does not, so its own times are all there is to know.
    contents = [
        _mail(mail)
        if isinstance(mail, EmailSend)
        else _written(templates, mail, Channel.EMAIL, f"emails.{index}.", tenant=tenant)
        for index, mail in enumerate(publish.emails)
    ]
    if len(contents) == 1:
        return Said(contents[0], direct=(_mail_delivery(publish.emails[0], 0, times),))
    direct = tuple(
        _mail_delivery(mail, index, times, content)
        for index, (mail, content) in enumerate(zip(publish.emails, contents, strict=True))
    )
    data = {"emails": len(contents)}
    return Said(Content(title="", message="", type="email", category=publish.category, data=data), direct=direct)


def _sms(publish: p.SmsSend, times: _Times) -> Said:
    content = Content(title="", message=publish.message, type="sms", category=publish.category)
    return Said(content, direct=(_sms_delivery(publish, times),))


def _sms_delivery(publish: p.SmsSend | t.TemplatedSms, times: _Times) -> Delivery:
    return Delivery(
        key="sms:0",
        channel=Channel.SMS,
        priority=publish.priority,
        address=PhoneNumber(phone=publish.phone),
        due_ms=times.due_ms(publish),
        expires_ms=times.expires_ms(publish),
    )


def _push(publish: p.PushMobile, times: _Times) -> Said:
    content = Content(
        title=publish.title, message=publish.message, type="push", category=publish.category, data=publish.data
    )
    return Said(content, *_push_to(publish, times))


def _push_to(publish: PushTo, times: _Times) -> tuple[Audience | None, tuple[Delivery, ...]]:
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
    return audience, direct


def _say_templated(
    publish: t.TemplatedNotification, times: _Times, templates: Templates, tenant: Tenant | None
) -> Said:
    match publish:
        case t.TemplatedEmail():
            content = _written(templates, publish, Channel.EMAIL, tenant=tenant)
            return Said(content, direct=(_mail_delivery(publish, 0, times),))
        case t.TemplatedSms():
            return Said(
                _written(templates, publish, Channel.SMS, tenant=tenant), direct=(_sms_delivery(publish, times),)
            )
        case t.TemplatedPush():
            audience, direct = _push_to(publish, times)
            content = _written(templates, publish, Channel.PUSH, for_people=audience is not None, tenant=tenant)
        case t.TemplatedUser():
            audience, direct = People(user_ids=(publish.user_id,)), ()
            content = _written(templates, publish, Channel.REALTIME, for_people=True, tenant=tenant)
        case t.TemplatedGroup():
            audience, direct = Crowd(groups=(publish.group_id,)), ()
            content = _written(templates, publish, Channel.REALTIME, for_people=True, tenant=tenant)
        case t.TemplatedBroadcast():
            audience, direct = Crowd(groups=publish.target_groups or None), ()
            content = _written(templates, publish, Channel.REALTIME, for_people=True, tenant=tenant)
    use = TemplateUse(name=publish.template, locale=publish.locale, timezone=publish.timezone)
    return Said(content, audience, direct, use)


def _written(
    templates: Templates,
    publish: t.Templated,
    channel: Channel,
    field: str = "",
    *,
    for_people: bool = False,
    tenant: Tenant | None = None,
) -> Content:
    """Write what a channel says to readers of whom nothing is known.

    Args:
        field: the publish's place in the payload, with a dot behind it.
        for_people: it goes to people of the directory, too; then every language must fit, because any may be wanted.
    """
    template = template_of(templates, publish, field)
    # What clients are told that a direct notification is.
    said_type = "info" if channel is Channel.REALTIME else channel.value
    base = Content(title="", message="", type=said_type, category=publish.category, data=publish.data)
    if isinstance(publish, t.TemplatedRealtime):
        base = base.model_copy(update={"type": publish.type})
    try:
        if for_people:
            template.check(with_brand(publish.data, tenant))
        return content_of(template, channel, base, publish.locale, publish.timezone, tenant=tenant)
    except Unrenderable as error:
        raise refusal(error, field) from None
