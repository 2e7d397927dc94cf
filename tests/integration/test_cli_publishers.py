"""``carillon publisher``: records, keys and logins, seen in the store and in the file of logins."""

import hashlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from carillon.broker.roles import roles
from carillon.commands.logins import read_logins
from shared.core.model import Priority
from shared.directory.publishers import Publishers
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine
from tests.conftest import EmptyStore

pytestmark = pytest.mark.real_store


@pytest.fixture
def command(tmp_path: Path, store: EmptyStore) -> CommandLine:
    return CommandLine(tmp_path, REDIS_URL=store.url)


@pytest_asyncio.fixture
async def publishers(store: EmptyStore) -> AsyncIterator[Publishers]:
    async with Store(store.url) as opened:
        yield Publishers(opened, Keys())


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def test_a_publisher_is_made_shown_rotated_and_deleted(
    command: CommandLine, publishers: Publishers, tmp_path: Path
) -> None:
    logins = tmp_path / "logins.txt"
    made = (
        await command(
            *("publisher", "create", "shop", "--rate", "100/1m", "--share", "3", "--priority-at-most", "high"),
            *("--may", "notifications/realtime/#", "--may", "notifications/email/#", "--logins", str(logins), "--json"),
        )
    ).json
    record = (await publishers.get(["shop"]))["shop"]
    assert str(record.rate) == "100/60s"
    assert (record.share, record.priority_at_most) == (3, Priority.HIGH)
    assert record.may == ("notifications/realtime/#", "notifications/email/#")
    assert await publishers.of_key(digest(made["key"])) == "shop"
    (login,) = read_logins(logins.read_text(), known=roles())
    assert (login.name, login.password, login.role) == ("shop", made["password"], "named-publisher")
    assert stat.S_IMODE(logins.stat().st_mode) == 0o600

    shown = (await command("publisher", "show", "shop", "--json")).json
    assert shown["keys"] == [digest(made["key"])[:12]]
    assert shown["published_lately"] == 0
    assert [each["name"] for each in (await command("publisher", "list", "--json")).json] == ["shop"]

    kept = (await command("publisher", "rotate", "shop", "--keep", "--json")).json
    assert await publishers.of_key(digest(made["key"])) == "shop"
    assert await publishers.of_key(digest(kept["key"])) == "shop"
    assert kept["password"] is None
    assert (await command("publisher", "retire", "shop", "--json")).json == {"name": "shop", "retired": 1}
    assert await publishers.of_key(digest(made["key"])) is None
    assert await publishers.of_key(digest(kept["key"])) == "shop"
    assert (await command("publisher", "retire", "shop")).out == "retired 0 keys of shop\n"
    fresh = (await command("publisher", "rotate", "shop", "--logins", str(logins), "--json")).json
    assert await publishers.of_key(digest(made["key"])) is None
    assert await publishers.of_key(digest(kept["key"])) is None
    assert await publishers.of_key(digest(fresh["key"])) == "shop"
    (login,) = read_logins(logins.read_text(), known=roles())
    assert login.password == fresh["password"] != made["password"]

    assert (await command("publisher", "delete", "shop", "--yes", "--logins", str(logins))).status == 0
    assert await publishers.all() == {}
    assert await publishers.of_key(digest(fresh["key"])) is None
    assert read_logins(logins.read_text(), known=roles()) == []


async def test_what_cannot_be_made_is_refused_in_one_line(command: CommandLine) -> None:
    assert (await command("publisher", "create", "shop")).status == 0
    again = await command("publisher", "create", "shop")
    assert (again.status, "there is a publisher shop" in again.err) == (1, True)
    for arguments, hint in (
        (["a b"], "NAME"),
        (["web", "--rate", "fast"], "--rate"),
        (["web", "--may", "a/#/b"], "--may"),
        (["web", "--share", "0"], "--share"),
    ):
        refused = await command("publisher", "create", *arguments)
        assert refused.status == 2
        assert hint in refused.err
        assert "Traceback" not in refused.err
    for verb in (["show", "web"], ["rotate", "web"], ["delete", "web", "--yes"]):
        missing = await command("publisher", *verb)
        assert (missing.status, "there is no publisher web" in missing.err) == (1, True)


@pytest.mark.parametrize("name", ["-", "carillon"])
async def test_the_publisher_of_plain_topics_and_our_own_have_a_record_and_no_key(
    command: CommandLine, publishers: Publishers, name: str
) -> None:
    made = (await command("publisher", "create", name, "--rate", "100/1s", "--json")).json
    assert (made["key"], made["password"]) == (None, None)
    assert str((await publishers.get([name]))[name].rate) == "100/1s"
    assert (await command("publisher", "rotate", name)).status == 2
