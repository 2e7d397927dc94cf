"""The warnings of a receipt: which parts of an accepted notification will not happen.

Pure. It uses only what was looked up for the batch. Some things become known later, and only events and traces tell
them: the addresses of people, the people of a crowd, and whatever is planned at a later time.
"""

from collections.abc import Collection, Iterator, Sequence

from services.router.payloads.mails import EmailBatch
from services.router.payloads.parse import Publish
from services.router.payloads.rejection import PROBLEMS_SHOWN, FieldProblem
from services.router.planning.compose import Draft
from services.router.planning.known import Known
from services.router.planning.lookups import listed_as
from services.router.planning.tasks import Crowd, People
from shared.core.errors import Reason
from shared.core.model import Channel, Delivery, State
from shared.core.topics import Kind
from shared.directory.suppression import refusal
from shared.ledger.new_records import NewRow

UNKNOWN_RECIPIENT = "unknown recipient"
NOBODY_IN_GROUP = "nobody in this group"
UNKNOWN_CATEGORY = "unknown category"
UNKNOWN_TENANT = "unknown tenant"
LEFT_OUT = "this system does without it"
NOBODY_TO_TELL = "nobody to tell: no admin, and nobody on call"

# Reasons that give no warning here. Choices and addresses are the person's own business. The publisher knows which
# channels it asked for. Unknown recipients and channels that are left out have a warning of their own.
_NOT_TOLD = frozenset({
    Reason.PREFERENCE_OFF, Reason.NO_ADDRESS, Reason.CHANNEL_RULE, Reason.UNKNOWN_RECIPIENT, Reason.NO_RECIPIENT,
    Reason.NOT_SERVED,
})  # fmt: skip

_SUPPRESSED = {Reason.BOUNCED: "suppressed: bounced", Reason.OPTED_OUT: "suppressed: opted out"}


def foreseen(
    publish: Publish, draft: Draft, known: Known, rows: Sequence[NewRow], without: Collection[Channel] = ()
) -> list[FieldProblem]:
    """Warn of what will not happen.

    Args:
        rows: what is written at its acceptance.
        without: channels that this system does without.
    """
    found = [*_of_audience(draft, known), *_of_catalogue(publish, draft, known)]
    if without:
        found += _of_left_out(draft, rows, without)
    if known.unwanted:
        found += _of_addresses(publish, draft, known)
    if draft.alert_type is not None:
        found += _of_alert(rows)
    if isinstance(draft.audience, People) or draft.alert_type is not None:
        # Of several people on call, each row says the same.
        found += dict.fromkeys(_of_stages(rows))
    more = len(found) - PROBLEMS_SHOWN
    return [*found[:PROBLEMS_SHOWN], FieldProblem("", f"and {more} more")] if more > 0 else found


def _of_audience(draft: Draft, known: Known) -> Iterator[FieldProblem]:
    match draft.audience:
        case People(user_ids=user_ids):
            if not known.people.keys() >= set(user_ids):
                yield FieldProblem("user_id", UNKNOWN_RECIPIENT)
        case Crowd(groups=groups) if groups is not None and known.empty_groups:
            # The only group of a topic stands in the topic, several in the payload.
            of_topic = draft.notification.kind == Kind.REALTIME_GROUP
            for index, group in enumerate(groups):
                if group in known.empty_groups:
                    yield FieldProblem("group_id" if of_topic else f"target_groups.{index}", NOBODY_IN_GROUP)


def _of_catalogue(publish: Publish, draft: Draft, known: Known) -> Iterator[FieldProblem]:
    notification = draft.notification
    name = notification.content.category
    category = known.category(notification)
    if name is not None and category is None:
        yield FieldProblem("category", UNKNOWN_CATEGORY)
    if isinstance(publish, EmailBatch):
        for index, mail in enumerate(publish.emails):
            if mail.category not in (None, name) and known.category(notification, mail.category) is None:
                yield FieldProblem(f"emails.{index}.category", UNKNOWN_CATEGORY)
    if notification.tenant is not None and known.tenant(notification) is None:
        yield FieldProblem("tenant", UNKNOWN_TENANT)
    said = getattr(publish, "priority", notification.priority)
    if category is not None and said != notification.priority:
        yield FieldProblem("priority", f"{notification.priority} at most in this category")


def _of_addresses(publish: Publish, draft: Draft, known: Known) -> Iterator[FieldProblem]:
    for index, delivery in enumerate(draft.direct):
        entries = known.unwanted.get(listed_as(delivery), ())
        category = (delivery.content or draft.notification.content).category
        of_category = known.category(draft.notification, category)
        required = of_category is not None and of_category.record.policy == "required"
        reason = refusal(delivery.channel, entries, delivery.priority, category, required=required)
        if reason is not None:
            name = "to" if delivery.channel is Channel.EMAIL else "phone"
            field = f"emails.{index}.{name}" if isinstance(publish, EmailBatch) else name
            yield FieldProblem(field, _SUPPRESSED[reason])


def _of_stages(rows: Sequence[NewRow]) -> Iterator[FieldProblem]:
    for new in rows:
        if new.state.is_end and isinstance(new.row, Delivery) and new.reason not in _NOT_TOLD:
            # What would expire before the end of quiet hours has expired now.
            yield FieldProblem("channels", f"{new.row.channel} {new.state}: {new.reason} ({new.row.rule})")


def _of_left_out(draft: Draft, rows: Sequence[NewRow], without: Collection[Channel]) -> Iterator[FieldProblem]:
    """Warn of a channel that the publisher names, and of every one if nothing else is left."""
    named = draft.notification.channels or ()
    missed = {new.row.lane for new in rows if new.reason is Reason.NOT_SERVED}
    if not all(new.state.is_end for new in rows):
        missed = set()
    for channel in Channel:
        if channel in without and (channel in named or channel in missed):
            yield FieldProblem("channels", f"{channel}: {LEFT_OUT}")


def _of_alert(rows: Sequence[NewRow]) -> Iterator[FieldProblem]:
    ended = [new.reason for new in rows if new.state is State.SUPPRESSED]
    if Reason.NO_RECIPIENT in ended:
        yield FieldProblem("alert_type", NOBODY_TO_TELL)
    if Reason.UNKNOWN_RECIPIENT in ended:
        yield FieldProblem("alert_type", f"{UNKNOWN_RECIPIENT} on call")
