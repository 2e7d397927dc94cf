"""The types of text, number and time that people and publishers may write, each with its limit and its refusal.

Promises that a value which passed is safe where it is used later: in an MQTT topic, a mail header, an SMTP or HTTP
request. It does not promise that an address exists: nothing here asks the network.

Every refusal is a short stable phrase for the writer. It never repeats the value, because the value may be personal and
the refusal is sent back and logged.
"""

import re
import zoneinfo
from base64 import urlsafe_b64decode
from collections.abc import Hashable
from datetime import UTC, date, datetime, time
from functools import cache, lru_cache
from ipaddress import ip_address
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import email_validator
import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer
from pydantic_core import PydanticCustomError

from shared.core.model import Channel

IDENTIFIER_CHARS = 128
WORD_CHARS = 64
LINE_CHARS = 200
# A bound against abuse and not a format: APNs device tokens are of variable length, and apps are asked not to assume
# one (Apple, Registering your app with APNs).
DEVICE_TOKEN_CHARS = 1024
ENDPOINT_CHARS = 2048
URL_CHARS = 2048
# RFC 5321, 4.5.3.1.3: a path is at most 256 octets, of which two are the angle brackets.
EMAIL_CHARS = 254
# RFC 5646, 4.4.1: buffers for language tags should hold 35 characters.
LOCALE_CHARS = 35
# RFC 8291, 3.1 and 3.2: an uncompressed P-256 point (0x04, x, y) and a secret of 16 octets.
P256DH_BYTES = 65
AUTH_SECRET_BYTES = 16

# A time outside is a mistake of unit (milliseconds) rather than an intention.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_EARLIEST_S = EARLIEST.timestamp()
_LATEST_S = LATEST.timestamp()

# C0, DEL and C1, and the two separators at which str.splitlines also breaks: EmailMessage refuses a header with them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TOPIC_SYNTAX = re.compile("[/+#]")
# What is valid before an @ and stays as it is, whatever the domain. Some names with capitals do not (RFC 2142).
_PLAIN_LOCAL_PART = re.compile(r"(?=.{1,64}\Z)[a-z0-9_+-]+(\.[a-z0-9_+-]+)*")
# A domain that stays as it is, where it is valid.
_PLAIN_DOMAIN = re.compile(r"(?!.*xn--)[a-z0-9-]+(\.[a-z0-9-]+)+")
_DOMAINS_KNOWN = 10_000
# ITU-T E.164, 6.2.1: at most 15 digits with the country code, none of which begins with 0.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
# Safe in a URL path without escaping, as APNs takes it; a leading dot could be read as a path segment of its own.
_DEVICE_TOKEN = re.compile(r"[A-Za-z0-9_:=-][A-Za-z0-9_:=.-]*")
# docs.ntfy.sh/publish names no rule; ntfy's server/server.go does: topicRegex.
_NTFY_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOCALE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")
# RFC 3339, 5.6: the zone is not optional.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME_OF_DAY = re.compile(r"\d\d:\d\d", re.ASCII)
_HTTPS_URL = re.compile(r"https://[^\s\"'<>\\\x00-\x1f\x7f]+")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")

_H = TypeVar("_H", bound=Hashable)
_T = TypeVar("_T")


def unique(values: tuple[_H, ...]) -> tuple[_H, ...]:
    """Drop repetitions and keep the order."""
    return tuple(dict.fromkeys(values))


