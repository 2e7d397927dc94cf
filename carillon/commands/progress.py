"""How far a command is: one line on standard error, only where somebody is looking."""

import sys

import click


class ProgressLine:
    """A line that is written over and over; on anything but a terminal, nothing."""

    def __init__(self) -> None:
        self._width = 0
        self._seen = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Put this text in place of the last one."""
        if self._seen:
            click.echo("\r" + text.ljust(self._width), err=True, nl=False)
            self._width = len(text)

    def clear(self) -> None:
        """Leave an empty line, so that something else can be printed."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", err=True, nl=False)
            self._width = 0
