"""What the validators of the payload models refuse, as data.

JSON Schema says types, lengths and lists of values. What else a model refuses, a validator function refuses, and each
such function has one entry here: it is found by its module and name. A function without an entry stops the writer, so
no rule can be missing. That each entry says what its function does is a test's to show: it holds the entries against
``read`` with payloads made at random.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import timedelta
from typing import Any, TypeVar

import email_validator
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from services.router.payloads.envelope import DATA_DEPTH
from services.router.payloads.mails import BATCH_TEMPLATED
from shared.core import durations, fields
from shared.core.model import Platform
from shared.core.rates import LONGEST_S
from shared.directory.categories import LONGEST_THROTTLE, SHORTEST_WINDOW
from shared.directory.liveness import SHORTEST_EVERY

_T = TypeVar("_T")

Entry = Mapping[str, Any]

_NOT_AN_EMAIL = "not a valid email address"
_NO_MOMENT = "must be epoch seconds or RFC 3339 with a zone"
_NO_DATE = "must be a date like 2026-01-05"
_NO_TIME = "must be a time like 09:00"
_NO_DURATION = "must be a length of time such as 30s, 10m, 1h or 7d"
_NO_RATE = "must be a rate such as 1000/60s, at most over a day, or 0 for no limit"

_SINGLE_LINE = (
    {
        "check": "lacks",
        "pattern": "[\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]",
        "problem": "must not contain control characters",
    },
    {"check": "lacks", "pattern": "=\\?", "problem": "must not contain =?"},
)
_IDENTIFIER = ({"check": "lacks", "pattern": "[/+#]", "problem": "must not contain / + or #"}, *_SINGLE_LINE)

# The characters of a local part (RFC 5321, 4.1.2; RFC 5322, 3.2.3), and the labels of a domain in ASCII as
# email-validator takes them: no two characters and two hyphens but for Punycode, and a letter at the end.
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "(?!(?![Xx][Nn])..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LAST_LABEL = "(?!(?![Xx][Nn])..--)(?:[A-Za-z0-9][A-Za-z0-9-]{0,61})?[A-Za-z]"

# A level of a topic filter (MQTT 5, 4.7.1).
_FILTER_LEVEL = r"(?:[+]|[^+#/\u0000-\u001f\u007f]*)"

# White space as Python's \s has it: that of JavaScript is another one.
_NOT_IN_URLS = r"""\u0000-\u0020\u007f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"'<>\\"""

_WRITTEN_DURATION: Entry = {"pattern": durations.DURATION.pattern, "units_s": durations.UNITS_S}

# Top-level names under which nobody has a mailbox (RFC 6761 and others), without ``test``, which test systems use.
_REFUSED_DOMAINS = sorted(set(email_validator.SPECIAL_USE_DOMAIN_NAMES) - {"test"})


def _seconds(length: timedelta) -> float:
    """Return a length of time as JSON writes it, a whole number where it is one."""
    seconds = length.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _lengths_of_numbers() -> dict[str, list[int]]:
    """Return how many digits may follow each country code, as is_possible_number_with_reason asks."""
    lengths = {}
    for code, (region, *_) in COUNTRY_CODE_TO_REGION_CODE.items():
        known = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        if known is not None and known.general_desc is not None:
            lengths[str(code)] = list(known.general_desc.possible_length)
    return lengths


