"""Writes what a mail lacks: HTML where a notification brings none, and a plain text that says as much.

In the HTML all text is escaped. Styles are inline, because mail programs drop style sheets. Nothing is loaded from
elsewhere.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape

from services.email.plain import text_of
from shared.core.model import Content, Priority

_COLOURS = {
    Priority.LOW: "#64748b",
    Priority.NORMAL: "#2563eb",
    Priority.HIGH: "#d97706",
    Priority.CRITICAL: "#dc2626",
}
_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
# What a maintenance notification says in its data.
_MAINTENANCE_DETAILS = {"starts_at": "Starts", "ends_at": "Ends", "services": "Services"}
# Links of an alert in its data, as Alertmanager's webhook writes them.
_LINKS = {"generator_url": "Graph", "external_url": "Alertmanager"}
_URL = re.compile(r"https?://[^\s\"'<>\\]+")

_REQUEST = "This alert requires an acknowledgement."
_BUTTON = "Acknowledge"


def plain(content: Content, priority: Priority, since: datetime, answer_link: str | None = None) -> str:
    """Write the message, and below it the details of an alert or a maintenance.

    Args:
        since: when the notification was accepted, aware; for an alert whose publisher does not say since when it is so.
        answer_link: where the reader acknowledges an alert.
    """
    if content.answer_label is not None:
        # A template has written it.
        text = content.message.rstrip()
        return f"{text}\n\n{content.answer_label}:\n{answer_link}\n" if _is_request(content) and answer_link else text
    if content.html_body or not (content.alert or content.type == "maintenance"):
        # If the publisher gave two versions, both stay as they are. If there is only HTML, the text is made from it.
        return content.message or (text_of(content.html_body) if content.html_body else "")
    details = _details(content, priority, since)
    parts = [content.message.rstrip(), "\n".join(f"{name}: {value}" for name, value in details)]
    if _is_request(content):
        # On a line of its own, so that mail programs find where it ends.
        parts.append(f"{_REQUEST}\n{_BUTTON}:\n{answer_link}" if answer_link else _REQUEST)
    return "\n\n".join(parts) + "\n"


def letter(content: Content, priority: Priority, since: datetime, answer_link: str | None = None) -> str:
    """Write title, message, details and button as an HTML document; arguments as for ``plain``."""
    colour = _COLOURS[priority]
    label = content.answer_label
    # What a template has written says all of it.
    details = _details(content, priority, since) if label is None else ()
    rows = "".join(
        f'<tr><td style="padding:4px 16px 4px 0;color:#64748b;vertical-align:top">{escape(name)}</td>'
        f'<td style="padding:4px 0;color:#0f172a">{_linked(value)}</td></tr>\n'
        for name, value in details
    )
    table = ""
    if rows:
        style = "margin:24px 0 0;border-collapse:collapse;font-size:14px"
        table = f'<table role="presentation" style="{style}">\n{rows}</table>\n'
    request = ""
    if _is_request(content):
        if label is None:
            request = f'<p style="margin:24px 0 0;font-size:14px;font-weight:600;color:{colour}">{_REQUEST}</p>\n'
        if answer_link:
            request += _button(answer_link, colour, label or _BUTTON)
    return (
        "<!DOCTYPE html>\n"
        f'<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(content.title)}</title></head>\n"
        f'<body style="margin:0;padding:24px;background:#f1f5f9;{_FONT}">\n'
        '<div style="max-width:600px;margin:0 auto;padding:24px 28px;background:#ffffff;border-radius:8px;'
        f'border-top:4px solid {colour}">\n'
        f'<h1 style="margin:0 0 16px;font-size:20px;line-height:1.3;color:#0f172a">{escape(content.title)}</h1>\n'
        f'<div style="font-size:16px;line-height:1.5;color:#1e293b">{_lines(content.message)}</div>\n'
        f"{table}"
        f"{request}</div>\n</body></html>\n"
    )


def with_button(content: Content, priority: Priority, answer_link: str | None = None) -> str:
    """Put the button to acknowledge an alert at the end of the HTML that a template has written; arguments as above."""
    html = content.html_body or ""
    if answer_link is None or content.answer_label is None or not _is_request(content):
        return html
    button = (
        f'<div style="max-width:600px;margin:0 auto;padding:0 24px 24px;{_FONT}">\n'
        f"{_button(answer_link, _COLOURS[priority], content.answer_label)}</div>\n"
    )
    before, end, after = html.rpartition("</body>")
    return f"{before}{button}{end}{after}" if end else html + button


def _button(link: str, colour: str, label: str) -> str:
    # The whole area is the link, and large enough for a thumb.
    return (
        f'<p style="margin:16px 0 0"><a href="{escape(link)}" style="display:block;padding:18px 24px;border-radius:8px;'
        f"background:{colour};color:#ffffff;font-size:18px;font-weight:600;text-align:center;text-decoration:none"
        f'">{escape(label)}</a></p>\n'
    )


def _is_request(content: Content) -> bool:
    return content.alert is not None and content.alert.requires_acknowledgment


def _linked(value: str) -> str:
    text = escape(value)
    return f'<a href="{text}" style="color:#2563eb">{text}</a>' if _URL.fullmatch(value) else text


def _lines(text: str) -> str:
    return "<br>\n".join(escape(line) for line in text.splitlines())


def _details(content: Content, priority: Priority, since: datetime) -> Iterator[tuple[str, str]]:
    # Of an alert first where and since when: that is asked in the night.
    if alert := content.alert:
        if alert.affected_systems:
            yield "Affected systems", ", ".join(alert.affected_systems)
        if alert.source:
            yield "Source", alert.source
        # In UTC, because people in several time zones talk about one alert.
        yield "Since", f"{(alert.starts_at or since).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        yield "Alert", alert.type
        if alert.severity:
            yield "Severity", alert.severity
        if alert.labels:
            yield "Labels", ", ".join(f"{name}={value}" for name, value in alert.labels.items())
        yield from _from_monitoring(content)
    yield "Priority", priority.value.capitalize()
    if content.category:
        yield "Category", content.category
    if content.type == "maintenance":
        for key, name in _MAINTENANCE_DETAILS.items():
            if value := content.data.get(key):
                yield name, _words(value)


def _from_monitoring(content: Content) -> Iterator[tuple[str, str]]:
    """Return what a monitoring system says beside the message: annotations that are no part of it, and links."""
    annotations = content.data.get("annotations")
    if isinstance(annotations, dict):
        for name, value in annotations.items():
            if isinstance(value, str) and value.strip() and value.strip() not in content.message:
                yield name, value
    for key, name in _LINKS.items():
        value = content.data.get(key)
        if isinstance(value, str) and _URL.fullmatch(value):
            yield name, value


def _words(value: object) -> str:
    """Write a value of JSON for people."""
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)
