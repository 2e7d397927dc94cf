"""Writes what goes over MQTT as an AsyncAPI 3.0 document: what publishers send, receipts, events, gateways' sessions.

The payloads' schemas are those of ``clients/rules.json``, turned into what AsyncAPI's own schemas can say. Those are
JSON Schema draft 7: a rule of ours becomes a pattern, or a sentence in the description of its field.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from services.router.payloads.receipts import AcceptedReceipt, DuplicateReceipt, RejectedReceipt, SessionReceipt
from services.router.rules.document import rules
from services.router.rules.examples import EXAMPLES, LEVELS
from services.router.rules.meanings import CHECKS, FIELDS, FIELDS_OF, PARAMETERS
from services.router.rules.schemas import REFERENCE, shapes_of
from shared.core.topics import Kind
from shared.directory.rota import OnCallNow
from shared.ledger.events import Pressed, Step

VERSION = "3.0.0"

_SCHEMAS = "#/components/schemas/"
_MESSAGES = "#/components/messages/"

_INFO = {
    "title": "Carillon over MQTT",
    "version": "1",
    "description": "What a publisher sends and hears. Every payload is a JSON object in UTF-8. Where an operator has "
    "set a topic prefix, it stands before every address.\n\nA publisher that sets the MQTT 5 Response Topic to a topic "
    "below `receipts/` gets one receipt for each publish, with its Correlation Data. A publish on `from/{publisher}/…` "
    "is that publisher's own: only its login may publish there, and its receipts are below `receipts/{publisher}/`.\n\n"
    "Each payload may also come as the `data` of a CloudEvents 1.0 event, in binary or in structured mode.",
}

_HEADERS = {
    "type": "object",
    "description": "What MQTT 5 says beside the payload.",
    "properties": {
        "responseTopic": {
            "type": "string",
            "pattern": "^receipts/.",
            "description": "Response Topic: where the receipt goes.",
        },
        "correlationData": {"type": "string", "description": "Correlation Data: comes back with the receipt."},
        "idempotency-key": {
            "type": "string",
            "maxLength": 128,
            "description": "User property: the payload's `id`, where the payload has none.",
        },
    },
}

_MESSAGE_BINDING = {
    "payloadFormatIndicator": 1,
    "contentType": "application/json",
    "correlationData": {"type": "string"},
    "responseTopic": {"type": "string", "pattern": "^receipts/."},
    "bindingVersion": "0.2.0",
}

_RECEIPTS: Mapping[str, type[Any]] = {
    "Accepted": AcceptedReceipt,
    "Duplicate": DuplicateReceipt,
    "Rejected": RejectedReceipt,
    "SessionOpened": SessionReceipt,
}


def asyncapi() -> dict[str, Any]:
    """Write the document."""
    document = rules()
    checks = document["checks"]
    schemas = {name: _plain(schema, checks, owner=name) for name, schema in document["schemas"].items()}
    schemas |= _written_by_us()
    messages: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic in document["topics"]:
        values = _values(document, topic)
        _add(topic, values, channels, operations, messages)
    messages |= {name: _told(name) for name in (*_RECEIPTS, "Event", "Press", "Frame", "OnDuty")}
    channels |= _told_on()
    operations["event"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/events"},
        "summary": "Each later step of a notification whose publisher asked for `events`.",
        "messages": [{"$ref": "#/channels/events/messages/Event"}],
    }
    operations["press"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/actions"},
        "summary": "Each action with a topic that somebody pressed in the inbox.",
        "messages": [{"$ref": "#/channels/actions/messages/Press"}],
    }
    operations["frame"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/receipts"},
        "summary": "What a user is to see at once, for the session that a gateway opened.",
        "messages": [{"$ref": "#/channels/receipts/messages/Frame"}],
    }
    operations["oncall"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/oncall"},
        "summary": "Who is on call, for displays.",
        "messages": [{"$ref": "#/channels/oncall/messages/OnDuty"}],
    }
    return {
        "asyncapi": VERSION,
        "info": _INFO,
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}",
                "protocol": "mqtt",
                "protocolVersion": "5",
                "description": "The broker. MQTT 3.1.1 publishes as well, and gets no receipt.",
                "variables": {"host": {"default": "localhost:1883"}},
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _values(document: Mapping[str, Any], topic: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the values that a topic's parameters can have, where they are a list."""
    found = {}
    for name in topic["parameters"]:
        schema = document["schemas"][topic["schema"]]["properties"][name]
        if "$ref" in schema:
            schema = document["schemas"][schema["$ref"].removeprefix(REFERENCE)]
        found[name] = schema.get("enum", [])
    return found


