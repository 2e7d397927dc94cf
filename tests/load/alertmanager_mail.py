"""What Alertmanager's own mails and Carillon's are for the same alerts: ``python -m tests.load.alertmanager_mail``.

Two Alertmanagers as a cluster send each message to a webhook of Carillon and by their own mail receiver, both to the
same sandbox. Prints for each case how many mails came, when the first came, and the first ones.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from carillon.local.stack import Stack
from tests.alertmanager import Cluster, webhook
from tests.command_line import running_system
from tests.sandbox_client import SandboxClient

OURS, THEIRS = "user123@example.com", "alertmanager@example.com"
# Long enough for two repetitions.
_WAIT_S = 3 * Cluster.REPEAT_INTERVAL_S + 1


def _receivers(stack: Stack, key: str) -> dict[str, Any]:
    relay = urlsplit(stack.environment["EMAIL_SMTP_URL"].split(",")[0])
    mail = {
        "to": THEIRS, "from": "alertmanager@example.org", "smarthost": f"{relay.hostname}:{relay.port}",
        "require_tls": False, "send_resolved": True,
    }  # fmt: skip
    if relay.username:
        mail |= {"auth_username": relay.username, "auth_password": relay.password or ""}
    return {"both": {**webhook(f"{stack.realtime_url}/v1/alertmanager/disk", key), "email_configs": [mail]}}


Case = Callable[[Cluster], Awaitable[None]]


async def _one(cluster: Cluster) -> None:
    """One alert that goes on for two repetitions, and ends."""
    await cluster.say("Fire", instance="db1:9100")
    await asyncio.sleep(_WAIT_S)
    await cluster.say("Fire", instance="db1:9100", is_over=True)


async def _five(cluster: Cluster) -> None:
    """Five alerts of one group, one after the other, that go on for two repetitions, and end."""
    for number in range(5):
        await cluster.say("Flood", instance=f"db{number}:9100")
        await asyncio.sleep(0.5)
    await asyncio.sleep(_WAIT_S)
    for number in range(5):
        await cluster.say("Flood", instance=f"db{number}:9100", is_over=True)


async def _measure(name: str, case: Case, sandbox: SandboxClient, cluster: Cluster, *, shows: bool) -> None:
    await sandbox.clear()
    before = datetime.now().astimezone()
    await case(cluster)
    await asyncio.sleep(_WAIT_S)
    for sender, to in (("Alertmanager", THEIRS), ("Carillon", OURS)):
        mails = await sandbox.outbox(channel="email", to=to)
        delays = [(datetime.fromisoformat(mail["at"]) - before) / timedelta(seconds=1) for mail in mails]
        titles = [mail["title"] for mail in mails]
        print(f"{name}: {sender} {len(mails)} mails, first after {min(delays, default=0):.2f} s: {titles}")  # noqa: T201
        if shows and mails:
            print(json.dumps(mails[0], indent=1)[:4_000])  # noqa: T201


async def _first_mail(sandbox: SandboxClient, cluster: Cluster, rounds: int = 10) -> None:
    """Measure how long after an alert its mail comes."""
    delays: dict[str, list[float]] = {THEIRS: [], OURS: []}
    for number in range(rounds):
        await sandbox.clear()
        began = datetime.now().astimezone()
        await cluster.say(f"Round{number}", instance="db1:9100")
        await asyncio.sleep(2)
        await cluster.say(f"Round{number}", instance="db1:9100", is_over=True)
        for to, found in delays.items():
            mails = await sandbox.outbox(channel="email", to=to)
            mails = [mail for mail in mails if f"Round{number} " in mail["title"] + mail["body"]]
            if mails:
                found.append((datetime.fromisoformat(mails[0]["at"]) - began) / timedelta(seconds=1))
    for to, found in delays.items():
        print(f"delay to {to}: {len(found)} of {rounds}, median {median(found):.3f}, most {max(found):.3f} s")  # noqa: T201


async def _run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running_system(Path(folder) / "carillon", "router", "email", "realtime") as (stack, command):
            entry = {"user_id": "user123", "email": OURS, "roles": ["admin"]}
            await command("directory", "import", "-", stdin=json.dumps(entry))
            key = (await command("publisher", "create", "monitoring", "--json")).json["key"]
            sandbox = SandboxClient(stack.sandbox_url, stack.environment)
            for name, options in {"a cluster": {}, "cut apart": {"are_peers": False}}.items():
                own = Path(folder) / name.replace(" ", "-")
                own.mkdir()
                async with Cluster(own, _receivers(stack, key), peer_timeout="300ms", **options).running() as cluster:
                    await _measure(f"{name}, one", _one, sandbox, cluster, shows=not options)
                    await _measure(f"{name}, five", _five, sandbox, cluster, shows=not options)
                    if not options:
                        await _first_mail(sandbox, cluster)


if __name__ == "__main__":
    asyncio.run(_run())
