"""What people are told of an alert: in the words of the operator's template, or in the built-in ones.

Promises that an alert is told whatever its template does: a text that cannot be written is said in the built-in words,
logged once for each channel, and counted.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from services.router.planning.group_news import NAMED, Member, flapping_line, news_content
from services.router.planning.texts import content_of, with_brand
from services.router.templates.folder import Templates
from services.router.templates.problems import Unrenderable
from services.router.templates.texts import Template
from shared.core.clock import from_epoch_ms, rfc3339
from shared.core.errors import ConfigError
from shared.core.model import AlertDetails, Channel, Content, Flapped, Notification, Priority
from shared.core.nearest import nearest
from shared.directory.people import Person
from shared.directory.tenants import Tenant
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# When the alerts began that templates are tried with: a Monday, 03:10 UTC.
_SAMPLE_MS = 1_796_008_200_000


class Why(StrEnum):
    """Why somebody is told of an alert; a template knows it as ``kind``."""

    OPENED = "opened"
    FLAPPING = "flapping"
    ESCALATED = "escalated"
    REOPENED = "reopened"
    REASSIGNED = "reassigned"
    NEWS = "news"


@dataclass(frozen=True, slots=True)
class Occasion:
    """What an alert is told for, and what of its group is known then.

    Attributes:
        members: those to be named, the oldest first: of news, what is new; else all that are open.
        count: how many of its group are open; 1 for an alert that is told alone.
    """

    why: Why = Why.OPENED
    members: Sequence[Member] = ()
    count: int = 1

    def of(self, why: Why) -> "Occasion":
        """Return the same group for another reason."""
        return self if why is self.why else replace(self, why=why)


OPENED = Occasion()


def built_in(content: Content, occasion: Occasion) -> Content | None:
    """Say it without a template; None where that is what the alert itself says."""
    if occasion.why is Why.NEWS:
        return news_content(content, occasion.members, occasion.count)
    if occasion.count > 1:
        return news_content(content, occasion.members, occasion.count, begins=True)
    return None


class AlertTexts:
    """Writes alerts in the words of a template.

    Args:
        template: None for the built-in words.
    """

    def __init__(self, template: Template | None) -> None:
        self._template = template
        self._logged: set[Channel] = set()

    def of(self, notification: Notification, tenant: Tenant | None, occasion: Occasion) -> "AlertWriter":
        """Return what writes one alert for each reader."""
        return AlertWriter(self, notification, tenant, occasion)

    @property
    def template(self) -> Template | None:
        """What it writes with."""
        return self._template

    def failed(self, notification: Notification, channel: Channel, error: Unrenderable) -> None:
        """Count a text that could not be written, and log the first one of a channel."""
        metrics.alert_template_failures.labels(channel).inc()
        if channel in self._logged or self._template is None:
            return
        self._logged.add(channel)
        # Without the fields: they may be a publisher's.
        problem = "; ".join(each.problem for each in error.problems)
        log.error(
            "the template of alerts cannot be used, and the built-in text is told",
            extra={
                "template": self._template.name,
                "channel": channel,
                "problem": problem,
                "notification_id": notification.id,
            },
        )


class AlertWriter:
    """Writes one alert; readers of one language and zone share their texts."""

    def __init__(
        self, texts: AlertTexts, notification: Notification, tenant: Tenant | None, occasion: Occasion
    ) -> None:
        self._texts = texts
        self._notification = notification
        self._tenant = tenant
        self._built_in = built_in(notification.content, occasion)
        self._variables = variables(notification, occasion) if texts.template is not None else {}
        self._written: dict[tuple[Channel, str | None, str | None], Content | None] = {}

    def for_person(self, channel: Channel, person: Person) -> Content | None:
        """Return what a person is told in place of the alert's own content; None if that is what is said."""
        template, tenant = self._texts.template, self._tenant
        if template is None:
            return self._built_in
        locale = person.locale or (tenant.locale if tenant else None)
        key = channel, locale, person.timezone or (tenant.timezone if tenant else None)
        if key not in self._written:
            self._written[key] = self._write(template, *key)
        return self._written[key]

    def _write(self, template: Template, channel: Channel, locale: str | None, zone: str | None) -> Content | None:
        said = self._built_in or self._notification.content
        base = said.model_copy(update={"data": self._variables})
        try:
            written = content_of(template, channel, base, locale, zone, tenant=self._tenant)
            label = template.button(with_brand(self._variables, self._tenant), locale, zone)
        except Unrenderable as error:
            self._texts.failed(self._notification, channel, error)
            return self._built_in
        return written.model_copy(update={"data": said.data, "answer_label": label})


