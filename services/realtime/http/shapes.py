"""The models of the API: the document is written from them, and the tests compare real answers with them.

Not for the busy paths: notifications and frames are written elsewhere as text, because there are many of them. An
optional field, which is left out and never null, is ``X | Absent``. People who use the API read these names, docstrings
and descriptions.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from services.realtime.access.snooze import FOR, UNTIL, Snooze
from services.realtime.http.choosing import QUIET_HOURS_SCHEMA
from shared.core.durations import Duration
from shared.core.fields import LINE_CHARS, AuthSecret, DeviceToken, Moment, P256dh, PushEndpoint
from shared.core.incidents import AlertState, Happened, Way
from shared.core.model import AppEnvironment, Channel, Platform, Priority
from shared.directory import people
from shared.directory.categories import Policy
from shared.directory.policies import NotifyTarget
from shared.directory.preferences import CategoryChoice, Rhythm
from shared.directory.quiet_hours import QuietHours
from shared.ledger.incidents import PLACE_PATTERN

PAGE_DEFAULT = 50
PAGE_MOST = 100
NOTE_CHARS = 1000
WEEKS_MOST = 26
INCIDENTS_DEFAULT = 50
INCIDENTS_MOST = 200

# Never null on the wire.
Absent = SkipJsonSchema[None]

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Seconds = Annotated[float, Field(description="Seconds since 1970.")]
Count = Annotated[int, Field(ge=0)]

OpenState = Literal["open", "acknowledged", "snoozed"]
INCIDENT_STATES: tuple[OpenState, ...] = get_args(OpenState)


# What a request names.


class EntryPath(BaseModel):
    """Which entry of the inbox."""

    id: str = Field(min_length=1, description="A notification's id.")


class ActionPath(EntryPath):
    """Which action of an entry."""

    action: str = Field(min_length=1, description="The action's id.")


class AlertPath(BaseModel):
    """Which alert."""

    id: str = Field(min_length=1, description="The `alert.id` of the notification.")


class IncidentsQuery(BaseModel):
    """Which part of the list."""

    limit: int = Field(
        INCIDENTS_DEFAULT,
        ge=1,
        description=f"A page holds {INCIDENTS_MOST} incidents at most, whatever more is asked for.",
    )
    before: str | Absent = Field(
        None,
        description="The `next` of the page before.",
        json_schema_extra={"pattern": f"^{PLACE_PATTERN}$"},
    )
    state: OpenState | Absent = Field(None, description="Only those that stand there.")


class OnCallPath(BaseModel):
    """Which type of alert."""

    type: str = Field(min_length=1, description="The type of the alert; `*` is the entry of the types without one.")


class OnCallQuery(BaseModel):
    """How much of it."""

    weeks: Annotated[int, Field(ge=1, le=WEEKS_MOST)] | Absent = Field(
        None, description="With the shifts and gaps of so many weeks, and what each person bears."
    )


class CalendarQuery(BaseModel):
    """By which link."""

    token: str | Absent = Field(
        None, description="Of a link that `carillon oncall link` printed, where an Authorization header cannot be set."
    )


class DevicePath(BaseModel):
    """Which device."""

    token: str = Field(
        min_length=1, description="The device's token; for a browser its subscription's endpoint, percent-encoded."
    )


class InboxQuery(BaseModel):
    """Which part of the inbox."""

    limit: int = Field(
        PAGE_DEFAULT, ge=1, description=f"A page holds {PAGE_MOST} entries at most, whatever more is asked for."
    )
    before: str | Absent = Field(None, description="Only entries older than the one with this id.")
    state: Literal["unread", "read", "archived", "snoozed"] | Absent = Field(
        None, description="Without it, everything but the archived and the snoozed."
    )
    category: list[str] | Absent = Field(
        None, description="Only entries of this category; again for another one. Empty: entries without a category."
    )


class SessionQuery(BaseModel):
    """Who comes, and where the client was."""

    ticket: str | Absent = Field(None, description="A one-time ticket, where an Authorization header cannot be set.")
    cursor: str | Absent = Field(
        None,
        description="The last cursor that was received; everything after it follows. One that we cannot follow is "
        "answered with a gap frame.",
    )


class DescriptionQuery(BaseModel):
    """In which form."""

    format: Literal["json", "html"] | Absent = Field(
        None, description="Without it, the page if the header Accept names `text/html` before `application/json`."
    )


class StreamHeaders(BaseModel):
    """What an EventSource sends when it connects again by itself."""

    last_event_id: str | Absent = Field(None, alias="Last-Event-ID", description="As `cursor`; goes before it.")


class LinkQuery(BaseModel):
    """Which link of which mail."""

    token: str = Field(description="From the mail's List-Unsubscribe field.")


class AnswerLinkQuery(BaseModel):
    """Which link of which message."""

    token: str = Field(description="From the link in the mail or push.")


# Bodies.


class Acknowledgement(BaseModel):
    """A word about the alert, for those who were told of it."""

    note: str = Field("", max_length=NOTE_CHARS)


class AlertSnooze(Snooze):
    """Until when an alert is put away: `until` or `for`."""

    note: str = Field("", max_length=NOTE_CHARS)


class Reassignment(Acknowledgement):
    """To whom an alert is handed on."""

    to: NotifyTarget = Field(
        description="`user:ID`, `group:ID`, `oncall`, `oncall:second` or `admins`.",
        json_schema_extra={"pattern": "^(oncall|oncall:second|admins|user:.+|group:.+)$"},
    )


class SilencePath(BaseModel):
    """Which silence."""

    id: str = Field(min_length=1, description="Its `id`.")


class SilencesQuery(BaseModel):
    """Which silences."""

    model_config = ConfigDict(extra="ignore")

    all: bool = Field(False, description="Also those that are over.")


class NewSilence(BaseModel):
    """Alerts that tell nobody for a while: `ends_at` or `for`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"oneOf": [{"required": ["ends_at"]}, {"required": ["for"]}]}
    )

    matchers: list[str] = Field(
        min_length=1, max_length=32, description="Such as `system=db-1` or `severity=~critical|warning`; all must fit."
    )
    starts_at: Annotated[Moment | None, WithJsonSchema(UNTIL)] = Field(None, description="Left out: at once.")
    ends_at: Annotated[Moment | None, WithJsonSchema(UNTIL)] = None
    length: Annotated[Duration | None, WithJsonSchema(FOR)] = Field(None, alias="for")
    comment: str = Field(min_length=1, max_length=LINE_CHARS, description="Why.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.ends_at is None) is (self.length is None):
            raise PydanticCustomError("one_of", "needs either ends_at or for")
        return self


class ListedSilence(BaseModel):
    """A silence."""

    id: str
    state: Literal["holds", "pending", "over"]
    matchers: list[str]
    starts_at: str | Absent = Field(None, json_schema_extra={"format": "date-time"})
    ends_at: str = Field(json_schema_extra={"format": "date-time"})
    comment: str
    created_by: str | Absent = Field(None, description="The user who made it, or what its publisher said.")
    publisher: str | Absent = Field(None, description="Whose alerts alone it silences; left out where all are meant.")
    last_matched: str | Absent = Field(
        None,
        json_schema_extra={"format": "date-time"},
        description="When it last kept an alert from telling; left out where it never did.",
    )


class ListedSilences(BaseModel):
    """Silences, the one that ends first at the top."""

    silences: list[ListedSilence]


class IosDevice(people.MobileDevice):
    """An installation of an iOS app."""

    platform: Literal[Platform.IOS]
    token: DeviceToken = Field(json_schema_extra={"pattern": "^[A-Za-z0-9_:=-][A-Za-z0-9_:=.-]*$"}, repr=False)
    environment: AppEnvironment | None = Field(
        None, description="Which of Apple's push services knows the token; production where it is not said."
    )
    registered_at: SkipJsonSchema[Moment | None] = None


class AndroidDevice(IosDevice):
    """An installation of an Android app."""

    platform: Literal[Platform.ANDROID]  # type: ignore[assignment]
    environment: None = Field(None, description="Of iOS apps alone.")


class NtfyDevice(AndroidDevice):
    """A topic of ntfy that the person's app is subscribed to."""

    platform: Literal[Platform.NTFY]  # type: ignore[assignment]
    token: DeviceToken = Field(
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]{1,64}$"}, description="The topic's name.", repr=False
    )


