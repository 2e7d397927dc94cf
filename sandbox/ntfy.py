"""ntfy: a server on which one user may write to every topic, and nobody else to any.

Promises ntfy's answers and codes as its source has them (server/errors.go, server/server.go), and its documented rules
for a message that is published as JSON (docs.ntfy.sh/publish). Keeps no attachments: a text that is too long for a
message is refused, as on a server without a folder for them. Nobody can subscribe to its topics.
"""

import hashlib
import hmac
import json
import re
import secrets
import string
import time
from collections.abc import Mapping

from aiohttp import web

from sandbox.credentials import Credentials
from sandbox.exchange import Reply, http1, is_answered, json_reply, play_after, play_before
from sandbox.kept import Effect, Kept
from sandbox.script import Script

# docs.ntfy.sh/publish, "Limitations"; the server refuses a text that fills this limit, and a document that fills twice
# the limit.
_MESSAGE_LIMIT_BYTES = 4_096
_DOCUMENT_LIMIT_BYTES = 2 * _MESSAGE_LIMIT_BYTES
# server/server.go: topicRegex; a sequence id has the same form.
_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
# server/config.go: DefaultDisallowedTopics.
_NO_TOPICS = frozenset(["docs", "static", "file", "app", "metrics", "account", "settings", "signup", "login", "v1"])
_PRIORITIES = range(1, 6)
# server/actions.go: actionsMax, actionsAll, actionsWithURL.
_ACTIONS_MOST = 3
_ACTIONS = frozenset(["view", "broadcast", "http"])
_ACTIONS_WITH_URL = frozenset(["view", "http"])
# docs.ntfy.sh/config, "cache-duration": 12 hours.
_KEPT_S = 12 * 3600
_ID_CHARACTERS = string.ascii_letters + string.digits
_ID_LENGTH = 12
# Published if no text is given.
_EMPTY_TEXT = "triggered"
_DOCS = "https://ntfy.sh/docs/publish"
# server/errors.go: the texts and links that go with the codes.
_TEXTS = {
    40000: ("invalid request", ""),
    40007: ("invalid priority parameter", f"{_DOCS}/#message-priority"),
    40009: ("invalid request: topic invalid", ""),
    40010: ("invalid request: topic name is not allowed", ""),
    40014: ("invalid request: attachments not allowed", "https://ntfy.sh/docs/config/#attachments"),
    40018: ("invalid request: actions invalid", f"{_DOCS}/#action-buttons"),
    40024: ("invalid request: request body must be valid JSON", ""),
    40049: ("invalid request: sequence ID invalid", ""),
    40101: ("unauthorized", f"{_DOCS}/#authentication"),
    40301: ("forbidden", f"{_DOCS}/#authentication"),
    40401: ("page not found", ""),
    41301: ("attachment too large, or bandwidth limit reached", f"{_DOCS}/#limitations"),
    41303: ("JSON body too large", ""),
    42901: ("limit reached: too many requests", f"{_DOCS}/#limitations"),
    42908: ("limit reached: daily message quota reached", f"{_DOCS}/#limitations"),
    42909: ("limit reached: too many auth failures", f"{_DOCS}/#limitations"),
    50001: ("internal server error", ""),
    50701: ("cannot publish to UnifiedPush topic without previously active subscriber", ""),
}
_USUAL_CODES = {400: 40000, 401: 40101, 403: 40301, 404: 40401, 413: 41303, 429: 42901, 500: 50001, 507: 50701}


def access_token(credentials: Credentials) -> str:
    """The token of the user who may write: tk_ and 29 lower-case characters, as ntfy makes them."""
    return f"tk_{hmac.new(credentials.secret, b'ntfy access token', hashlib.sha256).hexdigest()[:29]}"


