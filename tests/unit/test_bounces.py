"""What mail providers report: translated as a table, and refused where the signature does not hold."""

import json
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.realtime.bounces import mailgun, postmark, sendgrid, ses
from services.realtime.bounces.metrics import prepare
from services.realtime.bounces.providers import PROVIDERS
from services.realtime.bounces.report import ENTRIES_MOST, Finding, Outcome, ReportRefused, detail, reference
from services.realtime.bounces.suppressing import _digest
from services.realtime.http.operations import OPERATIONS
from shared.directory.suppression import Cause, digest
from tests.bounces import (
    MAILGUN_KEY,
    SendGrid,
    mailgun_failed,
    postmark_bounce,
    sendgrid_bounce,
    ses_bounce,
    ses_complaint,
)
from tests.bounces import mailgun as mailgun_request

ADDRESS = "user123@example.com"


def bounced(said: str) -> Finding:
    return Finding(ADDRESS, Cause.BOUNCE, said)


def complained(said: str) -> Finding:
    return Finding(ADDRESS, Cause.COMPLAINT, said, arrived=True)


def not_sent(said: str) -> Finding:
    """Its owner complained before, and the provider sends nothing any more."""
    return Finding(ADDRESS, Cause.COMPLAINT, said)


# Translations.


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ses_bounce(ADDRESS), [bounced("ses Permanent General 5.1.1")]),
        (ses_bounce(ADDRESS, subtype="NoEmail"), [bounced("ses Permanent NoEmail 5.1.1")]),
        (ses_bounce(ADDRESS, subtype="Suppressed"), [bounced("ses Permanent Suppressed 5.1.1")]),
        (ses_bounce(ADDRESS, subtype="UnsubscribedRecipient"), [Outcome.SOFT]),
        (ses_bounce(ADDRESS, kind="Transient", subtype="MailboxFull"), [Outcome.SOFT]),
        (ses_bounce(ADDRESS, kind="Undetermined", subtype="Undetermined"), [Outcome.SOFT]),
        (ses_bounce(ADDRESS, kind="permanent"), [Outcome.SOFT]),
        (ses_complaint(ADDRESS), [complained("ses complaint abuse")]),
        (ses_complaint(ADDRESS, kind=""), [complained("ses complaint")]),
        (ses_complaint(ADDRESS, kind="not-spam"), [Outcome.IGNORED]),
        (ses_complaint(ADDRESS, kind="virus"), [Outcome.IGNORED]),
        ({"eventType": "DeliveryDelay", "deliveryDelay": {}}, [Outcome.SOFT]),
        ({"eventType": "Delivery", "delivery": {"recipients": [ADDRESS]}}, [Outcome.IGNORED]),
        ({"notificationType": "AmazonSnsSubscriptionSucceeded"}, [Outcome.IGNORED]),
        ({"notificationType": "Bounce"}, [Outcome.UNREADABLE]),
        ({"notificationType": "Bounce", "bounce": {"bouncedRecipients": [7]}}, [Outcome.UNREADABLE]),
        ({"eventType": ["Bounce"]}, [Outcome.IGNORED]),
    ],
)  # fmt: skip
def test_ses_is_translated(message: dict[str, Any], expected: list[object]) -> None:
    assert ses.translate(json.dumps(message)) == expected