def not_empty(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """Refuse an empty list.

    In place of ``min_length``, which counts the valid elements only: it calls a list with one wrong element empty, too.
    """
    if not values:
        raise PydanticCustomError("empty", "must not be empty")
    return values


def single_line(text: str) -> str:
    """Refuse what could add a line or a hidden encoded word where the text becomes part of a mail header."""
    if _CONTROL.search(text):
        raise PydanticCustomError("control_characters", "must not contain control characters")
    # RFC 2047, 2: an encoded word. EmailMessage of Python 3.11 decodes one that it is given as plain text, and with
    # it line breaks that no check of the plain text can see.
    if "=?" in text:
        raise PydanticCustomError("encoded_word", "must not contain =?")
    return text


def https_url(text: str) -> str:
    """Refuse what is no https URL, or could end the attribute of a page or a mail in which it stands."""
    if not _HTTPS_URL.fullmatch(text):
        raise PydanticCustomError("https_url", "must be an https URL")
    return text


def identifier(text: str) -> str:
    """Refuse what cannot stand in one level of an MQTT topic."""
    if _TOPIC_SYNTAX.search(text):
        raise PydanticCustomError("topic_syntax", "must not contain / + or #")
    return single_line(text)


def email_address(text: str) -> str:
    """Check a mailbox and return it as SMTP takes it without SMTPUTF8: ASCII, the domain in its IDNA form.

    A local part outside ASCII is refused: whether a relay offers SMTPUTF8 (RFC 6531) is not known when the publisher
    gets the answer. The reserved domain ``test`` is allowed, so that test systems can use it.
    """
    single_line(text)
    local_part, _, domain = text.partition("@")
    is_plain = _PLAIN_LOCAL_PART.fullmatch(local_part) and _PLAIN_DOMAIN.fullmatch(domain)
    # A batch has hundreds of addresses at few domains, and nearly all of a check is the domain's.
    if is_plain and len(text) <= EMAIL_CHARS:
        if _is_domain(domain):
            return text
        raise PydanticCustomError("email_address", "not a valid email address")
    try:
        checked = _checked_address(text)
    except email_validator.EmailNotValidError:
        # From None, here and below: the library's message quotes the address.
        raise PydanticCustomError("email_address", "not a valid email address") from None
    if checked.ascii_email is None:
        raise PydanticCustomError("email_address", "not a valid email address")
    return checked.ascii_email


def _checked_address(text: str) -> email_validator.ValidatedEmail:
    return email_validator.validate_email(
        # Strict: at most 64 octets before the @ (RFC 5321, 4.5.3.1.1).
        text,
        strict=True,
        allow_smtputf8=False,
        check_deliverability=False,
        test_environment=True,
    )


@lru_cache(_DOMAINS_KNOWN)
def _is_domain(domain: str) -> bool:
    try:
        _checked_address(f"a@{domain}")
    except email_validator.EmailNotValidError:
        return False
    return True


def phone_number(text: str) -> str:
    """Check a telephone number in E.164.

    Possible, not valid: the country exists and the length fits its plan. Whether a range is assigned changes by the
    month, and asking for it would refuse numbers that are reserved for tests and examples (``+1 555 …``).
    """
    if not _E164.fullmatch(text):
        raise PydanticCustomError("phone_number", "not a phone number in E.164 form")
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        raise PydanticCustomError("phone_number", "not a possible phone number") from None
    # is_possible_number would also take a number without its area code, which nobody can reach from abroad.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise PydanticCustomError("phone_number", "not a possible phone number")
    return text


def device_token(text: str) -> str:
    """Refuse a device token that no provider of pushes knows a device by."""
    if not _DEVICE_TOKEN.fullmatch(text):
        raise PydanticCustomError("device_token", "not a valid device token")
    return text


def ntfy_topic(text: str) -> str:
    """Refuse what cannot be a topic of ntfy."""
    if not _NTFY_TOPIC.fullmatch(text):
        raise PydanticCustomError("ntfy_topic", "not a topic of ntfy: 1 to 64 letters, digits, _ and -")
    return text


def push_endpoint(text: str) -> str:
    """Check a push service's URL: https, or http towards this machine only, which sandboxes use."""
    # The only exclusion is an allow list of hosts, and that is the push service's setting.
    refusal = PydanticCustomError("push_endpoint", "must be an https URL")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise refusal
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise refusal from None
    if not host or "@" in url.netloc or not (url.scheme == "https" or (url.scheme == "http" and _is_loopback(host))):
        raise refusal
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _base64url(text: str) -> bytes:
    # RFC 7515, 2 leaves the padding out, and so do browsers; some libraries put it back.
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise PydanticCustomError("push_key", "not base64url")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _p256dh(text: str) -> str:
    text = text.rstrip("=")
    point = _base64url(text)
    if len(point) != P256DH_BYTES or point[0] != 0x04:
        raise PydanticCustomError("push_key", "not an uncompressed P-256 key")
    return text


def _auth_secret(text: str) -> str:
    text = text.rstrip("=")
    if len(_base64url(text)) != AUTH_SECRET_BYTES:
        raise PydanticCustomError("push_key", "not a secret of 16 bytes")
    return text


@cache
def _zone_names() -> frozenset[str]:
    # Looking a name up here, and not by opening ZoneInfo(name), keeps names away from the file system.
    return frozenset(zoneinfo.available_timezones())


def _zone_name(text: str) -> str:
    if text not in _zone_names():
        raise PydanticCustomError("timezone", "not an IANA time zone")
    return text


def _locale(text: str) -> str:
    if not _LOCALE.fullmatch(text):
        raise PydanticCustomError("locale", "not a language tag")
    return text.replace("_", "-")


def moment(value: object) -> datetime:
    """Read epoch seconds or RFC 3339 with a zone as an aware datetime in UTC."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PydanticCustomError("moment", "must have a time zone")
        found = value.astimezone(UTC)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not _EARLIEST_S <= value < _LATEST_S:
            raise PydanticCustomError("moment", "must be between the years 2000 and 2099, in seconds")
        return datetime.fromtimestamp(value, UTC)
    elif isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            found = datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise PydanticCustomError("moment", "not an existing time") from None
    else:
        raise PydanticCustomError("moment", "must be epoch seconds or RFC 3339 with a zone")
    if not EARLIEST <= found < LATEST:
        raise PydanticCustomError("moment", "must be between the years 2000 and 2099, in seconds")
    return found


def _local_date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        found = value
    else:
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            raise PydanticCustomError("date", "must be a date like 2026-01-05")
        try:
            found = date.fromisoformat(value)
        except ValueError:
            raise PydanticCustomError("date", "not an existing date") from None
    if not EARLIEST.year <= found.year < LATEST.year:
        raise PydanticCustomError("date", "must be between the years 2000 and 2099")
    return found


def _time_of_day(value: object) -> time:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not _TIME_OF_DAY.fullmatch(value):
        raise PydanticCustomError("time_of_day", "must be a time like 09:00")
    try:
        return time.fromisoformat(value)
    except ValueError:
        raise PydanticCustomError("time_of_day", "not an existing time") from None


Identifier = Annotated[str, Field(min_length=1, max_length=IDENTIFIER_CHARS), AfterValidator(identifier)]
"""The name of a user, a group, an alert type or a stored thing: one level of a topic."""

Word = Annotated[str, Field(min_length=1, max_length=WORD_CHARS), AfterValidator(single_line)]
"""A short classifying text such as a category or a severity."""

Line = Annotated[str, Field(min_length=1, max_length=LINE_CHARS), AfterValidator(single_line)]
"""A text of one line that may enter a mail header: a name, a title, a source."""

Email = Annotated[str, Field(min_length=1, max_length=EMAIL_CHARS), AfterValidator(email_address)]
HttpsUrl = Annotated[str, Field(min_length=1, max_length=URL_CHARS), AfterValidator(https_url)]
Phone = Annotated[str, Field(min_length=1, max_length=16), AfterValidator(phone_number)]
DeviceToken = Annotated[str, Field(min_length=1, max_length=DEVICE_TOKEN_CHARS), AfterValidator(device_token)]
PushEndpoint = Annotated[str, Field(min_length=1, max_length=ENDPOINT_CHARS), AfterValidator(push_endpoint)]
P256dh = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_p256dh)]
AuthSecret = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_auth_secret)]
ZoneName = Annotated[str, Field(min_length=1, max_length=WORD_CHARS), AfterValidator(_zone_name)]
Locale = Annotated[str, Field(min_length=1, max_length=LOCALE_CHARS), AfterValidator(_locale)]
Channels = Annotated[tuple[Channel, ...], Field(max_length=16), AfterValidator(not_empty), AfterValidator(unique)]

Moment = Annotated[datetime, BeforeValidator(moment)]
LocalDate = Annotated[date, BeforeValidator(_local_date)]
TimeOfDay = Annotated[
    time, BeforeValidator(_time_of_day), PlainSerializer(lambda at: f"{at:%H:%M}", return_type=str, when_used="json")
]
