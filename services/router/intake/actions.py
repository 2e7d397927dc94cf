"""Publishes that announce nothing themselves: cancel, acknowledge, resolve, gateways' sessions, the directory.

The directory's suppression list is among them. Each action is carried out at once and may be repeated: the same
acknowledgement, cancellation or record again changes nothing.
"""

import asyncio
from collections.abc import Collection, Mapping

from services.router.alerts.noise import MAINTENANCE_PREFIX
from services.router.intake.admission import NO_RECORD, may_silence, not_own
from services.router.intake.liveness import LivenessActions
from services.router.payloads import control
from services.router.payloads.parse import DirectoryRecord, NamedRule, Publish
from services.router.payloads.receipts import AcceptedReceipt, Recall, SessionReceipt
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode, invalid_payload
from shared.core.channels import ROUTER_LANE
from shared.core.clock import Clock, epoch_ms, rfc3339
from shared.core.errors import Reason
from shared.core.incidents import Way
from shared.core.model import RECALLED_TEXT, Channel, State
from shared.core.topics import LIVENESS_PUBLISHER, PLAIN_PUBLISHER, Topics
from shared.directory.catalogue import Catalogues
from shared.directory.categories import NamedCategory
from shared.directory.directory import Directory, TooManyCategories
from shared.directory.inhibitions import Inhibition, NamedInhibition
from shared.directory.liveness import NamedLiveness
from shared.directory.people import OnCall
from shared.directory.person_change import PersonChange
from shared.directory.policies import EscalationPolicy, NamedPolicy
from shared.directory.preferences import CATEGORIES
from shared.directory.publishers import KeyInUse, NamedPublisher, Publisher, Publishers
from shared.directory.record import Record
from shared.directory.rulebook import RULES, Rulebook, TooManyRules
from shared.directory.silences import NamedSilence, Silence
from shared.directory.suppression import Cause, Suppressions, digest
from shared.directory.tenants import NamedTenant
from shared.inbox.sessions import Sessions, person_changed
from shared.ledger.alerts import Answered
from shared.ledger.answering import LONGEST_SNOOZE, Answering
from shared.ledger.events import event
from shared.ledger.held import Held, Muted
from shared.ledger.jobs import Message, jobs_of
from shared.ledger.ledger import Cancelled, Ledger
from shared.ledger.recalling import Recalled, Recalling
from shared.ledger.sources import Sources
from shared.mqtt.packets import Incoming
from shared.telemetry import metrics

# What changes until when something is held for a person.
_QUIET_FIELDS = frozenset({"quiet_hours", "snooze_until", "timezone"})

# The field that names a rule, and its record.
_DELETED_RULES: Mapping[type[control.DeleteRule], tuple[type[Record], str]] = {
    control.DeletePolicy: (EscalationPolicy, "policy"),
    control.DeleteSilence: (Silence, "silence"),
    control.DeleteInhibition: (Inhibition, "inhibition"),
}
_NAMES: Mapping[type[NamedRule], str] = {
    NamedPolicy: "policy",
    NamedSilence: "silence",
    NamedInhibition: "inhibition",
}

Handled = tuple[Mapping[str, object], list[Message]]


