"""The provider contract over the providers of SMS."""

from functools import partial
from typing import ClassVar

import pytest

from sandbox import vonage
from sandbox.server import Sandbox
from services.sms.twilio.provider import TWILIO
from services.sms.vonage import VONAGE
from shared.core.errors import (
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from tests.provider_contract import SECRET, Ends, Expected, Fault, ProviderContract, SandboxRig, open_only
from tests.sms import attempt, parts_for, settings_for, vonage_settings_for

PHONE = "+12025550199"


class TestTwilio(ProviderContract):
    expected: ClassVar[Expected] = {
        Fault.REFUSED_RECIPIENT: Ends(RecipientGone, Reason.GONE),
        Fault.BAD_CONTENT: Ends(PermanentFailure, Reason.TOO_LARGE),
        Fault.BAD_CREDENTIALS: Ends(ProviderMisconfigured, Reason.AUTH),
        Fault.RATE_LIMITED: Ends(TemporaryFailure, Reason.RATE_LIMITED),
        Fault.RATE_LIMITED_SECONDS: Ends(TemporaryFailure, Reason.RATE_LIMITED),
        Fault.RATE_LIMITED_DATE: Ends(TemporaryFailure, Reason.RATE_LIMITED),
        # A second SMS costs money, and Twilio may have taken the first before it failed.
        Fault.UNAVAILABLE: Ends(OutcomeUnknown, Reason.UNAVAILABLE),
        Fault.CUT_BEFORE: Ends(OutcomeUnknown, Reason.NETWORK),
        Fault.CUT_AFTER: Ends(OutcomeUnknown, Reason.NETWORK, arrives=True),
        Fault.GARBAGE: Ends(OutcomeUnknown, Reason.BAD_ANSWER),
        Fault.HANG_BEFORE: Ends(OutcomeUnknown, Reason.TIMEOUT),
        Fault.HANG_AFTER: Ends(OutcomeUnknown, Reason.TIMEOUT, arrives=True),
    }

    @pytest.fixture
    def rig(self, box: Sandbox) -> SandboxRig:
        return SandboxRig(
            box,
            "twilio",
            open=partial(open_only, TWILIO, parts_for(settings_for(box))),
            make_attempt=partial(attempt, PHONE),
            secrets=[PHONE.removeprefix("+"), box.credentials.twilio_sid, box.credentials.twilio_token],
            faults={
                Fault.REFUSED_RECIPIENT: {"status": 400, "code": 21211},
                Fault.BAD_CONTENT: {"status": 400, "code": 21617},
                Fault.BAD_CREDENTIALS: {"operator": True},
                Fault.UNAVAILABLE: {"status": 503},
                Fault.CUT_BEFORE: {"cut": "before"},
                Fault.CUT_AFTER: {"cut": "after"},
                Fault.GARBAGE: {"status": 200, "body": f"<html>{SECRET}</html>"},
                Fault.HANG_BEFORE: {"hang": "before"},
                Fault.HANG_AFTER: {"hang": "after"},
            },
        )


class TestVonage(ProviderContract):
    expected: ClassVar[Expected] = {
        Fault.REFUSED_RECIPIENT: Ends(RecipientGone, Reason.GONE),
        Fault.BAD_CONTENT: Ends(PermanentFailure, Reason.REJECTED),
        Fault.BAD_CREDENTIALS: Ends(ProviderMisconfigured, Reason.AUTH),
        Fault.RATE_LIMITED: Ends(TemporaryFailure, Reason.RATE_LIMITED),
        Fault.RATE_LIMITED_SECONDS: Ends(TemporaryFailure, Reason.RATE_LIMITED),
        Fault.RATE_LIMITED_DATE: Ends(TemporaryFailure, Reason.RATE_LIMITED),
        # A second SMS costs money, and Vonage may have taken the first before it failed.
        Fault.UNAVAILABLE: Ends(OutcomeUnknown, Reason.UNAVAILABLE),
        Fault.CUT_BEFORE: Ends(OutcomeUnknown, Reason.NETWORK),
        Fault.CUT_AFTER: Ends(OutcomeUnknown, Reason.NETWORK, arrives=True),
        Fault.GARBAGE: Ends(OutcomeUnknown, Reason.BAD_ANSWER),
        Fault.HANG_BEFORE: Ends(OutcomeUnknown, Reason.TIMEOUT),
        Fault.HANG_AFTER: Ends(OutcomeUnknown, Reason.TIMEOUT, arrives=True),
    }

    @pytest.fixture
    def rig(self, box: Sandbox) -> SandboxRig:
        return SandboxRig(
            box,
            "vonage",
            open=partial(open_only, VONAGE, parts_for(vonage_settings_for(box))),
            make_attempt=partial(attempt, PHONE),
            secrets=[PHONE.removeprefix("+"), *vonage.account(box.credentials)],
            faults={
                Fault.REFUSED_RECIPIENT: {"status": 422, "code": 1190},
                Fault.BAD_CONTENT: {"status": 422, "code": 1150},
                Fault.BAD_CREDENTIALS: {"operator": True},
                Fault.UNAVAILABLE: {"status": 503},
                Fault.CUT_BEFORE: {"cut": "before"},
                Fault.CUT_AFTER: {"cut": "after"},
                Fault.GARBAGE: {"status": 200, "body": f"<html>{SECRET}</html>"},
                Fault.HANG_BEFORE: {"hang": "before"},
                Fault.HANG_AFTER: {"hang": "after"},
            },
        )
