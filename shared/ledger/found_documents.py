"""What a search has found, as JSON objects; times that do not apply are null."""

from shared.core.clock import rfc3339
from shared.core.model import State
from shared.ledger.finding import Page
from shared.ledger.found import Found, FoundDelivery
from shared.ledger.trace_document import confirmation_document


def page_document(page: Page) -> dict[str, object]:
    """Return a page; ``complete`` is false where the time was over before it was full."""
    return {
        "found": [found_document(each) for each in page.found],
        "cursor": page.cursor,
        "complete": not page.is_cut,
    }


def found_document(found: Found) -> dict[str, object]:
    """Return a notification with those of its deliveries that were asked for."""
    return {
        "notification_id": found.notification_id,
        "record_id": found.record_id,
        "at": rfc3339(found.at),
        "accepted_at": rfc3339(found.accepted_at),
        "kind": found.kind,
        "category": found.category,
        "priority": found.priority,
        "publisher": found.publisher,
        "tenant": found.tenant,
        "deliveries": [_delivery_document(each) for each in found.deliveries],
        "counts": [
            {"channel": channel, "outcome": outcome, "reason": reason or None, "count": count}
            for (channel, outcome, reason), count in found.counts.items()
        ],
    }


def _delivery_document(row: FoundDelivery) -> dict[str, object]:
    return {
        "key": row.key,
        "channel": row.channel,
        "recipient": row.recipient,
        "to": row.to or None,
        "state": row.state.value,
        "outcome": row.outcome,
        "reason": row.reason or None,
        "rule": row.rule,
        "digest": row.digest,
        "confirmation": confirmation_document(row.later) if row.later is not None else None,
        "held": row.is_held,
        "at": rfc3339(row.at),
        "next_at": rfc3339(row.until) if row.state is State.PENDING else None,
        "ended_at": rfc3339(row.until) if row.state.is_end else None,
    }
