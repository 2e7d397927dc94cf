r"""Matchers: which alerts a silence or an inhibition is about, by their labels, as Alertmanager's users write them.

    severity=critical            the label has this value
    severity!="warning"          it has not
    system=~"db-[0-9]+"          one of its values fits the whole regular expression
    system!~"db-.*|cache"        none does
    {severity="critical", system!="db-1"}

A label that is missing counts as the empty text, as in Alertmanager. A label may have several values here: each of an
alert's ``affected_systems`` is one of ``system``. A positive matcher holds if any value fits, a negative one if none
does.

A text is read as Alertmanager's UTF-8 parser reads it (matcher/parse): names and values may stand bare if they hold no
white space and none of ``{ } ! = ~ , \ " ' ` ``; in double quotes they may hold anything, with the escapes of Go.
docs/explanation/alertmanager.md lists the differences.

Regular expressions are RE2's, so that none can run for long: their time grows with the length of the text, and not with
the ways to read it. Go's, which Alertmanager has, are of the same family.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NoReturn, Protocol, TypeAlias, get_args

import re2

from shared.core.errors import CarillonError
from shared.core.fields import LINE_CHARS

Labels: TypeAlias = Mapping[str, tuple[str, ...]]
"""An alert's labels by name, each with at least one value."""

Operator = Literal["=", "!=", "=~", "!~"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)

MATCHERS = 32
# A label of an alert may be as long.
NAME_CHARS = LINE_CHARS
VALUE_CHARS = 256
# The longest name and value still pass if each of their characters is written as an escape of ten (\U0001f642).
TEXT_CHARS = 5_000
LIST_CHARS = MATCHERS * (TEXT_CHARS + 2)
# What an expression and the automaton that is built from it may take. There may be as many as there are silences: the
# largest that fit are compiled in half a millisecond, and most take 3 KiB.
EXPRESSION_BYTES = 64 * 1024

MISSING = ("",)

