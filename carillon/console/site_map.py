"""The pages of the console, in the order of the navigation. A new page is one line here."""

from carillon.console.page import Page
from carillon.console.pages import now

PAGES: tuple[Page, ...] = (
    *now.PAGES,
)  # fmt: skip
