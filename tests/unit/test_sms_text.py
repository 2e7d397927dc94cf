"""What an SMS says."""

import pytest

from services.sms.answers import suffix
from services.sms.segments import count_segments
from services.sms.text import LIMIT_CHARACTERS, composed_text, written_text
from shared.core.errors import PermanentFailure, Reason
from shared.core.model import AlertDetails, Content


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
    assert said(Content(title=title, message=message)) == text


@pytest.mark.parametrize(
    ("systems", "text"),
    [((), "[CRITICAL] Disk full"), (("db-1", "db-2"), "[CRITICAL] Disk full (db-1, db-2)")],
)
def test_an_alert_says_its_level_and_the_systems(systems: tuple[str, ...], text: str) -> None:
    alert = AlertDetails(type="disk", level="critical", affected_systems=systems)
    assert said(Content(title="Critical alert: disk", message="Disk full", alert=alert)) == text


def test_what_a_template_says_of_an_alert_goes_out_as_it_is() -> None:
    alert = AlertDetails(type="disk", level="critical", affected_systems=("db-1",))
    assert said(Content(title="", message="Platte voll", alert=alert, answer_label="Ja")) == "Platte voll"


def test_a_long_text_ends_in_dots_at_the_limit() -> None:
    assert said(Content(title="", message="x" * 1600)) == "x" * 1600
    assert said(Content(title="", message="x" * 1601)) == "x" * 1597 + "..."


def test_a_composed_text_is_cut_at_the_end_of_a_word() -> None:
    text = composed_text(Content(title="Storm", message="wind and rain " * 50), max_segments=2)
    assert text == "Storm: " + ("wind and rain " * 21).rstrip() + "..."
    assert count_segments(text).count == 2
    # A word that has no end in sight is cut.
    long_word = composed_text(Content(title="", message="at last " + "x" * 2000), max_segments=1)
    assert long_word == "at last " + "x" * 149 + "..."


@pytest.mark.parametrize("message", ["wind and rain " * 50, "x" * 2000, "\N{GRINNING FACE} wind " * 200, "x" * 153])
@pytest.mark.parametrize("most", [1, 2, 10])
def test_how_an_alert_is_answered_stands_at_the_end_whatever_is_left_out(message: str, most: int) -> None:
    alert = AlertDetails(type="storm", level="critical")
    content = Content(title="", message=message, alert=alert)
    text = composed_text(content, most, suffix(42))
    assert text.endswith("\nReply ACK 42")
    assert count_segments(text).count <= most
    assert len(text) <= LIMIT_CHARACTERS
    # No more is left out than it takes.
    without = composed_text(content, most)
    assert text.startswith(without.removesuffix("...")[: len(without) - 80])


@pytest.mark.parametrize("cluster", ["\N{WOMAN}\u200d\N{ROCKET}", "e\u0301", "\N{GRINNING FACE}"])
def test_nothing_that_stands_together_is_torn_apart(cluster: str) -> None:
    text = composed_text(Content(title="", message="a" + cluster * 100), max_segments=1)
    kept = text.removesuffix("...")
    assert kept == "a" + cluster * ((len(kept) - 1) // len(cluster))
    assert count_segments(text).count == 1
    assert count_segments(text + cluster).count == 2


def test_what_a_publisher_wrote_is_sent_as_it_is_or_refused() -> None:
    assert written_text(Content(title="", message="x" * 306), max_segments=2) == "x" * 306
    with pytest.raises(PermanentFailure) as refusal:
        written_text(Content(title="", message="x" * 307), max_segments=2)
    assert (refusal.value.reason, refusal.value.detail) == (Reason.TOO_LARGE, "3 segments, at most 2")


def said(content: Content) -> str:
    """A composed text where only Twilio's own limit counts."""
    return composed_text(content, max_segments=50)
