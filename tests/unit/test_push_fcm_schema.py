"""What we send to FCM against the description of the API that Google publishes (in google-api-python-client)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import googleapiclient  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.push import payload
from shared.core.model import Priority
from tests.push import android, make_attempt

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache/documents/fcm.v1.json"
SCHEMAS: Mapping[str, Any] = json.loads(_DOCUMENT.read_text())["schemas"]
KINDS: Mapping[str, type] = {"string": str, "boolean": bool, "integer": int, "number": float, "array": list}

texts = st.text(st.characters(codec="utf-8"), max_size=300)


def problems(value: object, schema: Mapping[str, Any], path: str = "") -> list[str]:
    """Say what in a value a discovery document's schema does not allow; an unknown field is a problem, too."""
    if "$ref" in schema:
        return problems(value, SCHEMAS[schema["$ref"]], path)
    if schema["type"] == "object":
        if not isinstance(value, dict):
            return [f"{path}: no object"]
        fields, others = schema.get("properties", {}), schema.get("additionalProperties")
        found = [f"{path}.{name}: unknown" for name in value if name not in fields and others is None]
        for name, inner in value.items():
            if expected := fields.get(name) or others:
                found += problems(inner, expected, f"{path}.{name}")
        return found
    if not isinstance(value, KINDS[schema["type"]]):
        return [f"{path}: no {schema['type']}"]
    if value not in schema.get("enum", [value]):
        return [f"{path}: not one of the enum"]
    return []


@settings(max_examples=200)
@given(
    title=texts,
    message=texts | st.just("x" * 9000),
    data=st.dictionaries(texts, texts | st.integers() | st.none() | st.lists(st.booleans()), max_size=5),
    category=st.none() | st.sampled_from(["chat", "alert"]),
    priority=st.sampled_from(Priority),
    lifetime_s=st.integers(0, 90 * 86400),
)
def test_every_request_is_valid_by_googles_own_description(
    title: str, message: str, data: dict[str, Any], category: str | None, priority: Priority, lifetime_s: int
) -> None:
    attempt = make_attempt(
        android(), title=title, message=message, data=data, category=category, priority=priority, now=NOW,
        lifetime=timedelta(seconds=lifetime_s),
    )  # fmt: skip
    request = json.loads(payload.compact(payload.fcm(attempt, "token", NOW)))
    assert problems(request, SCHEMAS["SendMessageRequest"]) == []


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"message": {"tokens": "t"}}, ".message.tokens"),
        ({"message": {"data": {"n": 1}}}, ".message.data.n"),
        ({"message": {"android": {"priority": "high"}}}, ".message.android.priority"),
        ({"message": {"android": {"ttl": 60}}}, ".message.android.ttl"),
        ({"message": []}, ".message"),
    ],
)
def test_a_request_that_google_would_refuse_is_found(wrong: dict[str, Any], where: str) -> None:
    [problem] = problems(wrong, SCHEMAS["SendMessageRequest"])
    assert problem.startswith(f"{where}:")
