"""The mail of an attempt: its fields, its two bodies, and what it refuses to become."""

import json
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.email.render import Mail, render
from services.email.sender import Sender
from services.email.smtp.marks import marks
from services.email.smtp.relays import parse_relays
from services.email.unsubscribe import Unsubscribe
from services.realtime.bounces.report import reference
from shared.core.clock import epoch_ms
from shared.core.errors import PermanentFailure, Reason
from shared.core.incidents import Way
from shared.core.model import (
    AlertDetails,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    Notification,
    Priority,
)
from shared.delivery.answer_links import AnswerLinks
from shared.delivery.attempt import Attempt
from shared.directory.answer_link import LIFETIME, AnswerLink
from shared.directory.answer_link import read_token as read_answer
from shared.directory.suppression import digest
from shared.directory.unsubscribe import Unsubscribed, read_token

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SECRET = "a secret of at least thirty-two bytes"
SENDER = Sender("notifications@example.com", "Carillon")
ID = "01893e4a-0000-7003-8000-000000000000"

_NOT_IN_A_LINE = st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"])
_LINES = st.text(_NOT_IN_A_LINE, max_size=200).filter(lambda text: "=?" not in text)
_TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=500)


def attempt(
    content: Content,
    priority: Priority = Priority.NORMAL,
    to: EmailAddress | None = None,
    number: int = 1,
    key: str = "email:user123",
    recipient: str | None = None,
) -> Attempt:
    delivery = Delivery(
        key=key,
        channel=Channel.EMAIL,
        priority=priority,
        address=to or EmailAddress(email="user123@example.com"),
        recipient=recipient,
        due_ms=0,
        expires_ms=10**13,
    )
    notification = Notification(id=ID, kind="email_send", priority=priority, accepted_ms=epoch_ms(NOW), content=content)
    return Attempt(notification, delivery, number=number, in_doubt=False, deadline=NOW)


def written(content: Content, **others: Any) -> Mail:
    return render(attempt(content, **others), SENDER, NOW)


def read(mail: Mail) -> EmailMessage:
    message = message_from_bytes(mail.raw, policy=SMTP)
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def test_a_mail_has_exactly_these_fields() -> None:
    mail = written(Content(title="Deployed", message="It works."), to=EmailAddress(email="u@example.com", name="Ann Ö"))
    message = read(mail)
    assert message.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Carillon-Notification",
        "MIME-Version", "Content-Type",
    ]  # fmt: skip
    assert message["From"] == "Carillon <notifications@example.com>"
    assert message["To"] == "Ann Ö <u@example.com>"
    assert message["Subject"] == "Deployed"
    assert message["Date"] == "Mon, 05 Jan 2026 09:00:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Carillon-Notification"] == ID
    assert (mail.sender, mail.recipient) == ("notifications@example.com", "u@example.com")


def test_the_message_id_is_the_same_for_every_attempt_and_differs_between_deliveries() -> None:
    content = Content(title="t", message="m")
    first, second = written(content), written(content, number=2)
    assert first.message_id == second.message_id == read(first)["Message-ID"]
    assert first.message_id.startswith(f"<{ID}.")
    assert first.message_id.endswith("@example.com>")
    assert written(content, key="email:user456").message_id != first.message_id
    assert "user123" not in first.message_id


@pytest.mark.parametrize(
    ("priority", "mark", "importance"),
    [
        (Priority.LOW, None, None),
        (Priority.NORMAL, None, None),
        (Priority.HIGH, "2 (High)", "high"),
        (Priority.CRITICAL, "1 (Highest)", "high"),
    ],
)
def test_urgent_mail_is_marked(priority: Priority, mark: str | None, importance: str | None) -> None:
    message = read(written(Content(title="t", message="m"), priority=priority))
    assert (message["X-Priority"], message["Importance"]) == (mark, importance)


