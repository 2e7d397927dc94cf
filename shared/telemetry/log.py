"""Logs: one JSON object per line on stdout, or readable lines on a terminal.

Fields are given with ``extra=``, and every field is printed. So a field is an id, a word from a fixed list, a number or
a time. It is never a title, a body, an address, a token or a URL with a key. The text of an exception may quote what
strangers wrote, where code reads their input. There, log ``frames``: it shows where the exception came from, without
its text.
"""

import io
import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

from aiohttp.http_exceptions import HttpProcessingError

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# Kept, because json.dumps makes one for every call with options.
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)

# The loggers of aiohttp's server side. Its errors quote request lines and headers, tokens and tickets among them.
_QUOTING = ("aiohttp.server", "aiohttp.web", "aiohttp.websocket", "aiohttp.internal")

_LEVEL_MARKS = {"DEBUG": "·", "INFO": " ", "WARNING": "!", "ERROR": "✗", "CRITICAL": "✗"}


def configure(level: str, style: Literal["json", "console"], service: str) -> None:
    """Send all logs of this process to stdout.

    Args:
        service: the word that stands in each line's ``service`` field.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A line with half a surrogate pair in it is written all the same, and not lost with a complaint that quotes it.
        sys.stdout.reconfigure(errors="backslashreplace")
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(_JsonLines(service) if style == "json" else _ReadableLines(service))
    logging.basicConfig(level=level, handlers=[output], force=True)
    # What stands in no line is not looked for, which would take as long as writing one (Logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # Libraries that log addresses or one line per request below WARNING.
    for name in ("mqtt", "twilio", "aiohttp.access", "asyncio", "aioapns", "google", "urllib3", "mail.log"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for name in _QUOTING:
        logging.getLogger(name).addFilter(_without_quotes)


def frames(error: BaseException) -> str:
    """Write where an exception came from, and those behind it: like a traceback, without their texts."""
    lines: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        lines = [*traceback.format_tb(cause.__traceback__), type(cause).__name__ + "\n", *lines]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "".join(lines).rstrip()


def _without_quotes(record: logging.LogRecord) -> bool:
    """Take out of a record whatever may repeat a request; False drops the record."""
    error = record.exc_info[1] if record.exc_info else None
    record.args, record.exc_info, record.exc_text = (), None, None
    # Without an error it warns of a client alone: of the languages or the cookies that one named.
    if isinstance(error, HttpProcessingError) or (error is None and record.levelno == logging.WARNING):
        # Anybody can send what is no request, as often as he likes: that is no error of ours.
        record.msg = "request not understood"
        record.levelno, record.levelname = logging.INFO, "INFO"
    else:
        record.msg = "HTTP server failed"
        record.exc_text = frames(error) if error is not None else None
    if error is not None:
        record.error = type(error).__name__
    return record.levelno >= logging.getLogger().level


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")


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
        if where := _traceback(self, record):
            entry["traceback"] = where
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
        if where := _traceback(self, record):
            line += "\n" + where
        return line
