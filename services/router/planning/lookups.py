"""What planning needs to know, looked up for a whole batch in as few round trips as there are dependencies.

It reads the directory, the catalogue, presence and the suppression lists, and counts throttles. Planning itself asks
nothing: it is a function of what is ``Known``.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from time import monotonic
from types import MappingProxyType
from typing import NamedTuple

from services.router.alerts.noise import NO_INCIDENTS, OpenIncident, OpenIncidents
from services.router.alerts.oncall import Group, Members, Target, User, escalation, targets_of
from services.router.planning.compose import Draft
from services.router.planning.facts import (
    Limit,
    Then,
    UnusableKey,
    priority_in,
    unusable_key,
    value_at,
)
from services.router.planning.known import Flap, Known, told
from services.router.planning.stages import HELD_MOST_MS, MAY_WAIT
from services.router.planning.tasks import Crowd, People
from shared.core.clock import Clock, epoch_ms
from shared.core.durations import milliseconds
from shared.core.model import Channel, Delivery, EmailAddress, Notification, PhoneNumber, Priority
from shared.directory.catalogue import NO_CATALOGUE, Catalogue, Catalogues
from shared.directory.categories import KnownCategory
from shared.directory.directory import Directory, admins_among
from shared.directory.inhibitions import Inhibition
from shared.directory.people import OnCall
from shared.directory.policies import EscalationPolicy
from shared.directory.quiet_hours import QuietHours
from shared.directory.rulebook import Rulebook
from shared.directory.schedule import everybody_on_call, on_call, second_on_call
from shared.directory.silences import Silence
from shared.directory.suppression import Entry, Suppressions, digest
from shared.inbox.presence import Presence
from shared.ledger.inhibiting import Inhibiting
from shared.store.keys import Keys
from shared.store.windows import Ask, Counted, Windows

log = logging.getLogger(__name__)

DAY_MS = 24 * 3600 * 1000

# For so long open incidents are remembered: with many of them, reading takes some time.
INCIDENTS_KNOWN_S = 1.0

# Of a group, so many are told by a step of an escalation: it is no broadcast.
GROUP_TOLD = 200

# People, and categories with tenants, that are remembered from one batch to the next.
LATELY_MOST = 20_000


class Counting(NamedTuple):
    """A throttle to be counted for one notification and person.

    Attributes:
        name: of the notification, the same when it is sent again.
    """

    notification_id: str
    user_id: str
    ask: Ask
    then: Then
    rule: str


ReadIncidents = Callable[[], Awaitable[Sequence[Inhibiting]]]
OpenAlerts = Callable[[Collection[str]], Awaitable[frozenset[str]]]

# A notification, its name, and those whom it may be told.
Named = tuple[Notification, str, Sequence[str]]


class Lately:
    """What was there a moment ago, at most so much of it."""

    def __init__(self) -> None:
        self.known = Known({}, {}, {}, ())

    @property
    def catalogue(self) -> Catalogue:
        """Categories and tenants."""
        return self.known.catalogue

    def learn(self, known: Known) -> None:
        """Take note of what was found."""
        before, now = self.catalogue, known.catalogue
        is_full = max(len(self.known.people), len(before.categories), len(before.tenants)) > LATELY_MOST
        people = {} if is_full else self.known.people
        people |= known.people
        if is_full or now is not NO_CATALOGUE:
            categories = {**({} if is_full else before.categories), **now.categories}
            tenants = {**({} if is_full else before.tenants), **now.tenants}
            before = Catalogue(categories, tenants)
        self.known = replace(self.known, people=people, catalogue=before)


class Lookups:
    """Looks up on one store.

    Args:
        escalation_after_s: when the admins are told again of an alert whose type has no escalation of its own.
        rulebook: holds the policies that on-call entries name.
        presence: who is looking; None holds no push back.
        push_hold_s: how long a push waits for somebody who is looking; 0 holds none back.
        suppressions: the lists that channels ask before a send, for warnings at acceptance.
        windows: counts throttles; None counts none.
        incidents: reads those that inhibit others; they are remembered for ``incidents_known_s``.
        open_alerts: tells of which dedup keys an alert is open; None where nobody knows.
        daily_limit: how many notifications a person hears within a day; 0 is no limit.
        quiet_hours: of everybody whom nobody else says any for.
        release_within_s: what quiet time has held leaves spread over so long.
    """

    def __init__(
        self,
        directory: Directory,
        catalogues: Catalogues,
        keys: Keys,
        clock: Clock,
        escalation_after_s: float,
        *,
        rulebook: Rulebook,
        presence: Presence | None = None,
        push_hold_s: float = 0,
        suppressions: Mapping[Channel, Suppressions] = MappingProxyType({}),
        windows: Windows | None = None,
        open_alerts: OpenAlerts | None = None,
        incidents: ReadIncidents | None = None,
        incidents_known_s: float = INCIDENTS_KNOWN_S,
        daily_limit: int = 0,
        quiet_hours: QuietHours | None = None,
        release_within_s: float = 0,
    ) -> None:
        self.directory = directory
        self._catalogues = catalogues
        self.rulebook = rulebook
        self._keys = keys
        self._clock = clock
        self._escalation_after_s = escalation_after_s
        self._presence = presence if push_hold_s else None
        self._push_hold_ms = round(push_hold_s * 1000)
        self._suppressions = suppressions
        self._windows = windows
        self._open_alerts = open_alerts
        self._daily_limit = daily_limit
        self._quiet_hours = quiet_hours
        self._read_incidents = incidents
        self._incidents_known_s = incidents_known_s
        self._incidents = (-math.inf, NO_INCIDENTS)
        self._lately = Lately()
        self._release_within_ms = round(release_within_s * 1000)

    async def of_drafts(self, drafts: Sequence[Draft]) -> Known:
        """Read what planning these drafts and their receipts need, and count them."""
        alert_types = {draft.alert_type for draft in drafts if draft.alert_type is not None}
        user_ids = {
            user_id for draft in drafts if isinstance(draft.audience, People) for user_id in draft.audience.user_ids
        }
        groups = {
            group for draft in drafts if isinstance(draft.audience, Crowd) for group in draft.audience.groups or ()
        }
        addresses = {listed_as(delivery) for draft in drafts for delivery in draft.direct}
        notifications = [draft.notification for draft in drafts]
        contents = [delivery.content for draft in drafts for delivery in draft.direct if delivery.content is not None]
        categories = {content.category for content in contents if content.category is not None}
        known, empty_groups, unwanted, counted, repeated = await asyncio.gather(
            self._look_up(alert_types, user_ids, notifications, categories),
            self.directory.empty_groups(sorted(groups)),
            listed(self._suppressions, addresses),
            self._foreseen(drafts),
            self._repeated({draft.dedup_key for draft in drafts if draft.dedup_key}),
        )
        if groups or addresses:
            known = replace(known, empty_groups=empty_groups, unwanted=unwanted)
        if self._windows is not None:
            self._lately.learn(known)
        # A duplicate is told to nobody.
        new = [draft for draft in drafts if draft.dedup_key not in repeated] if repeated else drafts
        flapping = await self._flapping([draft for draft in new if draft.alert_type is not None], known)
        if flapping:
            known = replace(known, flapping=flapping)
        return await self._counted(known, _named(new, known), counted)

    async def _flapping(self, drafts: Sequence[Draft], known: Known) -> dict[str, Flap]:
        """Count how often each of these alerts has begun lately, where its policy asks for that."""
        asked = [
            (draft, policy.flapping)
            for draft in drafts
            if draft.dedup_key
            and (policy := known.policies.get(draft.alert_type or ""))
            and policy.flapping is not None
        ]
        if not asked or self._windows is None:
            return {}
        keys = [self._keys.muted(f"flap:{_digest_of(draft.dedup_key)}") for draft, _ in asked]
        begun = await self._windows.count(
            [
                Ask(f"{key}:begun", _name_of(draft), flapping.times - 1, milliseconds(flapping.within), "refuse")
                for key, (draft, flapping) in zip(keys, asked, strict=True)
            ]
        )
        over = [
            (key, draft, flapping)
            for key, (draft, flapping), counted in zip(keys, asked, begun, strict=True)
            if counted.at_ms != 0
        ]
        told_of = await self._windows.count(
            [
                Ask(f"{key}:told", _name_of(draft), 1, milliseconds(flapping.hold), "retry")
                for key, draft, flapping in over
            ]
        )
        return {
            draft.notification.id: Flap(
                flapping, None if counted.at_ms == 0 else known.now_ms + max(counted.wait_ms, 1000)
            )
            for (_, draft, flapping), counted in zip(over, told_of, strict=True)
        }

    async def _repeated(self, dedup_keys: Collection[str]) -> frozenset[str]:
        if not dedup_keys or self._windows is None or self._open_alerts is None:
            return frozenset()
        return await self._open_alerts(dedup_keys)

    async def _foreseen(self, drafts: Sequence[Draft]) -> dict[Ask, Counted]:
        """Count beside the look-up what the categories of a moment ago count, which saves waiting for the store twice.

        Only for people who were there a moment ago: of others nothing is to be written. Where a category has changed
        meanwhile, it is counted anew. A name counts once.
        """
        if self._windows is None or not self._lately.catalogue.categories:
            return {}
        known = replace(self._lately.known, now_ms=epoch_ms(self._clock.now()))
        countings = [
            each for one in self._wanted(known, _named(drafts, known)) if (each := self._of_category(known, *one))
        ]
        if not countings:
            return {}
        asks = [each.ask for each in countings]
        return dict(zip(asks, await self._windows.count(asks), strict=True))

    async def policies(self, alert_types: set[str]) -> dict[str, EscalationPolicy]:
        """Return how alerts of these types are told, where a record says so."""
        entries = await self.directory.oncall(alert_types)
        named = {entry.policy for entry in entries.values() if entry.policy is not None}
        found = await self.rulebook.get(EscalationPolicy, sorted(named))
        return {each: policy for each in alert_types if (policy := _policy_of(entries.get(each), found)) is not None}

    async def of_alert(
        self,
        notification: Notification,
        alert_type: str | None,
        user_ids: Collection[str],
        targets: Sequence[Target] = (),
    ) -> Known:
        """Read what planning one notification needs, of an alert or for people, at a later time; and count it.

        Args:
            targets: whom a step of its escalation tells, beside those of the chain as it would be laid out now.
        """
        alert_types = {alert_type} if alert_type else set()
        known = await self._look_up(alert_types, set(user_ids), [notification], targets=targets)
        recipients = tuple(user_ids) if alert_type is None else told((Group.ONCALL, Group.ADMINS), known, alert_type)
        return await self._counted(known, [(notification, notification.public_id, recipients)])

    async def of_readers(self, notifications: Sequence[Notification], user_ids: Sequence[str]) -> Known:
        """Read what the facts about these people and notifications are made of, and count nothing."""
        return await self._look_up(set(), set(user_ids), notifications)

    async def of_people(
        self, notification: Notification, user_ids: Sequence[str], *, counts: bool = True, pushes: bool = True
    ) -> Known:
        """Read what planning a notification for these people needs.

        Args:
            counts: false for what was counted before.
            pushes: false where no push is planned, which is all that waits for those who are looking.
        """
        known = await self._look_up(set(), set(user_ids), [notification], pushes=pushes)
        return await self._counted(known, [(notification, notification.public_id, user_ids)]) if counts else known

    async def _look_up(
        self,
        alert_types: set[str],
        user_ids: set[str],
        notifications: Sequence[Notification],
        categories: Collection[str] = (),
        targets: Sequence[Target] = (),
        *,
        pushes: bool = True,
    ) -> Known:
        named_in = {one.content.category for one in notifications if one.content.category is not None}
        tenants = {one.tenant for one in notifications if one.tenant is not None}
        catalogue = self._catalogues.look_up(named_in | set(categories), tenants)
        if not alert_types:
            in_order = sorted(user_ids)
            people, focused, found = await asyncio.gather(
                self.directory.people(in_order), self._focused(in_order, notifications, pushes=pushes), catalogue
            )
            return self._known(Known(people, {}, {}, (), focused=focused, catalogue=found))
        entries, admin_ids, found, silences, inhibitions = await asyncio.gather(
            self.directory.oncall(alert_types),
            self.directory.admin_ids(),
            catalogue,
            self.rulebook.all(Silence),
            self.rulebook.all(Inhibition),
        )
        open_incidents = await self._open_incidents() if inhibitions else NO_INCIDENTS
        named = {entry.policy for entry in entries.values() if entry.policy is not None}
        policies = await self.rulebook.get(EscalationPolicy, sorted(named)) if named else {}
        of_types = {each: _policy_of(entries.get(each), policies) for each in alert_types}
        escalations = {
            each: escalation(entries.get(each), self._escalation_after_s, policy) for each, policy in of_types.items()
        }
        now = self._clock.now()
        turns = [
            {each: answers(entries[each], now) if each in entries else () for each in alert_types}
            for answers in (on_call, second_on_call, everybody_on_call)
        ]
        told_of = (*targets, *targets_of(step for chain in escalations.values() for step in chain.once))
        groups = await self._members({each.group_id for each in told_of if isinstance(each, Members)})
        user_ids = user_ids | set(admin_ids) | {each.user_id for each in told_of if isinstance(each, User)}
        user_ids |= {user_id for answers in (*turns, groups) for users in answers.values() for user_id in users}
        in_order = sorted(user_ids)
        people, focused = await asyncio.gather(
            self.directory.people(in_order), self._focused(in_order, notifications, pushes=pushes)
        )
        admins = tuple(admins_among(admin_ids, people))
        oncall, second, everybody = turns
        known = Known(people, escalations, oncall, admins, focused=focused, catalogue=found)
        known = replace(known, second=second, everybody=everybody, groups=groups)
        known = replace(known, policies={each: policy for each, policy in of_types.items() if policy is not None})
        return self._known(replace(known, silences=silences, inhibitions=inhibitions, open_incidents=open_incidents))

    async def _open_incidents(self) -> OpenIncidents:
        """Return the incidents that may inhibit others, as they were a moment ago."""
        read_s, found = self._incidents
        if monotonic() - read_s > self._incidents_known_s:
            incidents = await self._read_incidents() if self._read_incidents is not None else ()
            found = OpenIncidents.of(OpenIncident(each.id, each.labels, is_told=True) for each in incidents)
            self._incidents = monotonic(), found
        return found

    async def _members(self, group_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Read the members of groups that an escalation tells, of each at most ``GROUP_TOLD``."""
        pages = await asyncio.gather(
            *(self.directory.page(self.directory.group(each), "", GROUP_TOLD) for each in group_ids)
        )
        return {group_id: tuple(page) for group_id, page in zip(group_ids, pages, strict=True)}

    def _known(self, known: Known) -> Known:
        now_ms = epoch_ms(self._clock.now())
        return replace(
            known,
            now_ms=now_ms,
            push_hold_ms=self._push_hold_ms,
            quiet_hours=self._quiet_hours,
            release_within_ms=self._release_within_ms,
        )

    async def _focused(
        self, user_ids: Sequence[str], notifications: Sequence[Notification], *, pushes: bool
    ) -> frozenset[str]:
        """Read who is looking, where it matters."""
        if not user_ids or self._presence is None or not pushes or not any(map(_may_wait, notifications)):
            return frozenset()
        return await self._presence.focused(user_ids)

    async def _counted(
        self, known: Known, asked: Iterable[Named], counted: Mapping[Ask, Counted] = MappingProxyType({})
    ) -> Known:
        """Count what throttles count: first those of categories, then the day's for those who are let in.

        Args:
            counted: what was counted already.
        """
        windows = self._windows
        if windows is None:
            return known
        wanted = list(self._wanted(known, asked))
        limits: dict[tuple[str, str], tuple[Limit, ...]] = {}
        of_categories = [each for one in wanted if (each := self._of_category(known, *one)) is not None]
        await _count(windows, of_categories, limits, counted)
        if self._daily_limit:
            let_in = [one for one in wanted if not _is_stopped(limits.get((one[0].id, one[2]), ()))]
            await _count(windows, [self._of_day(known, *one) for one in let_in], limits)
        return replace(known, limits=limits) if limits else known

    def _wanted(self, known: Known, asked: Iterable[Named]) -> Iterator[tuple[Notification, str, str]]:
        for notification, name, user_ids in asked:
            if self._daily_limit or notification.content.category is not None:
                digest_of_name = blake2b(name.encode(), digest_size=12).hexdigest()
                for user_id in user_ids:
                    if user_id in known.people:
                        yield notification, digest_of_name, user_id

    def _of_category(self, known: Known, notification: Notification, name: str, user_id: str) -> Counting | None:
        category = known.category(notification)
        throttle = category.record.throttle if category is not None else None
        if category is None or throttle is None:
            return None
        try:
            value = value_at(notification.content.data, throttle.key)
        except UnusableKey:
            # Refused at acceptance; of a category that has changed since, all count together.
            value = ""
        key = f"{self._keys.user(user_id)}:throttle:{_digest_of(category.name, notification.tenant or '', value)}"
        deadline_ms = notification.deadline_ms
        within_ms = HELD_MOST_MS if deadline_ms is None else max(0, deadline_ms - known.now_ms)
        ask = Ask(
            key,
            name,
            throttle.limit,
            milliseconds(throttle.per),
            "reserve" if throttle.then == "hold" else "refuse",
            always=_is_critical(notification, category),
            # What expires before its turn takes no place, or a burst would keep out all that come later.
            within_ms=within_ms if throttle.then == "hold" else None,
        )
        return Counting(notification.id, user_id, ask, throttle.then, category.rule("throttle"))

    def _of_day(self, known: Known, notification: Notification, name: str, user_id: str) -> Counting:
        always = _is_critical(notification, known.category(notification))
        ask = Ask(f"{self._keys.user(user_id)}:heard", name, self._daily_limit, DAY_MS, "refuse", always)
        return Counting(notification.id, user_id, ask, "drop", "system:daily_limit")


