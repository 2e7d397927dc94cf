"""The calls that mail providers make to report bad addresses.

Promises that nothing is written unless the report is the provider's, in time and for the first time. The number of
reports in hand is bounded, over all and for one network address, because their bodies are larger than others. No
address is logged or answered.
"""

import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web

from services.realtime.access.addresses import Addresses
from services.realtime.access.bodies import read_body
from services.realtime.access.refusals import Refusal, unavailable
from services.realtime.bounces import metrics
from services.realtime.bounces.report import BounceProvider, Outcome, ReportRefused
from services.realtime.bounces.suppressing import Suppressing

log = logging.getLogger(__name__)

PATH = "/v1/bounces"

# SendGrid posts up to 768 KB of events, and SNS up to 256 KB of text, which JSON may double.
BODY_BYTES = 1024 * 1024
# In one process: their bodies have 16 MiB at most.
IN_HAND_MOST = 16
# A stranger cannot take all places.
IN_HAND_OF_ADDRESS = 8

ENTRY_OUTCOMES = (
    Outcome.SUPPRESSED, Outcome.KNOWN, Outcome.HELD, Outcome.SOFT, Outcome.IGNORED, Outcome.UNREADABLE,
)  # fmt: skip

_REFUSALS: Mapping[Outcome, tuple[int, str, str]] = {
    Outcome.FORGED: (403, "bad_signature", "The report is not signed as it must be."),
    Outcome.STALE: (403, "stale", "The signature is too old, or from the future."),
    Outcome.REPLAYED: (409, "replayed", "This report was taken before."),
    Outcome.MALFORMED: (400, "invalid_report", "The report cannot be read."),
    Outcome.TOO_LARGE: (413, "too_large", "The report is too large."),
}


class Webhooks:
    """The handlers.

    Args:
        providers: by the last part of the path.
        addresses: finds whom a request comes from.
    """

    def __init__(self, providers: Mapping[str, BounceProvider], suppressing: Suppressing, addresses: Addresses) -> None:
        self._providers = providers
        self._suppressing = suppressing
        self._addresses = addresses
        self._in_hand: Counter[str] = Counter()
        metrics.prepare(providers)

    def routes(self) -> list[web.RouteDef]:
        """List what is served: a provider whose secret is not set is not there."""
        return [web.post(f"{PATH}/{name}", self._handler(name)) for name in self._providers]

    def _handler(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        return functools.partial(self._take, name)

    async def _take(self, name: str, request: web.Request) -> web.Response:
        try:
            outcomes = await self._carry_out(name, request)
        except ReportRefused as refused:
            metrics.bounces.labels(name, refused.outcome).inc()
            log.warning("bounce report refused", extra={"provider": name, "outcome": refused.outcome.value})
            raise refused.answer or Refusal(*_REFUSALS[refused.outcome]) from None
        for outcome, count in outcomes.items():
            metrics.bounces.labels(name, outcome).inc(count)
        return web.json_response({outcome: outcomes[outcome] for outcome in ENTRY_OUTCOMES})

    async def _carry_out(self, name: str, request: web.Request) -> Counter[Outcome]:
        provider = self._providers[name]
        provider.admit(request.headers)
        with self._place(self._addresses.of(request)):
            report = await provider.read(request.headers, await _body(request))
            return await self._suppressing.carry_out(name, report)

    @contextmanager
    def _place(self, address: str) -> Iterator[None]:
        if self._in_hand.total() >= IN_HAND_MOST or self._in_hand[address] >= IN_HAND_OF_ADDRESS:
            raise unavailable()
        self._in_hand[address] += 1
        try:
            yield
        finally:
            self._in_hand[address] -= 1
            if not self._in_hand[address]:
                del self._in_hand[address]


async def _body(request: web.Request) -> bytes:
    """Read a body that may be larger than those of people's calls."""
    try:
        return await read_body(request.clone(client_max_size=BODY_BYTES))
    except web.HTTPRequestEntityTooLarge:
        raise ReportRefused(Outcome.TOO_LARGE) from None
