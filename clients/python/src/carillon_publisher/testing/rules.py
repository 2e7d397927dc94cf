"""Reads a publish as the router does, by the rules that it wrote down in ``rules.json``.

Promises its code, fields, problems and nearest names. Not what needs more than the publish: rates, rights, templates,
whether somebody exists.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from carillon_publisher.receipts import FieldProblem, Refusal
from carillon_publisher.testing.checks import Json
from carillon_publisher.testing.names import Names
from carillon_publisher.testing.schema import Schemas
from carillon_publisher.topics import nearest, split

_VERSION = 1
# In the package, or where the repository has it.
_FILES = (Path(__file__).parents[1] / "rules.json", Path(__file__).parents[4] / "rules.json")


class NotTaken(Exception):
    """The router would reject this.

    Attributes:
        refusal: what its receipt would say.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of publish, and what its topic says."""

    kind: str
    rules: Mapping[str, Any]
    params: Mapping[str, str]


class Rules:
    """The rules of every topic."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document["version"] != _VERSION:
            raise ValueError(f"rules.json has the format {document['version']}, and this version reads {_VERSION}")
        self._words: Mapping[str, str] = document["words"]
        self._messages: Mapping[str, str] = document["messages"]
        self._limits: Mapping[str, int] = document["limits"]
        self._names = Names(document["names"])
        self._schemas = Schemas(document)
        self._topics = {_around(each["topic"]): each for each in document["topics"]}

    def topic(self, name: str) -> Topic:
        """Return what a topic says.

        Args:
            name: without the prefix.

        Raises:
            NotTaken: no router takes it.
        """
        before, name = split(name)
        found = self._topics.get((name, ""))
        if found is not None and not found["parameters"]:
            return Topic(found["kind"], found, {})
        stem, slash, last = name.rpartition("/")
        found = self._topics.get((stem + slash, ""))
        if found is None:
            stem, slash, middle = stem.rpartition("/")
            found, last = self._topics.get((stem + slash, f"/{last}")), middle
        if found is not None and found["parameters"] and last:
            return Topic(found["kind"], found, {found["parameters"][0]: last})
        meant = nearest(name)
        message = self._messages["unknown_topic"]
        if meant:
            message += self._messages["nearest_topic"].format(topic=before + meant)
        raise NotTaken(Refusal("unknown_topic", message))

    def read(
        self, topic: Topic, payload: bytes, *, key: str | None = None, reject_unknown: bool = False
    ) -> tuple[FieldProblem, ...]:
        """Check a publish, and return what nobody reads of it, for the warnings of its receipt.

        Args:
            key: the idempotency key that travels beside the payload.
            reject_unknown: refuse a payload with fields that are not known.

        Raises:
            NotTaken: the router would reject it.
        """
        rules = topic.rules
        if len(payload) > rules["max_bytes"]:
            self._too_large("too_large", bytes=len(payload), limit=rules["max_bytes"])
        if rules.get("any_payload"):
            payload = b""
        if not payload and rules["empty"] == "delete":
            (name,) = topic.params
            self._refuse(self._schemas.problems_of_field(rules["schema"], name, topic.params[name]))
            return ()
        whole = {} if not payload and rules["empty"] == "object" else self._object(payload)
        said = {name: value for name, value in whole.items() if value is not None}
        if len(payload) > self._limits["mail_bytes"]:
            self._check_mails(said.get("emails"))
        if rules["same_name"]:
            self._refuse([
                FieldProblem(name, self._words["differs_refused"])
                for name, value in topic.params.items()
                if said.get(name, value) != value
            ])  # fmt: skip
        schema, document = rules["schema"], dict(said)
        if key is not None and "id" in rules.get("properties", ()):
            document.setdefault("id", key)
        if "template" in said and rules.get("notification"):
            if not rules["templated"]:
                self._refuse([FieldProblem("template", self._words["not_on_this_topic"])])
            schema = rules["templated"]
        if rules["nulls"] == "clear":
            document = self._with_nulls(schema, whole)
        unread = self._unread(schema, said, topic) if rules["unknown_fields"] == "warn" else []
        unknown = [each for each in unread if each.problem == self._words["unknown"]]
        problems = self._schemas.problems(schema, {**document, **topic.params})
        if problems:
            self._refuse(problems, unknown)
        if reject_unknown:
            self._refuse(unknown)
        return tuple(unread)

    def _refuse(self, problems: list[FieldProblem], unknown: list[FieldProblem] | None = None) -> None:
        """Raise what the router would, if there is a problem."""
        if not problems:
            return
        most, unknown = self._limits["problems_shown"], unknown or []
        fields = tuple(dict.fromkeys([*problems[:most], *unknown]))[:most]
        total = len(problems) + len(unknown)
        count = total if total > most else len(fields)
        message = self._messages["one_field" if count == 1 else "many_fields"].format(count=count)
        if count > len(fields):
            message += self._messages["shown"].format(shown=len(fields))
        raise NotTaken(Refusal("invalid_payload", message, fields))

    def _too_large(self, message: str, fields: tuple[FieldProblem, ...] = (), **said: object) -> NoReturn:
        raise NotTaken(Refusal("too_large", self._messages[message].format(**said), fields))

    def _check_mails(self, mails: object) -> None:
        """Refuse a mail of a batch that is larger than a publish of its own may be."""
        limit, most = self._limits["mail_bytes"], self._limits["problems_shown"]
        listed = mails if isinstance(mails, list) else []
        larger = [index for index, mail in enumerate(listed) if _size_bytes(mail) > limit]
        if larger:
            problem = self._words["mail_too_large"].format(limit=limit)
            fields = tuple(FieldProblem(f"emails.{index}", problem) for index in larger[:most])
            self._too_large("mails_too_large", fields, limit=limit, count=len(larger))

    def _object(self, payload: bytes) -> dict[str, Any]:
        if not payload:
            raise NotTaken(Refusal("invalid_json", self._messages["empty"]))
        try:
            document = _json(payload, self._limits["json_levels"])
        except (ValueError, RecursionError) as error:
            message = self._messages["not_json"].format(reason=error)
            raise NotTaken(Refusal("invalid_json", message)) from None
        if not isinstance(document, dict):
            raise NotTaken(Refusal("invalid_json", self._messages["not_an_object"]))
        return document

    def _with_nulls(self, schema: str, whole: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out what a null clears, and keep a name that is unknown, so that it is refused."""
        fields = self._schemas.fields(schema)
        kept = {name: value for name, value in whole.items() if value is not None or name not in fields}
        chosen = kept.get("preferences")
        if isinstance(chosen, dict):
            known = self._schemas.fields("Preferences")
            chosen = {name: each for name, each in chosen.items() if each is not None or name not in known}
            of_categories = chosen.get("categories")
            if isinstance(of_categories, dict):
                chosen["categories"] = {name: each for name, each in of_categories.items() if each is not None}
            kept["preferences"] = chosen
        return kept

    def _unread(self, schema: str, document: Mapping[str, Any], topic: Topic) -> list[FieldProblem]:
        """Name what a payload says and nothing reads."""
        known, most = self._schemas.fields(schema), self._limits["problems_shown"]
        differs = self._words["differs"]
        found = [
            FieldProblem(name, differs) for name, value in topic.params.items() if document.get(name, value) != value
        ]
        names = [name for name in document if name not in known]
        for name in names[:most]:
            found += self._unread_field(known, document, topic, name)
        more = len(names) - most
        if more > 0:
            found.append(FieldProblem("", self._words["more_unknown"].format(count=more)))
        return found

    def _unread_field(
        self, known: Mapping[str, Any], document: Mapping[str, Any], topic: Topic, name: str
    ) -> list[FieldProblem]:
        value, fixed, chars = document[name], topic.rules.get("fixed", {}), self._limits["field_chars"]
        if name in fixed:
            return [FieldProblem(name, self._words["differs"])] if value != fixed[name] else []
        meant = self._names.meant(name, [each for each in known if each not in topic.params], document)
        # An object of another name: what stands in it belongs to the payload itself, as far as it is known there.
        inside = [each for each in value if each in known] if isinstance(value, dict) else []
        unknown = self._words["unknown"]
        if inside and meant not in self._names.objects:
            return [FieldProblem(f"{name}.{each}"[-chars:], unknown, each) for each in inside]
        return [FieldProblem(name[:chars], unknown, meant)]


@cache
def rules() -> Rules:
    """Return the rules that came with this package.

    Raises:
        ValueError: there are none, or those of another format.
    """
    for file in _FILES:
        if file.is_file():
            return Rules(json.loads(file.read_text()))
    raise ValueError("rules.json is not a part of this installation")


def _json(payload: bytes, levels: int) -> Json:
    """Read JSON as the router does: UTF-8 only, without NaN, lone surrogates and deep nesting."""
    document = json.loads(payload.decode(), parse_constant=_no_constant)
    if any("\ud800" <= char <= "\udfff" for char in json.dumps(document, ensure_ascii=False)):
        raise ValueError("lone surrogate")
    level = [document]
    for _ in range(levels):
        level = [
            each
            for container in level
            if isinstance(container, dict | list)
            for each in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return document
    raise ValueError("recursion limit exceeded")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _size_bytes(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _around(pattern: str) -> tuple[str, str]:
    """Return what stands before and behind the parameter of a topic."""
    stem, _, parameter = pattern.partition("{")
    return stem, parameter.partition("}")[2]
