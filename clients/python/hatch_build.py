"""Puts the rules of the payloads into what is built; the repository keeps them once, for every client."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RulesHook(BuildHookInterface[Any]):
    """Copies ``clients/rules.json``. A wheel that is built from the source distribution finds the copy in it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Add the file."""
        shared = Path(self.root).parent / "rules.json"
        if shared.is_file():
            within = "src/carillon_publisher" if self.target_name == "sdist" else "carillon_publisher"
            build_data["force_include"][str(shared)] = f"{within}/rules.json"