@pytest.mark.parametrize(
    ("recipient", "category", "priority", "offered"),
    [
        ("user123", None, Priority.NORMAL, False),
        ("user123", None, Priority.HIGH, False),
        ("user123", "news", Priority.NORMAL, True),
        ("user123", "news", Priority.CRITICAL, False),
        (None, None, Priority.NORMAL, False),
        (None, "news", Priority.NORMAL, True),
        (None, "news", Priority.CRITICAL, False),
    ],
)
def test_mail_of_a_category_offers_to_leave_it_in_one_click_and_other_mail_has_no_link(
    recipient: str | None, category: str | None, priority: Priority, offered: bool
) -> None:
    links = Unsubscribe("https://notify.example.com", "a secret of at least thirty-two bytes")
    content = Content(title="t", message="m", category=category)
    message = read(render(attempt(content, priority, recipient=recipient), SENDER, NOW, links))
    assert ("List-Unsubscribe" in message, "List-Unsubscribe-Post" in message) == (offered, offered)
    if offered:
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        assert message["List-Unsubscribe"].startswith("<https://notify.example.com/v1/unsubscribe?token=")
        assert "user123" not in message["List-Unsubscribe"]
        link = message["List-Unsubscribe"].strip("<>").partition("?token=")[2]
        about = Unsubscribed(digest("user123@example.com"), category)
        assert read_token("a secret of at least thirty-two bytes", link) == about
    assert "List-Unsubscribe" not in read(written(content, priority=priority, recipient=recipient))


def test_without_a_text_it_is_made_from_the_html() -> None:
    html = "<style>b{}</style><h1>Hello</h1><p>See <a href='https://example.com/x'>here</a> &amp; there.</p><hr>"
    message = read(written(Content(title="t", message="", html_body=html)))
    assert body(message, "plain").strip() == "Hello\n\nSee [here](https://example.com/x) & there."
    assert body(message, "html") == html


@pytest.mark.parametrize("html", ["<img src='https://example.com/x.png'>", " ", "<!-- -->"])
def test_html_that_says_nothing_in_words_says_so(html: str) -> None:
    message = read(written(Content(title="t", message="", html_body=html)))
    assert "no plain version" in body(message, "plain")


@given(_TEXTS.filter(bool))
def test_any_html_has_a_text(html: str) -> None:
    assert body(read(written(Content(title="t", message="", html_body=html))), "plain").strip()


def test_the_publishers_html_is_sent_as_it_is() -> None:
    message = read(written(Content(title="t", message="plain", html_body="<p>rich &amp; <b>bold</b></p>")))
    assert body(message, "plain") == "plain"
    assert body(message, "html") == "<p>rich &amp; <b>bold</b></p>"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_an_alert_names_its_level_and_its_details() -> None:
    alert = AlertDetails(
        type="disk<full>", level="critical", source="probe", severity="major", affected_systems=("db-1", "db-2"),
        requires_acknowledgment=True,
    )  # fmt: skip
    content = Content(title="Critical alert: disk", message="99 %\nfull", alert=alert)
    message = read(written(content, priority=Priority.CRITICAL))
    assert message["Subject"] == "[CRITICAL] disk<full>: db-1, db-2"
    html = body(message, "html")
    for expected in ("disk&lt;full&gt;", "probe", "major", "db-1, db-2", "Critical", "acknowledgement", "99 %<br>"):
        assert expected in html


@pytest.mark.parametrize(
    ("title", "where", "subject"),
    [
        ("Critical alert: disk", {"affected_systems": ("db-1",)}, "[CRITICAL] disk: db-1"),
        ("Critical alert: disk (3)", {"source": "probe"}, "[CRITICAL] disk (3): probe"),
        ("Flapping: Critical alert: disk", {}, "Flapping: [CRITICAL] disk"),
        ("Critical alert: disk", {"source": "=?utf-8?q?x?="}, "[CRITICAL] disk"),
        ("Critical alert: disk", {"affected_systems": ("x" * 200,)}, f"[CRITICAL] disk: {'x' * 79}…"),
    ],
)
def test_the_subject_of_an_alert_says_what_where_and_how_many(title: str, where: dict[str, Any], subject: str) -> None:
    alert = AlertDetails(type="disk", level="critical", **where)
    assert read(written(Content(title=title, message="m", alert=alert)))["Subject"] == subject


