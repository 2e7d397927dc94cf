"""What each push provider is told to show, and that it always fits."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.push import payload
from shared.core.errors import PermanentFailure, Reason
from shared.core.fields import IDENTIFIER_CHARS, LINE_CHARS, WORD_CHARS
from shared.core.incidents import Way
from shared.core.model import AlertDetails, Content, Priority
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt
from shared.directory.answer_link import LIFETIME, AnswerLink, read_token
from shared.store.keys import new_notification_id
from tests.push import What, ios, make_attempt

Write = Callable[..., tuple[dict[str, Any], int]]

SECRET = "a secret of at least thirty-two bytes"
LINKS = AnswerLinks("https://notify.example.com", SECRET)
ALERT = AlertDetails(
    type="disk", level="critical", source="disk-watch", affected_systems=("orders", "billing"),
    requires_acknowledgment=True,
)  # fmt: skip
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def attempt(**what: Unpack[What]) -> Attempt:
    return make_attempt(ios(), now=NOW, **what)


def apns(attempt: Attempt, links: AnswerLinks | None = None) -> tuple[dict[str, Any], int]:
    """The message as a provider-neutral dict, and its size on the wire."""
    message = payload.apns(attempt, NOW, links).message
    custom = {name: value for name, value in message.items() if name != "aps"}
    return {**message["aps"]["alert"], **custom}, len(json.dumps(message, ensure_ascii=False).encode())


def fcm(attempt: Attempt, links: AnswerLinks | None = None) -> tuple[dict[str, Any], int]:
    message = payload.fcm(attempt, "t", NOW, links)["message"]
    data = dict(message["data"])
    if "data" in data:
        data["data"] = json.loads(data["data"])
    if "truncated" in data:
        data["truncated"] = json.loads(data["truncated"])
    counted = {name: message[name] for name in ("notification", "data", "android")}
    return {**message["notification"], **data}, len(payload.compact(counted))


def web(attempt: Attempt, links: AnswerLinks | None = None) -> tuple[dict[str, Any], int]:
    body = payload.web(attempt, NOW, links).body
    return json.loads(body), len(body)


PROVIDERS = [
    pytest.param(apns, payload.APNS_LIMIT_BYTES, id="apns"),
    pytest.param(fcm, payload.FCM_LIMIT_BYTES, id="fcm"),
    pytest.param(web, payload.WEBPUSH_LIMIT_BYTES, id="webpush"),
]
each_provider = pytest.mark.parametrize(("write", "limit_bytes"), PROVIDERS)

texts = st.text(st.characters(codec="utf-8"), max_size=6000)
datas = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=20), texts, max_size=3)


@each_provider
@settings(max_examples=60, deadline=None)
@given(title=st.text(st.characters(codec="utf-8"), max_size=200), message=texts, data=datas)
def test_whatever_is_said_fits_and_what_is_missing_is_marked(
    write: Write, limit_bytes: int, title: str, message: str, data: dict[str, str]
) -> None:
    shown, size_bytes = write(attempt(title=title, message=message, data=data))
    assert size_bytes <= limit_bytes
    assert shown["title"] == title
    assert shown["carillon_id"]
    whole = shown["body"] == message and shown.get("data", {}) == data
    assert shown.get("truncated", False) is not whole
    if shown["body"] != message:
        assert shown["body"].endswith("…")
        assert message.startswith(shown["body"][:-1])
    assert shown.get("data", {}) in ({}, data)


@each_provider
def test_a_long_text_is_cut_as_late_as_possible_and_the_data_kept(write: Write, limit_bytes: int) -> None:
    shown, size_bytes = write(attempt(message="x" * 9000, data={"k": "v"}))
    assert size_bytes == limit_bytes
    assert shown["data"] == {"k": "v"}
    assert shown["truncated"] is True


@each_provider
def test_data_that_leaves_no_room_for_the_text_is_dropped_and_said_so(write: Write, limit_bytes: int) -> None:
    shown, size_bytes = write(attempt(message="short", data={"k": "v" * 5000}))
    assert (shown["body"], shown.get("data"), shown["truncated"]) == ("short", None, True)
    assert size_bytes < limit_bytes


@each_provider
def test_data_is_dropped_before_the_text_shrinks_to_a_few_words(write: Write, limit_bytes: int) -> None:
    for data_chars in range(limit_bytes - 600, limit_bytes, 7):
        shown, _ = write(attempt(message="w" * 1000, data={"k": "v" * data_chars}))
        assert len(shown["body"]) > 120 if "data" in shown else shown["body"] == "w" * 1000
    assert "data" not in shown


@each_provider
def test_a_title_alone_that_is_too_large_is_given_up(write: Write, limit_bytes: int) -> None:
    with pytest.raises(PermanentFailure) as caught:
        write(attempt(title="t" * limit_bytes))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("drawn", ["e\u0301", "👩\u200d🚒", "❤\ufe0f"])
def test_the_cut_never_falls_within_a_drawn_character(drawn: str) -> None:
    for shift in range(8):
        shown, _ = web(attempt(message="x" * shift + drawn * 3000))
        kept = shown["body"].removesuffix("…")
        assert kept.endswith(drawn)


def test_every_attempt_of_a_notification_has_the_same_collapse_id() -> None:
    first, again = attempt(notification_id="one"), attempt(notification_id="one")
    assert payload.collapse_id(first) == payload.collapse_id(again) != payload.collapse_id(attempt())
    assert len(payload.collapse_id(first)) == 32
    assert payload.collapse_id(first).replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("lifetime", "expected_s"),
    [
        (timedelta(hours=1), 3600),
        (timedelta(milliseconds=1), 1),
        (timedelta(seconds=-5), 0),
        (timedelta(days=365), 28 * 86400),
    ],
)
def test_the_push_services_try_as_long_as_the_delivery_lives(lifetime: timedelta, expected_s: int) -> None:
    what = attempt(lifetime=lifetime)
    assert payload.apns(what, NOW).ttl_s == payload.web(what, NOW).ttl_s == expected_s
    assert payload.fcm(what, "t", NOW)["message"]["android"]["ttl"] == f"{expected_s}s"


@pytest.mark.parametrize(
    ("priority", "apns_priority", "level", "fcm_priority", "urgency"),
    [
        (Priority.LOW, 5, "passive", "NORMAL", "low"),
        (Priority.NORMAL, 5, "active", "NORMAL", "normal"),
        (Priority.HIGH, 10, "active", "HIGH", "high"),
        (Priority.CRITICAL, 10, "time-sensitive", "HIGH", "high"),
    ],
)
def test_priority_is_said_in_each_providers_words(
    priority: Priority, apns_priority: int, level: str, fcm_priority: str, urgency: str
) -> None:
    what = attempt(priority=priority)
    push = payload.apns(what, NOW)
    assert (push.priority, push.message["aps"]["interruption-level"]) == (apns_priority, level)
    assert ("sound" in push.message["aps"]) is (priority is not Priority.LOW)
    assert payload.fcm(what, "t", NOW)["message"]["android"]["priority"] == fcm_priority
    assert payload.web(what, NOW).urgency == urgency


def test_fcm_data_holds_strings_only() -> None:
    data = payload.fcm(attempt(data={"n": 1, "list": [None, True]}), "t", NOW)["message"]["data"]
    assert all(isinstance(value, str) for value in data.values())
    assert data["data"] == '{"n":1,"list":[null,true]}'


def test_a_push_that_takes_one_back_replaces_it_and_says_nothing_of_what_was_said() -> None:
    first = attempt(title="Secret", message="secret", data={"key": "secret"}, notification_id="n1", category="secret")
    delivery = first.delivery.model_copy(update={"recalls": True, "content": Content(title="Recalled.", message="")})
    recall = replace(first, delivery=delivery)
    assert payload.apns(recall, NOW).collapse_id == payload.apns(first, NOW).collapse_id
    assert payload.apns(recall, NOW).message == {
        "aps": {"alert": {"title": "Recalled."}, "interruption-level": "passive", "content-available": 1},
        "carillon_id": "n1",
        "recalled": True,
    }
    android, before = (payload.fcm(each, "t", NOW)["message"] for each in (recall, first))
    assert android["android"] == before["android"]
    assert (android["notification"], android["data"]) == (
        {"title": "Recalled."},
        {"carillon_id": "n1", "recalled": "true"},
    )
    browser, before_it = payload.web(recall, NOW), payload.web(first, NOW)
    assert browser.topic == before_it.topic
    assert json.loads(browser.body) == {
        "title": "Recalled.", "tag": json.loads(before_it.body)["tag"], "carillon_id": "n1", "recalled": True,
    }  # fmt: skip


@each_provider
def test_an_alert_says_where_since_when_and_how_it_is_answered(write: Write, limit_bytes: int) -> None:
    what = attempt(message="It is full.", alert=ALERT, notification_id=new_notification_id())
    shown, _ = write(what, LINKS)
    assert shown["body"].splitlines() == [
        "It is full.", "Source: disk-watch", "Systems: orders, billing", "Since: 2026-01-05 09:00 UTC",
    ]  # fmt: skip
    address, _, answer = shown["answer_url"].partition("?token=")
    assert address == "https://notify.example.com/v1/answer"
    about = AnswerLink(what.notification.id, "user123", Way.PUSH, NOW + LIFETIME)
    assert read_token(SECRET, answer, NOW) == about
    assert "answer_url" not in write(what)[0]
    # Nothing of it is left out where the text is too long.
    long = attempt(message="x" * 9000, alert=ALERT, notification_id=new_notification_id())
    shown, size_bytes = write(long, LINKS)
    assert size_bytes <= limit_bytes
    assert (shown["body"].splitlines()[1:3], shown["truncated"]) == (
        ["Source: disk-watch", "Systems: orders, billing"], True,
    )  # fmt: skip
    assert "answer_url" in shown


@each_provider
def test_what_a_template_says_of_an_alert_has_nothing_added_but_what_its_button_says(
    write: Write, limit_bytes: int
) -> None:
    templated = Content(title="Kritisch: disk", message="Platte voll.", alert=ALERT, answer_label="Übernehmen")
    plain = attempt(message="It is full.", alert=ALERT, notification_id=new_notification_id())
    what = replace(plain, notification=plain.notification.model_copy(update={"content": templated}))
    shown, size_bytes = write(what, LINKS)
    assert (shown["title"], shown["body"]) == ("Kritisch: disk", "Platte voll.")
    assert (shown["answer_label"], size_bytes <= limit_bytes) == ("Übernehmen", True)
    assert "answer_label" not in write(what)[0]


@each_provider
def test_the_largest_alert_fits_with_its_link(write: Write, limit_bytes: int) -> None:
    """Every field at its bound, in letters of four bytes."""
    wide = "\U0001f600"
    alert = ALERT.model_copy(update={"source": wide * LINE_CHARS, "affected_systems": (wide * LINE_CHARS,) * 64})
    links = AnswerLinks("https://notify.example.com/" + "p" * 470, SECRET)
    what = attempt(
        title=f"Critical alert: {wide * IDENTIFIER_CHARS}", message=wide * 9000, category=wide * WORD_CHARS,
        alert=alert, notification_id=new_notification_id(), data={"k": "v" * 5000},
    )  # fmt: skip
    delivery = what.delivery.model_copy(update={"recipient": wide * IDENTIFIER_CHARS})
    shown, size_bytes = write(replace(what, delivery=delivery), links)
    assert size_bytes <= limit_bytes
    assert "answer_url" in shown


def test_an_app_finds_the_category_of_an_alert_that_it_can_answer() -> None:
    what = attempt(alert=ALERT, notification_id=new_notification_id())
    assert payload.apns(what, NOW, LINKS).message["aps"]["category"] == payload.APNS_ALERT_CATEGORY
    assert "category" not in payload.apns(what, NOW).message["aps"]
    assert "category" not in payload.apns(attempt(), NOW, LINKS).message["aps"]
