"""What a person hears of, and what the person chooses about it.

Promises that a choice which cannot hold is refused with the name of its field: for a category that is not there,
against a required one, or for a digest that a category does not have. What was chosen before is no reason to refuse:
categories change, and a client sends back what it was shown.
"""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, get_args

from pydantic import ValidationError, WithJsonSchema

from services.realtime.access.refusals import FieldProblem, from_validation, invalid
from shared.core.channels import WITHOUT_RULE
from shared.core.clock import Clock
from shared.core.fields import Moment
from shared.core.model import Channel
from shared.core.wall_clock import Weekday
from shared.directory.catalogue import Catalogues
from shared.directory.categories import KnownCategory
from shared.directory.directory import Directory
from shared.directory.people import OwnChoices, Person
from shared.directory.preferences import CATEGORIES, RHYTHMS, CategoryChoice, Choice, Preferences
from shared.directory.quiet_hours import WINDOWS, QuietHours
from shared.directory.suppression import Suppressions, digest, is_unsubscription
from shared.directory.tenants import Tenant

# What a client is shown and may send back.
_READ_ONLY = frozenset({"offered", "rules", "timezone"})

_TIME_OF_DAY = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
_WINDOW = {
    "type": "object",
    "properties": {
        "days": {
            "type": "array",
            "items": {"enum": list(get_args(Weekday))},
            "minItems": 1,
            "description": "On which it begins; every day if they are not named.",
        },
        "from": _TIME_OF_DAY,
        "to": {**_TIME_OF_DAY, "description": "Not after `from`: on the next day."},
    },
    "required": ["from", "to"],
    "additionalProperties": False,
}
QUIET_HOURS_SCHEMA = WithJsonSchema(
    {
        "type": "object",
        "properties": {
            "timezone": {"type": ["string", "null"], "description": "An IANA time zone; null is the user's own."},
            "windows": {"type": "array", "items": _WINDOW, "maxItems": WINDOWS},
        },
        "additionalProperties": False,
    }
)
_MOMENT_SCHEMA = WithJsonSchema(
    {
        "anyOf": [{"type": "number"}, {"type": "string", "format": "date-time"}, {"type": "null"}],
        "description": "Until then nothing that can wait disturbs the user: seconds since 1970, or RFC 3339 with a "
        "zone. A time in the past ends it.",
    }
)


class OwnPreferences(Preferences):
    """What the user chooses. Null is not chosen: then it is as the directory has it, or the default."""

    quiet_hours: Annotated[QuietHours, QUIET_HOURS_SCHEMA] | None = None
    snooze_until: Annotated[Moment | None, _MOMENT_SCHEMA] = None