class _RefusedError(Exception):
    """The message cannot be published."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Ntfy:
    """Every topic of one server."""

    def __init__(self, kept: Kept, script: Script, credentials: Credentials) -> None:
        self._kept = kept
        self._script = script
        self._token = access_token(credentials)

    def routes(self) -> list[web.RouteDef]:
        """What this provider serves."""
        return [
            web.post("/", http1(self._publish)),
            web.put("/", http1(self._publish)),
            web.delete("/{topic:[-_A-Za-z0-9]{1,64}}/{sequence_id:[-_A-Za-z0-9]{1,64}}", http1(self._delete)),
        ]

    def failure(self, status: int, code: int | str | None) -> Reply:
        """A refusal in ntfy's words, or for a status that ntfy does not use, in the words of a proxy."""
        number = int(code) if code is not None and str(code).isdigit() else _USUAL_CODES.get(status)
        if number is None:
            return Reply(status, f"<html><body><h1>{status}</h1></body></html>".encode(), {"Content-Type": "text/html"})
        return _error(status, number)

    def operator_failure(self) -> Reply:
        """The access token is refused."""
        return self.failure(401, None)

    async def _publish(self, request: web.Request) -> Reply:
        if early := await play_before(self._script.take("ntfy", (), "request"), self):
            return early
        raw = await request.read()
        refused: int | None = None
        message: Mapping[str, object] = {}
        try:
            message = _message(raw)
        except _RefusedError as error:
            refused = error.code
        topic = str(message.get("topic", ""))
        fault = self._script.take("ntfy", (topic,), "request", "answer")
        if refusal := await play_before(fault, self):
            return refusal
        if (code := self._unauthorized(request.headers.get("Authorization", "")) or refused) is not None:
            return _error(code // 100, code)
        published = {
            "id": "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH)),
            "time": int(time.time()),
            "expires": int(time.time()) + _KEPT_S,
            "event": "message",
            **message,
        }
        content: dict[str, object] = {"title": message.get("title", ""), "body": message["message"], "payload": message}
        effect = Effect(
            channel="push",
            provider="ntfy",
            to=topic,
            id=str(published["id"]),
            content=content,
            size_bytes=len(raw),
            answered=is_answered(fault),
        )
        await self._kept.keep(effect)
        await play_after(fault)
        return json_reply(200, published)

    async def _delete(self, request: web.Request) -> Reply:
        """Tell subscribers to remove the messages of a sequence (docs.ntfy.sh/publish, "Deleting notifications")."""
        topic = request.match_info["topic"]
        fault = self._script.take("ntfy", (topic,), "request", "answer")
        if refusal := await play_before(fault, self):
            return refusal
        if (code := self._unauthorized(request.headers.get("Authorization", ""))) is not None:
            return _error(code // 100, code)
        deleted: dict[str, object] = {
            "id": "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH)),
            "time": int(time.time()),
            "event": "message_delete",
            "topic": topic,
            "sequence_id": request.match_info["sequence_id"],
        }
        effect = Effect(
            channel="push",
            provider="ntfy",
            to=topic,
            id=str(deleted["id"]),
            content={"title": "", "body": "", "payload": deleted},
            size_bytes=0,
            answered=is_answered(fault),
        )
        await self._kept.keep(effect)
        await play_after(fault)
        return json_reply(200, deleted)

    def _unauthorized(self, authorization: str) -> int | None:
        """The code for a sender who may not write. A header without a token counts as none."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            return 40301
        return None if hmac.compare_digest(token.strip().encode(), self._token.encode()) else 40101


def _message(raw: bytes) -> Mapping[str, object]:
    """Read a document and check it; fields that the server does not know are ignored.

    Raises:
        _RefusedError: something is wrong with it.
    """
    if len(raw) >= _DOCUMENT_LIMIT_BYTES:
        raise _RefusedError(41303)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise _RefusedError(40024) from None
    if not isinstance(document, dict):
        raise _RefusedError(40024)
    texts = {name: document.get(name, "") for name in ("topic", "title", "message", "click", "sequence_id")}
    priority, tags = document.get("priority", 0), document.get("tags", [])
    actions = document.get("actions", [])
    if (
        not all(isinstance(text, str) for text in texts.values())
        or type(priority) is not int
        or not isinstance(tags, list)
        or not all(isinstance(tag, str) for tag in tags)
        or not isinstance(actions, list)
        or not all(isinstance(action, dict) for action in actions)
    ):
        raise _RefusedError(40024)
    if len(actions) > _ACTIONS_MOST or not all(map(_is_action, actions)):
        raise _RefusedError(40018)
    if not _TOPIC.fullmatch(texts["topic"]):
        raise _RefusedError(40009)
    if texts["topic"] in _NO_TOPICS:
        raise _RefusedError(40010)
    if priority and priority not in _PRIORITIES:
        raise _RefusedError(40007)
    if texts["sequence_id"] and not _TOPIC.fullmatch(texts["sequence_id"]):
        raise _RefusedError(40049)
    texts["message"] = texts["message"].strip() or _EMPTY_TEXT
    if len(texts["message"].encode()) >= _MESSAGE_LIMIT_BYTES:
        raise _RefusedError(40014)
    # Unset fields are left out, as by the server.
    fields = {**texts, "priority": priority, "tags": tags, "actions": actions}
    return {name: value for name, value in fields.items() if value}


def _is_action(action: Mapping[str, object]) -> bool:
    """Check one action as server/actions.go does."""
    kind = str(action.get("action", "")).lower()
    has_body = str(action.get("method", "")).upper() in ("GET", "HEAD") and bool(action.get("body"))
    return (
        kind in _ACTIONS
        and bool(action.get("label"))
        and (kind not in _ACTIONS_WITH_URL or bool(action.get("url")))
        and not (kind == "http" and has_body)
    )


def _error(status: int, code: int) -> Reply:
    text, link = _TEXTS.get(code, ("scripted refusal", ""))
    return json_reply(status, {"code": code, "http": status, "error": text, **({"link": link} if link else {})})
