"""The terms of the system as types: notification, delivery, and the job that carries them.

Everything here is immutable, and nothing does input or output.

Notifications and rows are kept in the ledger and travel in jobs. During an upgrade, processes of two releases work on
them side by side. So each carries the version of its form. Readers ignore fields that they do not know, read every
version up to ``READABLE_VERSION``, and leave newer ones to a newer release (docs/guides/upgrading.md).
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from shared.core.channels import Channel as Channel  # noqa: PLC0414 - whoever needs the other types reads it here, too

# The version that is written. Raised when a reader that ignores what is new would do something wrong; a field that may
# be ignored raises nothing.
JOB_VERSION = 1

# The newest version that is read. Raised at least one release before JOB_VERSION, so that no service meets what it
# cannot read while a release is rolled out.
READABLE_VERSION = 4

# What is written without a version is in the first one.
FIRST_VERSION = 1


class Priority(StrEnum):
    """How urgent a notification is; every queue, window and worker share is kept apart by it."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class Platform(StrEnum):
    """What kind of device a push goes to; it decides the provider."""

    IOS = "ios"
    ANDROID = "android"
    NTFY = "ntfy"
    WEB = "web"


# Devices that a provider knows by one text. Only a browser is known by more.
TokenPlatform = Literal[Platform.IOS, Platform.ANDROID, Platform.NTFY]


class AppEnvironment(StrEnum):
    """Which of Apple's push services knows an iOS app's token: that of the store's builds, or of the developers'."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class State(StrEnum):
    """Where a delivery stands; the last four are ends, and each delivery has exactly one of them."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    DEAD_LETTERED = "dead_lettered"

    @property
    def is_end(self) -> bool:
        """Tell whether nothing happens after this state."""
        return self not in (State.PENDING, State.SENDING)


class _Frozen(BaseModel):
    """Written once, never changed; unknown fields of a later version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class AlertDetails(_Frozen):
    """What makes a notification an alert.

    Attributes:
        labels: the publisher's own; ``all_labels`` are what matchers go by.
        starts_at: since when it has been so, by the publisher's word.
    """

    type: str
    level: Literal["critical", "warning", "info"]
    source: str | None = None
    severity: str | None = None
    affected_systems: tuple[str, ...] = ()
    requires_acknowledgment: bool = False
    # None and not empty, so that most alerts are not written longer for it.
    labels: dict[str, str] | None = None
    starts_at: datetime | None = None

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.level.capitalize()} alert: {self.type}"

    @property
    def all_labels(self) -> dict[str, tuple[str, ...]]:
        """The alert's type, severity and source, each of its systems, and its own labels, which count less."""
        labels: dict[str, tuple[str, ...]] = {name: (value,) for name, value in (self.labels or {}).items()}
        labels["alert_type"], labels["severity"] = (self.type,), (self.severity or self.level,)
        if self.source is not None:
            labels["source"] = (self.source,)
        if self.affected_systems:
            labels["system"] = self.affected_systems
        return labels


class Action(_Frozen):
    """What a reader can do with a notification in the inbox.

    Attributes:
        url: where it leads.
        topic: pressing it is published on ``notifications/actions/{notification_id}/{id}``, with this text.
    """

    id: str
    label: str
    url: str | None = None
    topic: bool | str | None = None
    style: Literal["primary"] | None = None


class Flapped(_Frozen):
    """An alert has begun so often.

    Attributes:
        within_s: in which time; ``hold_s``: for how long nobody is told of it again.
    """

    times: int
    within_s: float
    hold_s: float


class Content(_Frozen):
    """What is said: the same for every channel, each renders it in its own way.

    Attributes:
        answer_label: what the button says that acknowledges an alert, where the operator's template has written the
            texts; then a channel adds nothing but this button.
        flapping: of an alert that says so in its texts.
    """

    title: str
    message: str
    html_body: str | None = None
    type: str = "info"
    category: str | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    alert: AlertDetails | None = None
    actions: tuple[Action, ...] | None = None
    answer_label: str | None = None
    flapping: Flapped | None = None


class TemplateUse(_Frozen):
    """Which template a notification's texts are written with; its variables are the content's ``data``.

    Attributes:
        locale: the language of readers of whom the directory does not know one; None is the template's own.
        timezone: their time zone; None is UTC.
    """

    name: str
    locale: str | None = None
    timezone: str | None = None


def _written(model: BaseModel, version: int = JOB_VERSION) -> str:
    # Whatever version it was read in: what is written is in the form of ours.
    return f'{{"v":{version},{model.model_dump_json(exclude_none=True)[1:]}'


class TraceContext(_Frozen):
    """The W3C trace context that a notification belongs to; see ``shared.telemetry.tracing``."""

    traceparent: str
    tracestate: str | None = None


class Notification(_Frozen):
    """What someone wants said.

    Attributes:
        id: a UUIDv7 that also carries the ledger shard, see ``shared.store.keys``.
        kind: the topic's ``shared.core.topics.Kind``.
        accepted_ms: milliseconds since 1970, by the accepting router's clock.
        channels: only these, when the publisher said so.
        events: publish each later step on ``notifications/events/{id}``.
        deadline_ms: after this nobody is to be told, when the publisher said so; milliseconds since 1970.
        template: what the texts of each recipient are written with when they are planned.
        trace: the step of a trace that accepted it, or that published it where the router makes no spans.
        part_of: the notification whose fan-out this is a part of. Such a part is a record of its own, with an id of its
            own, so that no record grows with the number of people; everywhere else it goes by the id of the whole.
        publisher: whose login published it; None is the plain topics' publisher.
        tenant: whose customer's it is.
        v: the version that it was written in.
    """

    id: str
    kind: str
    priority: Priority
    accepted_ms: int
    content: Content
    channels: tuple[Channel, ...] | None = None
    events: bool = False
    deadline_ms: int | None = None
    template: TemplateUse | None = None
    trace: TraceContext | None = None
    part_of: str | None = None
    publisher: str | None = None
    tenant: str | None = None
    v: int = Field(FIRST_VERSION, exclude=True)

    def written(self) -> str:
        """Write it as JSON, in our version."""
        return _written(self)

    @property
    def public_id(self) -> str:
        """The id that its publisher was told: that of the whole, where this is a part."""
        return self.part_of or self.id