# Checks of a value by itself, made in this order after the schema's own keywords. Schemas name them in ``x-checks``.
CHECKS: Mapping[str, Sequence[Entry]] = {
    "single_line": _SINGLE_LINE,
    "identifier": _IDENTIFIER,
    "email": (
        *_SINGLE_LINE,
        {
            "check": "email",
            "local": rf"{_ATOM}(?:\.{_ATOM})*",
            "local_chars": 64,
            "domain": rf"[Tt][Ee][Ss][Tt]|(?:{_LABEL}\.)+{_LAST_LABEL}",
            "domain_chars": 253,
            "refused_domains": _REFUSED_DOMAINS,
            "problem": _NOT_AN_EMAIL,
        },
    ),
    "phone": (
        {"check": "matches", "pattern": r"\+[1-9][0-9]{6,14}", "problem": "not a phone number in E.164 form"},
        {"check": "phone", "lengths": _lengths_of_numbers(), "problem": "not a possible phone number"},
    ),
    "device_token": (
        {"check": "matches", "pattern": "[A-Za-z0-9_:=-][A-Za-z0-9_:=.-]*", "problem": "not a valid device token"},
    ),
    "push_endpoint": ({"check": "https_url", "problem": "must be an https URL"},),
    "p256dh": (
        {
            "check": "base64url",
            "bytes": fields.P256DH_BYTES,
            "first_byte": 4,
            "problem": "not base64url",
            "problem_bytes": "not an uncompressed P-256 key",
        },
    ),
    "auth_secret": (
        {
            "check": "base64url",
            "bytes": fields.AUTH_SECRET_BYTES,
            "problem": "not base64url",
            "problem_bytes": "not a secret of 16 bytes",
        },
    ),
    "timezone": ({"check": "timezone", "problem": "not an IANA time zone"},),
    "locale": (
        {"check": "matches", "pattern": "[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*", "problem": "not a language tag"},
    ),
    "moment": (
        {
            "check": "moment",
            "pattern": "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?"
            "([Zz]|[+-][0-9]{2}:[0-9]{2})",
            "from_s": int(fields.EARLIEST.timestamp()),
            "before_s": int(fields.LATEST.timestamp()),
            "problem": _NO_MOMENT,
            "problem_existing": "not an existing time",
            "problem_range": "must be between the years 2000 and 2099, in seconds",
        },
    ),
    "date": (
        {
            "check": "date",
            "pattern": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
            "from_year": fields.EARLIEST.year,
            "before_year": fields.LATEST.year,
            "problem": _NO_DATE,
            "problem_existing": "not an existing date",
            "problem_range": "must be between the years 2000 and 2099",
        },
    ),
    "time_of_day": (
        {
            "check": "time",
            "pattern": "[0-9]{2}:[0-9]{2}",
            "problem": _NO_TIME,
            "problem_existing": "not an existing time",
        },
    ),
    "notify_target": (
        {
            "check": "matches",
            "pattern": r"oncall|oncall:second|admins|(user|group):[\s\S]+",
            "problem": "must be oncall, oncall:second, admins, user:ID or group:ID",
        },
        *_IDENTIFIER,
    ),
    "topic_filter": (
        {
            "check": "matches",
            "pattern": f"(?:{_FILTER_LEVEL}/)*(?:{_FILTER_LEVEL}|#)",
            "problem": "must be a topic filter",
        },
        {"check": "lacks", "pattern": "^(?:from/|[$])", "problem": "without from/ and the publisher"},
    ),
    "digest": ({"check": "matches", "pattern": "[0-9a-f]{64}", "problem": "must be a SHA-256 in hexadecimal"},),
    "publisher": (
        {
            "check": "matches",
            "pattern": "-|[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
            "problem": "must be a login: 1 to 64 letters, digits, hyphens, dots and underscores",
        },
    ),
    "rate": (
        {
            "check": "rate",
            "pattern": "([0-9]{1,7})/([0-9]{1,5})(s|m|h)?",
            "units_s": {"s": 1, "m": 60, "h": 3600},
            "longest_s": LONGEST_S,
            "problem": _NO_RATE,
        },
    ),
    "duration": (
        {
            "check": "duration",
            **_WRITTEN_DURATION,
            "from_s": _seconds(durations.SHORTEST),
            "to_s": _seconds(durations.LONGEST),
            "problem": _NO_DURATION,
            "problem_range": "must be at least a millisecond and at most 366d",
        },
    ),
    "throttle_window": (
        {
            "check": "duration",
            **_WRITTEN_DURATION,
            "from_s": _seconds(SHORTEST_WINDOW),
            "to_s": _seconds(LONGEST_THROTTLE),
            "problem": _NO_DURATION,
            "problem_range": "must be at least 1s and at most 31d",
        },
    ),
    "at_least_a_second": (
        {
            "check": "duration",
            **_WRITTEN_DURATION,
            "from_s": _seconds(SHORTEST_EVERY),
            "to_s": _seconds(durations.LONGEST),
            "problem": _NO_DURATION,
            "problem_range": "must be at least 1s",
        },
    ),
    "data_field": (
        {
            "check": "matches",
            "pattern": r"data(?:\.[^.]+)+",
            "problem": "must name a field of the data, such as data.thread",
        },
    ),
    "https_url": ({"check": "matches", "pattern": f"https://[^{_NOT_IN_URLS}]+", "problem": "must be an https URL"},),
    "colour": ({"check": "matches", "pattern": "#[0-9A-Fa-f]{6}", "problem": "must be a colour such as #0a7cff"},),
    "own_id": ({"check": "unique", "field": "id", "problem": "must have an id of its own each"},),
    "bounded": (
        {
            "check": "bounded",
            "levels": DATA_DEPTH,
            "problem": f"nested too deep: at most {DATA_DEPTH} levels",
            "problem_number": "holds a number that is out of range",
        },
    ),
}