class Actions:
    """Carries out what a publish asks for and says what to answer."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        directory: Directory,
        sessions: Sessions,
        suppressions: Suppressions,
        publishers: Publishers,
        catalogues: Catalogues,
        rulebook: Rulebook,
        held: Held,
        muted: Muted,
        sources: Sources,
        topics: Topics,
        clock: Clock,
        recalled_text: str = RECALLED_TEXT,
        without: Collection[Channel] = (),
    ) -> None:
        self._ledger = ledger
        self._answering = Answering(ledger, directory, muted)
        self._recalling = Recalling(ledger, clock, recalled_text, without)
        self._directory = directory
        self._sessions = sessions
        self._suppressions = suppressions
        self._publishers = publishers
        self._catalogues = catalogues
        self._rulebook = rulebook
        self._held = held
        self._muted = muted
        self._liveness = LivenessActions(rulebook, sources)
        self._topics = topics
        self._clock = clock

    async def carry_out(
        self,
        publish: Publish,
        incoming: Incoming,
        publisher: str = PLAIN_PUBLISHER,
        record: Publisher = NO_RECORD,
        *,
        way: Way = Way.MQTT,
    ) -> Handled:
        """Carry out one publish.

        Args:
            publisher: who asks for it.
            record: what that one may.
            way: by which it came.

        Returns:
            The receipt, and messages to be published beside it.

        Raises:
            Rejected: it names something that does not exist.
        """
        receipt: AcceptedReceipt = {"status": "accepted", "accepted_at": rfc3339(self._clock.now())}
        messages: list[Message] = []
        await self._check_rights(publish, publisher, record)
        match publish:
            case control.DeleteUser():
                messages += await self._forget(publish.user_id)
            case PersonChange() | OnCall() | NamedPublisher() | NamedCategory() | NamedTenant():
                await self._put(publish)
            case NamedPolicy() | NamedSilence() | NamedInhibition():
                await self._put_rule(publish)
            case control.DeletePolicy() | control.DeleteSilence() | control.DeleteInhibition():
                await self._delete_rule(publish)
            case control.Beat() | control.Birth() | control.Death() | NamedLiveness() | control.DeleteLiveness():
                await self._liveness.carry_out(publish, publisher, receipt)
            case control.DeleteOnCall() | control.DeletePublisher() | control.DeleteCategory() | control.DeleteTenant():
                await self._delete(publish)
            case control.Suppress():
                await self._suppress(publish)
            case control.AlertAcknowledge() | control.AlertResolve() | control.AlertSnooze() | control.AlertReassign():
                await self._answer_alert(publish, publisher, way)
                receipt["notification_id"] = receipt["alert_id"] = publish.alert_id
            case control.Cancel():
                receipt["notification_id"] = publish.notification_id
                messages += await self._cancel(publish, receipt)
            case control.SessionConnect():
                receipt = await self._connect(publish, incoming, publisher, receipt)
            case control.SessionDisconnect():
                await self._sessions.close_session(publish.user_id, publish.session_id)
            case control.SessionHeartbeat():
                if not await self._sessions.touch_session(publish.user_id, publish.session_id):
                    raise _unknown("session_id")
        return receipt, messages

    async def over(self, alert_id: str, publisher: str, way: Way) -> None:
        """End an incident all of which is over, as its publisher says."""
        await self._answering.over(alert_id, publisher, way=way)

    async def _check_rights(self, publish: Publish, publisher: str, record: Publisher) -> None:
        is_silence = isinstance(publish, NamedSilence | control.DeleteSilence)
        if is_silence and not may_silence(publisher, record):
            # It is about others' alerts, too.
            raise not_own(publisher)
        if isinstance(publish, control.Answer | control.Cancel):
            await self._check_owner(publish, publisher, record)

    async def _check_owner(
        self,
        publish: control.Answer | control.Cancel,
        publisher: str,
        record: Publisher,
    ) -> None:
        """Refuse to end what another publisher has begun, unless the record allows it."""
        if record.may_answer == "any":
            return
        asked = publish.notification_id if isinstance(publish, control.Cancel) else publish.alert_id
        owner = await self._ledger.publisher_of(asked)
        # What is not there is refused as such. What the watch has opened is no login's.
        is_nobodys = owner == LIVENESS_PUBLISHER and publisher == PLAIN_PUBLISHER
        if owner not in (None, publisher) and not is_nobodys:
            raise not_own(publisher)

    async def _put(self, record: DirectoryRecord) -> None:
        match record:
            case PersonChange():
                await self._put_person(record)
            case OnCall():
                await self._directory.put_oncall(record.alert_type, record)
            case NamedPublisher():
                await self._put_publisher(record)
            case NamedCategory():
                await self._catalogues.put_category(record.category, record.record)
            case NamedTenant():
                await self._catalogues.put_tenant(record.tenant, record.record)

    async def _delete(self, publish: control.Delete) -> None:
        match publish:
            case control.DeleteOnCall():
                await self._directory.delete_oncall(publish.alert_type)
            case control.DeletePublisher():
                await self._publishers.delete(publish.publisher)
            case control.DeleteCategory():
                await self._catalogues.delete_category(publish.category)
            case control.DeleteTenant():
                await self._catalogues.delete_tenant(publish.tenant)

    async def _put_rule(self, rule: NamedRule) -> None:
        what = _NAMES[type(rule)]
        try:
            await self._rulebook.put(getattr(rule, what), rule.record)
        except TooManyRules:
            raise invalid_payload((FieldProblem(what, f"too many: at most {RULES}"),)) from None
        if isinstance(rule, NamedSilence):
            await self._muted.release(f"silence:{rule.silence}")

    async def _delete_rule(self, publish: control.DeleteRule) -> None:
        model, what = _DELETED_RULES[type(publish)]
        await self._rulebook.delete(model, getattr(publish, what))
        if isinstance(publish, control.DeleteSilence):
            await self._muted.release(f"silence:{publish.silence}")

    async def _put_person(self, change: PersonChange) -> None:
        try:
            await self._directory.put(change)
        except TooManyCategories:
            problem = f"too many: at most {CATEGORIES}, with those that are there"
            raise invalid_payload((FieldProblem("preferences.categories", problem),)) from None
        if not change.patch.keys().isdisjoint(_QUIET_FIELDS):
            await self._held.release(change.user_id)

    async def _put_publisher(self, publish: NamedPublisher) -> None:
        try:
            await self._publishers.put(publish.publisher, publish.record)
        except KeyInUse:
            raise invalid_payload((FieldProblem("keys", "one of them is another publisher's"),)) from None

    async def _answer_alert(self, publish: control.Answer, publisher: str, way: Way) -> None:
        alert_id, note = publish.alert_id, publish.note or ""
        match publish:
            case control.AlertAcknowledge():
                answered = await self._answering.acknowledge(alert_id, publish.user_id, note, way=way)
            case control.AlertSnooze():
                answered = await self._answering.snooze(alert_id, publish.user_id, self._end_of(publish), note, way=way)
            case control.AlertReassign():
                answered = await self._answering.reassign(alert_id, publish.user_id, publish.to, note, way=way)
            case control.AlertResolve(user_id=None):
                # Its publisher may, and so may whoever the publisher's record lets.
                answered = await self._answering.over(alert_id, publisher, note, way=way)
            case control.AlertResolve():
                answered = await self._answering.resolve(alert_id, publish.user_id or "", note, way=way)
        if answered is Answered.NOT_TOLD:
            message = "Only somebody who was told of this alert, or an admin, may answer it."
            raise Rejected(RejectionCode.UNAUTHORIZED, message, (FieldProblem("user_id", "was not told"),))
        if answered is Answered.OVER:
            raise invalid_payload((FieldProblem("alert_id", "is over"),))
        if not answered:
            raise _unknown("alert_id")

    def _end_of(self, publish: control.AlertSnooze) -> int:
        """Return until when it is put away, milliseconds since 1970.

        Raises:
            Rejected: that is over, or too far away.
        """
        now = self._clock.now()
        until = now + publish.length if publish.length is not None else publish.until
        if until is None or not now < until <= now + LONGEST_SNOOZE:
            problem = f"must be in the future, and at most {LONGEST_SNOOZE.days} days away"
            raise invalid_payload((FieldProblem("for" if publish.length is not None else "until", problem),))
        return epoch_ms(until)

    async def _forget(self, user_id: str) -> list[Message]:
        """Forget a user with inbox and sessions, and tell the processes that hold sockets of his."""
        await self._directory.delete(user_id)
        nodes = await self._sessions.forget_user(user_id)
        return [(self._topics.node(node), person_changed(user_id)) for node in sorted(nodes)]

    async def _suppress(self, publish: control.Suppress) -> None:
        cause = Cause(publish.reason) if publish.reason else None
        if publish.remove:
            await self._suppressions.lift(digest(publish.address), cause, publish.category)
        elif cause is not None:
            await self._suppressions.add(digest(publish.address), cause, publish.detail or "", publish.category)

    async def _cancel(self, publish: control.Cancel, receipt: AcceptedReceipt) -> list[Message]:
        notification_id = publish.notification_id
        if not publish.recall:
            cancelled = await self._ledger.cancel(notification_id)
            await self._end_mutes(notification_id)
            return self._told_cancelled(notification_id, cancelled)
        recalled = await self._recalling.recall(notification_id)
        await self._end_mutes(notification_id)
        messages = self._told_cancelled(notification_id, recalled.cancelled if recalled else None)
        if recalled is not None:
            receipt["recall"] = _counts(recalled)
            for content, rows in recalled.due:
                messages += jobs_of(self._topics, content, rows)
        return messages

    async def _end_mutes(self, notification_id: str) -> None:
        """Look again at what a cancelled incident, or maintenance, has kept from telling."""
        maintenance = f"{MAINTENANCE_PREFIX}{notification_id}"
        is_maintenance, _ = await asyncio.gather(
            self._rulebook.delete(Silence, maintenance), self._muted.release(f"incident:{notification_id}")
        )
        if is_maintenance:
            await self._muted.release(f"silence:{maintenance}")

    def _told_cancelled(self, notification_id: str, cancelled: Cancelled | None) -> list[Message]:
        """Count what a cancellation has ended, and return the events that tell of it."""
        if cancelled is None:
            raise _unknown("notification_id")
        state, reason = State.SUPPRESSED, Reason.CANCELLED
        messages: list[Message] = []
        for lane, channel, recipient in cancelled.ended:
            if lane != ROUTER_LANE:
                metrics.deliveries.labels(lane, state, reason).inc()
            # The router's own plans tell nobody; what it holds for a person does.
            if cancelled.events and channel != ROUTER_LANE:
                messages.append(
                    event(
                        self._topics, notification_id, state, self._clock,
                        channel=channel, recipient=recipient, reason=reason,
                    )
                )  # fmt: skip
        return messages

    async def _connect(
        self, publish: control.SessionConnect, incoming: Incoming, publisher: str, receipt: AcceptedReceipt
    ) -> SessionReceipt:
        asked = incoming.response_topic
        answer_to = asked if asked and self._topics.is_receipt(asked, publisher) else None
        opened = await self._sessions.open_session(
            publish.user_id,
            publish.session_id,
            reply_to=answer_to,
            correlation=incoming.correlation.hex() if incoming.correlation is not None else None,
            tenant=publish.tenant,
        )
        if opened is None:
            raise Rejected(RejectionCode.RATE_LIMITED, "This user has too many open sessions.")
        return {
            **receipt,
            "session_id": opened.session_id,
            "notifications": opened.pending,
            "unread": opened.unread,
            "system_status": opened.status,
        }


def _counts(recalled: Recalled) -> Recall:
    return {
        "stopped": recalled.stopped,
        "inbox": recalled.taken_back[Channel.REALTIME],
        "push": recalled.taken_back[Channel.PUSH],
        "not_recalled": [
            {"channel": channel, "count": count} for channel, count in sorted(recalled.not_recalled.items())
        ],
    }


def _unknown(name: str) -> Rejected:
    return invalid_payload((FieldProblem(name, "unknown"),))
