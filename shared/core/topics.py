"""Every MQTT topic name, built and parsed in one place (the wire contract's sections 2 to 4).

Promises that what one side builds the other side parses, with the same ``TOPIC_PREFIX`` on both. It does not validate
user ids and other parameters. The payload models do that, so that the answer can name the field.
"""

from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from enum import StrEnum
from functools import lru_cache

from shared.core.model import Priority
from shared.core.nearest import nearest


class Kind(StrEnum):
    """What a publish means, told by its topic."""

    REALTIME_USER = "realtime_user"
    REALTIME_GROUP = "realtime_group"
    REALTIME_BROADCAST = "realtime_broadcast"
    ALERT_CRITICAL = "alert_critical"
    ALERT_WARNING = "alert_warning"
    ALERT_INFO = "alert_info"
    ALERT_ACKNOWLEDGE = "alert_acknowledge"
    ALERT_RESOLVE = "alert_resolve"
    ALERT_SNOOZE = "alert_snooze"
    ALERT_REASSIGN = "alert_reassign"
    SYSTEM_STATUS = "system_status"
    SYSTEM_MAINTENANCE = "system_maintenance"
    EMAIL_SEND = "email_send"
    EMAIL_BATCH = "email_batch"
    SMS_SEND = "sms_send"
    PUSH_MOBILE = "push_mobile"
    CANCEL = "cancel"
    SESSION_CONNECT = "session_connect"
    SESSION_DISCONNECT = "session_disconnect"
    SESSION_HEARTBEAT = "session_heartbeat"
    DIRECTORY_USER = "directory_user"
    DIRECTORY_ONCALL = "directory_oncall"
    DIRECTORY_SUPPRESS = "directory_suppress"
    DIRECTORY_PUBLISHER = "directory_publisher"
    DIRECTORY_CATEGORY = "directory_category"
    DIRECTORY_TENANT = "directory_tenant"
    DIRECTORY_POLICY = "directory_policy"
    DIRECTORY_SILENCE = "directory_silence"
    DIRECTORY_INHIBITION = "directory_inhibition"
    DIRECTORY_LIVENESS = "directory_liveness"
    LIVENESS_BIRTH = "liveness_birth"
    LIVENESS_DEATH = "liveness_death"
    LIVENESS_BEAT = "liveness_beat"


class Inflow(StrEnum):
    """The connections on which a router takes publishes: none of them waits behind what another one brings."""

    ALERTS = "alerts"
    """Critical alerts."""
    ACTIONS = "actions"
    """What ends something: a cancellation, an acknowledgement, a resolve."""
    LIVENESS = "liveness"
    """Beats: one that waits behind a flood would be missed."""
    GENERAL = "general"
    """Everything else."""


# Who publishes on a topic without ``from/{publisher}/``. No login has this name.
PLAIN_PUBLISHER = "-"
# Whose the incidents of missing sources are. No login has this name either, and no record.
LIVENESS_PUBLISHER = "-liveness"

# As whom Carillon itself publishes notifications. Only the services' logins may publish below ``from/carillon/``.
OWN_PUBLISHER = "carillon"


