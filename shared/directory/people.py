"""Who can be told, and how: the records of the directory as the wire contract's section 2 writes them.

Promises that a record which passed holds only usable addresses and names that are safe in topics and mail headers, and
that its JSON reads back as the same record. It does not promise that the people in a rotation exist.

An unknown field is refused. A record is written once and used for years, so a misspelt preference would go unnoticed.

``repr`` of these models shows no address, name or token, so that a model in a log line or an error does no harm.
"""

from datetime import time
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from shared.core.fields import (
    AuthSecret,
    Channels,
    DeviceToken,
    Email,
    Identifier,
    Line,
    LocalDate,
    Locale,
    Moment,
    P256dh,
    Phone,
    PushEndpoint,
    TimeOfDay,
    ZoneName,
    not_empty,
    ntfy_topic,
    unique,
)
from shared.core.model import AppEnvironment, Channel, Platform, TokenPlatform
from shared.core.wall_clock import WEEKDAYS, Weekday
from shared.directory.categories import KnownCategory
from shared.directory.policies import REPEATS, NotifyTargets
from shared.directory.preferences import NOTHING_CHOSEN, Choice, Preferences, Rhythm, choice
from shared.directory.quiet_hours import QuietHours
from shared.directory.record import Record

DEVICES = 50
GROUPS = 500
ONCALL_USERS = 100
LAYERS = 20
OVERRIDES = 200
# Three for each day of the week.
RESTRICTIONS = 21
ESCALATION_STEPS = 50
AFTER_S = 7 * 24 * 3600
EVERY_HOURS = 365 * 24

_CATEGORIES_REMEMBERED = 16

ADMIN = "admin"


class PushKeys(Record):
    """The browser's half of the encryption (RFC 8291), base64url without padding."""

    model_config = ConfigDict(extra="ignore")

    p256dh: P256dh = Field(repr=False)
    auth: AuthSecret = Field(repr=False)


class PushSubscription(Record):
    """A ``PushSubscriptionJSON`` (W3C Push API) as the browser gives it.

    What else it holds is ignored and not refused: browsers add ``expirationTime`` and may add more.
    """

    model_config = ConfigDict(extra="ignore")

    endpoint: PushEndpoint = Field(repr=False)
    keys: PushKeys = Field(repr=False)


class MobileDevice(Record):
    """A device that is known by one text: an installation of an app, or a topic of ntfy.

    Attributes:
        environment: of an iOS app: which of Apple's push services knows the token.
        registered_at: when the device last told us its token; the directory fills it in.
    """

    platform: TokenPlatform
    token: DeviceToken = Field(repr=False)
    environment: AppEnvironment | None = None
    registered_at: Moment | None = None

    @field_validator("token", mode="after")
    @classmethod
    def _fits_platform(cls, value: str, info: ValidationInfo) -> str:
        return ntfy_topic(value) if info.data.get("platform") is Platform.NTFY else value

    @field_validator("environment", mode="after")
    @classmethod
    def _is_an_ios_app(cls, value: AppEnvironment | None, info: ValidationInfo) -> AppEnvironment | None:
        if value is not None and info.data.get("platform", Platform.IOS) is not Platform.IOS:
            raise PydanticCustomError("environment", "only for ios")
        return value

    @property
    def identity(self) -> str:
        """What tells this device from every other one: a secret."""
        return self.token


class WebDevice(Record):
    """A browser.

    Attributes:
        registered_at: when the browser last told us its subscription; the directory fills it in.
    """

    platform: Literal[Platform.WEB]
    subscription: PushSubscription = Field(repr=False)
    registered_at: Moment | None = None

    @property
    def identity(self) -> str:
        """What tells this device from every other one: a secret."""
        return str(self.subscription.endpoint)


Device = Annotated[MobileDevice | WebDevice, Field(discriminator="platform")]


