"""What the email service's settings mean, and how a wrong one is refused."""

from pathlib import Path

import pytest

from services.email.providers import EmailServiceSettings
from services.email.sender import Sender, parse_sender
from services.email.smtp.relays import Relay, Tls, parse_relays
from shared.core.errors import ConfigError

_REQUIRED = {
    "MQTT_URL": "mqtt://localhost",
    "REDIS_URL": "redis://localhost",
    "EMAIL_SMTP_URL": "smtp://localhost:1025",
    "EMAIL_FROM": "Carillon <notifications@example.com>",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in _REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://mail.example.com", Relay("mail.example.com", 25, Tls.NONE)),
        ("smtp://mail.example.com:1025/", Relay("mail.example.com", 1025, Tls.NONE)),
        ("smtp://mail.example.com:587", Relay("mail.example.com", 587, Tls.STARTTLS)),
        ("smtp://mail.example.com:465", Relay("mail.example.com", 465, Tls.IMPLICIT)),
        ("smtp://mail.example.com:587?tls=none", Relay("mail.example.com", 587, Tls.NONE)),
        ("smtp://mail.example.com:2525?tls=implicit", Relay("mail.example.com", 2525, Tls.IMPLICIT)),
        ("smtp://[::1]:25?tls=starttls", Relay("::1", 25, Tls.STARTTLS)),
    ],
)
def test_the_port_decides_about_tls_unless_the_url_does(url: str, relay: Relay) -> None:
    assert parse_relays(url) == (relay,)


def test_credentials_are_percent_decoded_and_several_relays_keep_their_order() -> None:
    first, second = parse_relays("smtp://user%40example.com:p%2Cw%3A%2F@one.example.com:587, smtp://two.example.com:25")
    assert first.username == "user@example.com"
    assert first.password is not None
    assert first.password.get_secret_value() == "p,w:/"
    assert "p,w" not in repr(first)
    assert (second.host, second.username, second.password) == ("two.example.com", None, None)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mail.example.com:25", "smtp://"),
        ("smtps://mail.example.com", "smtp://"),
        ("smtp://", "smtp://"),
        ("smtp://mail.example.com:99999", "smtp://"),
        ("smtp://mail.example.com/path", "smtp://"),
        ("smtp://mail.example.com?tls=maybe", "none, starttls or implicit"),
        ("smtp://mail.example.com?starttls=1", "only parameter"),
        ("smtp://hunter2@mail.example.com:587", "go together"),
        ("smtp://user:hunter2@mail.example.com:25", "unencrypted"),
        ("smtp://one.example.com,smtp://two.example.com?tls=x", "relay 2"),
        ("smtp://one.example.com,", "relay 2"),
    ],
)
def test_a_malformed_relay_is_refused_without_repeating_it(
    environment: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    environment.setenv("EMAIL_SMTP_URL", url)
    with pytest.raises(ConfigError, match="EMAIL_SMTP_URL") as refusal:
        EmailServiceSettings.load()
    assert problem in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_password_may_leave_in_clear_text_where_the_operator_says_so() -> None:
    assert parse_relays("smtp://user:secret@localhost:25?tls=none")[0].tls is Tls.NONE


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("notifications@example.com", Sender("notifications@example.com")),
        ("Carillon <notifications@example.com>", Sender("notifications@example.com", "Carillon")),
        ('"Bells, Ltd." <notifications@example.com>', Sender("notifications@example.com", "Bells, Ltd.")),
    ],
)
def test_the_sender_has_an_address_and_perhaps_a_name(text: str, sender: Sender) -> None:
    assert parse_sender(text) == sender
    assert parse_sender(text).domain == "example.com"


@pytest.mark.parametrize(
    "text",
    ["Carillon", "@example.com", "one@example.com, two@example.com", "jörg@example.com", "=?utf-8?q?x?= <a@b.example>"],
)
def test_a_malformed_sender_is_refused(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("EMAIL_FROM", text)
    with pytest.raises(ConfigError, match="EMAIL_FROM"):
        EmailServiceSettings.load()


def test_a_ca_file_that_is_not_pem_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for file in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        environment.setenv("EMAIL_CA_FILE", str(file))
        with pytest.raises(ConfigError, match="EMAIL_CA_FILE"):
            EmailServiceSettings.load()
        (tmp_path / "empty.pem").write_text("nothing\n")


def test_the_log_shows_no_password(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("EMAIL_SMTP_URL", "smtp://user:hunter2@mail.example.com:587")
    assert "hunter2" not in str(EmailServiceSettings.load().masked())


SECRET = "a secret of at least thirty-two bytes"


@pytest.mark.parametrize("url", ["https://notify.example.com", "https://example.com/notify/", "http://127.0.0.1:8080"])
def test_links_to_unsubscribe_begin_with_the_url(environment: pytest.MonkeyPatch, url: str) -> None:
    assert EmailServiceSettings.load().unsubscribe is None
    environment.setenv("EMAIL_UNSUBSCRIBE_URL", url)
    environment.setenv("EMAIL_UNSUBSCRIBE_SECRET", SECRET)
    settings = EmailServiceSettings.load()
    assert settings.unsubscribe is not None
    link = settings.unsubscribe.fields("user123@example.com", "news")["List-Unsubscribe"]
    assert link.startswith(f"<{url.rstrip('/')}/v1/unsubscribe?token=")
    assert SECRET not in repr(settings) + repr(settings.unsubscribe)


@pytest.mark.parametrize(
    ("url", "secret", "named"),
    [
        ("http://notify.example.com", SECRET, "EMAIL_UNSUBSCRIBE_URL"),
        ("https://", SECRET, "EMAIL_UNSUBSCRIBE_URL"),
        ("https://notify.example.com:port", SECRET, "EMAIL_UNSUBSCRIBE_URL"),
        ("https://notify.example.com/?a=b", SECRET, "EMAIL_UNSUBSCRIBE_URL"),
        ("https://user:password@notify.example.com", SECRET, "EMAIL_UNSUBSCRIBE_URL"),
        ("https://notify.example.com/>x", SECRET, "EMAIL_UNSUBSCRIBE_URL"),
        (f"https://notify.example.com/{'x' * 500}", SECRET, "EMAIL_UNSUBSCRIBE_URL"),
        ("https://notify.example.com", "short", "EMAIL_UNSUBSCRIBE_SECRET"),
        ("https://notify.example.com", "", "go together"),
        ("", SECRET, "go together"),
    ],
)
def test_wrong_settings_of_unsubscription_are_refused(
    environment: pytest.MonkeyPatch, url: str, secret: str, named: str
) -> None:
    environment.setenv("EMAIL_UNSUBSCRIBE_URL", url)
    environment.setenv("EMAIL_UNSUBSCRIBE_SECRET", secret)
    with pytest.raises(ConfigError, match=named):
        EmailServiceSettings.load()
