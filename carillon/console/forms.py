"""What a form says, read field by field; everything that is wrong with it is told at once."""

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.core.durations import Duration

_T = TypeVar("_T")
_duration: TypeAdapter[timedelta] = TypeAdapter(Duration)

TEXT_CHARS = 500
FIELDS = 200


class BadForm(Exception):
    """Fields that cannot be used, each with what is wrong."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(", ".join(problems))
        self.problems = dict(problems)


class Form:
    """The fields of one form. Ask for all of them, then ``check``; until then a wrong one reads as empty."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields
        self._problems: dict[str, str] = {}

    def text(self, name: str, *, required: bool = False, most_chars: int = TEXT_CHARS, lines: bool = False) -> str:
        """Return a text without spaces around it.

        Args:
            lines: it may have several.
        """
        text = self._fields.get(name, "").replace("\r\n", "\n").strip()
        if required and not text:
            self.wrong(name, "required")
        elif len(text) > most_chars:
            self.wrong(name, f"must have at most {most_chars} characters")
        elif any(not char.isprintable() and not (lines and char == "\n") for char in text):
            self.wrong(name, "must not contain control characters")
        else:
            return text
        return ""

    def choice(self, name: str, choices: Collection[str], default: str = "") -> str:
        """Return one of several."""
        text = self._fields.get(name, "").strip() or default
        if text not in choices:
            self.wrong(name, f"must be one of {', '.join(choices)}")
            return default
        return text

    def ticked(self, name: str) -> bool:
        """Tell whether a box is ticked."""
        return bool(self._fields.get(name))

    def length(self, name: str, *, required: bool = False, most: timedelta | None = None) -> timedelta | None:
        """Return a length of time that was typed as ``30m``, ``2h`` or ``7d``; None for an empty field."""
        text = self.text(name, required=required, most_chars=20)
        if not text:
            return None
        try:
            length = _duration.validate_python(text)
        except ValidationError as error:
            self.wrong(name, str(error.errors()[0]["msg"]))
            return None
        if most is not None and length > most:
            self.wrong(name, f"must be at most {most}")
            return None
        return length

    def read(
        self,
        name: str,
        reader: Callable[[str], _T],
        *,
        required: bool = False,
        most_chars: int = TEXT_CHARS,
        lines: bool = False,
    ) -> _T | None:
        """Return what a function makes of a text; its ValueError says what is wrong. None for an empty field."""
        text = self.text(name, required=required, most_chars=most_chars, lines=lines)
        if not text:
            return None
        try:
            return reader(text)
        except ValueError as error:
            self.wrong(name, str(error))
            return None

    def wrong(self, name: str, problem: str) -> None:
        """Note what is wrong with a field."""
        self._problems.setdefault(name, problem)

    def check(self) -> None:
        """Go on only with a form that is right.

        Raises:
            BadForm: something is wrong.
        """
        if self._problems:
            raise BadForm(self._problems)

    def kept(self, names: Collection[str]) -> dict[str, str]:
        """Return what stands in these fields, for the log of changes."""
        return {name: self._fields[name].strip()[:TEXT_CHARS] for name in names if self._fields.get(name, "").strip()}
