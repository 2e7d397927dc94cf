"""Writes the payload models as JSON Schema 2020-12, with keywords of our own for what JSON Schema cannot say.

pydantic writes the schema; here is added what its validator functions refuse (``services.router.rules.checks``). The
keywords and their order are explained in ``clients/README.md``.
"""

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from services.router.rules.checks import of_choice, of_relation, of_value

REFERENCE = "#/schemas/"


def schemas_of(models: Collection[type[BaseModel]]) -> dict[str, JsonSchemaValue]:
    """Write models and the models inside them, by name."""
    _, written = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=REFERENCE + "{model}",
        schema_generator=_Schemas,
    )
    schemas: dict[str, JsonSchemaValue] = written["$defs"]
    used = {model.__name__ for model in models}
    while more := {name for each in used for name in _references(schemas[each])} - used:
        used |= more
    return {name: _for_people(schemas[name]) for name in sorted(used)}


def _references(schema: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Name the schemas that a schema refers to."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield str(schema["$ref"]).removeprefix(REFERENCE)
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def shapes_of(shapes: Mapping[str, TypeAdapter[Any]]) -> dict[str, JsonSchemaValue]:
    """Write what goes out as a dictionary, by the given names, and what is in it."""
    written: dict[str, JsonSchemaValue] = {}
    for name, shape in shapes.items():
        schema = shape.json_schema(ref_template=REFERENCE + "{model}", schema_generator=_Schemas)
        written |= schema.pop("$defs", {})
        written[name] = schema
    return {name: _for_people(schema) for name, schema in written.items()}


def _for_people(schema: JsonSchemaValue) -> JsonSchemaValue:
    """Take away the title, which repeats the name, and shorten a docstring."""
    schema.pop("title", None)
    if "description" in schema:
        # The first paragraph; the others tell programmers of attributes.
        schema["description"] = " ".join(schema["description"].partition("\n\n")[0].replace("``", "`").split())
    return schema


class _Schemas(GenerateJsonSchema):
    """As pydantic writes it, with our keywords, without titles that repeat names, and with enumerations in place."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - of none
        return False

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:  # noqa: ARG002 - kept
        # The order in which values are listed is the order in which a refusal lists them.
        return value

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = super().default_schema(schema)
        # A field that may be left out; what is then taken is worth a word only where it is a value.
        if _says_nothing(written.get("default", ...)) or "not" in written:
            del written["default"]
        elif "time_of_day" in written.get("x-checks", ()):
            written["default"] = f"{schema['default']:%H:%M}"
        return written

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        return {"type": "string", "enum": [member.value for member in schema["members"]]}

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        values = [each.value if isinstance(each, Enum) else each for each in schema["expected"]]
        return {"type": "string", "enum": values}

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        # Limits as a refusal prints them.
        written = super().float_schema(schema)
        return {
            name: int(each) if isinstance(each, float) and each.is_integer() else each for name, each in written.items()
        }

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        written = super().dict_schema(schema)
        if "propertyNames" in written:
            # Names are strings anyhow, and pydantic leaves it out; with it, this is a schema like any other.
            written["propertyNames"] = {"type": "string", **written["propertyNames"]}
        return written

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        return self._with(super().function_after_schema(schema), schema["function"])

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        return self._with(super().function_before_schema(schema), schema["function"])

    @staticmethod
    def _with(
        written: JsonSchemaValue,
        function: core_schema.NoInfoValidatorFunctionSchema | core_schema.WithInfoValidatorFunctionSchema,
    ) -> JsonSchemaValue:
        if function["type"] == "with-info":
            return written | {"x-relations": [*written.get("x-relations", ()), *of_relation(function["function"])]}
        added = of_value(function["function"])
        if "not" in added:
            return added
        if "x-problem" in added:
            # Read by a function in place of pydantic, whose idea of the format is another one.
            written = {}
        if "x-checks" in added:
            added["x-checks"] = [*written.get("x-checks", ()), added["x-checks"]]
        return written | added

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        discriminator = schema["discriminator"]
        tags = [tag.value if isinstance(tag, Enum) else tag for tag in schema["choices"]]
        members = [self.generate_inner(each) for each in schema["choices"].values()]
        if isinstance(discriminator, str):
            places = {tag: _place(members, member) for tag, member in zip(tags, members, strict=True)}
            members = _different(members)
            chosen: dict[str, Any] = {"by": "value", "field": discriminator, "values": places}
        else:
            chosen = of_choice(discriminator)
        if "custom_error_message" in schema:
            chosen["problem"] = schema["custom_error_message"]
        return {"oneOf": members, "x-choice": chosen}


def _says_nothing(default: Any) -> bool:  # noqa: ANN401 - any JSON
    return default in (None, [], {}) or (isinstance(default, dict) and all(map(_says_nothing, default.values())))


def _different(members: list[JsonSchemaValue]) -> list[JsonSchemaValue]:
    return [each for index, each in enumerate(members) if each not in members[:index]]


def _place(members: list[JsonSchemaValue], member: JsonSchemaValue) -> int:
    return _different(members).index(member)
