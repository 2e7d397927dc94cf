"""The provider contract over the providers of mail."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from sandbox.server import Sandbox
from services.email.ses import SES
from services.email.smtp.provider import SMTP
from shared.core.clock import SystemClock
from shared.core.errors import (
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.delivery.attempt import Attempt
from shared.runtime.providers import Parts
from shared.store.keys import new_notification_id
from tests.provider_contract import (
    SECRET,
    Ends,
    Expected,
    Fault,
    NotApplicable,
    ProviderContract,
    Rig,
    SandboxRig,
    open_only,
)
from tests.smtp import attempt, email_settings, ses_settings

ADDRESS = "user-planted4@example.com"

EXPECTED: Expected = {
    Fault.REFUSED_RECIPIENT: Ends(RecipientGone, Reason.GONE),
    Fault.BAD_CONTENT: Ends(PermanentFailure, Reason.REJECTED),
    Fault.BAD_CREDENTIALS: Ends(ProviderMisconfigured, Reason.AUTH),
    Fault.RATE_LIMITED: Ends(TemporaryFailure, Reason.RATE_LIMITED),
    Fault.RATE_LIMITED_SECONDS: NotApplicable("a reply of SMTP names no time"),
    Fault.RATE_LIMITED_DATE: NotApplicable("a reply of SMTP names no time"),
    Fault.UNAVAILABLE: Ends(TemporaryFailure, Reason.UNAVAILABLE),
    Fault.CUT_BEFORE: Ends(TemporaryFailure, Reason.NETWORK),
    Fault.CUT_AFTER: Ends(OutcomeUnknown, Reason.NETWORK, arrives=True),
    Fault.GARBAGE: Ends(TemporaryFailure, Reason.BAD_ANSWER),
    # The content goes out when the relay has asked for it, so nothing of the mail has been said.
    Fault.HANG_BEFORE: Ends(TemporaryFailure, Reason.TIMEOUT),
    Fault.HANG_AFTER: Ends(OutcomeUnknown, Reason.TIMEOUT, arrives=True),
}
FAULTS: Mapping[Fault, Mapping[str, Any]] = {
    Fault.REFUSED_RECIPIENT: {"reply": f"550 5.1.1 <{ADDRESS}> {SECRET}", "at": "rcpt"},
    Fault.BAD_CONTENT: {"reply": f"554 5.6.0 {SECRET}", "at": "data"},
    Fault.BAD_CREDENTIALS: {"operator": True},
    Fault.UNAVAILABLE: {"reply": f"451 4.3.0 {SECRET}", "at": "data"},
    Fault.CUT_BEFORE: {"cut": "before"},
    Fault.CUT_AFTER: {"cut": "after"},
    Fault.GARBAGE: {"reply": "250 replaced below", "at": "rcpt"},
    Fault.HANG_BEFORE: {"hang": "before"},
    Fault.HANG_AFTER: {"hang": "after"},
}


def make_attempt(*, title: str, message: str) -> Attempt:
    usual = attempt(ADDRESS, title, message)
    notification = usual.notification.model_copy(update={"id": new_notification_id()})
    return Attempt(notification, usual.delivery, number=1, in_doubt=False, deadline=datetime.now(UTC))


class SmtpRig(SandboxRig):
    """A rig whose relay may also say what is no reply, which the sandbox's script refuses to."""

    async def play(self, fault: Fault) -> None:
        await super().play(fault)
        if fault is Fault.GARBAGE:
            rule = self.sandbox.script.rules[-1].rule
            rule.fault = rule.fault.model_copy(update={"reply": f"{SECRET} is no reply"})


class TestSmtp(ProviderContract):
    """Mail through a relay."""

    expected = EXPECTED

    @pytest.fixture
    def rig(self, box: Sandbox, caplog: pytest.LogCaptureFixture) -> Rig:
        # The sandbox's server, which lives in this process, logs every line that it reads.
        caplog.set_level(logging.WARNING, logger="mail.log")
        settings = email_settings(box.addresses.smtp_url)
        return SmtpRig(
            sandbox=box,
            name="smtp",
            open=partial(open_only, SMTP, Parts(settings, SystemClock())),
            make_attempt=make_attempt,
            secrets=[ADDRESS],
            faults=FAULTS,
            rate_limited={"reply": "451 4.7.1 too fast", "at": "rcpt"},
        )


SES_EXPECTED: Expected = {
    Fault.REFUSED_RECIPIENT: NotApplicable("SES accepts every well-formed address and tells of the bounce later"),
    Fault.BAD_CONTENT: Ends(PermanentFailure, Reason.REJECTED),
    Fault.BAD_CREDENTIALS: Ends(ProviderMisconfigured, Reason.AUTH),
    Fault.RATE_LIMITED: Ends(TemporaryFailure, Reason.RATE_LIMITED),
    Fault.RATE_LIMITED_SECONDS: Ends(TemporaryFailure, Reason.RATE_LIMITED),
    Fault.RATE_LIMITED_DATE: Ends(TemporaryFailure, Reason.RATE_LIMITED),
    Fault.UNAVAILABLE: Ends(TemporaryFailure, Reason.UNAVAILABLE),
    # The request, and with it the mail, was on its way.
    Fault.CUT_BEFORE: Ends(OutcomeUnknown, Reason.NETWORK),
    Fault.CUT_AFTER: Ends(OutcomeUnknown, Reason.NETWORK, arrives=True),
    Fault.GARBAGE: Ends(OutcomeUnknown, Reason.BAD_ANSWER),
    Fault.HANG_BEFORE: Ends(OutcomeUnknown, Reason.TIMEOUT),
    Fault.HANG_AFTER: Ends(OutcomeUnknown, Reason.TIMEOUT, arrives=True),
}


class TestSes(ProviderContract):
    """Mail through Amazon SES."""

    expected = SES_EXPECTED

    @pytest.fixture
    def rig(self, box: Sandbox) -> Rig:
        settings = ses_settings(box)
        return SandboxRig(
            sandbox=box,
            name="ses",
            open=partial(open_only, SES, Parts(settings, SystemClock())),
            make_attempt=make_attempt,
            secrets=[ADDRESS, box.credentials.ses_access_key_id, box.credentials.ses_secret_access_key],
            faults={
                Fault.BAD_CONTENT: {
                    "status": 400, "body": {"message": f"{SECRET} {ADDRESS}"},
                    "headers": {"x-amzn-ErrorType": "MessageRejected"},
                },
                Fault.BAD_CREDENTIALS: {"operator": True},
                Fault.UNAVAILABLE: {"status": 503},
                Fault.CUT_BEFORE: {"cut": "before"},
                Fault.CUT_AFTER: {"cut": "after"},
                Fault.GARBAGE: {"status": 200, "body": f"<html>{SECRET}</html>"},
                Fault.HANG_BEFORE: {"hang": "before"},
                Fault.HANG_AFTER: {"hang": "after"},
            },
        )  # fmt: skip