class PushKeys(people.PushKeys):
    """The browser's half of the encryption."""

    p256dh: P256dh = Field(
        json_schema_extra={"pattern": "^B[A-P][A-Za-z0-9_-]{85}=?$"},
        description="The browser's P-256 key, uncompressed, base64url (RFC 8291).",
        repr=False,
    )
    auth: AuthSecret = Field(
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]{22}(==)?$"},
        description="16 bytes, base64url (RFC 8291).",
        repr=False,
    )


class PushSubscription(people.PushSubscription):
    """A `PushSubscriptionJSON` (W3C Push API) as the browser gives it; what else it holds is ignored."""

    endpoint: PushEndpoint = Field(
        json_schema_extra={"format": "uri", "pattern": "^https://[A-Za-z0-9]"},
        description="An https URL; a service may allow certain hosts only.",
        repr=False,
    )
    keys: PushKeys = Field(repr=False)


class WebDevice(people.WebDevice):
    """A browser."""

    subscription: PushSubscription = Field(repr=False)
    registered_at: SkipJsonSchema[Moment | None] = None


class Device(RootModel[Annotated[IosDevice | AndroidDevice | NtfyDevice | WebDevice, Field(discriminator="platform")]]):
    """Where pushes go to."""


class BounceReport(RootModel[dict[str, Any]]):
    """What a mail provider sends; its own documentation describes it."""


