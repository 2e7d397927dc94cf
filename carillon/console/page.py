"""What a page of the console is made of: where it stands, who may see it, how it reads, and what can be done on it.

A page is a value of ``Page``; the framework (``carillon.console.site``) does the rest: who is signed in, the role, the
form token, the time limit, the log of changes, the layout. ``carillon/console/pages/__init__.py`` says how to add one.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any
from urllib.parse import quote

from aiohttp import web
from multidict import MultiMapping

from carillon.console.backend import Backend
from carillon.console.changes import Changes, Outcome
from carillon.console.forms import Form
from carillon.console.roles import Role
from carillon.console.sessions import Session

# Rows of a page; what is more comes with the cursor.
PAGE_ROWS = 50
_CURSOR_CHARS = 200


class Section(Enum):
    """The parts of the navigation, in their order."""

    WATCH = "Watch"
    LOOK_UP = "Look up"
    SET_UP = "Set up"


class Problem(Exception):
    """What is answered instead of a page: a status, a heading and a sentence for people.

    Args:
        problems: what is wrong with single fields, in a line each.
    """

    def __init__(self, status: int, title: str, words: str, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.words = words
        self.problems = dict(problems or {})


class NotThere(Problem):
    """There is nothing of that name (any more)."""

    def __init__(self, words: str) -> None:
        super().__init__(404, "Not there", words)


class NotDone(Problem):
    """An action that cannot be done as things are; it stands in the log of changes as refused."""

    def __init__(self, words: str, problems: Mapping[str, str] | None = None) -> None:
        super().__init__(409, "Not done", words, problems)


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is signed in.

    Attributes:
        params: what stands in the path, such as ``id``.
        query: what stands behind the question mark.
        now: the time at which the page is written.
    """

    backend: Backend
    session: Session
    params: Mapping[str, str]
    query: MultiMapping[str]
    now: datetime
    changes: Changes

    def may(self, role: Role) -> bool:
        """Tell whether the person has this role or a higher one."""
        return self.session.role >= role

    def asked(self, name: str, most_chars: int = 200) -> str:
        """Return a text of the query without spaces around it; nothing where it is missing.

        Raises:
            Problem: it is longer than it may be.
        """
        text = self.query.get(name, "").strip()
        if len(text) > most_chars:
            raise Problem(400, "Too long", "Ask with fewer characters.", {name: f"at most {most_chars} characters"})
        return text

    @property
    def cursor(self) -> str | None:
        """Where the page goes on (``?after=``), as an earlier page said; None for the first page."""
        return self.asked("after", _CURSOR_CHARS) or None


@dataclass(frozen=True)
class Done:
    """What came of an action.

    Attributes:
        words: one sentence for the person, which stands in the log of changes, too.
        to: the path that is shown next; None to show the page again with ``shown`` beside what it reads.
        shown: for the page alone, such as a revealed address; in no log.
        before: what it was before, for the log of changes; likewise ``after``.
    """

    words: str
    to: str | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    outcome: Outcome = Outcome.DONE


Show = Callable[[Visit], Awaitable[Mapping[str, Any] | web.StreamResponse]]
Do = Callable[[Visit, Form], Awaitable[Done]]


@dataclass(frozen=True)
class Action:
    """Something that can be done: a POST with the token of the session's forms, which stands in the log of changes.

    Attributes:
        path: as the page's, with ``{name}`` for its parameters.
        role: the lowest one that may.
        what: the word in the log of changes, such as ``incident.acknowledge``.
        target: the parameter of the path that says what it is done to; None where nothing does.
        keeps: fields of the form whose content is kept in the log; the others are not.
        is_change: False for a question that is asked by a form and changes nothing: it does not stand in the log.
    """

    path: str
    role: Role
    what: str
    do: Do
    target: str | None = None
    keeps: tuple[str, ...] = ()
    is_change: bool = True


@dataclass(frozen=True)
class Page:
    """A page: ``show`` reads what ``templates/{name}.html`` writes.

    Attributes:
        path: with ``{name}`` for parameters, such as ``/incidents/{id}``.
        title: stands above it, in the window's title and in the navigation.
        role: the lowest one that may see it.
        section: where it stands in the navigation; None where it does not.
        within: the name of the page whose place in the navigation is marked; None for its own.
        live_s: ``show`` is asked again so often for all who look at it, and what ``templates/{name}.live.html`` writes
            takes the place of what was there. None for a page that stays as it is.
    """

    name: str
    path: str
    title: str
    show: Show
    role: Role = Role.VIEWER
    section: Section | None = None
    within: str | None = None
    live_s: float | None = None
    actions: tuple[Action, ...] = ()


def path_to(path: str, /, **params: str) -> str:
    """Write a path with its parameters put in, so that nothing in them is more than a name."""
    return path.format(**{name: quote(value, safe="") for name, value in params.items()})