_PATTERNS: dict[Kind, str] = {
    Kind.REALTIME_USER: "notifications/realtime/user/{user_id}",
    Kind.REALTIME_GROUP: "notifications/realtime/group/{group_id}",
    Kind.REALTIME_BROADCAST: "notifications/realtime/broadcast",
    Kind.ALERT_CRITICAL: "notifications/alerts/critical/{alert_type}",
    Kind.ALERT_WARNING: "notifications/alerts/warning/{alert_type}",
    Kind.ALERT_INFO: "notifications/alerts/info/{alert_type}",
    Kind.ALERT_ACKNOWLEDGE: "notifications/alerts/acknowledge/{alert_id}",
    Kind.ALERT_RESOLVE: "notifications/alerts/resolve/{alert_id}",
    Kind.ALERT_SNOOZE: "notifications/alerts/snooze/{alert_id}",
    Kind.ALERT_REASSIGN: "notifications/alerts/reassign/{alert_id}",
    Kind.SYSTEM_STATUS: "notifications/system/status",
    Kind.SYSTEM_MAINTENANCE: "notifications/system/maintenance",
    Kind.EMAIL_SEND: "notifications/email/send",
    Kind.EMAIL_BATCH: "notifications/email/batch",
    Kind.SMS_SEND: "notifications/sms/send",
    Kind.PUSH_MOBILE: "notifications/push/mobile/{platform}",
    Kind.CANCEL: "notifications/cancel/{notification_id}",
    Kind.SESSION_CONNECT: "websocket/connect/{user_id}",
    Kind.SESSION_DISCONNECT: "websocket/disconnect/{user_id}",
    Kind.SESSION_HEARTBEAT: "websocket/heartbeat/{user_id}",
    Kind.DIRECTORY_USER: "directory/user/{user_id}",
    Kind.DIRECTORY_ONCALL: "directory/oncall/{alert_type}",
    Kind.DIRECTORY_SUPPRESS: "directory/suppress/{channel}",
    Kind.DIRECTORY_PUBLISHER: "directory/publisher/{publisher}",
    Kind.DIRECTORY_CATEGORY: "directory/category/{category}",
    Kind.DIRECTORY_TENANT: "directory/tenant/{tenant}",
    Kind.DIRECTORY_POLICY: "directory/policy/{policy}",
    Kind.DIRECTORY_SILENCE: "directory/silence/{silence}",
    Kind.DIRECTORY_INHIBITION: "directory/inhibition/{inhibition}",
    Kind.DIRECTORY_LIVENESS: "directory/liveness/{source}",
    Kind.LIVENESS_BIRTH: "liveness/{source}/birth",
    Kind.LIVENESS_DEATH: "liveness/{source}/death",
    # After the two: a topic that is near all three is taken for this one.
    Kind.LIVENESS_BEAT: "liveness/{source}",
}

# Below these, a topic is read on a connection of its own.
_INFLOWS: dict[Inflow, tuple[str, ...]] = {
    Inflow.ALERTS: ("notifications/alerts/critical/",),
    Inflow.ACTIONS: (
        *(f"notifications/alerts/{answer}/" for answer in ("acknowledge", "resolve", "snooze", "reassign")),
        "notifications/cancel/",
    ),
}
_BEATS = "liveness"
_FROM = "from/"

_ROOTS = ("notifications", "websocket", "directory", _BEATS)

# A longer topic is compared with none, and not all of its levels are shown in a log.
COMPARED_CHARS = 128
_LEVELS_SHOWN = 6
CLOSE_TOPIC = 0.55
CLOSE_LEVEL = 0.75
_LEVELS = frozenset(level for pattern in _PATTERNS.values() for level in pattern.split("/") if "{" not in level)


_STEMS = {pattern.partition("/{")[0]: pattern for pattern in _PATTERNS.values()}


@lru_cache(maxsize=1024)
def _nearest(text: str) -> tuple[float, str]:
    """Return the pattern that is spelt most alike before its parameter, and how much, from 0 to 1; or an empty one."""
    asked = text.casefold()
    found = get_close_matches(asked, _STEMS, n=1, cutoff=CLOSE_TOPIC)
    return (SequenceMatcher(None, found[0], asked).ratio(), _STEMS[found[0]]) if found else (0.0, "")


@lru_cache(maxsize=1024)
def _is_near_a_level(level: str) -> bool:
    return level in _LEVELS or nearest(level, _LEVELS, CLOSE_LEVEL) is not None


# A receipt's topic is a choice of the publisher's; none has a use for a longer one.
TOPIC_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Route:
    """Where a publish goes: its kind and the parameters that stood in its topic, by name.

    Attributes:
        publisher: whose login the broker let publish there; ``PLAIN_PUBLISHER`` for anybody's topic.
    """

    kind: Kind
    params: dict[str, str]
    publisher: str = PLAIN_PUBLISHER


