"""Notifications that name a template: what is refused at acceptance, and what each reader is told."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from services.router.payloads import notifications
from services.router.payloads.mails import BATCH_TEMPLATED
from services.router.payloads.parse import parse
from services.router.payloads.rejection import Rejected
from services.router.planning.compose import Draft, compose
from services.router.planning.known import Known
from services.router.planning.tasks import Crowd, FanOut
from services.router.templates.folder import Templates, load
from shared.core.clock import epoch_ms
from shared.core.model import Channel, Content, Delivery, TemplateUse
from shared.core.topics import Kind
from shared.delivery.attempt import Attempt
from shared.directory.people import Person
from shared.ledger.new_records import NewRow
from tests.fakes.clock import StandingClock
from tests.router import a_planner

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
NOW_MS = epoch_ms(NOW)
DATA = {"name": "User 123", "at": "2026-01-05T23:30:00Z"}
USER = {"user_id": "user123"}
TOKEN = "0" * 64
SMS = {"phone": "+14155550123"}


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    folder = tmp_path_factory.mktemp("templates")
    texts = {
        "en": {
            "subject": "Hello {{ name }}",
            "text": "At {{ at|time }}.",
            "sms": "{{ at|time('HH:mm') }}",
            "push": "Now",
        },
        "fr": {"subject": "Bonjour {{ name }}", "text": "À {{ at|time }}.", "sms": "à", "push": "Là"},
    }
    for language, parts in texts.items():
        (folder / "hello" / language).mkdir(parents=True)
        (folder / "hello" / language / "email.html").write_text(f"<p>{language} {{{{ name }}}}</p>")
        for part, text in parts.items():
            (folder / "hello" / language / f"{part}.txt").write_text(text)
    return load(folder)


def draft(templates: Templates, kind: Kind, params: Mapping[str, str], **body: Any) -> Draft:
    body = {"template": "hello", "data": DATA, **body}
    publish = parse(kind, params, json.dumps(body).encode())
    assert isinstance(publish, notifications.Notification)
    return compose(kind, publish, now_ms=NOW_MS, lifetime_s=3600, templates=templates)


def problems(templates: Templates, kind: Kind, params: Mapping[str, str], **body: Any) -> list[tuple[str, str]]:
    with pytest.raises(Rejected) as caught:
        draft(templates, kind, params, **body)
    return [(each.field, each.problem) for each in caught.value.fields]


def contents(rows: list[NewRow], one: Draft) -> dict[tuple[str | None, Channel], Content]:
    return {
        (row.row.recipient, row.row.channel): Attempt(one.notification, row.row, 1, False, NOW).content
        for row in rows
        if isinstance(row.row, Delivery) and not row.state.is_end
    }


def test_direct_mail_is_written_at_acceptance(templates: Templates) -> None:
    one = draft(templates, Kind.EMAIL_SEND, {}, to="user@example.com", locale="fr-CA", timezone="America/Montreal")
    content = one.notification.content
    assert (content.title, content.message) == ("Bonjour User 123", "À 18 h 30.")
    assert (content.html_body, content.data) == ("<p>fr User 123</p>", {})
    (delivery,) = one.direct
    assert delivery.content is None


def test_direct_sms_and_push_have_texts_of_their_own(templates: Templates) -> None:
    sms = draft(templates, Kind.SMS_SEND, {}, **SMS).notification.content
    assert (sms.title, sms.message, sms.type) == ("", "23:30", "sms")
    push = draft(templates, Kind.PUSH_MOBILE, {"platform": "ios"}, tokens=[TOKEN]).notification.content
    assert (push.title, push.message, push.data, push.type) == ("Hello User 123", "Now", DATA, "push")


def test_a_person_is_told_in_their_language_and_time_on_every_channel(templates: Templates) -> None:
    one = draft(templates, Kind.REALTIME_USER, USER, priority="critical", locale="fr")
    assert one.notification.template == TemplateUse(name="hello", locale="fr")
    planner = a_planner(clock=StandingClock(), templates=templates)
    person = Person.model_validate(
        {
            "user_id": "user123", "email": "user@example.com", "phone": "+14155550123", "locale": "en-GB",
            "timezone": "Europe/Paris", "preferences": {"sms": True}, "devices": [{"platform": "ios", "token": TOKEN}],
        }
    )  # fmt: skip
    rows = planner.first_rows(one, Known({"user123": person}, {}, {}, ()))
    told = {channel: content for (_, channel), content in contents(rows, one).items()}
    assert (told[Channel.REALTIME].title, told[Channel.REALTIME].message) == ("Hello User 123", "At 00:30.")
    assert told[Channel.REALTIME].data == told[Channel.PUSH].data == DATA
    # The data is written once, not once a delivery.
    assert not any(row.row.content.data for row in rows if isinstance(row.row, Delivery) and row.row.content)
    assert told[Channel.EMAIL].html_body == "<p>en User 123</p>"
    assert (told[Channel.SMS].title, told[Channel.SMS].message) == ("", "00:30")
    assert told[Channel.PUSH].message == "Now"


def test_a_reader_of_whom_nothing_is_known_gets_what_the_publisher_named(templates: Templates) -> None:
    one = draft(templates, Kind.REALTIME_USER, USER, locale="fr")
    planner = a_planner(clock=StandingClock(), templates=templates)
    rows = planner.first_rows(one, Known({"user123": Person(user_id="user123")}, {}, {}, ()))
    (row,) = [new.row for new in rows if isinstance(new.row, Delivery) and not new.state.is_end]
    # The same words as the notification's own are written once.
    assert (row.content, one.notification.content.title) == (None, "Bonjour User 123")


def test_a_template_that_is_gone_when_people_are_planned_leaves_the_words_of_acceptance(templates: Templates) -> None:
    one = draft(templates, Kind.REALTIME_USER, USER)
    planner = a_planner(clock=StandingClock(), templates={})
    rows = planner.first_rows(one, Known({"user123": Person(user_id="user123", locale="fr")}, {}, {}, ()))
    assert contents(rows, one)["user123", Channel.REALTIME].title == "Hello User 123"


def test_a_broadcast_is_in_the_feed_in_one_language(templates: Templates) -> None:
    one = draft(templates, Kind.REALTIME_BROADCAST, {}, target_groups=["g"])
    assert one.audience == Crowd(groups=("g",))
    planner = a_planner(clock=StandingClock(), templates=templates)
    feed, page = planner.first_rows(one, Known({}, {}, {}, ()))
    assert isinstance(feed.row, Delivery)
    assert feed.row.content is None
    assert isinstance(getattr(page.row, "what", None), FanOut)


@pytest.mark.parametrize(
    ("kind", "params", "body", "expected"),
    [
        (Kind.REALTIME_USER, USER, {"template": "none"}, [("template", "unknown")]),
        (Kind.REALTIME_USER, USER, {"data": {"name": "x"}}, [("data.at", "required by template hello")]),
        (Kind.REALTIME_USER, USER, {"message": "m"}, [("message", "not together with template")]),
        (Kind.EMAIL_SEND, {}, {"to": "a@example.com", "html_body": "x"}, [("html_body", "not together with template")]),
        (Kind.SMS_SEND, {}, {**SMS, "locale": "?"}, [("locale", "not a language tag")]),
        (Kind.SMS_SEND, {}, {**SMS, "timezone": "Mars"}, [("timezone", "not an IANA time zone")]),
        (Kind.PUSH_MOBILE, {"platform": "ios"}, {}, [("user_id", "required, or tokens")]),
        (Kind.ALERT_CRITICAL, {"alert_type": "disk"}, {"message": "m"}, [("template", "not on this topic")]),
        (Kind.SYSTEM_STATUS, {}, {"message": "m"}, [("template", "not on this topic")]),
        (Kind.EMAIL_BATCH, {}, {"emails": []}, [("template", "not on this topic")]),
    ],
)
def test_what_is_wrong_with_a_templated_publish_is_named(
    templates: Templates, kind: Kind, params: Mapping[str, str], body: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert problems(templates, kind, params, **body) == expected


def test_without_templates_every_name_is_unknown() -> None:
    assert problems({}, Kind.SMS_SEND, {}, **SMS) == [("template", "unknown")]


def batch(templates: Templates, *mails: Mapping[str, Any]) -> Draft:
    publish = parse(Kind.EMAIL_BATCH, {}, json.dumps({"emails": mails}).encode())
    assert isinstance(publish, notifications.Notification)
    return compose(Kind.EMAIL_BATCH, publish, now_ms=NOW_MS, lifetime_s=3600, templates=templates)


def test_mails_of_a_batch_may_name_templates(templates: Templates) -> None:
    mail = {"to": "user1@example.com", "template": "hello", "data": DATA}
    one = batch(templates, mail, {"to": "user2@example.com", "subject": "s", "body": "b"}, {**mail, "locale": "fr"})
    titles = [delivery.content.title for delivery in one.direct if delivery.content]
    assert titles == ["Hello User 123", "s", "Bonjour User 123"]
    assert batch(templates, mail).notification.content.title == "Hello User 123"


def test_a_problem_in_a_batch_says_which_mail(templates: Templates) -> None:
    mail = {"to": "user1@example.com", "template": "hello", "data": DATA}
    with pytest.raises(Rejected) as caught:
        batch(templates, mail, {**mail, "data": {"at": 0}})
    assert [each.field for each in caught.value.fields] == ["emails.1.data.name"]
    with pytest.raises(Rejected) as caught:
        batch(templates, mail, {**mail, "subject": "s"})
    assert [each.field for each in caught.value.fields] == ["emails.1.subject"]
    with pytest.raises(Rejected) as caught:
        batch(templates, *[mail] * (BATCH_TEMPLATED + 1))
    assert [each.problem for each in caught.value.fields] == ["too many with a template: at most 100"]


def test_a_mail_of_a_batch_that_says_more_than_is_known_is_refused(templates: Templates) -> None:
    mail = {"to": "user@example.com", "subject": "s", "body": "b"}
    with pytest.raises(Rejected) as caught:
        batch(templates, mail, {**mail, "cc": "other@example.com", "reply_to": None})
    assert [(each.field, each.problem) for each in caught.value.fields] == [("emails.1.cc", "unknown")]


@pytest.mark.parametrize("name", ["id", "channels", "events"])
def test_a_mail_of_a_batch_cannot_say_what_is_the_batchs(templates: Templates, name: str) -> None:
    value = {"id": "k", "channels": ["email"], "events": True}[name]
    for mail in ({"subject": "s", "body": "b"}, {"template": "hello", "data": DATA}):
        with pytest.raises(Rejected) as caught:
            batch(templates, {"to": "user@example.com", **mail, name: value})
        ((field, problem),) = [(each.field, each.problem) for each in caught.value.fields]
        assert (field, problem) == (f"emails.0.{name}", "is the whole batch's, and not a single mail's")
