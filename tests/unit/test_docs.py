"""What the documents name is there: settings, paths, commands, fields and words are those of the code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from carillon.__main__ import carillon
from carillon.commands.console_settings import ConsoleSettings
from carillon.commands.settings import OperatorSettings
from carillon.local import ports
from carillon.store.users import STORE_ROLES
from carillon.version import VERSION
from services.email.providers import EmailServiceSettings
from services.push.providers import PushServiceSettings
from services.realtime.settings import RealtimeSettings
from services.router.payloads import parse
from services.router.payloads.envelope import Envelope
from services.router.payloads.mails import EmailBatch
from services.router.payloads.templated import Templated
from services.router.settings import RouterSettings
from services.sms.providers import SmsServiceSettings
from shared.core.errors import Reason
from shared.core.topics import Kind, Topics
from shared.directory.people import Person
from shared.ledger import audit_report
from shared.ledger.dead_letters import Answer
from shared.ledger.finding import OUTCOMES
from shared.runtime.settings import CommonSettings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
SERVICES = (RouterSettings, EmailServiceSettings, SmsServiceSettings, PushServiceSettings, RealtimeSettings)


def page(name: str) -> Path:
    """Return the one document of this name, wherever it stands."""
    [found] = DOCS.rglob(name)
    return found


def rows(settings: type[CommonSettings], *, without: set[str]) -> list[str]:
    """Return the lines that settings.md has for these settings."""
    lines = []
    for name, field in settings.every_field().items():
        if name in without:
            continue
        # Of a provider nothing is required, unless it is the one that is used.
        missing = "required" if name in settings.model_fields else "needed"
        default = missing if field.is_required() else "" if field.default in (None, "") else str(field.default)
        description = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name.upper()}` | {description} | {default} |")
    return lines


@pytest.mark.parametrize("settings", [CommonSettings, *SERVICES, ConsoleSettings])
def test_every_setting_is_documented_with_its_default(settings: type[CommonSettings]) -> None:
    common = {"ops_port"} if settings is CommonSettings else set(CommonSettings.model_fields)
    if settings is ConsoleSettings:
        common = set(OperatorSettings.model_fields)
    document = page("settings.md").read_text()
    missing = [row for row in rows(settings, without=common) if row not in document]
    assert missing == []


@pytest.mark.parametrize("settings", SERVICES)
def test_every_service_has_its_documented_ops_port(settings: type[CommonSettings]) -> None:
    service = settings.__module__.split(".")[1]
    port = settings.model_fields["ops_port"].default
    assert f"{port} {service}" in page("settings.md").read_text()


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def code(document: Path) -> Iterator[str]:
    """Yield what stands in backticks, and the lines that are indented as code or stand in a block of commands."""
    fence = ""
    for line in document.read_text().splitlines():
        if line.startswith("```"):
            fence = "" if fence else line
        elif line.startswith("    ") or fence == "```sh":
            yield line.strip()
        elif not fence:
            yield from re.findall(r"`([^`]+)`", line)


def table(document: Path, heading: str) -> Iterator[list[str]]:
    """Yield the rows of the table that has this heading, as cells."""
    lines = document.read_text().partition(f"| {heading} |\n")[2].partition("\n\n")[0].splitlines()
    for line in lines[1:]:
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def words(cell: str) -> set[str]:
    """Return the names in backticks."""
    return set(re.findall(r'`"?(\w+)', cell))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_path_that_a_document_names_is_there(document: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"var"}
    missing = []
    for name in code(document):
        if name.split("/")[0] not in folders or not re.fullmatch(r"[\w.-]+/[\w./{},-]*", name):
            continue
        before, brace, inside = name.partition("{")
        choices, _, after = inside.partition("}")
        paths = [f"{before}{choice}{after}" for choice in choices.split(",")] if brace else [name]
        missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("folder", ["shared", "services/router", "services/realtime", "carillon"])
def test_the_architecture_names_the_rooms_that_are_there(folder: str) -> None:
    document = ROOT / "docs" / "explanation" / "architecture.md"
    told = {room for cells in table(document, f"`{folder}/` | what it is for") for room in words(cells[0])}
    ignored = {"__pycache__"}
    assert told == {path.name for path in (ROOT / folder).iterdir() if path.is_dir()} - ignored


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_setting_that_a_document_names_is_somebodys(document: Path) -> None:
    read = (CommonSettings, ConsoleSettings, *SERVICES)
    known = {name.upper() for settings in read for name in settings.every_field()}
    known |= {f"{name}_FILE" for name in known if not name.endswith("_FILE")}
    prefixes = tuple({prefix for settings in read for prefix in settings.prefixes})
    # What ends in an underscore stands for several.
    found = re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b(?!…)", "\n".join(code(document)))
    assert [name for name in found if name.startswith(prefixes) and name not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_a_document_names_is_there_with_its_options(document: Path) -> None:
    context = click.Context(carillon)
    wrong = []
    for text in code(document):
        found = re.match(r"(?:[A-Z_]+=\S+ |time )?(?:\.venv/bin/|python -m )?carillon (-?-?[a-z].*)", text)
        if found is None:
            continue
        typed = re.split(r" [#>|&]", found[1])[0].split()
        command: click.Command | None = carillon
        options = {option for each in carillon.params for option in each.opts}
        while isinstance(command, click.Group) and typed:
            command = command.get_command(context, typed.pop(0))
            options |= {option for each in command.params for option in each.opts} if command else set()
        unknown = [word for word in typed if re.match(r"--[a-z]", word) and word.partition("=")[0] not in options]
        if command is None or unknown:
            wrong.append(text)
    assert wrong == []


def test_every_command_is_in_the_list_of_commands() -> None:
    listed = {" ".join(re.findall(r"[a-z-]+", row[0])[1:]) for row in table(page("command-line.md"), "command | does")}
    context = click.Context(carillon)
    for name in carillon.list_commands(context):
        command = carillon.get_command(context, name)
        below = command.list_commands(context) if isinstance(command, click.Group) else [""]
        assert {f"{name} {each}".strip() for each in below} <= listed


def test_the_ports_of_a_local_system_are_documented() -> None:
    options = {choice.field: choice.option for choice in ports.PORT_OPTIONS}
    last = len(ports.SERVICES) - 1
    expected = []
    for offset, field in enumerate(ports.IN_A_ROW):
        port = getattr(ports.Ports(), field)
        first = f"N+{offset}" if offset else "N"
        several = field == "ops_base"
        place = f"{first} to N+{offset + last}" if several else first
        expected.append(
            [place, f"{port} to {port + last} `{options[field]}`" if several else f"{port} `{options[field]}`"]
        )
    found = table(page("command-line.md"), "port | part | default, option")
    assert [[place, default] for place, _, default in found] == expected


def test_what_a_trace_prints_is_documented() -> None:
    """By the names in the code: a trace of its own needs a store."""
    section = page("command-line.md").read_text().partition("\n## trace\n")[2].partition("\n## ")[0]
    text = (ROOT / "shared" / "ledger" / "trace_document.py").read_text()
    names = set(re.findall(r'^ +"(\w+)": ', text, re.MULTILINE))
    assert {"acknowledged_by", "next_at"} <= names
    assert names - words(section) == set()


def test_what_a_status_prints_is_documented() -> None:
    section = page("command-line.md").read_text().partition("\n## status\n")[2].partition("\n## ")[0]
    names = set(re.findall(r'"(\w+)": ', (ROOT / "carillon" / "status" / "documents.py").read_text()))
    assert {"not_ready", "waits_s", "by_reason"} <= names
    assert names - words(section) == set()


def test_what_find_and_person_show_print_is_documented() -> None:
    text = page("command-line.md").read_text()
    sections = "".join(text.partition(f"\n## {name}\n")[2].partition("\n## ")[0] for name in ("find", "person show"))
    ledger = ROOT / "shared" / "ledger"
    person, _, _ = (ledger / "person_documents.py").read_text().partition("def shown_address")
    found = (ledger / "found_documents.py").read_text()
    names = set(re.findall(r'"(\w+)": ', found)) | set(re.findall(r'^ {8}"(\w+)": ', person, re.MULTILINE))
    assert {"accepted_at", "next_at", "suppressions"} <= names
    assert names - words(sections) == set()


def test_the_reasons_that_support_reads_are_there() -> None:
    tables = ("outcome, reason | what it means | what to do", "reason | what it means")
    named = set().union(*(words(row[0]) for header in tables for row in table(page("support.md"), header)))
    assert {"bounced", "seen"} <= named
    assert named <= {*Reason, *OUTCOMES, "held"}


def test_why_a_dead_letter_is_left_is_documented() -> None:
    listed = [words(row[0]) for row in table(page("command-line.md"), "left as | because")]
    assert set().union(*listed) == {*Answer} - {Answer.REOPENED, Answer.ALREADY}


def test_what_an_audit_finds_is_documented() -> None:
    listed = [row[0].strip("`") for row in table(page("audit.md"), "finding | what is wrong | where to look")]
    assert listed == [*audit_report.Kind]
    # "The last three are overdue work."
    assert [kind.is_overdue for kind in audit_report.Kind] == [False] * (len(listed) - 3) + [True] * 3


def test_what_any_notification_may_say_is_documented() -> None:
    listed = [words(row[0]) for row in table(page("publishing.md"), "field | meaning")]
    assert set().union(*listed) == {*Envelope.model_fields, "template", "locale", "timezone"}
    assert {"template", "locale", "timezone"} <= set(Templated.model_fields)


def said_on(kind: Kind, params: dict[str, str]) -> set[str]:
    """Return what a publish may say, but for what any notification may and for what its topic says."""
    model = parse.MODELS[kind]
    if not issubclass(model, BaseModel):
        # A change of a person.
        return set(Person.model_fields) - params.keys()
    names = {field.alias or name for name, field in model.model_fields.items()} - params.keys()
    if model is EmailBatch:
        names |= set(EmailBatch.inherited)
        return names - (set(Envelope.model_fields) - set(EmailBatch.inherited))
    return names - set(Envelope.model_fields) if issubclass(model, Envelope) else names


def test_every_topic_is_documented_with_its_fields() -> None:
    kinds, optional = set(), set[str]()
    for topic, required, others in table(page("publishing.md"), "topic | required | optional"):
        optional = words(others) | (optional if others.startswith("the same") else set())
        *stem, last = topic.strip("`").split("/")
        # One of the levels may name several.
        several = next((level for level in [*stem, last] if "|" in level), last)
        for level in several.split("\\|"):
            route = Topics().parse(topic.strip("`").replace(several, level))
            assert route is not None, topic
            kinds.add(route.kind)
            assert words(required) | optional == said_on(route.kind, route.params), topic
    assert kinds == set(Kind)


def test_every_report_about_an_address_that_is_shown_is_taken() -> None:
    shown = [line for line in code(page("email.md")) if line.startswith('{"address"')]
    assert len(shown) == 4
    for payload in shown:
        parse.parse(Kind.DIRECTORY_SUPPRESS, {"channel": "email"}, json.dumps(json.loads(payload)).encode())


def shown_publishes(document: Path) -> Iterator[tuple[str, str]]:
    """Yield topic and payload of each publish that is shown as a line of code, or as several."""
    text = "\n".join(line if line.startswith("    ") else "" for line in document.read_text().splitlines())
    for block in text.split("\n\n"):
        for shown in re.split(r"^    (?=\S)", block, flags=re.MULTILINE):
            found = re.fullmatch(r"((?:directory|notifications)/\S+)\s+(\{.*\})\s*", shown, re.DOTALL)
            if found is not None:
                yield found[1], found[2]


def test_every_publish_that_is_shown_about_attention_is_taken() -> None:
    publishes = list(shown_publishes(page("attention.md")))
    assert len(publishes) == 7
    for topic, payload in publishes:
        route = Topics().parse(topic)
        assert route is not None, topic
        parse.parse(route.kind, route.params, json.dumps(json.loads(payload)).encode())


def test_what_each_service_reaches_in_the_store_is_documented() -> None:
    """In the words of the guide; everybody and the admins are groups, too."""
    families = {
        "the ledger": "{s[0-9][0-9]}*", "people": "{u:*}*", "devices": "{d:*}*", "groups": "{g:*}:members",
        "the feed": "{feed}*", "on call": "{oncall}*", "publishers": "{publishers}*",
        "categories": "{categories}", "tenants": "{tenants}",
        "suppressed mail addresses": "{x:*}:email",
        "suppressed numbers": "{x:*}:sms", "SMS records": "{sms:*}*", "bounce reports": "{report:*}*",
        "mute incidents": "{m:*}*", "rules about alerts": "{rules:*}*",
        "what is paused": "{providers}:paused",
        "its processes": "{alive:*}*",
    }  # fmt: skip
    listed = {role.strip("`"): reached for role, *reached in table(page("redis.md"), "role | writes | only reads")}
    assert listed.keys() == STORE_ROLES.keys()
    for name in ("email", "sms", "push", "realtime"):
        for said, patterns in zip(listed[name], (STORE_ROLES[name].writes, STORE_ROLES[name].reads), strict=True):
            assert {families[word] for word in said.split(", ")} == {
                # Each has its own, and says there that it is alive.
                pattern.replace(f"{{alive:{name}}}", "{alive:*}")
                for pattern in patterns
                if not pattern.startswith(("{all", "{admins}"))
            }


def test_every_code_of_an_error_frame_is_documented() -> None:
    files = (ROOT / "services" / "realtime").rglob("*.py")
    codes = {found for path in files for found in re.findall(r'frames\.error\("(\w+)"', path.read_text())}
    [means] = [
        row[1] for row in table(page("web.md"), "from the server | when") if row[0].startswith('`{"type": "error"')
    ]
    assert words(means) == codes


def test_the_tutorial_builds_the_images_that_the_dev_overlay_runs() -> None:
    assert f"--tag carillon/$service:{VERSION} " in page("operate.md").read_text()


def test_no_line_of_prose_is_longer_than_120_columns() -> None:
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"))
        for number, line in enumerate(page.read_text().splitlines(), 1)
        # A row of a table cannot be broken, and a command is to be copied.
        if len(line) > 120 and not line.startswith(("|", "    "))
    ]
    assert long == []
