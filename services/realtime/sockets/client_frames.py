"""What clients say over a WebSocket: the client frames of the wire contract's section 5.

A frame that cannot be carried out is answered with an ``error`` frame. A session is closed if its client sends too
much, too fast, or binary data. Frames of a client are handled one after the other, so it waits only for its own work.
"""

import time
from typing import Any

from aiohttp import WSMsgType, web
from pydantic import ValidationError

from services.realtime.access.bodies import read_json
from services.realtime.access.rates import Rates
from services.realtime.access.refusals import Refusal
from services.realtime.access.snooze import Snooze
from services.realtime.node.acting import Acting
from services.realtime.node.changes import Changes, NotSnoozed, WhyNot
from services.realtime.sessions import close_codes, frames
from services.realtime.sessions.alert_states import AlertStates
from services.realtime.sessions.session import Phase, Session
from shared.core.clock import Clock, epoch_ms
from shared.core.errors import BrokerUnavailable, StoreUnavailable
from shared.core.incidents import Way
from shared.inbox.presence import Presence
from shared.ledger.answering import Answering

# Frames of clients are short. A larger one closes the session with 1009 (RFC 6455, 7.4.1).
INBOUND_BYTES = 16 * 1024

# Frames per second over time, and at once.
INBOUND_RATE = 20.0
INBOUND_BURST = 40.0

_MALFORMED = frames.error("invalid_frame", "Frames are JSON objects with a type, and an id where one belongs.")
_BAD_TIME = frames.error(
    "invalid_frame", "A snooze needs either until or for, in the future and shorter than entries are kept."
)
_NOT_SNOOZED = {
    WhyNot.UNANSWERED_ALERT: frames.error("unanswered_alert", WhyNot.UNANSWERED_ALERT.message),
    WhyNot.TOO_MANY_SNOOZED: frames.error("too_many_snoozed", WhyNot.TOO_MANY_SNOOZED.message),
}
_UNKNOWN = frames.error("unknown_type", "There is no client frame of this type.")
_NOT_FOUND = frames.error("not_found", "There is nothing by that name.")
_TOO_OFTEN = frames.error("too_many_requests", "Too many requests of this user in too short a time.")
_UNAVAILABLE = frames.error("unavailable", "Try again shortly.")


class ClientFrames:
    """Does what client frames ask for.

    Args:
        rates: how often each user may ask, by frame or by request.
    """

    def __init__(
        self,
        changes: Changes,
        answering: Answering,
        presence: Presence,
        rates: Rates,
        *,
        acting: Acting,
        alerts: AlertStates,
        clock: Clock,
    ) -> None:
        self._changes = changes
        self._acting = acting
        self._alerts = alerts
        self._clock = clock
        self._answering = answering
        self._presence = presence
        self._rates = rates

    async def obey(self, session: Session, socket: web.WebSocketResponse) -> None:
        """Do what a client says until its connection is over."""
        credit, last_s = INBOUND_BURST, time.monotonic()
        async for message in socket:
            if session.phase is Phase.CLOSED:
                continue
            now_s = time.monotonic()
            credit, last_s = min(INBOUND_BURST, credit + (now_s - last_s) * INBOUND_RATE) - 1, now_s
            if credit < 0:
                session.close(close_codes.POLICY_VIOLATION)
            elif message.type is WSMsgType.TEXT:
                too_often = self._rates.take(session.user.id) > 0
                answer = _TOO_OFTEN if too_often else await self._do(session, message.data)
                if answer is not None:
                    session.offer(answer)
            elif message.type is WSMsgType.BINARY:
                session.close(close_codes.UNSUPPORTED_DATA)

    async def _do(self, session: Session, text: str) -> frames.Frame | None:
        frame = read_json(text)
        kind = frame.get("type") if isinstance(frame, dict) else None
        if not isinstance(kind, str):
            return _MALFORMED
        if kind == "ping":
            return frames.PONG
        try:
            if kind == "read":
                return await self._read(session, frame.get("id"))
            if kind == "acknowledge":
                return await self._acknowledge(session, frame.get("alert_id"))
            if kind == "focus":
                return await self._focus(session, frame.get("focused"))
            if kind == "snooze":
                return await self._snooze(session, frame)
            if kind == "act":
                return await self._act(session, frame.get("id"), frame.get("action"))
        except (StoreUnavailable, BrokerUnavailable):
            return _UNAVAILABLE
        return _UNKNOWN

    async def _read(self, session: Session, entry_id: Any) -> frames.Frame | None:  # noqa: ANN401 - from a client
        if not isinstance(entry_id, str):
            return _MALFORMED
        done = await self._changes.mark(session.user.id, entry_id, "read", session.tenant)
        return None if done else _NOT_FOUND

    async def _acknowledge(self, session: Session, alert_id: Any) -> frames.Frame | None:  # noqa: ANN401 - from a client
        if not isinstance(alert_id, str):
            return _MALFORMED
        done = await self._answering.acknowledge(alert_id, session.user.id, way=Way.INBOX)
        return None if done else _NOT_FOUND

    async def _snooze(self, session: Session, frame: dict[str, Any]) -> frames.Frame | None:
        entry_id = frame.get("id")
        if not isinstance(entry_id, str):
            return _MALFORMED
        try:
            asked = Snooze.model_validate({name: frame[name] for name in ("until", "for") if name in frame})
            ends_at = asked.ends_at(self._clock.now(), self._changes.longest_snooze)
        except (ValidationError, Refusal):
            return _BAD_TIME
        try:
            done = await self._changes.snooze(
                session.user.id, entry_id, epoch_ms(ends_at), self._alerts, session.tenant
            )
        except NotSnoozed as error:
            return _NOT_SNOOZED[error.why]
        return None if done else _NOT_FOUND

    async def _act(self, session: Session, entry_id: Any, action: Any) -> frames.Frame | None:  # noqa: ANN401 - from a client
        if not isinstance(entry_id, str) or not isinstance(action, str):
            return _MALFORMED
        done = await self._acting.act(session.user.id, entry_id, action, session.tenant)
        return None if done else _NOT_FOUND

    async def _focus(self, session: Session, focused: Any) -> frames.Frame | None:  # noqa: ANN401 - from a client
        if not isinstance(focused, bool):
            return _MALFORMED
        session.focused = focused
        if focused:
            await self._presence.keep(session.user.id, [session.id])
        else:
            await self._presence.leave(session.user.id, session.id)
        return None
