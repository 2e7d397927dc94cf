"""Open sessions: which process, or which external gateway, holds which user's sockets.

Promises:

- A session that nobody keeps alive is gone after its time to live, so that a dead process leaves no sessions behind.
- Opening a session reads the user's inbox in the same atomic step, so that no entry is missed between reading and
  listening.

``open_session``, ``close_session`` and ``touch_session`` serve the ``websocket/…`` topics. These are for gateways that
other people run, which get their live frames on a reply topic. Gateways' sessions are also listed once for all users,
because a broadcast must find them without knowing the users.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.core.model import Channel
from shared.directory.directory import Directory
from shared.inbox.feed import FeedMirror
from shared.inbox.inbox import Inbox, read_position, read_snapshot
from shared.inbox.timeline import Snapshot, pending, text_or_none, unread
from shared.store.keys import Keys
from shared.store.replies import pairs, read_object
from shared.store.store import Store, load_script

log = logging.getLogger(__name__)

GATEWAY = "gateway"

# A process keeps its sessions alive every NODE_HEARTBEAT_S; one that died is forgotten within NODE_TTL_S.
NODE_TTL_S = 30
NODE_HEARTBEAT_S = 10

# A gateway heartbeats at its own pace; three heartbeats at the common 30 s.
GATEWAY_TTL_S = 90

# Against a gateway that connects again and again without naming its session.
GATEWAY_SESSIONS_MOST = 100

_PRELUDE = "inbox_log"
_open = load_script(__package__, "session_open", _PRELUDE)
_touch = load_script(__package__, "session_touch", _PRELUDE)
_close = load_script(__package__, "session_close")
_list = load_script(__package__, "session_list", _PRELUDE)


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """What a gateway is told of the session that it opened.

    Attributes:
        pending: at most the 10 newest unread notifications, oldest first.
        status: the current system status frame, None when there was never one.
    """

    session_id: str
    pending: Sequence[dict[str, Any]]
    unread: int
    status: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class GatewaySession:
    """A session whose live frames are published on a topic of a gateway's choice."""

    user_id: str
    groups: frozenset[str]
    live: bool
    reply_to: str
    correlation: bytes | None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """Where a user's open sessions are."""

    nodes: frozenset[str]
    gateways: Sequence[GatewaySession]


@dataclass(frozen=True, slots=True)
class Opened:
    """A node's session was opened; ``record_digest`` tells one state of the user's directory record from another."""

    snapshot: Snapshot
    record_digest: str


@dataclass(frozen=True, slots=True)
class InboxPosition:
    """How far a user's inbox has come; the snapshot holds no entries and no feed marks."""

    snapshot: Snapshot
    record_digest: str


