"""Sends google-auth's requests for access tokens through the HTTP client that the push service uses.

google-auth is blocking and runs in a thread. Its own transport over ``requests`` bounds neither the size of an answer
nor its total time. This one hands each request to the event loop, and the thread waits for the answer.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from google.auth.exceptions import TransportError
from google.auth.transport import Request

from shared.delivery import http_answer

# A token is some 2 KB at most (developers.google.com/identity/protocols/oauth2, "Token size").
_ANSWER_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What google-auth reads of an answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class TokenTransport(Request):
    """Makes requests for a thread.

    Args:
        session: of the loop that runs now.
        within_s: for one request, from the connection to the answer's last byte.
    """

    def __init__(self, session: aiohttp.ClientSession, within_s: float) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._within_s = within_s

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the base's signature; the bound is ours
        **_more: object,
    ) -> TokenAnswer:
        """Make one request and wait for its answer; called from a thread that is not the loop's.

        Raises:
            TransportError: there is no whole answer in time.
        """
        asking = asyncio.run_coroutine_threadsafe(self._ask(url, method, body, headers), self._loop)
        try:
            return asking.result()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Only the kind: the text may hold the URL.
            raise TransportError(type(error).__name__) from None  # type: ignore[no-untyped-call]

    async def _ask(self, url: str, method: str, body: bytes | None, headers: Mapping[str, str] | None) -> TokenAnswer:
        async with (
            asyncio.timeout(self._within_s),
            self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            answer = await http_answer.whole(response, _ANSWER_LIMIT_BYTES, within_s=None)
            return TokenAnswer(response.status, dict(response.headers), answer)
