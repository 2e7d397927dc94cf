"""Plans what the ledger remembers twice: with the directory as it is, and with changes laid over it.

It is the very planner that the router uses, each notification at its own time, and nothing is written. Both runs begin
with empty throttles and no open digest, and reckon both in memory (``modelling``), so they are compared with each
other, and not with what happened. What is not reckoned again:

- presence: nobody is taken to look at the screen;
- what held notifications meet when their hold ends, and digests when they close;
- an escalation's steps after the first;
- people of a group or a broadcast to whom nothing was sent: the ledger does not name them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.router.explaining.deciding import Decided, Decisions, Verdict
from services.router.explaining.modelling import ModelDigests, ModelWindows
from services.router.explaining.overlay import NOTHING, OverlaidCatalogues, OverlaidDirectory, Overlay, Snapshot
from services.router.explaining.rules import RouterRules
from services.router.payloads.rejection import Rejected
from services.router.planning.alert_texts import OPENED, Occasion
from services.router.planning.compose import Draft
from services.router.planning.known import Known
from services.router.planning.lookups import Lookups
from services.router.planning.person import Texts, crowd_channels
from services.router.planning.planner import Planner
from services.router.planning.tasks import People
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.model import Channel, Content, Notification
from shared.directory.people import Person
from shared.directory.rulebook import Rulebook
from shared.directory.suppression import Entry, Suppressions
from shared.ledger.past import Page, Past, PastNotification
from shared.store.keys import Keys
from shared.store.store import Store

LIMIT = 100_000

# People that are compared one by one; of more, only the totals are told.
PEOPLE = 100_000

# People with a change that are counted; a hundred megabytes.
_CHANGED_PEOPLE = 1_000_000

# Addresses of which it is remembered what the suppression lists say.
_ADDRESSES = 100_000

Outcome = tuple[str, str]
"""A channel, and what became of it: a verdict, or ``suppressed`` with the reason behind a colon."""

# How far the span is read, from 0 to 1, and how many notifications were planned.
Progress = Callable[[float, int], None]


def _nothing_told(_share: float, _planned: int) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Compared:
    """How often each outcome was decided, before and after."""

    before: Counter[Outcome] = field(default_factory=Counter)
    after: Counter[Outcome] = field(default_factory=Counter)


@dataclass(slots=True)
class LeftOut:
    """What could not be planned.

    Attributes:
        expired: records that are gone; ``unreadable``: or cannot be read.
        addresses: that publishers gave: they are no people of the directory.
        unplanned: notifications in whose record no person of the directory stands.
        people: who had to be left out of the comparison person by person.
    """

    expired: int = 0
    unreadable: int = 0
    addresses: int = 0
    unplanned: int = 0
    people: int = 0


@dataclass(slots=True)
class Difference:
    """What a change would have done.

    Attributes:
        notifications: that were planned, and ``decisions`` on a channel of a person.
        changed: decisions that are others afterwards.
        refused: notifications that the router would have refused.
        digests: that were opened.
        changed_people: of very many, a million.
        people: everybody's outcomes; empty where nobody asked for them.
        more: the limit was reached before the end of the span.
        until: until when the span was read.
    """

    since: datetime
    until: datetime
    notifications: int = 0
    decisions: int = 0
    changed: int = 0
    total: Compared = field(default_factory=Compared)
    refused: tuple[int, int] = (0, 0)
    digests: tuple[int, int] = (0, 0)
    changed_people: set[str] = field(default_factory=set)
    people: dict[str, Compared] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=LeftOut)
    more: bool = False


class Replay:
    """Plans the past on one store.

    Args:
        rules: what the router goes by.
        overlay: the change that is asked about.
    """

    def __init__(self, store: Store, keys: Keys, rules: RouterRules, overlay: Overlay) -> None:
        self._past = Past(store, keys)
        snapshot = Snapshot()
        lists = {
            channel: _ReadOnce(store, keys, channel, _Moment(from_epoch_ms(0)))
            for channel in (Channel.EMAIL, Channel.SMS)
        }
        self._runs = tuple(
            _Run(store, keys, rules, each, snapshot=snapshot, lists=lists) for each in (NOTHING, overlay)
        )

    async def run(
        self,
        since: datetime,
        until: datetime,
        *,
        user_id: str | None = None,
        people: bool = False,
        limit: int = LIMIT,
        progress: Progress = _nothing_told,
    ) -> Difference:
        """Compare what was accepted within a span.

        Args:
            user_id: only what went to this person.
            people: compare person by person, too.
            limit: of notifications.
        """
        found = Difference(since, until)
        since_ms, until_ms = epoch_ms(since), epoch_ms(until)
        async with aclosing(self._past.walk(since_ms, until_ms)) as pages:
            async for page in pages:
                found.left_out.expired += page.expired
                found.left_out.unreadable += page.unreadable
                for past in _to_people(page, user_id, found.left_out):
                    if found.notifications >= limit:
                        found.more = True
                        found.until = from_epoch_ms(past.notification.accepted_ms)
                        break
                    await self._compare(past, found, user_id, people=people)
                progress((page.minute * 60_000 - since_ms) / max(1, until_ms - since_ms), found.notifications)
                if found.more:
                    break
        found.digests = self._runs[0].digests.opened, self._runs[1].digests.opened
        return found

    async def _compare(self, past: PastNotification, found: Difference, user_id: str | None, *, people: bool) -> None:
        before, after = [_outcomes(await run.decide(past), user_id) for run in self._runs]
        refused = before is None, after is None
        found.notifications += 1
        found.refused = found.refused[0] + refused[0], found.refused[1] + refused[1]
        first, second = before or {}, after or {}
        for whose in first.keys() | second.keys():
            old, new = first.get(whose, frozenset()), second.get(whose, frozenset())
            found.total.before.update(old)
            found.total.after.update(new)
            found.decisions += max(len(old), len(new))
            found.changed += max(len(old - new), len(new - old))
            if old != new and len(found.changed_people) < _CHANGED_PEOPLE:
                found.changed_people.add(whose)
            if not people:
                continue
            compared = found.people.get(whose)
            if compared is None and len(found.people) >= PEOPLE:
                found.left_out.people += 1
                continue
            compared = found.people.setdefault(whose, Compared())
            compared.before.update(old)
            compared.after.update(new)


def changed(people: Mapping[str, Compared]) -> Iterable[tuple[str, Compared]]:
    """Return those for whom something changes, in their order."""
    return ((user_id, each) for user_id, each in sorted(people.items()) if each.before != each.after)


def _to_people(page: Page, user_id: str | None, left_out: LeftOut) -> Iterable[PastNotification]:
    """Return what went to people of the directory."""
    for past in page.found:
        if past.notification.kind == "digest":
            # What came into it is planned itself.
            continue
        left_out.addresses += past.direct
        is_alert = past.notification.content.alert is not None
        if not past.user_ids and not is_alert:
            left_out.unplanned += not past.direct
        elif user_id is None or is_alert:
            yield past
        elif user_id in past.user_ids:
            yield replace(past, user_ids=(user_id,))


def _outcomes(decided: Sequence[Decided] | None, user_id: str | None) -> dict[str, frozenset[Outcome]] | None:
    """Sum up each person's channels; None for a notification that was refused."""
    if decided is None:
        return None
    found: dict[str, set[Outcome]] = {}
    for one in decided:
        if one.user_id is not None and (user_id is None or one.user_id == user_id):
            word = one.verdict.value + (f":{one.reason}" if one.verdict is Verdict.SUPPRESSED else "")
            found.setdefault(one.user_id, set()).add((one.channel, word))
    return {whose: frozenset(outcomes) for whose, outcomes in found.items()}


