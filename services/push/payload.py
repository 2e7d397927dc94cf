"""What a device is shown: pure functions from an attempt to each provider's message.

Promises that a message fits its provider's limit. If it is too large, first the end of the text is left out (it then
ends in "…"), then the custom data, and the message has ``"truncated": true``. If it is still too large, it is refused.
An app that sees ``truncated`` finds the whole notification in the inbox under ``carillon_id``.

An alert's text ends with where it comes from and since when, which are never left out. If somebody has to acknowledge
it, the message has the link that does so as ``answer_url``: a POST to it acknowledges, a GET shows a page. Where a
template has written the text, nothing is added to it, and ``answer_label`` is what the button says.

A push that takes another one back has the same identifiers, so that it replaces it, and ``"recalled": true``. It says
that, and nothing of what was said. An app or a service worker that knows the field removes the notification.
"""

import base64
import functools
import hashlib
import json
import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.core.clock import from_epoch_ms
from shared.core.errors import PermanentFailure, Reason
from shared.core.incidents import Way
from shared.core.model import Priority
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt

# developer.apple.com, "Generating a remote notification": 4 KB (4,096 bytes) for regular remote notifications.
APNS_LIMIT_BYTES = 4096
# firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode, INVALID_ARGUMENT, "Message too big".
FCM_LIMIT_BYTES = 4096
# RFC 8291, 4: a push service need not take more than 4,096 bytes, which leaves 3,993 of plaintext.
WEBPUSH_LIMIT_BYTES = 3993
# RFC 8030, 5.4: a topic has at most 32 characters of base64url; that is the tightest of the three identifiers.
COLLAPSE_ID_LENGTH = 32
# At most four weeks for FCM (firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#AndroidConfig, ttl). The
# others keep a push no longer.
TTL_MAX_S = 4 * 7 * 86400
# Custom data stays only if at least this much of the text fits beside it.
_LEAST_TEXT_CHARS = 120
_ELLIPSIS = "…"
# Unicode 15, 23.2: the joiner and the variation selector make one character with what is before them.
_ZERO_WIDTH_JOINER = "\u200d"
_JOINERS = frozenset({_ZERO_WIDTH_JOINER, "\ufe0f"})

# Of the names of the source and of the systems, each: what a lock screen shows of them.
_WHERE_CHARS = 120
# What an app registers its button for (developer.apple.com, "Declaring your actionable notification types").
APNS_ALERT_CATEGORY = "CARILLON_ALERT"

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApnsPush:
    """A notification for APNs: its payload and what goes into the headers."""

    message: Message
    ttl_s: int
    priority: int
    collapse_id: str


@dataclass(frozen=True, slots=True)
class WebPush:
    """A notification for a browser's push service: the plaintext and what goes into the headers."""

    body: bytes
    ttl_s: int
    urgency: str
    topic: str


# developer.apple.com, "Sending notification requests to APNs": 10 is at once, 5 minds the device's power.
_APNS_PRIORITY = {Priority.LOW: 5, Priority.NORMAL: 5, Priority.HIGH: 10, Priority.CRITICAL: 10}
# developer.apple.com, "Generating a remote notification"; the level "critical" needs Apple's permission for the app.
_APNS_INTERRUPTION = {
    Priority.LOW: "passive",
    Priority.NORMAL: "active",
    Priority.HIGH: "active",
    Priority.CRITICAL: "time-sensitive",
}
# firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#AndroidMessagePriority.
_FCM_PRIORITY = {Priority.LOW: "NORMAL", Priority.NORMAL: "NORMAL", Priority.HIGH: "HIGH", Priority.CRITICAL: "HIGH"}
# RFC 8030, 5.3.
_WEB_URGENCY = {Priority.LOW: "low", Priority.NORMAL: "normal", Priority.HIGH: "high", Priority.CRITICAL: "high"}


