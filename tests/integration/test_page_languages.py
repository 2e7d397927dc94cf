"""The words of the page's elements: each language has them all, with every plural category that CLDR names for it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.node_packages import NODE

PAGE = Path(__file__).parents[2] / "services" / "realtime" / "page"
LANGUAGES = ["ar", "de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt"]
DEADLINE_S = 30

# Tells of each language its words by their paths, what functions say, and the forms of each plural.
_TELL = """
const { LANGUAGES, loadLanguage } = await import(process.argv[1] + "/labels.js");
const told = {};
for (const language of LANGUAGES) {
  const { labels } = await import(`${process.argv[1]}/languages/${language}.js`);
  const plurals = [];
  const plural = (forms) => {
    plurals.push(Object.keys(forms));
    return Object.assign(() => "", { forms });
  };
  const words = {};
  const walk = (value, path) => {
    if (typeof value === "function") words[path] = value.forms ? Object.values(value.forms) : value("AAA", "BBB");
    else if (typeof value === "string") words[path] = value;
    else for (const [name, inner] of Object.entries(value)) walk(inner, path ? `${path}.${name}` : name);
  };
  walk(labels(plural), "");
  const { tag, direction, inbox } = await loadLanguage(language);
  told[language] = {
    words, plurals, tag, direction,
    categories: new Intl.PluralRules(language).resolvedOptions().pluralCategories,
    said: [0, 1, 2, 3, 11, 100, 12345].map((n) => inbox.bell(n)),
  };
}
for (const locale of ["pt-BR", "de-AT", "sv", "zh-Hant-TW"]) {
  const { tag, direction } = await loadLanguage(locale);
  told[locale] = { tag, direction };
}
console.log(JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    command = [str(NODE), "--no-warnings", "--input-type=module", "--eval", _TELL, str(PAGE)]
    done = subprocess.run(  # noqa: S603 - our own command
        command, check=True, capture_output=True, timeout=DEADLINE_S
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_ten_languages_are_there(told: dict[str, Any]) -> None:
    assert sorted(path.stem for path in (PAGE / "languages").glob("*.js")) == LANGUAGES
    assert [name for name in told if name in LANGUAGES] == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_language_has_every_label(told: dict[str, Any], language: str) -> None:
    english, words = told["en"]["words"], told[language]["words"]
    assert sorted(words) == sorted(english)
    # What says nothing in English says nothing elsewhere, and the other way round.
    assert {path for path, text in words.items() if not text} == {path for path, text in english.items() if not text}
    for path, text in english.items():
        for argument in ("AAA", "BBB"):
            assert (argument in text) == (argument in words[path]), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_plural_has_each_category_of_the_language(told: dict[str, Any], language: str) -> None:
    categories = set(told[language]["categories"])
    assert len(told[language]["plurals"]) == len(told["en"]["plurals"])
    for forms in told[language]["plurals"]:
        assert set(forms) - {"=0"} == categories


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_language_is_not_english(told: dict[str, Any], language: str) -> None:
    english, words = told["en"]["words"], told[language]["words"]
    # "Information", "Push" and "Offline" are the same in some.
    same = [path for path, text in words.items() if text and text == english[path]]
    assert len(same) < len(words) / 10, same


def test_numbers_take_their_form(told: dict[str, Any]) -> None:
    assert told["en"]["said"][:2] == ["Notifications, none unread", "Notifications, 1 unread"]
    assert told["de"]["said"][-1] == "Benachrichtigungen, 12.345 ungelesen"
    assert told["fr"]["said"][1:3] == ["Notifications, 1 non lue", "Notifications, 2 non lues"]
    # One, few and many.
    assert told["pl"]["said"][1:5] == [
        "Powiadomienia, 1 nieprzeczytane", "Powiadomienia, 2 nieprzeczytane", "Powiadomienia, 3 nieprzeczytane",
        "Powiadomienia, 11 nieprzeczytanych",
    ]  # fmt: skip
    # Zero, one, two, few, many and other.
    assert len(set(told["ar"]["said"][:6])) == 6


def test_a_region_speaks_its_language_and_an_unknown_language_english(told: dict[str, Any]) -> None:
    assert told["pt-BR"] == {"tag": "pt", "direction": "ltr"}
    assert told["de-AT"] == {"tag": "de", "direction": "ltr"}
    assert told["ar"]["direction"] == "rtl"
    # Its direction is the page's own affair.
    assert told["sv"] == told["zh-Hant-TW"] == {"tag": "en", "direction": None}