async def _count(
    windows: Windows,
    countings: Sequence[Counting],
    limits: dict[tuple[str, str], tuple[Limit, ...]],
    counted: Mapping[Ask, Counted] = MappingProxyType({}),
) -> None:
    asks = [each.ask for each in countings if each.ask not in counted]
    found = {**counted, **dict(zip(asks, await windows.count(asks), strict=True))} if asks else counted
    damaged = 0
    for each in countings:
        place, answer = (each.notification_id, each.user_id), found[each.ask]
        limits[place] = (*limits.get(place, ()), Limit(each.rule, each.then, answer.at_ms))
        damaged += answer.damaged is not None
    if damaged:
        # They are let through: of the two mistakes it is the one that loses nothing.
        log.error("throttles that cannot be counted let through", extra={"counts": damaged})


def _policy_of(entry: OnCall | None, policies: Mapping[str, EscalationPolicy]) -> EscalationPolicy | None:
    return policies.get(entry.policy) if entry is not None and entry.policy is not None else None


def _is_critical(notification: Notification, category: KnownCategory | None) -> bool:
    is_alert = notification.content.alert is not None
    return priority_in(notification.priority, category, is_alert=is_alert) is Priority.CRITICAL


def _may_wait(notification: Notification) -> bool:
    # A category, which is read at the same time, may make it less urgent.
    return notification.priority in MAY_WAIT or notification.content.category is not None


