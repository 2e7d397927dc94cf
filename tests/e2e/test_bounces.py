"""A provider reports a bounce, and the next mail to that address is not sent."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.core.errors import Reason
from shared.core.model import Channel, State
from shared.ledger.confirmations import mail_reference
from shared.ledger.incidents import Incidents
from shared.ledger.reader import Trace, TracedRow
from shared.store.keys import Keys
from shared.store.store import Store
from tests.bounces import MAILGUN_KEY, Request, SendGrid, mailgun, mailgun_failed, sendgrid_bounce
from tests.store_users import give_users, refused
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store]


@pytest.fixture
def sendgrid() -> SendGrid:
    return SendGrid()


@pytest_asyncio.fixture
async def system(new_stack: Callable[..., Stack], sendgrid: SendGrid) -> AsyncIterator[System]:
    settings = {
        "REALTIME_BOUNCES_SENDGRID_PUBLIC_KEY": sendgrid.public_key,
        "REALTIME_BOUNCES_MAILGUN_SIGNING_KEY": MAILGUN_KEY,
    }
    stack = new_stack(services=("router", "email", "realtime"), settings=settings)
    give_users(stack)
    await stack.start()
    async with open_system(stack) as system:
        yield system
    assert await refused(stack) == []


async def post(system: System, report: Request) -> int:
    url = system.stack.realtime_url + report.path
    async with system.http.post(url, data=report.body, headers=report.headers) as answer:
        return answer.status


async def mail(system: System, to: str, subject: str) -> str:
    receipt = await system.publish("notifications/email/send", {"to": to, "subject": subject, "body": "Good morning."})
    assert receipt.notification_id is not None
    return receipt.notification_id


async def end(system: System, notification_id: str) -> TracedRow:
    async with Store(system.stack.store.url) as store:
        trace = Trace(store, Keys())

        async def ended() -> TracedRow | None:
            rows = [row async for row in trace.rows(notification_id) if row.lane == Channel.EMAIL]
            return next((row for row in rows if row.state not in (State.PENDING, State.SENDING)), None)

        found: TracedRow = await eventually(ended, what="the mail's end")
        return found


async def test_mail_to_a_bounced_address_is_suppressed(system: System, sendgrid: SendGrid) -> None:
    for address, report in (
        ("jo@example.com", sendgrid.bounce("Jo@Example.com")),
        ("sam@example.com", mailgun(mailgun_failed("sam@example.com"))),
    ):
        assert (await end(system, await mail(system, address, "first"))).state is State.DELIVERED
        assert await post(system, report) == 200
        second = await end(system, await mail(system, address, "second"))
        assert (second.state, second.reason) == (State.SUPPRESSED, Reason.BOUNCED)
    assert {entry["title"] for entry in await system.sandbox.outbox(channel="email")} == {"first"}


async def test_a_bounce_of_an_alerts_mail_tells_the_next_level_at_once(system: System, sendgrid: SendGrid) -> None:
    first, second = [await system.person(name, email=f"{name}@example.com") for name in ("first", "second")]
    levels = [{"notify": ["oncall"]}, {"after": "1h", "notify": ["oncall:second"]}]
    await system.publish("directory/policy/mailed", {"levels": levels})
    layers = [{"users": [each], "rotation": "weekly", "start": "2026-01-05"} for each in (first, second)]
    await system.publish("directory/oncall/mailed", {"layers": layers, "policy": "mailed"})
    receipt = await system.publish("notifications/alerts/critical/mailed", {"message": "The disk is full."})
    alert = str(receipt.alert_id)
    assert (await end(system, alert)).state is State.DELIVERED
    message_id = f"<{mail_reference(alert, f'email:{first}')}@example.com>"
    # Blocked for what it says: nothing against the address, and still it has not arrived.
    blocked = sendgrid_bounce("first@example.com", type="blocked", **{"smtp-id": message_id})
    assert await post(system, sendgrid.report(blocked)) == 200
    (told,) = await system.arrived(1, to="second@example.com")
    async with Store(system.stack.store.url) as store:
        timeline = await Incidents(store, Keys()).timeline(alert)
        rows = [row async for row in Trace(store, Keys()).rows(alert, first) if row.lane == Channel.EMAIL]
    words = [(entry.what, entry.said.get("reason")) for entry in timeline]
    assert words.index(("failed", "sendgrid blocked 5.1.1")) < words.index(("escalates", "evidence"))
    assert [each.outcome for each in rows[0].callbacks] == ["failed"]
    assert told["channel"] == "email"


async def test_a_forged_report_and_one_of_an_unknown_provider_change_nothing(system: System) -> None:
    assert await post(system, SendGrid().bounce("jo@example.com")) == 403
    assert await post(system, mailgun(mailgun_failed("jo@example.com"), key="not the key of the account")) == 403
    assert await post(system, Request("/v1/bounces/ses", b"{}")) == 404
    assert (await end(system, await mail(system, "jo@example.com", "first"))).state is State.DELIVERED
