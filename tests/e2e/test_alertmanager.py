"""Two real Alertmanagers as a cluster, both of which post to a real system: nothing twice, and nothing lost."""

import asyncio
import json
import re
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from shared.core.errors import StoreUnavailable
from shared.ledger.incidents import Incident, Incidents
from shared.store.keys import Keys
from shared.store.store import Store
from tests.alertmanager import ENDED, PROGRAM, Cluster, alert, message, post_message, webhook
from tests.command_line import CommandLine, running_system
from tests.conftest import need
from tests.system import System, open_system
from tests.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_store,
    pytest.mark.real_broker,
    pytest.mark.asyncio(loop_scope="module"),
]

AWAY_S = 10
DOCS = Path(__file__).parents[2] / "docs"
MAIL = "user123@example.com"


@dataclass
class Site:
    """A cluster of Alertmanagers that posts to a system."""

    system: System
    cluster: Cluster
    incidents: Incidents
    command: CommandLine
    key: str

    async def post(self, posted: Any, path: str = "disk", key: str | None = None) -> tuple[int, Any]:
        """Post a message as Alertmanager would."""
        return await post_message(self.system.http, self.system.stack.realtime_url, key or self.key, posted, path)

    async def told(self, name: str) -> Counter[str]:
        """Count the mails about alerts of that name, by their text about one of them."""
        mails = await self.system.sandbox.outbox(channel="email", to=MAIL)
        return Counter(mail["body"].split(" is burning")[0] for mail in mails if f"{name} " in mail["body"])

    async def opened(self, name: str, within_s: float = 10) -> str:
        """Wait until an incident about alerts of that name is open, and return its id."""

        async def found() -> str | None:
            # Right after the store has come back, the connections to it are being made again.
            with suppress(StoreUnavailable):
                async for incident in self.incidents.listed():
                    if (incident.alert.labels or {}).get("alertname") == name:
                        return incident.id
            return None

        return await eventually(found, within_s, f"the incident about {name}")

    async def stands(self, incident_id: str, word: str, within_s: float = 10) -> Incident:
        """Wait until an incident stands there."""

        async def there() -> Incident | None:
            incident = await self.incidents.get(incident_id)
            return incident if incident is not None and incident.word == word else None

        return await eventually(there, within_s, f"an incident that is {word}")

    async def counted(self, **labels: str) -> float:
        """Read a count of the realtime service's: alerts by status and outcome, or messages by status."""
        async with self.system.http.get(f"{self.system.stack.ops_url('realtime')}/metrics") as answer:
            families = list(text_string_to_metric_families(await answer.text()))
        name = f"carillon_alertmanager_{'alerts' if 'outcome' in labels else 'messages'}_total"
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def more(self, count: int, **labels: str) -> None:
        """Wait until so many more are counted."""
        before = await self.counted(**labels)

        async def enough() -> bool:
            return await self.counted(**labels) >= before + count

        await eventually(enough, 30, f"{count} more of {labels}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    need(PROGRAM)
    async with running_system(tmp_path_factory.mktemp("alertmanager"), "router", "email", "realtime") as (
        stack,
        command,
    ):
        entry = {"user_id": "user123", "email": MAIL, "roles": ["admin"]}
        assert (await command("directory", "import", "-", stdin=json.dumps(entry))).status == 0
        made = (await command("publisher", "create", "monitoring", "--json")).json
        url = f"{stack.realtime_url}/v1/alertmanager/disk"
        receivers = {"carillon": webhook(url, made["key"]), "brief": webhook(f"{url}?expires_after=4s", made["key"])}
        folder = tmp_path_factory.mktemp("cluster")
        # The second does not wait for the first, so that both send nearly every message.
        cluster = Cluster(folder, receivers, peer_timeout="1ms")
        async with (
            cluster.running(),
            open_system(stack) as system,
            Store(stack.store.url) as store,
        ):
            yield Site(system, cluster, Incidents(store, Keys()), command, made["key"])


async def test_an_alert_is_told_once_however_often_both_send_it_and_ends_with_it(site: Site) -> None:
    await site.cluster.say("Fire", instance="db1:9100")
    incident_id = await site.opened("Fire")
    incident = await site.stands(incident_id, "open")
    assert incident.publisher == "monitoring"
    assert incident.alert.source == "db1:9100"
    # Each sends it at once, and again after the interval of repetition.
    await site.more(2, status="firing", outcome="duplicate")
    await site.cluster.say("Fire", instance="db1:9100", is_over=True)
    ended = await site.stands(incident_id, "resolved")
    assert ended.resolved_by == "monitoring"
    assert await site.told("Fire") == {"Fire db1:9100": 1}
    timeline = await site.incidents.timeline(incident_id)
    assert [entry.said["from"] for entry in timeline if entry.what in {"opened", "resolved"}] == ["alertmanager"] * 2


async def test_a_group_is_one_incident_that_ends_with_its_last_alert(site: Site) -> None:
    await asyncio.gather(*(site.cluster.say("Flood", instance=f"db{number}:9100") for number in (1, 2)))
    incident_id = await site.opened("Flood")
    await site.more(2, status="firing", outcome="duplicate")
    await site.cluster.say("Flood", instance="db1:9100", is_over=True)
    await site.more(1, status="resolved", outcome="accepted")
    await site.stands(incident_id, "open")
    await site.cluster.say("Flood", instance="db2:9100", is_over=True)
    await site.stands(incident_id, "resolved")
    assert [each async for each in site.incidents.listed()] == []


async def test_what_is_silenced_there_is_over_after_a_while_and_tells_again_after_the_silence(site: Site) -> None:
    await site.cluster.say("Quiet", instance="db1:9100", receiver="brief")
    incident_id = await site.opened("Quiet")
    await site.more(3, status="firing", outcome="duplicate")
    await site.cluster.silence("Quiet", timedelta(seconds=6))
    await site.stands(incident_id, "resolved")
    again = await site.opened("Quiet")
    assert again != incident_id
    await site.cluster.say("Quiet", instance="db1:9100", receiver="brief", is_over=True)
    await site.stands(again, "resolved")
    assert await site.told("Quiet") == {"Quiet db1:9100": 2}


async def test_what_one_opened_the_other_ends_when_the_first_is_gone(site: Site) -> None:
    await site.cluster.say("Loss", instance="db1:9100")
    incident_id = await site.opened("Loss")
    first = site.cluster.members[0]
    await first.kill()
    await site.cluster.say("Theft", instance="db1:9100")
    other = await site.opened("Theft")
    await site.cluster.say("Loss", instance="db1:9100", is_over=True)
    await site.cluster.say("Theft", instance="db1:9100", is_over=True)
    await site.stands(incident_id, "resolved")
    await site.stands(other, "resolved")
    await first.start()
    assert await site.told("Loss") == {"Loss db1:9100": 1}
    assert await site.told("Theft") == {"Theft db1:9100": 1}


async def test_while_the_store_is_away_nothing_is_lost_and_nothing_comes_twice(site: Site) -> None:
    await site.cluster.say("Before", instance="db1:9100")
    before = await site.opened("Before")
    store = site.system.stack.store
    await store.stop()
    await site.cluster.say("Before", instance="db1:9100", is_over=True)
    await site.cluster.say("During", instance="db1:9100")
    # The time that it is away is what is tried out.
    await asyncio.gather(asyncio.sleep(AWAY_S), site.more(1, status="503"))
    await store.start()
    during = await site.opened("During", within_s=30)
    await site.stands(before, "resolved", within_s=30)
    await site.more(2, status="firing", outcome="duplicate")
    await site.cluster.say("During", instance="db1:9100", is_over=True)
    await site.stands(during, "resolved")
    assert await site.told("Before") == {"Before db1:9100": 1}
    assert await site.told("During") == {"During db1:9100": 1}


# What the router makes of single messages.


async def test_an_end_whose_beginning_was_lost_is_taken_and_changes_nothing(site: Site) -> None:
    group = {"groupKey": "lost"}
    for _ in range(2):
        status, answer = await site.post(message(alert(status="resolved"), **group))
        assert (status, answer["accepted"]) == (200, 1)
    assert [each async for each in site.incidents.listed()] == []


async def test_the_same_alert_in_other_words_is_a_duplicate_until_it_has_ended(site: Site) -> None:
    group = {"groupKey": "words"}
    _, first = await site.post(message(alert(annotations={"summary": "93 %"}), **group))
    _, again = await site.post(message(alert(annotations={"summary": "95 %"}), externalURL="http://other", **group))
    assert (first["accepted"], again["duplicates"]) == (1, 1)
    incident_id = await site.opened("DiskFull")
    # Its end, and the end of an earlier one that comes late.
    late = alert(status="resolved", startsAt="2026-11-28T11:00:00Z", endsAt="2026-11-28T11:30:00Z")
    assert (await site.post(message(late, **group)))[0] == 200
    await site.stands(incident_id, "open")
    assert (await site.post(message(alert(status="resolved"), **group)))[0] == 200
    await site.stands(incident_id, "resolved")
    # Prometheus was cut off for a while: it began at the same time as before.
    _, once_more = await site.post(message(alert(), **group))
    assert once_more["accepted"] == 1
    second = await site.opened("DiskFull")
    assert second != incident_id
    await site.post(message(alert(status="resolved", endsAt=ENDED.replace("12", "13")), **group))
    await site.stands(second, "resolved")


@pytest.mark.parametrize(("verb", "word"), [("alerts/resolve", "resolved"), ("cancel", "cancelled")])
async def test_what_was_ended_otherwise_is_not_opened_again_by_what_alertmanager_goes_on_to_send(
    site: Site, verb: str, word: str
) -> None:
    posted = message(alert(), groupKey=verb)
    await site.post(posted)
    incident_id = await site.opened("DiskFull")
    path = f"/v1/publish/notifications/{verb}/{incident_id}"
    headers = {"Authorization": f"Bearer {site.key}"}
    async with site.system.http.post(f"{site.system.stack.realtime_url}{path}", headers=headers) as answer:
        assert answer.status == 202
    await site.stands(incident_id, word)
    _, again = await site.post(posted)
    assert again["duplicates"] == 1
    assert [each async for each in site.incidents.listed()] == []
    # After its end it may begin again, at the same time as before.
    await site.post(message(alert(status="resolved"), groupKey=verb))
    _, once_more = await site.post(posted)
    assert once_more["accepted"] == 1
    second = await site.opened("DiskFull")
    await site.post(message(alert(status="resolved", endsAt=ENDED.replace("12", "13")), groupKey=verb))
    await site.stands(second, "resolved")


async def test_labels_annotations_and_links_reach_the_inbox(site: Site) -> None:
    _, answer = await site.post(message(alert(labels={"severity": "warning"}), groupKey="inbox"), "disk")
    assert answer["accepted"] == 1

    async def entry() -> Any:
        return next((each for each in await site.system.inbox("user123") if "group_labels" in each["data"]), None)

    found = await eventually(entry, what="the alert in the inbox")
    assert found["data"]["generator_url"].startswith("http://prometheus.example")
    assert found["data"]["annotations"] == {"summary": "The disk of db1 is full"}
    await site.post(message(alert(status="resolved", labels={"severity": "warning"}), groupKey="inbox"))


async def test_a_publisher_that_may_not_publish_alerts_is_told_so(site: Site) -> None:
    made = (await site.command("publisher", "create", "shop", "--may", "notifications/realtime/#", "--json")).json
    status, answer = await site.post(message(alert()), key=made["key"])
    assert (status, answer["error"]["code"]) == (403, "unauthorized")


async def test_a_message_with_more_alerts_than_the_publishers_rate_becomes_whole(site: Site) -> None:
    made = (await site.command("publisher", "create", "small", "--rate", "3/1s", "--json")).json
    posted = message(*(alert(number, labels={"severity": "info"}) for number in range(6)), groupKey="rate")
    status, answer = await site.post(posted, key=made["key"])
    assert (status, answer["accepted"]) == (200, 6)


@pytest.mark.parametrize("page", ["guides/alertmanager.md", "tutorials/migrate.md"])
async def test_the_configuration_of_a_page_is_one_that_alertmanager_takes(tmp_path: Path, page: str) -> None:
    need("amtool")
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", (DOCS / page).read_text(), re.MULTILINE)
    (block,) = [block for block in blocks if "receivers:" in block]
    configuration = yaml.safe_load(textwrap.dedent(block))
    named = {receiver["name"] for receiver in configuration["receivers"]}
    # The pages leave out the receiver that their reader has.
    configuration["receivers"] += [{"name": name} for name in {"old-system"} - named]
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(configuration))
    checked = await asyncio.create_subprocess_exec("amtool", "check-config", str(file), stdout=asyncio.subprocess.PIPE)
    printed, _ = await checked.communicate()
    assert checked.returncode == 0, printed.decode()
