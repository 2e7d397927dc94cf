"""What is written of a publish that is accepted: its record, and the first lines of an incident. Pure."""

import json
from collections.abc import Iterable, Sequence

from services.router.intake.taken import Taken
from services.router.payloads import notifications
from services.router.payloads.mails import EmailBatch
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode, invalid_payload
from services.router.planning.compose import Draft
from services.router.planning.tasks import WAITS, Plan, Task
from services.router.planning.telling import told_lines
from shared.core.clock import epoch_ms
from shared.core.errors import Reason
from shared.core.incidents import AlertState, Happened, Way, line
from shared.core.model import Channel, Delivery, Priority, State, UserInbox
from shared.core.topics import PLAIN_PUBLISHER
from shared.directory.publishers import Publisher
from shared.ledger.new_records import GROUP_PLACE, NewMember, NewRecord, NewRow

# So much of a member's message is kept for messages about its group.
_MEMBER_CHARS = 500

# Why an alert that is accepted tells nobody.
MUTES = frozenset({Reason.SILENCED, Reason.INHIBITED, Reason.MAINTENANCE, Reason.FLAPPING})


def record_of(taken: Taken, draft: Draft, rows: list[NewRow], way: Way) -> NewRecord:
    """Put together what the ledger writes."""
    return NewRecord(
        notification=draft.notification,
        rows=rows,
        fingerprint=draft.fingerprint,
        idempotency_key=draft.idempotency_key,
        packet=draft.packet,
        is_repeated=taken.incoming.is_repeated,
        dedup_key=draft.dedup_key,
        alert=AlertState.OPEN if draft.alert_type is not None else None,
        is_incident=draft.is_incident,
        says=first_lines(draft, rows, way) if draft.is_incident else (),
        member=new_member(draft) if draft.member_key else None,
        share=taken.record.share,
    )


def first_lines(draft: Draft, rows: Sequence[NewRow], way: Way) -> list[str]:
    """Write how an incident begins: who has opened it, and who is told at once."""
    opened = line(Happened.OPENED, by=draft.notification.publisher or PLAIN_PUBLISHER, way=way)
    is_later = any(isinstance(new.row, Task) and isinstance(new.row.what, Plan) for new in rows)
    mutes = [
        line(Happened(new.reason), rule=new.row.rule)
        for new in rows
        if isinstance(new.row, Delivery) and new.reason in MUTES
    ]
    waits = any(WAITS in new.needs for new in rows)
    if is_later or waits or draft.notification.priority is not Priority.CRITICAL:
        return [opened, *mutes]
    return [opened, *told_lines(rows, "0")]


def new_member(draft: Draft) -> NewMember:
    """Say what an alert is in a group, and what is written where it becomes a member of one that is open."""
    content = draft.notification.content
    alert = content.alert
    said = {
        "message": content.message[:_MEMBER_CHARS],
        "source": alert.source if alert is not None else None,
        "systems": list(alert.affected_systems) if alert is not None else [],
        "starts_ms": epoch_ms(alert.starts_at) if alert is not None and alert.starts_at is not None else 0,
    }
    row = Delivery(
        key="realtime:group",
        channel=Channel.REALTIME,
        priority=draft.notification.priority,
        address=UserInbox(user_id="group"),
        expires_ms=draft.expires_ms,
        rule="policy:group",
        digest=GROUP_PLACE,
    )
    return NewMember(draft.member_key, json.dumps(said), NewRow(row, State.SUPPRESSED, Reason.GROUPED))


def check_ending(draft: Draft) -> None:
    """Refuse to end an alert that nothing names.

    Raises:
        Rejected: with the code ``invalid_payload``.
    """
    if not draft.dedup_key or (draft.group is not None and not draft.member_key):
        raise invalid_payload((FieldProblem("dedup_key", "required, to say which alert is over"),))


def priorities(publish: notifications.Notification) -> Iterable[Priority]:
    """Say how urgent a publish is, with each mail of a batch."""
    if not isinstance(publish, EmailBatch):
        return (publish.priority,)
    return {publish.priority, *(mail.priority for mail in publish.emails)}


def tenant_of(publisher: str, record: Publisher, said: str | None) -> str | None:
    """Return the tenant of a publisher's notification.

    Raises:
        Rejected: it says another one than its publisher's.
    """
    if record.tenant is not None and said not in (None, record.tenant):
        message = f"The notifications of {publisher} belong to one tenant."
        raise Rejected(RejectionCode.UNAUTHORIZED, message, (FieldProblem("tenant", "is not the publisher's"),))
    return said or record.tenant
