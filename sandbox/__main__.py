"""`python -m sandbox`: run the sandbox providers until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from sandbox.server import Options, running

_log = logging.getLogger("sandbox")


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if isinstance(record.args, dict):
            line |= record.args
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def main() -> None:
    """Parse the command line and run."""
    options = _options()
    _log_json_lines()
    try:
        asyncio.run(_run(options))
    except OSError as error:
        _log.error("The sandbox cannot run: %s", error.strerror or type(error).__name__)
        sys.exit(1)


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(options) as sandbox:
        ports = {
            "http_port": sandbox.addresses.http_port,
            "smtp_port": sandbox.addresses.smtp_port,
            "apns_port": sandbox.addresses.apns_port,
        }
        _log.info("The sandbox is ready.", ports)
        await stop.wait()


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="SMTP, Twilio, APNs, FCM and Web Push servers that keep what they got and show it on a page.",
        epilog="DIR/sandbox.json appears with the ports when all of them answer. A port of 0 means any free one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", default=argparse.SUPPRESS,
        help="folder for keys, certificates and accounts; made at the first start and used again",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--name", metavar="HOST", help="host name by which senders reach it")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="take keys and accounts from this prepared folder")
    parser.add_argument("--http-port", type=_port, default=8025, metavar="PORT", help="page, Twilio, FCM, Web Push")
    parser.add_argument("--smtp-port", type=_port, default=1025, metavar="PORT", help="SMTP")
    parser.add_argument("--apns-port", type=_port, default=2197, metavar="PORT", help="APNs")
    parser.add_argument("--smtp-user", metavar="USER", help="require STARTTLS and this user for SMTP")
    parser.add_argument("--smtp-password", metavar="PASSWORD", help="that user's password")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="append every effect here before it is answered")
    parser.add_argument("--sms-inbound-url", metavar="URL", help="where POST /twilio/inbound hands messages over")
    arguments = parser.parse_args()
    if (arguments.smtp_user is None) != (arguments.smtp_password is None):
        parser.error("--smtp-user and --smtp-password go together")
    return Options(**vars(arguments))


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def _log_json_lines() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # aiosmtpd logs peers and addresses, and warns of its own internals at every login.
    for name in ("mail.log", "mail.debug"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
