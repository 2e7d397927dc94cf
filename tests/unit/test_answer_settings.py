"""The settings of the links that acknowledge an alert: the services that send them need both."""

from typing import Any

import pytest
from pydantic import SecretStr

from services.email.providers import EmailServiceSettings
from services.push.providers import PushServiceSettings
from services.realtime.settings import RealtimeSettings
from shared.core.errors import ConfigError
from shared.runtime.settings import AnswerLinkSenderSettings

SECRET = "a secret of at least thirty-two bytes"
COMMON = {"mqtt_url": "mqtt://127.0.0.1", "redis_url": "redis://127.0.0.1"}
EMAIL = {**COMMON, "email_from": "alerts@example.com", "email_smtp_url": "smtp://127.0.0.1:25"}
PUSH = {**COMMON, "push_ntfy_url": "https://ntfy.example.com"}

senders = pytest.mark.parametrize(
    ("settings", "own"), [(EmailServiceSettings, EMAIL), (PushServiceSettings, PUSH)], ids=["email", "push"]
)


@senders
def test_links_are_sent_where_both_are_set(settings: type[AnswerLinkSenderSettings], own: dict[str, Any]) -> None:
    assert settings.model_validate(own).answer_links is None
    links = {"realtime_link_secret": SecretStr(SECRET), "realtime_public_url": "https://notify.example.com/live/"}
    read = settings.model_validate(own | links)
    assert read.answer_links is not None
    assert read.answer_links.url == "https://notify.example.com/live"
    assert SECRET not in repr(read) + repr(read.answer_links) + str(read.masked())


@senders
@pytest.mark.parametrize(
    ("url", "secret", "named"),
    [
        ("http://notify.example.com", SECRET, "REALTIME_PUBLIC_URL"),
        ("https://notify.example.com/?a=b", SECRET, "REALTIME_PUBLIC_URL"),
        ("https://notify.example.com", "short", "REALTIME_LINK_SECRET"),
        ("https://notify.example.com", None, "go together"),
        (None, SECRET, "go together"),
    ],
)
def test_wrong_ones_are_refused(
    settings: type[AnswerLinkSenderSettings], own: dict[str, Any], url: str | None, secret: str | None, named: str
) -> None:
    given = {"realtime_public_url": url, "realtime_link_secret": secret}
    with pytest.raises(ConfigError, match=named):
        settings.model_validate(own | given)


@pytest.mark.parametrize("name", ["REALTIME_LINK_SECRETS", "REALTIME_PUBLIC_URI"])
def test_a_misspelt_one_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable, value in EMAIL.items():
        monkeypatch.setenv(variable.upper(), value)
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=f"{name}: unknown setting, did you mean {name[:-1][:15]}"):
        EmailServiceSettings.load()


def test_the_realtime_service_serves_them_with_the_secret_alone() -> None:
    own = {**COMMON, "realtime_jwt_secret": SECRET, "realtime_link_secret": SECRET}
    assert RealtimeSettings.model_validate(own).realtime_public_url is None
