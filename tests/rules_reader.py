"""Reads a payload by ``clients/rules.json`` and nothing else, as ``clients/README.md`` tells its readers to.

The shortest honest implementation: the tests hold it against the router's own ``read``, so that the document and its
description are known to be right.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from difflib import SequenceMatcher, get_close_matches
from functools import cache, lru_cache
from ipaddress import ip_address
from math import isfinite
from operator import gt, le, lt
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

Problem = tuple[str, str, str | None]
"""A field, what is wrong with it, and the name that was meant."""

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a receipt would say of a payload."""

    code: str | None = None
    message: str = ""
    fields: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


class Refused(Exception):
    """Nothing more is looked at."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


@dataclass
class _Seen:
    """What is known of the fields of one object that were looked at already."""

    values: dict[str, Any] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)


_ABSENT = object()

_LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "minLength": lt,
    "maxLength": gt,
    "minItems": lt,
    "maxProperties": gt,
    "exclusiveMinimum": le,
    "minimum": lt,
    "maximum": gt,
}


class Rules:
    """The rules of a document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._words = document["words"]
        self._messages = document["messages"]
        self._limits = document["limits"]
        self._names = document["names"]
        self._checks = document["checks"]
        self._schemas = document["schemas"]
        self._topics = {topic["topic"]: topic for topic in document["topics"]}

    # Topics

    def answer(
        self,
        topic: str,
        payload: bytes,
        *,
        properties: Mapping[str, object] | None = None,
        reject_unknown: bool = False,
    ) -> Answer:
        """Say what a receipt would say, as far as the payload decides it."""
        found = self._find(topic)
        if found is None:
            near = self.nearest_topic(topic)
            meant = self._messages["nearest_topic"].format(topic=near) if near else ""
            return Answer("unknown_topic", self._messages["unknown_topic"] + meant)
        try:
            return self._read(*found, payload, properties or {}, reject_unknown=reject_unknown)
        except Refused as refused:
            return refused.answer

    @staticmethod
    def _split(topic: str) -> tuple[str, str]:
        """Take apart who publishes, with the slash behind, and the topic as others have it."""
        found = re.fullmatch(r"(from/(?!-/)[^/]+/)(.*)", topic, re.DOTALL)
        return (found[1], found[2]) if found else ("", topic)

    def _find(self, topic: str) -> tuple[Schema, dict[str, str]] | None:
        topic = self._split(topic)[1]
        if topic in self._topics and "{" not in topic:
            return self._topics[topic], {}
        levels = topic.split("/")
        for pattern, known in self._topics.items():
            wanted = pattern.split("/")
            places = [place for place, level in enumerate(wanted) if level.startswith("{")]
            if not places or len(levels) != len(wanted) or not levels[places[0]]:
                continue
            if [*levels[: places[0]], *levels[places[0] + 1 :]] == [*wanted[: places[0]], *wanted[places[0] + 1 :]]:
                return known, {known["parameters"][0]: levels[places[0]]}
        return None

    def nearest_topic(self, topic: str) -> str | None:
        """Name the topic that was most likely meant."""
        publisher, topic = self._split(topic)
        asked = topic.strip("/")
        if len(publisher) > self._names["topic_chars"] + len("from//") or len(asked) > self._names["topic_chars"]:
            return None
        stems = {pattern.partition("/{")[0]: pattern for pattern in self._topics}
        levels = {level for pattern in self._topics for level in pattern.split("/") if "{" not in level}
        stem, _, last = asked.rpartition("/")
        candidates = [stem]
        if last in levels or self._nearest(last, levels, self._names["level_close"]) is not None:
            candidates.append(asked)
        best = (0.0, "")
        for text in (each.casefold() for each in candidates):
            near = get_close_matches(text, stems, n=1, cutoff=self._names["topic_close"])
            if near:
                best = max(best, (SequenceMatcher(None, near[0], text).ratio(), stems[near[0]]))
        return publisher + best[1] if best[1] else None

    # Payloads

    def _read(
        self,
        topic: Schema,
        parameters: Mapping[str, str],
        payload: bytes,
        properties: Mapping[str, object],
        *,
        reject_unknown: bool,
    ) -> Answer:
        if len(payload) > topic["max_bytes"]:
            message = self._messages["too_large"].format(bytes=len(payload), limit=topic["max_bytes"])
            raise Refused(Answer("too_large", message))
        if topic.get("any_payload"):
            payload = b""
        schema = self._schemas[topic["schema"]]
        if not payload and topic["empty"] == "delete":
            only = {name: schema["properties"][name] for name in parameters}
            self._refuse([*self._object({"properties": only}, parameters, "")])
            return Answer()
        full: dict[str, Any] = {}
        if payload or topic["empty"] == "refused":
            full = self._parsed(payload)
        document = {name: value for name, value in full.items() if value is not None}
        self._check_mails(payload, document.get("emails"))
        if topic["same_name"]:
            word = self._words["differs_refused"]
            self._refuse([
                (name, word, None) for name, value in parameters.items() if document.get(name, value) != value
            ])  # fmt: skip
        if topic.get("notification") and "template" in document:
            if topic["templated"] is None:
                self._refuse([("template", self._words["not_on_this_topic"], None)])
            schema = self._schemas[topic["templated"]]
        unread: list[Problem] = []
        if topic["unknown_fields"] == "warn":
            unread = self._unread(topic, schema, document, parameters)
        unknown = [each for each in unread if each[1] == self._words["unknown"]]
        said = self._cleared(schema, full) if topic["nulls"] == "clear" else document
        named = {name: properties[name] for name in topic.get("properties", ()) if name in properties}
        problems = [*self._object(schema, {**named, **said, **parameters}, "", ())]
        if problems:
            self._refuse(problems, unknown)
        if reject_unknown:
            self._refuse(unknown)
        return Answer(warnings=tuple(unread))

    def _parsed(self, payload: bytes) -> dict[str, Any]:
        if not payload:
            raise Refused(Answer("invalid_json", self._messages["empty"]))
        try:
            text = payload.decode()
            document = json.loads(text, parse_constant=_no_constant)
            text = json.dumps(document, ensure_ascii=False)
            text.encode()
        except (ValueError, RecursionError):
            raise Refused(Answer("invalid_json", self._messages["not_json"])) from None
        if not isinstance(document, dict):
            raise Refused(Answer("invalid_json", self._messages["not_an_object"]))
        return document

    def _check_mails(self, payload: bytes, mails: object) -> None:
        most = self._limits["mail_bytes"]
        if len(payload) <= most or not isinstance(mails, list):
            return
        sizes = [len(json.dumps(mail, ensure_ascii=False, separators=(",", ":")).encode()) for mail in mails]
        larger = [index for index, size in enumerate(sizes) if size > most]
        if larger:
            problem = self._words["mail_too_large"].format(limit=most)
            fields = tuple((f"emails.{index}", problem, None) for index in larger[: self._limits["problems_shown"]])
            message = self._messages["mails_too_large"].format(limit=most, count=len(larger))
            raise Refused(Answer("too_large", message, fields))

    def _cleared(self, schema: Schema, document: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out known fields that are null, also within preferences and their categories, where all are known."""
        properties = schema.get("properties", {})
        is_map = "properties" not in schema
        kept = {
            name: value for name, value in document.items() if value is not None or not (is_map or name in properties)
        }
        for name in ("preferences", "categories"):
            if name in properties and isinstance(kept.get(name), dict):
                kept[name] = self._cleared(self._resolved(properties[name]), kept[name])
        return kept

    def _refuse(self, problems: list[Problem], unknown: Iterable[Problem] = ()) -> None:
        """Stop with a refusal if there are problems."""
        if not problems:
            return
        most, chars = self._limits["problems_shown"], self._limits["field_chars"]
        unknown = list(unknown)
        cut = [(name[:chars], problem, meant) for name, problem, meant in problems[:most]]
        shown = tuple(dict.fromkeys([*cut, *unknown]))[:most]
        total = len(problems) + len(unknown)
        count = total if total > most else len(shown)
        message = self._messages["one_field" if count == 1 else "many_fields"].format(count=count)
        if count > len(shown):
            message += self._messages["shown"].format(shown=len(shown))
        raise Refused(Answer("invalid_payload", message, shown))

    # Unknown fields

    def _unread(
        self, topic: Schema, schema: Schema, document: Mapping[str, Any], parameters: Mapping[str, str]
    ) -> list[Problem]:
        known, chars, most = schema["properties"], self._limits["field_chars"], self._limits["problems_shown"]
        differs, unknown = self._words["differs"], self._words["unknown"]
        found: list[Problem] = [
            (name, differs, None) for name, value in parameters.items() if document.get(name, value) != value
        ]
        names = [name for name in document if name not in known]
        for name in names[:most]:
            value = document[name]
            if name in topic.get("fixed", {}):
                found += [(name, differs, None)] if value != topic["fixed"][name] else []
                continue
            meant = self._meant(name, [each for each in known if each not in parameters], document)
            inside = [each for each in value if each in known] if isinstance(value, dict) else []
            if inside and meant not in self._names["objects"]:
                found += [(f"{name}.{each}"[-chars:], unknown, each) for each in inside]
            else:
                found.append((name[:chars], unknown, meant))
        more = len(names) - most
        return [*found, ("", self._words["more_unknown"].format(count=more), None)] if more > 0 else found

    def _meant(self, name: str, known: Iterable[str], said: Iterable[str] = ()) -> str | None:
        known, said = list(known), set(said)
        others = self._names["other_words"].get(_letters(name), ())
        return next((each for each in others if each in known and each not in said), None) or self._nearest(
            name, known, self._names["close"]
        )

    def _nearest(self, name: str, known: Iterable[str], close: float) -> str | None:
        return _nearest(name, tuple(known), close) if len(name) <= self._names["name_chars"] else None

    # Values

    def _resolved(self, schema: Schema) -> Schema:
        """Follow a reference; what stands beside it counts, too."""
        if "$ref" in schema:
            return {**self._schemas[schema["$ref"].rpartition("/")[2]], **schema}
        return schema

    def _value(self, schema: Schema, value: Any, path: str) -> list[Problem]:
        schema = self._resolved(schema)
        if "not" in schema:
            return [(path, schema["x-problem"], None)]
        if "anyOf" in schema:
            return [] if value is None else self._value(schema["anyOf"][0], value, path)
        if "oneOf" in schema:
            return self._chosen(schema, value, path)
        if "enum" in schema:
            wrong = not isinstance(value, str) or value not in schema["enum"]
            return [(path, self._word("enum", ", ".join(schema["enum"])), None)] if wrong else []
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(kind, value) for kind in types):
            return [(path, schema.get("x-problem") or self._words[types[0]], None)]
        return self._typed(schema, value, path)

    def _typed(self, schema: Schema, value: Any, path: str) -> list[Problem]:
        problems: list[Problem] = []
        if isinstance(value, dict):
            problems = [
                *(self._object(schema, value, path) if "properties" in schema else self._map(schema, value, path))
            ]
        elif isinstance(value, list):
            problems = self._items(schema, value, path)
        limit = self._limit(schema, value) if not problems else None
        if limit:
            return [(path, limit, None)]
        if not problems:
            for name in schema.get("x-checks", ()):
                for step in self._checks[name]:
                    problem = _checked(step, value)
                    if problem:
                        return [(path, problem, None)]
        return problems

    def _items(self, schema: Schema, values: list[Any], path: str) -> list[Problem]:
        each = [self._value(schema["items"], value, f"{path}.{index}") for index, value in enumerate(values)]
        most = schema.get("maxItems")
        if most is not None and sum(not problems for problems in each) > most:
            return [(path, self._word("maxItems", most), None)]
        return [problem for problems in each for problem in problems]

    def _map(self, schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[Problem]:
        for name, inside in value.items():
            if "propertyNames" in schema:
                yield from self._value(schema["propertyNames"], name, path)
            if isinstance(schema.get("additionalProperties"), dict):
                yield from self._value(schema["additionalProperties"], inside, f"{path}.{name}")

    def _limit(self, schema: Schema, value: Any) -> str | None:
        size = len(value) if isinstance(value, str | list | dict) else value
        for keyword, fails in _LIMITS.items():
            if keyword in schema and fails(size, schema[keyword]):
                return self._word(keyword, schema[keyword])
        return None

    def _word(self, name: str, limit: object) -> str:
        return str(self._words[name].format(limit=limit))

    def _chosen(self, schema: Schema, value: Any, path: str) -> list[Problem]:
        choice, members = schema["x-choice"], schema["oneOf"]
        if choice["by"] == "type":
            for member in members:
                if _is(self._resolved(member)["type"], value):
                    return self._value(member, value, path)
            return [(path, choice["problem"], None)]
        if not isinstance(value, dict):
            return [(path, self._words["object"], None)]
        if schema.get("x-nulls") == "absent":
            value = {name: each for name, each in value.items() if each is not None}
        name = choice["field"]
        if choice["by"] == "presence":
            place = 1 if name in value else 0
        else:
            tag = value.get(name, _ABSENT)
            if tag is _ABSENT:
                return [(f"{path}.{name}", self._words["required"], None)]
            if not isinstance(tag, str) or tag not in choice["values"]:
                return [(f"{path}.{name}", self._word("enum", ", ".join(choice["values"])), None)]
            place = choice["values"][tag]
        siblings = [known for member in members for known in self._resolved(member)["properties"]]
        return [*self._object(self._resolved(members[place]), value, path, siblings)]

    def _object(
        self, schema: Schema, value: Mapping[str, Any], path: str, names: Iterable[str] = ()
    ) -> Iterator[Problem]:
        """Look at an object's fields in the order of the schema, then at those that it does not know."""
        seen = _Seen()
        before = f"{path}." if path else ""
        for name, known in schema["properties"].items():
            problems: list[Problem] = []
            if name in value:
                problems = self._value(known, value[name], before + name)
            elif name in schema.get("required", ()):
                problems = [(before + name, self._words["required"], None)]
            given = value.get(name, known.get("default"))
            problems = problems or [*_related(known, given, seen, before + name)]
            if problems:
                seen.wrong.add(name)
            seen.values[name] = given
            yield from problems
        if schema.get("additionalProperties") is False:
            for name in value:
                if name not in schema["properties"]:
                    meant = self._meant(name, names or schema["properties"])
                    yield before + name, self._words["unknown"], meant


def _no_constant(name: str) -> None:
    raise ValueError(name)


@lru_cache(1024)
def _nearest(name: str, known: tuple[str, ...], close: float) -> str | None:
    by_letters = {_letters(each): each for each in known}
    found = get_close_matches(_letters(name), by_letters, n=1, cutoff=close)
    meant = by_letters[found[0]] if found else None
    return meant if meant != name else None


def _letters(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")


def _is(kind: str, value: object) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    raise AssertionError(kind)


def _related(schema: Schema, value: Any, seen: _Seen, path: str) -> Iterator[Problem]:
    """Hold a field that is right by itself against those before it; the first problem counts."""
    for relation in schema.get("x-relations", ()):
        if _breaks(relation, value, seen):
            problem = relation.get("problem") or relation["items"][seen.values[relation["field"]]]["problem"]
            yield path, problem, None
            return


def _breaks(relation: Schema, value: Any, seen: _Seen) -> bool:
    if relation["relation"] == "most_with":
        return len([mail for mail in value if mail.get(relation["with"]) is not None]) > int(relation["most"])
    if relation["field"] in seen.wrong:
        return False
    other = seen.values.get(relation["field"])
    value = None if value in relation.get("none", ()) else value
    if relation["relation"] == "required_unless":
        fits = other in relation["values"] if "values" in relation else other is not None
        return value is None and not fits
    if value is None:
        return False
    match relation["relation"]:
        case "after":
            return other is not None and _instant(value) <= _instant(other)
        case "not_shorter":
            return other is not None and _length(relation, value) < _length(relation, other)
        case "not_with":
            return other is not None
        case "only_if":
            return other not in relation["values"]
        case "matches_if":
            return other in relation["values"] and not re.fullmatch(relation["pattern"], value)
        case "items_by":
            return not all(_is(relation["items"][other]["type"], each) for each in value)
    raise AssertionError(relation)


def _instant(value: str | float) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    return datetime.fromtimestamp(value, UTC)


def _length(step: Schema, value: str | float) -> timedelta:
    if not isinstance(value, str):
        return timedelta(seconds=value)
    found = re.fullmatch(step["pattern"], value)
    assert found is not None
    return timedelta(seconds=int(found[1]) * step["units_s"][found[2]])


def _checked(step: Schema, value: Any) -> str | None:
    problem = str(step["problem"])
    match step["check"]:
        case "lacks":
            return problem if re.search(step["pattern"], value) else None
        case "matches":
            return None if re.fullmatch(step["pattern"], value) else problem
        case "email":
            return None if _is_email(step, value) else problem
        case "phone":
            return None if _is_possible(step["lengths"], value) else problem
        case "moment":
            return _moment(step, value)
        case "date" | "time":
            return _date_or_time(step, value)
        case "timezone":
            return None if value in _zones() else problem
        case "https_url":
            return None if _is_endpoint(value) else problem
        case "base64url":
            return _base64url(step, value)
        case "rate":
            return None if _is_rate(step, value) else problem
        case "duration":
            return _duration(step, value)
        case "unique":
            return None if len({each[step["field"]] for each in value}) == len(value) else problem
        case "bounded":
            return _bounded(step, value)
    raise AssertionError(step)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _is_email(step: Schema, value: str) -> bool:
    local, at, domain = value.rpartition("@")
    if not at or len(local) > step["local_chars"] or not re.fullmatch(step["local"], local):
        return False
    if not domain.isascii():
        return True
    last = domain.rpartition(".")[2].lower()
    shaped = re.fullmatch(step["domain"], domain) and len(domain) <= step["domain_chars"]
    return bool(shaped) and last not in step["refused_domains"]


def _is_possible(lengths: Mapping[str, list[int]], value: str) -> bool:
    for digits in (1, 2, 3):
        code = value[1 : 1 + digits]
        if code in lengths:
            return len(value) - 1 - digits in lengths[code]
    return False


def _moment(step: Schema, value: str | float) -> str | None:
    if isinstance(value, str):
        if not re.fullmatch(step["pattern"], value):
            return str(step["problem"])
        try:
            value = _instant(value).timestamp()
        except (ValueError, OverflowError):
            return str(step["problem_existing"])
    return None if step["from_s"] <= value < step["before_s"] else str(step["problem_range"])


def _date_or_time(step: Schema, value: str) -> str | None:
    if not re.fullmatch(step["pattern"], value):
        return str(step["problem"])
    try:
        if step["check"] == "time":
            time.fromisoformat(value)
            return None
        found = date.fromisoformat(value)
    except ValueError:
        return str(step["problem_existing"])
    return None if step["from_year"] <= found.year < step["before_year"] else str(step["problem_range"])


def _is_endpoint(value: str) -> bool:
    if not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    if not host or "@" in url.netloc:
        return False
    if url.scheme == "http":
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False
    return url.scheme == "https"


def _base64url(step: Schema, value: str) -> str | None:
    text = value.rstrip("=")
    if not re.fullmatch("[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
        return str(step["problem"])
    octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    fits = len(octets) == step["bytes"] and octets[0] == step.get("first_byte", octets[0])
    return None if fits else str(step["problem_bytes"])


def _is_rate(step: Schema, value: str | int) -> bool:
    found = re.fullmatch(step["pattern"], str(value))
    if found is None:
        return value in (0, "0")
    window_s = int(found[2]) * step["units_s"][found[3] or "s"]
    return int(found[1]) > 0 and 0 < window_s <= step["longest_s"]


def _duration(step: Schema, value: str | float) -> str | None:
    if isinstance(value, str) and not re.fullmatch(step["pattern"], value):
        return str(step["problem"])
    try:
        fits = step["from_s"] <= _length(step, value).total_seconds() <= step["to_s"]
    except OverflowError:
        fits = False
    return None if fits else str(step["problem_range"])


def _bounded(step: Schema, value: Mapping[str, Any]) -> str | None:
    level: list[Any] = [value]
    for _ in range(step["levels"]):
        below: list[Any] = []
        for container in level:
            for each in container.values() if isinstance(container, dict) else container:
                if isinstance(each, dict | list):
                    below.append(each)
                elif isinstance(each, float) and not isfinite(each):
                    return str(step["problem_number"])
        if not below:
            return None
        level = below
    return str(step["problem"])
