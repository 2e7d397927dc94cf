"""Runs the console until it is told to end.

A request in hand at the end gets a few seconds. Streams of live pages end at once; their pages connect again.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from shared.core.errors import ConfigError

SHUTDOWN_S = 5.0


async def serve(
    application: web.Application, host: str, port: int, listening: Callable[[int], Awaitable[None]]
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        port: 0 for any free one.
        listening: is told the port.

    Raises:
        ConfigError: the port cannot be had.
    """
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(each, told_to_end.set)
    # No access log: paths and queries name people.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"--port: cannot listen on {host}:{port} ({error.strerror})") from None
        await listening(int(runner.addresses[0][1]))
        await told_to_end.wait()
    finally:
        await runner.cleanup()
