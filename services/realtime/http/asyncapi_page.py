"""An AsyncAPI document as a page for people: HTML without scripts, in the style of the API's page."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from services.realtime.http.api_page import prose

_NAMED = "_from"


def write_asyncapi_page(document: Mapping[str, Any]) -> str:
    """Write the page."""
    return "\n".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info, channels = document["info"], document["channels"]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<title>{escape(info["title"])}</title><link rel="icon" href="../icon.svg">'
    yield '<link rel="stylesheet" href="../api.css"></head><body>'
    yield f"<h1>{escape(info['title'])}</h1>"
    for paragraph in info["description"].split("\n\n"):
        yield f"<p>{prose(paragraph)}</p>"
    yield f'<p>For programs: <a href="asyncapi?format=json">AsyncAPI {escape(document["asyncapi"])}</a>.</p>'
    published = [
        name for name in channels if f"publish_{name}" in document["operations"] and not _is_named(name, channels)
    ]
    yield "<h2>What publishers send</h2><ul>"
    for name in published:
        yield f'<li><a href="#{escape(name)}"><code>{escape(channels[name]["address"])}</code></a></li>'
    yield "</ul>"
    for name in published:
        yield from _published(name, document)
    yield "<h2>What publishers hear</h2>"
    for name, channel in channels.items():
        if name not in published and not _is_named(name, channels):
            yield f'<h3 id="{escape(name)}">{escape(channel["title"])}</h3><p>{prose(channel["description"])}</p>'
            for message in channel["messages"]:
                yield from _message(document, message)
    yield "<h2>Shapes</h2>"
    shown = {message["payload"]["$ref"] for message in document["components"]["messages"].values()}
    for name, schema in document["components"]["schemas"].items():
        if f"#/components/schemas/{name}" not in shown:
            yield f'<h3 id="{escape(name)}">{escape(name)}</h3>'
            yield from _schema(schema)
    yield "</body></html>"


def _is_named(name: str, channels: Mapping[str, Any]) -> bool:
    """Tell whether a channel is that of a publisher with a name, beside the one for everybody."""
    return name.endswith(_NAMED) and name.removesuffix(_NAMED) in channels


def _published(name: str, document: Mapping[str, Any]) -> Iterator[str]:
    channel, operation = document["channels"][name], document["operations"][f"publish_{name}"]
    yield f'<h3 id="{escape(name)}">{escape(channel["address"])}</h3><p>{prose(channel["description"])}</p>'
    if parameters := channel.get("parameters"):
        yield "<table><tr><th>in the topic</th><th>meaning</th></tr>"
        for parameter, described in parameters.items():
            values = f" One of {', '.join(described['enum'])}." if "enum" in described else ""
            meaning = prose(described["description"] + values)
            yield f"<tr><td><code>{escape(parameter)}</code></td><td>{meaning}</td></tr>"
        yield "</table>"
    for message in channel["messages"]:
        yield from _message(document, message)
    answers = (answer["$ref"].rpartition("/")[2] for answer in operation["reply"]["messages"])
    yield f"<p>Receipt: {', '.join(_link(answer) for answer in answers)}.</p>"


def _message(document: Mapping[str, Any], name: str) -> Iterator[str]:
    message, schemas = document["components"]["messages"][name], document["components"]["schemas"]
    schema = schemas[message["payload"]["$ref"].rpartition("/")[2]]
    yield f'<h4 id="{escape(name)}">{escape(message["title"])}</h4>'
    yield from _schema(schema)
    for example in message.get("examples", ()):
        yield f"<pre>{escape(json.dumps(example['payload'], indent=2, ensure_ascii=False), quote=False)}</pre>"


def _schema(schema: Mapping[str, Any]) -> Iterator[str]:
    if "description" in schema:
        yield f"<p>{prose(schema['description'])}</p>"
    if not schema.get("properties"):
        yield f"<p>{_type(schema)}</p>"
        return
    yield "<table><tr><th>field</th><th></th><th>type</th><th>meaning</th></tr>"
    for name, field in schema["properties"].items():
        required = "required" if name in schema.get("required", ()) else ""
        default = f" By default <code>{escape(json.dumps(field['default']))}</code>." if "default" in field else ""
        yield (
            f"<tr><td><code>{escape(name)}</code></td><td>{required}</td><td>{_type(field)}</td>"
            f"<td>{prose(_meaning(field))}{default}</td></tr>"
        )
    yield "</table>"


def _meaning(field: Mapping[str, Any]) -> str:
    """Return what is said of a field, or of the value that it has where it is not null."""
    inside = next((each["description"] for each in field.get("anyOf", ()) if "description" in each), "")
    return str(field.get("description") or inside)


def _type(schema: Mapping[str, Any]) -> str:
    """Say in a few words what a value is, with links to shapes."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "not" in schema:
        return "must not be here"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(each) for each in schema[several])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    kinds = schema.get("type", "any value")
    said = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if said == "array":
        return f"list of {_type(schema['items'])}{_limits(schema)}"
    return f"{escape(said)}{_limits(schema)}"


def _limits(schema: Mapping[str, Any]) -> str:
    words = {
        "maxLength": "at most {} characters",
        "maxItems": "at most {}",
        "maxProperties": "at most {}",
        "exclusiveMinimum": "more than {}",
        "minimum": "at least {}",
        "maximum": "at most {}",
    }
    said = [text.format(schema[name]) for name, text in words.items() if name in schema]
    return f", {', '.join(said)}" if said else ""


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'
