"""Alerts in the words of the operator's template, from the publish to what each person is sent."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.router.planning.alert_texts import alert_template
from services.router.templates.folder import load
from shared.core.model import Channel
from shared.directory.people import Person
from shared.ledger.alerts import Answered
from shared.telemetry import metrics
from tests.conftest import EmptyStore
from tests.incident_bench import Bench
from tests.sim.system import SimulatedStore

pytestmark = pytest.mark.real_store

SAMPLE = Path(__file__).parents[2] / "carillon" / "local" / "sample_templates"
LEVELS = [{"notify": ["user:ada", "user:ben"]}, {"after": "5m", "notify": ["user:ben"]}]
GROUP = {"by": ["alert_type"], "wait": "30s", "interval": "5m", "repeat": "4h"}
READERS = {"ada": ("en-GB", "Europe/London"), "ben": ("de", "Europe/Berlin")}


async def begin(bench: Bench) -> Bench:
    await bench.begin()
    for user_id, (locale, zone) in READERS.items():
        person = {"user_id": user_id, "email": f"{user_id}@example.com", "locale": locale, "timezone": zone}
        await bench.directory.put(Person.model_validate(person))
    await bench.on_call("disk", {"users": ["ada"]}, {"levels": LEVELS, "acknowledged_for": "10m"})
    await bench.on_call("net", {"users": ["ada"]}, {"levels": LEVELS, "group": GROUP})
    return bench


@pytest_asyncio.fixture
async def bench(store: EmptyStore) -> AsyncIterator[Bench]:
    async with SimulatedStore(store.url) as opened:
        yield await begin(Bench(opened, alert_template(load(SAMPLE), "incident")))


def mails(bench: Bench, user_id: str) -> list[str]:
    """Return what somebody's mails said."""
    readers = [who for _, channel, who in bench.told if channel == Channel.EMAIL]
    return [text for text, who in zip(bench.texts, readers, strict=True) if who == user_id]


def titles(bench: Bench, user_id: str) -> list[str]:
    return [text.partition("\n")[0] for text in mails(bench, user_id)]


async def test_two_readers_get_an_alert_in_their_own_language(bench: Bench) -> None:
    await bench.alert("disk", source="probe", affected_systems=["orders"])
    (english,), (german,) = mails(bench, "ada"), mails(bench, "ben")
    assert english.splitlines() == [
        "Critical: disk on orders", "It burns.", "", "Where: orders", "Source: probe", "Since: 30/11/2026, 12:00 (GMT)",
    ]  # fmt: skip
    assert german.splitlines() == [
        "Kritisch: disk auf orders", "It burns.", "", "Wo: orders", "Quelle: probe", "Seit: 30.11.26, 13:00 (MEZ)",
    ]  # fmt: skip


async def test_the_next_level_hears_that_nobody_has_answered(bench: Bench) -> None:
    _, incident = await bench.alert("disk", source="probe")
    await bench.run(301)
    assert titles(bench, "ben") == ["Kritisch: disk von probe", "Noch ohne Antwort: Kritisch: disk von probe"]
    assert await bench.answering.acknowledge(incident, "ada") is Answered.DONE
    await bench.run(301 + 601)
    assert titles(bench, "ben")[2:] == ["Wieder offen: Kritisch: disk von probe"]


async def test_whoever_an_alert_is_handed_to_reads_so(bench: Bench) -> None:
    _, incident = await bench.alert("disk", source="probe")
    assert await bench.answering.reassign(incident, "ada", "user:ben") is Answered.DONE
    await bench.run(1)
    assert titles(bench, "ben")[1:] == ["An dich übergeben: Kritisch: disk von probe"]
    assert len(titles(bench, "ada")) == 1