class Sessions:
    """The registry on one store."""

    def __init__(self, store: Store, keys: Keys, inbox: Inbox, directory: Directory, feed: FeedMirror) -> None:
        self._store = store
        self._keys = keys
        self._inbox = inbox
        self._directory = directory
        self._feed = feed

    async def open_session(
        self,
        user_id: str,
        session_id: str | None,
        *,
        node: str = GATEWAY,
        reply_to: str | None = None,
        correlation: str | None = None,
        tenant: str | None = None,
    ) -> SessionOpened | None:
        """Open (or open again) a session of a gateway.

        Args:
            session_id: the gateway's name for it; made here when None.
            reply_to: topic for live frames, None when the gateway wants none.
            correlation: hexadecimal; sent back with each of them.
            tenant: only its entries and nobody's are shown; None for all.

        Returns:
            None when the user has too many sessions.
        """
        name = session_id or str(uuid.uuid4())
        person, _ = await asyncio.gather(self._directory.person(user_id), self._feed.refresh())
        groups = frozenset(person.groups) if person else frozenset[str]()
        record = {
            "node": node,
            "user_id": user_id,
            "groups": sorted(groups),
            "live": person is None or person.choice(Channel.REALTIME).on,
            "reply_to": reply_to,
            "correlation": correlation,
            "tenant": tenant,
        }
        text = json.dumps(record, separators=(",", ":"))
        opened = await self._open(
            user_id, name, text, ttl_s=GATEWAY_TTL_S, most=GATEWAY_SESSIONS_MOST, after=None, tenant=tenant
        )
        if opened is None:
            return None
        if reply_to is not None:
            listed = _listed(user_id, name)
            await self._store.script(_touch, self._keys.feed, GATEWAY_TTL_S * 1000, listed, text)
        log = self._feed.log
        stream = pending(opened.snapshot, log, groups, tenant)
        return SessionOpened(
            name,
            [json.loads(item.notification) for item in stream.items],
            unread(opened.snapshot, log, groups, tenant),
            json.loads(self._feed.status) if self._feed.status else None,
        )

    async def close_session(self, user_id: str, session_id: str | None) -> bool:
        """Close a gateway's session, or all of the user's when it is not named; False when there was none."""
        names = [session_id] if session_id else await self._gateway_sessions(user_id)
        closed = await asyncio.gather(
            *(self._store.submit_script(_close, self._keys.user(user_id), name) for name in names),
            *(self._store.submit_script(_close, self._keys.feed, _listed(user_id, name)) for name in names),
        )
        return any(closed[: len(names)])

    async def touch_session(self, user_id: str, session_id: str | None) -> bool:
        """Keep a gateway's session open, or all of the user's; False when it has lapsed and must connect again."""
        names = [session_id] if session_id else await self._gateway_sessions(user_id)
        if not names:
            return False
        ttl_ms = GATEWAY_TTL_S * 1000
        own = [part for name in names for part in (name, "")]
        listed = [part for name in names for part in (_listed(user_id, name), "")]
        answer, _ = await asyncio.gather(
            self._store.submit_script(_touch, self._keys.user(user_id), ttl_ms, *own),
            self._store.submit_script(_touch, self._keys.feed, ttl_ms, *listed),
        )
        return bool(answer[0])

    async def forget_user(self, user_id: str) -> frozenset[str]:
        """Forget a user's inbox and sessions; return the nodes that hold some, which are to be told."""
        nodes = await self.nodes_of(user_id)
        await self.close_session(user_id, None)
        base = self._keys.user(user_id)
        names = ("sessions", "session_nodes", "focus")
        await self._store.command("UNLINK", *(f"{base}:{name}" for name in names), lasting=True)
        await self._inbox.forget(user_id)
        return nodes

    async def _gateway_sessions(self, user_id: str) -> list[str]:
        records = await self._store.command("HGETALL", f"{self._keys.user(user_id)}:session_nodes")
        return [name.decode() for name, record in pairs(records) if record.startswith(b"{")]

    async def nodes_of(self, user_id: str) -> frozenset[str]:
        """Return the nodes that hold sessions of a user."""
        return (await self.targets_of(user_id)).nodes

    async def targets_of(self, user_id: str) -> Targets:
        """Return where a user's open sessions are."""
        return targets(await self._store.script(_list, self._keys.user(user_id)))

    async def gateways(self) -> Sequence[GatewaySession]:
        """Return the gateways' sessions of all users."""
        return targets(await self._store.script(_list, self._keys.feed)).gateways

    async def open_on_node(
        self, user_id: str, session_id: str, node: str, *, most: int, after: int | None, tenant: str | None = None
    ) -> Opened | None:
        """Open a session of a realtime process.

        Args:
            most: sessions that the user may have.
            after: which own entries the snapshot is to hold, as ``tenant`` is: see ``Inbox.wanted``.

        Returns:
            None when the user has too many sessions.
        """
        return await self._open(user_id, session_id, node, ttl_s=NODE_TTL_S, most=most, after=after, tenant=tenant)

    async def _open(
        self,
        user_id: str,
        session_id: str,
        record: str,
        *,
        ttl_s: int,
        most: int,
        after: int | None,
        tenant: str | None,
    ) -> Opened | None:
        answer = await self._store.script(
            _open,
            self._keys.user(user_id),
            session_id,
            record,
            ttl_s * 1000,
            most,
            *self._inbox.wanted(after, tenant),
            self._inbox.limit,
            self._inbox.retention_s,
        )
        return Opened(read_snapshot(answer[1]), answer[2].decode()) if answer[0] else None

    async def touch_on_node(self, user_id: str, session_ids: Iterable[str], node: str) -> InboxPosition:
        """Keep a node's sessions alive, or bring them back after the store forgot them."""
        pairs = [part for session_id in session_ids for part in (session_id, node)]
        answer = await self._store.script(_touch, self._keys.user(user_id), NODE_TTL_S * 1000, *pairs)
        return InboxPosition(read_position(answer[1]), answer[2].decode())

    async def close_on_node(self, user_id: str, session_id: str) -> None:
        """Forget a session of a realtime process."""
        await self._store.script(_close, self._keys.user(user_id), session_id)


def person_changed(user_id: str) -> str:
    """Write what a node is told when a user's record, or the user, is not what it was."""
    return json.dumps({"v": 1, "user_id": user_id, "frame": {"type": "person"}})


def targets(records: Iterable[bytes]) -> Targets:
    """Read session records as the scripts answer them."""
    nodes: set[str] = set()
    gateways: list[GatewaySession] = []
    for record in records:
        if not record.startswith(b"{"):
            nodes.add(record.decode(errors="replace"))
            continue
        try:
            gateways += _gateway(read_object(record))
        except (KeyError, TypeError, ValueError):
            log.error("unreadable session passed over")  # noqa: TRY400 - it is personal
    return Targets(frozenset(nodes), gateways)


def _gateway(parts: Mapping[str, Any]) -> list[GatewaySession]:
    """Read a gateway's session, where it wants frames."""
    if parts["reply_to"] is None:
        return []
    correlation = parts["correlation"]
    session = GatewaySession(
        str(parts["user_id"]),
        frozenset(parts["groups"]),
        bool(parts["live"]),
        str(parts["reply_to"]),
        None if correlation is None else bytes.fromhex(correlation),
        text_or_none(parts, "tenant"),
    )
    return [session]


def _listed(user_id: str, session_id: str) -> str:
    """Name a session in the list of all users' gateway sessions; a user id holds no slash."""
    return f"{user_id}/{session_id}"
