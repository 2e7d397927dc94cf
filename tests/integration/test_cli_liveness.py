"""``carillon liveness list``."""

from datetime import timedelta
from pathlib import Path

import pytest

from shared.directory.liveness import Liveness
from shared.directory.rulebook import Rulebook
from shared.ledger.sources import Said, Sources
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store


async def test_the_list_says_how_each_source_is(store: EmptyStore, tmp_path: Path) -> None:
    command = CommandLine(tmp_path, REDIS_URL=store.url)
    ran = await command("liveness", "list")
    assert (ran.status, ran.out) == (0, "no source has a record\n")
    async with Store(store.url) as opened:
        rulebook, sources = Rulebook(opened, Keys()), Sources(opened, Keys())
        await rulebook.put("gateway-7", Liveness.model_validate({"every": "60s"}))
        await rulebook.put("valve-3", Liveness.model_validate({"every": "5s", "children_of": "gateway-7"}))
        await sources.heard("valve-3", Said.BEAT, timedelta(seconds=25))
    ran = await command("liveness", "list", "--json")
    gateway, valve = ran.json
    assert gateway == {
        "source": "gateway-7", "state": "unarmed", "since": None, "last_heard": None, "every": "1m", "grace": "20s",
        "parent": None, "alert_type": "liveness", "severity": "critical", "publisher": None,
    }  # fmt: skip
    assert (valve["state"], valve["parent"], valve["since"]) == ("alive", "gateway-7", valve["last_heard"])
    ran = await command("liveness", "list")
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        ["source", "state"], ["gateway-7", "unarmed"], ["valve-3", "alive"],
    ]  # fmt: skip
    ran = await command("liveness", "list", "--missing")
    assert ran.out == "no source is missing\n"
