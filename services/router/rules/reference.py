"""Writes the topics' reference, a page of the docs, from the AsyncAPI document."""

import json
from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

_SCHEMAS = "#/components/schemas/"
_COMMON = (
    "id", "category", "tenant", "channels", "send_at", "expires_at", "ttl_s", "events", "actions", "priority",
)  # fmt: skip

_COLUMNS = 120

_HEAD = """\
# Topics

Written by `make rules` from the models that the router reads payloads with; a test fails when it is out of date. For
programs: [AsyncAPI](../../services/realtime/http/asyncapi.json), which the realtime service serves at `/v1/asyncapi`
with a page for people, and [rules as data](../../clients/README.md). How to publish is told in
[publishing](../guides/publishing.md).

Each topic may have `from/{publisher}/` before it: what comes there has a publisher with a name. A field in bold is
required."""


def reference(document: Mapping[str, Any]) -> str:
    """Write the page."""
    return "\n\n".join(_sections(document)) + "\n"


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    schemas, channels = document["components"]["schemas"], document["channels"]
    yield _HEAD
    yield "## In every notification"
    common = {name: schemas["RealtimeUser"]["properties"][name] for name in _COMMON}
    yield _table({"properties": common}, schemas, ())
    yield "Alerts, status and maintenance have the priority of their topic."
    for name in [name.removeprefix("publish_") for name in document["operations"] if name.startswith("publish_")]:
        if not name.endswith("_from"):
            yield from _topic(channels[name], document)
    yield "## Receipts"
    yield _prose(channels["receipts"]["description"])
    for name in (
        "AcceptedReceipt",
        "SessionOpenedReceipt",
        "DuplicateReceipt",
        "RejectedReceipt",
        "Refusal",
        "Problem",
    ):
        yield from _shape(name, schemas)
    yield "## Events"
    yield _prose(f"`{channels['events']['address']}`. {channels['events']['description']}")
    yield from _shape("Step", schemas)
    yield from _shape("Confirmation", schemas)
    yield "## Pressed actions"
    yield _prose(f"`{channels['actions']['address']}`. {channels['actions']['description']}")
    yield from _shape("Pressed", schemas)
    yield "## Shapes"
    used = [
        name
        for name in schemas
        if schemas[name].get("additionalProperties") is False or name.startswith(("Action", "Push"))
    ]
    messages = {
        message["payload"]["$ref"].removeprefix(_SCHEMAS) for message in document["components"]["messages"].values()
    }
    for name in used:
        if name not in messages:
            yield from _shape(name, schemas)


def _prose(text: str) -> str:
    return fill(text, _COLUMNS, break_long_words=False, break_on_hyphens=False)


def _topic(channel: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    schemas, messages = document["components"]["schemas"], document["components"]["messages"]
    yield f"## `{channel['address']}`"
    yield _prose(channel["description"])
    for message in channel["messages"]:
        schema = schemas[message]
        is_notification = set(_COMMON) - {"priority"} <= schema["properties"].keys()
        if message.startswith("Templated"):
            yield "With a template:"
        table = _table(schema, schemas, (*channel.get("parameters", ()), *(_COMMON if is_notification else ())))
        if table:
            yield table
        if is_notification and not message.startswith("Templated"):
            yield "And the fields of [every notification](#in-every-notification)."
        examples = messages[message].get("examples", ())
        if examples:
            yield f"    {json.dumps(examples[0]['payload'], ensure_ascii=False)}"


def _shape(name: str, schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    if "description" in schemas[name]:
        yield _prose(schemas[name]["description"])
    yield _table(schemas[name], schemas, ())


def _table(schema: Mapping[str, Any], schemas: Mapping[str, Any], left_out: tuple[str, ...]) -> str:
    rows = []
    for name, field in schema["properties"].items():
        if name in left_out or "not" in field:
            continue
        shown = f"**`{name}`**" if name in schema.get("required", ()) else f"`{name}`"
        default = f" By default `{json.dumps(field['default'])}`." if "default" in field else ""
        inside = next((each["description"] for each in field.get("anyOf", ()) if "description" in each), "")
        meaning = str(field.get("description") or inside)
        rows.append(f"| {shown} | {_type(field, schemas)} | {meaning.replace('|', chr(92) + '|')}{default} |")
    return "\n".join(["| field | type | meaning |", "| --- | --- | --- |", *rows]) if rows else ""


def _type(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMAS)
        return _type(schemas[name], schemas) if "enum" in schemas[name] else f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(each, schemas) for each in schema[several] if each != {"type": "null"})
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'], schemas)}{_limits(schema)}"
    inside = schema.get("additionalProperties")
    if isinstance(inside, dict) and "$ref" in inside:
        return f"object of {_type(inside, schemas)}{_limits(schema)}"
    kinds = schema.get("type", "any value")
    return f"{' or '.join(kinds) if isinstance(kinds, list) else kinds}{_limits(schema)}"


def _limits(schema: Mapping[str, Any]) -> str:
    words = {
        "maxLength": "at most {} characters",
        "maxItems": "at most {}",
        "maxProperties": "at most {}",
        "exclusiveMinimum": "more than {}",
        "minimum": "at least {}",
        "maximum": "at most {}",
    }
    return "".join(f", {text.format(schema[name])}" for name, text in words.items() if name in schema)
