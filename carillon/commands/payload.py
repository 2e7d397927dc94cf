"""A payload as it is typed: the text itself, a file's, or what comes on standard input."""

import sys
from pathlib import Path

import click


def read_payload(typed: str) -> bytes:
    """Read a payload.

    Args:
        typed: the text; or ``@FILE``, or ``-`` for standard input.

    Raises:
        click.UsageError: the file cannot be read.
    """
    if typed == "-":
        return sys.stdin.buffer.read()
    if typed.startswith("@"):
        try:
            return Path(typed[1:]).read_bytes()
        except OSError as error:
            raise click.UsageError(f"{typed[1:]} cannot be read ({error.strerror})") from None
    # Bytes that are no text were typed as they are: whoever reads the payload says what is wrong with it.
    return typed.encode(errors="surrogateescape")
