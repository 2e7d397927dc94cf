"""The filters of templates: dates, times, numbers, money and plurals as the reader's language and zone write them.

If a value cannot be written, the refusal names the filter and the rule. It never repeats the value.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any

from babel import Locale, dates, numbers
from jinja2 import Undefined, pass_context
from jinja2.runtime import Context
from pydantic_core import PydanticCustomError

from shared.core.fields import moment

# Where the reader stands in a template's context; no template can name a variable with a blank.
READER = " reader"

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# CLDR, "Language plural rules".
_PLURAL_FORMS = frozenset({"zero", "one", "two", "few", "many", "other"})


class UnusableValue(Exception):
    """A filter cannot write this value; the text is fit for a receipt."""


@dataclass(slots=True)
class Reader:
    """For whom a text is written, and how much work it may still be.

    Attributes:
        steps_left: turns of loops and calls.
    """

    locale: Locale
    zone: tzinfo = UTC
    steps_left: int = 0


def _reader(context: Context) -> Reader:
    reader: Reader = context[READER]
    return reader


@pass_context
def date_(context: Context, value: object, format: str = "medium") -> str:  # noqa: A002 - how templates call it
    """Write a day: ``short``, ``medium``, ``long``, ``full`` or a pattern of CLDR."""
    return dates.format_date(_day("date", value, _reader(context).zone), format, _reader(context).locale)


@pass_context
def time_(context: Context, value: object, format: str = "short") -> str:  # noqa: A002
    """Write a time of day in the reader's zone."""
    reader = _reader(context)
    return dates.format_time(_moment("time", value), format, reader.zone, reader.locale)


@pass_context
def datetime_(context: Context, value: object, format: str = "medium") -> str:  # noqa: A002
    """Write day and time in the reader's zone."""
    reader = _reader(context)
    return dates.format_datetime(_moment("datetime", value), format, reader.zone, reader.locale)


@pass_context
def number(context: Context, value: object, format: str | None = None) -> str:  # noqa: A002
    """Write a number with the separators of the language."""
    return numbers.format_decimal(_number("number", value), format, _reader(context).locale)


@pass_context
def percent(context: Context, value: object) -> str:
    """Write a share of 1 as a percentage."""
    return numbers.format_percent(_number("percent", value), locale=_reader(context).locale)


@pass_context
def currency(context: Context, value: object, code: object) -> str:
    """Write an amount of money; ``code`` is one of ISO 4217."""
    amount = _number("currency", value)
    if not isinstance(_defined(code), str) or not numbers.is_currency(str(code)):
        raise UnusableValue("currency needs a code like EUR")
    return numbers.format_currency(amount, str(code), locale=_reader(context).locale)


@pass_context
def plural(context: Context, value: object, **forms: str) -> str:
    """Choose a form by the language's rules; ``#`` in it stands for the number."""
    count = _number("plural", value)
    if "other" not in forms or not forms.keys() <= _PLURAL_FORMS:
        raise UnusableValue("plural needs the form other, and takes zero, one, two, few and many")
    locale = _reader(context).locale
    form = forms.get(locale.plural_form(-count if count < 0 else count), forms["other"])
    return form.replace("#", numbers.format_decimal(count, locale=locale))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "date": date_,
    "time": time_,
    "datetime": datetime_,
    "number": number,
    "percent": percent,
    "currency": currency,
    "plural": plural,
}


def _defined(value: object) -> object:
    if isinstance(value, Undefined):
        # Says which variable is missing.
        str(value)
    return value


def _number(name: str, value: object) -> float | Decimal:
    _defined(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        # Money is often sent as text, so that no program rounds it.
        return Decimal(value)
    raise UnusableValue(f"{name} needs a number")


def _moment(name: str, value: object) -> datetime:
    try:
        return moment(_defined(value))
    except PydanticCustomError as error:
        raise UnusableValue(f"{name}: {error.message()}") from None


def _day(name: str, value: object, zone: tzinfo) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise UnusableValue(f"{name}: not an existing date") from None
    return _moment(name, value).astimezone(zone).date()