class BounceEvents(RootModel[list[dict[str, Any]]]):
    """The same, where a provider sends several at once."""


# Answers.


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Its path, such as `keys.auth`.")
    problem: str


class Problem(BaseModel):
    """Why a request was refused."""

    code: str = Field(description="A stable word for programs.")
    message: str = Field(description="A sentence for people.")
    fields: list[FieldProblem] | Absent = None


class Error(BaseModel):
    """The body of every answer that is not a success."""

    error: Problem


class Alert(BaseModel):
    """The alert that a notification is about."""

    id: str
    requires_acknowledgment: bool
    state: AlertState | Literal["ended"] | Absent = Field(
        None, description="Where the alert stands; `ended` when that was too long ago to be known."
    )
    type: str | Absent = None
    level: Literal["critical", "warning", "info"] | Absent = None
    source: str | Absent = None
    severity: str | Absent = None
    acknowledged_by: str | Absent = Field(
        None, description="The user who took it; also of an alert that was resolved after that."
    )
    acknowledged_at: Seconds | Absent = None
    affected_systems: list[str] | Absent = None


class AnsweredAlert(BaseModel):
    """Where an alert stands after its link was used."""

    state: AlertState | Literal["ended"] = Field(description="`ended` when it was withdrawn.")
    acknowledged_by: str | Absent = Field(None, description="The user who took it.")
    acknowledged_at: Seconds | Absent = None


class IncidentEntry(BaseModel):
    """What happened to an incident. A line may say more than this; a later release may have other words."""

    model_config = ConfigDict(extra="allow")

    at: Timestamp
    what: str = Field(description=f"{', '.join(f'`{each}`' for each in Happened)}.")
    by: str | Absent = Field(None, description="The user, or the publisher, who did it.")
    way: str | Absent = Field(
        None, alias="from", description=f"By which way it came: {', '.join(f'`{each}`' for each in Way)}."
    )
    note: str | Absent = None
    recipients: dict[str, list[str]] | Absent = Field(None, description="Who was told, and on which channels.")
    recipient: str | Absent = Field(None, description="Of a line about one delivery.")
    channel: str | Absent = None
    reason: str | Absent = None
    until: Timestamp | Absent = None
    to: str | Absent = Field(None, description="To whom it was handed on.")


class ListedIncident(BaseModel):
    """An alert that somebody has to answer, or whose publisher says when it is over."""

    id: str
    state: Literal["open", "acknowledged", "snoozed", "resolved", "cancelled"]
    type: str
    level: Literal["critical", "warning", "info"]
    severity: str = Field(description="As the publisher said it, else the level.")
    source: str | Absent = None
    affected_systems: list[str] | Absent = None
    labels: dict[str, str] | Absent = None
    title: str
    message: str
    publisher: str | Absent = Field(None, description="Left out: one without a name.")
    opened_at: Timestamp
    repeats: Count = Field(description="How often the publisher has said the same again.")
    repeated_at: Timestamp | Absent = None
    acknowledged_by: str | Absent = None
    acknowledged_at: Timestamp | Absent = None
    snoozed_until: Timestamp | Absent = None
    resolved_by: str | Absent = None
    resolved_at: Timestamp | Absent = None
    muted: str | Absent = Field(None, description="Why nobody is told of it at the moment.")
    members_open: int | Absent = Field(None, description="Of a group, how many of its alerts are open.")


