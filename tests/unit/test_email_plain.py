"""The text version of HTML that would be huge as text: made at all, and in the memory of a small pod."""

import subprocess
import sys

import pytest

from services.email.plain import text_of

# What the process may have beside what it needs to start: a pod has 256 MiB in all.
MEMORY = 100 * 1024 * 1024
WITHIN_S = 20

ROW = "<table><tr><td>{}</td><td>{}</td></tr></table>"
LONG = "y" * 30_000
HUGE = {
    "one long line beside many short ones": ROW.format("a<br>" * 5_000, LONG),
    "one long cell above many rows": f"<table><tr><td>{LONG}</td></tr>{'<tr><td>x</td></tr>' * 1_500}</table>",
    "many columns beside many lines": ROW.format("a<br>" * 5_000, "x</td><td>" * 1_000),
    "many rows below many columns": f"<table><tr>{'<td>x' * 6_000}</tr>{'<tr><td>x' * 6_000}</table>",
    "tables within tables": "<table><tr><td>" * 60 + "a<br>" * 5_000 + "</td></tr></table>" * 60,
    "cells that stand in no row": "<table><div><td>" + "a<br>" * 5_000 + f"</td><td>{LONG}</td></div></table>",
    "a row within something else": ROW.format("<x></td></x>" + "a<br>" * 5_000, LONG),
    "lists within lists": "<ul><li>" * 120 + "a<br>" * 5_000 + "</li></ul>" * 120,
    "preformatted lines": ROW.format("<pre>" + "a\n" * 9_000 + "</pre>", LONG),
    "preformatted by its style": ROW.format('<p style="white-space: pre">' + "a\n" * 9_000 + "</p>", LONG),
    "a long address": ROW.format("a<br>" * 5_000, f'<a href="https://example.com/{LONG}">a</a>'),
    "margins": '<p style="margin-top:99999em">a</p>' * 1_500,
    "indents": '<div style="padding-left:99999em">' + "a<br>" * 8_000,
    "a megabyte of elements": "<b>a</b>" * 150_000,
    "a megabyte of marks": "<script <" * 120_000 + "</script>a",
}

PROGRAM = """
import resource, sys
from services.email.plain import text_of
html = sys.stdin.read()
with open("/proc/self/statm") as pages:
    size = int(pages.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {memory}, size + {memory}))
text = text_of(html)
assert "a" in text or "x" in text
assert len(text) <= 3 * len(html), len(text)
"""


@pytest.mark.parametrize("what", HUGE)
def test_html_that_would_be_huge_as_text_takes_little_memory(what: str) -> None:
    program = PROGRAM.format(memory=MEMORY)
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], input=HUGE[what], capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "html",
    [
        f'<p style="margin-top:{"9" * 400}em">words</p>',
        f'<p style="{"style:" * 5_000}">words</p>',
        f'<ol><li value="{"9" * 5_000}">words</ol>',
        '<ol><li value="²">words</ol>',
        '<?xml version="1.0" encoding="utf-8"?><p>words</p>',
        "<div>" * 20_000 + "words",
        "<table><tr><td>" * 240 + "words",
        "<style>p { color: red }</style>" + "<b>" * 5_000 + "words<script>unread()</script>",
    ],
)
def test_html_that_is_hard_to_read_has_its_words_all_the_same(html: str) -> None:
    text = text_of(html)
    assert "words" in text
    assert "red" not in text
    assert "unread" not in text


def test_what_is_hidden_stays_hidden() -> None:
    assert text_of('<p style="color: red; DISPLAY: none; margin: 0">hidden</p><p>shown</p>') == "shown"


def test_ordinary_tables_are_laid_out() -> None:
    html = "<table><tr><td>apples</td><td>3</td></tr><tr><td>figs</td><td>12</td></tr></table>"
    assert text_of(html) == "apples  3\nfigs    12"


def test_a_newsletter_of_nested_tables_is_laid_out() -> None:
    row = "<tr><td>" + "A sentence of a newsletter, as long as they are. " * 3 + "</td><td>beside it</td></tr>"
    html = "<table><tr><td>" * 8 + "<table>" + row * 150 + "</table>" + "</td></tr></table>" * 8
    assert text_of(html).splitlines() == ["A sentence of a newsletter, as long as they are. " * 3 + " beside it"] * 150