def test_an_alert_says_since_when_by_its_publishers_word() -> None:
    alert = AlertDetails(type="disk", level="critical", starts_at=NOW - timedelta(hours=8))
    message = read(written(Content(title="t", message="m", alert=alert)))
    assert "Since: 2026-01-05 01:00 UTC" in body(message, "plain")


@pytest.mark.parametrize(
    ("html", "ends"),
    [
        (None, "</div>\n</body></html>\n"),
        ("<html><body><p>Platte voll</p></body></html>", "</p>\n</div>\n</body></html>"),
        ("<p>Platte voll</p>", "</p>\n</div>\n"),
    ],
)
def test_what_a_template_says_of_an_alert_has_one_button_and_nothing_else_added(html: str | None, ends: str) -> None:
    alert = AlertDetails(
        type="disk", level="critical", source="probe", affected_systems=("db-1",), requires_acknowledgment=True
    )
    content = Content(
        title="Kritisch: disk", message="Platte voll", alert=alert, html_body=html, answer_label="Über<nehmen>"
    )
    links = AnswerLinks("https://notify.example.com", SECRET)
    said = attempt(content, priority=Priority.CRITICAL, recipient="user123")
    message = read(render(said, SENDER, NOW, answer_links=links))
    assert message["Subject"] == "Kritisch: disk"
    first, empty, label, link = body(message, "plain").splitlines()
    assert (first, empty, label) == ("Platte voll", "", "Über<nehmen>:")
    assert link.startswith("https://notify.example.com/v1/answer?token=")
    shown = body(message, "html")
    assert (shown.count("<a "), shown.count("Über&lt;nehmen&gt;"), shown.count("probe")) == (1, 1, 0)
    assert shown.endswith(ends)
    for english in ("Priority", "Source", "Since", "acknowledgement", "Acknowledge<"):
        assert english not in shown
    # Without a link there is no button.
    assert body(read(render(said, SENDER, NOW)), "plain") == "Platte voll"
    assert "<a " not in body(read(render(said, SENDER, NOW)), "html")


def test_everything_in_our_own_html_is_escaped() -> None:
    evil = "<script>alert('1')</script>"
    alert = AlertDetails(type=evil, level="info", source=evil, severity=evil, affected_systems=(evil,))
    content = Content(title=evil, message=evil, alert=alert, category=evil)
    maintenance = Content(title=evil, message=evil, type="maintenance", data={"starts_at": evil, "services": [evil]})
    for each in (content, maintenance):
        html = body(read(written(each)), "html")
        assert "<script" not in html
        assert html.count("&lt;script&gt;") >= 4


@pytest.mark.parametrize(
    "text",
    [
        "a\r\nBcc: x@example.com",
        "a\nb",
        "a\rb",
        "a\x00b",
        "a\x85b",
        "a\u2028b",
        "=?utf-8?q?a=0D=0ABcc=3A_x?=",
        "\ud800",
    ],
)
def test_what_could_become_another_field_is_refused(text: str) -> None:
    plain = Content(title="t", message="m")
    for content, to in (
        (Content.model_construct(title=text, message="m"), EmailAddress(email="u@example.com")),
        (plain, EmailAddress.model_construct(email="u@example.com", name=text)),
        (plain, EmailAddress.model_construct(email=f"{text}@example.com", name=None)),
    ):
        with pytest.raises(PermanentFailure) as refusal:
            written(content, to=to)
        assert refusal.value.reason is Reason.REJECTED
        assert "Bcc" not in str(refusal.value)


@pytest.mark.parametrize(
    "address",
    ["", "u", "u@", "@example.com", "jörg@example.com", "u@exa mple.com", "<u@example.com>", "a@b,c@d", "x <u@e.com>"],
)
def test_an_address_that_is_more_or_less_than_one_is_refused(address: str) -> None:
    with pytest.raises(PermanentFailure, match="address"):
        written(Content(title="t", message="m"), to=EmailAddress(email=address))


def test_half_a_surrogate_pair_in_the_message_is_refused() -> None:
    with pytest.raises(PermanentFailure, match="Unicode"):
        written(Content.model_construct(title="t", message="\ud800"))


