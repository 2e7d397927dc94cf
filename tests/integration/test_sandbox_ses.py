"""The sandbox's SES: what it checks of a request, and its words."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from sandbox import sigv4
from sandbox.credentials import SES_REGION
from sandbox.script import Rule
from sandbox.server import Sandbox
from sandbox.ses import CONFIGURATION_SET, PATH

RAW = (
    b"From: Carillon <notifications@example.com>\r\nTo: user123@example.com\r\nSubject: Hello\r\n"
    b"X-Carillon-Notification: n-1\r\n\r\nGood morning.\r\n"
)
# The example of AWS's test suite for Signature Version 4.
EXAMPLE = sigv4.AccessKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service")


def request(raw: bytes = RAW, **others: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": "notifications@example.com",
        "Destination": {"ToAddresses": ["user123@example.com"]},
        "Content": {"Raw": {"Data": base64.b64encode(raw).decode()}},
        **others,
    }


def key(box: Sandbox, **others: str) -> sigv4.AccessKey:
    given = {
        "key_id": box.credentials.ses_access_key_id,
        "secret": box.credentials.ses_secret_access_key,
        "region": SES_REGION,
        "service": "ses",
    }
    return sigv4.AccessKey(**(given | others))


def signed(box: Sandbox, by: sigv4.AccessKey, body: bytes, age: timedelta = timedelta(0)) -> dict[str, str]:
    time = f"{datetime.now(UTC) - age:%Y%m%dT%H%M%SZ}"
    headers = {
        "content-type": "application/json", "host": f"127.0.0.1:{box.addresses.http_port}", "x-amz-date": time,
    }  # fmt: skip
    text = sigv4.canonical_request("POST", PATH, headers, body)
    scope = f"{time[:8]}/{by.region}/{by.service}/aws4_request"
    names = ";".join(sorted(headers))
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={by.key_id}/{scope}, SignedHeaders={names}, "
        f"Signature={sigv4.signature(by, time, text)}"
    )
    return headers | {"authorization": authorization}


async def post(box: Sandbox, headers: dict[str, str], body: bytes) -> tuple[int, str, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{box.addresses.http_url}{PATH}", headers=headers, data=body) as answer,
    ):
        return answer.status, answer.headers.get("x-amzn-ErrorType", ""), await answer.json()


async def send(box: Sandbox, wanted: object) -> tuple[int, str, dict[str, Any]]:
    body = json.dumps(wanted).encode()
    return await post(box, signed(box, key(box), body), body)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # get-vanilla and post-vanilla
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ],
)
def test_signatures_are_those_of_the_test_suite(method: str, expected: str) -> None:
    time = "20150830T123600Z"
    text = sigv4.canonical_request(method, "/", {"host": "example.amazonaws.com", "x-amz-date": time}, b"")
    assert sigv4.signature(EXAMPLE, time, text) == expected


async def test_a_mail_is_taken_and_kept_once_for_each_recipient(box: Sandbox) -> None:
    everybody = {"ToAddresses": ["user123@example.com"], "CcAddresses": ["User 456 <user456@example.com>"]}
    status, _, said = await send(box, request(Destination=everybody, ConfigurationSetName=CONFIGURATION_SET))
    assert status == 200
    entries = [entry.as_json() for entry in box.kept.select()]
    assert [entry["to"] for entry in entries] == ["user123@example.com", "User 456 <user456@example.com>"]
    assert {(entry["provider"], entry["id"], entry["notification_id"]) for entry in entries} == {
        ("ses", said["MessageId"], "n-1")
    }
    assert (entries[0]["title"], entries[0]["body"]) == ("Hello", "Good morning.\n")


@pytest.mark.parametrize(
    ("wanted", "status", "word"),
    [
        ([], 400, "BadRequestException"),
        (request(FromEmailAdress="a@example.com"), 400, "BadRequestException"),
        (request(Destination={}), 400, "BadRequestException"),
        (request(Destination={"ToAddresses": ["user123"]}), 400, "BadRequestException"),
        (request(Destination={"ToAddresses": [f"user{n}@example.com" for n in range(51)]}), 400, "BadRequestException"),
        (request(Content={"Raw": {"Data": "no base64!"}}), 400, "BadRequestException"),
        (request(b"From: a@example.com\r\n"), 400, "BadRequestException"),
        (request(RAW.replace(b"From:", b"X-From:")), 400, "BadRequestException"),
        (request(b"Subject: again\r\n" + RAW), 400, "BadRequestException"),
        (request(RAW + b"x" * 999), 400, "BadRequestException"),
        (request(RAW + "ü".encode()), 400, "BadRequestException"),
        (request(FromEmailAddress="notifications@example.org"), 400, "MessageRejected"),
        (request(RAW.replace(b"notifications@example.com", b"a@example.org")), 400, "MessageRejected"),
        (request(ConfigurationSetName="none"), 404, "NotFoundException"),
    ],
)
async def test_what_ses_would_refuse_is_refused(box: Sandbox, wanted: object, status: int, word: str) -> None:
    assert (await send(box, wanted))[:2] == (status, word)
    assert len(box.kept) == 0


@pytest.mark.parametrize(
    ("wrong", "age", "word"),
    [
        ({"secret": "another"}, timedelta(0), "SignatureDoesNotMatch"),
        ({"key_id": "AKIDEXAMPLE"}, timedelta(0), "UnrecognizedClientException"),
        ({"region": "us-east-1"}, timedelta(0), "SignatureDoesNotMatch"),
        ({"service": "email"}, timedelta(0), "SignatureDoesNotMatch"),
        ({}, timedelta(minutes=16), "SignatureDoesNotMatch"),
        ({}, -timedelta(minutes=16), "SignatureDoesNotMatch"),
    ],
)
async def test_a_request_that_somebody_else_signed_is_refused(
    box: Sandbox, wrong: dict[str, str], age: timedelta, word: str
) -> None:
    body = json.dumps(request()).encode()
    assert (await post(box, signed(box, key(box, **wrong), body, age), body))[:2] == (403, word)
    assert len(box.kept) == 0


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"authorization": None}, 403, "MissingAuthenticationToken"),
        ({"authorization": "Basic abc"}, 400, "IncompleteSignature"),
        ({"x-amz-date": None}, 403, "SignatureDoesNotMatch"),
        ({"content-type": "text/plain"}, 403, "SignatureDoesNotMatch"),
        ({"x-amz-target": "unsigned"}, 403, "SignatureDoesNotMatch"),
        ({"host": "email.eu-west-1.amazonaws.com"}, 403, "SignatureDoesNotMatch"),
    ],
)
async def test_a_header_that_was_changed_after_signing_is_noticed(
    box: Sandbox, change: dict[str, str | None], status: int, word: str
) -> None:
    body = json.dumps(request()).encode()
    headers = {name: value for name, value in (signed(box, key(box), body) | change).items() if value is not None}
    assert (await post(box, headers, body))[:2] == (status, word)


async def test_a_body_that_was_changed_after_signing_is_noticed(box: Sandbox) -> None:
    body = json.dumps(request()).encode()
    assert (await post(box, signed(box, key(box), body), body + b" "))[:2] == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("fault", "status", "word"),
    [
        ({"status": 429}, 429, "TooManyRequestsException"),
        ({"status": 400, "code": "SendingPausedException"}, 400, "SendingPausedException"),
        ({"operator": True}, 403, "UnrecognizedClientException"),
    ],
)
async def test_a_scripted_refusal_has_the_words_of_ses(
    box: Sandbox, fault: dict[str, Any], status: int, word: str
) -> None:
    box.script.add(Rule.model_validate({"provider": "ses", "to": "user123@example.com", "fault": fault}))
    assert (await send(box, request()))[:2] == (status, word)
    assert (await send(box, request()))[0] == 200