class Choosing:
    """Shows and changes what people choose.

    Args:
        suppressions: the list of the email channel, which knows who has unsubscribed.
        without: channels that this system does without, so that there is nothing to choose about them.
    """

    def __init__(
        self,
        directory: Directory,
        catalogues: Catalogues,
        suppressions: Suppressions,
        clock: Clock,
        without: Collection[Channel] = (),
    ) -> None:
        self._without = frozenset(without)
        self._directory = directory
        self._catalogues = catalogues
        self._suppressions = suppressions
        self._clock = clock

    async def shown(self, user_id: str, tenant: str | None) -> str | None:
        """Return what a person hears of and what there is to choose, as JSON; None where there is no such person.

        Args:
            tenant: whose categories are offered beside those of everybody.
        """
        catalogue, person = await asyncio.gather(self._catalogues.for_tenant(tenant), self._directory.person(user_id))
        if person is None:
            return None
        offered = catalogue.known_to(tenant)
        unsubscribed = await self._unsubscribed(person, offered)
        now = self._clock.now()
        return _Shown(person, offered, catalogue.tenant(tenant), unsubscribed, self._without, now).json()

    async def choose(self, user_id: str, tenant: str | None, body: Mapping[str, Any]) -> str | None:
        """Put what a person chooses in place of what was chosen before, and return what ``shown`` returns then.

        Raises:
            Refusal: a choice cannot hold.
        """
        try:
            wanted = OwnPreferences.model_validate({name: body[name] for name in body if name not in _READ_ONLY})
        except ValidationError as error:
            raise from_validation(error) from None
        catalogue = await self._catalogues.for_tenant(tenant)
        offered = {known.name: known for known in catalogue.known_to(tenant)}
        replacing = _Replacing(wanted, offered, catalogue.tenant(tenant), self._without, self._clock.now())
        person = await self._directory.choose(user_id, replacing.change)
        if person is None:
            return None
        on = [name for name, chosen in wanted.categories.items() if chosen.email]
        if on and person.email is not None:
            await self._resubscribe(person.email, on, list(offered.values()))
        return await self.shown(user_id, tenant)

    async def _unsubscribed(self, person: Person, offered: Sequence[KnownCategory]) -> frozenset[str]:
        """Return the categories that the owner of a person's address has unsubscribed from."""
        entries = await self._suppressions.entries(digest(person.email)) if person.email is not None else []
        return frozenset(
            known.name
            for known in offered
            if known.record.policy != "required" and any(is_unsubscription(entry, known.name) for entry in entries)
        )

    async def _resubscribe(self, email: str, on: Sequence[str], offered: Sequence[KnownCategory]) -> None:
        others = [known.name for known in offered if known.name not in on]
        for name in on:
            await self._suppressions.resubscribe(digest(email), name, others)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a person is shown.

    Attributes:
        offered: the categories, with the tenant's changes.
        unsubscribed: names of those from whose mail the person has unsubscribed.
    """

    person: Person
    offered: Sequence[KnownCategory]
    tenant: Tenant | None
    unsubscribed: frozenset[str]
    without: frozenset[Channel]
    now: datetime

    def json(self) -> str:
        choices = {channel.value: self._choice(channel) for channel in Channel}
        quiet, until = quiet_hours_of(self.person, self.tenant), self.person.snooze_until
        zone = self.person.timezone or (self.tenant.timezone if self.tenant is not None else None) or "UTC"
        document = {
            **{name: choice.on for name, choice in choices.items()},
            "rules": {name: choice.rule for name, choice in choices.items()},
            "categories": self._own(),
            "quiet_hours": None if quiet is None else quiet.model_dump(mode="json", exclude_unset=True),
            "snooze_until": until.timestamp() if until is not None and until > self.now else None,
            "timezone": zone,
            "offered": sorted(map(self._offer, self.offered), key=lambda each: str(each["title"]).casefold()),
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    def _choice(self, channel: Channel, name: str | None = None, known: KnownCategory | None = None) -> Choice:
        return Choice(False, WITHOUT_RULE) if channel in self.without else self.person.choice(channel, name, known)

    def _own(self) -> dict[str, Any]:
        """Return the person's choices for the categories that are offered, as they may be sent back."""
        chosen = self.person.own.categories
        found = {
            known.name: chosen[known.name].model_dump(mode="json", exclude_none=True)
            for known in self.offered
            if known.name in chosen
        }
        for name in self.unsubscribed & found.keys():
            # To send back that mail is on would end the unsubscription.
            found[name] |= {"email": False} if "email" in found[name] else {}
        return found

    def _offer(self, known: KnownCategory) -> dict[str, Any]:
        record, name = known.record, known.name
        channels = {}
        for channel in Channel:
            on, rule, _ = self._choice(channel, name, known)
            if channel is Channel.EMAIL and name in self.unsubscribed and rule != WITHOUT_RULE:
                on, rule = False, "user:unsubscribed"
            channels[channel.value] = {"on": on, "fixed": record.policy == "required", "rule": rule}
        offer: dict[str, Any] = {
            "name": name, "title": record.title or name, "policy": record.policy, "channels": channels,
            "unsubscribed": name in self.unsubscribed,
        }  # fmt: skip
        if record.digest is not None:
            offer["digest"] = {"choices": RHYTHMS, "chosen": self.person.rhythm(name)}
        return offer