def apns(attempt: Attempt, now: datetime, links: AnswerLinks | None = None) -> ApnsPush:
    """Write the notification for an iOS device.

    Args:
        links: makes the links to acknowledge an alert; None for no such link. Here and below.

    Raises:
        PermanentFailure: it does not fit, whatever is left out.
    """
    content, priority = attempt.content, attempt.delivery.priority
    if attempt.delivery.recalls:
        # A background push alone would replace nothing where the app is not running. "content-available" has the app
        # woken beside it (developer.apple.com, "Generating a remote notification").
        aps = {"alert": {"title": content.title}, "interruption-level": "passive", "content-available": 1}
        recall: Message = {"aps": aps, **_recalled(attempt)}
        return ApnsPush(recall, ttl_s(attempt, now), _APNS_PRIORITY[priority], collapse_id(attempt))

    def render(text: str, custom: Message) -> Message:
        aps: Message = {
            "alert": {"title": content.title, "body": text},
            "interruption-level": _APNS_INTERRUPTION[priority],
        }
        if priority is not Priority.LOW:
            aps["sound"] = "default"
        if content.category:
            aps["thread-id"] = content.category
        if answer_url:
            aps["category"] = APNS_ALERT_CATEGORY
        return {"aps": aps, **custom}

    answer_url = _answer_url(attempt, now, links)
    message = _fit(attempt, render, _as_aioapns, APNS_LIMIT_BYTES, answer_url)
    return ApnsPush(message, ttl_s(attempt, now), _APNS_PRIORITY[priority], collapse_id(attempt))


def fcm(attempt: Attempt, token: str, now: datetime, links: AnswerLinks | None = None) -> Message:
    """Write the notification for an Android device: the whole body of a ``messages:send`` request.

    Raises:
        PermanentFailure: it does not fit, whatever is left out.
    """
    content = attempt.content
    android: Message = {
        "priority": _FCM_PRIORITY[attempt.delivery.priority],
        "ttl": f"{ttl_s(attempt, now)}s",
        # FCM ignores a collapse key beside a notification (firebase.google.com/docs/cloud-messaging, "Non-collapsible
        # and collapsible messages"); the tag makes a repeated one replace the first on the screen (its reference,
        # projects.messages, AndroidNotification).
        "notification": {"tag": collapse_id(attempt)},
    }
    if attempt.delivery.recalls:
        # With a text, because the system shows it in the place of the first one where no app is running.
        data = {name: _as_text(value) for name, value in _recalled(attempt).items()}
        return {
            "message": {
                "token": token, "notification": {"title": content.title}, "data": data, "android": android,
            }
        }  # fmt: skip

    def render(text: str, custom: Message) -> Message:
        # Values are strings only, see firebase.google.com/docs/reference/fcm/rest/v1/projects.messages, data.
        data = {name: _as_text(value) for name, value in custom.items()}
        return {"notification": {"title": content.title, "body": text}, "data": data, "android": android}

    message = _fit(attempt, render, compact, FCM_LIMIT_BYTES, _answer_url(attempt, now, links))
    return {"message": {"token": token, **message}}


def web(attempt: Attempt, now: datetime, links: AnswerLinks | None = None) -> WebPush:
    """Write the notification for a browser; its service worker reads JSON.

    Raises:
        PermanentFailure: it does not fit, whatever is left out.
    """
    content = attempt.content

    def render(text: str, custom: Message) -> Message:
        return {"title": content.title, "body": text, "tag": collapse_id(attempt), **custom}

    if attempt.delivery.recalls:
        message = {"title": content.title, "tag": collapse_id(attempt), **_recalled(attempt)}
    else:
        message = _fit(attempt, render, compact, WEBPUSH_LIMIT_BYTES, _answer_url(attempt, now, links))
    urgency = _WEB_URGENCY[attempt.delivery.priority]
    return WebPush(compact(message), ttl_s(attempt, now), urgency, collapse_id(attempt))


