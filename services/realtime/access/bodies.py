"""Reads what a client wrote: bodies of requests, numbers in its queries, and the text of its frames.

Promises that a body is read within ``BODY_S``, and that only a JSON object in UTF-8 passes.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic_core import from_json

from services.realtime.access.refusals import FieldProblem, Refusal, from_status, invalid

# For a whole body; bodies are small.
BODY_S = 10.0


async def read_body(request: web.Request) -> bytes:
    """Read a request's body, which was not read yet.

    Raises:
        Refusal: it does not come in time, or the client went away.
        web.HTTPRequestEntityTooLarge: it is larger than the request allows.
    """
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise Refusal(408, "too_slow", "The body did not come in time.", headers={"Connection": "close"}) from None
    except ConnectionResetError:
        # Nobody reads the answer.
        raise from_status(HTTPStatus.BAD_REQUEST) from None


async def json_object(request: web.Request, *, optional: bool = False) -> dict[str, Any]:
    """Read a request's body.

    Args:
        request: its body was not read yet.
        optional: an empty body stands for an empty object.

    Raises:
        Refusal: it is not a JSON object, or it does not come.
    """
    body = await read_body(request)
    if optional and not body:
        return {}
    value = read_json(body)
    if not isinstance(value, dict):
        raise invalid(FieldProblem("body", "must be a JSON object in UTF-8"))
    return value


def read_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever the text says
    """Read what a client wrote; None where it is no JSON.

    ``json.loads`` takes halves of surrogate pairs, NaN and UTF-16, which the store and other clients do not take. jiter
    takes UTF-8 only, and stops at 200 levels.
    """
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return None


def whole_number(request: web.Request, name: str, default: int) -> int:
    """Read a whole number above 0 from the query; a very large one may be read as a smaller one that is large, too.

    Raises:
        Refusal: it is none.
    """
    text = request.query.get(name, str(default))
    # Only some digits are read, because int() refuses thousands of them.
    if not (text.isascii() and text.isdigit() and int(text[:6]) >= 1):
        raise invalid(FieldProblem(name, "must be a whole number above 0"))
    return int(text[:6])