def _one_each(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """Keep what was said last of a device that is there twice, so that it gets one push."""
    return tuple({device.identity: device for device in devices}.values())


class Person(Record):
    """One user of the directory.

    Attributes:
        quiet_hours: for those who chose none; ``snooze_until`` likewise: until then nothing disturbs the person.
    """

    user_id: Identifier
    email: Email | None = Field(default=None, repr=False)
    phone: Phone | None = Field(default=None, repr=False)
    name: Line | None = Field(default=None, repr=False)
    locale: Locale | None = None
    timezone: ZoneName | None = None
    groups: Annotated[tuple[Identifier, ...], Field(max_length=GROUPS), AfterValidator(unique)] = ()
    roles: Annotated[tuple[Literal["admin"], ...], Field(max_length=16), AfterValidator(unique)] = ()
    preferences: Preferences = Preferences()
    devices: Annotated[tuple[Device, ...], Field(max_length=DEVICES), AfterValidator(_one_each)] = Field(
        default=(), repr=False
    )
    quiet_hours: QuietHours | None = None
    snooze_until: Moment | None = None

    @property
    def own(self) -> Preferences:
        """What the person chose; the directory alone knows nothing of it."""
        return NOTHING_CHOSEN

    @cached_property
    def choices(self) -> dict[str | None, tuple[KnownCategory | None, dict[Channel, Choice]]]:
        """What was found for some categories: layering costs more than planning the rest of a row."""
        return {}

    def choice(self, channel: Channel, name: str | None = None, category: KnownCategory | None = None) -> Choice:
        """Return whether a channel is on for this person, and who has decided it; see ``preferences.choice``."""
        found = self.choices.get(name)
        # Categories are parsed once per stored text, so another object is another record.
        if found is None or found[0] is not category:
            if len(self.choices) >= _CATEGORIES_REMEMBERED:
                self.choices.clear()
            each = {one: choice(one, self.preferences, self.own, name, category) for one in Channel}
            found = self.choices[name] = category, each
        return found[1][channel]

    def rhythm(self, category: str) -> Rhythm | None:
        """Return how often this person wants the digest of a category; None where nobody chose."""
        for chosen in (self.own, self.preferences):
            named = chosen.categories.get(category)
            if named is not None and named.digest is not None:
                return named.digest
        return None

    @property
    def is_admin(self) -> bool:
        """Tell whether this person is told of critical and other alerts of every type."""
        return ADMIN in self.roles


class OwnChoices(Record):
    """What a person chose and registered: it is the person's, and no write to the directory touches it.

    Attributes:
        preferences: what was chosen; what was not is as the directory has it.
        snooze_until: a moment in the past wakes up somebody whom the directory says to leave alone.
    """

    preferences: Preferences = Preferences()
    devices: Annotated[tuple[Device, ...], Field(max_length=DEVICES), AfterValidator(_one_each)] = Field(
        default=(), repr=False
    )
    quiet_hours: QuietHours | None = None
    snooze_until: Moment | None = None


class PersonWithChoices(Person):
    """A person as the directory and the person's own choices have it: with the person's devices, the newest first.

    Attributes:
        chosen: the person's own choices of channels; ``preferences`` are the directory's.
    """

    chosen: Preferences = NOTHING_CHOSEN

    @property
    def own(self) -> Preferences:
        """What the person chose."""
        return self.chosen


def with_choices(person: Person, own: OwnChoices) -> PersonWithChoices:
    """Put a person's own choices and devices over what the directory says; the person's devices come first."""
    theirs = {device.identity for device in own.devices}
    devices = (*own.devices, *(device for device in person.devices if device.identity not in theirs))[:DEVICES]
    fields = {name: getattr(person, name) for name in person.model_fields_set}
    fields |= {"devices": devices, "chosen": own.preferences}
    for name in ("quiet_hours", "snooze_until"):
        if getattr(own, name) is not None:
            fields[name] = getattr(own, name)
    # Both were checked when they were read.
    return PersonWithChoices.model_construct(**fields)


class Override(Record):
    """Somebody stands in from ``starts_at`` until just before ``ends_at``."""

    user: Identifier
    starts_at: Moment = Field(alias="from")
    ends_at: Moment = Field(alias="until")

    @field_validator("ends_at", mode="after")
    @classmethod
    def _ends_after_start(cls, value: Moment, info: ValidationInfo) -> Moment:
        start = info.data.get("starts_at")
        if start is not None and value <= start:
            raise PydanticCustomError("order", "must be after from")
        return value


Users = Annotated[tuple[Identifier, ...], Field(max_length=ONCALL_USERS), AfterValidator(not_empty)]


class Restriction(Record):
    """A time of the week in which a layer is on call.

    Attributes:
        days: on which it begins.
        ends_at: not after ``starts_at``: on the next day. The same time is a whole day.
    """

    days: Annotated[tuple[Weekday, ...], AfterValidator(not_empty), AfterValidator(unique)] = WEEKDAYS
    starts_at: TimeOfDay = Field(alias="from")
    ends_at: TimeOfDay = Field(alias="to")


Restrictions = Annotated[tuple[Restriction, ...], Field(max_length=RESTRICTIONS), AfterValidator(not_empty)]


class RotationLayer(Record):
    """People who take turns.

    How turns are counted is told in ``shared.directory.schedule``.

    Attributes:
        every_hours: length of a turn on the wall clock, instead of ``rotation``.
        handoff: local time at which a turn ends and the next begins.
        weekday: day of a weekly handoff; None is the weekday of ``start``. Other rotations do not read it.
        start: local date on which the first person's first turn begins, at ``handoff``.
        restrictions: the layer is on call only inside them, on the clock of ``timezone``; they may overlap.
        overrides: who stands in for this layer alone, inside the restrictions and outside.
    """

    users: Users
    every_hours: Annotated[int, Field(strict=True, ge=1, le=EVERY_HOURS)] | None = None
    rotation: Literal["daily", "weekly"] | None = Field(default=None, validate_default=True)
    handoff: TimeOfDay = time(9)
    weekday: Weekday | None = None
    start: LocalDate
    timezone: ZoneName = "UTC"
    restrictions: Restrictions | None = None
    overrides: Annotated[tuple[Override, ...], Field(max_length=OVERRIDES)] = ()

    @field_validator("rotation", mode="after")
    @classmethod
    def _one_rhythm(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("every_hours", 0) is None:
            raise PydanticCustomError("alternative", "required, or every_hours")
        if value is not None and info.data.get("every_hours") is not None:
            raise PydanticCustomError("alternative", "not together with every_hours")
        return value


class EscalationStep(Record):
    """Whom to tell when nobody has acknowledged ``after_s`` seconds after the alert.

    Attributes:
        channels: only these; None is every channel that can reach them.
    """

    after_s: Annotated[float, Field(strict=True, ge=0, le=AFTER_S)]
    notify: NotifyTargets
    channels: Channels | None = None


class OnCall(Record):
    """Who answers for one type of alert, and who is told next.

    Attributes:
        alert_type: ``*`` serves the types without an entry of their own.
        layers: in order: the first that has somebody answers.
        overrides: who stands in for whoever would answer first.
        escalation: None is the default list, or the policy's.
        repeat: how often the list runs again.
        policy: the name of the record that says how its alerts are told.
    """

    alert_type: Identifier
    users: Users | None = None
    layers: Annotated[tuple[RotationLayer, ...], Field(max_length=LAYERS), AfterValidator(not_empty)] | None = Field(
        default=None, validate_default=True
    )
    overrides: Annotated[tuple[Override, ...], Field(max_length=OVERRIDES)] = ()
    escalation: (
        Annotated[tuple[EscalationStep, ...], Field(max_length=ESCALATION_STEPS), AfterValidator(not_empty)] | None
    ) = None
    repeat: Annotated[int, Field(strict=True, ge=0, le=REPEATS)] = 0
    policy: Identifier | None = None

    @field_validator("policy", mode="after")
    @classmethod
    def _not_beside_escalation(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("escalation") is not None:
            raise PydanticCustomError("alternative", "not together with escalation")
        return value

    @field_validator("layers", mode="after")
    @classmethod
    def _users_or_layers(
        cls, value: tuple[RotationLayer, ...] | None, info: ValidationInfo
    ) -> tuple[RotationLayer, ...] | None:
        if value is None and info.data.get("users", ()) is None:
            raise PydanticCustomError("alternative", "required, or users")
        if value is not None and info.data.get("users") is not None:
            raise PydanticCustomError("alternative", "not together with users")
        return value
