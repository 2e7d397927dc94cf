"""What was looked up for a batch: all that planning goes by beside the notifications themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.router.alerts.noise import NO_INCIDENTS, Mute, OpenIncidents, mute
from services.router.alerts.oncall import Chain, Group, Members, Target, User
from services.router.planning.facts import NO_FACTS, Facts, Limit, Quiet
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.errors import Reason
from shared.core.model import Channel, Notification
from shared.core.topics import PLAIN_PUBLISHER
from shared.directory.catalogue import NO_CATALOGUE, Catalogue
from shared.directory.categories import KnownCategory
from shared.directory.inhibitions import Inhibition
from shared.directory.people import Person
from shared.directory.policies import EscalationPolicy, Flapping
from shared.directory.quiet_hours import QuietHours, quiet_until
from shared.directory.silences import Silence
from shared.directory.suppression import Entry
from shared.directory.tenants import Tenant

# By whose rules somebody is quiet.
SNOOZED, OWN_QUIET, SYSTEM_QUIET = "user:snooze", "user:quiet_hours", "system:quiet_hours"


@dataclass(frozen=True, slots=True)
class Flap:
    """An alert that has begun again and again.

    Attributes:
        until_ms: until when it is held back; None where it is told that it does so. Milliseconds since 1970.
    """

    policy: Flapping
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class Known:
    """What was looked up for a batch: records of people, who answers for each type of alert, and who is looking.

    Attributes:
        now_ms: when it was looked up.
        empty_groups: groups that have nobody at the time.
        unwanted: what the suppression lists say of addresses that publishers gave, by ``listed_as``.
        limits: the throttles that were counted, by notification and person.
        push_hold_ms: how long a push waits for somebody who is looking.
        quiet_hours: of everybody whom nobody else says any for.
        release_within_ms: what quiet time has held leaves spread over so long.
        oncall: who is told first of each type of alert; ``second``: who would be next.
        everybody: all who have a turn.
        groups: the members of groups that a step tells.
        policies: how alerts are told, by their type, where a record says so.
        flapping: alerts that have begun again and again, by notification.
    """

    people: dict[str, Person]
    escalations: dict[str, Chain]
    oncall: dict[str, tuple[str, ...]]
    admins: tuple[str, ...]
    now_ms: int = 0
    focused: frozenset[str] = frozenset()
    empty_groups: frozenset[str] = frozenset()
    unwanted: Mapping[tuple[Channel, str], Sequence[Entry]] = field(default_factory=dict)
    catalogue: Catalogue = NO_CATALOGUE
    limits: Mapping[tuple[str, str], tuple[Limit, ...]] = field(default_factory=dict)
    push_hold_ms: int = 0
    quiet_hours: QuietHours | None = None
    release_within_ms: int = 0
    second: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    everybody: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    policies: Mapping[str, EscalationPolicy] = field(default_factory=dict)
    silences: Mapping[str, Silence] = field(default_factory=dict)
    inhibitions: Mapping[str, Inhibition] = field(default_factory=dict)
    open_incidents: OpenIncidents = NO_INCIDENTS
    flapping: Mapping[str, Flap] = field(default_factory=dict)

    def mute(self, notification: Notification) -> Mute | None:
        """Say whether an alert tells nobody now, and why."""
        alert = notification.content.alert
        flapping = self.flapping.get(notification.id)
        if alert is None or not (self.silences or self.inhibitions or flapping):
            return None
        now = from_epoch_ms(self.now_ms)
        publisher = notification.publisher or PLAIN_PUBLISHER
        found = mute(publisher, alert.all_labels, self.silences, self.inhibitions, self.open_incidents, now=now)
        if found is None and flapping is not None and flapping.until_ms is not None:
            return Mute(Reason.FLAPPING, "policy:flapping", flapping.until_ms)
        return found

    def category(self, notification: Notification, name: str | None = None) -> KnownCategory | None:
        """Return a notification's category, or another one as it holds for its tenant."""
        return self.catalogue.category(name or notification.content.category, notification.tenant)

    def tenant(self, notification: Notification) -> Tenant | None:
        """Return a notification's tenant."""
        return self.catalogue.tenant(notification.tenant)

    def facts(self, notification: Notification, user_id: str) -> Facts:
        """Return what the stages know about one person and one notification."""
        person = self.people.get(user_id)
        if person is None:
            return NO_FACTS
        category, tenant = self.category(notification), self.tenant(notification)
        limits = self.limits.get((notification.id, user_id), ())
        quiet = self._quiet(person, tenant, notification.tenant)
        looks_until_ms = self.now_ms + self.push_hold_ms if user_id in self.focused else 0
        if category is None and tenant is None and quiet is None and not limits and not looks_until_ms:
            return NO_FACTS
        return Facts(looks_until_ms, category, tenant, limits, quiet)

    def _quiet(self, person: Person, tenant: Tenant | None, tenant_name: str | None) -> Quiet | None:
        snoozed = person.snooze_until
        if snoozed is not None and (until_ms := epoch_ms(snoozed)) > self.now_ms:
            return Quiet(until_ms, SNOOZED, self.release_within_ms)
        of_tenant = tenant.quiet_hours if tenant is not None else None
        for quiet, rule in (
            (person.quiet_hours, OWN_QUIET),
            (of_tenant, f"tenant:{tenant_name}:quiet_hours"),
            (self.quiet_hours, SYSTEM_QUIET),
        ):
            if quiet is not None:
                until = quiet_until(quiet, zone_of(person, tenant), from_epoch_ms(self.now_ms))
                return None if until is None else Quiet(epoch_ms(until), rule, self.release_within_ms)
        return None


def is_quiet(rule: str) -> bool:
    """Tell whether a rule is somebody's quiet time."""
    return rule in (SNOOZED, OWN_QUIET, SYSTEM_QUIET) or rule.endswith(":quiet_hours")


def zone_of(person: Person, tenant: Tenant | None) -> str:
    """Return the zone whose clock a person lives by."""
    return person.timezone or (tenant.timezone if tenant is not None else None) or "UTC"


def told(targets: Sequence[Target], known: Known, alert_type: str, *, every: bool = False) -> tuple[str, ...]:
    """Resolve an escalation step's targets to user ids, each once.

    Args:
        every: those on call are all who have a turn, and not those of the first layer alone.
    """
    user_ids: dict[str, None] = {}
    for target in targets:
        match target:
            case User(user_id):
                user_ids[user_id] = None
            case Members(group_id):
                user_ids |= dict.fromkeys(known.groups.get(group_id, ()))
            case Group.ONCALL:
                turns = known.everybody if every else known.oncall
                user_ids |= dict.fromkeys(turns.get(alert_type, ()))
            case Group.SECOND:
                user_ids |= dict.fromkeys(known.second.get(alert_type, ()))
            case Group.ADMINS:
                user_ids |= dict.fromkeys(known.admins)
    return tuple(user_ids)
