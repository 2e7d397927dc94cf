"""The pages of the console, in the order of the navigation. A new page is one line here."""

from carillon.console.page import Page
from carillon.console.pages import audit, categories, changes, find, incidents, now, oncall, publishers, silences, trace

PAGES: tuple[Page, ...] = (
    *now.PAGES,
    *incidents.PAGES,
    *oncall.PAGES,
    *silences.PAGES,
    *find.PAGES,
    *trace.PAGES,
    *categories.PAGES,
    *publishers.PAGES,
    *audit.PAGES,
    *changes.PAGES,
)  # fmt: skip
