"""Public keys from ``REALTIME_JWKS_URL`` (RFC 7517), kept and renewed.

Promises that tokens with unknown key ids make at most one request to the key server each ``REFETCH_AFTER_S``, and that
known keys go on working while the key server is away.
"""

import asyncio
import logging
import time
from typing import Any

import aiohttp
import jwt

from services.realtime.auth import Unauthenticated

log = logging.getLogger(__name__)

# Asymmetric algorithms only: with "none" or an HMAC, whoever knows the public keys could sign.
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})

# How long fetched keys are used without asking again.
FRESH_S = 600.0

# At least this long between two requests, however many unknown key ids are presented.
REFETCH_AFTER_S = 10.0

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_ANSWER_BYTES = 512 * 1024


class KeysUnavailable(Exception):
    """There are no keys at all yet, because the key server did not answer."""


class RemoteKeys:
    """The key set at one URL; use it as an async context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_s: float | None = None
        self._asked_s: float | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> "RemoteKeys":
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True)
        return self

    async def __aexit__(self, *_exc: object) -> None:
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
        except jwt.PyJWTError:
            raise Unauthenticated from None
        algorithm, name = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise Unauthenticated
        await self._renew(name)
        if not self._keys and self._fetched_s is None:
            raise KeysUnavailable
        key = self._keys.get(name)
        if key is None and name is None and len(self._keys) == 1:
            key = next(iter(self._keys.values()))
        if key is None or key.algorithm_name != algorithm:
            raise Unauthenticated
        return key.key, [algorithm]

    async def _renew(self, name: str | None) -> None:
        if not self._is_due(name):
            return
        async with self._lock:
            if self._is_due(name):
                await self._fetch()

    def _is_due(self, name: str | None) -> bool:
        now_s = time.monotonic()
        if self._asked_s is not None and now_s - self._asked_s < REFETCH_AFTER_S:
            return False
        known = name in self._keys or (name is None and self._keys)
        return not known or self._fetched_s is None or now_s - self._fetched_s > FRESH_S

    async def _fetch(self) -> None:
        assert self._session is not None  # noqa: S101 - entered before it is used
        self._asked_s = time.monotonic()
        try:
            async with self._session.get(self._url, allow_redirects=False) as response:
                response.raise_for_status()
                body = await response.content.read(_ANSWER_BYTES)
            keys = jwt.PyJWKSet.from_json(body.decode()).keys
        except (aiohttp.ClientError, TimeoutError, jwt.PyJWTError, ValueError) as error:
            log.warning("key set not fetched", extra={"error": type(error).__name__})
            return
        usable = [key for key in keys if key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS]
        self._keys = {key.key_id: key for key in usable}
        self._fetched_s = self._asked_s