def _add(
    topic: Mapping[str, Any],
    values: Mapping[str, Sequence[str]],
    channels: dict[str, Any],
    operations: dict[str, Any],
    messages: dict[str, Any],
) -> None:
    """Describe one topic, for everybody and for a publisher with a name."""
    kind = Kind(topic["kind"])
    schemas = [name for name in (topic["schema"], topic.get("templated")) if name]
    for name in schemas:
        examples = [each for each in EXAMPLES[kind] if ("template" in each) == (name != topic["schema"])]
        messages[name] = {
            "name": name,
            "title": _title(name),
            "headers": _HEADERS,
            "payload": {"$ref": _SCHEMAS + name},
            "correlationId": {"location": "$message.header#/correlationData"},
            "bindings": {"mqtt": _MESSAGE_BINDING},
        } | ({"examples": [{"payload": each} for each in examples]} if examples else {})
    receipts = ["SessionOpened" if kind is Kind.SESSION_CONNECT else "Accepted", "Rejected"]
    if topic.get("notification"):
        receipts.insert(1, "Duplicate")
    for name, before in ((kind.value, ""), (f"{kind.value}_from", "from/{publisher}/")):
        # The record of a publisher has the name of another one in its topic.
        parameters = dict.fromkeys([*(["publisher"] if before else []), *topic["parameters"]])
        channels[name] = {
            "address": before + topic["topic"],
            "title": before + topic["topic"],
            "description": _of_topic(topic, named=bool(before)),
            "messages": {each: {"$ref": _MESSAGES + each} for each in schemas},
        }
        if parameters:
            channels[name]["parameters"] = {each: _parameter(each, values.get(each, ())) for each in parameters}
        operations[f"publish_{name}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{each}"} for each in schemas],
            "bindings": {"mqtt": _operation_binding(topic)},
            "reply": {
                "address": {
                    "location": "$message.header#/responseTopic",
                    "description": "The Response Topic of the publish; without one there is no receipt.",
                },
                "channel": {"$ref": "#/channels/receipts"},
                "messages": [{"$ref": f"#/channels/receipts/messages/{each}"} for each in receipts],
            },
        }


def _of_topic(topic: Mapping[str, Any], *, named: bool) -> str:
    said = [f"At most {topic['max_bytes']} bytes."]
    if topic["empty"] == "object":
        said.append("An empty payload counts as `{}`.")
    if topic["empty"] == "delete":
        said.append("An empty payload deletes the record.")
    if topic["nulls"] == "clear":
        said.append("A field that is left out stays as it is; null clears it.")
    said += [f"`{name}` is always `{value}`." for name, value in topic.get("fixed", {}).items()]
    said.append(
        "An unknown field is refused." if topic["unknown_fields"] == "refuse" else "An unknown field is a warning."
    )
    return " ".join(["For the publisher of that name alone.", *said] if named else said)


