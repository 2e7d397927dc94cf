"""The whole sandbox: all providers with one outbox and one script, in the running event loop.

Promises that sandbox.json appears when every port answers, and is removed when they stop. Stopping does not wait:
requests in hand are cut off.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from sandbox.apns import Apns
from sandbox.authority import server_context
from sandbox.credentials import READY_FILE, Credentials, point_fcm_at, prepare, take_keys
from sandbox.fcm import Fcm
from sandbox.files import write_private
from sandbox.http2 import http2_listener
from sandbox.journal import Journal
from sandbox.kept import Kept
from sandbox.ntfy import Ntfy
from sandbox.page import Page
from sandbox.script import Script
from sandbox.ses import Ses
from sandbox.smtp import Relay, smtp_listener
from sandbox.twilio import Twilio
from sandbox.twilio_calls import TwilioCalls
from sandbox.vonage import Vonage
from sandbox.webpush import WebPush

# Requests in hand at the end get this long. Nothing is lost that was answered.
_SHUTDOWN_S = 0.1
# Hosts that mean all addresses: a server can listen on them, a client cannot call them.
_EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # compared with, not listened on.


@dataclass(frozen=True, slots=True)
class Options:
    """How to run; a port of 0 means any free one.

    Attributes:
        name: under which host name senders reach it; None where they use the address that it listens on.
        keys: a folder with the files of a prepared one, which this run uses; None where it makes or has its own.
    """

    data: Path
    host: str = "127.0.0.1"
    name: str | None = None
    keys: Path | None = None
    http_port: int = 0
    smtp_port: int = 0
    apns_port: int = 0
    smtp_user: str | None = None
    smtp_password: str | None = None
    journal: Path | None = None
    sms_inbound_url: str | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the running sandbox is reached."""

    pid: int
    http_port: int
    smtp_port: int
    apns_port: int
    http_url: str
    smtp_url: str
    apns_url: str

    def as_json(self) -> dict[str, object]:
        """The content of sandbox.json."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running sandbox, for a caller that runs it in its own process."""

    addresses: Addresses
    credentials: Credentials
    kept: Kept
    script: Script


@asynccontextmanager
async def running(options: Options) -> AsyncIterator[Sandbox]:
    """Run the sandbox while the context lasts.

    Raises:
        OSError: a port is taken, or the data folder cannot be written.
    """
    ready_file = options.data / READY_FILE
    # A file that a killed sandbox left would say too early that this one is ready.
    ready_file.unlink(missing_ok=True)
    if options.keys is not None:
        take_keys(options.keys, options.data)
    credentials = prepare(options.data)
    async with AsyncExitStack() as stack:
        kept = Kept(await _journal(stack, options.journal) if options.journal else None)
        sandbox = await _start(stack, options, credentials, kept)
        write_private(ready_file, json.dumps(sandbox.addresses.as_json(), indent=2).encode())
        stack.callback(ready_file.unlink, missing_ok=True)
        yield sandbox


async def _journal(stack: AsyncExitStack, path: Path) -> Journal:
    journal = Journal(path)
    stack.callback(journal.close)
    writer = asyncio.get_running_loop().create_task(journal.run(), name="journal")

    async def stop() -> None:
        journal.stop()
        await writer

    stack.push_async_callback(stop)
    return journal


async def _start(stack: AsyncExitStack, options: Options, credentials: Credentials, kept: Kept) -> Sandbox:
    script = Script()
    host = options.name or ("127.0.0.1" if options.host in _EVERY_ADDRESS else options.host)
    url_host = f"[{host}]" if ":" in host else host
    with_tls = partial(server_context, credentials.ca_key_file, credentials.ca_file, host)

    smtp_tls = with_tls() if options.smtp_user is not None else None
    smtp = smtp_listener(Relay(kept, script, options.smtp_user, options.smtp_password), smtp_tls)
    smtp_port = await smtp.start(options.host, options.smtp_port)
    stack.push_async_callback(smtp.stop)

    apns = http2_listener(Apns(kept, script, credentials).handle, with_tls())
    apns_port = await apns.start(options.host, options.apns_port)
    stack.push_async_callback(apns.stop)

    # The HTTP providers name their own address in their answers, so the port is taken before they are made.
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.create_server((options.host, options.http_port), family=family, backlog=512)
    stack.callback(listener.close)
    http_port: int = listener.getsockname()[1]
    http_url = f"http://{url_host}:{http_port}"
    point_fcm_at(credentials, http_url)
    calls = TwilioCalls(credentials.twilio_token, options.sms_inbound_url)
    stack.push_async_callback(calls.close)
    application = web.Application()
    for part in (
        Twilio(kept, script, credentials, calls),
        Vonage(kept, script, credentials),
        Ses(kept, script, credentials),
        Fcm(kept, script, credentials),
        WebPush(kept, script, credentials, http_url),
        Ntfy(kept, script, credentials),
        Page(kept, script),
    ):
        application.add_routes(part.routes())
    # A handler that hangs by script ends when its client goes.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener).start()

    account = ""
    if options.smtp_user is not None:
        account = f"{quote(options.smtp_user, safe='')}:{quote(options.smtp_password or '', safe='')}@"
    addresses = Addresses(
        pid=os.getpid(),
        http_port=http_port,
        smtp_port=smtp_port,
        apns_port=apns_port,
        http_url=http_url,
        smtp_url=f"smtp://{account}{url_host}:{smtp_port}?tls={'starttls' if smtp_tls else 'none'}",
        apns_url=f"https://{url_host}:{apns_port}",
    )
    return Sandbox(addresses, credentials, kept, script)
