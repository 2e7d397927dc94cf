"""The checks of a value that JSON Schema has no word for, as ``rules.json`` describes them."""

import re
import zoneinfo
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from ipaddress import ip_address
from math import isfinite
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Json: TypeAlias = Any
"""What a JSON document may hold."""

Check: TypeAlias = Mapping[str, Any]


def problem_with(value: Json, check: Check) -> str | None:
    """Say what is wrong with a value, in the router's words; None if nothing is."""
    match check["check"]:
        case "lacks":
            return check["problem"] if _pattern(check["pattern"]).search(value) else None
        case "matches":
            return None if _pattern(check["pattern"]).fullmatch(value) else check["problem"]
        case "email":
            return None if _is_email(value, check) else check["problem"]
        case "phone":
            return None if _is_phone(value, check["lengths"]) else check["problem"]
        case "https_url":
            return None if _is_https_url(value) else check["problem"]
        case "base64url":
            return _problem_with_base64url(value, check)
        case "timezone":
            return None if value in _zone_names() else check["problem"]
        case "moment":
            found = _moment(value, check)
            return found if isinstance(found, str) else None
        case "date":
            return _problem_with_date(value, check)
        case "time":
            return _problem_with_time(value, check)
        case "duration":
            return _problem_with_duration(value, check)
        case "unique":
            return None if len({each[check["field"]] for each in value}) == len(value) else check["problem"]
        case "rate":
            return None if _is_rate(value, check) else check["problem"]
        case "bounded":
            return _problem_with_depth(value, check)
    raise ValueError(f"the rules have a check that this version does not know: {check['check']}")


def moment_of(value: Json, check: Check) -> datetime:
    """Return a time that ``problem_with`` found nothing wrong with."""
    found = _moment(value, check)
    if isinstance(found, str):
        raise ValueError(found)  # noqa: TRY004 - wrong content
    return found


def length_of(value: Json, check: Check) -> timedelta:
    """Return a length of time that ``problem_with`` found nothing wrong with."""
    if isinstance(value, str):
        number, unit = _parts(value, check)
        value = number * check["units_s"][unit]
    return timedelta(seconds=value)


def _parts(text: str, check: Check) -> tuple[int, str]:
    found = _pattern(check["pattern"]).fullmatch(text)
    if found is None:
        raise ValueError(check["problem"])
    return int(found[1]), found[2]


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _is_email(text: str, check: Check) -> bool:
    local, at, domain = text.rpartition("@")
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode()
        except UnicodeError:
            return False
    labels = domain.lower().split(".")
    refused = {tuple(each.split(".")) for each in check["refused_domains"]}
    return (
        bool(at)
        and len(local) <= check["local_chars"]
        and len(domain) <= check["domain_chars"]
        and _pattern(check["local"]).fullmatch(local) is not None
        and _pattern(check["domain"]).fullmatch(domain) is not None
        and not any(tuple(labels[start:]) in refused for start in range(len(labels)))
    )


def _is_phone(text: str, lengths: Mapping[str, list[int]]) -> bool:
    digits = text.removeprefix("+")
    # ITU-T E.164: a country code has at most three digits, and none begins with another.
    for code in (digits[:size] for size in (1, 2, 3)):
        if code in lengths:
            return len(digits) - len(code) in lengths[code]
    return False


def _is_https_url(text: str) -> bool:
    if not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    if not host or "@" in url.netloc:
        return False
    return url.scheme == "https" or (url.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _problem_with_base64url(text: str, check: Check) -> str | None:
    text = text.rstrip("=")
    if not _pattern("[A-Za-z0-9_-]+").fullmatch(text) or len(text) % 4 == 1:
        return str(check["problem"])
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    begins = "first_byte" not in check or data[:1] == bytes([check["first_byte"]])
    return None if len(data) == check["bytes"] and begins else str(check["problem_bytes"])


def _moment(value: Json, check: Check) -> datetime | str:
    """Return the time, or what is wrong with it."""
    if isinstance(value, str):
        if not _pattern(check["pattern"]).fullmatch(value):
            return str(check["problem"])
        try:
            found = datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            return str(check["problem_existing"])
        return found if check["from_s"] <= found.timestamp() < check["before_s"] else str(check["problem_range"])
    if not check["from_s"] <= value < check["before_s"]:
        return str(check["problem_range"])
    return datetime.fromtimestamp(value, UTC)


def _problem_with_date(value: str, check: Check) -> str | None:
    if not _pattern(check["pattern"]).fullmatch(value):
        return str(check["problem"])
    try:
        found = date.fromisoformat(value)
    except ValueError:
        return str(check["problem_existing"])
    return None if check["from_year"] <= found.year < check["before_year"] else str(check["problem_range"])


def _problem_with_time(value: str, check: Check) -> str | None:
    if not _pattern(check["pattern"]).fullmatch(value):
        return str(check["problem"])
    try:
        time.fromisoformat(value)
    except ValueError:
        return str(check["problem_existing"])
    return None


def _problem_with_duration(value: Json, check: Check) -> str | None:
    try:
        length_s = length_of(value, check).total_seconds()
    except ValueError:
        return str(check["problem"])
    except OverflowError:
        return str(check["problem_range"])
    return None if check["from_s"] <= length_s <= check["to_s"] else str(check["problem_range"])


def _is_rate(value: str | int, check: Check) -> bool:
    if str(value) == "0":
        return True
    found = _pattern(check["pattern"]).fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return False
    count, length, unit = found.groups()
    return int(count) > 0 and 0 < int(length) * check["units_s"][unit or "s"] <= check["longest_s"]


def _problem_with_depth(value: Mapping[str, Any], check: Check) -> str | None:
    level: list[Any] = [value]
    for _ in range(check["levels"]):
        below: list[Any] = []
        for container in level:
            for each in container.values() if isinstance(container, Mapping) else container:
                if isinstance(each, dict | list):
                    below.append(each)
                elif isinstance(each, float) and not isfinite(each):
                    return str(check["problem_number"])
        if not below:
            return None
        level = below
    return str(check["problem"])