MAIL = "0197c5a2-7f00-7003-8000-000000000000.0123456789abcdef"
MESSAGE_ID = f"<{MAIL}@example.com>"
_HEADERS = {"mail": {"headers": [{"name": "Message-Id", "value": MESSAGE_ID}]}}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (ses.translate(json.dumps(ses_bounce(ADDRESS) | _HEADERS))[0], bounced("ses Permanent General 5.1.1")),
        (ses.translate(json.dumps(ses_bounce(ADDRESS) | {"mail": {"commonHeaders": {"messageId": MESSAGE_ID}}}))[0],
         bounced("ses Permanent General 5.1.1")),
        (ses.translate(json.dumps(ses_complaint(ADDRESS) | _HEADERS))[0], complained("ses complaint abuse")),
        (ses.translate(json.dumps(ses_bounce(ADDRESS, kind="Transient") | _HEADERS))[0],
         Finding(ADDRESS, None, "ses Transient General 5.1.1")),
        (sendgrid.translate(sendgrid_bounce(ADDRESS, **{"smtp-id": MESSAGE_ID})), bounced("sendgrid bounce 5.1.1")),
        (sendgrid.translate(sendgrid_bounce(ADDRESS, carillon=MAIL)), bounced("sendgrid bounce 5.1.1")),
        (sendgrid.translate(sendgrid_bounce(ADDRESS, type="blocked", carillon=MAIL)),
         Finding(ADDRESS, None, "sendgrid blocked 5.1.1")),
        (sendgrid.translate({"email": ADDRESS, "event": "spamreport", "carillon": MAIL}),
         complained("sendgrid spamreport")),
        (sendgrid.translate({"email": ADDRESS, "event": "dropped", "reason": "Unsubscribed Address", "carillon": MAIL}),
         Finding(ADDRESS, None, "sendgrid dropped")),
        (postmark.translate(postmark_bounce(ADDRESS, Metadata={"carillon": MAIL})), bounced("postmark HardBounce")),
        (postmark.translate(postmark_bounce(ADDRESS, "SpamComplaint", Metadata={"carillon": MAIL})),
         complained("postmark SpamComplaint")),
        (postmark.translate(postmark_bounce(ADDRESS, "SoftBounce", Metadata={"carillon": MAIL})),
         Finding(ADDRESS, None, "postmark SoftBounce")),
        (mailgun.translate(mailgun_failed(ADDRESS, message={"headers": {"message-id": MESSAGE_ID[1:-1]}})),
         bounced("mailgun bounce 5.1.1")),
        (mailgun.translate(mailgun_failed(ADDRESS, reason="old", message={"headers": {"message-id": MESSAGE_ID}})),
         Finding(ADDRESS, None, "mailgun old 5.1.1")),
    ],
)  # fmt: skip
def test_a_report_says_which_mail_it_is_about(entry: Finding, expected: Finding) -> None:
    assert entry == replace(expected, reference=MAIL)


@pytest.mark.parametrize(
    "said", ["", "x", None, 7, ["x"], f"{MAIL}0", f"0{MAIL}", f"a{MESSAGE_ID}".replace("<", ""), f"<x {MAIL}@a>",
             MAIL.replace(".", "/")],
)  # fmt: skip
def test_what_is_no_name_of_a_mail_of_ours_names_none(said: object) -> None:
    assert reference(said) == ""
    assert sendgrid.translate(sendgrid_bounce(ADDRESS, carillon=said)) == bounced("sendgrid bounce 5.1.1")


def test_ses_names_several_people_and_sends_a_sentence_to_try_out_a_topic() -> None:
    found = ses.translate(json.dumps(ses_bounce("a@example.com", "b@example.com")))
    assert [each.address for each in found if isinstance(each, Finding)] == ["a@example.com", "b@example.com"]
    sentence = "Successfully validated SNS topic for Amazon SES event publishing."
    assert ses.translate(sentence) == [Outcome.IGNORED]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (sendgrid_bounce(ADDRESS), bounced("sendgrid bounce 5.1.1")),
        (sendgrid_bounce(ADDRESS, bounce_classification=None), bounced("sendgrid bounce 5.1.1")),
        (sendgrid_bounce(ADDRESS, type="blocked"), Outcome.SOFT),
        (sendgrid_bounce(ADDRESS, bounce_classification="Reputation"), Outcome.SOFT),
        (sendgrid_bounce(ADDRESS, bounce_classification="Content"), Outcome.SOFT),
        (sendgrid_bounce(ADDRESS, bounce_classification="Mailbox Unavailable"), Outcome.SOFT),
        ({"email": ADDRESS, "event": "dropped", "reason": "Bounced Address", "status": "5.0.0"},
         bounced("sendgrid dropped 5.0.0")),
        ({"email": ADDRESS, "event": "dropped", "reason": "Invalid"}, bounced("sendgrid dropped")),
        ({"email": ADDRESS, "event": "dropped", "reason": "Spam Reporting Address"}, not_sent("sendgrid dropped")),
        ({"email": ADDRESS, "event": "dropped", "reason": "Unsubscribed Address"}, Outcome.IGNORED),
        ({"email": ADDRESS, "event": "spamreport"}, complained("sendgrid spamreport")),
        ({"email": ADDRESS, "event": "deferred", "response": "452"}, Outcome.SOFT),
        ({"email": ADDRESS, "event": "delivered"}, Outcome.IGNORED),
        ({"email": ADDRESS, "event": "group_unsubscribe"}, Outcome.IGNORED),
        ({"email": ADDRESS, "event": {"bounce": 1}}, Outcome.IGNORED),
        ({}, Outcome.IGNORED),
    ],
)  # fmt: skip
def test_sendgrid_is_translated(event: dict[str, Any], expected: object) -> None:
    assert sendgrid.translate(event) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (postmark_bounce(ADDRESS), bounced("postmark HardBounce")),
        (postmark_bounce(ADDRESS, "BadEmailAddress"), bounced("postmark BadEmailAddress")),
        (postmark_bounce(ADDRESS, "SpamComplaint"), complained("postmark SpamComplaint")),
        (postmark_bounce(ADDRESS, "SpamComplaint", RecordType="Bounce"), complained("postmark SpamComplaint")),
        *((postmark_bounce(ADDRESS, kind), Outcome.SOFT) for kind in (
            "Transient", "SoftBounce", "DnsError", "SpamNotification", "Blocked", "DMARCPolicy", "AutoResponder",
            "ManuallyDeactivated", "Unsubscribe", "")),
        (postmark_bounce(ADDRESS, RecordType="Delivery"), Outcome.IGNORED),
        (postmark_bounce(ADDRESS, RecordType="SubscriptionChange"), Outcome.IGNORED),
        ({}, Outcome.IGNORED),
    ],
)  # fmt: skip
def test_postmark_is_translated(record: dict[str, Any], expected: object) -> None:
    assert postmark.translate(record) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (mailgun_failed(ADDRESS), bounced("mailgun bounce 5.1.1")),
        (mailgun_failed(ADDRESS, **{"delivery-status": {"code": 550}}), bounced("mailgun bounce 550")),
        (mailgun_failed(ADDRESS, **{"delivery-status": None}), bounced("mailgun bounce")),
        (mailgun_failed(ADDRESS, reason="suppress-bounce", **{"delivery-status": {"code": 605}}),
         bounced("mailgun suppress-bounce")),
        (mailgun_failed(ADDRESS, reason="suppress-complaint"), not_sent("mailgun suppress-complaint 5.1.1")),
        (mailgun_failed(ADDRESS, reason="suppress-unsubscribe"), Outcome.SOFT),
        (mailgun_failed(ADDRESS, reason="generic"), Outcome.SOFT),
        (mailgun_failed(ADDRESS, reason="old"), Outcome.SOFT),
        (mailgun_failed(ADDRESS, severity="temporary"), Outcome.SOFT),
        (mailgun_failed(ADDRESS, **{"delivery-status": {"bounce-type": "soft"}}), Outcome.SOFT),
        ({"event": "complained", "recipient": ADDRESS}, complained("mailgun complained")),
        ({"event": "delivered", "recipient": ADDRESS}, Outcome.IGNORED),
        ({"event": "unsubscribed", "recipient": ADDRESS}, Outcome.IGNORED),
        ({"event": None}, Outcome.IGNORED),
    ],
)  # fmt: skip
def test_mailgun_is_translated(event: dict[str, Any], expected: object) -> None:
    assert mailgun.translate(event) == expected