@pytest.mark.parametrize("text", ["é" + "a" * 200, "é" * 200, "a" * 200, "é" + "a" * 200 + "\n" + "b" * 200])
def test_a_long_line_is_broken_with_crlf(text: str) -> None:
    # Relays refuse a bare line feed (RFC 5321, 2.3.8).
    raw = written(Content(title="t", message=text, html_body=text)).raw
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert [_text(part) for part in message_from_bytes(raw).walk() if not part.is_multipart()] == [_lines(text)] * 2


@given(title=_LINES, name=_LINES, message=_TEXTS, html=_TEXTS)
def test_whatever_is_said_arrives_and_changes_no_field(title: str, name: str, message: str, html: str) -> None:
    content = Content(title=title, message=message, html_body=html or None)
    mail = written(content, to=EmailAddress(email="user123@example.com", name=name or None))
    expected = read(written(Content(title="t", message="m"))).keys()
    found = read(mail)
    assert found.keys() == expected
    # The old parser for the texts, because the modern one repairs white space in them.
    old = message_from_bytes(mail.raw)
    # White space around a title has no meaning in a field (RFC 5322, 3.6.5 and 2.2.3).
    assert str(make_header(decode_header(old["Subject"].replace("\r\n", "")))).split() == title.split()
    assert [address.addr_spec for address in found["To"].addresses] == ["user123@example.com"]
    plain, rich = (_text(part) for part in old.walk() if not part.is_multipart())
    assert not message or plain == _lines(message)
    assert not html or rich == _lines(html)
    assert mail.raw.isascii()
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 998
    assert b"\n" not in mail.raw.replace(b"\r\n", b"")
    assert b"\r" not in mail.raw.replace(b"\r\n", b"")


@pytest.mark.parametrize("line", ["x" * 79, "é" + "x" * 1_500, "word " * 5_000, "ends with a blank " * 10, "é" * 2_000])
@pytest.mark.parametrize("rest", ["", "\n", "\nshort"])
def test_a_long_line_is_broken_as_smtp_breaks_lines(line: str, rest: str) -> None:
    mail = written(Content(title="t", message=line + rest, html_body=f"<p>{line}</p>{rest}"))
    assert b"\n" not in mail.raw.replace(b"\r\n", b"")
    _, _, parts = mail.raw.partition(b"\r\n\r\n")
    assert max(map(len, parts.split(b"\r\n"))) <= 78
    plain, rich = (_text(part) for part in message_from_bytes(mail.raw).walk() if not part.is_multipart())
    assert (plain, rich) == (line + rest, f"<p>{line}</p>{rest}")


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode().replace("\r\n", "\n")


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def test_the_text_part_tells_what_the_html_tells_of_an_alert() -> None:
    alert = AlertDetails(
        type="disk",
        level="critical",
        source="monitor",
        severity="high",
        affected_systems=("db1", "db2"),
        requires_acknowledgment=True,
    )
    content = Content(
        title="Critical alert: disk", message="It is full.\n", type="alert", category="storage", alert=alert
    )
    assert body(read(written(content, priority=Priority.CRITICAL)), "plain").splitlines() == [
        "It is full.",
        "",
        "Affected systems: db1, db2",
        "Source: monitor",
        "Since: 2026-01-05 09:00 UTC",
        "Alert: disk",
        "Severity: high",
        "Priority: Critical",
        "Category: storage",
        "",
        "This alert requires an acknowledgement.",
    ]


def test_a_critical_alerts_mail_has_one_link_of_its_reader_in_both_parts() -> None:
    alert = AlertDetails(type="disk", level="critical", requires_acknowledgment=True)
    content = Content(title="Critical alert: disk", message="It is full.", type="alert", alert=alert)
    links = AnswerLinks("https://notify.example.com/live", SECRET)
    message = read(render(attempt(content, Priority.CRITICAL, recipient="user123"), SENDER, NOW, answer_links=links))
    text, html = body(message, "plain"), body(message, "html")
    assert text.splitlines()[-2] == "Acknowledge:"
    link = text.splitlines()[-1]
    assert re.findall('<a href="([^"]+)"', html) == [link]
    address, _, answer = link.partition("?token=")
    assert address == "https://notify.example.com/live/v1/answer"
    assert read_answer(SECRET, answer, NOW) == AnswerLink(ID, "user123", Way.MAIL_LINK, NOW + LIFETIME)


