"""A new rule is one function and one place in the list: it decides, and plan, trace and receipt say so."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from carillon.local.servers import LocalServer
from carillon.publisher import Publisher
from services.router.planning.stages import KEEP, STAGES, Candidate, Decision, Hold, Stage, Suppress, preference
from shared.core.clock import SystemClock, epoch_ms
from shared.core.errors import Reason
from shared.core.model import Channel
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from shared.mqtt.reconnecting import BrokerLink
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.conftest import EmptyStore
from tests.router import an_intake

pytestmark = [pytest.mark.real_store, pytest.mark.real_broker]

TOPIC = "notifications/realtime/user/ada"
ADA = {"email": "ada@example.com", "devices": [{"platform": "android", "token": "device-of-ada"}]}
HOLD_MS = 3_600_000


def no_mail_on_marketing(candidate: Candidate) -> Decision:
    """The new rule."""
    is_marketing = candidate.notification.content.category == "marketing"
    if candidate.channel is Channel.EMAIL and is_marketing:
        return Suppress(Reason.OPTED_OUT, "category:marketing")
    return KEEP


def mail_later(candidate: Candidate) -> Decision:
    """Another one."""
    if candidate.channel is not Channel.EMAIL:
        return KEEP
    return Hold(epoch_ms(SystemClock().now()) + HOLD_MS, "quiet:ada")


@asynccontextmanager
async def publishing(
    store: EmptyStore, broker: LocalServer, prefix: str, stages: Sequence[Stage]
) -> AsyncIterator[Publisher]:
    """Run an intake with these stages, and publish to it."""
    address = BrokerAddress.parse(broker.url)
    async with Store(store.url) as opened:
        out = BrokerLink(address, f"{prefix}out")
        intake = an_intake(opened, out, prefix, stages)
        async with Broker(address, f"{prefix}general", budget=intake.budget) as inward:
            await inward.subscribe(f"{prefix}notifications/#", f"{prefix}directory/#")
            tasks = [asyncio.create_task(work, name="intake") for work in (out.run(), intake.serve(inward))]
            await out.wait_up()
            try:
                async with Publisher(broker.url, topic_prefix=prefix) as publisher:
                    await publisher.publish("directory/user/ada", ADA)
                    yield publisher
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def carillon(tmp_path: Path, store: EmptyStore) -> CommandLine:
    return CommandLine(tmp_path, REDIS_URL=store.url)


MARKETING = {"message": "Look!", "priority": "high", "category": "marketing"}


async def test_a_rule_that_suppresses_shows_in_plan_trace_and_receipt(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, carillon: CommandLine
) -> None:
    stages = (*STAGES, no_mail_on_marketing)
    async with publishing(store, broker, topic_prefix, stages) as publisher:
        receipt = await publisher.publish(TOPIC, MARKETING)
        assert [(each.field, each.problem) for each in receipt.warnings] == [
            ("category", "unknown category"),
            ("channels", "email suppressed: opted_out (category:marketing)"),
        ]
        shown = (await carillon("trace", str(receipt.notification_id), "--json")).json
        decided = {row["channel"]: (row["state"], row["reason"], row["rule"]) for row in shown["deliveries"]}
        assert decided == {
            "realtime": ("pending", None, None),
            "email": ("suppressed", "opted_out", "category:marketing"),
            "push": ("pending", None, None),
        }
        in_words = (await carillon("trace", str(receipt.notification_id))).out
        assert "decided by category:marketing" in in_words

        other = await publisher.publish(TOPIC, MARKETING | {"category": "orders"})
        assert [each.field for each in other.warnings] == ["category"]
        shown = (await carillon("trace", str(other.notification_id), "--json")).json
        assert {row["state"] for row in shown["deliveries"]} == {"pending"}


async def test_a_rule_that_holds_makes_a_row_that_is_due_later(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, carillon: CommandLine
) -> None:
    async with publishing(store, broker, topic_prefix, (*STAGES, mail_later)) as publisher:
        receipt = await publisher.publish(TOPIC, MARKETING)
        assert [each.field for each in receipt.warnings] == ["category"]
        shown = (await carillon("trace", str(receipt.notification_id), "--json")).json
        assert {row["channel"]: row["rule"] for row in shown["deliveries"]} == {"realtime": None, "push": None}
        (held,) = shown["tasks"]
        assert (held["task"], held["recipient"], held["rule"]) == (
            {"do": "recheck", "channel": "email"}, "ada", "quiet:ada"
        )  # fmt: skip
        assert held["next_at"] > max(row["next_at"] for row in shown["deliveries"])
        assert "email to ada, held" in (await carillon("trace", str(receipt.notification_id))).out


async def test_without_a_rule_of_the_list_it_does_not_hold(
    store: EmptyStore, broker: LocalServer, topic_prefix: str, carillon: CommandLine
) -> None:
    without = tuple(stage for stage in STAGES if stage is not preference)
    for stages, state in ((STAGES, "suppressed"), (without, "pending")):
        async with publishing(store, broker, topic_prefix, stages) as publisher:
            await publisher.publish("directory/user/ada", {"preferences": {"email": False}})
            receipt = await publisher.publish(TOPIC, MARKETING)
            shown = (await carillon("trace", str(receipt.notification_id), "--json")).json
            assert {row["channel"]: row["state"] for row in shown["deliveries"]}["email"] == state
