"""The system on one machine: it starts, continues, keeps its parts running and its credentials apart."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio

from carillon.local.child import ChildFailed
from carillon.local.places import read_environment
from carillon.local.ports import Ports, is_free
from carillon.local.stack import Stack
from carillon.local.supervisor import GaveUp, Supervisor
from services.push.webpush.allowed_hosts import BROWSER_PUSH_HOSTS
from shared.core.errors import BrokerUnavailable, CarillonError
from shared.core.model import Channel, Priority
from shared.core.topics import Kind, Topics
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.waiting import eventually

NewStack = Callable[..., Stack]


@asynccontextmanager
async def watched(stack: Stack) -> AsyncIterator[tuple[list[str], asyncio.Task[None]]]:
    said: list[str] = []
    watch = asyncio.create_task(Supervisor(stack, said.append, first_pause_s=0.05).watch(), name="watch")
    try:
        yield said, watch
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError, GaveUp):
            await watch


async def test_every_part_answers_once_the_stack_has_started(new_stack: NewStack) -> None:
    stack = new_stack(services=["push"])
    lines: list[str] = []
    await stack.start(lines.append)
    assert [line.partition(":")[0] for line in lines] == ["broker", "store", "sandbox", "services"]
    async with aiohttp.ClientSession() as session:
        for url in (f"{stack.ops_url('push')}/readyz", f"{stack.sandbox_url}/healthz"):
            async with session.get(url) as answer:
                assert answer.status == 200


async def test_a_service_runs_several_times_side_by_side(new_stack: NewStack) -> None:
    stack = new_stack(services=["push"])
    await stack.start()
    second = await stack.start_service("push", index=1)
    assert second.pid != stack.child("push").pid
    async with aiohttp.ClientSession() as session, session.get(f"{stack.ops_url('push', 1)}/readyz") as answer:
        assert answer.status == 200
    assert await stack.stop_service("push", index=1) == 0
    assert stack.child("push").alive


async def test_a_service_gets_no_credentials_of_another(new_stack: NewStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_TWILIO_AUTH_TOKEN", "from-the-outside")
    stack = new_stack(services=["push"])
    await stack.start()
    names = set(stack.child("push").environment or {})
    assert "PUSH_APNS_KEY_FILE" in names
    others = {name for name in names if name.startswith(("EMAIL_", "SMS_", "REALTIME_"))}
    # It makes links that the realtime service serves.
    assert others == {"REALTIME_LINK_SECRET", "REALTIME_PUBLIC_URL"}


async def test_pushes_to_browsers_are_let_out_only_on_purpose(tmp_path: Path, new_stack: NewStack) -> None:
    kept_in = new_stack(services=[])
    await kept_in.start()
    assert "fcm.googleapis.com" not in kept_in.environment["PUSH_WEBPUSH_ALLOWED_HOSTS"]
    await kept_in.stop()
    let_out = Stack(tmp_path / "let-out", services=["push"], browser_push_hosts=BROWSER_PUSH_HOSTS)
    try:
        # The push service starts: it understands both the sandbox's address and theirs.
        await let_out.start()
        assert let_out.environment["PUSH_WEBPUSH_ALLOWED_HOSTS"].startswith("127.0.0.1")
        assert let_out.environment["PUSH_WEBPUSH_ALLOWED_HOSTS"].endswith(f",{BROWSER_PUSH_HOSTS}")
    finally:
        await let_out.stop()


async def test_a_second_start_continues_with_the_same_data_and_secrets(new_stack: NewStack) -> None:
    stack = new_stack(services=[])
    await stack.start()
    before = dict(stack.environment)
    async with redis.asyncio.from_url(stack.store.url) as connected:
        await connected.set("kept", "yes")
    await stack.stop()
    await stack.start()
    async with redis.asyncio.from_url(stack.store.url) as connected:
        assert await connected.get("kept") == b"yes"
    assert stack.environment == before


async def test_the_settings_can_be_read_back_by_their_owner_alone(new_stack: NewStack) -> None:
    stack = new_stack(
        services=[], settings={"ALERT_ESCALATION_AFTER_S": "3", "EMAIL_FROM": 'it\'s "me" <a@example.com>'}
    )
    await stack.start()
    assert read_environment(stack.data) == stack.environment
    assert stack.environment_file.stat().st_mode & 0o077 == 0
    assert (stack.data / "jwt_secret").stat().st_mode & 0o077 == 0


async def test_a_prefix_of_our_own_environment_is_written_down_for_the_commands(
    new_stack: NewStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", "staging/")
    stack = new_stack(services=[])
    await stack.start()
    assert read_environment(stack.data)["TOPIC_PREFIX"] == "staging/"


async def test_origins_of_our_own_environment_count_besides_the_stacks_own(
    new_stack: NewStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALTIME_ALLOWED_ORIGINS", "http://localhost:3000, https://app.example.com")
    stack = new_stack(services=["realtime"])
    await stack.start()
    url = f"{stack.realtime_url}/v1/inbox"
    origins = ["http://localhost:3000", "https://app.example.com", stack.realtime_url, "http://localhost:3001"]
    allowed = []
    async with aiohttp.ClientSession() as session:
        for origin in origins:
            async with session.get(url, headers={"Origin": origin}) as answer:
                allowed.append(answer.headers.get("Access-Control-Allow-Origin"))
    assert allowed[:2] == origins[:2]
    assert allowed[3] is None


async def test_a_data_folder_serves_one_stack_at_a_time(new_stack: NewStack) -> None:
    stack = new_stack(services=[])
    await stack.start()
    with pytest.raises(CarillonError, match="another Carillon runs on"):
        await Stack(stack.data, ports=Ports.free()).start()
    assert stack.broker.alive


async def test_a_service_that_cannot_start_takes_everything_down(new_stack: NewStack) -> None:
    stack = new_stack(services=["push"], settings={"PUSH_APNS_KYE_ID": "misspelt"})
    with pytest.raises(ChildFailed, match="push ended at start with status 2") as failed:
        await stack.start()
    assert any("PUSH_APNS_KYE_ID" in line for line in failed.value.last_lines)
    assert not any(child.alive for child in stack.children)
    assert all(is_free(port) for port in stack.ports.all())


@pytest.mark.parametrize("name", ["push", "broker", "store", "sandbox"])
async def test_what_dies_is_started_again(new_stack: NewStack, name: str) -> None:
    stack = new_stack(services=["push"] if name == "push" else [])
    await stack.start()
    child = stack.child(name)
    first = child.pid
    assert first is not None
    async with watched(stack) as (said, _):
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: f"{name} runs again" in said, within_s=30)
    assert child.alive
    assert child.pid != first
    assert said[0] == f"{name} ended with status -9. Its last lines:"


async def test_what_keeps_dying_is_given_up(new_stack: NewStack) -> None:
    stack = new_stack(services=[])
    await stack.start()
    stack.broker.command = [sys.executable, "-c", "raise SystemExit('broken')"]
    assert stack.broker.pid is not None
    async with watched(stack) as (said, watch):
        os.kill(stack.broker.pid, signal.SIGKILL)
        with pytest.raises(GaveUp, match="broker keeps ending"):
            await asyncio.wait_for(asyncio.shield(watch), 60)
    assert said.count("    broken") == 4
    assert sum("is started again" in line for line in said) == 4


async def test_what_was_stopped_stays_stopped(new_stack: NewStack) -> None:
    stack = new_stack(services=[])
    await stack.start()
    async with watched(stack) as (said, _):
        await stack.sandbox.stop()
        broker = stack.broker.pid
        assert broker is not None
        os.kill(broker, signal.SIGKILL)
        await eventually(lambda: "broker runs again" in said)
    assert not [line for line in said if line.startswith("sandbox")]
    assert not stack.sandbox.alive


def test_logs_are_kept_with_the_data(tmp_path: Path) -> None:
    stack = Stack(tmp_path, services=[])
    assert all(child.log.is_relative_to(tmp_path) for child in stack.children)


@pytest.mark.real_broker
async def test_what_is_between_the_services_is_closed_to_whoever_has_no_login(new_stack: NewStack) -> None:
    stack, topics = new_stack(services=["router"]), Topics()
    await stack.start()
    stranger = BrokerAddress.parse(stack.broker.url)
    async with Broker(stranger, "stranger") as connection:
        with pytest.raises(BrokerUnavailable, match="0x87"):
            await connection.publish(topics.jobs(Channel.SMS, Priority.CRITICAL), "{}")
        with pytest.raises(BrokerUnavailable, match="refused"):
            await connection.subscribe(topics.jobs_filter(Channel.SMS, Priority.CRITICAL))
        assert await connection.publish(topics.publish(Kind.EMAIL_SEND), "{}") is True
    assert all("@" not in text for text in (stack.environment["MQTT_URL"], stack.broker.url))