def test_no_detail_repeats_what_a_mail_server_said() -> None:
    said = f"550 5.1.1 <{ADDRESS}>: unknown"
    assert detail("ses", said, ADDRESS, None, {"a": 1}, "x" * 100, "5.1.1\n", "Général", "5.1.1") == "ses 5.1.1"


@pytest.mark.parametrize(
    "written",
    [ADDRESS, "User123@EXAMPLE.com", " user123@example.com ", "Jo <user123@example.com>", "<user123@example.com>"],
)
def test_an_address_is_the_same_however_the_provider_writes_it(written: str) -> None:
    assert _digest(written) == digest(ADDRESS)


def test_an_address_in_another_script_is_the_one_that_mail_goes_to() -> None:
    assert _digest("user@bücher.example") == digest("user@xn--bcher-kva.example")


@pytest.mark.parametrize("written", ["", "user123", "a@b@c", "a b@example.com", "x" * 300 + "@example.com", "a@b\n"])
def test_what_is_no_address_is_found_out(written: str) -> None:
    assert _digest(written) is None


# Signatures.


async def read(provider: Any, headers: dict[str, str], body: bytes) -> Any:
    provider.admit(headers)
    return await provider.read(headers, body)


async def refused(provider: Any, headers: dict[str, str], body: bytes) -> Outcome:
    with pytest.raises(ReportRefused) as caught:
        await read(provider, headers, body)
    return caught.value.outcome


async def test_the_example_of_sendgrids_own_library_holds() -> None:
    # github.com/sendgrid/sendgrid-nodejs, packages/eventwebhook: the key, the signature and the payload of its test.
    provider = sendgrid.SendGrid(
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZFceEu"
        "/1FwCM/QmGUhA=="
    )
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6"
        "BpSzoQsbVRamr2nlxFDWYNH2j/0=",
        "X-Twilio-Email-Event-Webhook-Timestamp": "1588788367",
    }
    body = b'{"category":"example_payload","event":"test_event","message_id":"message_id"}'
    # It is signed, and it is not the list that SendGrid posts.
    assert await refused(provider, headers, body) is Outcome.MALFORMED
    assert await refused(provider, headers, body + b" ") is Outcome.FORGED


