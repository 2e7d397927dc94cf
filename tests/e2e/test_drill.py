"""``carillon drill`` against the real system: what it measures, whom it finds out of reach, and that it cleans up."""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from shared.ledger.incidents import Incidents
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine, running_system
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [pytest.mark.real_broker, pytest.mark.real_store, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class Drilled:
    """A system with nobody in it, the command line that finds it, and what is open in it."""

    system: System
    command: CommandLine
    incidents: Incidents

    async def duty(self, *users: str) -> str:
        """Put these people on call for a new type of alert."""
        alert_type = f"disk-{uuid.uuid4().hex[:8]}"
        await self.system.publish(f"directory/oncall/{alert_type}", {"users": users})
        return alert_type

    async def person(self) -> str:
        user = f"user-{uuid.uuid4().hex[:8]}"
        await self.system.publish(f"directory/user/{user}", {"email": self.system.address(user)})
        return user

    async def open_alert(self) -> str:
        """Wait for the drill, and return its id."""
        (found,) = await eventually(self.incidents.open_ids, what="the drill's alert")
        return str(found)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def drilled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Drilled]:
    data = tmp_path_factory.mktemp("drill")
    async with (
        running_system(data, "router", "email", "realtime") as (stack, command),
        open_system(stack) as system,
        Store(stack.store.url) as store,
    ):
        yield Drilled(system, command, Incidents(store, Keys()))


async def test_a_drill_measures_the_way_to_a_person_and_leaves_nothing_open(drilled: Drilled) -> None:
    user = await drilled.person()
    running = asyncio.create_task(drilled.command("drill", await drilled.duty(user), "--timeout", "30s", "--json"))
    alert_id = await drilled.open_alert()
    (mail,) = await drilled.system.arrived(1, to=drilled.system.address(user))
    assert "DRILL" in mail["body"]
    entry = await drilled.system.in_inbox(user, alert_id)
    assert (entry["data"], entry["alert"]["source"]) == ({"drill": True}, "drill")
    await drilled.system.call("POST", f"/v1/inbox/{alert_id}/read", user)
    ran = await running
    assert (ran.status, ran.err) == (0, "")
    (person,) = ran.json["people"]
    assert (ran.json["alert_id"], ran.json["resolved"], person["user_id"]) == (alert_id, True, user)
    assert 0 < person["seen_s"] < 30
    channels = {each["channel"]: each for each in person["channels"]}
    assert all(0 < channels[name]["provider_s"] < 30 for name in ("email", "realtime"))
    assert {(channels[name]["state"], channels[name]["reason"]) for name in ("sms", "push")} == {
        ("suppressed", "no_address"),
    }  # fmt: skip
    assert await drilled.incidents.open_ids() == []


async def test_somebody_whom_only_the_inbox_reaches_makes_the_answer_no(drilled: Drilled) -> None:
    user = f"user-{uuid.uuid4().hex[:8]}"
    await drilled.system.publish(f"directory/user/{user}", {})
    other = await drilled.person()
    ran = await drilled.command("drill", await drilled.duty(user, other), "--timeout", "2s")
    assert ran.status == 1
    assert f"out of reach: nothing but the inbox has reached {user}" in ran.out
    assert other not in ran.out.rpartition("out of reach")[2]
    assert await drilled.incidents.open_ids() == []


# A shell that runs the tests in the background has its children ignore Ctrl-C.
_HEARS_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('carillon', run_name='__main__', alter_sys=True)"
)


async def test_ctrl_c_resolves_the_drill(drilled: Drilled) -> None:
    alert_type = await drilled.duty(await drilled.person())
    environment = {**os.environ, "CARILLON_DATA": str(drilled.command.data)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HEARS_CTRL_C, "drill", alert_type, env=environment, stdout=asyncio.subprocess.PIPE
    )
    await drilled.open_alert()
    assert process.stdout is not None
    assert b"telling people" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 30) == 130
    assert await drilled.incidents.open_ids() == []


async def test_a_drill_of_a_type_that_cannot_be_is_refused(drilled: Drilled) -> None:
    ran = await drilled.command("drill", "a/b", "--timeout", "2s")
    assert ran.status == 1
    assert (await drilled.command("drill", "disk", "--timeout", "2h")).status == 2