def variables(notification: Notification, occasion: Occasion) -> Mapping[str, Any]:
    """Return what a template of alerts writes with, beside ``brand``."""
    content = built_in(notification.content, occasion) or notification.content
    own, alert, flapped = notification.content, content.alert, notification.content.flapping
    why = Why.FLAPPING if occasion.why is Why.OPENED and flapped is not None else occasion.why
    message = own.message
    if flapped is not None:
        message = message.removeprefix(f"{flapping_line(flapped)}\n\n")
    accepted_at = from_epoch_ms(notification.accepted_ms)
    since = alert.starts_at if alert is not None and alert.starts_at is not None else accepted_at
    details = {
        "type": alert.type if alert is not None else "",
        "level": alert.level if alert is not None else "",
        "severity": (alert.severity or alert.level) if alert is not None else "",
        "source": (alert.source or "") if alert is not None else "",
        "systems": list(alert.affected_systems) if alert is not None else [],
        "labels": dict(alert.labels or {}) if alert is not None else {},
        "since": rfc3339(since),
        "count": occasion.count,
        "is_new": why in (Why.OPENED, Why.FLAPPING),
        "needs_answer": alert.requires_acknowledgment if alert is not None else False,
    }
    named = occasion.members[:NAMED] if why is Why.NEWS or occasion.count > 1 else ()
    return {
        "kind": why.value,
        "alert": details,
        "message": message,
        "data": own.data,
        "members": [_member(each) for each in named],
        "more": len(occasion.members) - len(named) if named else 0,
        "flapping": _flapping(flapped),
    }


def _member(member: Member) -> Mapping[str, Any]:
    return {
        "message": member.message,
        "source": member.source or "",
        "systems": list(member.systems),
        "since": rfc3339(member.since),
        "line": member.line,
    }


def _flapping(flapped: Flapped | None) -> Mapping[str, Any]:
    if flapped is None:
        return {}
    return {
        "times": flapped.times,
        "within_minutes": round(flapped.within_s / 60),
        "hold_minutes": round(flapped.hold_s / 60),
    }


def alert_template(templates: Templates, name: str | None) -> Template | None:
    """Return the template that alerts are written with.

    Raises:
        ConfigError: there is none of this name, or it does not fit every alert.
    """
    if not name:
        return None
    template = templates.get(name)
    if template is None:
        meant = nearest(name, sorted(templates))
        hint = f"; did you mean {meant}?" if meant is not None else ""
        msg = f"ROUTER_ALERT_TEMPLATE: TEMPLATES_DIR has no template {name}{hint}"
        raise ConfigError(msg)
    try:
        for notification, occasion in _samples():
            template.check(with_brand(variables(notification, occasion)))
    except Unrenderable as error:
        msg = f"ROUTER_ALERT_TEMPLATE: template {name} does not fit every alert: {error}"
        raise ConfigError(msg) from None
    return template


def sample_variables(why: Why) -> Mapping[str, Any]:
    """Return what a template of alerts writes with, of an alert that nobody has raised."""
    alert = AlertDetails(
        type="disk", level="critical", source="disk-watch", affected_systems=("db-3",), requires_acknowledgment=True
    )
    content = Content(title=alert.title, message="The disk of db-3 is full: 99 % of 2 TB.", alert=alert)
    if why is Why.FLAPPING:
        content = content.model_copy(update={"flapping": Flapped(times=3, within_s=600, hold_s=3600)})
    occasion = Occasion(why)
    if why is Why.NEWS:
        later = from_epoch_ms(_SAMPLE_MS + 240_000)
        new = Member("m2", later, "The disk of db-4 is full: 97 % of 2 TB.", "disk-watch", ("db-4",))
        occasion = Occasion(why, (new,), 2)
    return variables(_sample(content), occasion)


def _sample(content: Content) -> Notification:
    return Notification(
        id="sample", kind="alert_critical", priority=Priority.CRITICAL, accepted_ms=_SAMPLE_MS, content=content
    )


def _samples() -> Sequence[tuple[Notification, Occasion]]:
    """Return an alert for each reason, with as little said as possible, and with everything."""
    least = Content(title="t", message="m", alert=AlertDetails(type="t", level="critical"))
    most = AlertDetails(
        type="t", level="warning", source="s", severity="v", affected_systems=("a", "b"), labels={"l": "v"},
        requires_acknowledgment=True, starts_at=from_epoch_ms(_SAMPLE_MS),
    )  # fmt: skip
    flapping = Flapped(times=2, within_s=60, hold_s=60)
    contents = (least, least.model_copy(update={"alert": most, "flapping": flapping}))
    since = from_epoch_ms(_SAMPLE_MS)
    members = [Member("i", since, "m"), Member("j", since, "m", "s", ("a",))]
    occasions = [Occasion(why, group, len(group) or 1) for why in Why for group in ((), members, members * NAMED)]
    return [
        (_sample(each), occasion)
        for each in contents
        for occasion in occasions
        if occasion.members or occasion.why is not Why.NEWS
        if occasion.why is not Why.FLAPPING or each.flapping is not None
    ]
