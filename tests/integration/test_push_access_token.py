"""The access token for FCM, from token endpoints that answer in every way that a peer can."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.credentials import prepare
from services.push.credentials import load_service_account
from services.push.fcm import provider as fcm
from services.push.fcm.provider import AccessToken
from shared.core.clock import SystemClock
from shared.core.errors import ProviderMisconfigured, Reason, TemporaryFailure
from tests import raw_http
from tests.raw_http import raw_server

ANSWER = json.dumps({"access_token": "ya29.token", "expires_in": 3599, "token_type": "Bearer"}).encode()

USABLE: dict[str, Callable[[], raw_http.Pieces]] = {
    "whole": lambda: raw_http.whole(ANSWER),
    "chunked": lambda: raw_http.chunked(ANSWER, 10),
    "byte by byte": lambda: raw_http.byte_by_byte(ANSWER),
    "packed": lambda: raw_http.packed(ANSWER),
}

UNUSABLE: dict[str, Callable[[], raw_http.Pieces]] = {
    "cut": lambda: raw_http.cut(ANSWER),
    "garbage": lambda: raw_http.whole(bytes(range(256))),
    "garbage for HTTP": lambda: [bytes(range(256)) * 10],
    "too long": lambda: raw_http.whole(ANSWER + b" " * 1024 * 1024),
    "too long when unpacked": lambda: raw_http.packed(ANSWER + b" " * 64 * 1024 * 1024),
    "a list": lambda: raw_http.whole(b"[]"),
    "a text": lambda: raw_http.whole(b'"token"'),
    "deep": lambda: raw_http.whole(b"[" * 50_000),
    "a token that is no text": lambda: raw_http.whole(b'{"access_token": {"a": 1}, "expires_in": 3599}'),
    "an end that is no number": lambda: raw_http.whole(b'{"access_token": "a", "expires_in": "soon"}'),
}


async def token_from(folder: Path, url: str) -> str:
    account = json.loads(prepare(folder).fcm_file.read_text())
    (folder / "account.json").write_text(json.dumps({**account, "token_uri": url}))
    tokens = AccessToken(load_service_account(folder / "account.json"), SystemClock())
    try:
        return await tokens.get()
    finally:
        await tokens.close()


@pytest.mark.parametrize("pieces", [pytest.param(answer, id=name) for name, answer in USABLE.items()])
async def test_token_is_read_to_its_end_however_it_comes(pieces: Callable[[], raw_http.Pieces], tmp_path: Path) -> None:
    async with raw_server(pieces) as server:
        assert await token_from(tmp_path, server.url) == "ya29.token"


@pytest.mark.parametrize("pieces", [pytest.param(answer, id=name) for name, answer in UNUSABLE.items()])
async def test_answer_that_is_no_token_is_a_failure_of_the_moment(
    pieces: Callable[[], raw_http.Pieces], tmp_path: Path
) -> None:
    async with raw_server(pieces) as server:
        with pytest.raises(TemporaryFailure) as failure:
            await token_from(tmp_path, server.url)
    assert failure.value.reason in (Reason.NETWORK, Reason.BAD_ANSWER)


async def test_refusal_of_our_account_is_the_operators(tmp_path: Path) -> None:
    body = b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
    async with raw_server(lambda: raw_http.whole(body, status="400 Bad Request")) as server:
        with pytest.raises(ProviderMisconfigured):
            await token_from(tmp_path, server.url)


@pytest.mark.parametrize("body", [b"<html>Blocked by the proxy</html>", b"", b"[]", b'"no"', b'{"message": "no"}'])
async def test_refusal_in_nobodys_words_is_of_somebody_in_between(body: bytes, tmp_path: Path) -> None:
    async with raw_server(lambda: raw_http.whole(body, status="403 Forbidden")) as server:
        with pytest.raises(TemporaryFailure) as failure:
            await token_from(tmp_path, server.url)
    assert failure.value.reason is Reason.BAD_ANSWER


async def test_endpoint_that_drips_its_answer_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcm, "_TOKEN_TIMEOUT_S", 0.5)
    async with raw_server(lambda: raw_http.byte_by_byte(ANSWER * 10)) as server:
        server.pause_s = 0.1
        started_s = time.monotonic()
        with pytest.raises(TemporaryFailure):
            async with asyncio.timeout(20):
                await token_from(tmp_path, server.url)
        assert time.monotonic() - started_s < 5