# What a function that checks a value by itself adds to the schema.
_VALUES: Mapping[str, Entry] = {
    "shared.core.fields.single_line": {"x-checks": "single_line"},
    "shared.core.fields.identifier": {"x-checks": "identifier"},
    "shared.core.fields.not_empty": {"minItems": 1},
    "shared.core.fields.unique": {"x-repetitions": "dropped"},
    "shared.core.fields.email_address": {"x-checks": "email"},
    "shared.core.fields.phone_number": {"x-checks": "phone"},
    "shared.core.fields.device_token": {"x-checks": "device_token"},
    "shared.core.fields.push_endpoint": {"x-checks": "push_endpoint"},
    "shared.core.fields._p256dh": {"x-checks": "p256dh"},
    "shared.core.fields._auth_secret": {"x-checks": "auth_secret"},
    "shared.core.fields._zone_name": {"x-checks": "timezone"},
    "shared.core.fields._locale": {"x-checks": "locale"},
    "shared.core.fields.moment": {"type": ["string", "number"], "x-problem": _NO_MOMENT, "x-checks": "moment"},
    "shared.core.fields._local_date": {"type": "string", "x-problem": _NO_DATE, "x-checks": "date"},
    "shared.core.fields._time_of_day": {"type": "string", "x-problem": _NO_TIME, "x-checks": "time_of_day"},
    "shared.directory.policies.notify_target": {"x-checks": "notify_target"},
    "shared.directory.people._one_each": {"x-repetitions": "dropped"},
    "shared.directory.publishers._topic_filter": {"x-checks": "topic_filter"},
    "shared.directory.publishers._digest": {"x-checks": "digest"},
    "shared.directory.publishers._name": {"x-checks": "publisher"},
    "shared.core.rates.read_rate": {"type": ["string", "integer"], "x-problem": _NO_RATE, "x-checks": "rate"},
    "shared.core.fields.https_url": {"x-checks": "https_url"},
    "shared.core.durations.read_duration": {
        "type": ["string", "number"],
        "x-problem": _NO_DURATION,
        "x-checks": "duration",
    },
    "shared.directory.categories.Throttle._is_remembered": {"x-checks": "throttle_window"},
    "shared.directory.categories._data_field": {"x-checks": "data_field"},
    "shared.directory.liveness.at_least_a_second": {"x-checks": "at_least_a_second"},
    "shared.directory.tenants._colour": {"x-checks": "colour"},
    # What a matcher is only the router reads.
    "shared.directory.silences.matcher_text": {},
    "shared.directory.silences._says_something": {},
    "services.router.payloads.envelope._one_each": {"x-checks": "own_id"},
    "services.router.payloads.envelope._bounded": {"x-checks": "bounded"},
    "services.router.payloads.mails._of_the_batch": {
        "not": {},
        "x-problem": "is the whole batch's, and not a single mail's",
    },
    "services.router.payloads.mails._without_nulls": {"x-nulls": "absent"},
    "services.router.payloads.templated._not_beside": {"not": {}, "x-problem": "not together with template"},
}

