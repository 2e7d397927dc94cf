"""One template: its languages, and the texts of each channel for one reader.

Promises that texts are safe where they are used: a subject is one line that can stand in a mail header, nothing is
longer than its channel takes, and HTML is escaped. A text is a pure function of data, locale and zone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from enum import StrEnum
from traceback import extract_tb
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from pydantic_core import PydanticCustomError

from services.router.payloads.envelope import BODY_CHARS, SMS_CHARS
from services.router.payloads.rejection import PROBLEMS_SHOWN, FieldProblem
from services.router.templates import languages
from services.router.templates.filters import Reader, UnusableValue
from services.router.templates.problems import Unrenderable
from services.router.templates.sandbox import STEPS, MissingVariable, TooMuchWork, render
from shared.core.fields import LINE_CHARS, single_line
from shared.core.model import Channel


class Part(StrEnum):
    """The texts of a template; each is a file of this name in the folder of every language."""

    SUBJECT = "subject"
    TEXT = "text"
    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    BUTTON = "button"


REQUIRED = (Part.SUBJECT, Part.TEXT)
# Read on a phone or a page; whatever is longer is a document and belongs behind a link.
TEXT_CHARS = 10_000
# Read at a glance, with a thumb above it.
BUTTON_CHARS = 40
# What the button says that acknowledges an alert, where a template does not say it.
BUTTON = "Acknowledge"
# Otherwise the limits of what a publisher writes without a template; MJML is wordier than people.
LIMITS_CHARS = {
    Part.SUBJECT: LINE_CHARS,
    Part.TEXT: TEXT_CHARS,
    Part.EMAIL: BODY_CHARS,
    Part.SMS: SMS_CHARS,
    Part.PUSH: TEXT_CHARS,
    Part.BUTTON: BUTTON_CHARS,
}


@dataclass(frozen=True, slots=True)
class Texts:
    """What one channel says to one reader.

    Attributes:
        title: empty on a channel without one (SMS).
        html_body: of a mail, where the template has one.
    """

    title: str
    message: str
    html_body: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was loaded.

    Attributes:
        parts: by language tag, as the folders are named; every language has the same parts.
    """

    name: str
    default_language: str
    parts: Mapping[str, Mapping[Part, jinja2.Template]]

    def texts(self, channel: Channel, data: Mapping[str, Any], locale: str | None, zone: str | None) -> Texts:
        """Write what a channel says.

        Args:
            data: the publish's.
            locale: the reader's language tag; None is the template's default language.
            zone: the reader's IANA time zone; None is UTC.

        Raises:
            Unrenderable: the data does not fit.
        """
        language = languages.best(locale, self.parts, self.default_language)
        reader = Reader(languages.writing(locale, language), ZoneInfo(zone) if zone else UTC)
        parts = self.parts[language]

        def write(part: Part) -> str:
            return self._write(parts[part], part, data, reader)

        match channel:
            case Channel.REALTIME:
                return Texts(write(Part.SUBJECT), write(Part.TEXT))
            case Channel.EMAIL:
                html = write(Part.EMAIL) if Part.EMAIL in parts else None
                return Texts(write(Part.SUBJECT), write(Part.TEXT), html)
            case Channel.SMS:
                return Texts("", write(Part.SMS if Part.SMS in parts else Part.TEXT))
            case Channel.PUSH:
                return Texts(write(Part.SUBJECT), write(Part.PUSH if Part.PUSH in parts else Part.TEXT))

    def has(self, part: Part) -> bool:
        """Tell whether there is such a text."""
        return part in self.parts[self.default_language]

    def button(self, data: Mapping[str, Any], locale: str | None, zone: str | None) -> str:
        """Write what the button of an alert says; arguments and errors as for ``texts``."""
        language = languages.best(locale, self.parts, self.default_language)
        parts = self.parts[language]
        if Part.BUTTON not in parts:
            return BUTTON
        reader = Reader(languages.writing(locale, language), ZoneInfo(zone) if zone else UTC)
        return self._write(parts[Part.BUTTON], Part.BUTTON, data, reader)

    def check(self, data: Mapping[str, Any], zone: tzinfo = UTC) -> None:
        """Write every text in every language, and so find what the data does not fit.

        Raises:
            Unrenderable: with every problem found, at most one for each text.
        """
        problems: dict[FieldProblem, None] = {}
        for language, parts in self.parts.items():
            for part, template in parts.items():
                try:
                    self._write(template, part, data, Reader(languages.writing(None, language), zone))
                except Unrenderable as error:
                    problems |= dict.fromkeys(error.problems)
        if problems:
            raise Unrenderable(tuple(problems)[:PROBLEMS_SHOWN])

    def _write(self, template: jinja2.Template, part: Part, data: Mapping[str, Any], reader: Reader) -> str:
        limit_chars = LIMITS_CHARS[part]
        try:
            text = render(template, data, reader, limit_chars)
        except MissingVariable as error:
            raise Unrenderable.of(_field(data, error), f"required by template {self.name}") from None
        except TooMuchWork:
            raise self._unfit(part, f"takes more than {STEPS} steps") from None
        except UnusableValue as error:
            raise self._unfit(part, f"{error} ({_where(template, error)})") from None
        except Exception as error:  # noqa: BLE001 - whatever a template's expression can raise, and its text may quote data
            raise self._unfit(part, f"cannot be written: {type(error).__name__} ({_where(template, error)})") from None
        if text is None:
            raise self._unfit(part, f"becomes longer than {limit_chars} characters")
        text = text.strip()
        if not text:
            raise self._unfit(part, "becomes empty")
        try:
            text.encode()
            return single_line(text) if part in (Part.SUBJECT, Part.BUTTON) else text
        except PydanticCustomError as error:
            raise self._unfit(part, error.message()) from None
        except UnicodeEncodeError:
            raise self._unfit(part, "is not valid Unicode") from None

    def _unfit(self, part: Part, problem: str) -> Unrenderable:
        return Unrenderable.of("data", f"template {self.name}, {part}: {problem}")


def _where(template: jinja2.Template, error: BaseException) -> str:
    """Say in which file, and where it is known in which line, a template stopped."""
    file = template.filename or ""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    # Of compiled MJML the lines are the HTML's, which nobody wrote.
    return f"{file}:{lines[-1]}" if lines and not file.endswith(".mjml") else file


def _field(data: Mapping[str, Any], error: MissingVariable) -> str:
    """Name what is missing by its path in the payload."""
    if error.is_top_level:
        return f"data.{error.name}"
    path = _path(data, error.container)
    return "data" if path is None else f"data.{'.'.join((*path, str(error.name)))}"


def _path(tree: object, wanted: object) -> tuple[str, ...] | None:
    """Find an object in a document by identity."""
    waiting: list[tuple[tuple[str, ...], object]] = [((), tree)]
    while waiting:
        path, found = waiting.pop()
        if found is wanted:
            return path
        children = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
        waiting += [((*path, str(name)), child) for name, child in children]
    return None
