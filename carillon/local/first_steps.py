"""Commands to try after ``carillon up``. Each works as it is printed."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SAMPLE_USER = "user123"
_INBOX = f"notifications/realtime/user/{SAMPLE_USER}"

_EXAMPLES: tuple[tuple[str, str, dict[str, object]], ...] = (
    (
        "a notification for one person",
        _INBOX,
        {
            "title": "New Message",
            "message": "You have a new message",
            "type": "message",
            "priority": "normal",
            "data": {"message_id": "msg_456", "sender": "john_doe"},
        },
    ),
    (
        "a critical alert",
        "notifications/alerts/critical/system_failure",
        {
            "message": "Database connection lost",
            "source": "database_monitor",
            "severity": "critical",
            "affected_systems": ["user_service", "order_service"],
        },
    ),
    (
        "a mail",
        "notifications/email/send",
        {
            "to": "user@example.com",
            "subject": "Welcome",
            "body": "Thank you for joining us.",
            "priority": "high",
        },
    ),
    (
        "a mail in the reader's language, from carillon/local/sample_templates/welcome",
        "notifications/email/send",
        {
            "to": "user@example.com",
            "template": "welcome",
            "locale": "fr-CA",
            "data": {"name": "User 123", "joined": "2026-11-02", "tasks": 3},
        },
    ),
)


@dataclass(frozen=True)
class Snippet:
    """A command for a shell.

    Attributes:
        name: whose it is, a word.
        purpose: what it does or needs, for people.
    """

    name: str
    purpose: str
    command: str


def send_examples(prefix: str) -> list[Snippet]:
    """Return what ``carillon send`` can publish.

    Args:
        prefix: stands before the command, for example a setting; ends in a space where it is not empty.
    """
    command = Path(sys.executable).with_name("carillon")
    shown = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return [
        Snippet("carillon", purpose, f"{prefix}{shown} send {topic} {shlex.quote(json.dumps(payload))}")
        for purpose, topic, payload in _EXAMPLES
    ]


def client_snippets(broker_url: str, topic_prefix: str) -> Sequence[Snippet]:
    """Return how other MQTT clients publish a first notification to somebody's inbox.

    Args:
        broker_url: mqtt://host:port, of a broker that takes publishes without a login.
        topic_prefix: what stands before the services' topics.
    """
    url = urlsplit(broker_url)
    host, port, topic = str(url.hostname), str(url.port), f"{topic_prefix}{_INBOX}"
    words = ["mosquitto_pub", "-h", host, "-p", port, "-q", "1", "-t", topic]
    payload = json.dumps({"message": "Hello from mosquitto_pub"})
    # Its client puts the prefix before the topics of the receipts, too.
    publisher = json.dumps(broker_url) + (f", topic_prefix={json.dumps(topic_prefix)}" if topic_prefix else "")
    # With double quotes inside, so that a shell's single ones go round.
    python = f"""\
from carillon_publisher import Publisher
with Publisher({publisher}) as publisher:
    receipt = publisher.send_user("{SAMPLE_USER}", message="Hello from Python")
    print(receipt.status, receipt.notification_id)"""
    node = (
        f'const client = require("mqtt").connect({json.dumps(broker_url)}); '
        f'client.publish({json.dumps(topic)}, JSON.stringify({{message: "Hello from Node"}}), {{qos: 1}}, '
        "() => client.end())"
    )
    return (
        Snippet("mosquitto_pub", "mosquitto_pub", shlex.join([*words, "-m", payload])),
        Snippet("python", "Python, with the receipt", f"{_python()} -c {shlex.quote(python)}"),
        Snippet("node", "Node, after: npm install mqtt", f"node -e {shlex.quote(node)}"),
    )


def _python() -> str:
    # The environment that this one runs in has the client.
    interpreter = Path(sys.executable)
    within = interpreter.is_relative_to(Path.cwd())
    return shlex.quote(str(interpreter.relative_to(Path.cwd()) if within else interpreter))
