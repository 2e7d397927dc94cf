"""What is explained, as JSON documents: the same for the commands and for the operators' HTTP."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from services.router.explaining.deciding import Verdict
from services.router.explaining.explainer import Explanation
from services.router.explaining.replaying import Compared, Difference, Outcome, changed
from shared.core.channels import Channel
from shared.core.clock import rfc3339
from shared.directory.categories import KnownCategory

# Of people that something changes for, so many are shown.
PEOPLE_SHOWN = 1_000


def explanation_document(explanation: Explanation) -> dict[str, object]:
    """Return an explanation for JSON."""
    refused = explanation.refused
    return {
        "accepted": refused is None,
        "error": None if refused is None else refused.receipt()["error"],
        "priority": explanation.priority,
        "category": explanation.category,
        "warnings": [each.document() for each in explanation.warnings],
        "decided": [
            {
                "user_id": one.user_id,
                "channel": one.channel or None,
                "verdict": one.verdict,
                "reason": one.reason,
                "rule": one.rule,
                "at": rfc3339(one.at) if one.at else None,
                "address": one.address or None,
            }
            for one in explanation.decided
        ],
        "more": explanation.more,
    }


def category_document(known: KnownCategory) -> dict[str, Any]:
    """Return a category as it holds for a tenant, or for all, for JSON."""
    return {"name": known.name, **known.record.model_dump(mode="json", exclude_none=True)}


def difference_document(difference: Difference, *, people: bool) -> dict[str, object]:
    """Return what a change would have done for JSON.

    Args:
        people: person by person, too.
    """
    left_out = difference.left_out
    document: dict[str, object] = {
        "since": rfc3339(difference.since),
        "until": rfc3339(difference.until),
        "complete": not difference.more,
        "notifications": difference.notifications,
        "decisions": difference.decisions,
        "changed": {"decisions": difference.changed, "people": len(difference.changed_people)},
        "channels": channels_of(difference.total),
        "refused": dict(zip(("before", "after"), difference.refused, strict=True)),
        "digests": dict(zip(("before", "after"), difference.digests, strict=True)),
        "left_out": {
            "expired": left_out.expired,
            "unreadable": left_out.unreadable,
            "addresses": left_out.addresses,
            "without_people": left_out.unplanned,
        },
    }
    if people:
        some = list(changed(difference.people))
        document["people"] = [
            {"user_id": user_id, "channels": channels_of(each)} for user_id, each in some[:PEOPLE_SHOWN]
        ]
        document["more_people"] = max(0, len(some) - PEOPLE_SHOWN) + left_out.people
    return document


def channels_of(compared: Compared) -> dict[str, dict[str, dict[str, object]]]:
    """Return the outcomes of each channel that has any, before and after."""
    return {
        channel.value: {"before": before, "after": after}
        for channel in Channel
        for before, after in ((_outcomes(compared.before, channel), _outcomes(compared.after, channel)),)
        if before or after
    }


def _outcomes(counts: Counter[Outcome], channel: Channel) -> dict[str, object]:
    found: dict[str, object] = {}
    suppressed: dict[str, int] = {}
    for word, count in _of_channel(counts, channel):
        verdict, _, reason = word.partition(":")
        if verdict == Verdict.SUPPRESSED:
            suppressed[reason] = count
        else:
            found[verdict] = count
    return {**found, **({"suppressed": suppressed} if suppressed else {})}


def _of_channel(counts: Counter[Outcome], channel: Channel) -> Iterable[tuple[str, int]]:
    return sorted((word, count) for (of, word), count in counts.items() if of == channel and count)