def _parameter(name: str, values: Sequence[str]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": PARAMETERS[name], "examples": [LEVELS[name]]}
    return described | ({"enum": list(values)} if values else {})


def _operation_binding(topic: Mapping[str, Any]) -> dict[str, Any]:
    binding: dict[str, Any] = {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}
    if topic.get("notification"):
        expiry = "Counts as the payload's `ttl_s`, in seconds."
        binding["messageExpiryInterval"] = {"type": "integer", "minimum": 1, "description": expiry}
    return binding


def _title(name: str) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
    return words.capitalize()


def _told(name: str) -> dict[str, Any]:
    schema = {"Event": "Step", "Press": "Pressed", "Frame": "LiveFrame", "OnDuty": "OnCallNow"}.get(
        name
    ) or f"{name}Receipt"
    return {
        "name": name,
        "title": _title(name),
        "payload": {"$ref": _SCHEMAS + schema},
    }


def _told_on() -> dict[str, Any]:
    return {
        "receipts": {
            "address": None,
            "title": "receipts/…",
            "description": "The Response Topic of a publish, below `receipts/`. A receipt is published with QoS 1, is "
            "not retained, and has the Correlation Data of the publish.",
            "messages": {name: {"$ref": _MESSAGES + name} for name in (*_RECEIPTS, "Frame")},
        },
        "events": {
            "address": "notifications/events/{notification_id}",
            "title": "notifications/events/{notification_id}",
            "description": "For a notification with `events`: `accepted`, then each end of a delivery, and each action "
            "that somebody pressed.",
            "parameters": {"notification_id": {"description": PARAMETERS["notification_id"]}},
            "messages": {"Event": {"$ref": _MESSAGES + "Event"}},
        },
        "actions": {
            "address": "notifications/actions/{notification_id}/{action}",
            "title": "notifications/actions/{notification_id}/{action}",
            "description": "For an action with a `topic`: somebody pressed it. Once for each person and action, with "
            "QoS 1.",
            "parameters": {
                "notification_id": {"description": PARAMETERS["notification_id"]},
                "action": {"description": "The action's `id`."},
            },
            "messages": {"Press": {"$ref": _MESSAGES + "Press"}},
        },
        "oncall": {
            "address": "oncall/{alert_type}",
            "title": "oncall/{alert_type}",
            "description": "Who is on call for a type that has an entry: a retained message, within a minute of each "
            "change. An empty one says that the entry is gone.",
            "parameters": {"alert_type": {"description": "The entry's; `*` serves the types without one."}},
            "messages": {"OnDuty": {"$ref": _MESSAGES + "OnDuty"}},
        },
    }


def _written_by_us() -> dict[str, Any]:
    """Write the schemas of what Carillon publishes."""
    adapters: dict[str, TypeAdapter[Any]] = {f"{name}Receipt": TypeAdapter(shape) for name, shape in _RECEIPTS.items()}
    shapes = shapes_of(
        {**adapters, "Step": TypeAdapter(Step), "Pressed": TypeAdapter(Pressed), "OnCallNow": TypeAdapter(OnCallNow)}
    )
    shapes["LiveFrame"] = {
        "type": "object",
        "description": "A frame as it goes over a WebSocket: `GET /v1/openapi.json` has its shapes.",
        "properties": {"type": {"type": "string"}},
        "required": ["type"],
    }
    return {name: _plain(schema, {}) for name, schema in shapes.items()}


def _plain(schema: Any, checks: Mapping[str, Any], name: str = "", owner: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Turn a schema with our keywords into one of AsyncAPI.

    Args:
        name: of the field whose schema it is.
        owner: of the schema that has this field, or that this is.
    """
    if isinstance(schema, list):
        return [_plain(each, checks) for each in schema]
    if not isinstance(schema, dict):
        return schema
    written: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "properties":
            written[keyword] = {field: _plain(each, checks, field, owner) for field, each in value.items()}
        elif keyword == "$ref":
            written[keyword] = _SCHEMAS + value.removeprefix(REFERENCE)
        elif keyword in ("enum", "default", "required"):
            written[keyword] = value
        elif not keyword.startswith("x-"):
            written[keyword] = _plain(value, checks)
    steps = [step for check in schema.get("x-checks", ()) for step in checks[check]]
    patterns = [step["pattern"] for step in steps if step["check"] == "matches"]
    if patterns:
        written["pattern"] = f"^(?:{patterns[0]})$"
    said = [*_sentences(schema, name, owner)]
    if said:
        written["description"] = " ".join([*said, written["description"]] if "description" in written else said)
    if "$ref" in written and len(written) > 1:
        # In draft 7 a reference hides what stands beside it.
        written["allOf"] = [{"$ref": written.pop("$ref")}]
    return written


def _sentences(schema: Mapping[str, Any], name: str, owner: str) -> Iterator[str]:
    """Say what a field means, and the rules that draft 7 cannot say."""
    if "not" in schema:
        yield _sentence(schema["x-problem"])
        return
    if schema.get("x-parameter"):
        yield "The topic says it."
    elif name in FIELDS_OF.get(owner, {}):
        yield FIELDS_OF[owner][name]
    elif name in FIELDS:
        yield FIELDS[name]
    inside = [schema, *schema.get("anyOf", ())] if name else []
    yield from (CHECKS[check] for each in inside for check in each.get("x-checks", ()))
    yield from (_related(each) for each in schema.get("x-relations", ()))


def _related(relation: Mapping[str, Any]) -> str:
    values = ", ".join(f"`{value}`" for value in relation.get("values", ())).lower()
    match relation["relation"]:
        case "required_unless":
            return f"Required, unless `{relation['field']}` is {values or 'there'}."
        case "only_if":
            return f"Only where `{relation['field']}` is {values}."
        case "matches_if":
            return f"Where `{relation['field']}` is {values}, it must match `{relation['pattern']}`."
        case "items_by":
            return "Subscriptions where the platform is `web`, strings elsewhere."
    return _sentence(relation["problem"])


def _sentence(problem: str) -> str:
    return f"{problem[0].upper()}{problem[1:]}."
