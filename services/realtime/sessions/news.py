"""What realtime processes tell each other on ``internal/realtime/…``.

JSON with a ``v``; a version or type that is not known is skipped. A lost message loses nothing for good: every process
compares with the store at intervals.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.inbox.cursor import key_of
from shared.inbox.feed import FeedNews, group_set
from shared.inbox.inbox import Added
from shared.inbox.sessions import person_changed
from shared.inbox.timeline import FeedEntry, text_or_none
from shared.store.replies import read_object

VERSION = 1


@dataclass(frozen=True, slots=True)
class EntryNews:
    """A user has a new own entry; the fields are those of ``shared.inbox.inbox.Added``.

    Attributes:
        order: 0 where a process of the previous release wrote the entry.
        tenants: how many of the unread ones belong to each tenant.
    """

    user_id: str
    epoch: str
    before: int
    seq: int
    unread: int
    version: int
    quiet: bool
    body: str
    order: int = 0
    tenants: Mapping[str, int] = field(default_factory=dict)

    @property
    def tenant(self) -> str | None:
        """Whose entry it is."""
        return text_or_none(read_object(self.body), "tenant") if '"tenant":' in self.body else None

    @property
    def key(self) -> int:
        """The entry's place on the line."""
        return key_of(self.order or self.seq, broadcast=False)

    @classmethod
    def of(cls, user_id: str, added: Added, body: str, *, quiet: bool) -> "EntryNews":
        """Make the news of an added entry."""
        return cls(
            user_id, added.epoch, added.before, added.seq, added.unread, added.version, quiet, body, added.order,
            added.tenants,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CountNews:
    """A user has read something.

    Attributes:
        own: unread own entries, at ``version``.
        feed: unread feed entries among those up to ``feed_seq``, at ``feed_version``.
        wake_ms: see ``shared.inbox.timeline.Snapshot``; 0 from a process of the previous release, too.
        tenants: how many of ``own`` belong to each tenant; ``feed_tenants``: of ``feed``.
    """

    user_id: str
    own: int
    version: int
    feed: int
    feed_version: int
    feed_seq: int
    wake_ms: int = 0
    tenants: Mapping[str, int] = field(default_factory=dict)
    feed_tenants: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PersonNews:
    """A user's record changed, or the user was deleted; see ``shared.inbox.sessions.person_changed``."""

    user_id: str


@dataclass(frozen=True, slots=True)
class RecalledNews:
    """An own entry of a user was taken back."""

    user_id: str
    id: str


@dataclass(frozen=True, slots=True)
class FeedRecalledNews:
    """An entry of the feed was taken back, at this microsecond."""

    id: str
    at_us: int


@dataclass(frozen=True, slots=True)
class StatusNews:
    """The system status, as its frame's JSON."""

    accepted_ms: int
    text: str


# Beside the frame, in which the previous release reads no field that it does not know; with what a missing one means.
_BESIDE: Mapping[str, Any] = {"order": 0, "wake_ms": 0, "tenants": {}, "feed_tenants": {}}

News = EntryNews | CountNews | PersonNews | RecalledNews | StatusNews | FeedNews | FeedRecalledNews

_USER_NEWS: dict[str, type[EntryNews | CountNews | PersonNews | RecalledNews]] = {
    "entry": EntryNews,
    "unread": CountNews,
    "person": PersonNews,
    "recalled": RecalledNews,
}
_USER_NEWS_NAMES = {news_type: name for name, news_type in _USER_NEWS.items()}


def encode(news: News) -> str:
    """Write news as an internal message."""
    if isinstance(news, FeedNews):
        entry = news.entry
        frame: dict[str, Any] = {
            "type": "feed",
            "epoch": news.epoch,
            "before": news.before,
            "seq": entry.seq,
            "id": entry.id,
            "groups": None if entry.groups is None else sorted(entry.groups),
            "body": entry.body,
        }
        return _dump({"v": VERSION, "frame": frame, "order": entry.order})
    if isinstance(news, StatusNews):
        frame = {"type": "status", "accepted_ms": news.accepted_ms, "text": news.text}
        return _dump({"v": VERSION, "frame": frame})
    if isinstance(news, FeedRecalledNews):
        return _dump({"v": VERSION, "frame": {"type": "feed_recalled", "id": news.id, "at_us": news.at_us}})
    if isinstance(news, PersonNews):
        return person_changed(news.user_id)
    frame = {"type": _USER_NEWS_NAMES[type(news)]}
    frame |= {name: getattr(news, name) for name in news.__slots__ if name not in ("user_id", *_BESIDE)}
    message = {"v": VERSION, "user_id": news.user_id, "frame": frame}
    beside = {name: getattr(news, name) for name in news.__slots__ if name in _BESIDE}
    return _dump(message | {name: value for name, value in beside.items() if value})


def decode(payload: bytes) -> News | None:
    """Read an internal message; None when this version cannot."""
    try:
        message = json.loads(payload)
        if message["v"] > VERSION:
            return None
        frame = message["frame"]
        kind = frame.pop("type")
        if kind == "feed":
            groups, order = group_set(frame["groups"]), message.get("order", 0)
            entry = FeedEntry.of(frame["seq"], frame["id"], groups, frame["body"].encode(), order)
            return FeedNews(frame["epoch"], frame["before"], entry)
        if kind == "status":
            return StatusNews(**frame)
        if kind == "feed_recalled":
            return FeedRecalledNews(**frame)
        news_type = _USER_NEWS[kind]
        beside = {name: message.get(name, _BESIDE[name]) for name in news_type.__slots__ if name in _BESIDE}
        return news_type(message["user_id"], **frame, **beside)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