# What a field asks of the fields before it.
_RELATIONS: Mapping[str, tuple[Entry, ...]] = {
    "Envelope._expires_after_sending": ({"relation": "after", "field": "send_at", "problem": "must be after send_at"},),
    "Action._leads_somewhere": (
        {"relation": "required_unless", "field": "url", "none": [False], "problem": "required, or url"},
        {"relation": "not_with", "field": "url", "none": [False], "problem": "not together with url"},
    ),
    "EmailSend._text_or_html": ({"relation": "required_unless", "field": "html_body", "problem": "required"},),
    "EmailBatch._inherit": (
        {
            "relation": "most_with",
            "with": "template",
            "most": BATCH_TEMPLATED,
            "problem": f"too many with a template: at most {BATCH_TEMPLATED}",
        },
    ),
    "PushTo._fit_platform": (
        {
            "relation": "items_by",
            "field": "platform",
            "items": {
                platform.value: {"type": "object", "problem": "must be subscription objects for web"}
                if platform is Platform.WEB
                else {"type": "string", "problem": f"must be strings for {platform}"}
                for platform in Platform
            },
        },
    ),
    "PushTo._user_or_tokens": (
        {"relation": "required_unless", "field": "tokens", "problem": "required, or tokens"},
    ),
    "SystemMaintenance._ends_after_start": (
        {"relation": "after", "field": "starts_at", "problem": "must be after starts_at"},
    ),
    "Suppress._is_unsubscribed_from": (
        {
            "relation": "only_if",
            "field": "reason",
            "values": ["unsubscribed"],
            "problem": "only with the reason unsubscribed",
        },
    ),
    "Suppress._is_said": (
        {"relation": "required_unless", "field": "remove", "values": [True], "problem": "required, or remove"},
    ),
    "MobileDevice._fits_platform": (
        {
            "relation": "matches_if",
            "field": "platform",
            "values": ["ntfy"],
            "pattern": "[A-Za-z0-9_-]{1,64}",
            "problem": "not a topic of ntfy: 1 to 64 letters, digits, _ and -",
        },
    ),
    "MobileDevice._is_an_ios_app": (
        {"relation": "only_if", "field": "platform", "values": ["ios"], "problem": "only for ios"},
    ),
    "DigestSpec._is_longer": (
        {
            "relation": "not_shorter",
            "field": "window",
            **_WRITTEN_DURATION,
            "problem": "must not be shorter than window",
        },
    ),
    "DigestSpec._one_rhythm": (
        {"relation": "required_unless", "field": "window", "problem": "required, or window"},
        {"relation": "not_with", "field": "window", "problem": "not together with window"},
    ),
    "Override._ends_after_start": ({"relation": "after", "field": "from", "problem": "must be after from"},),
    "RotationLayer._one_rhythm": (
        {"relation": "required_unless", "field": "every_hours", "problem": "required, or every_hours"},
        {"relation": "not_with", "field": "every_hours", "problem": "not together with every_hours"},
    ),
    "AlertSnooze._one_end": (
        {"relation": "required_unless", "field": "for", "problem": "required, or for"},
        {"relation": "not_with", "field": "for", "problem": "not together with for"},
    ),
    "Silence._ends_after_start": ({"relation": "after", "field": "starts_at", "problem": "must be after starts_at"},),
    "OnCall._not_beside_escalation": (
        {"relation": "not_with", "field": "escalation", "problem": "not together with escalation"},
    ),
    "OnCall._users_or_layers": (
        {"relation": "required_unless", "field": "users", "problem": "required, or users"},
        {"relation": "not_with", "field": "users", "problem": "not together with users"},
    ),
}  # fmt: skip

# How the members of a union are told apart by a function.
_CHOICES: Mapping[str, Entry] = {
    "services.router.payloads.envelope._flag_or_text": {"by": "type"},
    "services.router.payloads.notifications._list_or_object": {"by": "type"},
    "services.router.payloads.push_to.text_or_object": {"by": "type"},
    "services.router.payloads.mails._texts_or_template": {"by": "presence", "field": "template"},
}


class Unknown(Exception):
    """A model has a validator that has no entry here."""


def of_value(function: Any) -> dict[str, Any]:  # noqa: ANN401 - any callable
    """Return the keywords of a function that checks a value by itself."""
    return deepcopy(dict(_found(_VALUES, f"{function.__module__}.{function.__qualname__}")))


def of_relation(function: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any callable
    """Return what a function asks of the fields before its own."""
    return [deepcopy(dict(each)) for each in _found(_RELATIONS, function.__qualname__)]


def of_choice(function: Any) -> dict[str, Any]:  # noqa: ANN401 - any callable
    """Return how a function tells the members of a union apart."""
    return dict(_found(_CHOICES, f"{function.__module__}.{function.__qualname__}"))


def _found(table: Mapping[str, _T], name: str) -> _T:
    if name not in table:
        raise Unknown(f"{__name__} says nothing of {name}")
    return table[name]
