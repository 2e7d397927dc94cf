"""One publish on its way through the intake, and what its packet says beside the payload. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from services.router.intake.admission import NO_RECORD, name_of
from services.router.payloads import cloudevents
from services.router.payloads.parse import Publish
from services.router.payloads.rejection import FieldProblem, Rejected, RejectionCode
from services.router.planning.compose import Draft
from shared.core.topics import PLAIN_PUBLISHER, Kind, Route
from shared.directory.publishers import Publisher
from shared.ledger.jobs import Message
from shared.mqtt.packets import Incoming
from shared.telemetry import tracing

IDEMPOTENCY_PROPERTY = "idempotency-key"

# How our own fields are called, and the places of lists.
_FIELD_NAME = re.compile(r"([a-z][a-z_0-9]{0,31}|[0-9]{1,4})(\.([a-z][a-z_0-9]{0,31}|[0-9]{1,4}))*|")


@dataclass(slots=True)
class Taken:
    """One publish on its way through a batch.

    Attributes:
        route: what its topic says; None where nothing listens there.
        packet: names what the broker handed over.
        record: of its publisher.
        publish: the checked payload; None when it was refused.
        receipt: the answer, once there is one.
        ending: the alert that is over, where the publish says so of one.
        warnings: what will not happen although it is accepted.
        messages: what is published beside the receipt.
        span: the accepting of it, in the trace that the publish belongs to.
    """

    incoming: Incoming
    route: Route | None
    packet: str = ""
    record: Publisher = NO_RECORD
    publish: Publish | None = None
    unstable: frozenset[str] = frozenset()
    draft: Draft | None = None
    ending: Draft | None = None
    receipt: Mapping[str, object] = field(default_factory=dict)
    warnings: list[FieldProblem] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    span: tracing.Span = tracing.UNTRACED

    @property
    def kind(self) -> Kind | None:
        """What it means."""
        return self.route.kind if self.route else None

    @property
    def publisher(self) -> str:
        """Whose it is."""
        return self.route.publisher if self.route else PLAIN_PUBLISHER

    @property
    def acts(self) -> bool:
        """Tell whether it changes, answers or ends something; once it is checked."""
        return self.draft is None and self.publish is not None

    @property
    def subject(self) -> str:
        """What an action is about: the user, alert, notification, source or the like that its topic names."""
        params = self.route.params if self.route else {}
        return next(iter(params.values()), self.incoming.topic)

    @property
    def is_refused(self) -> bool:
        """Tell whether it was refused."""
        return self.receipt.get("status") == "rejected"

    def let_go(self) -> None:
        """Keep what the answer needs and no more: the ledger has the rest."""
        self.incoming.payload = b""
        self.publish = self.draft = self.ending = None


def waves(taken: Sequence[Taken]) -> Iterator[list[Taken]]:
    """Split a batch where order matters: between notifications and actions, and between actions about the same."""
    wave: list[Taken] = []
    subjects: set[str] = set()
    for one in taken:
        if one.is_refused:
            continue
        is_action = one.draft is None
        same_sort = not wave or (wave[-1].draft is None) == is_action
        if not same_sort or (is_action and one.subject in subjects):
            yield wave
            wave, subjects = [], set()
        wave.append(one)
        subjects.add(one.subject)
    if wave:
        yield wave


def lasting_name(taken: Taken) -> bytes:
    """Name a publish so that it has the same name when it is sent again."""
    incoming = taken.incoming
    key = incoming.user_property(IDEMPOTENCY_PROPERTY)
    event = cloudevents.identity_of(incoming.content_type, incoming.user_properties, incoming.payload, key)
    if event is not None:
        return name_of(event, b"", taken.packet)
    return name_of(key, incoming.payload, taken.packet)


def packet_of(incoming: Incoming, session: str) -> str:
    """Name a packet so that it is recognised when the broker sends it again; empty at QoS 0, which is not repeated."""
    if not incoming.qos:
        return ""
    # Identifiers begin again after 65,535 packets of a session, so the rest of it counts, too.
    digest = blake2b(f"{incoming.mid} {incoming.topic}\n".encode() + incoming.payload, digest_size=12)
    return f"{session} {digest.hexdigest()}"


def envelope_of(incoming: Incoming) -> dict[str, object]:
    """Read what the MQTT properties say in place of payload fields.

    Raises:
        Rejected: with the code ``expired``.
    """
    envelope: dict[str, object] = {}
    if incoming.expiry_s == 0:
        # MQTT 5, 3.3.2.3.3: what a broker should not have handed over any more.
        raise Rejected(RejectionCode.EXPIRED, "Its deadline has passed.")
    if incoming.expiry_s is not None:
        envelope["ttl_s"] = incoming.expiry_s
    key = incoming.user_property(IDEMPOTENCY_PROPERTY)
    if key is not None:
        envelope["id"] = key
    return envelope


def logged_fields(problems: Iterable[Mapping[str, str]]) -> list[str]:
    """Name the fields of a refusal for a log: a name that a publisher made up may be an address or a number."""
    return [problem["field"] if _FIELD_NAME.fullmatch(problem["field"]) else "*" for problem in problems]
