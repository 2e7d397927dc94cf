"""``carillon find`` and ``carillon person show``: what was sent to whom, with no address in clear and no text."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from carillon.local.stack import Stack
from shared.ledger.confirmations import Confirmations, Outcome
from shared.store.keys import Keys
from shared.store.store import Store
from tests.command_line import CommandLine, running_system
from tests.waiting import eventually

PEOPLE = [
    {"user_id": "alice", "email": "secret-alice@example.com", "phone": "+14155550111", "name": "Alice",
     "devices": [{"platform": "android", "token": "secret-token-9f"}]},
    {"user_id": "bob", "email": "secret-bob@example.com", "preferences": {"push": False}},
    {"category": "billing", "title": "Billing"},
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("find"), "router", "email") as (stack, command):
        text = "".join(json.dumps(line) + "\n" for line in PEOPLE)
        assert (await command("directory", "import", "-", stdin=text)).status == 0
        yield stack, command


@pytest.fixture(scope="module")
def command(system: tuple[Stack, CommandLine]) -> CommandLine:
    return system[1]


async def send(command: CommandLine, topic: str, **payload: Any) -> str:
    ran = await command.send(topic, payload, "--json")
    return str(json.loads(ran.out.splitlines()[0])["notification_id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def said(command: CommandLine) -> dict[str, str]:
    """Three notifications that have ended, as far as they go out by mail, by what they are called here."""
    said = {
        "bill": await send(
            command, "notifications/realtime/user/alice", message="secret-text", id="invoice-1", category="billing",
            priority="high",
        ),
        "chat": await send(command, "notifications/realtime/user/bob", message="secret-text"),
        "mail": await send(
            command, "notifications/email/send", to="Secret-Alice@example.com", subject="secret-text", body="secret"
        ),
    }  # fmt: skip

    async def are_sent() -> bool:
        ran = await command("find", "--address", "secret-alice@example.com", "--outcome", "delivered", "--json")
        return ran.status == 0 and len(ran.json["found"]) == 2

    await eventually(are_sent)
    return said


def ids(document: Any) -> list[str]:
    return [each["notification_id"] for each in document["found"]]


async def test_a_person_an_address_an_id_and_a_time_lead_to_what_was_sent(
    command: CommandLine, said: dict[str, str]
) -> None:
    by_user = await command("find", "--user", "alice", "--json")
    assert ids(by_user.json) == [said["bill"]]
    (bill,) = by_user.json["found"]
    assert (bill["category"], bill["priority"], bill["publisher"]) == ("billing", "high", None)
    channels = {each["channel"]: (each["state"], each["to"]) for each in bill["deliveries"]}
    assert channels["email"] == ("delivered", "s…@example.com")
    assert {"realtime", "push", "email"} <= channels.keys()
    by_address = await command("find", "--address", "-", "--json", stdin="SECRET-alice@example.com\n")
    assert ids(by_address.json) == [said["mail"], said["bill"]]
    assert ids((await command("find", "--text-id", "invoice-1", "--json")).json) == [said["bill"]]
    by_time = await command("find", "--since", "1h", "--json")
    assert ids(by_time.json) == [said["mail"], said["chat"], said["bill"]]
    readable = await command("find", "--since", "1h")
    assert "s…@example.com" in readable.out
    for ran in (by_user, by_address, by_time, readable):
        assert "secret" not in ran.out.lower()


async def test_filters_and_pages_narrow_it_down(command: CommandLine, said: dict[str, str]) -> None:
    by_category = await command("find", "--since", "1h", "--category", "billing", "--channel", "email", "--json")
    assert [each["channel"] for (found,) in [by_category.json["found"]] for each in found["deliveries"]] == ["email"]
    first = await command("find", "--since", "1h", "--limit", "2", "--json")
    assert ids(first.json) == [said["mail"], said["chat"]]
    rest = await command("find", "--since", "1h", "--limit", "2", "--after", first.json["cursor"], "--json")
    assert (ids(rest.json), rest.json["cursor"]) == ([said["bill"]], None)
    readable = await command("find", "--since", "1h", "--limit", "1")
    assert "--after" in readable.out


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (["--user", "nobody"], 1, "nothing found (notifications are kept 7 days"),
        (["--since", "1h", "--publisher", "shop"], 1, "nothing found"),
        ([], 2, "say what to search by"),
        (["--user", "alice", "--text-id", "x"], 2, "only one of"),
        (["--since", "yesterday"], 2, "--since"),
        (["--since", "0h"], 2, "--since"),
        (["--user", "alice", "--after", "nonsense"], 2, "--after"),
        (["--user", "alice", "--outcome", "lost"], 2, "--outcome"),
        (["--address", "-"], 2, "is empty"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    command: CommandLine, arguments: list[str], status: int, error: str
) -> None:
    ran = await command("find", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert error in ran.error_line


async def test_a_person_is_shown_with_addresses_masked(command: CommandLine, said: dict[str, str]) -> None:
    payload = {"address": "secret-alice@example.com", "reason": "unsubscribed", "category": "billing"}
    assert (await command.send("directory/suppress/email", payload)).status == 0
    masked = await command("person", "show", "alice", "--json")
    entry = masked.json["entry"]
    assert (entry["email"], entry["phone"]) == ("s…@example.com", "+14…11")
    assert [each["to"] for each in entry["devices"]] == ["android …9f"]
    assert [(each["cause"], each["category"]) for each in masked.json["suppressions"]["email"]] == [
        ("unsubscribed", "billing")
    ]
    assert ids(masked.json["recent"]) == [said["bill"]]
    readable = await command("person", "show", "alice")
    assert "secret" not in masked.out + readable.out
    assert "unsubscribed" in readable.out
    assert said["bill"] in readable.out
    revealed = await command("person", "show", "alice", "--reveal")
    assert "secret-alice@example.com" in revealed.out
    assert "+14155550111" in revealed.out
    assert "secret-token" not in revealed.out
    unknown = await command("person", "show", "nobody")
    assert (unknown.status, "nothing is known" in unknown.error_line) == (1, True)


async def test_a_mail_that_came_back_is_not_called_delivered(
    system: tuple[Stack, CommandLine], said: dict[str, str]
) -> None:
    stack, command = system
    (bill,) = (await command("find", "--text-id", "invoice-1", "--channel", "email", "--json")).json["found"]
    (mail,) = bill["deliveries"]
    async with Store(stack.store.url) as store:
        await Confirmations(store, Keys()).write(said["bill"], mail["key"], Outcome.FAILED, "smtp 5.1.1", "")
    for ran in (await command("find", "--user", "alice"), await command("person", "show", "alice")):
        (line,) = (line for line in ran.out.splitlines() if said["bill"] in line and " email " in line)
        assert "not_arrived" in line
        assert "delivered" not in line
        assert " failed smtp 5.1.1" in ran.out
    found = await command("find", "--user", "alice", "--outcome", "not_arrived", "--json")
    (delivery,) = found.json["found"][0]["deliveries"]
    assert (delivery["state"], delivery["outcome"]) == ("delivered", "not_arrived")
    assert (delivery["confirmation"]["outcome"], delivery["confirmation"]["code"]) == ("failed", "smtp 5.1.1")
    assert (await command("find", "--user", "alice", "--channel", "email", "--outcome", "delivered")).status == 1


async def test_a_deleted_user_is_not_found_any_more(command: CommandLine, said: dict[str, str]) -> None:
    assert ids((await command("find", "--user", "bob", "--json")).json) == [said["chat"]]
    ran = await command("send", "directory/user/bob", "")
    assert ran.status == 0, ran.err
    assert (await command("find", "--user", "bob")).status == 1
    assert said["chat"] not in ids((await command("find", "--since", "1h", "--json")).json)
    shown = await command("person", "show", "bob")
    assert (shown.status, "deleted" in shown.out) == (0, True)
