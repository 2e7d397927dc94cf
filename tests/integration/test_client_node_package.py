"""The Node client as a package: its own tests, its types, its examples, and what ``npm pack`` makes of it."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from carillon.version import VERSION
from tests.client_node_build import CLIENTS, build_errors, npm, run
from tests.command_line import running_system

RULES: dict[str, Any] = json.loads((CLIENTS / "rules.json").read_text())

_CODE = re.compile(r"^```js\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The payload type of each kind of topic that has a method.
TYPES = {
    "realtime_user": "RealtimePayload",
    "realtime_group": "RealtimePayload",
    "realtime_broadcast": "BroadcastPayload",
    "alert_critical": "AlertPayload",
    "alert_warning": "AlertPayload",
    "alert_info": "AlertPayload",
    "alert_acknowledge": "AcknowledgePayload",
    "alert_resolve": "ResolvePayload",
    "system_status": "StatusPayload",
    "system_maintenance": "MaintenancePayload",
    "email_send": "EmailPayload",
    "email_batch": "EmailBatchPayload",
    "sms_send": "SmsPayload",
    "push_mobile": "PushPayload",
}

# What a service writes in TypeScript; each line that must not compile is marked.
USE = """
import { type NotificationPublisher, Publisher, Refused, type Receipt } from "@carillon/publisher";
import { FakePublisher } from "@carillon/publisher/testing";

async function use(publisher: NotificationPublisher): Promise<Receipt> {
  await publisher.sendUser("user123", { message: "Hello", send_at: new Date() }, { key: "k1", timeoutMs: 5_000 });
  await publisher.sendUser("user123", { template: "welcome", data: { name: "A" }, locale: "en" });
  await publisher.sendPush("ios", { user_id: "user123", message: "Hello" });
  for await (const event of publisher.events("n1")) console.log(event.state);
  // @ts-expect-error -- a misspelt field
  await publisher.sendUser("user123", { message: "Hello", prioriy: "high" });
  // @ts-expect-error -- no text and no template
  await publisher.sendUser("user123", { title: "Hello" });
  // @ts-expect-error -- no such priority
  await publisher.sendUser("user123", { message: "Hello", priority: "urgent" });
  // @ts-expect-error -- no such level
  await publisher.alert("fatal", "disk", { message: "Hello" });
  // @ts-expect-error -- to nobody
  await publisher.sendPush("ios", { message: "Hello" });
  return publisher.sendEmail({ to: "user@example.com", subject: "Welcome", html_body: "<p>Hello</p>" });
}

export const calls = [
  use(new FakePublisher()),
  use(await Publisher.connect({ url: "mqtt://127.0.0.1", name: "shop" })).catch((error) => (error as Refused).fields),
];
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_system(tmp_path_factory.mktemp("system"), "router") as (stack, _command):
        yield stack


def test_its_own_tests_and_the_example_of_a_unit_test_pass(node_client_package: Path) -> None:
    printed = run(node_client_package, "--test", "--test-reporter=tap")
    assert "\n# fail 0\n" in printed
    assert "an address that is none is told to the caller" in printed


def test_the_types_name_the_fields_of_the_rules(node_client_package: Path) -> None:
    lines = [
        'import type * as payloads from "@carillon/publisher";',
        # Of each member of a union.
        "type Fields<T> = T extends unknown ? keyof T : never;",
        "type Same<A, B> = [A, B] extends [B, A] ? true : { missing: Exclude<B, A>; unknown: Exclude<A, B> };",
    ]
    topics = {topic["kind"]: topic for topic in RULES["topics"]}
    for kind, name in TYPES.items():
        names = " | ".join(json.dumps(field) for field in sorted(_fields(topics[kind]))) or "never"
        lines.append(f"export const {kind}: Same<Fields<payloads.{name}>, {names}> = true;")
    for name in ("Priority", "Channel", "Platform"):
        values = " | ".join(json.dumps(value) for value in RULES["schemas"][name]["enum"])
        lines.append(f"export const of{name}: Same<payloads.{name}, {values}> = true;")
    assert build_errors(node_client_package, "\n".join(lines)) == ""


def _fields(topic: dict[str, Any]) -> set[str]:
    schemas = [RULES["schemas"][topic[each]] for each in ("schema", "templated") if topic.get(each)]
    return {
        field
        for schema in schemas
        for field, rule in schema["properties"].items()
        # What stands in the topic, and what a template does not go with.
        if not rule.get("x-parameter") and "not" not in rule
    }


def test_wrong_payloads_do_not_compile(node_client_package: Path) -> None:
    assert build_errors(node_client_package, USE) == ""


async def test_the_readmes_code_runs(node_client_package: Path, system: Stack) -> None:
    first, events, fake = _CODE.findall((CLIENTS / "node" / "README.md").read_text())
    first = first.replace("mqtt://127.0.0.1:1883", system.broker.url)
    # The second block goes on with the publisher of the first, and no mail service runs here.
    connected = first.partition("const receipt")[0]
    events = connected + events.replace("60_000", "500") + "await publisher.close();\n"
    printed = []
    for code in (first, events, fake):
        (node_client_package / "readme.mjs").write_text(code)
        printed.append(run(node_client_package, "readme.mjs"))
    assert printed[0].startswith("accepted ")
    assert "message: 'Hello'" in printed[2]


def test_its_version_is_carillons() -> None:
    for name in ("package.json", "package-lock.json"):
        assert json.loads((CLIENTS / "node" / name).read_text())["version"] == VERSION


def test_the_lock_names_no_registry() -> None:
    assert '"resolved"' not in (CLIENTS / "node" / "package-lock.json").read_text()


@pytest.mark.slow
async def test_the_packed_client_is_installed_into_an_empty_folder_and_sends(
    node_client_package: Path, system: Stack, tmp_path: Path
) -> None:
    packed = npm(node_client_package, "pack", "--json", "--pack-destination", str(tmp_path))
    (described,) = json.loads(packed[packed.index("[") :])
    files = {each["path"] for each in described["files"]}
    assert {"dist/index.js", "dist/index.d.ts", "dist/testing/index.js", "dist/rules.json", "README.md"} <= files
    assert not [name for name in files if name.startswith(("src/", "test/", "node_modules/", "driver/"))]
    (tmp_path / "package.json").write_text("{}")
    npm(tmp_path, "install", "--prefer-offline", "--ignore-scripts", "--no-audit", described["filename"])
    for example in (CLIENTS / "node" / "examples").iterdir():
        shutil.copy(example, tmp_path)
    word, notification_id = run(tmp_path, "first-notification.mjs", system.broker.url, "user123").split()
    assert (word, len(notification_id)) == ("accepted", 36)
    assert "\n# fail 0\n" in run(tmp_path, "--test", "--test-reporter=tap", "order-service.test.mjs")
