"""The dashboards for a Prometheus without Grafana: a page whose links open panels in its expression browser.

Prometheus serves it from its folder of console templates, as /consoles/carillon.html.
"""

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import urlencode

from deploy.monitoring.panels import BOARDS, Panel, filled_in
from shared.core.model import Channel

NAME = "carillon.html"
_RANGE = "1h"
_GRAPH_TAB = "0"


def page() -> str:
    """Write the page."""
    sections = []
    for name, panels in BOARDS.items():
        title = name.replace("-", " ").capitalize()
        if any("$channel" in expression for panel in panels for expression, _ in panel.queries):
            sections += [_section(f"{title} {channel}", panels, channel) for channel in Channel]
        else:
            sections.append(_section(title, panels))
    # Relative addresses, because a Prometheus may be served below a path.
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Carillon</title></head>\n<body>\n'
        "<h1>Carillon</h1>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def graph(expressions: Iterable[str]) -> str:
    """Return the address of the expression browser with one graph for each expression, at most ten.

    The browser that Debian's Prometheus has puts an eleventh one in a wrong place and leaves others out.
    """
    parameters: dict[str, str] = {}
    for number, expression in enumerate(expressions):
        parameters |= {
            f"g{number}.expr": expression,
            f"g{number}.tab": _GRAPH_TAB,
            f"g{number}.range_input": _RANGE,
        }
    return f"../graph?{urlencode(parameters)}"


def _section(title: str, panels: Sequence[Panel], channel: str = "") -> str:
    asked = [[filled_in(expression, channel) for expression, _ in panel.queries] for panel in panels]
    rows = [
        f'<li><a href="{escape(graph(expressions))}">{escape(panel.title)}</a>: {escape(panel.good)}</li>'
        for panel, expressions in zip(panels, asked, strict=True)
    ]
    # All panels at once, each with the first of its lines.
    whole = f'<a href="{escape(graph(first for first, *_ in asked))}">{escape(title)}</a>'
    return "\n".join([f"<h2>{whole}</h2>", "<ul>", *rows, "</ul>"])
