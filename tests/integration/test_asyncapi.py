"""The AsyncAPI document: valid for its official parser, and what it says of payloads, receipts and events is so."""

import json
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jsonschema_rs import Draft7Validator

from carillon.publisher import Publisher, Receipt, Refused
from services.realtime.http.asyncapi import read_asyncapi
from services.router.rules.examples import EXAMPLES
from shared.core.topics import Kind
from shared.mqtt.address import BrokerAddress
from shared.mqtt.connection import Broker
from tests.command_line import running_system
from tests.node_packages import NODE
from tests.waiting import eventually

pytestmark = pytest.mark.real_broker
in_module = pytest.mark.asyncio(loop_scope="module")

DOCUMENT = read_asyncapi()
# Who publishes on topics with a publisher's name, and what that one may.
PUBLISHER = "tester"
RECORD: dict[str, Any] = {"may": ["#"], "may_answer": "any"}

# Prints what the parser has to say, one line each. Severity 0 is an error, 1 a warning; 2 recommends a newer version.
_PARSE = """
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
const { diagnostics } = await new Parser().parse(readFileSync(process.argv[1], "utf8"));
for (const found of diagnostics.filter((each) => each.severity < 2)) {
  console.log(`${found.path.join("/")}: ${found.message}`);
}
"""


def validator(name: str, *, strict: bool = False) -> Draft7Validator:
    """Make the validator of a shape; a strict one refuses fields that the shape does not name."""
    components = json.loads(json.dumps(DOCUMENT["components"]))
    if strict:
        for schema in components["schemas"].values():
            if "properties" in schema and schema is not components["schemas"]["LiveFrame"]:
                schema["additionalProperties"] = False
    return Draft7Validator({"$ref": f"#/components/schemas/{name}", "components": components})


def channels() -> list[str]:
    """Name the channels that publishers send on, in the order of the examples."""
    return [f"{kind}{name}" for kind in EXAMPLES for name in ("", "_from")]


def examples(channel: str) -> list[tuple[str, Any]]:
    """Return a channel's examples, each with the name of its message."""
    found = DOCUMENT["channels"][channel]["messages"]
    messages = DOCUMENT["components"]["messages"]
    return [(name, each["payload"]) for name in found for each in messages[name].get("examples", ())]


def receipts_of(channel: str) -> list[str]:
    """Name the shapes of the receipts that a channel's publishes get."""
    answers = DOCUMENT["operations"][f"publish_{channel}"]["reply"]["messages"]
    return [answer["$ref"].rpartition("/")[2] + "Receipt" for answer in answers]