class IncidentMember(BaseModel):
    """An alert of a group."""

    id: str
    state: Literal["open", "resolved"]
    source: str | Absent = None
    affected_systems: list[str] | Absent = None
    message: str | Absent = None
    count: int = Field(description="How often its publisher has said it.")
    first_at: str = Field(json_schema_extra={"format": "date-time"})
    last_at: str = Field(json_schema_extra={"format": "date-time"})


class ShownIncident(ListedIncident):
    """An incident, and what happened to it."""

    members: list[IncidentMember] | Absent = Field(None, description="Of a group, its newest alerts, at most 200.")
    members_count: int | Absent = Field(None, description="How many there are.")
    timeline: list[IncidentEntry] = Field(description="The oldest first.")


class ListedIncidents(BaseModel):
    """A part of the list, the newest first."""

    incidents: list[ListedIncident]
    next: str | Absent = Field(
        None, description="Ask with it as `before` for older ones. The page that follows may be empty."
    )


class Action(BaseModel):
    """What the user can do with a notification."""

    id: str
    label: str = Field(description="The words on the button.")
    url: str | Absent = Field(None, description="An https URL that the button leads to.")
    topic: bool | str | Absent = Field(
        None, description="A press is published to the system that sent the notification; a text says what it is about."
    )
    style: Literal["primary"] | Absent = None


class Notification(BaseModel):
    """An entry of the inbox."""

    id: str
    title: str
    message: str
    type: str
    priority: Priority
    category: str | None
    data: dict[str, Any]
    timestamp: Seconds
    read: bool
    channels: list[Channel]
    alert: Alert | Absent = None
    tenant: str | Absent = Field(None, description="Whose customers it is for.")
    actions: list[Action] | Absent = None
    acted: str | Absent = Field(None, description="The id of the action that the user pressed last.")
    snoozed_until: Seconds | Absent = Field(
        None, description="When a snoozed entry comes back; in the past for one that has come back."
    )
    silent: Literal[True] | Absent = Field(None, description="Show it, and draw no attention to it.")


class CategoryUnread(BaseModel):
    """A category of the inbox."""

    name: str | None = Field(description="Null for entries without a category.")
    unread: Count


class Inbox(BaseModel):
    """A part of the inbox."""

    notifications: list[Notification]
    unanswered: list[Notification] | Absent = Field(
        None,
        description="Alerts that wait for an answer, however old, newest first; only with the first page of all or of "
        "the unread.",
    )
    unread: Count = Field(description="Of the whole inbox.")
    categories: list[CategoryUnread] | Absent = Field(
        None,
        description="The categories of the whole inbox, without what is archived or snoozed, in the order of their "
        "names; only with the first page.",
    )
    cursor: str = Field(description="Where the live stream goes on from here.")


class OnCallPerson(BaseModel):
    """Somebody who is on call."""

    user_id: str
    name: str | Absent = None
    known: bool = Field(description="The directory knows this person. It tells nobody else of an alert.")


class OnCallShift(BaseModel):
    """A time in which the same people are on call."""

    users: list[OnCallPerson] = Field(description="Nobody where it is empty.")
    gap: bool = Field(description="Nobody whom the directory knows is on call: alerts go to the admins.")
    begin: Timestamp | Absent = Field(None, alias="from", description="Left out: more than a year ago.")
    until: Timestamp | Absent = Field(None, description="Left out: in more than a year.")


class OnCallLoad(OnCallPerson):
    """What one person bears."""

    hours: float
    nights: Count = Field(description="Nights of which some part is in a shift, from 22:00 to 06:00.")


class OnCall(BaseModel):
    """Who is on call for a type of alert."""

    alert_type: str
    entry: str = Field(description="The type whose entry serves it; `*` if it has none of its own.")
    at: Timestamp
    now: OnCallShift
    next: OnCallShift | Absent = Field(None, description="Left out: not within a year.")
    second: list[OnCallPerson] = Field(description="Who is told when those on call do not answer.")
    everybody: list[OnCallPerson] = Field(description="Those on call in any layer.")
    shifts: list[OnCallShift] | Absent = Field(None, description="Of the weeks that were asked for, without a hole.")
    gaps: list[OnCallShift] | Absent = None
    people: list[OnCallLoad] | Absent = None


