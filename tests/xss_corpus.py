"""Texts that have made pages run injected scripts: combinations of vectors, and single known ones.

Each calls ``xss()`` in its own way. A page that shows them as text shows them all and never calls it.
"""

from html import escape
from itertools import product
from urllib.parse import quote

_CALL = "xss()"

# Elements and what makes each of them run a handler without anybody's help, or with a click or a pointer.
_ELEMENTS = (
    "img src=x", "image src=x", "svg", "body", "video src=x", "audio src=x", "video><source src=x", "input autofocus",
    "select autofocus", "textarea autofocus", "button autofocus", "details open", "marquee", "iframe src=x",
    "object data=x", "embed src=x", "a href=# autofocus tabindex=1", "div contenteditable autofocus", "math href=x",
    "x tabindex=1 autofocus", "script src=x", "link rel=stylesheet href=x", "style", "form", "dialog open",
    "custom-element",
)  # fmt: skip
_HANDLERS = ("onerror", "onload", "onfocus", "ontoggle", "onstart", "onclick", "onpointerover", "onanimationstart")

# What ends the context that a text was put into: attribute, element, comment, script, style.
_BREAKS = (
    '"', "'", '">', "'>", "`>", "</script>", "</style>", "</title>", "</textarea>", "</noscript>", "</template>",
    "</svg>", "</select>", "</xmp>", "</iframe>", "-->", "--!>", "]]>", "?>", "*/", "\\", '\\"', "';", '";', "`;", "${",
    "</p><p>", "\n\n", "\u2028", "%0a", "/*", "//", "<!--", "<![CDATA[",
)  # fmt: skip
_CORES = (
    f"<script>{_CALL}</script>",
    f"<img src=x onerror={_CALL}>",
    f"<svg/onload={_CALL}>",
    f" onmouseover={_CALL} x=",
    f"{_CALL}//",
)

_ADDRESSES = (
    f"javascript:{_CALL}", f"JaVaScRiPt:{_CALL}", f" javascript:{_CALL}", f"java\tscript:{_CALL}",
    f"java\nscript:{_CALL}", f"javascript\n:{_CALL}", f"\u0001javascript:{_CALL}",
    f"javascript:/*--></title></style>*/{_CALL}",
    f"javascript://example.com/%0a{_CALL}", f"javascript&colon;{_CALL}", f"&#106;avascript:{_CALL}",
    f"jav&#x09;ascript:{_CALL}", f"vbscript:{_CALL}", f"livescript:{_CALL}", f"data:text/html,<script>{_CALL}</script>",
    f"data:text/html;base64,PHNjcmlwdD54c3MoKTwvc2NyaXB0Pg==#{_CALL}", f"data:image/svg+xml,<svg onload={_CALL}>",
    f"data:text/javascript,{_CALL}", f"blob:https://example.com/{_CALL}", f"view-source:javascript:{_CALL}",
    f"filesystem:javascript:{_CALL}", f"//javascript:{_CALL}@x", f"https:javascript:{_CALL}",
    f"feed:javascript:{_CALL}",
)  # fmt: skip
_CARRIERS = (
    "{}", '<a href="{}">x</a>', '<iframe src="{}">', '<form action="{}"><input type=submit>', '<object data="{}">',
    '<embed src="{}">', '<svg><use href="{}"/></svg>', '<meta http-equiv=refresh content="0;url={}">',
    '<base href="{}">', '<script src="{}"></script>', "[x]({})", "<{}>",
)  # fmt: skip

