"""What the HTTP side answers when it cannot do what was asked.

Every such answer is ``{"error": {"code", "message", "fields"}}``. Messages are fixed sentences of our own. They repeat
nothing that the client sent, and nothing about an error inside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.core.model import Platform


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field; ``field`` is its path, such as ``keys.auth``."""

    field: str
    problem: str


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        code: a stable word for programs.
        message: a sentence for people.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.fields = tuple(fields)
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        """Write the answer."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.fields:
            error["fields"] = [{"field": problem.field, "problem": problem.problem} for problem in self.fields]
        return web.json_response({"error": error}, status=self.status, headers=self.headers)


def unauthorized() -> Refusal:
    """Refuse a request without a valid token or ticket (RFC 9110, 11.6.1: with a challenge)."""
    return Refusal(401, "unauthorized", "A valid token or ticket is required.", headers={"WWW-Authenticate": "Bearer"})


def not_found() -> Refusal:
    """Refuse what is not there, or not there for this user; the two look alike."""
    return Refusal(404, "not_found", "There is nothing by that name.")


def invalid(*problems: FieldProblem) -> Refusal:
    """Refuse a request whose fields are wrong."""
    return Refusal(400, "invalid_request", "Some fields are not valid.", fields=problems)


def unavailable() -> Refusal:
    """Refuse for the moment."""
    return Refusal(503, "unavailable", "Try again shortly.", headers={"Retry-After": "2"})


def too_many_requests(message: str, wait_s: float) -> Refusal:
    """Refuse what comes too fast, and say when to come again."""
    return Refusal(429, "too_many_requests", message, headers={"Retry-After": str(math.ceil(wait_s))})


def from_validation(error: ValidationError) -> Refusal:
    """Translate pydantic's findings."""
    return invalid(*(_problem(detail) for detail in error.errors(include_url=False, include_input=False)))


def _problem(detail: ErrorDetails) -> FieldProblem:
    location, kind, context = list(detail["loc"]), detail["type"], detail.get("ctx", {})
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        # pydantic blames the object, and repeats the value of the discriminator.
        words = "required" if kind == "union_tag_not_found" else f"must be one of {', '.join(Platform)}"
        return FieldProblem(".".join(map(str, [*location, str(context["discriminator"]).strip("'")])), words)
    if location and location[0] in list(Platform):
        # pydantic puts the platform into the path. The client's document has no such field.
        del location[0]
    known = {"missing": "required", "extra_forbidden": "unknown", "bool_type": "must be true or false"}
    return FieldProblem(
        ".".join(map(str, location)) or "body", known.get(kind, detail["msg"].removeprefix("Value error, "))
    )


def from_http(error: web.HTTPException) -> Refusal:
    """Translate what aiohttp itself refuses."""
    return from_status(error.status, {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {})


def from_status(status: int, headers: Mapping[str, str] | None = None) -> Refusal:
    """Refuse with a status that aiohttp has chosen."""
    known = {
        404: ("not_found", "There is nothing by that name."),
        405: ("method_not_allowed", "This method is not allowed here."),
        413: ("too_large", "The body is too large."),
        500: ("internal_error", "Something went wrong here."),
    }
    code, message = known.get(status, ("bad_request", "The request cannot be served."))
    return Refusal(status, code, message, headers=headers)
