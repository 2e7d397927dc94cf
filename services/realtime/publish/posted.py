"""Reads what publishers post, up to the largest payload of a topic."""

import asyncio
from http import HTTPStatus

from aiohttp import web

from services.realtime.access.bodies import BODY_S
from services.realtime.access.refusals import Refusal, from_status
from services.realtime.publish.places import Place
from shared.core.limits import PAYLOAD_BYTES


async def read_posted(request: web.Request, place: Place) -> bytes:
    """Read a body of any size that MQTT takes.

    Raises:
        Refusal: it is larger, or does not come in time.
    """
    if (request.content_length or 0) > PAYLOAD_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.content.iter_any():
                place.take(len(part))
                body += part
                if len(body) > PAYLOAD_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise Refusal(408, "too_slow", "The body did not come in time.", headers={"Connection": "close"}) from None
    except ConnectionResetError:
        # Nobody reads the answer.
        raise from_status(HTTPStatus.BAD_REQUEST) from None
    return bytes(body)


def _too_large() -> Refusal:
    return Refusal(413, "too_large", f"The body is larger than {PAYLOAD_BYTES} bytes, which no topic takes.")