def _is_stopped(limits: Sequence[Limit]) -> bool:
    return any(limit.at_ms != 0 and limit.then == "drop" for limit in limits)


def _name_of(draft: Draft) -> str:
    return draft.idempotency_key or draft.packet or draft.notification.id


def _digest_of(*parts: str) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=10).hexdigest()


def _named(drafts: Sequence[Draft], known: Known) -> list[Named]:
    """Give each draft that may be accepted a name that the same publish has again when it is sent again."""
    return [
        (one.notification, one.idempotency_key or one.packet or one.notification.id, _recipients(one, known))
        for one in drafts
        if not one.send_at_ms and not _is_refused(one.notification, known)
    ]


def _is_refused(notification: Notification, known: Known) -> bool:
    """Tell whether a notification's category refuses it, as ``Planner.settled`` does: then nobody hears it."""
    category = known.category(notification)
    return category is not None and unusable_key(notification.content.data, category) is not None


def _recipients(draft: Draft, known: Known) -> Sequence[str]:
    if isinstance(draft.audience, People):
        return draft.audience.user_ids
    if draft.alert_type is not None and draft.alert_type in known.oncall:
        return told((Group.ONCALL, Group.ADMINS), known, draft.alert_type)
    return ()


async def listed(
    lists: Mapping[Channel, Suppressions], addresses: Collection[tuple[Channel, str]]
) -> dict[tuple[Channel, str], list[Entry]]:
    """Read what suppression lists say of addresses, on all of their channels at the same time."""
    of_channel = {channel: [address for listed_on, address in addresses if listed_on is channel] for channel in lists}
    found = await asyncio.gather(*(lists[channel].listed(digests) for channel, digests in of_channel.items()))
    return {
        (channel, address): entries
        for channel, of_list in zip(of_channel, found, strict=True)
        for address, entries in of_list.items()
    }


def listed_as(delivery: Delivery) -> tuple[Channel, str]:
    """Return the name of a delivery's address on a suppression list; devices are on no list, and have none."""
    match delivery.address:
        case EmailAddress(email=address) | PhoneNumber(phone=address):
            return delivery.channel, digest(address)
        case _:
            return delivery.channel, ""
