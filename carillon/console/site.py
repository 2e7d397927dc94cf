"""The framework of the console's pages: it serves each ``Page`` and each ``Action`` of a list.

Promises for every page and action, whoever wrote it:

- A stranger is led to the sign-in, and learns nothing else. Whoever lacks the role is told so.
- An action is done only with the token of the session's own forms, from the console's own origin, and stands in the log
  of changes before it is done.
- What is read has a time limit, and so many are read at once. What goes wrong is told in words, without the text of an
  error.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web
from multidict import MultiDict

from carillon.console.backend import Backend
from carillon.console.changes import Changes, Outcome
from carillon.console.forms import FIELDS, BadForm, Form
from carillon.console.limits import Busy, Readers
from carillon.console.live import Streams
from carillon.console.page import Action, Done, Page, Problem, Section, Visit
from carillon.console.rendering import Rendering
from carillon.console.roles import Role
from carillon.console.sessions import Session, Sessions
from carillon.console.signing import Signing
from carillon.console.static_files import StaticFiles
from carillon.publisher import NoReceipt, NotConnected
from carillon.version import VERSION
from shared.core.clock import Clock, SystemClock
from shared.core.errors import StoreUnavailable
from shared.telemetry.log import frames

log = logging.getLogger(__name__)

SIGN_IN = "/sign-in"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not ``no-referrer``: browsers would then hide the origin of the console's own forms, too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# An action may publish and wait for a receipt, and a replay of many dead letters takes its time.
ACT_S = 20.0
# What is told once, on the next page.
_SAID, _SAID_S = "carillon-said", 60
_FORM_FIELD = "csrf"
_PATH_CHARS = 500

# Who has sent a request, once that is known.
_SESSION: web.RequestKey[Session] = web.RequestKey("session", Session)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of the table of what is served; ``role`` None is for everybody."""

    method: str
    path: str
    role: Role | None


