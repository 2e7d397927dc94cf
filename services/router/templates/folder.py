"""Reads templates from a folder: ``NAME/LANGUAGE/PART.txt``, the mail's HTML as ``email.mjml`` or ``email.html``.

Promises that every template that was read can be rendered. Everything that is broken is found here, all at once, and
named by file and, where it is known, line. Reads files at the start only.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import jinja2
from pydantic import TypeAdapter, ValidationError

from services.router.templates.languages import locale_of
from services.router.templates.mjml_source import html_of
from services.router.templates.problems import BrokenTemplate
from services.router.templates.sandbox import compile_, parse
from services.router.templates.texts import REQUIRED, Part, Template
from shared.core.errors import ConfigError
from shared.core.fields import Identifier

SETTINGS_FILE = "template.toml"
DEFAULT_LANGUAGE = "en"
# A file beyond is no template.
FILE_BYTES = 256 * 1024

_FILES = {f"{part}.txt": part for part in Part if part is not Part.EMAIL} | {
    "email.mjml": Part.EMAIL,
    "email.html": Part.EMAIL,
}
_NAME = TypeAdapter[str](Identifier)

Templates = Mapping[str, Template]


def load(folder: Path) -> Templates:
    """Read all templates of a folder, by name.

    Raises:
        ConfigError: naming every file that cannot be used.
    """
    found, problems = read(folder)
    if problems:
        raise ConfigError("TEMPLATES_DIR: " + "; ".join(map(str, problems)))
    return found


def read(folder: Path) -> tuple[Templates, list[BrokenTemplate]]:
    """Read what can be read, and say what cannot."""
    templates: dict[str, Template] = {}
    problems: list[BrokenTemplate] = []
    if not folder.is_dir():
        return {}, [BrokenTemplate(str(folder), None, "not a folder")]
    for path in _entries(folder):
        try:
            template, broken = _template(path)
        except BrokenTemplate as error:
            problems.append(error)
            continue
        problems += broken
        if template is not None:
            templates[template.name] = template
    return templates, problems


def _entries(folder: Path) -> Iterator[Path]:
    # Hidden ones are not ours: a mounted ConfigMap has some.
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _template(folder: Path) -> tuple[Template | None, list[BrokenTemplate]]:
    name = folder.name
    if not folder.is_dir():
        raise BrokenTemplate(name, None, "not a template: a template is a folder of languages")
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise BrokenTemplate(name, None, "a template's name is one level of a topic: without / + and #") from None
    languages: dict[str, dict[Part, jinja2.Template]] = {}
    problems: list[BrokenTemplate] = []
    for path in _entries(folder):
        if path.name == SETTINGS_FILE:
            continue
        place = f"{name}/{path.name}"
        if not path.is_dir() or locale_of(path.name) is None:
            problems.append(BrokenTemplate(place, None, "not a language tag's folder, like en or pt-BR"))
            continue
        languages[path.name], broken = _parts(path, place)
        problems += broken
    if problems:
        return None, problems
    return Template(name, _default_language(folder, languages), languages), _differences(name, languages)


def _parts(folder: Path, place: str) -> tuple[dict[Part, jinja2.Template], list[BrokenTemplate]]:
    parts: dict[Part, jinja2.Template] = {}
    problems = []
    for path in _entries(folder):
        file = f"{place}/{path.name}"
        part = _FILES.get(path.name)
        if part is None:
            problems.append(BrokenTemplate(file, None, f"unknown; the files are {', '.join(sorted(_FILES))}"))
            continue
        if part in parts:
            problems.append(BrokenTemplate(file, None, f"there is another {part}"))
            continue
        try:
            parts[part] = _compiled(path, file)
        except BrokenTemplate as error:
            problems.append(error)
    return parts, problems


def _compiled(path: Path, file: str) -> jinja2.Template:
    try:
        raw = path.read_bytes()
        source = raw.decode()
    except OSError as error:
        raise BrokenTemplate(file, None, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BrokenTemplate(file, None, "is not UTF-8") from None
    if len(raw) > FILE_BYTES:
        raise BrokenTemplate(file, None, f"is larger than {FILE_BYTES} bytes")
    if path.suffix == ".mjml":
        # Read as a template first, because there its lines are still the author's.
        parse(source, file)
        source = html_of(source, file)
    return compile_(source, file)


def _default_language(folder: Path, languages: Mapping[str, object]) -> str:
    file = f"{folder.name}/{SETTINGS_FILE}"
    path = folder / SETTINGS_FILE
    if not languages:
        raise BrokenTemplate(folder.name, None, "has no language")
    try:
        said = tomllib.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise BrokenTemplate(file, None, str(error)) from None
    if said.keys() - {"default_language"}:
        raise BrokenTemplate(file, None, "the one thing to set is default_language")
    default = said.get("default_language", DEFAULT_LANGUAGE if len(languages) > 1 else next(iter(languages)))
    if default not in languages:
        raise BrokenTemplate(file, None, f"default_language must be one of {', '.join(languages)}")
    return str(default)


def _differences(name: str, languages: Mapping[str, Mapping[Part, object]]) -> list[BrokenTemplate]:
    """Find the texts that one language has and another has not: nobody should get half of a translation."""
    everywhere = {part for parts in languages.values() for part in parts} | set(REQUIRED)
    return [
        BrokenTemplate(f"{name}/{language}", None, f"has no {part}")
        for language, parts in languages.items()
        for part in Part
        if part in everywhere - parts.keys()
    ]
