"""The provider contract over APNs, FCM, Web Push and ntfy."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import pytest

from sandbox.credentials import service_environment
from sandbox.ntfy import access_token
from sandbox.server import Sandbox
from services.push.apns.provider import APNS
from services.push.fcm.provider import FCM
from services.push.ntfy import NTFY
from services.push.settings import PushSettings
from services.push.webpush.provider import WEB_PUSH
from shared.core.clock import SystemClock
from shared.core.errors import (
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.core.model import WebSubscription
from shared.runtime.providers import Parts
from tests.provider_contract import (
    SECRET,
    Ends,
    Expected,
    Fault,
    NotApplicable,
    ProviderContract,
    SandboxRig,
    open_only,
)
from tests.push import android, ios, make_attempt, ntfy, ntfy_settings_for, settings_from
from tests.sandbox_client import SandboxClient

# Hexadecimal, because APNs refuses other tokens without looking further.
IOS_SECRET = "5ec4e7" * 11
ANDROID_SECRET = f"android-{SECRET}"
BROWSER_SECRET = f"browser-{SECRET}"
TOPIC_SECRET = f"topic-{SECRET}"
CREDENTIALS = ("Bearer ey", "bearer ey", "ya29.", "vapid t=")

FAULTS: Mapping[Fault, Mapping[str, Any]] = {
    Fault.REFUSED_RECIPIENT: {"status": 410},
    Fault.BAD_CONTENT: {"status": 413},
    Fault.BAD_CREDENTIALS: {"operator": True},
    Fault.UNAVAILABLE: {"status": 503},
    Fault.CUT_BEFORE: {"cut": "before"},
    Fault.CUT_AFTER: {"cut": "after"},
    Fault.GARBAGE: {"status": 400, "body": f"<html>{SECRET}</html>"},
    Fault.HANG_BEFORE: {"hang": "before"},
    Fault.HANG_AFTER: {"hang": "after"},
}

EXPECTED: Expected = {
    Fault.REFUSED_RECIPIENT: Ends(RecipientGone, Reason.GONE),
    Fault.BAD_CONTENT: Ends(PermanentFailure, Reason.TOO_LARGE),
    Fault.BAD_CREDENTIALS: Ends(ProviderMisconfigured, Reason.AUTH),
    Fault.RATE_LIMITED: Ends(TemporaryFailure, Reason.RATE_LIMITED),
    Fault.RATE_LIMITED_SECONDS: Ends(TemporaryFailure, Reason.RATE_LIMITED),
    Fault.RATE_LIMITED_DATE: Ends(TemporaryFailure, Reason.RATE_LIMITED),
    Fault.UNAVAILABLE: Ends(TemporaryFailure, Reason.UNAVAILABLE),
    # The request has begun, so nobody knows how far it came.
    Fault.CUT_BEFORE: Ends(OutcomeUnknown, Reason.NETWORK),
    Fault.CUT_AFTER: Ends(OutcomeUnknown, Reason.NETWORK, arrives=True),
    # A refusal without the provider's words is somebody's in between, so nothing was taken.
    Fault.GARBAGE: Ends(TemporaryFailure, Reason.BAD_ANSWER),
    Fault.HANG_BEFORE: Ends(OutcomeUnknown, Reason.TIMEOUT),
    Fault.HANG_AFTER: Ends(OutcomeUnknown, Reason.TIMEOUT, arrives=True),
}


@pytest.fixture
def parts(box: Sandbox) -> Parts[PushSettings]:
    """What points the service at the running sandbox."""
    return Parts(settings_from(service_environment(box.credentials.data)), SystemClock())


class TestApns(ProviderContract):
    expected: ClassVar[Expected] = EXPECTED

    @pytest.fixture
    def rig(self, box: Sandbox, parts: Parts[PushSettings]) -> SandboxRig:
        return SandboxRig(
            box,
            "apns",
            open=partial(open_only, APNS, parts),
            make_attempt=partial(make_attempt, ios(IOS_SECRET)),
            secrets=[IOS_SECRET, *CREDENTIALS],
            faults=FAULTS,
        )


class TestFcm(ProviderContract):
    expected: ClassVar[Expected] = {
        **EXPECTED,
        Fault.RATE_LIMITED: Ends(TemporaryFailure, Reason.RATE_LIMITED, wait_s=60),
        Fault.GARBAGE: Ends(OutcomeUnknown, Reason.BAD_ANSWER),
    }

    @pytest.fixture
    def rig(self, box: Sandbox, parts: Parts[PushSettings]) -> SandboxRig:
        return SandboxRig(
            box,
            "fcm",
            open=partial(open_only, FCM, parts),
            make_attempt=partial(make_attempt, android(ANDROID_SECRET)),
            secrets=[ANDROID_SECRET, *CREDENTIALS],
            faults={
                **FAULTS,
                Fault.REFUSED_RECIPIENT: {"status": 404},
                Fault.GARBAGE: {"status": 200, "body": f"<html>{SECRET}</html>"},
            },
        )


class TestWebPush(ProviderContract):
    expected: ClassVar[Expected] = {
        **EXPECTED,
        # A 403 may be about this one subscription: how many get it says who is refused.
        Fault.BAD_CREDENTIALS: Ends(PermanentFailure, Reason.REJECTED),
        Fault.GARBAGE: NotApplicable("RFC 8030, 5: the status says it all, and no answer has a body to be wrong"),
    }

    @pytest.fixture
    async def rig(self, box: Sandbox, parts: Parts[PushSettings]) -> SandboxRig:
        subscription = await SandboxClient(box.addresses.http_url, {}).subscription(BROWSER_SECRET)
        browser = WebSubscription(endpoint=subscription["endpoint"], **subscription["keys"])
        return SandboxRig(
            box,
            "webpush",
            open=partial(open_only, WEB_PUSH, parts),
            make_attempt=partial(make_attempt, browser),
            secrets=[BROWSER_SECRET, browser.auth, browser.p256dh, *CREDENTIALS],
            faults=FAULTS,
        )


class TestNtfy(ProviderContract):
    expected: ClassVar[Expected] = {
        **EXPECTED,
        Fault.REFUSED_RECIPIENT: NotApplicable(
            "docs.ntfy.sh/publish: topics are made by being used, none is ever gone"
        ),
        Fault.GARBAGE: Ends(OutcomeUnknown, Reason.BAD_ANSWER),
    }

    @pytest.fixture
    def rig(self, box: Sandbox) -> SandboxRig:
        return SandboxRig(
            box,
            "ntfy",
            open=partial(open_only, NTFY, Parts(ntfy_settings_for(box), SystemClock())),
            make_attempt=partial(make_attempt, ntfy(TOPIC_SECRET)),
            secrets=[TOPIC_SECRET, access_token(box.credentials), *CREDENTIALS],
            faults={**FAULTS, Fault.GARBAGE: {"status": 200, "body": f"<html>{SECRET}</html>"}},
        )
