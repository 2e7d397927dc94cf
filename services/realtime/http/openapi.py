"""Writes the API's description, an OpenAPI 3.1 document, from the table of calls and the models that go over the wire.

pydantic writes JSON Schema 2020-12, and OpenAPI 3.1 takes it unchanged (OpenAPI 3.1.0, 4.8.24).
"""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaMode,
    JsonSchemaValue,
    models_json_schema,
)
from pydantic_core import core_schema

from services.realtime.http.operations import OPERATIONS, Answer, Operation, Tag

_SCHEMAS = "#/components/schemas/"
_RESPONSES = "#/components/responses/"

_INFO = {
    "title": "Carillon realtime",
    "version": "1",
    "description": "A user's inbox and its live stream, and HTTP for publishers. A call with a token concerns the user "
    "whom the token names in its claim `sub`, one with a publisher's key that publisher; what belongs to somebody else "
    "looks like what does not exist.",
}
_PROOFS = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
    "link": {"type": "apiKey", "in": "query", "name": "token"},
    "password": {"type": "http", "scheme": "basic"},
    "publisher": {
        "type": "http",
        "scheme": "bearer",
        "description": "The key that `carillon publisher create` prints.",
    },
}


def describe(operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """Write the document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.url, {})[operation.method] = _operation(operation)
    shared = {answer.name: answer for operation in operations for answer in operation.answers.values() if answer.name}
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in get_args(Tag)],
        "paths": paths,
        "components": {
            "securitySchemes": _PROOFS,
            "responses": {name: _answer(answer) for name, answer in shared.items()},
            "schemas": _schemas(operations),
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.proofs != ("token",):
        described["security"] = [{proof: []} for proof in operation.proofs]
    if parameters := list(_parameters(operation)):
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {media_type: {"schema": _reference(operation.body)} for media_type in operation.body_types},
        }
    described["responses"] = {
        str(status): {"$ref": _RESPONSES + answer.name} if answer.name else _answer(answer)
        for status, answer in sorted(operation.answers.items())
    }
    return described


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for place, model in (("path", operation.path), ("query", operation.query), ("header", operation.headers)):
        if model is None:
            continue
        schema = model.model_json_schema(schema_generator=_Schemas)
        for name, field in schema["properties"].items():
            parameter = {"name": name, "in": place, "description": field.pop("description"), "schema": field}
            yield parameter | ({"required": True} if name in schema.get("required", ()) else {})


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    content: dict[str, Any] = {}
    if answer.shape is not None:
        content["application/json"] = {"schema": _reference(answer.shape)}
    if answer.text_type is not None:
        content[answer.text_type] = {"schema": {"type": "string"}}
    if content:
        described["content"] = content
    return described


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _SCHEMAS + model.__name__}


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    """Write every model that the operations use, and the models inside them."""
    models = {operation.body for operation in operations}
    models |= {answer.shape for operation in operations for answer in operation.answers.values()}
    # Requests and answers share one schema of a model, so that it has one name.
    mode: JsonSchemaMode = "validation"
    named = [(model, mode) for model in models if model is not None]
    _, written = models_json_schema(named, ref_template=_SCHEMAS + "{model}", schema_generator=_Schemas)
    return {name: _for_people(schema) for name, schema in sorted(written["$defs"].items())}


class _Schemas(GenerateJsonSchema):
    """JSON Schema as people write it: no titles that repeat the names, no null as the default of an optional field."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - of none
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        if written.get("default", ...) is None:
            del written["default"]
        return written


def _for_people(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Take away the title, which repeats the name, and write a docstring as one paragraph."""
    schema.pop("title", None)
    return schema | {"description": " ".join(schema["description"].split())}
