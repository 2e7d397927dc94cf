"""The pages behind the links of mails and pushes: a few words and at most one button.

Promises that nothing runs on them, nothing is loaded, and nobody may frame the button. They can be read at night on a
telephone.
"""

import base64
import hashlib
from html import escape

from aiohttp import web

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{margin:0;padding:8vh 20px 24px;font:17px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}"
    "main{max-width:32em;margin:0 auto}"
    "h1{font-size:1.4em;line-height:1.25;margin:0 0 .6em}"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:4px 16px;margin:1.2em 0}"
    "dt{opacity:.75}"
    "dd{margin:0}"
    ".said{white-space:pre-line}"
    ".state{font-weight:600}"
    "button{display:block;width:100%;min-height:64px;margin:24px 0;padding:12px 20px;border:0;border-radius:12px;"
    "font:inherit;font-size:1.15em;font-weight:600;color:#fff;background:#1d4ed8;cursor:pointer}"
    # However long the text is, the button stays in sight.
    ".urgent{position:sticky;bottom:0;padding:16px 0;background:Canvas}"
    ".urgent button{margin:0;background:#b91c1c}"
    "button:focus-visible{outline:3px solid currentColor;outline-offset:3px}"
)
_URGENT = ' class="urgent"'
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def button(label: str, *, urgent: bool = False) -> str:
    """Write a form with one button. Without an action it goes to the page's own address, token included."""
    return f'<form method="post"{_URGENT if urgent else ""}><button>{escape(label)}</button></form>'


def paragraph(text: str, kind: str = "") -> str:
    """Write a paragraph; ``kind`` is a class of the style."""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<p dir="auto"{of_kind}>{escape(text)}</p>'


def page(title: str, *parts: str, status: int = 200) -> web.Response:
    """Answer with a page.

    Args:
        title: a text, which is escaped here.
        parts: HTML.
    """
    body = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">\n'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style></head>\n"
        f'<body><main><h1 dir="auto">{escape(title)}</h1>{"".join(parts)}</main></body></html>\n'
    )
    headers = {"Content-Security-Policy": _POLICY}
    return web.Response(text=body, status=status, content_type="text/html", charset="utf-8", headers=headers)
