"""Reading a mail that was kept: subject, text, HTML and headers.

Promises to show every mail, however broken. Parses with the old compat32 policy. The modern one takes about twelve
times as long for the same answer (2.7 ms against 0.23 ms for a mail of 1.2 KB), and it repairs faults that a reader of
the page should see.
"""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser

NOTIFICATION_HEADER = "X-Carillon-Notification"
_NOTIFICATION_LINE = re.compile(
    rb"^" + NOTIFICATION_HEADER.encode() + rb":[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)
_FOLD = re.compile(r"\r?\n(?=[ \t])")


def notification_id(raw: bytes) -> str | None:
    """The sender's notification id, found without parsing the mail."""
    end = raw.find(b"\r\n\r\n")
    found = _NOTIFICATION_LINE.search(raw, 0, end if end >= 0 else len(raw))
    return found[1].strip().decode("utf-8", "replace") if found else None


def read(raw: bytes) -> dict[str, object]:
    """Title, body, html_body, headers and attachments of a mail as it came over the wire."""
    mail = BytesParser().parsebytes(raw)
    bodies: dict[str, str] = {}
    attachments: list[dict[str, object]] = []
    for part in mail.walk():
        if part.is_multipart():
            continue
        kind = part.get_content_type()
        if part.get_content_disposition() != "attachment" and kind in {"text/plain", "text/html"}:
            bodies.setdefault(kind, _text(part))
        else:
            attachments.append({"type": kind, "name": part.get_filename(), "size_bytes": len(_content(part))})
    content: dict[str, object] = {
        "title": _decoded(str(mail.get("Subject", ""))),
        "body": bodies.get("text/plain", ""),
        "html_body": bodies.get("text/html"),
        "headers": [[name, _decoded(str(value))] for name, value in mail.items()],
    }
    return content | {"attachments": attachments} if attachments else content


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    try:
        text = _content(part).decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        text = _content(part).decode("utf-8", "replace")
    return text.replace("\r\n", "\n")


def _decoded(value: str) -> str:
    value = _FOLD.sub("", value)
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return value
