"""Turns the bytes of a publish into its model, or into the reason for a refusal.

Pure and total: for any bytes it returns a model or raises ``Rejected``, for any nesting, numbers or encoding. It does
not know the time, so it never refuses as ``expired``. It does not know who publishes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from services.router.payloads import control, mails, notifications, templated
from services.router.payloads.envelope import Envelope, Payload
from services.router.payloads.rejection import (
    PROBLEMS_SHOWN,
    FieldProblem,
    Rejected,
    RejectionCode,
    invalid_payload,
    rejection_of,
)
from services.router.payloads.unknown_fields import UNKNOWN, meant_at, unknown_fields
from shared.core.limits import OBJECT_BYTES, payload_bytes
from shared.core.topics import Kind
from shared.directory.categories import NamedCategory
from shared.directory.inhibitions import NamedInhibition
from shared.directory.liveness import NamedLiveness
from shared.directory.people import OnCall, Person
from shared.directory.person_change import PersonChange
from shared.directory.policies import NamedPolicy
from shared.directory.publishers import NamedPublisher
from shared.directory.silences import NamedSilence
from shared.directory.tenants import NamedTenant

NamedRule: TypeAlias = NamedPolicy | NamedSilence | NamedInhibition
DirectoryRecord: TypeAlias = (
    PersonChange | OnCall | NamedPublisher | NamedCategory | NamedTenant | NamedRule | NamedLiveness
)
Publish: TypeAlias = notifications.Notification | control.Control | DirectoryRecord

NOT_ON_THIS_TOPIC = "not on this topic"
DIFFERS_FROM_TOPIC = "differs from the topic"

MODELS: Mapping[Kind, type[Publish]] = {
    Kind.REALTIME_USER: notifications.RealtimeUser,
    Kind.REALTIME_GROUP: notifications.RealtimeGroup,
    Kind.REALTIME_BROADCAST: notifications.RealtimeBroadcast,
    Kind.ALERT_CRITICAL: notifications.CriticalAlert,
    Kind.ALERT_WARNING: notifications.WarningAlert,
    Kind.ALERT_INFO: notifications.InfoAlert,
    Kind.ALERT_ACKNOWLEDGE: control.AlertAcknowledge,
    Kind.ALERT_RESOLVE: control.AlertResolve,
    Kind.ALERT_SNOOZE: control.AlertSnooze,
    Kind.ALERT_REASSIGN: control.AlertReassign,
    Kind.SYSTEM_STATUS: notifications.SystemStatus,
    Kind.SYSTEM_MAINTENANCE: notifications.SystemMaintenance,
    Kind.EMAIL_SEND: mails.EmailSend,
    Kind.EMAIL_BATCH: mails.EmailBatch,
    Kind.SMS_SEND: notifications.SmsSend,
    Kind.PUSH_MOBILE: notifications.PushMobile,
    Kind.CANCEL: control.Cancel,
    Kind.SESSION_CONNECT: control.SessionConnect,
    Kind.SESSION_DISCONNECT: control.SessionDisconnect,
    Kind.SESSION_HEARTBEAT: control.SessionHeartbeat,
    Kind.DIRECTORY_USER: PersonChange,
    Kind.DIRECTORY_ONCALL: OnCall,
    Kind.DIRECTORY_SUPPRESS: control.Suppress,
    Kind.DIRECTORY_PUBLISHER: NamedPublisher,
    Kind.DIRECTORY_CATEGORY: NamedCategory,
    Kind.DIRECTORY_TENANT: NamedTenant,
    Kind.DIRECTORY_POLICY: NamedPolicy,
    Kind.DIRECTORY_SILENCE: NamedSilence,
    Kind.DIRECTORY_INHIBITION: NamedInhibition,
    Kind.DIRECTORY_LIVENESS: NamedLiveness,
    Kind.LIVENESS_BIRTH: control.Birth,
    Kind.LIVENESS_DEATH: control.Death,
    Kind.LIVENESS_BEAT: control.Beat,
}

# Records refuse what they do not know, and whoever writes one may say its name in the payload, too.
RECORDS = (
    PersonChange,
    OnCall,
    NamedPublisher,
    NamedCategory,
    NamedTenant,
    NamedPolicy,
    NamedSilence,
    NamedInhibition,
    NamedLiveness,
)

# Of these the topic says all, and the payload may be anything.
ANY_PAYLOAD = frozenset({Kind.LIVENESS_BEAT})

# What is read where the payload names a template.
TEMPLATED: Mapping[Kind, type[Publish]] = {
    Kind.REALTIME_USER: templated.TemplatedUser,
    Kind.REALTIME_GROUP: templated.TemplatedGroup,
    Kind.REALTIME_BROADCAST: templated.TemplatedBroadcast,
    Kind.EMAIL_SEND: templated.TemplatedEmail,
    Kind.SMS_SEND: templated.TemplatedSms,
    Kind.PUSH_MOBILE: templated.TemplatedPush,
}

# What an empty payload means: a deletion in the directory, and an empty object where the topic says all that is needed.
WHEN_EMPTY: Mapping[Kind, type[Publish]] = {
    Kind.ALERT_RESOLVE: control.AlertResolve,
    Kind.CANCEL: control.Cancel,
    Kind.SESSION_CONNECT: control.SessionConnect,
    Kind.SESSION_DISCONNECT: control.SessionDisconnect,
    Kind.SESSION_HEARTBEAT: control.SessionHeartbeat,
    Kind.DIRECTORY_USER: control.DeleteUser,
    Kind.DIRECTORY_ONCALL: control.DeleteOnCall,
    Kind.DIRECTORY_PUBLISHER: control.DeletePublisher,
    Kind.DIRECTORY_CATEGORY: control.DeleteCategory,
    Kind.DIRECTORY_TENANT: control.DeleteTenant,
    Kind.DIRECTORY_POLICY: control.DeletePolicy,
    Kind.DIRECTORY_SILENCE: control.DeleteSilence,
    Kind.DIRECTORY_INHIBITION: control.DeleteInhibition,
    Kind.DIRECTORY_LIVENESS: control.DeleteLiveness,
    Kind.LIVENESS_BIRTH: control.Birth,
    Kind.LIVENESS_DEATH: control.Death,
    Kind.LIVENESS_BEAT: control.Beat,
}


@dataclass(frozen=True, slots=True)
class Read:
    """A publish that passed.

    Attributes:
        unread: what it says and nobody reads, for a warning in its receipt.
    """

    publish: Publish
    unread: tuple[FieldProblem, ...] = ()


def parse(
    kind: Kind, params: Mapping[str, str], payload: bytes, *, envelope: Mapping[str, object] | None = None
) -> Publish:
    """Check one publish, see ``read``; fields that nobody reads are ignored."""
    return read(kind, params, payload, envelope=envelope).publish


def read(
    kind: Kind,
    params: Mapping[str, str],
    payload: bytes,
    *,
    envelope: Mapping[str, object] | None = None,
    reject_unknown: bool = False,
) -> Read:
    """Check one publish, and say what nobody reads of it.

    Args:
        kind: what its topic said.
        params: the topic's variable levels by name; they win over fields of the same name.
        payload: as it came.
        envelope: what the MQTT properties said of a notification (``id``, ``ttl_s``), under the names and rules of the
            payload's fields; the payload wins. Everything else than a notification ignores it.
        reject_unknown: refuse a payload with fields that are not known.

    Raises:
        Rejected: with the code ``too_large``, ``invalid_json`` or ``invalid_payload``.
    """
    check_size(kind, len(payload))
    model = MODELS[kind]
    document: dict[str, Any] = {}
    if kind in ANY_PAYLOAD:
        payload = b""
    if not payload and kind in WHEN_EMPTY:
        model = WHEN_EMPTY[kind]
    else:
        document = _object(payload)
    if len(payload) > OBJECT_BYTES:
        _check_mails(document.get("emails"))
    said = document
    if model in RECORDS:
        _same_name(document, params)
    elif envelope and model is not control.Suppress:
        document = {**envelope, **document}
    if "template" in document and issubclass(model, Envelope):
        if kind not in TEMPLATED:
            raise invalid_payload((FieldProblem("template", NOT_ON_THIS_TOPIC),))
        model = TEMPLATED[kind]
    if not issubclass(model, Payload):
        return Read(_record(model, document, params, payload))
    unread = unknown_fields(model, said, params) if model.model_config.get("extra") == "ignore" else []
    unknown = tuple(each for each in unread if each.problem == UNKNOWN)
    try:
        publish = model.model_validate({**document, **params})
    except ValidationError as error:
        # From None: pydantic's error holds the whole document, which must not travel with the rejection.
        raise rejection_of(error, partial(meant_at, model), unknown) from None
    if unknown and reject_unknown:
        raise invalid_payload(unknown)
    return Read(publish, tuple(unread))


def _record(
    model: type[DirectoryRecord],
    document: Mapping[str, Any],
    params: Mapping[str, str],
    payload: bytes,
) -> Publish:
    """Check a record of the directory, which refuses what it does not know."""
    try:
        if issubclass(model, PersonChange):
            # A null clears a field there.
            return PersonChange.read({**_object(payload, nulls=True), **params})
        return model.model_validate({**document, **params})
    except ValidationError as error:
        of = Person if issubclass(model, PersonChange) else model
        raise rejection_of(error, partial(meant_at, of)) from None


def check_size(kind: Kind, size_bytes: int) -> None:
    """Refuse what is larger than its topic takes.

    Raises:
        Rejected: with the code ``too_large``, and the limit in the message.
    """
    most_bytes = payload_bytes(kind)
    if size_bytes > most_bytes:
        message = f"The payload has {size_bytes} bytes. This topic takes at most {most_bytes}."
        raise Rejected(RejectionCode.TOO_LARGE, message)


def _check_mails(mails: object) -> None:
    """Refuse a mail of a batch that is larger than a publish of its own may be."""
    if not isinstance(mails, list):
        return
    larger = [index for index, mail in enumerate(mails) if len(to_json(mail)) > OBJECT_BYTES]
    if larger:
        problem = f"larger than {OBJECT_BYTES} bytes"
        fields = tuple(FieldProblem(f"emails.{index}", problem) for index in larger[:PROBLEMS_SHOWN])
        message = f"A mail of a batch has at most {OBJECT_BYTES} bytes. {len(larger)} of these have more."
        raise Rejected(RejectionCode.TOO_LARGE, message, fields)


def says(payload: bytes, field: str) -> bool:
    """Tell whether a payload that ``parse`` has taken says a field itself."""
    return bool(payload) and field in _object(payload)


def _object(payload: bytes, *, nulls: bool = False) -> dict[str, Any]:
    """Read a JSON object; a field that is null counts as absent, as publishers in most languages mean it.

    Args:
        nulls: keep such fields.
    """
    if not payload:
        raise Rejected(RejectionCode.INVALID_JSON, "The payload is empty.")
    try:
        # jiter takes UTF-8 only, stops at 200 levels, and refuses NaN and lone surrogates. Only keys are cached: the
        # cache outlives the payload, and values may be personal.
        document = from_json(payload, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        # jiter's sentence tells a position and what was expected there, nothing of the text.
        raise Rejected(RejectionCode.INVALID_JSON, f"The payload is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise Rejected(RejectionCode.INVALID_JSON, "The payload is not a JSON object.")
    return {name: value for name, value in document.items() if nulls or value is not None}


def _same_name(document: Mapping[str, Any], params: Mapping[str, str]) -> None:
    """Refuse a directory record that names another person or type than its topic: one of the two is a mistake."""
    differing = [name for name, value in params.items() if document.get(name, value) != value]
    if differing:
        raise invalid_payload(tuple(FieldProblem(name, DIFFERS_FROM_TOPIC) for name in differing))
