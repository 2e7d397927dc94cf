"""``carillon category``: what the records say, with and without a tenant's changes."""

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shared.directory.catalogue import Catalogues
from shared.directory.categories import Category
from shared.directory.tenants import Tenant
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store

RECORDS: dict[str, Any] = {
    "comments": {
        "title": "Comments", "channels": {"email": True, "sms": False}, "digest": {"window": "10m"},
        "throttle": {"limit": 5, "per": "1h", "key": "data.thread"},
    },
    "security": {"policy": "required", "quiet_hours": "ignore", "priority_at_most": "high"},
}  # fmt: skip
ACME: dict[str, Any] = {"categories": {"comments": {"policy": "required"}, "racing": {"title": "Races"}}}


@pytest_asyncio.fixture
async def command(tmp_path: Path, store: EmptyStore) -> CommandLine:
    async with Store(store.url) as opened:
        catalogues = Catalogues(opened, Keys())
        for name, record in RECORDS.items():
            await catalogues.put_category(name, Category.model_validate(record))
        await catalogues.put_tenant("acme", Tenant.model_validate(ACME))
    return CommandLine(tmp_path, REDIS_URL=store.url)


async def test_categories_are_listed_with_what_they_say(command: CommandLine) -> None:
    ran = await command("category", "list")
    assert (ran.status, ran.err) == (0, "")
    heads, comments, security = ran.out.splitlines()
    assert heads.split()[:3] == ["name", "policy", "channels"]
    for text in (
        "comments",
        "opt_out",
        "email no sms",
        "5 per 1h by data.thread, then drop",
        "within 10m, on email push",
    ):
        assert text in comments
    assert security.split()[:6] == ["security", "required", "-", "high", "ignore", "-"]
    assert [each["name"] for each in (await command("category", "list", "--json")).json] == ["comments", "security"]
    of_acme = (await command("category", "list", "--tenant", "acme", "--json")).json
    assert {each["name"]: each["policy"] for each in of_acme} == {
        "comments": "required", "racing": "opt_out", "security": "required",
    }  # fmt: skip


async def test_a_category_is_shown_with_the_tenants_that_change_it(command: CommandLine) -> None:
    shown = (await command("category", "show", "comments", "--json")).json
    assert (shown["policy"], shown["changed_by"], shown["digest"]["window"]) == ("opt_out", ["acme"], "10m")
    assert (await command("category", "show", "comments", "--tenant", "acme", "--json")).json["policy"] == "required"
    lines = (await command("category", "show", "comments")).out.splitlines()
    assert [line.split()[0] for line in lines][:3] == ["name", "title", "policy"]
    assert lines[-1].split() == ["changed_by", "acme"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nothing"), "there is no category nothing"),
        (("show", "racing"), "there is no category racing"),
        (("list", "--tenant", "nobody"), "there is no tenant nobody"),
    ],
)
async def test_what_is_not_there_is_said(command: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    ran = await command("category", *arguments)
    assert ran.status == 1
    assert said in ran.error_line


async def test_an_empty_catalogue_is_an_empty_list(tmp_path: Path, store: EmptyStore) -> None:
    ran = await CommandLine(tmp_path, REDIS_URL=store.url)("category", "list", "--json")
    assert (ran.status, ran.json) == (0, [])
