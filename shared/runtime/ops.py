"""The ops endpoint: is the process alive, is it ready, and what does it count.

Live means that the event loop turns; an answer shows it. Ready means that broker and store are reachable and the
service is not draining. Metrics are Prometheus text. A scrape runs the same checks as a readiness probe first, so that
the metrics are current in a process that has nothing to do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from shared.core.errors import CarillonError, ConfigError

# A probe that waits longer than the kubelet's own second would be a failure anyway.
CHECK_TIMEOUT_S = 0.9

Check = Callable[[], Awaitable[bool]]


@asynccontextmanager
async def serve_ops(host: str, port: int, checks: dict[str, Check]) -> AsyncIterator[int]:
    """Serve ``/healthz``, ``/readyz`` and ``/metrics`` while the context stands.

    Args:
        checks: name -> whether this part is ready; a check that raises or is slow counts as not ready.

    Yields:
        The port, which the system chose when 0 was asked for.

    Raises:
        ConfigError: the port cannot be had.
    """
    app = web.Application()
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz(checks))
    app.router.add_get("/metrics", _metrics(checks))
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(f"OPS_PORT: cannot listen on {port} ({error.strerror})") from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def _readyz(checks: dict[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        passed = await ask(checks)
        parts = {name: "ok" if ok else "not ready" for name, ok in passed.items()}
        ready = all(passed.values())
        return web.json_response(
            {"status": "ready" if ready else "not ready", "checks": parts}, status=200 if ready else 503
        )

    return answer


async def ask(checks: Mapping[str, Check]) -> dict[str, bool]:
    """Say of each part whether it is ready."""
    # A copy, because a starting service is still adding its parts.
    asked = dict(checks)
    results = await asyncio.gather(*(_passes(check) for check in asked.values()))
    return dict(zip(asked, results, strict=True))


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except (CarillonError, TimeoutError):
        return False


def _metrics(checks: dict[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        await ask(checks)
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):
            # choose_encoder reads versions as numbers, and fails on others.
            raise web.HTTPNotAcceptable from None
        return web.Response(body=encode(REGISTRY), headers={"Content-Type": content_type})

    return answer