async def test_sendgrid_signs_time_and_body() -> None:
    theirs, strangers = SendGrid(), SendGrid()
    provider = sendgrid.SendGrid(theirs.public_key)
    good = theirs.bounce(ADDRESS)
    assert (await read(provider, good.headers, good.body)).entries == [bounced("sendgrid bounce 5.1.1")]
    other = strangers.bounce(ADDRESS)
    later = good.headers | {sendgrid.TIMESTAMP: str(int(good.headers[sendgrid.TIMESTAMP]) + 1)}
    for headers, body in (
        (other.headers, other.body),
        (later, good.body),
        (good.headers, good.body.replace(b"user123", b"user124")),
        (good.headers | {sendgrid.SIGNATURE: ""}, good.body),
        (good.headers | {sendgrid.SIGNATURE: "no base64"}, good.body),
        (good.headers | {sendgrid.TIMESTAMP: "\udc80"}, good.body),
        ({}, good.body),
    ):
        assert await refused(provider, headers, body) is Outcome.FORGED


async def test_both_forms_of_one_sendgrid_signature_are_one_report() -> None:
    theirs = SendGrid()
    provider = sendgrid.SendGrid(theirs.public_key)
    good = theirs.bounce(ADDRESS)
    again = theirs.report(body=good.body, at_s=int(good.headers[sendgrid.TIMESTAMP]))
    assert again.headers != good.headers
    first, second = [await read(provider, each.headers, each.body) for each in (good, again)]
    assert first.once == second.once


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"", Outcome.MALFORMED),
        (b"{}", Outcome.MALFORMED),
        (b"[", Outcome.MALFORMED),
        (b"[NaN]", Outcome.MALFORMED),
        (b"[" + b"{}," * ENTRIES_MOST + b"{}]", Outcome.TOO_LARGE),
    ],
)
async def test_what_sendgrid_signs_may_be_unreadable_or_too_long(body: bytes, outcome: Outcome) -> None:
    theirs = SendGrid()
    request = theirs.report(body=body)
    assert await refused(sendgrid.SendGrid(theirs.public_key), request.headers, request.body) is outcome


async def test_one_strange_event_does_not_lose_the_others() -> None:
    theirs = SendGrid()
    request = theirs.report(body=json.dumps([7, None, [], sendgrid_bounce(ADDRESS)]).encode())
    found = (await read(sendgrid.SendGrid(theirs.public_key), request.headers, request.body)).entries
    assert found == [Outcome.UNREADABLE] * 3 + [bounced("sendgrid bounce 5.1.1")]


async def test_mailgun_signs_time_and_token() -> None:
    provider = mailgun.Mailgun(MAILGUN_KEY)
    good = mailgun_request(mailgun_failed(ADDRESS))
    assert (await read(provider, {}, good.body)).entries == [bounced("mailgun bounce 5.1.1")]
    document = json.loads(good.body)
    signature = document["signature"]
    for change in (
        {"signature": "0" * 64}, {"signature": ""}, {"signature": None}, {"signature": "é" * 32},
        {"token": "1" * 50}, {"token": ""}, {"token": ["x"]}, {"timestamp": "1"}, {"timestamp": "-1"},
        {"timestamp": "9" * 30}, {"timestamp": None},
    ):  # fmt: skip
        forged = json.dumps(document | {"signature": signature | change}).encode()
        assert await refused(provider, {}, forged) is Outcome.FORGED
    assert (
        await refused(provider, {}, mailgun_request({"event": "x"}, key="another key of the account").body)
        is Outcome.FORGED
    )
    assert await refused(provider, {}, json.dumps({"signature": signature}).encode()) is Outcome.MALFORMED
    assert await refused(provider, {}, b"[]") is Outcome.MALFORMED
    assert await refused(provider, {}, b"\xff\xfe") is Outcome.MALFORMED


async def test_mailgun_signs_a_subaccounts_event_by_the_account_above_it() -> None:
    provider = mailgun.Mailgun(MAILGUN_KEY)
    document = json.loads(mailgun_request(mailgun_failed(ADDRESS)).body)
    own = document["signature"]["signature"]
    document["signature"] |= {"signature": "0" * 64, "parent-signature": own}
    document["signature"]["timestamp"] = int(document["signature"]["timestamp"])
    assert (await read(provider, {}, json.dumps(document).encode())).entries


# The table.


def test_every_provider_has_its_series_at_zero_and_its_call_in_the_description() -> None:
    prepare(PROVIDERS)
    for provider in PROVIDERS:
        for outcome in Outcome:
            labels = {"provider": provider, "outcome": outcome.value}
            assert REGISTRY.get_sample_value("carillon_bounces_total", labels) is not None
    described = {operation.url for operation in OPERATIONS}
    assert {f"/v1/bounces/{provider}" for provider in PROVIDERS} <= described
