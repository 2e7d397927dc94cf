"""Writes what is told of the rules: ``python -m services.router.rules``.

``clients/rules.json`` is for publishers' clients, and the AsyncAPI document is what the realtime service serves.
"""

import json
from pathlib import Path
from typing import Any

from services.router.rules.asyncapi import asyncapi
from services.router.rules.document import rules

_ROOT = Path(__file__).parents[3]
RULES = _ROOT / "clients" / "rules.json"
ASYNCAPI = _ROOT / "services" / "realtime" / "http" / "asyncapi.json"


def text_of(document: dict[str, Any]) -> str:
    """Write a document as it stands in its file."""
    return json.dumps(document, indent=1) + "\n"


def main() -> None:
    """Write the files."""
    RULES.write_text(text_of(rules()))
    ASYNCAPI.write_text(text_of(asyncapi()))


if __name__ == "__main__":
    main()