@pytest.mark.parametrize(
    ("required", "recipient"), [(False, "user123"), (True, None)], ids=["no answer needed", "no person"]
)
def test_no_other_mail_has_such_a_link(required: bool, recipient: str | None) -> None:
    alert = AlertDetails(type="disk", level="warning", requires_acknowledgment=required)
    content = Content(title="Alert: disk", message="It is full.", type="alert", alert=alert)
    links = AnswerLinks("https://notify.example.com", SECRET)
    mail = render(attempt(content, Priority.HIGH, recipient=recipient), SENDER, NOW, answer_links=links)
    assert "/v1/answer" not in body(read(mail), "plain") + body(read(mail), "html")


@pytest.mark.parametrize(
    ("host", "field"),
    [
        ("smtp.sendgrid.net", "X-SMTPAPI"),
        ("SMTP-Broadcasts.PostmarkApp.com.", "X-PM-Metadata-carillon"),
        ("smtp.mailgun.org", None),
        ("notsendgrid.net", None),
        ("sendgrid.net.example.com", None),
    ],
)
def test_relays_that_do_not_report_the_message_id_get_a_field_that_they_report(host: str, field: str | None) -> None:
    (relay,) = parse_relays(f"smtp://{host}:587")
    mail = read(render(attempt(Content(title="Title", message="Message")), SENDER, NOW, marks=marks(relay)))
    assert [name for name in mail if name in ("X-SMTPAPI", "X-PM-Metadata-carillon")] == ([field] if field else [])
    if field:
        said = mail[field]
        name = json.loads(said)["unique_args"]["carillon"] if said.startswith("{") else said
        # What the report repeats names the mail as its Message-ID does.
        assert mail["Message-ID"].startswith(f"<{name}@")
        assert reference(name) == reference(mail["Message-ID"]) == name


def test_the_text_part_tells_the_times_of_a_maintenance() -> None:
    data = {"starts_at": "2026-11-03T02:00:00+00:00", "services": ["api", "web"]}
    content = Content(title="Scheduled maintenance", message="Soon.", type="maintenance", data=data)
    assert body(read(written(content, priority=Priority.HIGH)), "plain").splitlines() == [
        "Soon.",
        "",
        "Priority: High",
        "Starts: 2026-11-03T02:00:00+00:00",
        "Services: api, web",
    ]


def test_the_text_part_of_any_other_mail_is_what_was_written() -> None:
    content = Content(title="Title", message="Message", category="news", data={"starts_at": "now"})
    assert body(read(written(content)), "plain").rstrip() == "Message"


def test_an_alert_of_a_monitoring_system_shows_labels_annotations_and_links_in_both_parts() -> None:
    alert = AlertDetails(type="disk", level="critical", labels={"alertname": "DiskFull", "team": "<db>"},
        starts_at=datetime(2026, 1, 5, 8, 30, tzinfo=UTC))  # fmt: skip
    data = {
        "annotations": {"summary": "The disk is full", "runbook_url": "https://example.com/runbook?a=1&b=2"},
        "generator_url": "http://prometheus.example:9090/graph",
        "external_url": "javascript:alert(1)",
    }
    content = Content(title="Disk", message="The disk is full", type="alert", alert=alert, data=data)
    message = read(written(content))
    text, html = body(message, "plain"), body(message, "html")
    assert "Since: 2026-01-05 08:30 UTC" in text
    assert "Labels: alertname=DiskFull, team=<db>" in text
    assert "team=&lt;db&gt;" in html
    assert "runbook_url: https://example.com/runbook?a=1&b=2" in text
    assert 'href="https://example.com/runbook?a=1&amp;b=2"' in html
    assert "Graph: http://prometheus.example:9090/graph" in text
    # What the message says already is not repeated, and what is no link of the web is left out.
    assert text.count("The disk is full") == 1
    assert "javascript" not in text + html
