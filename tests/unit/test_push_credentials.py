"""The push service's settings, keys and identities."""

import base64
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import http_ece  # type: ignore[import-untyped]
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sandbox.credentials import prepare
from services.push import credentials
from services.push.apns.provider import TOKEN_PERIOD_S, ProviderToken
from services.push.providers import PushServiceSettings
from services.push.webpush import provider as webpush
from services.push.webpush.allowed_hosts import AllowedHosts
from shared.core.errors import ConfigError, PermanentFailure
from shared.core.model import WebSubscription
from tests.push import settings_from


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    files = prepare(tmp_path_factory.mktemp("keys"))
    return {
        "PUSH_APNS_KEY_FILE": str(files.apns_key_file),
        "PUSH_APNS_KEY_ID": "KEY1234567",
        "PUSH_APNS_TEAM_ID": "TEAM123456",
        "PUSH_APNS_TOPIC": "com.example.app",
        "PUSH_FCM_CREDENTIALS_FILE": str(files.fcm_file),
        "PUSH_WEBPUSH_VAPID_KEY_FILE": str(files.vapid_key_file),
        "PUSH_WEBPUSH_SUBJECT": "mailto:operator@example.com",
    }


def only(environment: dict[str, str], group: str) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(f"PUSH_{group}")}


def test_without_any_provider_the_message_names_what_to_set() -> None:
    with pytest.raises(
        ConfigError, match="PUSH_APNS_KEY_FILE or PUSH_FCM_CREDENTIALS_FILE or PUSH_WEBPUSH_VAPID_KEY_FILE"
    ):
        settings_from({})


@pytest.mark.parametrize("group", ["APNS", "FCM", "WEBPUSH"])
def test_one_provider_is_enough(environment: dict[str, str], group: str) -> None:
    settings = settings_from(only(environment, group))
    assert [bool(settings.of(each)) for each in PushServiceSettings.groups].count(True) == 1


@pytest.mark.parametrize(
    "missing",
    [
        "PUSH_APNS_KEY_FILE", "PUSH_APNS_KEY_ID", "PUSH_APNS_TEAM_ID", "PUSH_APNS_TOPIC",
        "PUSH_WEBPUSH_VAPID_KEY_FILE", "PUSH_WEBPUSH_SUBJECT",
    ],
)  # fmt: skip
def test_a_group_set_by_half_names_what_is_missing(environment: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigError, match=f"^{missing}: required, because PUSH_"):
        settings_from({name: value for name, value in environment.items() if name != missing})


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("PUSH_APNS_URL", "https://127.0.0.1:2197", "PUSH_APNS_KEY_FILE"),
        ("PUSH_FCM_URL", "http://127.0.0.1", "PUSH_FCM_CREDENTIALS_FILE"),
        ("PUSH_WEBPUSH_ALLOWED_HOSTS", "push.example.com", "PUSH_WEBPUSH_VAPID_KEY_FILE"),
    ],
)
def test_a_refinement_without_its_provider_is_refused(
    environment: dict[str, str], name: str, value: str, needed: str
) -> None:
    others = {each: text for each, text in environment.items() if not each.startswith(name.rsplit("_", 1)[0][:9])}
    with pytest.raises(ConfigError, match=needed):
        settings_from({**others, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUSH_APNS_URL", "http://127.0.0.1:2197"),
        ("PUSH_APNS_URL", "https://127.0.0.1:2197/path"),
        ("PUSH_FCM_URL", "ftp://example.com"),
        ("PUSH_FCM_URL", "https://user:pw@example.com"),
        ("PUSH_FCM_URL", "http://[::1"),
        ("PUSH_WEBPUSH_ALLOWED_HOSTS", "https://push.example.com"),
        ("PUSH_WEBPUSH_ALLOWED_HOSTS", " , "),
        ("PUSH_WEBPUSH_ALLOWED_HOSTS", "."),
        ("PUSH_WEBPUSH_ALLOWED_HOSTS", "push.example.com:none"),
        ("PUSH_CONCURRENCY", "0"),
        ("PUSH_WEBPUSH_SUBJECT", "operator@example.com"),
        ("PUSH_APNS_KEY_FILE", "/nonexistent"),
        ("PUSH_APNS_CA_FILE", "/nonexistent"),
        ("PUSH_FCM_CREDENTIALS_FILE", __file__),
        ("PUSH_WEBPUSH_VAPID_KEY_FILE", __file__),
    ],
)
def test_a_wrong_value_ends_the_start_with_the_variables_name(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    base = {"MQTT_URL": "mqtt://127.0.0.1", "REDIS_URL": "redis://127.0.0.1"}
    for each, text in {**base, **environment, name: value}.items():
        monkeypatch.setenv(each, text)
    with pytest.raises(ConfigError, match=name):
        PushServiceSettings.load()


def test_a_misspelt_name_is_refused(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        **environment,
        "PUSH_APNS_TEAMID": "x",
        "MQTT_URL": "mqtt://h",
        "REDIS_URL": "redis://h",
    }.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match="PUSH_APNS_TEAMID: unknown setting, did you mean PUSH_APNS_TEAM_ID"):
        PushServiceSettings.load()