def quiet_hours_of(person: Person, tenant: Tenant | None) -> QuietHours | None:
    """Return the quiet hours that a person has, or else those of a tenant's people."""
    return person.quiet_hours or (tenant.quiet_hours if tenant is not None else None)


@dataclass(frozen=True, slots=True)
class _Replacing:
    """What a person chooses, in place of what was chosen before.

    Attributes:
        offered: the categories that the person may choose about.
    """

    wanted: OwnPreferences
    offered: Mapping[str, KnownCategory]
    tenant: Tenant | None
    without: frozenset[Channel]
    now: datetime

    def change(self, person: Person, own: OwnChoices) -> OwnChoices:
        """Return the own choices as they are then.

        Raises:
            Refusal: one cannot hold.
        """
        if problems := list(self._problems(person, own)):
            raise invalid(*problems)
        wanted = self.wanted
        update: dict[str, Any] = {"preferences": self._preferences(own.preferences)}
        if "quiet_hours" in wanted.model_fields_set:
            # What was shown and is sent back stays whose it was.
            is_own = own.quiet_hours is not None or wanted.quiet_hours != quiet_hours_of(person, self.tenant)
            update["quiet_hours"] = wanted.quiet_hours if is_own else None
        if "snooze_until" in wanted.model_fields_set:
            update["snooze_until"] = self._snooze(person, own)
        return own.model_copy(update=update)

    def _problems(self, person: Person, own: OwnChoices) -> Iterator[FieldProblem]:
        for name, chosen in self.wanted.categories.items():
            path, known, before = f"categories.{name}", self.offered.get(name), own.preferences.categories.get(name)
            if known is None:
                if before is None:
                    yield FieldProblem(path, "there is no such category")
                continue
            before = before or CategoryChoice()
            if chosen.digest not in (None, before.digest) and known.record.digest is None:
                yield FieldProblem(f"{path}.digest", "this category has no digest")
            if known.record.policy != "required":
                continue
            for channel in (each for each in Channel if each not in self.without):
                on = person.choice(channel, name, known).on
                if chosen.of(channel) not in (None, on, before.of(channel)):
                    yield FieldProblem(f"{path}.{channel}", "cannot be changed, because this category is required")

    def _preferences(self, before: Preferences) -> Preferences:
        categories = dict(before.categories)
        if "categories" in self.wanted.model_fields_set:
            wanted = {name: self._kept(choice, categories.get(name)) for name, choice in self.wanted.categories.items()}
            chosen = {name: choice for name, choice in wanted.items() if choice != CategoryChoice()}
            # Choices for other tenants' categories stay, those for categories that are gone as far as there is room.
            others = [each for each in categories.items() if each[0] not in self.offered and each[0] not in chosen]
            room = CATEGORIES - len(chosen)
            categories = {**dict(others[-room:] if room else ()), **chosen}
        channels = {
            channel.value: on
            for channel in Channel
            if (on := (before if channel in self.without else self.wanted).of(channel)) is not None
        }
        return Preferences(**channels, categories=categories)

    def _kept(self, choice: CategoryChoice, before: CategoryChoice | None) -> CategoryChoice:
        """Keep what was chosen for channels that are left out: they are shown as off, and clients send that back."""
        before = before or CategoryChoice()
        return choice.model_copy(update={channel.value: before.of(channel) for channel in self.without})

    def _snooze(self, person: Person, own: OwnChoices) -> datetime | None:
        until = self.wanted.snooze_until
        of_directory = person.snooze_until if own.snooze_until is None else None
        if until is None or until == of_directory:
            return None
        # A time in the past is worth keeping against the directory alone.
        is_asleep = of_directory is not None and of_directory > self.now
        return until if until > self.now or is_asleep else None
