"""``carillon template``: what a template says to a reader on each channel, and whether a folder of them can be used."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from carillon.commands.output import AnswerIsNo, CannotWork, print_json, printable
from carillon.commands.settings import OperatorSettings
from services.router.payloads.envelope import JsonObject
from services.router.planning.alert_texts import Why, sample_variables
from services.router.planning.texts import with_brand
from services.router.templates.folder import read
from services.router.templates.problems import Unrenderable
from services.router.templates.texts import Part, Template, Texts
from shared.core.fields import Locale, ZoneName
from shared.core.model import Channel

_DATA = TypeAdapter[dict[str, Any]](JsonObject)


def print_texts(
    name: str,
    *,
    data: str,
    alert: str | None,
    locale: str | None,
    timezone: str | None,
    channel: str | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Print what a template says to one reader."""
    found = _find(name, folder)
    sample = sample_variables(Why(alert)) if alert is not None else {}
    variables = with_brand({**sample, **_variables(data)})
    reader = _checked(locale, Locale, "--locale"), _checked(timezone, ZoneName, "--timezone")
    channels = [Channel(channel)] if channel else list(Channel)
    try:
        texts = {each: found.texts(each, variables, *reader) for each in channels}
        button = found.button(variables, *reader) if found.has(Part.BUTTON) else None
    except Unrenderable as error:
        problems = "; ".join(f"{each.field}: {each.problem}" for each in error.problems)
        raise AnswerIsNo(problems) from None
    if as_json:
        documents: dict[str, object] = {each.value: _document(said) for each, said in texts.items()}
        print_json(documents if button is None else {**documents, "button": button})
    else:
        _print(texts)
        if button is not None:
            click.echo("\n--- button")
            _print_lines([button])


def print_problems(folder: Path, *, as_json: bool) -> None:
    """Print the templates of a folder, and what is wrong with them."""
    templates, problems = read(folder)
    if as_json:
        print_json(
            {
                "templates": {name: sorted(found.parts) for name, found in templates.items()},
                "problems": [str(each) for each in problems],
            }
        )
    else:
        for name, found in templates.items():
            click.echo(printable(f"{name}: {', '.join(sorted(found.parts))}"))
        for each in problems:
            click.echo(printable(str(each)))
    if problems:
        raise AnswerIsNo("one problem" if len(problems) == 1 else f"{len(problems)} problems")


def _find(name: str, folder: Path | None) -> Template:
    folder = folder or OperatorSettings.load().templates_dir
    if folder is None:
        raise CannotWork("say where the templates are, with --dir or TEMPLATES_DIR")
    templates, problems = read(folder)
    if name in templates:
        return templates[name]
    broken = [str(each) for each in problems if str(each).startswith((f"{name}/", f"{name}:"))]
    raise AnswerIsNo("; ".join(broken) or f"there is no template {name} in {folder}")


def _variables(text: str) -> Mapping[str, Any]:
    try:
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text()
        return _DATA.validate_python(json.loads(text))
    except OSError as error:
        raise click.BadParameter(f"cannot read the file ({error.strerror})", param_hint="--data") from None
    except (ValueError, RecursionError):
        raise click.BadParameter("not a JSON object", param_hint="--data") from None


def _checked(value: str | None, kind: Any, option: str) -> str | None:  # noqa: ANN401 - an annotated type
    if value is None:
        return None
    try:
        checked: str = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise click.BadParameter(error.errors()[0]["msg"], param_hint=option) from None
    return checked


def _document(texts: Texts) -> dict[str, str]:
    shown = {"title": texts.title, "message": texts.message, "html_body": texts.html_body}
    return {name: text for name, text in shown.items() if text}


def _print(texts: Mapping[Channel, Texts]) -> None:
    for number, (channel, said) in enumerate(texts.items()):
        if number:
            click.echo()
        click.echo(f"--- {channel}")
        _print_lines([said.title, *said.message.splitlines()] if said.title else said.message.splitlines())
        if said.html_body:
            click.echo("--- email, HTML")
            _print_lines(said.html_body.splitlines())


def _print_lines(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(printable(line))
