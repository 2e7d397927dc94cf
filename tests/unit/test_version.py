"""The version is written in one place, and what must repeat it says the same; test_manifests has the manifests."""

import re
import subprocess
import sys

from carillon.local.servers import ROOT
from carillon.version import VERSION


def test_the_command_line_says_it() -> None:
    ran = subprocess.run([sys.executable, "-m", "carillon", "--version"], cwd=ROOT, capture_output=True, check=True)
    assert ran.stdout.decode() == f"carillon {VERSION}\n"


def test_an_image_says_it_where_its_builder_does_not() -> None:
    assert f"\nARG VERSION={VERSION}\n" in (ROOT / "Dockerfile").read_text()


def test_the_changelog_begins_with_it_after_what_is_unreleased() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d", headings[1])