def test_a_key_on_another_curve_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.p8"
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match=r"PUSH_APNS_KEY_FILE: .*P-256"):
        credentials.load_apns_key(path)


def test_tls_for_apns_checks_certificates() -> None:
    context = credentials.load_apns_tls(None)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@dataclass
class SetClock:
    moment: datetime

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, wait_s: float) -> None:
        raise NotImplementedError


def test_the_provider_token_is_signed_as_apple_asks() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    clock = SetClock(datetime(2026, 1, 5, 9, 29, 59, tzinfo=UTC))
    scheme, token = ProviderToken(key, "KEY1234567", "TEAM123456", clock).get_header().split()
    claims = jwt.decode(token, key.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert scheme == "bearer"
    assert jwt.get_unverified_header(token)["kid"] == "KEY1234567"
    assert claims == {"iss": "TEAM123456", "iat": datetime(2026, 1, 5, 9, 0, tzinfo=UTC).timestamp()}


def test_the_provider_token_lives_for_half_an_hour_and_is_the_same_in_every_process() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    clock = SetClock(datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    here, there = (ProviderToken(key, "K", "T", clock) for _ in range(2))
    seen = []
    for _ in range(0, 3 * TOKEN_PERIOD_S, 60):
        assert here.get_header() == there.get_header()
        seen.append(here.get_header())
        clock.moment += timedelta(seconds=60)
    assert len(set(seen)) == 3
    assert all(seen.count(token) == 30 for token in seen)


HOSTS = AllowedHosts.parse("fcm.googleapis.com, .Push.services.mozilla.com,127.0.0.1:8025")


@pytest.mark.parametrize(
    "url",
    [
        "https://fcm.googleapis.com/fcm/send/a:b-c_d",
        "https://FCM.googleapis.com/wp/x",
        "https://updates.push.services.mozilla.com/wpush/v2/gAAA",
        "https://updates.push.services.mozilla.com/w/?token=BQY%2fA%3d%3d%2B",
        "http://127.0.0.1:8025/webpush/x",
    ],
)
def test_an_allowed_endpoint_is_used_as_it_came(url: str) -> None:
    assert str(webpush.endpoint(url, HOSTS)).lower() == url.lower()


@pytest.mark.parametrize(
    "url",
    [
        "", "nonsense", "https://", "https://example.com/x", "https://push.services.mozilla.com/x",
        "https://evilpush.services.mozilla.com/x", "https://fcm.googleapis.com.example.com/x",
        "https://fcm.googleapis.com@example.com/x", "https://user:pw@fcm.googleapis.com/x",
        "https://example.com/fcm.googleapis.com", "https://example.com#@fcm.googleapis.com/",
        "https://example.com\\@fcm.googleapis.com/", "http://fcm.googleapis.com/x", "ftp://fcm.googleapis.com/x",
        "https://fcm.googleapis.com./x", "https://fcm.googleapis.com:99999/x", "https://fcm.googleapis.com/a b",
        "https://fcm.googleapis.com/\r\nX: y", "https://169.254.169.254/latest", "https://[::1]/x", "https://[::1/x",
        "//fcm.googleapis.com/x", "/x", "https://fcm.googleapis.com/" + "x" * 3000, "http://127.0.0.1:8026/webpush/x", "http://127.0.0.1/webpush/x",
    ],
)  # fmt: skip
def test_any_other_endpoint_is_refused(url: str) -> None:
    with pytest.raises(PermanentFailure):
        webpush.endpoint(url, HOSTS)


def subscription(p256dh: str, auth: str) -> WebSubscription:
    return WebSubscription(endpoint="https://fcm.googleapis.com/x", p256dh=p256dh, auth=auth)


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


@pytest.mark.parametrize("padded", [True, False])
def test_what_is_encrypted_for_a_browser_it_can_read(padded: bool) -> None:
    key, secret = ec.generate_private_key(ec.SECP256R1()), b"s" * 16
    keys = [base64url(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)), base64url(secret)]
    p256dh, auth = keys if padded else [each.rstrip("=") for each in keys]
    plaintext = b"x" * 3993
    body = webpush.encrypt(subscription(p256dh, auth), plaintext)
    assert len(body) == 4096
    assert http_ece.decrypt(body, private_key=key, auth_secret=secret) == plaintext


GOOD_AUTH = base64url(b"s" * 16)
POINT = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        ("", GOOD_AUTH),
        ("äöü", GOOD_AUTH),
        ("!!!!", GOOD_AUTH),
        (base64url(POINT[:-1]), GOOD_AUTH),
        (base64url(b"\x04" + b"\x01" * 64), GOOD_AUTH),
        (base64url(b"\x02" + POINT[1:]), GOOD_AUTH),
        (base64url(POINT), ""),
        (base64url(POINT), base64url(b"s" * 15)),
    ],
    ids=["empty", "letters", "signs", "short", "off_curve", "compressed", "no_secret", "short_secret"],
)
def test_keys_that_are_none_are_given_up(p256dh: str, auth: str) -> None:
    with pytest.raises(PermanentFailure):
        webpush.encrypt(subscription(p256dh, auth), b"x")