@dataclass(slots=True)
class _Moment:
    """A clock that is set."""

    at: datetime

    def now(self) -> datetime:
        return self.at


class _ReadOnce(Suppressions):
    """A suppression list that remembers what it was asked."""

    _known: dict[str, list[Entry]]

    async def listed(self, address_digests: Iterable[str]) -> dict[str, list[Entry]]:
        """Return the reasons against those of the addresses that have any."""
        known = self.__dict__.setdefault("_known", {})
        if len(known) > _ADDRESSES:
            known.clear()
        asked = list(address_digests)
        missing = [each for each in asked if each not in known]
        found = await super().listed(missing)
        known |= {each: found.get(each, []) for each in missing}
        return {each: known[each] for each in asked if known[each]}


class _Unworded(Planner):
    """A planner that writes no texts: what templates say decides nothing."""

    def texts(self, notification: Notification, known: Known, occasion: Occasion = OPENED) -> Texts:  # noqa: ARG002 - the base's shape
        return _says_nothing


def _says_nothing(_channel: Channel, _person: Person) -> Content | None:
    return None


class _Run:
    """One of the two: a planner on a directory, with throttles and digests of its own."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        rules: RouterRules,
        overlay: Overlay,
        *,
        snapshot: Snapshot,
        lists: Mapping[Channel, Suppressions],
    ) -> None:
        self._clock = _Moment(from_epoch_ms(0))
        self._lifetime_ms = rules.lifetime_s * 1000
        self.digests = ModelDigests()
        self._decisions = Decisions(lists, self.digests)
        self._planner = _Unworded(
            Lookups(
                OverlaidDirectory(store, keys, self._clock, overlay, snapshot),
                OverlaidCatalogues(store, keys, overlay, snapshot),
                keys,
                self._clock,
                rules.alert_escalation_after_s,
                rulebook=Rulebook(store, keys),
                windows=ModelWindows(lambda: epoch_ms(self._clock.now())),
                daily_limit=rules.person_daily_limit,
                quiet_hours=rules.quiet_hours,
                release_within_s=rules.release_within_s,
            )
        )

    async def decide(self, past: PastNotification) -> list[Decided] | None:
        """Plan a notification at its time; None if it is refused then."""
        notification, planner = past.notification, self._planner
        at_ms = max(notification.accepted_ms, past.due_ms)
        self._clock.at = from_epoch_ms(at_ms)
        expires_ms = notification.deadline_ms or at_ms + self._lifetime_ms
        alert = notification.content.alert
        draft = Draft(
            notification,
            None if alert else People(user_ids=past.user_ids, only_push=past.only_push),
            direct=(),
            send_at_ms=0,
            expires_ms=expires_ms,
            fingerprint="",
            # A part counts as the whole does.
            idempotency_key=notification.public_id,
            packet="",
            dedup_key="",
            alert_type=alert.type if alert else None,
        )
        known = await planner.look_up([draft])
        try:
            draft = planner.settled(draft, known)
        except Rejected:
            return None
        notification = draft.notification
        if notification.part_of is not None and isinstance(draft.audience, People):
            channels = crowd_channels(notification, known.category(notification))
            rows = planner.people_rows(
                notification, draft.audience, expires_ms, known, channels, lifetime_ms=expires_ms - at_ms
            )
        else:
            rows = planner.rows(
                notification, draft.audience, draft.alert_type, expires_ms, known, due_ms=past.due_ms or None
            )
        return await self._decisions.decide(planner, notification, rows, known)