_KNOWN = (
    # Mutations: the parser turns it into something else than was checked.
    f'<noscript><p title="</noscript><img src=x onerror={_CALL}>">',
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror={_CALL}&gt;'>",
    f"<svg></p><style><a id='</style><img src=x onerror={_CALL}>'>",
    f"<form><math><mtext></form><form><mglyph><style></math><img src=x onerror={_CALL}>",
    f"<listing>&lt;img src=x onerror={_CALL}&gt;</listing>",
    f"<xmp><p title='</xmp><img src=x onerror={_CALL}>'>",
    f"<template><img src=x onerror={_CALL}></template>",
    f"<select><template><img src=x onerror={_CALL}></template></select>",
    f"<div><template shadowrootmode=open><img src=x onerror={_CALL}></template></div>",
    # Animation and references in SVG.
    f"<svg><animate onbegin={_CALL} attributeName=x dur=1s>",
    f"<svg><set onbegin={_CALL} attributeName=x to=1>",
    f"<svg><a><animate attributeName=href values=javascript:{_CALL} /><text x=9 y=9>x</text></a>",
    f"<svg><script href=data:,{_CALL} />",
    f"<svg><foreignObject><iframe srcdoc='<script>parent.{_CALL}</script>'>",
    "<svg><script>xss&lpar;&rpar;</script>",
    # Documents inside the document.
    f"<iframe srcdoc='<script>parent.{_CALL}</script>'>",
    f'<iframe srcdoc="&lt;img src&equals;x onerror&equals;parent.{_CALL}&gt;">',
    f"<object type=text/html data='data:text/html,<script>{_CALL}</script>'>",
    # Style sheets.
    f"<style>@keyframes x{{}}</style><p style='animation:x' onanimationstart={_CALL}>",
    f"<p style='background:url(javascript:{_CALL})'>",
    f"<p style='width:expression({_CALL})'>",
    f"<link rel=stylesheet href='data:text/css,*{{x:expression({_CALL})}}'>",
    f"<style>@import 'javascript:{_CALL}';</style>",
    # Templates of frameworks and servers.
    "{{constructor.constructor('xss()')()}}",
    "{{$on.constructor('xss()')()}}",
    "{{_openBlock.constructor('xss()')()}}",
    "${xss()}",
    "#{xss()}",
    "<%= xss() %>",
    "[[${xss()}]]",
    f"<p v-html=\"'<img src=x onerror={_CALL}>'\">",
    "<p ng-app ng-csp><input autofocus ng-focus=$event.composedPath()|orderBy:'xss()'>",
    "<p x-data x-init=xss()>",
    "<button hx-on:click=xss()>x</button>",
    # Prototypes and clobbered names.
    "__proto__",
    "constructor",
    '<form id=document><input name=body><img name=innerHTML id=x>',
    f"<a id=defaultView href=javascript:{_CALL}>",
    # Directions, joiners and bytes that hide what follows.
    f"\u202e<img src=x onerror={_CALL}>",
    f"\u200b<script>{_CALL}</script>",
    f"\ufeff<script>{_CALL}</script>",
    "+ADw-script+AD4-xss()+ADw-/script+AD4-",
    "\uff1cscript\uff1exss()\uff1c/script\uff1e",
    # One text for many contexts (github.com/0xsobky/HackVault, "Unleashing an Ultimate XSS Polyglot").
    ("jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=xss() )//%0D%0A%0d%0a//</stYle/</titLe/</teXtarEa/</scRipt/--!>"
    "\\x3csVg/<sVg/oNloAd=xss()//>\\x3e"),
    "'\"><script>xss()</script><img src=x onerror=xss()>{{7*7}}${7*7}<!--",
)  # fmt: skip


def _encoded(text: str) -> tuple[str, ...]:
    """Say the same in the encodings that something on the way may undo."""
    return (
        escape(text),
        escape(escape(text)),
        quote(text),
        quote(quote(text)),
        "".join(f"&#{ord(letter)};" for letter in text),
        "".join(f"&#x{ord(letter):x}" for letter in text),
        "".join(f"\\u{ord(letter):04x}" for letter in text),
        "".join(f"\\x{ord(letter):02x}" for letter in text),
        text.upper().replace("XSS()", _CALL),
        text.replace(" ", "/"),
        text.replace(" ", "\f"),
        text.replace("<", "<\n"),
        text.replace("<", "< "),
        text.replace("<", "%00<"),
    )


def corpus() -> tuple[str, ...]:
    """Return all texts, each once, in a fixed order."""
    texts = [f"<{element} {handler}={_CALL}>" for element, handler in product(_ELEMENTS, _HANDLERS)]
    texts += [f"{before}{core}" for before, core in product(_BREAKS, _CORES)]
    texts += [carrier.format(address) for carrier, address in product(_CARRIERS, _ADDRESSES)]
    texts += [form for core in _CORES for form in _encoded(core)]
    texts += _KNOWN
    return tuple(dict.fromkeys(texts))