class Topics:
    """Builds and parses topic names under one prefix.

    Args:
        prefix: put before every topic, as typed by the operator (``""`` or for example ``"staging/"``).
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._from = prefix + _FROM
        self._inflows = {prefix + stem: inflow for inflow, stems in _INFLOWS.items() for stem in stems}
        self._fixed: dict[str, Kind] = {}
        self._with_parameter: dict[str, tuple[Kind, str]] = {}
        self._with_end: dict[tuple[str, str], tuple[Kind, str]] = {}
        self._beats = f"{prefix}{_BEATS}/"
        self._own = (f"{prefix}notifications/events/", f"{prefix}notifications/actions/")
        for kind, pattern in _PATTERNS.items():
            stem, brace, parameter = (prefix + pattern).partition("{")
            name, _, end = parameter.partition("}")
            if end:
                self._with_end[stem, end] = (kind, name)
            elif brace:
                self._with_parameter[stem] = (kind, name)
            else:
                self._fixed[stem] = kind

    def parse(self, topic: str) -> Route | None:
        """Return the route of a published topic, or None when the contract does not know it."""
        publisher, topic = self.split(topic)
        kind = self._fixed.get(topic)
        if kind is not None:
            return Route(kind, {}, publisher)
        stem, slash, last = topic.rpartition("/")
        found = self._with_parameter.get(stem + slash)
        if found is None:
            stem, slash, middle = stem.rpartition("/")
            found, last = self._with_end.get((stem + slash, f"/{last}")), middle
        if found is None or not last:
            return None
        return Route(found[0], {found[1]: last}, publisher)

    def split(self, topic: str) -> tuple[str, str]:
        """Take ``from/{publisher}/`` out of a topic: the publisher, and the topic as it is without that.

        A topic from nobody, or from whom no login can be, stays as it is; then the contract does not know it.
        """
        if not topic.startswith(self._from):
            return PLAIN_PUBLISHER, topic
        publisher, _, rest = topic[len(self._from) :].partition("/")
        if not publisher or publisher == PLAIN_PUBLISHER:
            return PLAIN_PUBLISHER, topic
        return publisher, self._prefix + rest

    def of_publisher(self, publisher: str, topic: str) -> str:
        """Build the topic on which a publisher's login publishes what others publish on ``topic``."""
        if publisher == PLAIN_PUBLISHER:
            return topic
        return f"{self._from}{publisher}/{topic.removeprefix(self._prefix)}"

    def said_by(self, publisher: str, plain: str) -> str:
        """Build the topic on which a known publisher says what stands on a plain one; the reverse of ``plain``."""
        return f"{self._from}{publisher}/{plain}"

    def nearest(self, topic: str) -> str | None:
        """Return the topic that was most likely meant by one that the contract does not know; None where none is near.

        It has the parameter's name in place of what stood there, which may be personal.
        """
        publisher, topic = self.split(topic)
        asked = topic.removeprefix(self._prefix).strip("/")
        if len(asked) > COMPARED_CHARS or len(publisher) > COMPARED_CHARS:
            return None
        stem, _, last = asked.rpartition("/")
        found = _nearest(stem)
        # Otherwise it is a parameter, which is another one each time and has nothing near it.
        if _is_near_a_level(last):
            found = max(found, _nearest(asked))
        return self.of_publisher(publisher, self._prefix + found[1]) if found[1] else None

    def masked(self, topic: str) -> str:
        """Return a topic for a log: levels that name nothing of the contract's are left out, they may be personal."""
        publisher, plain = self.split(topic)
        route = self.parse(plain)
        before = "" if publisher == PLAIN_PUBLISHER else _FROM + "{publisher}/"
        if route is not None:
            return before + _PATTERNS[route.kind]
        levels = plain.removeprefix(self._prefix).split("/")
        shown = [level if _is_near_a_level(level) else "*" for level in levels[:_LEVELS_SHOWN]]
        return before + "/".join(shown) + ("/…" if len(levels) > _LEVELS_SHOWN else "")

    def is_read(self, topic: str) -> bool:
        """Tell whether the router reads this topic, so that a publish there is answered at least with a refusal."""
        return topic.startswith(tuple(f"{self._prefix}{root}/" for root in (*_ROOTS, _FROM.rstrip("/"))))

    def publish(self, kind: Kind, parameter: str | None = None) -> str:
        """Build the topic that a publisher uses for ``kind``."""
        stem, brace, rest = _PATTERNS[kind].partition("{")
        return self._prefix + stem + (f"{parameter or ''}{rest.partition('}')[2]}" if brace else "")

    def plain(self, topic: str) -> str:
        """Return a topic without the prefix and without who publishes."""
        return self.split(topic)[1].removeprefix(self._prefix)

    def pattern(self, kind: Kind) -> str:
        """Return the topic of a kind, with its parameter's name in braces, without the prefix."""
        return _PATTERNS[kind]

    def inflow(self, topic: str) -> Inflow:
        """Tell on which of the connections the router reads this topic."""
        _, plain = self.split(topic)
        if plain.startswith(self._beats):
            return Inflow.LIVENESS
        # Stems have three levels at most before their parameter.
        stem = plain[: plain.rfind("/") + 1]
        return self._inflows.get(stem, Inflow.GENERAL)

    def intake_filters(self, inflow: Inflow) -> tuple[str, ...]:
        """What the router reads on a connection, from everybody.

        On the general one whole roots, so that a misspelt topic is answered instead of vanishing. What is another
        inflow's arrives there, too, and is left to it (see ``inflow``).
        """
        if inflow is Inflow.GENERAL:
            plain = [f"{root}/#" for root in _ROOTS if root != _BEATS]
            return tuple(f"$share/router/{self._prefix}{each}" for each in (*plain, f"{_FROM}#"))
        if inflow is Inflow.LIVENESS:
            # Whatever is there, misspelt or not.
            return tuple(f"$share/router/{self._prefix}{before}{_BEATS}/#" for before in ("", f"{_FROM}+/"))
        return tuple(
            f"$share/router/{self._prefix}{before}{stem}+" for stem in _INFLOWS[inflow] for before in ("", f"{_FROM}+/")
        )

    @property
    def former_filters(self) -> tuple[str, ...]:
        """What the session for alerts of an earlier release is subscribed to: all alerts, and the answers to them."""
        return (f"$share/router/{self._prefix}notifications/alerts/#",)

    def is_event(self, topic: str) -> bool:
        """Tell whether this is an event or a pressed action, published by us and seen through the intake's wildcard."""
        return topic.startswith(self._own)

    def event(self, notification_id: str) -> str:
        """Build the topic of a notification's later steps."""
        return f"{self._prefix}notifications/events/{notification_id}"

    def action(self, notification_id: str, action: str) -> str:
        """Build the topic that says that somebody pressed an action of a notification."""
        return f"{self._prefix}notifications/actions/{notification_id}/{action}"

    def oncall(self, alert_type: str) -> str:
        """Build the topic that says, retained, who is on call for a type of alert."""
        return f"{self._prefix}oncall/{alert_type}"

    def is_receipt(self, topic: str, publisher: str = PLAIN_PUBLISHER) -> bool:
        """Tell whether a receipt may be published there: a name below ``receipts/``, and no filter.

        Args:
            publisher: whom it answers; one who is known is answered below his own name only.
        """
        own = "" if publisher == PLAIN_PUBLISHER else f"{publisher}/"
        name = topic.removeprefix(f"{self._prefix}receipts/{own}")
        is_name = bool(name.strip("/")) and name != topic and not set(name) & set("+#")
        return is_name and name.isprintable() and len(topic.encode(errors="replace")) <= TOPIC_BYTES

    def liveness_receipts(self, instance: str) -> str:
        """Build the topic on which one router is answered what it publishes of missing sources."""
        return f"{self._prefix}receipts/{LIVENESS_PUBLISHER}/{instance}"

    def http_receipts(self, publisher: str, node_id: str) -> str:
        """Build the topic on which one realtime process is answered what it publishes for a publisher."""
        return f"{self._prefix}receipts/{publisher}/http/{node_id}"

    def is_http_receipt(self, topic: str, publisher: str) -> bool:
        """Tell whether this is a topic of ``http_receipts``."""
        return topic.startswith(self.http_receipts(publisher, ""))

    def jobs(self, lane: str, priority: Priority) -> str:
        """Build the topic that carries jobs of one lane (a channel or ``router``) and priority."""
        return f"{self._prefix}internal/{lane}/{priority}"

    def jobs_filter(self, lane: str, priority: Priority) -> str:
        """Build the shared subscription that one lane's workers read."""
        return f"$share/{lane}/{self.jobs(lane, priority)}"

    def node(self, node_id: str) -> str:
        """Build the topic through which one realtime process is told of its sessions' notifications."""
        return f"{self._prefix}internal/realtime/node/{node_id}"

    @property
    def all_nodes(self) -> str:
        """The topic that every realtime process reads: broadcasts and the system status."""
        return f"{self._prefix}internal/realtime/all"
