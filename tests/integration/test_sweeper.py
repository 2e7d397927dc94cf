"""The sweeper goes on when the broker is slow to confirm what it was given."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import cast

import pytest

from services.router.upkeep import sweeper as module
from shared.core.clock import SystemClock
from shared.core.model import Channel, Content, Delivery, EmailAddress, Notification, Priority
from shared.core.topics import Topics
from shared.ledger.backlog import Backlog
from shared.ledger.schedule import DueRow, Schedule, Swept
from shared.mqtt.address import BrokerAddress
from shared.mqtt.reconnecting import BrokerLink
from shared.store.keys import new_notification_id
from tests.fakes.mqtt_server import scripted_broker
from tests.waiting import eventually


class OneDueRow:
    """A schedule in which one row is due whenever it is asked."""

    def __init__(self) -> None:
        self.rounds: list[frozenset[str]] = []
        self.backlog = Backlog()

    async def sweep(self, _most: int, _ahead: timedelta, probed: Collection[str]) -> Swept:
        self.rounds.append(frozenset(probed))
        notification = Notification(
            id=new_notification_id(),
            kind="email_send",
            priority=Priority.NORMAL,
            accepted_ms=1,
            content=Content(title="t", message="m"),
        )
        row = Delivery(
            key="email:0",
            channel=Channel.EMAIL,
            priority=Priority.NORMAL,
            address=EmailAddress(email="user@example.com"),
            due_ms=0,
            expires_ms=2**41,
        )
        due = DueRow(notification.id, row.key, "email", row.priority, notification.written(), row.written())
        return Swept(due=[due], ended=[])


async def test_a_broker_that_confirms_nothing_does_not_hold_up_the_rounds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CONFIRMED_WITHIN_S", 0.1)
    schedule = OneDueRow()
    async with scripted_broker() as server:
        link = BrokerLink(BrokerAddress.parse(server.url), "sweeper")
        work = (link.run(), module.sweep_forever(cast("Schedule", schedule), Topics(), link, SystemClock()))
        tasks = [asyncio.create_task(each, name="sweep") for each in work]
        try:
            await eventually(lambda: len(schedule.rounds) >= 4, what="more rounds")
            assert len(server.published) >= 3
            # That nobody takes jobs is not known, so the lane is not only probed from now on.
            assert set(schedule.rounds) == {frozenset()}
            assert "broker slow to confirm" in caplog.messages

            def is_probed_when_nobody_is_subscribed() -> bool:
                # The newest one: an older one may have been given up.
                server.puback(server.published[-1].mid, 0x10)
                return frozenset({"email"}) in schedule.rounds

            await eventually(is_probed_when_nobody_is_subscribed, what="the lane to be probed")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
