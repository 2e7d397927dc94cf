"""Where templates run: Jinja that cannot reach beyond the data, run without end, or leave a silent gap.

Promises:

- A text is written from the data alone.
- A missing variable is an error that names it.
- HTML escapes what the data brings.
- A text ends after at most ``STEPS`` turns of loops and calls.

The operator writes templates and publishers write data. So the bounds protect against data; a template itself can still
waste time.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from services.router.templates.filters import FILTERS, READER, Reader
from services.router.templates.problems import BrokenTemplate

# Turns of loops and calls in one text: some milliseconds of the router's time (3 ms when they are empty, measured). No
# mail that somebody reads has as many rows.
STEPS = 5_000

_COUNTED = "each turn counted"
_STAND_ALONE = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
# Data is text and never markup; the others cost time or memory as the data likes, or say something else every time.
_NOT_ALLOWED = ("safe", "random", "center", "indent", "format", "pprint", "xmlattr")


class MissingVariable(UndefinedError):
    """The template needs something that the data does not have.

    Attributes:
        container: what it was looked for in; jinja's ``missing`` for the data itself.
        name: its name, or its place in a list.
    """

    def __init__(self, container: object, name: object, text: str = "") -> None:
        super().__init__(text)
        self.container = container
        self.name = name

    @property
    def is_top_level(self) -> bool:
        """Tell whether a variable is missing and not a part of one."""
        return self.container is missing


class TooMuchWork(Exception):
    """A text takes more steps than allowed."""


class _Required(StrictUndefined):
    """Something that is not there: it can be asked for with ``is defined`` and ``default``, and nothing else."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: object = missing,
        name: str | None = None,
        exc: type[Exception] = UndefinedError,
    ) -> None:
        # The sandbox's own refusals come here, too, and stay as they are.
        told: Any = functools.partial(MissingVariable, obj, name) if exc is UndefinedError else exc
        super().__init__(hint, obj, name, told)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Multiply numbers and nothing else: a text times a number from the data may fill the memory."""
        for value in (left, right):
            if isinstance(value, _Required):
                # Says which variable is missing.
                str(value)
        if operator == "**" or not all(isinstance(value, (int, float)) for value in (left, right)):
            raise SecurityError(f"{operator} is not for these values")
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401, N805 - jinja's
        """Count a call and make it."""
        _count(__context)
        return super().call(__context, __obj, *args, **kwargs)


def _count(context: Context) -> None:
    reader: Reader = context[READER]
    reader.steps_left -= 1
    if reader.steps_left < 0:
        raise TooMuchWork


@pass_context
def _counted(context: Context, values: Iterable[object]) -> Iterator[object]:
    for value in values:
        _count(context)
        yield value


def _new_sandbox() -> _Sandbox:
    sandbox = _Sandbox(
        undefined=_Required,
        autoescape=lambda name: name is not None and name.endswith((".html", ".mjml")),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _NOT_ALLOWED:
        del sandbox.filters[name]
    del sandbox.globals["lipsum"]
    filters: Mapping[str, Callable[..., Any]] = {**FILTERS, _COUNTED: _counted}
    sandbox.filters.update(filters)
    return sandbox


_SANDBOX = _new_sandbox()


def parse(source: str, file: str) -> nodes.Template:
    """Read a template's source.

    Raises:
        BrokenTemplate: with file and line.
    """
    try:
        tree = _SANDBOX.parse(source, file, file)
    except TemplateSyntaxError as error:
        raise BrokenTemplate(file, error.lineno, error.message or "syntax error") from None
    for node in tree.find_all(_STAND_ALONE):
        raise BrokenTemplate(file, node.lineno, "a template's file stands alone: it can include or extend nothing")
    return tree


def compile_(source: str, file: str) -> Template:
    """Make a template ready to be rendered.

    Raises:
        BrokenTemplate: with file and line.
    """
    tree = parse(source, file)
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
    try:
        return Template.from_code(_SANDBOX, _SANDBOX.compile(tree, file, file), {**_SANDBOX.globals})
    except TemplateSyntaxError as error:
        # A filter or test that does not exist is found here.
        raise BrokenTemplate(file, error.lineno, error.message or "syntax error") from None


def render(template: Template, data: Mapping[str, Any], reader: Reader, limit_chars: int) -> str | None:
    """Write a text; None when it becomes longer than ``limit_chars``."""
    reader.steps_left = STEPS
    parts, length = [], 0
    for part in template.generate({**data, READER: reader}):
        length += len(part)
        if length > limit_chars:
            return None
        parts.append(part)
    return "".join(parts)
