"""Says in words what planned rows mean: what becomes of each channel of each person, when, and which rule says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.router.planning.digesting import group_of, opening_of
from services.router.planning.known import Known
from services.router.planning.lookups import listed, listed_as
from services.router.planning.planner import Planner
from services.router.planning.stages import of_digest
from services.router.planning.tasks import Escalation, Fold, Recheck, Task
from shared.core.clock import from_epoch_ms
from shared.core.model import Channel, Delivery, Notification, State, UserInbox
from shared.directory.masking import masked
from shared.directory.suppression import Entry, Suppressions, refusal
from shared.ledger.digests import Foreseen, Opening
from shared.ledger.new_records import NewRow


class Verdict(StrEnum):
    """What becomes of a channel."""

    SEND = "send"
    SILENT = "silent"
    """It stands in the inbox, and nothing draws attention to it."""
    HELD = "held"
    DIGEST = "digest"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    ESCALATES = "escalates"
    """The next people are told, unless somebody acknowledges."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What becomes of one channel of one person.

    Attributes:
        user_id: None for an address that the publisher gave, and for what everybody reads.
        rule: who decided; None where nothing stood against it.
        at: when it is sent, or told in a digest; None for at once, and for what is not sent.
        address: masked; empty where there is none.
    """

    user_id: str | None
    channel: str
    verdict: Verdict
    reason: str | None = None
    rule: str | None = None
    at: datetime | None = None
    address: str = ""


class DigestWindows(Protocol):
    """Which digests are open."""

    async def foresee(self, group: str, opening: Opening, *, now_ms: int) -> Foreseen:
        """Say where the next item of a group would be."""


class Decisions:
    """Says what becomes of planned rows, in the channels, too.

    Args:
        lists: what the channels ask before a send.
        digests: which windows are open.
    """

    def __init__(self, lists: Mapping[Channel, Suppressions], digests: DigestWindows) -> None:
        self._lists = lists
        self._digests = digests

    async def decide(
        self, planner: Planner, notification: Notification, rows: Sequence[NewRow], known: Known
    ) -> list[Decided]:
        """Say in words what rows mean, and what the channels will say to them."""
        told: list[Decided | NewRow] = []
        for new in rows:
            if isinstance(new.row, Task) and isinstance(new.row.what, Fold):
                told += await self._folded(planner, notification, new.row.what, known)
            else:
                told.append(new)
        rows = [each for each in told if isinstance(each, NewRow)]
        addresses = {listed_as(new.row) for new in rows if isinstance(new.row, Delivery) and not new.state.is_end}
        unwanted = await listed(self._lists, addresses)
        found: dict[Decided, None] = {}
        for each in told:
            if isinstance(each, Decided):
                one: Decided | None = each
            elif isinstance(each.row, Task):
                one = _of_task(each.row)
            elif isinstance(each.row, Delivery):
                one = _of_delivery(notification, each.row, each, unwanted.get(listed_as(each.row), ()))
            else:
                one = None
            if one is not None:
                found[one] = None
        return list(found)

    async def _folded(
        self, planner: Planner, notification: Notification, what: Fold, known: Known
    ) -> list[Decided | NewRow]:
        """Say into which window a channel comes, or plan it where it goes out alone."""
        category, person = known.category(notification), known.people.get(what.user_id)
        if category is not None and person is not None:
            opening = opening_of(notification, what, known, category, person)
            if opening is not None:
                window = await self._digests.foresee(group_of(notification, what), opening, now_ms=known.now_ms)
                if not window.alone:
                    ends = from_epoch_ms(window.ends_ms)
                    return [Decided(what.user_id, what.channel, Verdict.DIGEST, None, what.rule or None, ends)]
        return [*planner.channel_rows(notification, what, known, of_digest(planner.stages))]


def _of_task(task: Task) -> Decided | None:
    match task.what:
        case Recheck(user_id=user_id, channel=channel, rule=rule):
            return Decided(user_id, channel, Verdict.HELD, None, rule or None, from_epoch_ms(task.due_ms))
        case Escalation():
            return Decided(None, "", Verdict.ESCALATES, at=from_epoch_ms(task.due_ms))
        case _:
            return None


def _of_delivery(notification: Notification, row: Delivery, new: NewRow, entries: Sequence[Entry]) -> Decided:
    user_id, channel, rule = row.recipient, row.channel.value, row.rule
    if new.state is State.EXPIRED:
        return Decided(user_id, channel, Verdict.EXPIRED, new.reason, rule)
    if new.state.is_end:
        return Decided(user_id, channel, Verdict.SUPPRESSED, new.reason, rule)
    address = masked(row.address)
    category = (row.content or notification.content).category
    refused = refusal(row.channel, entries, row.priority, category, required=row.required is True)
    if refused is not None:
        return Decided(user_id, channel, Verdict.SUPPRESSED, refused, "address:suppression", address=address)
    if isinstance(row.address, UserInbox) and (row.address.silent or not row.address.live):
        return Decided(user_id, channel, Verdict.SILENT, None, rule)
    at = from_epoch_ms(row.due_ms) if row.due_ms else None
    verdict = Verdict.HELD if row.unless_seen and at is not None else Verdict.SEND
    return Decided(user_id, channel, verdict, None, rule, at, address)
