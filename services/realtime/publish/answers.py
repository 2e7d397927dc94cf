"""What an HTTP client is answered: the router's receipt, under the status that says the same.

Pure. The body is the receipt as the router wrote it.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic_core import from_json

from services.realtime.access.refusals import Refusal
from services.realtime.publish.router_link import NoReceipt

_TAKEN = {"accepted": HTTPStatus.ACCEPTED, "duplicate": HTTPStatus.OK}

# Any other code of a rejection is the payload's or the topic's fault.
_REJECTED = {
    "unauthorized": HTTPStatus.FORBIDDEN,
    "idempotency_conflict": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
}

# Where a rejection for its rate does not say when.
_RETRY_S = 1


def answer_of(receipt: bytes) -> web.Response:
    """Answer with a receipt.

    Raises:
        ValueError: it is none.
    """
    status, headers = _status(from_json(receipt))
    return web.Response(body=receipt, status=status, headers=headers, content_type="application/json")


def _status(receipt: Mapping[str, Any]) -> tuple[HTTPStatus, Mapping[str, str]]:
    word = receipt["status"]
    if word in _TAKEN:
        return _TAKEN[word], {}
    error = receipt["error"]
    status = _REJECTED.get(error["code"], HTTPStatus.BAD_REQUEST)
    if status is not HTTPStatus.TOO_MANY_REQUESTS:
        return status, {}
    return status, {"Retry-After": str(max(1, math.ceil(error.get("retry_after_s", _RETRY_S))))}


def no_router(error: NoReceipt) -> Refusal:
    """Say that nobody answers, and whether the publish may have been accepted all the same."""
    message = "No router answered. It was not accepted."
    if error.is_sent:
        message = "No router answered in time. It may have been accepted: send it again with the same Idempotency-Key."
    return Refusal(503, "unavailable", message, headers={"Retry-After": "2"})
