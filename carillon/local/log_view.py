"""The logs of several processes as one stream: the services' JSON lines in a form for people.

Promises that a line that is not JSON is shown as it is. The files stay bounded: a file that is too long is emptied once
it was read to its end. Lines of different processes are only in order between two polls, not within one.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

_FILE_LIMIT_BYTES = 32 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_NAME_WIDTH = 9
# Shown in their own columns, or useless to a person.
_OWN_COLUMN = frozenset({"at", "level", "service", "logger", "event", "exception", "traceback"})
_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_LEVEL_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m", "debug": _DIM}
_NAME_COLOURS = ("\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[32m", "\x1b[33m", "\x1b[96m")


class LogView:
    """Follows log files from where they end now."""

    def __init__(self, files: Sequence[tuple[str, Path]], *, colour: bool, as_json: bool = False) -> None:
        """Take the files to follow.

        Args:
            files: name and file of each process; a file may appear later.
            colour: whether the lines carry a terminal's colour codes.
            as_json: objects for a program instead, with the name as ``process``.
        """
        self._show = _as_json if as_json else self._readable
        self._files = files
        self._offsets = {path: path.stat().st_size if path.exists() else 0 for _, path in files}
        self._rests = dict.fromkeys(self._offsets, b"")
        self._colour = colour
        self._name_colours = {name: _NAME_COLOURS[n % len(_NAME_COLOURS)] for n, (name, _) in enumerate(files)}

    def news(self) -> Iterator[str]:
        """Yield the lines that came since the last call."""
        for name, path in self._files:
            for line in self._complete_lines(path):
                yield self._show(name, line)

    def _complete_lines(self, path: Path) -> list[str]:
        if not path.exists():
            return []
        size = path.stat().st_size
        if size < self._offsets[path]:  # Somebody else emptied the file.
            self._offsets[path], self._rests[path] = 0, b""
        with path.open("r+b") as file:
            file.seek(self._offsets[path])
            fresh = file.read(_READ_BYTES)
            self._offsets[path] += len(fresh)
            # The writers append, so that the next line lands at the beginning.
            if self._offsets[path] == size and size > _FILE_LIMIT_BYTES:
                file.truncate(0)
                self._offsets[path] = 0
        *lines, self._rests[path] = (self._rests[path] + fresh).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _readable(self, name: str, line: str) -> str:
        column = self._paint(f"{name:<{_NAME_WIDTH}}", self._name_colours[name])
        try:
            entry = json.loads(line)
            moment = datetime.fromisoformat(entry["at"]).astimezone().strftime("%H:%M:%S")
            event, level = str(entry["event"]), str(entry["level"])
        except (ValueError, KeyError, TypeError):
            return f"{'':8} {column} {line}"
        if "delivery_id" in entry:
            # It begins with the notification's.
            entry.pop("notification_id", None)
        more = " ".join(
            f"{key}={value}" for key, value in entry.items() if key not in _OWN_COLUMN and value not in ("", None)
        )
        text = self._paint(event, _LEVEL_COLOURS.get(level, "")) + (f"  {self._paint(more, _DIM)}" if more else "")
        trace = str(entry.get("traceback") or entry.get("exception") or "")
        return f"{self._paint(moment, _DIM)} {column} {text}" + (f"\n{trace}" if trace else "")

    def _paint(self, text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if self._colour and code and text else text


def _as_json(name: str, line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    return json.dumps({"process": name, **(entry if isinstance(entry, dict) else {"message": line})})


def heading(text: str, *, colour: bool) -> str:
    """Return a line that stands out from the others."""
    return f"{_BOLD}{text}{_RESET}" if colour else text
