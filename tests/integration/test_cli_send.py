"""``carillon send`` as people run it, against a broker, a store, a router and the email service."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio

from carillon.local.ports import free_port
from carillon.local.servers import LocalServer
from carillon.local.stack import Stack
from tests.command_line import CommandLine, running_system
from tests.others import others_get_mail
from tests.sandbox_client import SandboxClient

USER_TOPIC = "notifications/realtime/user/user123"
MAIL = {"to": "user@example.com", "subject": "Welcome", "body": "Thank you for joining us."}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Stack, CommandLine]]:
    async with running_system(tmp_path_factory.mktemp("send"), "router", "email") as running:
        yield running


@pytest.fixture
def command(system: tuple[Stack, CommandLine]) -> CommandLine:
    return system[1]


@pytest.fixture
def nowhere(tmp_path: Path) -> CommandLine:
    """The command line on a machine where no system ever ran."""
    return CommandLine(tmp_path)


async def test_an_accepted_publish_prints_its_id(command: CommandLine) -> None:
    ran = await command.send("notifications/email/send", MAIL)
    assert (ran.status, ran.err) == (0, "")
    word, notification_id, at = ran.out.split()
    assert (word, len(notification_id), at[-1]) == ("accepted", 36, "Z")


async def test_json_prints_the_receipt_as_the_router_wrote_it(command: CommandLine) -> None:
    ran = await command.send("notifications/alerts/warning/disk", {"message": "Disk is 90 % full"}, "--json")
    assert ran.status == 0
    assert ran.json.keys() == {"status", "notification_id", "accepted_at", "alert_id", "warnings"}
    nobody = {"field": "alert_type", "problem": "nobody to tell: no admin, and nobody on call"}
    assert ran.json["warnings"] == [nobody]
    assert ran.json["alert_id"] == ran.json["notification_id"]


async def test_bytes_that_are_no_text_are_the_routers_to_refuse(command: CommandLine) -> None:
    ran = await command("send", USER_TOPIC, "\udcff")
    assert ran.status == 1
    assert ran.out.startswith("rejected  invalid_json: ")


async def test_a_rejected_publish_names_the_fields_and_exits_with_1(command: CommandLine) -> None:
    ran = await command.send(USER_TOPIC, {"priority": "urgent"})
    assert ran.status == 1
    assert ran.out.startswith("rejected  invalid_payload: 2 fields are not valid.\n")
    assert [line.split() for line in ran.out.splitlines()[1:]] == [
        ["priority", "must", "be", "one", "of", "low,", "normal,", "high,", "critical"],
        ["message", "required"],
    ]


async def test_the_router_is_the_judge_of_what_is_not_json(command: CommandLine) -> None:
    ran = await command("send", USER_TOPIC, "{message: Hello}", "--json")
    assert ran.status == 1
    assert ran.json["error"]["code"] == "invalid_json"


async def test_the_same_key_again_is_a_duplicate_and_with_another_body_a_conflict(command: CommandLine) -> None:
    first = await command.send(USER_TOPIC, {"message": "Hello"}, "--key", "again", "--json")
    again = await command.send(USER_TOPIC, {"message": "Hello"}, "--key", "again")
    other = await command.send(USER_TOPIC, {"message": "Bye"}, "--key", "again")
    assert again.status == 0
    assert again.out.startswith(f"duplicate  of {first.json['notification_id']}")
    assert (other.status, other.out.split()[1]) == (1, "idempotency_conflict:")


async def test_the_payloads_own_id_is_its_key(command: CommandLine) -> None:
    first = await command.send(USER_TOPIC, {"message": "Hello", "id": "mine"}, "--json")
    again = await command.send(USER_TOPIC, {"message": "Hello", "id": "mine"}, "--json")
    assert again.json == {"status": "duplicate", "notification_id": first.json["notification_id"]}


async def test_a_payload_comes_from_a_file_or_standard_input(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text(json.dumps({"message": "from a file", "id": "file"}))
    from_file = await command("send", USER_TOPIC, f"@{tmp_path / 'payload.json'}")
    from_stdin = await command("send", USER_TOPIC, "-", stdin=json.dumps({"message": "from a file", "id": "file"}))
    assert from_file.out.startswith("accepted")
    assert from_stdin.out.startswith("duplicate")
    missing = await command("send", USER_TOPIC, "@no-such-file")
    assert missing.status == 2
    assert "no-such-file" in missing.error_line


async def test_an_empty_payload_deletes_from_the_directory(system: tuple[Stack, CommandLine]) -> None:
    stack, command = system
    assert (await command.send("directory/user/leaver", {"user_id": "leaver"})).status == 0
    async with redis.asyncio.from_url(stack.store.url) as store:
        assert await store.exists("carillon:{u:leaver}:record")
        ran = await command("send", "directory/user/leaver", "")
        assert (ran.status, ran.out.split()[0]) == (0, "accepted")
        assert not await store.exists("carillon:{u:leaver}:record")


async def test_wait_follows_a_mail_to_its_delivery(command: CommandLine) -> None:
    ran = await command.send("notifications/email/send", MAIL, "--wait")
    assert (ran.status, ran.err) == (0, "")
    accepted, delivered, summary = ran.out.splitlines()
    assert accepted.startswith("accepted")
    assert delivered.split()[:2] == ["delivered", "email"]
    assert summary == "ended: 1 delivered"


async def test_wait_tells_of_every_delivery_of_a_batch_once(command: CommandLine) -> None:
    mails = [MAIL | {"to": f"user{number}@example.com"} for number in range(30)]
    ran = await command.send("notifications/email/batch", {"emails": mails}, "--wait", "--json")
    receipt, *rows, summary = (json.loads(line) for line in ran.out.splitlines())
    assert receipt["status"] == "accepted"
    assert sorted(row["key"] for row in rows) == sorted(f"email:{number}" for number in range(30))
    assert summary == {"ended": {"delivered": 30}, "open": [], "not_waited_for": []}
    assert ran.status == 0


async def test_wait_exits_with_1_when_a_delivery_becomes_a_dead_letter(system: tuple[Stack, CommandLine]) -> None:
    stack, command = system
    sandbox = SandboxClient(stack.sandbox_url, stack.environment)
    refusal = {"reply": "550 5.1.1 no such user", "at": "rcpt"}
    await sandbox.play("smtp", refusal, to="nobody@example.com", times=None)
    async with others_get_mail(stack.broker.url):
        ran = await command.send("notifications/email/send", MAIL | {"to": "nobody@example.com"}, "--wait")
    assert ran.status == 1
    assert ran.out.splitlines()[1].split()[:2] == ["dead_lettered", "email"]


async def test_wait_does_not_wait_for_what_is_scheduled_or_escalates_later(command: CommandLine) -> None:
    later = await command.send(USER_TOPIC, {"message": "Later", "send_at": "2099-01-01T00:00:00Z"}, "--wait")
    assert later.status == 0
    assert "not waited for: plan at its time, due 2099-01-01T00:00:00.000Z" in later.out
    mail = await command.send("notifications/email/send", MAIL | {"send_at": "2099-01-01T00:00:00Z"}, "--wait")
    assert mail.status == 0
    assert "not waited for: email to (address given), due 2099-01-01T00:00:00.000Z" in mail.out
    assert (await command.send("directory/user/oncall1", {"email": "oncall1@example.com"})).status == 0
    steps = [
        {"after_s": 0, "notify": ["oncall"], "channels": ["email"]},
        {"after_s": 900, "notify": ["oncall"]},
    ]
    entry = {"users": ["oncall1"], "escalation": steps}
    assert (await command.send("directory/oncall/later", entry)).status == 0
    alert = await command.send("notifications/alerts/critical/later", {"message": "Down"}, "--wait")
    assert "not waited for: escalation step 1, due " in alert.out
    assert alert.status == 0


async def test_wait_exits_with_1_and_says_why_when_nothing_was_delivered(command: CommandLine) -> None:
    report = {"address": "unwanted@example.com", "reason": "bounce"}
    assert (await command.send("directory/suppress/email", report)).status == 0
    unwanted = MAIL | {"to": report["address"]}
    ran = await command.send("notifications/email/send", unwanted, "--wait")
    assert ran.status == 1
    _, warning, suppressed, *summary = ran.out.splitlines()
    assert warning.split() == ["warning", "to", "suppressed:", "bounced"]
    assert suppressed.split()[:2] == ["suppressed", "email"]
    assert summary == ["ended: 1 suppressed", "nothing was delivered"]

    stranger = await command.send("notifications/realtime/user/stranger", {"message": "m"}, "--wait", "--json")
    receipt, row, end = (json.loads(line) for line in stranger.out.splitlines())
    assert receipt["warnings"] == [{"field": "user_id", "problem": "unknown recipient"}]
    assert (row["state"], end["ended"]) == ("suppressed", {"suppressed": 1})
    assert stranger.status == 1

    nobody = {"message": "m", "channels": ["push"]}
    empty = await command.send("notifications/realtime/group/nobody", nobody, "--wait")
    assert (empty.status, "nobody in this group" in empty.out) == (1, True)
    assert empty.out.splitlines()[-1] == "nothing was delivered"

    both = {"emails": [MAIL, unwanted]}
    partly = await command.send("notifications/email/batch", both, "--wait")
    assert (partly.status, "emails.1.to" in partly.out) == (0, True)


async def test_a_misspelt_field_is_a_warning_that_names_the_right_one(command: CommandLine) -> None:
    ran = await command.send("notifications/email/send", MAIL | {"prioriy": "high"})
    assert ran.status == 0
    assert ran.out.splitlines()[1].split(maxsplit=2) == ["warning", "prioriy", "unknown, did you mean priority?"]
    refused = await command.send("notifications/email/send", {"to": "user@example.com", "subject": "s", "text": "b"})
    assert refused.status == 1
    assert "unknown, did you mean body?" in refused.out


async def test_a_topic_that_no_router_reads_is_named_with_the_nearest_right_one(command: CommandLine) -> None:
    ran = await command.send("notification/email/send", MAIL, "--timeout", "1s")
    assert ran.status == 1
    assert "did you mean notifications/email/send?" in ran.error_line


async def test_wait_ends_at_its_timeout_and_says_how_much_is_open(command: CommandLine) -> None:
    assert (await command.send("directory/user/waiting", {"user_id": "waiting"})).status == 0
    # No realtime service runs here.
    topic = "notifications/realtime/user/waiting"
    ran = await command.send(topic, {"message": "Hello"}, "--wait", "--wait-timeout", "1s")
    assert ran.status == 1
    assert ran.out.splitlines()[-1] == "not ended within 1 s: 1"


async def test_a_topic_prefix_is_put_before_the_topic(command: CommandLine) -> None:
    ran = await command.send(USER_TOPIC, {"message": "a"}, "--timeout", "1", settings={"TOPIC_PREFIX": "elsewhere/"})
    assert ran.status == 1
    assert "is the router running" in ran.error_line


async def test_without_a_router_the_error_says_how_to_send_it_again(
    nowhere: CommandLine, new_broker: Callable[[], LocalServer]
) -> None:
    broker = new_broker()
    await broker.start()
    settings = {"MQTT_URL": broker.url}
    ran = await nowhere.send(USER_TOPIC, {"message": "a"}, "--timeout", "1s", "--key", "k1", settings=settings)
    assert (ran.status, ran.out) == (1, "")
    assert "is the router running" in ran.error_line
    assert "--key k1" in ran.error_line


async def test_without_settings_one_line_names_the_variable_and_carillon_up(nowhere: CommandLine) -> None:
    ran = await nowhere.send(USER_TOPIC, {"message": "a"})
    assert (ran.status, ran.out) == (2, "")
    assert "MQTT_URL" in ran.error_line
    assert "carillon up" in ran.error_line


async def test_wait_asks_for_the_store_before_it_publishes(nowhere: CommandLine, broker: LocalServer) -> None:
    ran = await nowhere.send(USER_TOPIC, {"message": "a"}, "--wait", settings={"MQTT_URL": broker.url})
    assert (ran.status, ran.out) == (2, "")
    assert "REDIS_URL" in ran.error_line


async def test_a_broker_of_the_environment_never_goes_with_the_store_of_this_machine(
    command: CommandLine, broker: LocalServer
) -> None:
    ran = await command.send(USER_TOPIC, {"message": "a"}, "--wait", settings={"MQTT_URL": broker.url})
    assert ran.status == 2
    assert "REDIS_URL is not set, and MQTT_URL names another system" in ran.error_line


async def test_a_broker_that_is_not_there_is_told_in_one_line_without_the_password(nowhere: CommandLine) -> None:
    settings = {"MQTT_URL": f"mqtt://operator:hunter2@127.0.0.1:{free_port()}"}
    ran = await nowhere.send(USER_TOPIC, {"message": "a"}, settings=settings)
    assert ran.status == 2
    assert "MQTT_URL" in ran.error_line
    assert "hunter2" not in ran.err


async def test_a_misspelt_setting_is_refused(command: CommandLine) -> None:
    ran = await command.send(USER_TOPIC, {"message": "a"}, settings={"TOPIC_PREFX": "staging/"})
    assert ran.status == 2
    assert "did you mean TOPIC_PREFIX" in ran.error_line


@pytest.mark.parametrize("arguments", [[], ["a/b"], ["a/+", "{}"], ["", "{}"], ["a", "{}", "--timeout", "never"]])
async def test_wrong_use_is_one_line_and_exits_with_2(command: CommandLine, arguments: list[str]) -> None:
    ran = await command("send", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.error_line.startswith("carillon: ")


@pytest.mark.parametrize("arguments", [[], ["send"], ["directory", "import"], ["token"], ["trace"], ["up"]])
async def test_help_shows_examples(nowhere: CommandLine, arguments: list[str]) -> None:
    ran = await nowhere(*arguments, "--help")
    assert ran.status == 0
    assert "Examples:\n" in ran.out
    assert f"  carillon {' '.join(arguments)}".rstrip() in ran.out
