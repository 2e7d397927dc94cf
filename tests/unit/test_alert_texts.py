"""What people are told of an alert: by the operator's template, by the sample one, and by the built-in words."""

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from services.router.planning.alert_texts import AlertTexts, Occasion, Why, alert_template, built_in, variables
from services.router.planning.group_news import Member, flapping_line
from services.router.templates.folder import Templates, load
from shared.core.clock import from_epoch_ms
from shared.core.errors import ConfigError
from shared.core.model import AlertDetails, Channel, Content, Flapped, Notification, Priority
from shared.directory.people import Person
from shared.telemetry import metrics

SAMPLE = Path(__file__).parents[2] / "carillon" / "local" / "sample_templates"
# A Monday noon, UTC.
SINCE_MS = 1_796_040_000_000
ALERT = AlertDetails(
    type="disk", level="critical", source="disk-watch", affected_systems=("orders",), requires_acknowledgment=True
)
FLAPPED = Flapped(times=3, within_s=600, hold_s=3600)


def an_alert(
    alert: AlertDetails = ALERT, message: str = "db-3 is full.", flapping: Flapped | None = None
) -> Notification:
    content = Content(title=alert.title, message=message, type="alert", data={"run": 7}, alert=alert)
    if flapping is not None:
        said = {"title": f"Flapping: {alert.title}", "message": f"{flapping_line(flapping)}\n\n{message}"}
        content = content.model_copy(update={**said, "flapping": flapping})
    return Notification(
        id="n1", kind="alert_critical", priority=Priority.CRITICAL, accepted_ms=SINCE_MS, content=content
    )


def a_member(number: int, system: str) -> Member:
    since = from_epoch_ms(SINCE_MS) + timedelta(minutes=number)
    return Member(f"m{number}", since, f"{system} is full.", "disk-watch", (system,))


GROUP = (a_member(0, "orders"), a_member(1, "billing"))
ALONE, NEWS = Occasion(), Occasion(Why.NEWS, GROUP[1:], 2)


def told(
    texts: AlertTexts, locale: str, zone: str, occasion: Occasion = ALONE, channel: Channel = Channel.EMAIL,
    notification: Notification | None = None,
) -> Content | None:  # fmt: skip
    person = Person.model_validate({"user_id": "ada", "locale": locale, "timezone": zone})
    return texts.of(notification or an_alert(), None, occasion).for_person(channel, person)


def templates(folder: Path, text: str, **others: str) -> Templates:
    (folder / "mine" / "en").mkdir(parents=True)
    for name, source in {"subject": "{{ alert.type }}", "text": text, **others}.items():
        (folder / "mine" / "en" / f"{name}.txt").write_text(source)
    return load(folder)


@pytest.fixture(scope="module")
def sample() -> AlertTexts:
    return AlertTexts(alert_template(load(SAMPLE), "incident"))


def test_each_reader_gets_the_alert_in_their_language_and_zone(sample: AlertTexts) -> None:
    english, german = told(sample, "en-GB", "Europe/London"), told(sample, "de-AT", "Europe/Vienna")
    assert english is not None
    assert german is not None
    assert (english.title, english.answer_label) == ("Critical: disk on orders", "Acknowledge")
    assert (german.title, german.answer_label) == ("Kritisch: disk auf orders", "Übernehmen")
    assert english.message == "db-3 is full.\n\nWhere: orders\nSource: disk-watch\nSince: 30/11/2026, 12:00 (GMT)"
    assert german.message == "db-3 is full.\n\nWo: orders\nQuelle: disk-watch\nSeit: 30.11.26, 13:00 (MEZ)"
    # What clients go by stays as it is.
    assert (german.alert, german.data, german.type) == (ALERT, {"run": 7}, "alert")


@pytest.mark.parametrize(
    ("occasion", "begins", "beginnt"),
    [
        (ALONE, "Critical: ", "Kritisch: "),
        (Occasion(Why.ESCALATED), "Nobody has answered: Critical: ", "Noch ohne Antwort: Kritisch: "),
        (Occasion(Why.REOPENED), "Open again: Critical: ", "Wieder offen: Kritisch: "),
        (Occasion(Why.REASSIGNED), "Handed to you: Critical: ", "An dich übergeben: Kritisch: "),
    ],
)
def test_the_sample_says_why_somebody_is_told(
    sample: AlertTexts, occasion: Occasion, begins: str, beginnt: str
) -> None:
    for locale, start in (("en", begins), ("de", beginnt)):
        said = told(sample, locale, "UTC", occasion)
        assert said is not None
        assert said.title.startswith(start)


def test_the_sample_names_the_alerts_of_a_group(sample: AlertTexts) -> None:
    said = told(sample, "de", "Europe/Berlin", NEWS)
    assert said is not None
    assert said.title == "Kritisch: disk auf billing (2 offen)"
    assert said.message.splitlines()[:2] == [
        "2 Alarme sind offen. Neu:", "- billing: billing is full. (seit 30.11.26, 13:01)",
    ]  # fmt: skip
    sms = told(sample, "en", "Europe/Berlin", Occasion(Why.ESCALATED, GROUP, 2), Channel.SMS)
    assert sms is not None
    assert sms.message == "CRITICAL disk on orders, billing, 2 open, since 13:00 +0100: orders is full."


