"""The texts of notifications that name a template: the content of each channel for each reader.

A template is looked up twice. At acceptance it must exist and fit the data, or the publish is refused. When people are
planned, that may be later (scheduled notifications, pages of a fan-out), and the template may have changed. If it does
not fit any more, the texts that were written at acceptance are sent, so that nobody is left without the notification.
"""

import logging
from collections.abc import Mapping
from typing import Any

from services.router.payloads.rejection import FieldProblem, Rejected, invalid_payload
from services.router.payloads.templated import Templated
from services.router.templates.folder import Templates
from services.router.templates.problems import Unrenderable
from services.router.templates.texts import Template
from shared.core.model import Channel, Content, Notification
from shared.core.nearest import nearest
from shared.directory.people import Person
from shared.directory.tenants import Brand, Tenant

log = logging.getLogger(__name__)

# A refusal names no more.
TEMPLATES_SHOWN = 20

# Where a client reads the data beside the text.
_WITH_DATA = frozenset({Channel.REALTIME, Channel.PUSH})


def template_of(templates: Templates, publish: Templated, field: str = "") -> Template:
    """Return the template that a publish names.

    Args:
        field: the publish's place in the payload, with a dot behind it.

    Raises:
        Rejected: there is none of this name.
    """
    template = templates.get(publish.template)
    if template is None:
        raise _unknown_template(templates, publish.template, field)
    return template


def _unknown_template(templates: Templates, name: str, field: str) -> Rejected:
    known = sorted(templates)
    rejected = invalid_payload((FieldProblem(f"{field}template", "unknown", nearest(name, known)),))
    shown = ", ".join(known[:TEMPLATES_SHOWN]) + (", …" if len(known) > TEMPLATES_SHOWN else "")
    message = (
        f"{rejected.message} Known templates: {shown}." if known else f"{rejected.message} There are no templates."
    )
    return Rejected(rejected.code, message, rejected.fields)


def content_of(
    template: Template,
    channel: Channel,
    base: Content,
    locale: str | None = None,
    zone: str | None = None,
    *,
    tenant: Tenant | None = None,
) -> Content:
    """Write what a channel says to one reader.

    Args:
        base: everything but the texts; its ``data`` are the template's variables, beside ``brand``.
        tenant: whose brand it has.

    Raises:
        Unrenderable: the data does not fit.
    """
    texts = template.texts(channel, with_brand(base.data, tenant), locale, zone)
    update: Mapping[str, Any] = {"title": texts.title, "message": texts.message, "html_body": texts.html_body}
    return base.model_copy(update={**update, "data": base.data if channel in _WITH_DATA else {}})


def with_brand(data: Mapping[str, Any], tenant: Tenant | None = None) -> Mapping[str, Any]:
    """Add the look of a tenant to a template's variables; empty texts where there is none."""
    brand = tenant.brand if tenant is not None else None
    said = {name: getattr(brand, name, None) or "" for name in Brand.model_fields}
    if tenant is not None and not said["name"]:
        said["name"] = tenant.title or ""
    return {"brand": said, **data}


def refusal(error: Unrenderable, field: str = "") -> Rejected:
    """Turn data that does not fit into the publish's rejection."""
    return invalid_payload(tuple(FieldProblem(f"{field}{each.field}", each.problem) for each in error.problems))


class Writer:
    """Writes the texts of one notification; readers of one language and zone share theirs."""

    def __init__(self, notification: Notification, templates: Templates, tenant: Tenant | None = None) -> None:
        self._tenant = tenant
        self._base = notification.content
        self._use = notification.template
        self._template = templates.get(self._use.name) if self._use else None
        self._written: dict[tuple[Channel, str | None, str | None], Content | None] = {}
        if self._use and self._template is None:
            log.error("template is gone", extra={"notification_id": notification.id, "template": self._use.name})

    def for_person(self, channel: Channel, person: Person) -> Content | None:
        """Return what a person is told in place of the notification's own content; None if that is what is said.

        Without the data, which a delivery takes from its notification (``shared.delivery.attempt.Attempt.content``).
        """
        if self._template is None or self._use is None:
            return None
        tenant = self._tenant
        locale = person.locale or self._use.locale or (tenant.locale if tenant else None)
        key = channel, locale, person.timezone or self._use.timezone or (tenant.timezone if tenant else None)
        if key not in self._written:
            self._written[key] = self._write(self._template, *key)
        return self._written[key]

    def _write(self, template: Template, channel: Channel, locale: str | None, zone: str | None) -> Content | None:
        try:
            written = content_of(template, channel, self._base, locale, zone, tenant=self._tenant)
        except Unrenderable:
            # Without its text: that names the publisher's fields.
            log.error("template does not fit any more", extra={"template": template.name, "channel": channel})  # noqa: TRY400
            return None
        return None if written == self._base else written.model_copy(update={"data": {}})
