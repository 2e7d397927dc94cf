"""What an SMS says."""

import pytest

from services.sms.text import sms_text
from shared.model import AlertDetails, Content


@pytest.mark.parametrize(
    ("title", "message", "text"),
    [
        ("", "Your code is 123456", "Your code is 123456"),
        ("Notification", "Hello", "Hello"),
        ("Payment", "It failed.", "Payment: It failed."),
        ("Payment!", "It failed.", "Payment! It failed."),
        ("Payment", "Payment failed.", "Payment failed."),
        ("  ", "Hello", "Hello"),
    ],
)
def test_title_and_message_are_joined(title: str, message: str, text: str) -> None:
    assert sms_text(Content(title=title, message=message)) == text


@pytest.mark.parametrize(
    ("systems", "text"),
    [((), "[CRITICAL] Disk full"), (("db-1", "db-2"), "[CRITICAL] Disk full (db-1, db-2)")],
)
def test_an_alert_says_its_level_and_the_systems(systems: tuple[str, ...], text: str) -> None:
    alert = AlertDetails(type="disk", level="critical", affected_systems=systems)
    assert sms_text(Content(title="Critical alert: disk", message="Disk full", alert=alert)) == text


def test_a_long_text_ends_in_dots_at_the_limit() -> None:
    assert sms_text(Content(title="", message="x" * 1600)) == "x" * 1600
    assert sms_text(Content(title="", message="x" * 1601)) == "x" * 1597 + "..."
    assert sms_text(Content(title="", message="x" * 1596 + " " + "y" * 100)) == "x" * 1596 + "..."