def test_a_flapping_alert_is_told_once_in_the_readers_language(sample: AlertTexts) -> None:
    said = told(sample, "de", "UTC", notification=an_alert(flapping=FLAPPED))
    assert said is not None
    assert said.title == "Immer wieder: Kritisch: disk auf orders"
    first, _, second, *_ = said.message.splitlines()
    assert first == "Das hat 3-mal in 10 Minuten begonnen. 60 Minuten lang wird niemand mehr darüber benachrichtigt."
    assert second == "db-3 is full."


def test_an_sms_of_the_sample_costs_no_more_than_its_letters(sample: AlertTexts) -> None:
    # One narrow space, as the short times of American English have, would make each part of it 67 characters long.
    said = told(sample, "en-US", "America/New_York", channel=Channel.SMS)
    assert said is not None
    assert said.message.isascii()


def test_a_template_has_everything_that_is_known() -> None:
    starts_at = from_epoch_ms(SINCE_MS) - timedelta(hours=1)
    alert = ALERT.model_copy(update={"labels": {"team": "blue"}, "starts_at": starts_at, "severity": "page"})
    known = variables(an_alert(alert), Occasion(Why.NEWS, [a_member(n, f"db-{n}") for n in range(12)], 30))
    assert known["kind"] == "news"
    assert known["alert"] == {
        "type": "disk", "level": "critical", "severity": "page", "source": "disk-watch",
        "systems": [f"db-{n}" for n in range(10)], "labels": {"team": "blue"}, "since": "2026-11-30T11:00:00.000Z",
        "count": 30, "is_new": False, "needs_answer": True,
    }  # fmt: skip
    assert (len(known["members"]), known["more"], known["data"], known["message"]) == (
        10,
        2,
        {"run": 7},
        "db-3 is full.",
    )
    assert known["members"][1] == {
        "message": "db-1 is full.", "source": "disk-watch", "systems": ["db-1"],
        "since": "2026-11-30T12:01:00.000Z", "line": "db-1: db-1 is full.",
    }  # fmt: skip


@pytest.mark.parametrize("occasion", [ALONE, NEWS, Occasion(Why.ESCALATED, GROUP, 2)])
def test_a_template_that_fails_keeps_nobody_from_being_told(
    tmp_path: Path, occasion: Occasion, caplog: pytest.LogCaptureFixture
) -> None:
    source = "{{ message }}{% if alert.labels.size is defined %}{{ alert.labels.size|number }}{% endif %}"
    texts = AlertTexts(alert_template(templates(tmp_path, source), "mine"))
    notification = an_alert(ALERT.model_copy(update={"labels": {"size": "secret"}}))
    before = metrics.alert_template_failures.labels(Channel.EMAIL)._value.get()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            said = told(texts, "en", "UTC", occasion, notification=notification)
            assert said == built_in(notification.content, occasion)
    assert metrics.alert_template_failures.labels(Channel.EMAIL)._value.get() == before + 3
    (record,) = caplog.records
    assert record.__dict__["problem"] == "template mine, text: number needs a number (mine/en/text.txt:1)"
    assert "secret" not in str(record.__dict__)
    # The next alert is written with it again.
    assert (good := told(texts, "en", "UTC", occasion)) is not None
    assert good.title == "disk"


def test_without_a_template_an_alert_says_what_it_says() -> None:
    texts = AlertTexts(None)
    assert told(texts, "de", "UTC") is None
    assert told(texts, "de", "UTC", Occasion(Why.ESCALATED)) is None
    said = told(texts, "de", "UTC", Occasion(Why.ESCALATED, GROUP, 2), notification=an_alert(flapping=FLAPPED))
    assert said is not None
    assert said.title == "Flapping: Critical alert: disk (2)"
    assert said.message.splitlines() == [
        flapping_line(FLAPPED), "", "2 alerts are open.", "- orders: orders is full.", "- billing: billing is full.",
    ]  # fmt: skip
    assert said.alert is not None
    assert (said.alert.affected_systems, said.alert.source) == (("orders", "billing"), "disk-watch")


def test_a_template_without_a_button_has_the_built_in_one(tmp_path: Path) -> None:
    said = told(AlertTexts(alert_template(templates(tmp_path, "x"), "mine")), "de", "UTC")
    assert said is not None
    assert said.answer_label == "Acknowledge"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ alert.sorce }}", "data.alert.sorce: required by template mine"),
        ("{{ alert.labels.team }}", "data.alert.labels.team: required by template mine"),
        ("{{ members[0].line }}", "data.members.0: required by template mine"),
        ("{% if kind == 'flapping' %}{{ flapping.time }}{% endif %}x", "data.flapping.time: required by template mine"),
    ],
)
def test_a_template_that_does_not_fit_every_alert_is_refused_at_the_start(
    tmp_path: Path, source: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        alert_template(templates(tmp_path, source), "mine")
    assert str(caught.value) == f"ROUTER_ALERT_TEMPLATE: template mine does not fit every alert: {problem}"


def test_an_unknown_template_is_refused_at_the_start() -> None:
    found = load(SAMPLE)
    assert alert_template(found, None) is alert_template(found, "") is None
    with pytest.raises(ConfigError, match="TEMPLATES_DIR has no template incidents; did you mean incident\\?"):
        alert_template(found, "incidents")
    with pytest.raises(ConfigError, match="TEMPLATES_DIR has no template x"):
        alert_template({}, "x")
