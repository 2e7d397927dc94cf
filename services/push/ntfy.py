"""ntfy: pushes to the subscribers of a topic, through ntfy.sh or your own server.

Promises one request for each send, and a text short enough to be shown as a message. ntfy has no idempotency key. A
repeated push has the sequence id of the first one, and clients show the latest message of a sequence
(docs.ntfy.sh/publish, "Updating + deleting notifications", server 2.16 and later; an earlier server ignores the field,
and clients show both). A push is taken back by deleting its sequence, which an earlier server cannot do. ntfy takes no
deadline. It keeps a message for 12 hours, or as it is set up, so people may read a push after it has expired. It takes
no custom data, except a link in ``data.url``.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field, SecretStr, field_validator
from yarl import URL

from services.push import payload
from services.push.settings import PushSettings
from shared.core.clock import Clock
from shared.core.errors import (
    DeliveryError,
    DeliveryRefused,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
)
from shared.core.incidents import Way
from shared.core.model import Delivery, MobileToken, Platform, Priority
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt, Receipt
from shared.delivery.http_attempt import Answer, new_session, post
from shared.delivery.verdicts import Table, failure, look_up, retry_after
from shared.runtime.providers import Parts, ProviderKind
from shared.runtime.settings import ProviderSettings, base_url

# docs.ntfy.sh/publish, "Limitations": a message has up to 4,096 bytes, a longer one becomes an attachment. The server
# also makes one of a text that fills the limit (util/peek.go: LimitReached).
MESSAGE_LIMIT_BYTES = 4095
# server/server.go, transformBodyJSON: the document may have twice as much, because JSON adds to it. A document that
# fills the limit is too large.
DOCUMENT_LIMIT_BYTES = 8191
# What a server before 2.16 answers: it has no such path, or knows it for other methods alone.
_NO_DELETING = frozenset({404, 405})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKEN = re.compile(r"[!-~]+")
# docs.ntfy.sh/publish, "Click action": these open a browser. Another URI may start another app.
_LINK = re.compile(r"https?://[^\s/]+\S*")
# docs.ntfy.sh/publish, "Message priority".
_PRIORITY = {Priority.LOW: 2, Priority.NORMAL: 3, Priority.HIGH: 4, Priority.CRITICAL: 5}


class NtfySettings(ProviderSettings):
    """The settings for topics of one ntfy server."""

    push_ntfy_url: str = Field(description="the server: https://ntfy.example.com; http only to this machine")
    push_ntfy_token: SecretStr | None = Field(None, description="access token with the right to write: tk_…")

    @field_validator("push_ntfy_url")
    @classmethod
    def _is_private(cls, value: str) -> str:
        url = base_url(value)
        if URL(url).scheme == "http" and URL(url).host not in _LOOPBACK:
            raise ValueError("https is required, except to this machine")
        return url

    @field_validator("push_ntfy_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("an access token such as tk_… is required")
        return value


def ntfy_providers(ntfy: NtfySettings, parts: Parts[PushSettings]) -> tuple["NtfyProvider", ...]:
    """Build the one provider of an ntfy server."""
    token = ntfy.push_ntfy_token.get_secret_value() if ntfy.push_ntfy_token else None
    settings = parts.settings
    return (
        NtfyProvider(ntfy.push_ntfy_url, token, settings.push_concurrency, parts.clock, links=settings.answer_links),
    )


class NtfyProvider:
    """The topics of one ntfy server."""

    name = "ntfy"

    def __init__(
        self, url: str, token: str | None, concurrency: int, clock: Clock, *, links: AnswerLinks | None = None
    ) -> None:
        self._clock = clock
        self._links = links
        self._url = URL(url)
        # docs.ntfy.sh/publish, "Access tokens". Without one, a server may let everybody write.
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._session = new_session(concurrency)

    def handles(self, delivery: Delivery) -> bool:
        """Tell whether the address is a topic."""
        return isinstance(delivery.address, MobileToken) and delivery.address.platform is Platform.NTFY

    async def send(self, attempt: Attempt) -> Receipt:
        """Make exactly one attempt."""
        address = attempt.delivery.address
        if not isinstance(address, MobileToken):
            raise PermanentFailure(Reason.REJECTED, "not a topic")
        if attempt.delivery.recalls:
            # docs.ntfy.sh/publish, "Deleting notifications".
            url = self._url / address.token / payload.collapse_id(attempt)
            answer = await post(self._session, url, attempt, headers=self._headers, method="DELETE")
            if answer.status in _NO_DELETING:
                raise DeliveryRefused(Reason.REJECTED, f"{answer.status}: the server deletes no messages")
        else:
            links = self._links
            answer_url = links.of(attempt, Way.PUSH, self._clock.now()) if links is not None else None
            body = message(attempt, address.token, answer_url)
            answer = await post(self._session, self._url, attempt, headers=self._headers, body=body)
        if answer.status == 200 and isinstance(message_id := _fields(answer.body).get("id"), str):
            return Receipt(message_id)
        raise verdict(answer, self._clock.now())

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()


def message(attempt: Attempt, topic: str, answer_url: str | None = None) -> bytes:
    """Write the document to publish (docs.ntfy.sh/publish, "Publish as JSON").

    Args:
        answer_url: acknowledges an alert with a POST, and shows its page with a GET.

    Raises:
        PermanentFailure: it does not fit, whatever is left out.
    """
    content, end = attempt.content, payload.where_and_since(attempt)

    def render(text: str) -> bytes:
        fields: dict[str, Any] = {
            "topic": topic,
            "title": content.title,
            "message": text + end,
            "priority": _PRIORITY[attempt.delivery.priority],
            "sequence_id": payload.collapse_id(attempt),
        }
        if content.category:
            fields["tags"] = [content.category]
        if isinstance(url := content.data.get("url"), str) and _LINK.fullmatch(url):
            fields["click"] = url
        if answer_url:
            # docs.ntfy.sh/publish, "Send HTTP request": the app sends it, and removes the notification if it succeeds.
            fields["actions"] = [
                {
                    "action": "http",
                    "label": content.answer_label or "Acknowledge",
                    "url": answer_url,
                    "method": "POST",
                    "clear": True,
                }
            ]
            fields.setdefault("click", answer_url)
        return payload.compact(fields)

    def fits(text: str) -> bool:
        return len((text + end).encode()) <= MESSAGE_LIMIT_BYTES and len(render(text)) <= DOCUMENT_LIMIT_BYTES

    text = payload.longest(content.message, MESSAGE_LIMIT_BYTES, fits)
    if text is None:
        raise PermanentFailure(Reason.TOO_LARGE, f"over {DOCUMENT_LIMIT_BYTES} bytes without text")
    return render(text)


# ntfy documents no list of its codes. They stand in its source, server/errors.go, and in the body of each refusal. No
# code says that a topic is gone: the first use creates a topic (docs.ntfy.sh/publish).
_VERDICTS: Table = {
    (200, None): (OutcomeUnknown, Reason.BAD_ANSWER),
    # Without ntfy's code the answer may come from a proxy.
    (400, ""): (TemporaryFailure, Reason.BAD_ANSWER),
    # 40101: no user has the token. docs.ntfy.sh/publish, "Authentication".
    (401, None): (ProviderMisconfigured, Reason.AUTH),
    # 40301: this token, or everybody if there is none, may not write to this topic, but perhaps to others.
    (403, None): (PermanentFailure, Reason.REJECTED),
    # 40401, "page not found": we publish to the root, so this is no ntfy.
    (404, None): (ProviderMisconfigured, Reason.REJECTED),
    # 41301 and 41303; docs.ntfy.sh/publish, "Limitations".
    (413, None): (PermanentFailure, Reason.TOO_LARGE),
    # 42901, 42904, 42908; docs.ntfy.sh/publish, "Limitations". A server may count against the subscriber of a topic
    # (docs.ntfy.sh/config, "Subscriber-based rate limiting"), so they are not about us alone.
    (429, None): (TemporaryFailure, Reason.RATE_LIMITED),
    # Too many failed logins from our address.
    (429, "42909"): (ProviderMisconfigured, Reason.AUTH),
}


def verdict(answer: Answer, now: datetime) -> DeliveryError:
    """Say what a refusal of ntfy means.

    After a 5xx the message may have been accepted. The next attempt replaces it, so it counts as not accepted.

    Args:
        answer: anything but a 200 with an id.
        now: to read a Retry-After date by.
    """
    code = _fields(answer.body).get("code")
    # Five digits, of which three are the status.
    word = str(code) if isinstance(code, int) and 10_000 <= code <= 99_999 else ""
    row = look_up(_VERDICTS, answer.status, word)
    return failure(row, f"{answer.status} {word}".strip(), retry_after(answer.retry_after, now))


def _fields(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


NTFY = ProviderKind(NtfySettings, ntfy_providers)
