"""The topics that a publisher uses, and which one was meant by one that no router reads."""

from difflib import SequenceMatcher, get_close_matches

# The wire contract, section 2.
PATTERNS = (
    "notifications/realtime/user/{user_id}",
    "notifications/realtime/group/{group_id}",
    "notifications/realtime/broadcast",
    "notifications/alerts/critical/{alert_type}",
    "notifications/alerts/warning/{alert_type}",
    "notifications/alerts/info/{alert_type}",
    "notifications/alerts/acknowledge/{alert_id}",
    "notifications/alerts/resolve/{alert_id}",
    "notifications/alerts/snooze/{alert_id}",
    "notifications/alerts/reassign/{alert_id}",
    "notifications/system/status",
    "notifications/system/maintenance",
    "notifications/email/send",
    "notifications/email/batch",
    "notifications/sms/send",
    "notifications/push/mobile/{platform}",
    "notifications/cancel/{notification_id}",
    "websocket/connect/{user_id}",
    "websocket/disconnect/{user_id}",
    "websocket/heartbeat/{user_id}",
    "directory/user/{user_id}",
    "directory/oncall/{alert_type}",
    "directory/suppress/{channel}",
    "directory/publisher/{publisher}",
    "directory/category/{category}",
    "directory/tenant/{tenant}",
    "directory/policy/{policy}",
    "directory/silence/{silence}",
    "directory/inhibition/{inhibition}",
    "directory/liveness/{source}",
    "liveness/{source}/birth",
    "liveness/{source}/death",
    # After the two: what is near all three is taken for this one.
    "liveness/{source}",
)
_NOBODY = "-"
_FROM = "from/"
_ROOTS = (_FROM, *sorted({f"{pattern.split('/')[0]}/" for pattern in PATTERNS}))
_STEMS = {pattern.partition("/{")[0]: pattern for pattern in PATTERNS}
_LEVELS = frozenset(level for pattern in PATTERNS for level in pattern.split("/") if "{" not in level)

# A longer topic is compared with none.
_COMPARED_CHARS = 128
_CLOSE_TOPIC = 0.55
_CLOSE_LEVEL = 0.75

# MQTT 5, 1.5.4: a string has at most 65,535 bytes.
_TOPIC_BYTES = 65_535
# MQTT 5, 4.7.1 and 4.7.3: a broker cuts the connection of a client that publishes on such a topic.
NOT_IN_TOPICS = "+#\x00"


class Topics:
    """Builds the topics of one publisher.

    Args:
        prefix: stands before every topic of the installation.
        name: the publisher's name, which stands before each topic that it publishes on; None for the plain topics.

    Raises:
        ValueError: the name cannot stand in a topic.
    """

    def __init__(self, prefix: str = "", name: str | None = None) -> None:
        self._prefix = prefix
        if name == _NOBODY:
            raise ValueError(f"no publisher has the name {_NOBODY}, which stands for the plain topics")
        self._before = prefix if name is None else f"{prefix}{_FROM}{level('name', name)}/"

    def publish(self, topic: str) -> str:
        """Return the full name of a topic of the contract.

        Raises:
            ValueError: no broker would take it.
        """
        full = self._before + topic
        if not topic or any(forbidden in full for forbidden in NOT_IN_TOPICS) or len(full.encode()) > _TOPIC_BYTES:
            raise ValueError("a topic to publish on is not empty and holds no +, # or NUL")
        return full

    def plain(self, full: str) -> str:
        """Return a topic as the contract names it."""
        return full.removeprefix(self._before)

    def receipts(self, owner: str, client_id: str) -> str:
        """Return where the receipts go, below the name of their owner."""
        own = "" if owner == client_id else f"{client_id}/"
        return f"{self._prefix}receipts/{owner}/{own}publishes"

    def events(self, notification_id: str) -> str:
        """Return where the later steps of a notification are published."""
        return f"{self._prefix}notifications/events/{level('notification_id', notification_id)}"

    def is_read(self, full: str) -> bool:
        """Tell whether a router reads this topic, so that a publish there is answered at least with a refusal."""
        return full.removeprefix(self._prefix).startswith(_ROOTS)

    def nearest(self, full: str) -> str | None:
        """Return the topic that was most likely meant; None where none is near.

        It has the parameter's name in place of what stood there, which may be personal.
        """
        return nearest(self.plain(full))


def split(topic: str) -> tuple[str, str]:
    """Take ``from/{publisher}/`` out of a topic without the prefix: return it, and the topic without it."""
    publisher, slash, rest = topic.removeprefix(_FROM).partition("/")
    if not topic.startswith(_FROM) or not slash or publisher in ("", _NOBODY):
        return "", topic
    return f"{_FROM}{publisher}/", rest


def nearest(topic: str) -> str | None:
    """Return the pattern of the contract that was most likely meant; None where none is near."""
    asked = topic.strip("/")
    if len(asked) > _COMPARED_CHARS:
        return None
    stem, _, last = asked.rpartition("/")
    found = _near(stem)
    # Otherwise it is a parameter, which is another one each time and has nothing near it.
    if last in _LEVELS or get_close_matches(last.casefold(), _LEVELS, n=1, cutoff=_CLOSE_LEVEL):
        found = max(found, _near(asked))
    return found[1] or None


def level(name: str, value: str) -> str:
    """Check that a value can stand in one level of a topic.

    Raises:
        ValueError: it cannot; the message does not repeat it, for it may be personal.
    """
    if not value or any(forbidden in value for forbidden in f"/{NOT_IN_TOPICS}"):
        raise ValueError(f"{name} is not empty and holds no /, +, # or NUL, because it stands in a topic")
    return value


def _near(text: str) -> tuple[float, str]:
    asked = text.casefold()
    found = get_close_matches(asked, _STEMS, n=1, cutoff=_CLOSE_TOPIC)
    return (SequenceMatcher(None, found[0], asked).ratio(), _STEMS[found[0]]) if found else (0.0, "")
