"""Writes the rules into the file that clients copy: ``python -m services.router.rules``."""

import json
from pathlib import Path
from typing import Any

from services.router.rules.document import rules

RULES = Path(__file__).parents[3] / "clients" / "rules.json"


def text_of(document: dict[str, Any]) -> str:
    """Write a document as it stands in its file."""
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def main() -> None:
    """Write the files."""
    RULES.write_text(text_of(rules()))


if __name__ == "__main__":
    main()
