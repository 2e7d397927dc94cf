"""Writes what is told of the rules: ``python -m services.router.rules``.

``clients/rules.json`` is for publishers' clients, the AsyncAPI document is what the realtime service serves, and the
reference is a page of the docs.
"""

import json
from pathlib import Path
from typing import Any

from services.router.rules.asyncapi import asyncapi
from services.router.rules.document import rules
from services.router.rules.reference import reference

_ROOT = Path(__file__).parents[3]
RULES = _ROOT / "clients" / "rules.json"
ASYNCAPI = _ROOT / "services" / "realtime" / "http" / "asyncapi.json"
REFERENCE = _ROOT / "docs" / "reference" / "topics.md"


def text_of(document: dict[str, Any]) -> str:
    """Write a document as it stands in its file."""
    return json.dumps(document, indent=1) + "\n"


def files() -> dict[Path, str]:
    """Return what each file should hold."""
    document = asyncapi()
    return {RULES: text_of(rules()), ASYNCAPI: text_of(document), REFERENCE: reference(document)}


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