class Site:
    """All pages of one console.

    Args:
        url: where people reach it, for the check of a form's origin.
    """

    def __init__(
        self,
        backend: Backend,
        sessions: Sessions,
        signing: Signing,
        pages: Sequence[Page],
        *,
        url: str = "",
        clock: Clock | None = None,
    ) -> None:
        self.backend = backend
        self.sessions = sessions
        self.changes = Changes(backend.store, backend.keys)
        self.readers = Readers()
        self.streams = Streams(clock)
        self.routes: list[Route] = []
        self._signing = signing
        self._pages = pages
        self._hosts = {urlsplit(url).netloc} if url else set()
        self._clock = clock or SystemClock()
        self._rendering = Rendering()
        self._static = StaticFiles()
        names = [page.name for page in pages]
        if len(set(names)) != len(names):
            raise ValueError(f"two pages have one name: {sorted(names)}")

    @property
    def now(self) -> datetime:
        """The time."""
        return self._clock.now()

    def add_to(self, app: web.Application) -> None:
        """Serve the pages."""
        app.middlewares.append(self._guard)
        self.add(app, "GET", "/static/{version}/{name}", self._static.serve, None)
        for page in self._pages:
            self.add(app, "GET", page.path, self._showing(page), page.role)
            for action in page.actions:
                self.add(app, "POST", action.path, self._acting(page, action), action.role)

        async def close(_app: web.Application) -> None:
            self.streams.close()

        app.on_shutdown.append(close)

    def add(self, app: web.Application, method: str, path: str, handler: Handler, role: Role | None) -> None:
        """Serve one path, and put it into the table."""
        self.routes.append(Route(method, path, role))
        app.router.add_route(method, path, handler)

    # Answers

    def respond(
        self,
        request: web.Request,
        template: str,
        context: Mapping[str, Any],
        *,
        title: str,
        session: Session | None = None,
        page: Page | None = None,
        status: int = 200,
        said: Mapping[str, Any] | None = None,
    ) -> web.Response:
        """Write a page in the layout."""
        kept = request.cookies.get(_SAID)
        if said is None and kept and session:
            said = self._signing.read(_purpose(session), kept)
        layout = self._layout(session, page, self._clock.now()) | {
            "title": title, "said": said, "path": request.rel_url.raw_path_qs,
        }  # fmt: skip
        text = self._rendering.render(template, {**layout, **context})
        response = web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
        if kept:
            response.del_cookie(_SAID, path="/")
        return response

    def _layout(self, session: Session | None, page: Page | None, now: datetime) -> dict[str, Any]:
        role = session.role if session else None
        shown = [each for each in self._pages if each.section and role is not None and role >= each.role]
        return {
            "static": self._static.base,
            "version": VERSION,
            "now": now,
            "session": session,
            "csrf": self.sessions.form_token(session) if session and session.id else "",
            "page": page,
            "here": (page.within or page.name) if page else "",
            "sections": [(part.value, [each for each in shown if each.section is part]) for part in Section],
            "may": lambda word: role is not None and role >= (Role.of(word) or Role.OPERATOR),
        }

    def problem(self, request: web.Request, problem: Problem, session: Session | None = None) -> web.Response:
        """Say in words what is wrong."""
        context = {"words": problem.words, "problems": problem.problems, "status": problem.status}
        return self.respond(
            request, "problem.html", context, title=problem.title, session=session, status=problem.status
        )

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Problem as problem:
            response = self.problem(request, problem, request.get(_SESSION))
        except web.HTTPRedirection as elsewhere:
            response = web.Response(status=elsewhere.status, headers={"Location": elsewhere.headers["Location"]})
        except web.HTTPException as error:
            response = self.problem(request, _of_http(error), request.get(_SESSION))
        except Exception as error:  # noqa: BLE001 - a page's mistake must not stop the console
            response = self.problem(request, _of_failure(error), request.get(_SESSION))
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    # Who asks

    async def signed_in(self, request: web.Request, role: Role) -> Session:
        """Return who sends this request.

        Raises:
            HTTPSeeOther: a stranger wants to see a page.
            Problem: a stranger wants to do something, or the role does not allow it.
        """
        session = await self.sessions.read(request)
        if session is None:
            if request.method != "GET" or _wants_stream(request):
                raise Problem(401, "Sign in", "You are not signed in (any more). Sign in, and do it again.")
            raise web.HTTPSeeOther(f"{SIGN_IN}?to={quote(request.rel_url.raw_path_qs[:_PATH_CHARS], safe='')}")
        request[_SESSION] = session
        if session.role < role:
            words = f"This needs the role {role.word}. You are signed in as {session.role.word}."
            raise Problem(403, "Not allowed", words)
        return session

    def check_origin(self, request: web.Request) -> None:
        """Take a form from the console's own pages only.

        Raises:
            Problem: another site sent it.
        """
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "same-origin")
        from_here = origin is None or urlsplit(origin).netloc in {request.host, *self._hosts} - {""}
        if not from_here or site not in ("same-origin", "none"):
            raise Problem(403, "Not from here", "The form was sent by another site. Nothing was done.")

    async def read_form(self, request: web.Request) -> dict[str, str]:
        """Read a form's fields; of several with one name the last.

        Raises:
            Problem: it is no form of ours.
        """
        if request.content_type != "application/x-www-form-urlencoded":
            raise Problem(415, "Not a form", "The console takes forms as its pages send them.")
        fields: MultiDict[Any] = MultiDict(await request.post())
        if len(fields) > FIELDS:
            raise Problem(413, "Too large", f"A form has at most {FIELDS} fields.")
        return {name: str(value) for name, value in fields.items()}

    def _visit(self, session: Session, request: web.Request) -> Visit:
        return Visit(self.backend, session, dict(request.match_info), request.query, self._clock.now(), self.changes)

    # Pages

    def _showing(self, page: Page) -> Handler:
        async def show(request: web.Request) -> web.StreamResponse:
            session = await self.signed_in(request, page.role)
            visit = self._visit(session, request)
            key = (page.name, request.rel_url.raw_path_qs, session.role)
            if _wants_stream(request):
                return await self._stream(request, page, visit, key)
            content = self.streams.latest(key) or await self._read(page, visit)
            if isinstance(content, web.StreamResponse):
                return content
            return self.respond(request, f"{page.name}.html", content, title=page.title, session=session, page=page)

        return show

    async def _read(self, page: Page, visit: Visit) -> Mapping[str, Any] | web.StreamResponse:
        async with self.readers.place():
            return await page.show(visit)

    async def _stream(self, request: web.Request, page: Page, visit: Visit, key: object) -> web.StreamResponse:
        if page.live_s is None:
            raise Problem(406, "Not live", "This page does not change by itself.")
        # What all who look at it see: nobody's name and nobody's token.
        role = visit.session.role
        anybody = Session("", "", role, "", visit.session.since, visit.session.until)

        async def read() -> Mapping[str, Any]:
            shared = Visit(visit.backend, anybody, visit.params, visit.query, self._clock.now(), visit.changes)
            content = await self._read(page, shared)
            if isinstance(content, web.StreamResponse):
                raise TypeError("a live page has no answer of its own")
            return content

        def write(content: Mapping[str, Any], now: datetime) -> str:
            return self._rendering.render(f"{page.name}.live.html", {**self._layout(anybody, page, now), **content})

        async def goes_on() -> bool:
            try:
                return await self.sessions.read(request) is not None
            except StoreUnavailable:
                # The page says so itself.
                return True

        return await self.streams.serve(request, key, every_s=page.live_s, read=read, write=write, goes_on=goes_on)

    # Actions

    def _acting(self, page: Page, action: Action) -> Handler:
        async def act(request: web.Request) -> web.StreamResponse:
            session = await self.signed_in(request, action.role)
            fields = await self.checked_form(request, session)
            visit = self._visit(session, request)
            done = await self._do(action, visit, Form(fields))
            said = {"words": done.words, "outcome": done.outcome}
            if done.to is None:
                content = await self._read(page, visit)
                if isinstance(content, web.StreamResponse):
                    return content
                return self.respond(
                    request, f"{page.name}.html", {**content, **done.shown},
                    title=page.title, session=session, page=page, said=said,
                )  # fmt: skip
            response = web.Response(status=303, headers={"Location": done.to})
            response.set_cookie(
                _SAID, self._signing.sign(_purpose(session), said), max_age=_SAID_S, path="/", httponly=True,
                secure=self.sessions.secure, samesite="Lax",
            )  # fmt: skip
            return response

        return act

    async def checked_form(self, request: web.Request, session: Session) -> dict[str, str]:
        """Read a form that this session was given.

        Raises:
            Problem: it is from elsewhere.
        """
        self.check_origin(request)
        fields = await self.read_form(request)
        if not self.sessions.is_form_of(session, fields.pop(_FORM_FIELD, "")):
            raise Problem(403, "Not from this page", "The form is not one of your session. Load the page again.")
        return fields

    async def _do(self, action: Action, visit: Visit, form: Form) -> Done:
        if not action.is_change:
            return await self._done(action, visit, form)
        target = visit.params[action.target] if action.target else ""
        change = await self.changes.begin(visit.session, action.what, target, form.kept(action.keeps))
        try:
            done = await self._done(action, visit, form)
        except Problem as problem:
            # Whatever it was, the log says so.
            outcome = Outcome.FAILED if problem.status >= 500 else Outcome.REFUSED
            await self._ended(action, change, outcome, problem.words)
            raise
        await self._ended(action, change, done.outcome, done.words, before=done.before, after=done.after)
        return done

    async def _done(self, action: Action, visit: Visit, form: Form) -> Done:
        """Do it within its time.

        Raises:
            Problem: it is not done, or nobody knows.
        """
        try:
            async with asyncio.timeout(ACT_S):
                return await action.do(visit, form)
        except BadForm as bad:
            words = "Some fields are not right. Go back and mend them."
            raise Problem(400, "Not done", words, bad.problems) from None
        except Problem:
            raise
        except Exception as error:  # noqa: BLE001 - a mistake in one action must not stop the console
            raise _of_failure(error) from None

    async def _ended(self, action: Action, change: str, outcome: Outcome, words: str, **sides: Any) -> None:  # noqa: ANN401
        log.info("change", extra={"what": action.what, "change_id": change, "outcome": outcome.value})
        try:
            await self.changes.end(change, outcome, words, **sides)
        except StoreUnavailable:
            # It is done. The log of changes shows it as one whose end is not known.
            log.error("the end of a change is not written", extra={"change_id": change})  # noqa: TRY400


