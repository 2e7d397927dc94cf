"""``carillon template``: what a reader would get, and what is broken in a folder."""

import json
from pathlib import Path

import pytest

from carillon.commands.templates import ALERT_KINDS
from services.router.planning.alert_texts import Why
from tests.command_line import CommandLine

SAMPLE = Path(__file__).parents[2] / "carillon" / "local" / "sample_templates"
DATA = '{"name": "User 123", "joined": "2026-11-02", "tasks": 3}'


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, TEMPLATES_DIR=str(SAMPLE))


async def test_it_shows_what_each_channel_says_in_the_readers_language(command: CommandLine) -> None:
    ran = await command("template", "render", "welcome", "--data", DATA, "--locale", "fr-CA", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json["sms"] == {"message": "Bienvenue, User 123 : 3 tâches vous attendent."}
    assert ran.json["email"].keys() == {"title", "message", "html_body"}
    assert ran.json["push"]["title"] == ran.json["realtime"]["title"] == "Bienvenue, User 123"


async def test_one_channel_with_data_from_a_file_for_a_person_to_read(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(DATA)
    options = ("--channel", "email", "--dir", str(SAMPLE))
    ran = await command("template", "render", "welcome", "--data", str(tmp_path / "data.json"), *options)
    assert ran.out.startswith("--- email\nWelcome, User 123\nHello User 123,\n")
    assert "--- email, HTML\n<!doctype html>" in ran.out


async def test_a_digest_is_shown_without_a_tenants_look_or_with_one(command: CommandLine) -> None:
    item = {"title": "Ada answered you", "message": "I agree.", "at": "2026-11-02T08:30:00Z"}
    data: dict[str, object] = {"count": 1, "items": [item], "last": item, "actors": [], "more": 0}
    options = ("template", "render", "comments-digest", "--channel", "email", "--locale", "fr", "--json")
    ran = await command(*options, "--data", json.dumps(data))
    assert (ran.status, ran.json["email"]["title"]) == (0, "1 nouveau commentaire")
    ran = await command(*options, "--data", json.dumps({**data, "brand": {"footer": "Acme", "colour": "#0a7cff"}}))
    assert ran.json["email"]["message"].endswith("\n\nAcme")


@pytest.mark.parametrize(
    ("args", "status", "line"),
    [
        (("welcome", "--data", '{"name": "x"}'), 1, "carillon: data.joined: required by template welcome"),
        (("nothing",), 1, f"carillon: there is no template nothing in {SAMPLE}"),
        (("welcome", "--data", "[]"), 2, "carillon: Invalid value for --data: cannot read the file"),
        (("welcome", "--data", "{"), 2, "carillon: Invalid value for --data: not a JSON object"),
        (("welcome", "--locale", "?"), 2, "carillon: Invalid value for --locale: not a language tag"),
        (("welcome", "--timezone", "Mars"), 2, "carillon: Invalid value for --timezone: not an IANA time zone"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    command: CommandLine, args: tuple[str, ...], status: int, line: str
) -> None:
    ran = await command("template", "render", *args)
    assert (ran.status, ran.out) == (status, "")
    assert ran.error_line.startswith(line)


async def test_the_template_of_alerts_is_shown_with_a_sample_alert(command: CommandLine) -> None:
    options = ("--locale", "de", "--timezone", "Europe/Berlin", "--channel", "push")
    ran = await command("template", "render", "incident", "--alert", "escalated", *options)
    assert ran.out.splitlines() == [
        "--- push", "Noch ohne Antwort: Kritisch: disk auf db-3", "The disk of db-3 is full: 99 % of 2 TB.",
        "Seit 04:10 MEZ", "", "--- button", "Übernehmen",
    ]  # fmt: skip
    ran = await command("template", "render", "incident", "--alert", "news", "--json", "--data", '{"more": 3}')
    assert ran.json["realtime"]["title"] == "Critical: disk on db-4 (2 open)"
    assert "and 3 more" in ran.json["realtime"]["message"]
    assert ran.json["button"] == "Acknowledge"
    assert tuple(Why) == ALERT_KINDS


async def test_a_folder_is_checked_to_its_last_file(command: CommandLine, tmp_path: Path) -> None:
    ran = await command("template", "check", str(SAMPLE))
    assert (ran.status, ran.out) == (0, "comments-digest: en, fr\nincident: de, en\nwelcome: en, fr\n")
    for name in ("a", "b"):
        (tmp_path / "t" / name / "en").mkdir(parents=True)
        (tmp_path / "t" / name / "en" / "subject.txt").write_text("x")
        (tmp_path / "t" / name / "en" / "text.txt").write_text("x\n{{ y")
    ran = await command("template", "check", str(tmp_path / "t"), "--json")
    assert (ran.status, ran.error_line) == (1, "carillon: 2 problems")
    assert [each.split(" ")[0] for each in ran.json["problems"]] == ["a/en/text.txt:2:", "b/en/text.txt:2:"]
