"""Prometheus' own tool, as the tests use it."""

import subprocess
from pathlib import Path

from tests.conftest import need


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    """Run promtool on a machine that has it, and return what it printed.

    Raises:
        AssertionError: it found a fault; the text is what it printed.
    """
    need("promtool")
    command = ["promtool", *map(str, arguments)]
    ended = subprocess.run(command, input=given, capture_output=True, check=False, timeout=60)  # noqa: S603
    printed = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 0, printed
    return printed
