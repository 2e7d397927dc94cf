"""A digest without a template: a plain list in the reader's language.

The forms of plurals are those of CLDR, by Babel. A reader of another language gets English.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from babel import Locale
from babel.plural import PluralRule

from services.router.templates import languages
from services.router.templates.texts import Texts

_DEFAULT = "en"
_LINE = "• "


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of one language: by CLDR's form of plural, with ``{count}`` and ``{category}``.

    Attributes:
        title: how many there are, and of what.
        more: how many are not shown.
    """

    title: Mapping[str, str]
    more: Mapping[str, str]


_WORDS: Mapping[str, _Words] = {
    "en": _Words(
        {"one": "{category}: {count} new", "other": "{category}: {count} new"},
        {"one": "and {count} more", "other": "and {count} more"},
    ),
    "de": _Words(
        {"one": "{category}: {count} neue Nachricht", "other": "{category}: {count} neue Nachrichten"},
        {"one": "und {count} weitere", "other": "und {count} weitere"},
    ),
    "fr": _Words(
        {"one": "{category} : {count} nouveauté", "other": "{category} : {count} nouveautés"},
        {"one": "et {count} autre", "other": "et {count} autres"},
    ),
    "es": _Words(
        {"one": "{category}: {count} novedad", "other": "{category}: {count} novedades"},
        {"one": "y {count} más", "other": "y {count} más"},
    ),
    "it": _Words(
        {"one": "{category}: {count} novità", "other": "{category}: {count} novità"},
        {"one": "e {count} altra", "other": "e altre {count}"},
    ),
    "pt": _Words(
        {"one": "{category}: {count} novidade", "other": "{category}: {count} novidades"},
        {"one": "e mais {count}", "other": "e mais {count}"},
    ),
    "nl": _Words(
        {"one": "{category}: {count} nieuw bericht", "other": "{category}: {count} nieuwe berichten"},
        {"one": "en nog {count}", "other": "en nog {count}"},
    ),
    "pl": _Words(
        {
            "one": "{category}: {count} nowe powiadomienie",
            "few": "{category}: {count} nowe powiadomienia",
            "many": "{category}: {count} nowych powiadomień",
            "other": "{category}: {count} nowego powiadomienia",
        },
        {"one": "i {count} więcej", "few": "i {count} więcej", "many": "i {count} więcej", "other": "i {count} więcej"},
    ),
    "ja": _Words({"other": "{category}: 新着{count}件"}, {"other": "ほか{count}件"}),
    "ar": _Words(
        {
            "zero": "{category}: لا جديد",
            "one": "{category}: إشعار واحد جديد",
            "two": "{category}: إشعاران جديدان",
            "few": "{category}: {count} إشعارات جديدة",
            "many": "{category}: {count} إشعارًا جديدًا",
            "other": "{category}: {count} إشعار جديد",
        },
        {
            "zero": "ولا شيء آخر", "one": "وواحد آخر", "two": "واثنان آخران", "few": "و{count} أخرى",
            "many": "و{count} أخرى", "other": "و{count} أخرى",
        },
    ),
}  # fmt: skip


def plain_list(category: str, count: int, items: Sequence[Mapping[str, Any]], locale: str | None) -> Texts:
    """Write a digest: how many there are, and the newest, one on a line.

    Args:
        category: its title.
        items: those that are shown, the oldest first.
        locale: the reader's language tag.
    """
    language = languages.best(locale, _WORDS, _DEFAULT)
    words, plural = _WORDS[language], _plural_form(language)
    title = words.title.get(plural(count), words.title["other"]).format(count=count, category=category)
    lines = [_line(item) for item in items]
    more = count - len(items)
    if more > 0:
        lines.append(words.more.get(plural(more), words.more["other"]).format(count=more))
    return Texts(title, "\n".join(lines) or title)


@cache
def _plural_form(language: str) -> PluralRule:
    # Reading a locale takes longer than all the rest of a list.
    return Locale.parse(language).plural_form


def _line(item: Mapping[str, Any]) -> str:
    said = [" ".join(str(item.get(name, "")).split()) for name in ("title", "message")]
    return _LINE + ": ".join(text for text in said if text)