class Talk:
    """A publisher's talk with a running system, every word of which is held against the document."""

    def __init__(self, plain: Publisher, named: Publisher) -> None:
        self._plain, self._named = plain, named
        self._levels: dict[bool, dict[str, str]] = {True: {}, False: {}}

    async def say(self, channel: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Publish on a channel and return the receipt."""
        described = DOCUMENT["channels"][channel]
        levels = {name: each["examples"][0] for name, each in described.get("parameters", {}).items()}
        is_named = channel.endswith("_from")
        if is_named:
            levels["publisher"] = PUBLISHER
        levels |= {name: level for name, level in self._levels[is_named].items() if name in levels}
        publisher = self._named if is_named else self._plain
        try:
            receipt = await publisher.publish(described["address"].format(**levels), payload)
        except Refused as refused:
            receipt = refused.receipt
        self._remember(receipt, self._levels[is_named])
        said = receipt.document()
        fitting = [name for name in receipts_of(channel) if validator(name, strict=True).is_valid(said)]
        assert fitting, (channel, said)
        return said

    async def put_record(self, record: dict[str, Any]) -> None:
        """Write the record of the publisher with a name."""
        await self._plain.publish(f"directory/publisher/{PUBLISHER}", record)

    @staticmethod
    def _remember(receipt: Receipt, levels: dict[str, str]) -> None:
        # What a publisher answers or cancels later is what was accepted of it last.
        if receipt.alert_id is not None:
            levels["alert_id"] = receipt.alert_id
        if receipt.notification_id is not None:
            levels["notification_id"] = receipt.notification_id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Talk, Broker]]:
    async with running_system(tmp_path_factory.mktemp("asyncapi"), "router", "realtime", "email") as (stack, _):
        broker = Broker(BrokerAddress.parse(stack.broker.url), f"events-{uuid.uuid4().hex[:8]}")
        # A publisher with a name is answered below it, and this one's is the first level of its receipts.
        named = Publisher(stack.broker.url, client_id=PUBLISHER)
        async with Publisher(stack.broker.url) as plain, named, broker:
            await broker.subscribe("notifications/events/#")
            await plain.publish(f"directory/publisher/{PUBLISHER}", RECORD)
            yield Talk(plain, named), broker


def test_the_official_parser_finds_nothing_wrong(node_packages: Path, tmp_path: Path) -> None:
    path = tmp_path / "asyncapi.json"
    path.write_text(json.dumps(DOCUMENT))
    command = [str(NODE), "--input-type=module", "-e", _PARSE, str(path)]
    printed = subprocess.run(command, cwd=node_packages, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert not printed.stdout


def test_every_channel_of_publishers_is_a_topic() -> None:
    described = {name.removeprefix("publish_") for name in DOCUMENT["operations"] if name.startswith("publish_")}
    assert described == set(channels())
    assert set(EXAMPLES) == set(Kind)


def test_every_topic_has_an_example_that_fits_its_shape() -> None:
    for channel in channels():
        shown = examples(channel)
        assert shown, channel
        for name, payload in shown:
            validator(name).validate(payload)


@in_module
async def test_every_example_is_accepted(system: tuple[Talk, Broker]) -> None:
    talk, _ = system
    for channel in channels():
        for _, payload in examples(channel):
            said = await talk.say(channel, payload)
            assert said["status"] == "accepted", (channel, payload, said)
            assert not said.get("warnings"), (channel, payload, said)
            # One of the examples is a record of its own.
            await talk.put_record(RECORD)


@in_module
async def test_duplicates_warnings_and_refusals_have_their_shapes(system: tuple[Talk, Broker]) -> None:
    talk, _ = system
    twice = {"message": "m", "id": uuid.uuid4().hex}
    assert (await talk.say("realtime_user", twice))["status"] == "accepted"
    assert (await talk.say("realtime_user", twice))["status"] == "duplicate"
    assert (await talk.say("realtime_user", {"message": "m", "prioriy": "low"}))["warnings"]
    refused = await talk.say("realtime_user", {"mesage": "m"})
    assert [problem["field"] for problem in refused["error"]["fields"]] == ["message", "mesage"]


@in_module
async def test_a_refusal_for_the_rate_has_its_shape(system: tuple[Talk, Broker]) -> None:
    talk, _ = system
    await talk.put_record(RECORD | {"rate": "1/60s"})

    async def limited() -> bool:
        said = await talk.say("realtime_user_from", {"message": "m"})
        return said["status"] == "rejected" and bool(said["error"]["retry_after_s"])

    await eventually(limited, 30, "a refusal")
    await talk.put_record(RECORD)


@in_module
async def test_every_event_has_its_shape(system: tuple[Talk, Broker]) -> None:
    talk, broker = system
    await talk.say("email_send", {"to": "alice@example.com", "subject": "s", "body": "b", "events": True})
    await talk.say("realtime_user", {"message": "m", "events": True, "priority": "low", "channels": ["realtime"]})
    seen: set[str] = set()

    async def told() -> bool:
        for incoming in await broker.take(100):
            broker.ack(incoming)
            step = json.loads(incoming.payload)
            validator("Step", strict=True).validate(step)
            seen.add(step["state"])
        return {"accepted", "delivered"} <= seen

    await eventually(told, 30, "the steps of both")
    assert seen <= {"accepted", "delivered", "suppressed", "expired", "dead_lettered"}