def local_path(text: str) -> str:
    """Return a path of this console to go on with; its first page where it is none."""
    parts = urlsplit(text)
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_path and not parts.scheme and not parts.netloc and len(text) <= _PATH_CHARS else "/"


def _purpose(session: Session) -> str:
    return f"said:{session.id}"


def _wants_stream(request: web.Request) -> bool:
    return request.headers.get("Accept", "").startswith("text/event-stream")


def _of_http(error: web.HTTPException) -> Problem:
    known = {
        404: ("Not there", "There is no page of that name."),
        405: ("Not so", "This cannot be done here."),
        413: ("Too large", "The form is too large."),
    }
    return Problem(error.status, *known.get(error.status, ("Not understood", "The request cannot be served.")))


def _of_failure(error: Exception) -> Problem:
    match error:
        case StoreUnavailable():
            return Problem(503, "The store does not answer", "Nothing can be read for now. Try again shortly.")
        case Busy():
            return Problem(503, "Busy", "Too many pages are read at once. Try again shortly.")
        case TimeoutError():
            return Problem(504, "Too slow", "It takes too long, and was given up. Ask for less.")
        case NotConnected():
            return Problem(503, "The broker does not answer", "Nothing was done. Try again shortly.")
        case NoReceipt():
            return Problem(504, "No answer", "No router has answered. It may happen yet: look before you do it again.")
        case _:
            # Without its text: that may quote what was read.
            log.error("a page failed", extra={"error": type(error).__name__, "frames": frames(error)})
            return Problem(500, "Something went wrong", "It is our mistake, not yours.")