# Go's unicode.IsSpace. Python's \s has four more, U+001C to U+001F.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_RESERVED = rf"{_SPACE}{{}}!=~,\\\"'`"
_TOKEN = re.compile(
    rf"""[{_SPACE}]*+(?:
        (?P<open>\{{) | (?P<close>\}}) | (?P<comma>,) | (?P<operator>=~|!=|!~|=)
        | (?P<quoted>"(?:[^"\\]|\\.)*+") | (?P<bare>[^{_RESERVED}]++) | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(rf"[{_SPACE}]*")
_QUOTED_PART = re.compile(
    r"""(?P<plain>[^\\\n]++)
        | \\(?: (?P<letter>[abfnrtv\\"]) | x(?P<byte>[0-9A-Fa-f]{2}) | (?P<octal>[0-3][0-7]{2})
        | u(?P<four>[0-9A-Fa-f]{4}) | U(?P<eight>[0-9A-Fa-f]{8}) )""",
    re.VERBOSE,
)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
# An expression without these is a list of texts, such as critical|warning: a look-up takes a tenth of RE2's time.
_SPECIAL = re.compile(r"[\\.^$*+?()\[\]{}]")
_NAME_TO_QUOTE = re.compile(rf"[{_RESERVED}]|[\x00-\x1f\x7f-\x9f]")
# What would break a line of a log or a terminal is written as an escape, beside what must be.
_TO_ESCAPE = re.compile('[\\\\"\x00-\x1f\x7f-\x9f\u2028\u2029]')
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}

_OPEN, _CLOSE, _COMMA, _OPERATOR, _QUOTED, _BARE, _END = "open", "close", "comma", "operator", "quoted", "bare", "end"
_TEXTS = (_QUOTED, _BARE)
_ENDS = {_CLOSE: "a closing brace", _END: "the end"}


class MatcherError(CarillonError):
    """A text is no matcher; the message names the place, counted from 1, and never repeats the text."""


class _Expression(Protocol):
    def fullmatch(self, text: bytes) -> object | None: ...


@dataclass(frozen=True, slots=True)
class Matcher:
    """What one label must be, or must not be.

    Raises:
        MatcherError: the name is empty, something is too long or not Unicode, or the value is no regular expression.
    """

    name: str
    op: Operator
    value: str
    _texts: frozenset[str] = field(init=False, repr=False, compare=False)
    _expression: _Expression | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check("value", self.value, VALUE_CHARS)
        is_expression = self.op in {"=~", "!~"}
        is_special = is_expression and _SPECIAL.search(self.value) is not None
        texts = self.value.split("|") if is_expression else [self.value]
        object.__setattr__(self, "_texts", frozenset(texts))
        object.__setattr__(self, "_expression", _compiled(self.value) if is_special else None)

    @property
    def is_positive(self) -> bool:
        """Whether it asks for a value; the others ask for its absence."""
        return self.op in {"=", "=~"}

    def matches(self, labels: Labels) -> bool:
        """Whether it holds for an alert."""
        values = labels.get(self.name) or MISSING
        return self._fits_any(values) is (self.op in {"=", "=~"})

    @property
    def matches_empty(self) -> bool:
        """Whether it asks for a value that may be empty. Alertmanager counts no negative matcher among these."""
        return self.is_positive and self._fits_any(MISSING)

    def _fits_any(self, values: tuple[str, ...]) -> bool:
        expression = self._expression
        if expression is None:
            return not self._texts.isdisjoint(values)
        return any(expression.fullmatch(value.encode(errors="replace")) is not None for value in values)

    def __str__(self) -> str:
        """Write it so that it is read as the same."""
        name = _quoted(self.name) if _NAME_TO_QUOTE.search(self.name) else self.name
        return f"{name}{self.op}{_quoted(self.value)}"


def values_of(labels: Labels, name: str) -> tuple[str, ...]:
    """Return a label's values; those of a missing one are the empty text alone."""
    return labels.get(name) or MISSING


def all_match(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Whether every one holds for an alert."""
    # A loop, because a generator takes as long as what it does here.
    for matcher in matchers:  # noqa: SIM110
        if not matcher.matches(labels):
            return False
    return True


def read_matcher(text: str) -> Matcher:
    """Read one matcher, with or without braces around it.

    Raises:
        MatcherError: it is none, or several.
    """
    if len(text) > TEXT_CHARS:
        raise MatcherError(f"must have at most {TEXT_CHARS} characters")
    found = list(islice(_matchers(text), 2))
    if len(found) != 1:
        raise MatcherError(f"must be one matcher such as severity=critical, and holds {'several' if found else 'none'}")
    return found[0]


def read_matchers(text: str) -> tuple[Matcher, ...]:
    """Read a list of matchers, with or without braces around it; it may be empty.

    Raises:
        MatcherError: it is none, or too long.
    """
    if len(text) > LIST_CHARS:
        raise MatcherError(f"must have at most {LIST_CHARS} characters")
    # No further than that, because an expression takes its time.
    found = tuple(islice(_matchers(text), MATCHERS + 1))
    if len(found) > MATCHERS:
        raise MatcherError(f"must be at most {MATCHERS} matchers")
    return found


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _matchers(text: str) -> Iterator[Matcher]:
    tokens = _tokens(text)
    token = next(tokens)
    closing = _END
    if token.kind == _OPEN:
        closing = _CLOSE
        token = next(tokens)
    while token.kind != closing:
        yield _matcher(token, tokens)
        token = next(tokens)
        if token.kind == _COMMA:
            token = next(tokens)
        elif token.kind != closing:
            _refuse(token, f"expected a comma or {_ENDS[closing]}")
    if closing == _CLOSE and (token := next(tokens)).kind != _END:
        _refuse(token, "expected the end after the closing brace")


def _matcher(first: _Token, tokens: Iterator[_Token]) -> Matcher:
    if first.kind not in _TEXTS:
        _refuse(first, "expected a label's name")
    operator = next(tokens)
    if operator.kind != _OPERATOR:
        _refuse(operator, "expected an operator: =, !=, =~ or !~")
    value = next(tokens)
    if value.kind not in _TEXTS:
        _refuse(value, 'expected a value; the empty one is ""')
    name, op, said = _said(first), next(each for each in OPERATORS if each == operator.text), _said(value)
    try:
        _check_name(name)
    except MatcherError as error:
        _refuse(first, str(error))
    try:
        return Matcher(name, op, said)
    except MatcherError as error:
        _refuse(value, str(error))


def _tokens(text: str) -> Iterator[_Token]:
    """Cut a text into tokens; the last one is its end."""
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if found is None:
            blank = _BLANK.match(text, at)
            _refuse_character(text, blank.end() if blank is not None else at)
        kind = str(found.lastgroup)
        yield _Token(kind, found[kind], found.start(kind))
        at = found.end()


def _refuse_character(text: str, at: int) -> NoReturn:
    place = _Token(_BARE, text, at)
    match text[at]:
        case '"':
            _refuse(place, "these double quotes are never closed")
        case "!":
            _refuse(place, "expected an operator: =, !=, =~ or !~")
        case _:
            _refuse(place, "this character must stand in double quotes")


def _refuse(token: _Token, problem: str) -> NoReturn:
    place = "at the end" if token.kind == _END else f"at character {token.at + 1}"
    raise MatcherError(f"{place}: {problem}") from None


def _said(token: _Token) -> str:
    """Return what a bare or quoted text says."""
    if token.kind == _BARE:
        return token.text
    said, at, end = bytearray(), 1, len(token.text) - 1
    while at < end:
        part = _QUOTED_PART.match(token.text, at, end)
        if part is None:
            is_break = token.text[at] == "\n"
            problem = r"write a line break as \n" if is_break else r"unknown escape; a backslash is written as \\"
            _refuse(_Token(_QUOTED, "", token.at + at), problem)
        try:
            said += _part(str(part.lastgroup), part[str(part.lastgroup)])
        except (UnicodeEncodeError, ValueError, OverflowError):
            _refuse(_Token(_QUOTED, "", token.at + at), "not Unicode")
        at = part.end()
    try:
        return said.decode()
    except UnicodeDecodeError:
        _refuse(token, "not Unicode")


def _part(kind: str, text: str) -> bytes:
    match kind:
        case "letter":
            return _LETTERS[text].encode()
        case "byte":
            return bytes.fromhex(text)
        case "octal":
            return bytes((int(text, 8),))
        case "four" | "eight":
            return chr(int(text, 16)).encode()
        case _:
            return text.encode()


def _check_name(name: str) -> None:
    if not name:
        raise MatcherError("the label's name must not be empty")
    _check("label's name", name, NAME_CHARS)


def _check(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise MatcherError(f"the {what} must have at most {most} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MatcherError(f"the {what} is not Unicode") from None


def _compiled(expression: str) -> _Expression:
    options = re2.Options()
    options.max_mem = EXPRESSION_BYTES
    # RE2 would write what it refuses to the standard error.
    options.log_errors = False
    options.never_capture = True
    try:
        # As bytes, because it would count characters for every text.
        compiled: _Expression = re2.compile(expression.encode(), options)
    except re2.error as error:
        # Its text is "what: where", and the second part repeats the expression.
        said = error.args[0] if error.args else b""
        what = (said.decode(errors="replace") if isinstance(said, bytes) else str(said)).partition(": ")[0]
        raise MatcherError(f"not a regular expression of RE2: {what}") from None
    return compiled


def _quoted(text: str) -> str:
    return f'"{_TO_ESCAPE.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}"