class EmailAddress(_Frozen):
    """A mailbox."""

    to: Literal["email"] = "email"
    email: str
    name: str | None = None


class PhoneNumber(_Frozen):
    """A telephone number in E.164."""

    to: Literal["sms"] = "sms"
    phone: str


class MobileToken(_Frozen):
    """A device that its provider knows by one text: an installation of an app by APNs or FCM, a topic by ntfy.

    Attributes:
        environment: of an iOS app, None where nobody said; then production is tried.
        registered_ms: when the directory learnt of it, milliseconds since 1970; None where it does not know.
    """

    to: Literal["device"] = "device"
    platform: TokenPlatform
    token: str
    environment: AppEnvironment | None = None
    registered_ms: int | None = None


class WebSubscription(_Frozen):
    """A browser's push subscription (W3C Push API)."""

    to: Literal["browser"] = "browser"
    platform: Literal[Platform.WEB] = Platform.WEB
    endpoint: str
    p256dh: str
    auth: str


class UserInbox(_Frozen):
    """One user's inbox and open sessions.

    Attributes:
        live: the user's realtime preference.
        silent: it is shown at once, and nothing draws attention to it.
    """

    to: Literal["inbox"] = "inbox"
    user_id: str
    live: bool = True
    # None and not False, so that most rows are not written longer for it.
    silent: bool | None = None


class Feed(_Frozen):
    """The broadcast feed: stored once, read by everybody or by the members of ``groups``."""

    to: Literal["feed"] = "feed"
    groups: tuple[str, ...] | None = None


Address = Annotated[
    EmailAddress | PhoneNumber | MobileToken | WebSubscription | UserInbox | Feed, Field(discriminator="to")
]


class Row(_Frozen):
    """Something that a service does once, at or after its time, and that the ledger drives until it has ended.

    Attributes:
        key: unique within the notification, for example ``email:user123``.
        due_ms: not before this time (0: at once); expires_ms: not after this one. Milliseconds since 1970.
        v: the version that it was written in.
    """

    key: str
    priority: Priority
    due_ms: int = 0
    expires_ms: int
    v: int = Field(FIRST_VERSION, exclude=True)

    def written(self) -> str:
        """Write it as JSON, in its version."""
        return _written(self, self.version)

    @property
    def version(self) -> int:
        """The lowest version whose readers do right by it."""
        return JOB_VERSION

    @property
    def lane(self) -> str:
        """Whose work it is: a channel, or ``router``."""
        raise NotImplementedError

    @property
    def user_ids(self) -> tuple[str, ...]:
        """The people whom it is for, as far as the row itself names them."""
        return ()


# The end of the key of a row that takes back another one. No id can hold this character (``shared.core.fields``).
RECALL = "#recall"
# The channels on which that is possible. A mail or an SMS that was sent is out of reach.
CAN_RECALL = frozenset({Channel.REALTIME, Channel.PUSH})
# How such a row has ended well, in events and metrics: not to be taken for one more delivery.
RECALLED = "recalled"
# What is shown in the place of a push that was taken back, where the operator says nothing else.
RECALLED_TEXT = "This notification was recalled."
# Within the key of a row that says, in the place of what another one has delivered, what has become of an alert.
ANSWERED = "#answered"


class Delivery(Row):
    """One notification, one recipient's address, one channel.

    Attributes:
        recipient: the user id; None when the publisher gave an address instead of a person.
        content: what is said here instead of the notification's own content (mails of a batch, texts of a template).
        unless_seen: not sent any more when the recipient has read the notification in the inbox meanwhile.
        rule: who decided that it is suppressed, held or let through, where planning did: ``user:preference``.
        digest: the notification in which it was told, of one that ended as ``digested``.
        required: neither a complaint nor an unsubscription stops it, because its category is required.
        next_level: the key of the row that tells the next people of an alert, once all deliveries with it have failed.
        recalls: it takes back what another row of the notification has delivered: the one whose key it has, before
            ``RECALL``.
    """

    channel: Channel
    address: Address
    recipient: str | None = None
    content: Content | None = None
    # None and not False, so that most rows are not written longer for it.
    unless_seen: bool | None = None
    rule: str | None = None
    required: bool | None = None
    digest: str | None = None
    next_level: str | None = None
    recalls: bool | None = None

    @property
    def version(self) -> int:
        """A recall came with version 3: an earlier reader would deliver it once more."""
        return max(3, super().version) if self.recalls else super().version

    @property
    def lane(self) -> str:
        """The channel that carries it."""
        return self.channel.value

    @property
    def user_ids(self) -> tuple[str, ...]:
        """The recipient; nobody, where the publisher gave an address."""
        return () if self.recipient is None else (self.recipient,)


RowT = TypeVar("RowT", bound=Row)


class Job(_Frozen, Generic[RowT]):
    """One notification's content with a bounded list of its rows: what travels on an internal topic.

    It is self-contained but disposable: losing it loses nothing, because the ledger drives its rows again.
    """

    v: int = FIRST_VERSION
    notification: Notification
    rows: tuple[RowT, ...]
