"""Mail through Amazon SES: what goes over the wire, and an email service that knows no relay."""

from collections.abc import Callable

import pytest

from carillon.local.stack import Stack
from sandbox.server import Sandbox
from sandbox.ses import CONFIGURATION_SET
from services.email.ses import SES
from shared.core.clock import SystemClock
from shared.core.errors import ProviderMisconfigured, Reason
from shared.delivery.attempt import Receipt
from shared.runtime.providers import Parts
from tests.attempts import outcome
from tests.provider_contract import open_only
from tests.smtp import attempt, ses_environment, ses_settings
from tests.system import open_system
from tests.waiting import eventually


async def test_a_receipt_has_the_id_that_ses_gave(box: Sandbox) -> None:
    settings = ses_settings(box, email_ses_configuration_set=CONFIGURATION_SET)
    provider = open_only(SES, Parts(settings, SystemClock()))
    ended = await outcome(provider, attempt(title="Grüße 🔔"))
    await provider.close()
    [entry] = [entry.as_json() for entry in box.kept.select()]
    assert ended == Receipt(str(entry["id"]))
    assert (entry["provider"], entry["to"], entry["title"]) == ("ses", "user123@example.com", "Grüße 🔔")


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("email_ses_secret_access_key", "another", Reason.AUTH),
        ("email_ses_region", "us-east-1", Reason.AUTH),
        ("email_ses_session_token", "ended", Reason.AUTH),
        ("email_ses_configuration_set", "none", Reason.REJECTED),
    ],
)
async def test_a_wrong_setting_is_the_operators(box: Sandbox, setting: str, value: str, reason: Reason) -> None:
    provider = open_only(SES, Parts(ses_settings(box, **{setting: value}), SystemClock()))
    ended = await outcome(provider, attempt())
    await provider.close()
    assert isinstance(ended, ProviderMisconfigured)
    assert ended.reason is reason
    assert len(box.kept) == 0


@pytest.mark.real_broker
@pytest.mark.real_store
async def test_an_email_service_with_ses_alone_delivers(box: Sandbox, new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(("router", "email"), {"EMAIL_SMTP_URL": "", **ses_environment(box)})
    await stack.start()
    async with open_system(stack) as system:
        mail = {"to": "user123@example.com", "subject": "Hello", "body": "Good morning."}
        receipt = await system.publish("notifications/email/send", mail)
        assert receipt.status == "accepted"
        await eventually(lambda: len(box.kept) == 1, within_s=30, what="the mail")
    [entry] = [entry.as_json() for entry in box.kept.select()]
    assert (entry["provider"], entry["to"], entry["title"]) == ("ses", "user123@example.com", "Hello")
