"""Logs: one JSON object per line on stdout, or readable lines on a terminal.

Fields are given with ``extra=``; what is put there is printed. So: ids, words from fixed lists, numbers and times,
never a title, a body, an address, a token or a URL with a key.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# Kept, because json.dumps makes one for every call with options.
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)

_LEVEL_MARKS = {"DEBUG": "·", "INFO": " ", "WARNING": "!", "ERROR": "✗", "CRITICAL": "✗"}


def configure(level: str, style: Literal["json", "console"], service: str) -> None:
    """Send all logs of this process to stdout.

    Args:
        service: the word that stands in each line's ``service`` field.
    """
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(_JsonLines(service) if style == "json" else _ReadableLines(service))
    logging.basicConfig(level=level, handlers=[output], force=True)
    # What stands in no line is not looked for, which would take as long as writing one (Logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Libraries that log addresses or one line per request below WARNING.
    for name in ("mqtt", "twilio", "aiohttp.access", "asyncio", "aioapns", "google", "urllib3", "mail.log"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


class _JsonLines(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one JSON line."""
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return _ENCODER.encode(entry)


class _ReadableLines(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Write one record for a person."""
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items() if value not in ("", None))
        mark = _LEVEL_MARKS.get(record.levelname, " ")
        line = f"{moment} {mark} {self._service:<8} {record.getMessage()}  {extras}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
