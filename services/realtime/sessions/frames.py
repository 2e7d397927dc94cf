"""What a client is sent: the server frames of the wire contract's section 5.

Besides those of the contract there are ``pong``, which answers ``ping``, and ``error`` with ``code`` and ``message``,
which answers a client frame that could not be done. Clients ignore types that they do not know.
"""

import json
import struct
from dataclasses import dataclass

from shared.inbox.cursor import Cursor
from shared.inbox.timeline import Item

# A whole text message in one frame, unmasked as a server's are, with its length in 16 or 64 bits (RFC 6455, 5.2).
_TEXT = 0x81
_HEADER_16 = struct.Struct(">BBH")
_HEADER_64 = struct.Struct(">BBQ")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; in SSE its type is the event name and its cursor the event id."""

    type: str
    data: bytes
    cursor: str | None = None

    @property
    def size_bytes(self) -> int:
        """Length of the JSON text."""
        return len(self.data)

    @property
    def message(self) -> bytes:
        """Write the frame as a WebSocket message."""
        size = len(self.data)
        if size < 126:
            return bytes((_TEXT, size)) + self.data
        header = _HEADER_16.pack(_TEXT, 126, size) if size < 1 << 16 else _HEADER_64.pack(_TEXT, 127, size)
        return header + self.data

    @property
    def event(self) -> bytes:
        """Write the frame as a server-sent event; the JSON has no line breaks."""
        lines = b"event: %b\ndata: %b\n\n" % (self.type.encode(), self.data)
        return b"id: %b\n%b" % (self.cursor.encode(), lines) if self.cursor is not None else lines


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


GAP = Frame("gap", _json({"type": "gap"}))
PONG = Frame("pong", _json({"type": "pong"}))


def hello(session_id: str, cursor: Cursor, unread: int) -> Frame:
    """Greet a session; the cursor stands before everything that follows."""
    text = cursor.encode()
    return Frame("hello", _json({"type": "hello", "session_id": session_id, "cursor": text, "unread": unread}), text)


def notification(body: bytes, cursor: Cursor) -> Frame:
    """Show a notification, given as its JSON with ``read``."""
    text = cursor.encode()
    data = b'{"type":"notification","cursor":"%b","notification":%b}' % (text.encode(), body)
    return Frame("notification", data, text)


def shown(item: Item) -> Frame:
    """Show an entry of a user's line."""
    return notification(item.notification.encode(), item.cursor)


def unread(count: int) -> Frame:
    """Tell the number of unread entries."""
    return Frame("unread", b'{"type":"unread","unread":%d}' % count)


def recalled(entry_id: str) -> Frame:
    """Tell that a notification was taken back: it is in no list any more."""
    return Frame("recalled", _json({"type": "recalled", "id": entry_id}))


def status(text: str) -> Frame:
    """Tell the system status, given as its frame's JSON."""
    return Frame("status", text.encode())


def status_text(message: str, details: dict[str, object], timestamp_s: float) -> str:
    """Write a status frame's JSON; ``details`` may hold ``status`` and ``services``."""
    frame = {
        "type": "status",
        "message": message,
        "status": details.get("status"),
        "services": details.get("services"),
        "timestamp": timestamp_s,
    }
    return _json(frame).decode()


def error(code: str, message: str) -> Frame:
    """Answer a client frame that could not be done."""
    return Frame("error", _json({"type": "error", "code": code, "message": message}))
