"""Who may do what at the broker: one table of roles.

Promises that the broker refuses what the table does not allow: publishing, subscribing and receiving. A login of a
bound role connects only under its own name as the client id, so it cannot take over the session of a service. Each
service's processes use many client ids, and the five services trust each other in this.

``carillon.broker.rules`` writes the brokers' own configurations from it, which ``carillon up``, the tests and the
cluster use.
"""

import re
from dataclasses import dataclass, field

from shared.core.channels import ROUTER_LANE
from shared.core.errors import ConfigError
from shared.core.model import Channel, Priority
from shared.core.topics import LIVENESS_PUBLISHER, OWN_PUBLISHER, Inflow, Kind, Topics

# Stands for the client id of the login that has the role.
CLIENT_ID = "{client_id}"

ALERTS = (Kind.ALERT_CRITICAL, Kind.ALERT_WARNING, Kind.ALERT_INFO)

SERVICES = ("router", *(channel.value for channel in Channel))

# The services that publish on the response topics of publishers and gateways.
ANSWERING = ("router", Channel.REALTIME.value)

_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Role:
    """What the logins of one role may do; topics are without the prefix.

    Attributes:
        publish: filters of the topics that it may publish on.
        subscribe: filters that it may subscribe to. A narrower filter is allowed, too, unless the filter is shared.
        deny_publish: exceptions from ``publish``.
        deny_subscribe: exceptions from ``subscribe``: with ``#`` everything below, otherwise exactly the filter.
        deny_receive: topics that never reach it, even if it has subscribed to them.
        bound: a login connects under its own name only.
    """

    name: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    deny_publish: tuple[str, ...] = ()
    deny_subscribe: tuple[str, ...] = ()
    deny_receive: tuple[str, ...] = ()
    bound: bool = True

    @property
    def receive(self) -> tuple[str, ...]:
        """Filters of the topics whose messages reach it: those of its subscriptions."""
        return tuple(dict.fromkeys(each.split("/", 2)[2] if is_shared(each) else each for each in self.subscribe))

    @property
    def is_personal(self) -> bool:
        """Whether a login of it has topics of its own."""
        return any(CLIENT_ID in topic for topic in (*self.publish, *self.subscribe))


@dataclass(frozen=True)
class Login:
    """Who connects: a name, a password and a role."""

    name: str
    password: str = field(repr=False)
    role: str = ""

    def __post_init__(self) -> None:
        if not _LOGIN.fullmatch(self.name):
            raise ConfigError("a login is a topic level: 1 to 64 letters, digits, hyphens, dots and underscores")
        if self.name == OWN_PUBLISHER:
            raise ConfigError(f"{OWN_PUBLISHER} is no login: Carillon itself publishes under this name")


def roles(prefix: str = "") -> dict[str, Role]:
    """Return the table of roles by name, for topics under one ``TOPIC_PREFIX``."""
    topics = Topics(prefix)
    events, every_event = f"{prefix}notifications/events/+", f"{prefix}notifications/events/#"
    actions, every_action = f"{prefix}notifications/actions/+/+", f"{prefix}notifications/actions/#"
    receipts, own_receipts = f"{prefix}receipts/#", f"{prefix}receipts/{CLIENT_ID}/#"
    oncall = f"{prefix}oncall/#"
    publishes, sessions, directory, beats = (
        f"{prefix}{each}/#" for each in ("notifications", "websocket", "directory", "liveness")
    )
    lanes = (ROUTER_LANE, *Channel)
    table = [
        Role(
            "router",
            publish=(
                *(topics.jobs(lane, priority) for lane in lanes for priority in Priority),
                receipts,
                events,
                oncall,
                # What it warns people of is a notification like any other.
                topics.of_publisher(OWN_PUBLISHER, topics.publish(Kind.REALTIME_USER, "+")),
                # What its watch says of missing sources.
                *(topics.of_publisher(LIVENESS_PUBLISHER, topics.publish(kind, "+")) for kind in ALERTS),
                # A user whom it has forgotten has sessions there.
                topics.node("+"),
            ),
            subscribe=(
                *(each for inflow in Inflow for each in topics.intake_filters(inflow)),
                # A router of 0.2.0 connects again with it, while the other services are upgraded.
                *topics.former_filters,
                *(topics.jobs_filter(ROUTER_LANE, priority) for priority in Priority),
                topics.liveness_receipts("+"),
            ),
            bound=False,
        ),
        *(_channel_role(topics, channel, events, actions, receipts) for channel in Channel),
        # It receives what is its own: its answers, and the events of notifications whose ids it knows.
        Role(
            "publisher",
            publish=(publishes, beats),
            deny_publish=(every_event, every_action),
            subscribe=(own_receipts, events, oncall),
            deny_subscribe=(events,),
        ),
        # What it publishes is known to be its own.
        Role(
            "named-publisher",
            publish=(f"{prefix}from/{CLIENT_ID}/#",),
            subscribe=(own_receipts, events),
            deny_subscribe=(events,),
        ),
        # It is told of any user's pending notifications, which a publisher is not.
        Role("gateway", publish=(sessions,), subscribe=(own_receipts,)),
        Role(
            "admin",
            publish=(publishes, sessions, directory, beats),
            deny_publish=(every_event, every_action),
            subscribe=(own_receipts, events, actions, oncall),
        ),
        # Those who watch, and displays on a wall.
        Role("monitor", subscribe=("$SYS/#", oncall)),
    ]
    return {role.name: role for role in table}


def _channel_role(topics: Topics, channel: Channel, events: str, actions: str, receipts: str) -> Role:
    jobs = tuple(topics.jobs_filter(channel, priority) for priority in Priority)
    if channel is not Channel.REALTIME:
        return Role(channel, publish=(events,), subscribe=jobs, bound=False)
    between = (topics.node("+"), topics.all_nodes)
    return Role(
        channel,
        # A gateway's session is told of live notifications where its connect was answered. What publishers post over
        # HTTP is published in their names.
        publish=(events, actions, receipts, topics.said_by("+", "#"), *between),
        subscribe=(*jobs, topics.http_receipts("+", "+"), *between),
        bound=False,
    )


def whoever_is_on_this_machine(prefix: str = "") -> Role:
    """Return what a client without a login may do at a broker that only this machine reaches.

    Everything that a publisher, a gateway and an admin may do, with any client id and any response topic. The topics
    between the services stay closed, and nobody says in Carillon's place who is on call.
    """
    internal, oncall = f"{prefix}internal/#", f"{prefix}oncall/#"
    own = (f"{prefix}from/{name}/#" for name in (OWN_PUBLISHER, LIVENESS_PUBLISHER))
    return Role(
        "anybody",
        publish=("#",),
        deny_publish=(internal, oncall, *own),
        subscribe=("#", "$SYS/#", "$share/#"),
        deny_subscribe=(
            internal,
            f"$share/+/{internal}",
            *(f"$share/{service}/#" for service in SERVICES),
            "$CONTROL/#",
        ),
        deny_receive=(internal,),
        bound=False,
    )


def is_shared(topic_filter: str) -> bool:
    """Tell whether this is a shared subscription: $share, the group, the filter (MQTT 5, 4.8.2)."""
    return topic_filter.startswith("$share/") and topic_filter.count("/") > 1
