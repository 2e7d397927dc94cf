"""The sandbox's FCM, with google-auth to get in."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from sandbox.script import Rule
from sandbox.server import Options, Sandbox, running

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


def play(box: Sandbox, fault: dict[str, object], to: str | None = None) -> None:
    box.script.add(Rule.model_validate({"provider": "fcm", "to": to, "fault": fault}))


async def access_token(box: Sandbox, scope: str = SCOPE) -> str:
    credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
        str(box.credentials.fcm_file), scopes=[scope]
    )
    await asyncio.to_thread(credentials.refresh, Request())
    return str(credentials.token)


async def send(
    box: Sandbox,
    message: Mapping[str, object],
    *,
    token: str | None = None,
    project: str | None = None,
    timeout_s: float = 5,
) -> tuple[int, dict[str, object]]:
    url = f"{box.addresses.http_url}/v1/projects/{project or box.credentials.fcm_project}/messages:send"
    headers = {"Authorization": f"Bearer {token or await access_token(box)}"}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.post(url, json={"message": message}) as answer,
    ):
        return answer.status, await answer.json()


def a_message(**more: object) -> dict[str, object]:
    return {"token": "device-1", "notification": {"title": "Hello", "body": "Good morning."}, **more}


def entries(box: Sandbox) -> list[dict[str, object]]:
    return [entry.as_json() for entry in box.kept.select()]


def error_of(answer: Mapping[str, object]) -> dict[str, object]:
    error = answer["error"]
    assert isinstance(error, dict)
    return error


async def test_a_message_is_taken_and_named(box: Sandbox) -> None:
    status, answer = await send(box, a_message(data={"carillon_id": "notification-1"}))
    assert status == 200
    [entry] = entries(box)
    assert entry["id"] == answer["name"]
    assert str(answer["name"]).startswith(f"projects/{box.credentials.fcm_project}/messages/")
    assert (entry["to"], entry["title"], entry["body"]) == ("device-1", "Hello", "Good morning.")
    assert entry["data"] == {"carillon_id": "notification-1"}
    assert entry["notification_id"] == "notification-1"


async def test_access_tokens_outlive_a_restart_and_forged_ones_do_not_work(data: Path) -> None:
    async with running(Options(data=data)) as box:
        token = await access_token(box)
    async with running(Options(data=data)) as box:
        assert (await send(box, a_message(), token=token))[0] == 200
        status, answer = await send(box, a_message(), token=f"{token}0")
        assert (status, error_of(answer)["status"]) == (401, "UNAUTHENTICATED")


async def test_an_assertion_by_another_key_or_scope_is_refused(box: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(RefreshError, match="scope"):
        await access_token(box, scope="https://www.googleapis.com/auth/drive")
    async with running(Options(data=tmp_path)) as other:
        account = json.loads(other.credentials.fcm_file.read_bytes())
    account["token_uri"] = f"{box.addresses.http_url}/token"
    credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        account, scopes=[SCOPE]
    )
    with pytest.raises(RefreshError, match="Invalid JWT Signature"):
        await asyncio.to_thread(credentials.refresh, Request())


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ({"token": "not a token"}, "FcmError"),
        ({"notification": {"title": "nobody"}}, "FcmError"),
        ({"token": "device-1", "data": {"number": 5}}, "BadRequest"),
        ({"token": "device-1", "data": {"long": "x" * 4096}}, None),
    ],
)
async def test_a_malformed_message_is_refused_in_googles_words(
    box: Sandbox, message: dict[str, object], detail: str | None
) -> None:
    status, answer = await send(box, message)
    assert (status, error_of(answer)["status"]) == (400, "INVALID_ARGUMENT")
    details = error_of(answer).get("details", [])
    assert isinstance(details, list)
    assert (detail is None) == (not details)
    assert detail is None or any(each["@type"].endswith(detail) for each in details)
    assert entries(box) == []


async def test_another_project_is_refused(box: Sandbox) -> None:
    status, answer = await send(box, a_message(), project="other")
    assert (status, error_of(answer)["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("fault", "status", "canonical", "code"),
    [
        ({"status": 404}, 404, "NOT_FOUND", "UNREGISTERED"),
        ({"status": 429, "headers": {"Retry-After": "2"}}, 429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
        ({"status": 503}, 503, "UNAVAILABLE", "UNAVAILABLE"),
        ({"status": 403}, 403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
        ({"operator": True}, 401, "UNAUTHENTICATED", None),
    ],
)
async def test_a_scripted_refusal_reaches_the_client_once(
    box: Sandbox, fault: dict[str, object], status: int, canonical: str, code: str | None
) -> None:
    play(box, fault, to="device-1")
    seen, answer = await send(box, a_message())
    assert (seen, error_of(answer)["status"]) == (status, canonical)
    details = error_of(answer).get("details")
    assert details == (
        None if code is None else [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]
    )
    assert (await send(box, a_message()))[0] == 200


async def test_the_token_endpoint_fails_on_its_own(box: Sandbox) -> None:
    play(box, {"status": 400, "at": "token"})
    with pytest.raises(RefreshError, match="invalid_grant"):
        await access_token(box)
    assert await access_token(box)


@pytest.mark.parametrize("to", [None, "device-1"])
@pytest.mark.parametrize(("fault", "kept"), [({"cut": "before"}, 0), ({"cut": "after"}, 1), ({"hang": True}, 0)])
async def test_a_silent_provider_keeps_what_it_took(
    box: Sandbox, fault: dict[str, object], kept: int, to: str | None
) -> None:
    token = await access_token(box)
    play(box, fault, to=to)
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        await send(box, a_message(), token=token, timeout_s=0.3)
    assert len(entries(box)) == kept
