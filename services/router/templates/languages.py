"""Which of a template's languages a reader gets, and how dates and numbers are written in it: pure functions."""

from collections.abc import Collection, Iterator

from babel import Locale, UnknownLocaleError


def best(wanted: str | None, available: Collection[str], default: str) -> str:
    """Choose a language: fr-CA is served by fr-CA, else by fr, else by the default.

    Args:
        wanted: a language tag (RFC 5646) in any case; None for a reader of whom nothing is known.
        available: tags as the template's folders are named.
    """
    folders = {tag.lower(): tag for tag in available}
    return next((folders[tag] for tag in _shorter_and_shorter(wanted or "") if tag in folders), default)


def writing(wanted: str | None, language: str) -> Locale:
    """Return the locale whose dates and numbers go with a text of this language.

    A reader of fr-CA gets a Canadian date in a French text. One who wanted German and gets the English text reads
    English dates in it, because a text in two languages helps nobody.
    """
    own = locale_of(wanted) if wanted and language.lower() in _shorter_and_shorter(wanted) else None
    found = own or locale_of(language)
    if found is None:
        raise ValueError("not a language that dates and numbers are known of")
    return found


def locale_of(tag: str) -> Locale | None:
    """Return what Babel knows of a language tag, without the parts that it does not know; None for nothing."""
    for shorter in _shorter_and_shorter(tag):
        try:
            return Locale.parse(shorter, sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return None


def _shorter_and_shorter(tag: str) -> Iterator[str]:
    # RFC 4647, 3.4, "Lookup".
    parts = tag.lower().replace("_", "-").split("-")
    for end in range(len(parts), 0, -1):
        yield "-".join(parts[:end])
