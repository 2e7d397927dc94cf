"""Checks a document against a schema of ``rules.json``: JSON Schema's words and those that begin with ``x-``.

Promises the problems of the router, in its order: the fields as the schema lists them, then what is unknown.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, TypeAlias

from carillon_publisher.receipts import FieldProblem
from carillon_publisher.testing.checks import Json, length_of, moment_of, problem_with
from carillon_publisher.testing.names import Names

Schema: TypeAlias = Mapping[str, Any]
Path: TypeAlias = tuple[str | int, ...]
Problems: TypeAlias = list[FieldProblem]

_REFERENCE = "#/schemas/"
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "integer": (int,),
    "array": (list,),
    "object": (dict,),
}
_LIMITS = ("maximum", "minimum", "exclusiveMinimum")


class Schemas:
    """The schemas and the words of the rules."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._schemas: Mapping[str, Schema] = rules["schemas"]
        self._checks: Mapping[str, Sequence[Mapping[str, Any]]] = rules["checks"]
        self._words: Mapping[str, str] = rules["words"]
        self._field_chars: int = rules["limits"]["field_chars"]
        self._names = Names(rules["names"])

    def fields(self, name: str) -> Mapping[str, Schema]:
        """Return the fields of a model, those of the topic among them."""
        fields: Mapping[str, Schema] = self._schemas[name]["properties"]
        return fields

    def problems(self, name: str, document: Mapping[str, Any]) -> Problems:
        """Check an object against a model."""
        schema = self._schemas[name]
        return self._of_model(schema, document, (), tuple(schema["properties"]))

    def problems_of_field(self, name: str, field: str, value: object) -> Problems:
        """Check the value of one field of a model."""
        return self._of_value(self._schemas[name]["properties"][field], value, (field,))

    def _at(self, path: Path, problem: str, meant: str | None = None) -> FieldProblem:
        return FieldProblem(".".join(map(str, path))[: self._field_chars], problem, meant)

    def _word(self, name: str, **said: object) -> str:
        return self._words[name].format(**said)

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" not in schema:
            return schema
        return {**self._schemas[schema["$ref"].removeprefix(_REFERENCE)], **schema}

    def _of_value(self, schema: Schema, value: Json, path: Path) -> Problems:
        schema = self._resolved(schema)
        if "anyOf" in schema:
            # Something or null.
            return [] if value is None else self._of_value(schema["anyOf"][0], value, path)
        if schema.get("x-nulls") == "absent" and isinstance(value, dict):
            value = {name: each for name, each in value.items() if each is not None}
        if "oneOf" in schema:
            return self._of_choice(schema, value, path)
        if "not" in schema:
            return [self._at(path, schema["x-problem"])]
        if "enum" in schema:
            values = ", ".join(schema["enum"])
            is_one = isinstance(value, str) and value in schema["enum"]
            return [] if is_one else [self._at(path, self._word("enum", limit=values))]
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, each) for each in types):
            return [self._at(path, schema.get("x-problem") or self._word(types[0]))]
        if isinstance(value, dict):
            return self._of_object(schema, value, path)
        if isinstance(value, list):
            return self._of_list(schema, value, path)
        problem = next(self._of_plain(schema, value), None)
        return [] if problem is None else [self._at(path, problem)]

    def _of_plain(self, schema: Schema, value: Json) -> Iterator[str]:
        """Say what is wrong with a text or a number; the first problem is the one."""
        if isinstance(value, str):
            if len(value) < schema.get("minLength", 0):
                yield self._word("minLength")
            if len(value) > schema.get("maxLength", len(value)):
                yield self._word("maxLength", limit=schema["maxLength"])
        else:
            for name in _LIMITS:
                if name in schema and _is_beyond(name, value, schema[name]):
                    yield self._word(name, limit=f"{schema[name]:.15g}")
        yield from self._of_checks(schema, value)

    def _of_checks(self, schema: Schema, value: Json) -> Iterator[str]:
        for check in self._checks_of(schema):
            problem = problem_with(value, check)
            if problem is not None:
                yield problem

    def _checks_of(self, schema: Schema) -> Iterator[Mapping[str, Any]]:
        for name in schema.get("x-checks", ()):
            yield from self._checks[name]

    def _of_list(self, schema: Schema, values: list[Any], path: Path) -> Problems:
        each = [self._of_value(schema["items"], value, (*path, index)) for index, value in enumerate(values)]
        if each.count([]) > schema.get("maxItems", len(each)):
            return [self._at(path, self._word("maxItems", limit=schema["maxItems"]))]
        problems = list(chain.from_iterable(each))
        if not problems and len(values) < schema.get("minItems", 0):
            return [self._at(path, self._word("minItems"))]
        return problems or [self._at(path, problem) for problem in self._of_checks(schema, values)][:1]

    def _of_object(self, schema: Schema, value: dict[str, Any], path: Path) -> Problems:
        if "properties" in schema:
            return self._of_model(schema, value, path, tuple(schema["properties"]))
        problems: Problems = []
        for name, each in value.items():
            if "propertyNames" in schema:
                # The name itself is wrong: it is what must not be repeated.
                problems += self._of_value(schema["propertyNames"], name, path)
            if isinstance(schema.get("additionalProperties"), Mapping):
                problems += self._of_value(schema["additionalProperties"], each, (*path, name))
        if problems:
            return problems
        if len(value) > schema.get("maxProperties", len(value)):
            return [self._at(path, self._word("maxProperties", limit=schema["maxProperties"]))]
        return [self._at(path, problem) for problem in self._of_checks(schema, value)][:1]

    def _of_choice(self, schema: Schema, value: Json, path: Path) -> Problems:
        choice, members = schema["x-choice"], [self._resolved(each) for each in schema["oneOf"]]
        match choice["by"]:
            case "type":
                chosen = next((each for each in members if _is(value, each["type"])), None)
                if chosen is None:
                    return [self._at(path, choice["problem"])]
            case "presence":
                chosen = members[1 if isinstance(value, dict) and value.get(choice["field"]) is not None else 0]
            case _:
                if not isinstance(value, dict):
                    return [self._at(path, self._word("object"))]
                if choice["field"] not in value:
                    return [self._at((*path, choice["field"]), self._word("required"))]
                wanted = value[choice["field"]]
                if not isinstance(wanted, str) or wanted not in choice["values"]:
                    values = ", ".join(choice["values"])
                    return [self._at((*path, choice["field"]), self._word("enum", limit=values))]
                chosen = members[choice["values"][wanted]]
        if "properties" not in chosen or not isinstance(value, dict):
            return self._of_value(chosen, value, path)
        # What is unknown in one member may be meant for a field of another.
        known = tuple(name for each in members for name in each.get("properties", ()))
        return self._of_model(chosen, value, path, known)

    def _of_model(self, schema: Schema, document: Mapping[str, Any], path: Path, known: Sequence[str]) -> Problems:
        problems: Problems = []
        valid: dict[str, Any] = {}
        for name, field in schema["properties"].items():
            here = (*path, name)
            if name in document:
                found = self._of_value(field, document[name], here)
            elif name in schema.get("required", ()):
                found = [self._at(here, self._word("required"))]
            else:
                found = []
            value = document.get(name, field.get("default"))
            if not found:
                related = next(self._of_relations(field, value, valid, schema["properties"]), None)
                found = [] if related is None else [self._at(here, related)]
            if not found:
                valid[name] = value
            problems += found
        if schema.get("additionalProperties") is False:
            problems += [
                self._at((*path, name), self._word("unknown"), self._names.meant(name, known))
                for name in document
                if name not in schema["properties"]
            ]
        return problems

    def _of_relations(
        self,
        field: Schema,
        value: Json,
        valid: Mapping[str, Any],
        fields: Mapping[str, Schema],
    ) -> Iterator[str]:
        """Say what a field that is valid by itself asks of the fields before it, which count where they are valid."""
        for each in field.get("x-relations", ()):
            other = valid.get(each.get("field"))
            if self._is_broken(each, value, other, valid, fields):
                yield each["items"][other]["problem"] if each["relation"] == "items_by" else each["problem"]

    def _is_broken(
        self,
        relation: Mapping[str, Any],
        value: Json,
        other: Json,
        valid: Mapping[str, Any],
        fields: Mapping[str, Schema],
    ) -> bool:
        name, is_known = relation.get("field"), relation.get("field") in valid
        if value in relation.get("none", ()):
            value = None
        if relation["relation"] == "required_unless":
            is_enough = other in relation["values"] if "values" in relation else other is not None
            return value is None and is_known and not is_enough
        if value is None:
            return False
        match relation["relation"]:
            case "after":
                moments = [self._moment(fields[str(name)], each) for each in (value, other) if each is not None]
                return moments == sorted(moments) and len(moments) > 1
            case "not_shorter":
                return other is not None and length_of(value, relation) < length_of(other, relation)
            case "not_with":
                return other is not None
            case "only_if":
                return is_known and other not in relation["values"]
            case "matches_if":
                return other in relation["values"] and problem_with(value, {"check": "matches", **relation}) is not None
            case "items_by":
                return other is not None and not all(_is(each, relation["items"][other]["type"]) for each in value)
            case "most_with":
                return bool(sum(each.get(relation["with"]) is not None for each in value) > relation["most"])
        raise ValueError(f"the rules have a relation that this version does not know: {relation['relation']}")

    def _moment(self, field: Schema, value: Json) -> datetime:
        inner = self._resolved(field["anyOf"][0] if "anyOf" in field else field)
        (check,) = self._checks_of(inner)
        return moment_of(value, check)


def _is(value: object, kind: str) -> bool:
    # In JSON, true is no number.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _is_beyond(name: str, value: float, limit: float) -> bool:
    match name:
        case "maximum":
            return value > limit
        case "minimum":
            return value < limit
    return value <= limit
