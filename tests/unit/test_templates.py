"""Templates: languages and their fallback, forms of the reader's language, bounds, escaping, and what is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.templates.folder import Templates, load, read
from services.router.templates.problems import Unrenderable
from services.router.templates.sandbox import STEPS
from services.router.templates.texts import Template, Texts
from shared.core.errors import ConfigError
from shared.core.model import Channel

SAMPLE = Path(__file__).parents[2] / "carillon" / "local" / "sample_templates"
SAMPLE_TEMPLATE = load(SAMPLE)["welcome"]
MAIL = "<mjml><mj-body><mj-section><mj-column>{}</mj-column></mj-section></mj-body></mjml>"


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def one(folder: Path, text: str, **others: str) -> Template:
    """Load a template whose text is this, and whose other parts (``email_mjml``) are given by name."""
    files = {"subject.txt": "Subject", "text.txt": text} | {
        name.replace("_", "."): source for name, source in others.items()
    }
    return load(write(folder, {f"one/en/{name}": source for name, source in files.items()}))["one"]


def said(
    template: Template,
    data: Mapping[str, Any],
    channel: Channel = Channel.REALTIME,
    locale: str | None = None,
    zone: str | None = None,
) -> str:
    return template.texts(channel, data, locale, zone).message


def refused(template: Template, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(Unrenderable) as caught:
        template.check(data)
    return [(each.field, each.problem) for each in caught.value.problems]


def languages(folder: Path, *tags: str, settings: str | None = None) -> Template:
    files = {f"hello/{tag}/{part}.txt": tag for tag in tags for part in ("subject", "text")}
    if settings is not None:
        files["hello/template.toml"] = settings
    return load(write(folder, files))["hello"]


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ("fr-CA", "fr-CA"),
        ("FR-ca", "fr-CA"),
        ("fr_CA", "fr-CA"),
        ("fr-CA-x-lvariant", "fr-CA"),
        ("fr-BE", "fr"),
        ("fr", "fr"),
        ("zh-Hant-TW", "zh-Hant"),
        ("de", "en"),
        ("xx", "en"),
        (None, "en"),
    ],
)
def test_a_reader_gets_the_nearest_language(tmp_path: Path, wanted: str | None, got: str) -> None:
    template = languages(tmp_path, "en", "fr", "fr-CA", "zh-Hant")
    assert template.texts(Channel.REALTIME, {}, wanted, None) == Texts(got, got)


def test_a_template_names_its_default_language(tmp_path: Path) -> None:
    template = languages(tmp_path, "en", "it", settings='default_language = "it"')
    assert said(template, {}, locale="de") == "it"


def test_the_only_language_is_the_default(tmp_path: Path) -> None:
    assert said(languages(tmp_path, "it"), {}, locale="en") == "it"


# CLDR writes a no-break space, or a narrow one, before % and currency signs and in times.
@pytest.mark.parametrize(
    ("expression", "value", "locale", "expected"),
    [
        ("v|date", "2026-11-02", "en", "Nov 2, 2026"),
        ("v|date('long')", "2026-11-02", "en-GB", "2 November 2026"),
        ("v|date('d MMM')", "1985-03-04", "en", "4 Mar"),
        ("v|date", 1793660400, "en", "Nov 3, 2026"),
        ("v|time", "2026-11-02T23:30:00Z", "en-GB", "00:30"),
        ("v|datetime('short')", "2026-11-02T23:30:00Z", "en-GB", "03/11/2026, 00:30"),
        ("v|number", 1234567.5, "en", "1,234,567.5"),
        ("v|number", "0.1", "en", "0.1"),
        ("v|percent", 0.25, "en", "25%"),
        ("v|currency('EUR')", "1234.5", "en", "€1,234.50"),
        ("v|plural(one='# day', other='# days')", 1, "en", "1 day"),
        ("v|plural(one='# day', other='# days')", 0, "en", "0 days"),
        ("v|plural(one='# day', other='# days')", 1000, "en", "1,000 days"),
    ],
)
def test_filters_write_as_the_readers_language_and_zone_do(
    tmp_path: Path, expression: str, value: object, locale: str, expected: str
) -> None:
    template = one(tmp_path, "{{ " + expression + " }}")
    assert said(template, {"v": value}, locale=locale, zone="Europe/Paris") == expected


def test_plurals_and_money_follow_the_language_of_the_text(tmp_path: Path) -> None:
    source = "{{ n|plural(one='plik', few='pliki', many='plików', other='pliku') }} {{ 9.5|currency('PLN') }}"
    files = {"one/pl/subject.txt": "x", "one/pl/text.txt": source}
    template = load(write(tmp_path, files))["one"]
    found = [said(template, {"n": n}, locale="pl-PL").split()[0] for n in (1, 2, 5, 22)]
    assert found == ["plik", "pliki", "plików", "pliki"]
    # Somebody who wanted English and gets Polish reads Polish numbers in it.
    assert said(template, {"n": 1}, locale="en").endswith("9,50\xa0zł")


def test_sms_and_push_take_the_text_where_they_have_none_of_their_own(tmp_path: Path) -> None:
    template = one(tmp_path / "a", "long")
    assert template.texts(Channel.SMS, {}, None, None) == Texts("", "long")
    assert template.texts(Channel.PUSH, {}, None, None) == Texts("Subject", "long")
    template = one(tmp_path / "b", "long", sms_txt="short", push_txt="shorter")
    assert template.texts(Channel.SMS, {}, None, None) == Texts("", "short")
    assert template.texts(Channel.PUSH, {}, None, None) == Texts("Subject", "shorter")


def test_html_escapes_data_and_text_does_not(tmp_path: Path) -> None:
    mail = MAIL.format('<mj-text>{{ v }}</mj-text><mj-button href="{{ v }}">Go</mj-button>')
    template = one(tmp_path, "{{ v }}", email_mjml=mail)
    texts = template.texts(Channel.EMAIL, {"v": '<script>"&'}, None, None)
    assert texts.message == '<script>"&'
    assert texts.html_body is not None
    assert texts.html_body.count("&lt;script&gt;&#34;&amp;") == 2
    assert "<script>" not in texts.html_body


def test_html_may_be_written_without_mjml(tmp_path: Path) -> None:
    template = one(tmp_path, "x", email_html="<p>{{ v }}</p>")
    assert template.texts(Channel.EMAIL, {"v": "<b>"}, None, None).html_body == "<p>&lt;b&gt;</p>"


def test_control_flow_in_mjml_survives_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    rows = "<mj-raw>{% for r in rows if r < 3 %}</mj-raw><mj-text>row {{ r }}</mj-text><mj-raw>{% endfor %}</mj-raw>"
    template = one(tmp_path, "x", email_mjml=MAIL.format(rows + "{# {{ gone }} #}"))
    html = template.texts(Channel.EMAIL, {"rows": [1, 2, 3]}, None, None).html_body or ""
    assert [row for row in ("row 1", "row 2", "row 3") if row in html] == ["row 1", "row 2"]
    assert "fonts.googleapis" not in html


@pytest.mark.parametrize(
    ("source", "data", "field"),
    [
        ("{{ name }}", {}, "data.name"),
        ("{{ order.total }}", {"order": {"id": 1}}, "data.order.total"),
        ("{{ order['total']|currency('EUR') }}", {"order": {}}, "data.order.total"),
        ("{% for i in items %}{{ i.name }}{% endfor %}", {"items": [{"name": "a"}, {}]}, "data.items.1.name"),
        ("{% for i in items %}{% endfor %}x", {}, "data.items"),
        ("{{ name|upper }}", {}, "data.name"),
        ("{{ '-' * width }}", {}, "data.width"),
        ("{% if name %}x{% endif %}", {}, "data.name"),
    ],
)
def test_a_missing_variable_is_named(tmp_path: Path, source: str, data: dict[str, Any], field: str) -> None:
    assert refused(one(tmp_path, source), data) == [(field, "required by template one")]


def test_a_variable_may_be_optional(tmp_path: Path) -> None:
    template = one(tmp_path, "{{ name|default('you') }}{% if order is defined %} {{ order.id }}{% endif %}")
    assert said(template, {}) == "you"
    assert said(template, {"name": "n", "order": {"id": 7}}) == "n 7"


@pytest.mark.parametrize(
    ("source", "value", "problem"),
    [
        ("{{ v|date }}", "soon", "date: must be epoch seconds or RFC 3339 with a zone (one/en/text.txt:1)"),
        ("{{ v|date }}", "2026-02-30", "date: not an existing date (one/en/text.txt:1)"),
        ("\n{{ v|number }}", "secret", "number needs a number (one/en/text.txt:2)"),
        ("{{ 1|currency(v) }}", "secret", "currency needs a code like EUR (one/en/text.txt:1)"),
        ("{{ 1 / v }}", 0, "cannot be written: ZeroDivisionError (one/en/text.txt:1)"),
        ("{{ v }}", "", "becomes empty"),
        ("{{ v }}", "x" * 10_001, "becomes longer than 10000 characters"),
        ("{{ '-' * v }}", "secret", "cannot be written: SecurityError (one/en/text.txt:1)"),
        ("{{ 'x' * 10 }}", 1, "cannot be written: SecurityError (one/en/text.txt:1)"),
        ("{{ 2 ** v }}", 10**6, "cannot be written: SecurityError (one/en/text.txt:1)"),
        ("{{ v.__class__ }}", "secret", "cannot be written: SecurityError (one/en/text.txt:1)"),
        ("{{ v.append(1) }}", [], "cannot be written: SecurityError (one/en/text.txt:1)"),
        ("{% for _ in range(v) %}{% endfor %}x", 10**9, "cannot be written: OverflowError (one/en/text.txt:1)"),
        ("{% for a in v %}{% for b in v %}{% endfor %}{% endfor %}x", [0] * 200, f"takes more than {STEPS} steps"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "cannot be written: RecursionError"),
    ],
)
def test_what_cannot_be_written_is_refused_without_repeating_it(
    tmp_path: Path, source: str, value: object, problem: str
) -> None:
    ((field, found),) = refused(one(tmp_path, source), {"v": value})
    assert field == "data"
    assert found.startswith(f"template one, text: {problem}")
    assert "secret" not in found


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(name=_JSON, url=_JSON)
def test_any_data_is_written_safely_or_refused(name: object, url: object) -> None:
    harmless = {"name": "name", "url": "url", "joined": "2026-11-02", "tasks": 1}
    try:
        texts = SAMPLE_TEMPLATE.texts(Channel.EMAIL, {**harmless, "name": name, "url": url}, "fr", "Europe/Paris")
    except Unrenderable:
        return
    assert len(texts.title.splitlines()) == 1
    assert "=?" not in texts.title
    plain = SAMPLE_TEMPLATE.texts(Channel.EMAIL, harmless, "fr", "Europe/Paris")
    # Not one tag or attribute more than with harmless data.
    assert [(texts.html_body or "").count(sign) for sign in '<>"'] == [
        (plain.html_body or "").count(sign) for sign in '<>"'
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a\r\nBcc: user@example.com", "must not contain control characters"),
        ("=?utf-8?q?x?=", "must not contain =?"),
        ("x" * 201, "becomes longer than 200 characters"),
        (" ", "becomes empty"),
        ("\ud800", "is not valid Unicode"),
    ],
)
def test_a_subject_cannot_add_a_header(tmp_path: Path, value: str, problem: str) -> None:
    template = load(write(tmp_path, {"one/en/subject.txt": "{{ v }}", "one/en/text.txt": "x"}))["one"]
    assert refused(template, {"v": value}) == [("data", f"template one, subject: {problem}")]


def test_every_language_is_checked(tmp_path: Path) -> None:
    files = {
        "one/en/subject.txt": "x",
        "one/en/text.txt": "x",
        "one/fr/subject.txt": "x",
        "one/fr/text.txt": "{{ nom }}",
    }
    assert refused(load(write(tmp_path, files))["one"], {}) == [("data.nom", "required by template one")]


@pytest.mark.parametrize(
    ("file", "source", "problem"),
    [
        ("text.txt", "a\n{{ name", "bad/en/text.txt:2: unexpected end of template"),
        ("text.txt", "a\n\n{{ v|nofilter }}", "bad/en/text.txt:3: No filter named 'nofilter'."),
        ("text.txt", "{{ v|safe }}", "bad/en/text.txt:1: No filter named 'safe'."),
        ("text.txt", "a\n{% include 'x' %}", "bad/en/text.txt:2: a template's file stands alone"),
        ("email.mjml", MAIL.format("\n<mj-txt>x</mj-txt>"), "bad/en/email.mjml:2: <mj-txt> is not an element of MJML"),
        ("email.mjml", MAIL.format("\n<mj-text>x"), "bad/en/email.mjml:2: </mj-column> closes nothing"),
        ("email.mjml", "<mjml>\n<mj-body>", "bad/en/email.mjml:2: <mj-body> is not closed"),
        (
            "email.mjml",
            MAIL.format('\n<mj-text tilt="{{ x }}">x</mj-text>'),
            "bad/en/email.mjml:2: MJML drops this expression",
        ),
        ("email.mjml", MAIL.format("\n\n{% if x %}"), "bad/en/email.mjml:3: "),
        ("email.mjml", "hello", "bad/en/email.mjml: MJML: "),
        ("email.mjml", MAIL.format('<mj-include path="/etc/passwd"/>'), "bad/en/email.mjml:1: <mj-include>"),
        ("mail.txt", "x", "bad/en/mail.txt: unknown; the files are "),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, file: str, source: str, problem: str) -> None:
    parts = {"bad/en/subject.txt": "x", "bad/en/text.txt": "x", f"bad/en/{file}": source}
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, parts))
    assert str(caught.value).startswith(f"TEMPLATES_DIR: {problem}")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"bad/en/subject.txt": "x"}, "bad/en: has no text"),
        ({"bad/en/text.txt": "x", "bad/en/subject.txt": "x", "bad/fr/text.txt": "x"}, "bad/fr: has no subject"),
        ({"bad/klingonese/text.txt": "x"}, "bad/klingonese: not a language tag's folder"),
        ({"bad/text.txt": "x"}, "bad/text.txt: not a language tag's folder"),
        ({"bad/template.toml": ""}, "bad: has no language"),
        ({"bad+/en/text.txt": ""}, "bad+: a template's name is one level of a topic"),
        ({"text.txt": ""}, "text.txt: not a template"),
        ({"bad/en/text.txt": "x", "bad/template.toml": "default = 'en'"}, "bad/template.toml: the one thing to set"),
        ({"bad/en/text.txt": "x", "bad/template.toml": "default_language = 'fr'"}, "bad/template.toml: default_lang"),
        ({"bad/it/text.txt": "x", "bad/fr/text.txt": "x"}, "bad/template.toml: default_language must be one of fr, it"),
    ],
)
def test_a_folder_that_is_no_template_is_named(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    _, problems = read(write(tmp_path, files))
    assert [str(each) for each in problems if str(each).startswith(problem)]


def test_every_broken_file_is_told_of_at_once_and_hidden_ones_are_not_read(tmp_path: Path) -> None:
    files = {"a/en/text.txt": "{{", "b/en/text.txt": "{{", "..data/x": "", ".git/x": "", "c/en/subject.txt": "x"}
    _, problems = read(write(tmp_path, files | {"c/en/text.txt": "x"}))
    assert [str(each).partition(":")[0] for each in problems] == ["a/en/text.txt", "b/en/text.txt"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        load(tmp_path / "missing")


def test_the_sample_speaks_both_languages() -> None:
    templates: Templates = load(SAMPLE)
    data = {"name": "User 123", "joined": "2026-11-02", "tasks": 1}
    template = templates["welcome"]
    template.check(data)
    assert said(template, data, Channel.SMS, "en") == "Welcome, User 123: one task waits for you."
    assert said(template, data, Channel.SMS, "fr-CA") == "Bienvenue, User 123 : 1 tâche vous attend."