class ChannelRules(BaseModel):
    """Who has decided about each channel: `system:default`, `directory:preference` or `user:preference`.

    `system:without` is a channel that this system does without, so that there is nothing to choose.
    """

    realtime: str
    email: str
    sms: str
    push: str


class ChannelOfCategory(BaseModel):
    """Whether a category comes on a channel."""

    on: bool
    fixed: bool = Field(description="The user cannot change it, because the category is required.")
    rule: str = Field(
        description="Who has decided: `system:default`, `category:NAME`, `tenant:NAME`, `directory:preference`, "
        "`user:preference`, `directory:preference:NAME`, `user:preference:NAME`, `user:unsubscribed` or "
        "`system:without`."
    )


class ChannelsOfCategory(BaseModel):
    """On which channels a category comes. The inbox has all of it; `realtime` is about showing it live."""

    realtime: ChannelOfCategory
    email: ChannelOfCategory
    sms: ChannelOfCategory
    push: ChannelOfCategory


class DigestOfCategory(BaseModel):
    """How often a category's digest comes."""

    choices: list[Rhythm]
    chosen: Rhythm | None = Field(description="Null is as the category has it.")


class OfferedCategory(BaseModel):
    """A category that the user can choose about."""

    name: str
    title: str
    policy: Policy = Field(description="`required`: it cannot be switched off. `opt_in`: off until it is switched on.")
    channels: ChannelsOfCategory
    digest: DigestOfCategory | Absent = Field(None, description="Only where the category has a digest.")
    unsubscribed: bool = Field(description="The user has unsubscribed from its mail, by a link in a mail.")


class Preferences(BaseModel):
    """What the user hears of, and what there is to choose."""

    realtime: bool
    email: bool
    sms: bool
    push: bool
    rules: ChannelRules
    categories: dict[str, CategoryChoice] = Field(description="What the user chose for categories.")
    quiet_hours: Annotated[QuietHours, QUIET_HOURS_SCHEMA] | None = Field(
        description="When nothing that can wait disturbs the user; the user's own, the directory's or the tenant's."
    )
    snooze_until: Seconds | None = Field(description="Until then nothing that can wait disturbs the user.")
    timezone: str = Field(description="The user's zone; UTC if it is not known.")
    offered: list[OfferedCategory]


class WebPushKey(BaseModel):
    """The application server's public key."""

    public_key: str = Field(description="An uncompressed point on P-256, base64url.")


class Ticket(BaseModel):
    """What opens one session."""

    ticket: str
    expires_in: int = Field(description="Seconds.")


class BounceOutcomes(BaseModel):
    """What became of a report's entries."""

    suppressed: Count
    known: Count = Field(description="They were on the suppression list already.")
    held: Count = Field(description="So many addresses were reported that no more are suppressed for now.")
    soft: Count = Field(description="Failures that say nothing lasting about the address.")
    ignored: Count = Field(description="Not about a bad address.")
    unreadable: Count


class Document(RootModel[dict[str, Any]]):
    """A description of the API."""


# Frames of the live stream, by their type.


class HelloFrame(BaseModel):
    """The session is open."""

    type: Literal["hello"]
    session_id: str
    cursor: str
    unread: Count


class NotificationFrame(BaseModel):
    """A notification, live or one that was missed."""

    type: Literal["notification"]
    cursor: str
    notification: Notification


class UnreadFrame(BaseModel):
    """How many notifications are unread."""

    type: Literal["unread"]
    unread: Count


class StatusFrame(BaseModel):
    """The status of the system, for everybody."""

    type: Literal["status"]
    message: str
    status: str | None
    services: list[Any] | dict[str, Any] | None
    timestamp: Seconds


class GapFrame(BaseModel):
    """The cursor cannot be followed: read the inbox again."""

    type: Literal["gap"]


class PongFrame(BaseModel):
    """The answer to `ping`."""

    type: Literal["pong"]


class ErrorFrame(BaseModel):
    """A client frame could not be done."""

    type: Literal["error"]
    code: str
    message: str


class Frame(
    RootModel[
        Annotated[
            HelloFrame | NotificationFrame | UnreadFrame | StatusFrame | GapFrame | PongFrame | ErrorFrame,
            Field(discriminator="type"),
        ]
    ]
):
    """What the server sends. Types that are not listed may come, and are to be ignored."""
