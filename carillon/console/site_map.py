"""The pages of the console, in the order of the navigation. A new page is one line here."""

from carillon.console.page import Page
from carillon.console.pages import (
    audit,
    categories,
    changes,
    dead_letters,
    find,
    incidents,
    now,
    oncall,
    people,
    providers,
    publishers,
    silences,
    trace,
)

PAGES: tuple[Page, ...] = (
    *now.PAGES,
    *incidents.PAGES,
    *oncall.PAGES,
    *providers.PAGES,
    *silences.PAGES,
    *find.PAGES,
    *trace.PAGES,
    *people.PAGES,
    *dead_letters.PAGES,
    *categories.PAGES,
    *publishers.PAGES,
    *audit.PAGES,
    *changes.PAGES,
)  # fmt: skip
