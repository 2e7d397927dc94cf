"""Public keys from ``REALTIME_JWKS_URL`` (RFC 7517), kept and renewed.

Promises that all callers who wait share one request, and that a caller whose key is known never waits for the key
server. Tokens with unknown key ids cause at most one request in ``REFETCH_AFTER_S``. Known keys go on working while the
key server is down or answers nonsense. A key that it no longer publishes ends at most ``FRESH_S`` later.
"""

import asyncio
import json
import logging
import time
from contextlib import suppress
from typing import Any

import aiohttp
import jwt

from services.realtime.access.tokens import UNREADABLE, Unauthenticated
from shared.delivery import http_answer

log = logging.getLogger(__name__)

# Asymmetric algorithms only: with "none" or an HMAC, whoever knows the public keys could sign.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})

# How long fetched keys are used without asking again.
FRESH_S = 600.0

# At least this long between two requests, however many unknown key ids are presented.
REFETCH_AFTER_S = 10.0

# The same while there are no keys yet, and so nobody can log in.
RETRY_FIRST_S = 1.0

# For the whole exchange: a caller with an unknown key waits for it.
ANSWER_WITHIN_S = 5.0
ANSWER_BYTES = 512 * 1024


class KeysUnavailable(Exception):
    """There are no keys at all yet, because the key server did not answer."""


class RemoteKeys:
    """The key set at one URL. Use it as an async context manager: on entry it begins to fetch."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._asked_s: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._is_away = False

    async def __aenter__(self) -> "RemoteKeys":
        self._session = aiohttp.ClientSession(trust_env=True)
        self._renewing = asyncio.create_task(self._keep_fresh(), name="key set")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        tasks = {task for task in (self._renewing, self._fetching) if task is not None}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def key(self, token: str) -> tuple[Any, list[str]]:
        """Return the key that a token names and the one algorithm that it may use.

        A key without ``alg`` stands for RS256, or for the algorithm of its curve.

        Raises:
            Unauthenticated: no key of ours has that name, or not for that algorithm.
            KeysUnavailable: no keys could be fetched yet.
        """
        try:
            header = jwt.get_unverified_header(token)
        except UNREADABLE:
            raise Unauthenticated from None
        algorithm, name = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise Unauthenticated
        key = self._named(name)
        if key is None:
            await self._fetched()
            key = self._named(name)
        if not self._keys:
            raise KeysUnavailable
        if key is None or key.algorithm_name != algorithm:
            raise Unauthenticated
        return key.key, [algorithm]

    def _named(self, name: str | None) -> jwt.PyJWK | None:
        key = self._keys.get(name)
        if key is None and name is None and len(self._keys) == 1:
            key = next(iter(self._keys.values()))
        return key

    async def _keep_fresh(self) -> None:
        """Fetch the keys at intervals, so that callers need not wait for it."""
        while True:
            await self._fetched()
            await asyncio.sleep(self._pause_s if self._is_away else FRESH_S)

    @property
    def _pause_s(self) -> float:
        return REFETCH_AFTER_S if self._keys else min(RETRY_FIRST_S, REFETCH_AFTER_S)

    async def _fetched(self) -> None:
        """Wait for the request under way, or for one that begins now; return at once if it is too soon for one."""
        if self._fetching is None:
            now_s = time.monotonic()
            if self._asked_s is not None and now_s - self._asked_s < self._pause_s:
                return
            self._asked_s = now_s
            self._fetching = asyncio.create_task(self._fetch(), name="key set request")
        # A caller who leaves does not end what others wait for.
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                self._keys = _usable(await self._ask())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            if not self._is_away:
                log.warning("key set not fetched", extra={"error": type(error).__name__})
            self._is_away = True
        else:
            if self._is_away:
                log.info("key set fetched again")
            self._is_away = False
        finally:
            self._fetching = None

    async def _ask(self) -> bytes:
        assert self._session is not None  # noqa: S101 - entered before it is used
        # A redirect could lead to somebody else's keys.
        async with self._session.get(self._url, allow_redirects=False) as response:
            response.raise_for_status()
            # The deadline of the exchange holds for the body, too.
            return await http_answer.whole(response, ANSWER_BYTES, within_s=None)


def _usable(answer: bytes) -> dict[str | None, jwt.PyJWK]:
    """Read the keys of a set that we can use. A key that we cannot read does not spoil the others.

    Raises:
        ValueError: there are none.
    """
    value = json.loads(answer)
    entries = value.get("keys") if isinstance(value, dict) else None
    keys: dict[str | None, jwt.PyJWK] = {}
    for entry in entries if isinstance(entries, list) else ():
        # PyJWT checks the type of few members. A list where a word belongs can raise any of these.
        with suppress(jwt.PyJWTError, TypeError, ValueError, AttributeError, KeyError):
            key = jwt.PyJWK(entry)
            if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS:
                keys[key.key_id] = key
    if not keys:
        raise ValueError("no usable key")
    return keys
