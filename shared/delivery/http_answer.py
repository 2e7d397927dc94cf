"""Reads the body of an HTTP answer: a bounded number of bytes, and within a deadline.

All code here that reads an answer does it through this module. ``response.content.read(n)`` returns what has come so
far, which may be one TCP segment, and ``response.read()`` has no bound. The functions here read until the end or the
bound.

The bound counts unpacked bytes. aiohttp unpacks only as far as we read, so a small answer that unpacks to gigabytes
costs no more than any other.
"""

import asyncio

import aiohttp


class AnswerTooLong(aiohttp.ClientPayloadError):
    """An answer goes on beyond its bound."""


async def beginning(response: aiohttp.ClientResponse, most_bytes: int, within_s: float | None) -> bytes:
    """Read an answer's body up to a bound; what comes after it is not read.

    Args:
        response: of which nothing was read yet.
        most_bytes: of the body, unpacked.
        within_s: for the body alone; None where the caller's own deadline ends the whole exchange.

    Raises:
        aiohttp.ClientError: the answer broke off, or cannot be unpacked.
        TimeoutError: it did not end in time.
    """
    read = bytearray()
    async with asyncio.timeout(within_s):
        while len(read) < most_bytes and (chunk := await response.content.read(most_bytes - len(read))):
            read += chunk
    return bytes(read)


async def whole(response: aiohttp.ClientResponse, most_bytes: int, within_s: float | None) -> bytes:
    """Read an answer's body to its end; the arguments and errors are those of ``beginning``.

    Raises:
        AnswerTooLong: it has more than ``most_bytes``.
    """
    read = await beginning(response, most_bytes + 1, within_s)
    if len(read) > most_bytes:
        raise AnswerTooLong
    return read