def collapse_id(attempt: Attempt) -> str:
    """Return what makes a repeated push replace the first one: the same for every attempt of a notification."""
    digest = hashlib.sha256(attempt.notification.public_id.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()[:COLLAPSE_ID_LENGTH]


def ttl_s(attempt: Attempt, now: datetime) -> int:
    """Return for how many seconds the push service may keep trying: until the delivery expires, at most four weeks."""
    left_s = (from_epoch_ms(attempt.delivery.expires_ms) - now).total_seconds()
    return min(max(math.ceil(left_s), 0), TTL_MAX_S)


def where_and_since(attempt: Attempt) -> str:
    """Return the lines that end an alert's text; empty for what is no alert, or what a template has written."""
    alert = attempt.content.alert
    if alert is None or attempt.content.answer_label is not None:
        return ""
    since = (alert.starts_at or from_epoch_ms(attempt.notification.accepted_ms)).astimezone(UTC)
    named = (("Source", alert.source or ""), ("Systems", ", ".join(alert.affected_systems)))
    where = "".join(f"\n{name}: {_shortened(text)}" for name, text in named if text)
    # In UTC: a device's zone is not known, and people in several talk about one alert.
    return f"{where}\nSince: {since:%Y-%m-%d %H:%M} UTC"


def _shortened(text: str) -> str:
    return text if len(text) <= _WHERE_CHARS else text[: _WHERE_CHARS - 1].rstrip() + _ELLIPSIS


def _answer_url(attempt: Attempt, now: datetime, links: AnswerLinks | None) -> str | None:
    return links.of(attempt, Way.PUSH, now) if links is not None else None


def _recalled(attempt: Attempt) -> Message:
    return {"carillon_id": attempt.notification.public_id, "recalled": True}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else compact(value).decode()


def _custom(attempt: Attempt, data: Message, answer_url: str | None, *, truncated: bool) -> Message:
    content = attempt.content
    custom: Message = {
        "carillon_id": attempt.notification.public_id,
        "type": content.type,
        "priority": attempt.delivery.priority.value,
    }
    if content.category:
        custom["category"] = content.category
    if answer_url:
        custom["answer_url"] = answer_url
        if content.answer_label:
            custom["answer_label"] = content.answer_label
    if data:
        custom["data"] = data
    if truncated:
        custom["truncated"] = True
    return custom


def _fit(
    attempt: Attempt,
    render: Callable[[str, Message], Message],
    encode: Callable[[Message], bytes],
    limit_bytes: int,
    answer_url: str | None,
) -> Message:
    content, end = attempt.content, where_and_since(attempt)
    whole = render(content.message + end, _custom(attempt, content.data, answer_url, truncated=False))
    if len(encode(whole)) <= limit_bytes:
        return whole

    def shortened(data: Message, text: str) -> Message:
        return render(text + end, _custom(attempt, data, answer_url, truncated=True))

    def fits(data: Message, text: str) -> bool:
        return len(encode(shortened(data, text))) <= limit_bytes

    for data, least_chars in ((content.data, _LEAST_TEXT_CHARS), ({}, 0)):
        text = longest(content.message, limit_bytes, functools.partial(fits, data))
        if text is not None and (text == content.message or len(text) > least_chars):
            return shortened(data, text)
    raise PermanentFailure(Reason.TOO_LARGE, f"over {limit_bytes} bytes without text and data")


def longest(text: str, limit_bytes: int, fits: Callable[[str], bool]) -> str | None:
    """Return the text, or its longest beginning with an ellipsis, that fits; None if not even the ellipsis does."""
    if fits(text):
        return text
    if not fits(_ELLIPSIS):
        return None
    kept, too_many = 0, min(len(text), limit_bytes)  # a character takes at least one byte
    while too_many - kept > 1:
        middle = (kept + too_many) // 2
        if fits(text[:middle] + _ELLIPSIS):
            kept = middle
        else:
            too_many = middle
    # Not between a letter and its combining mark.
    while kept > 0 and _is_drawn_upon(text[kept - 1], text[kept]):
        kept -= 1
    return text[:kept].rstrip() + _ELLIPSIS


def _is_drawn_upon(before: str, after: str) -> bool:
    return unicodedata.combining(after) > 0 or after in _JOINERS or before == _ZERO_WIDTH_JOINER


def compact(value: object) -> bytes:
    """Write JSON without a byte too many."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _as_aioapns(message: Message) -> bytes:
    # aioapns writes the payload with spaces; counting it without them would let too much through.
    return json.dumps(message, ensure_ascii=False).encode()