async def test_what_begins_again_and_again_is_told_so_in_the_readers_language(bench: Bench) -> None:
    flapping = {"times": 2, "within": "10m", "hold": "30m"}
    await bench.on_call("web", {"users": ["ben"]}, {"levels": [{"notify": ["user:ben"]}], "flapping": flapping})
    for _ in range(2):
        await bench.alert("web", dedup_key="a", source="probe")
        await bench.run(bench.now_s + 30)
        await bench.over("web", dedup_key="a")
        await bench.run(bench.now_s + 30)
    assert mails(bench, "ben")[1].splitlines()[:3] == [
        "Immer wieder: Kritisch: web von probe",
        "Das hat 2-mal in 10 Minuten begonnen. 30 Minuten lang wird niemand mehr darüber benachrichtigt.",
        "",
    ]


async def test_a_group_says_how_many_and_which_in_its_first_message_and_in_later_ones(bench: Bench) -> None:
    await bench.alert("net", dedup_key="a", affected_systems=["core"])
    await bench.alert("net", dedup_key="b", affected_systems=["edge"], message="It is cut.")
    await bench.run(31)
    (german,) = mails(bench, "ben")
    assert german.splitlines()[:4] == [
        "Kritisch: net auf core, edge (2 offen)", "2 Alarme sind offen.",
        "- core: It burns. (seit 30.11.26, 13:00)", "- edge: It is cut. (seit 30.11.26, 13:00)",
    ]  # fmt: skip
    await bench.run(120)
    await bench.alert("net", dedup_key="c", affected_systems=["lab"], message="It is slow.")
    await bench.run(331)
    assert [text.splitlines()[:3] for text in mails(bench, "ada")][1:] == [
        ["Critical: net on lab (3 open)", "3 alerts are open. New:", "- lab: It is slow. (since 30/11/2026, 12:02)"]
    ]


async def test_a_group_without_a_template_names_all_of_it_in_its_first_message(store: EmptyStore) -> None:
    async with SimulatedStore(store.url) as opened:
        bench = await begin(Bench(opened))
        await bench.alert("net", dedup_key="a", affected_systems=["core"])
        await bench.alert("net", "critical", dedup_key="b", affected_systems=["edge"], message="It is cut.")
        await bench.run(31)
        assert mails(bench, "ada") == [
            "Critical alert: net (2)\n2 alerts are open.\n- core: It burns.\n- edge: It is cut."
        ]


async def test_a_template_that_fails_for_one_reader_keeps_nobody_from_being_told(
    store: EmptyStore, tmp_path: Path
) -> None:
    for language, more in (
        ("en", ""),
        ("de", "{% if alert.labels.size is defined %}{{ alert.labels.size|number }}{% endif %}"),
    ):
        (tmp_path / "mine" / language).mkdir(parents=True)
        (tmp_path / "mine" / language / "subject.txt").write_text(f"{language}: {{{{ alert.type }}}}")
        (tmp_path / "mine" / language / "text.txt").write_text("{{ message }}" + more)
    async with SimulatedStore(store.url) as opened:
        bench = await begin(Bench(opened, alert_template(load(tmp_path), "mine")))
        failures = metrics.alert_template_failures.labels(Channel.EMAIL)
        before = failures._value.get()
        await bench.alert("disk", labels={"size": "large"}, source="a")
        assert (mails(bench, "ada"), mails(bench, "ben")) == (
            ["en: disk\nIt burns."], ["Critical alert: disk\nIt burns."],
        )  # fmt: skip
        assert failures._value.get() == before + 1
        await bench.alert("disk", labels={"size": "7"}, source="b")
        assert mails(bench, "ben")[1:] == ["de: disk\nIt burns.7"]


async def test_an_unknown_template_stops_the_router_with_one_line(store: EmptyStore) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.router"),
        env={
            "MQTT_URL": "mqtt://127.0.0.1:1", "REDIS_URL": store.url, "OPS_PORT": "0", "TEMPLATES_DIR": str(SAMPLE),
            "ROUTER_ALERT_TEMPLATE": "incidents", "PYTHONPATH": str(SAMPLE.parents[2]),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert said.decode().splitlines()[-1] == (
        "carillon router: ROUTER_ALERT_TEMPLATE: TEMPLATES_DIR has no template incidents; did you mean incident?"
    )
