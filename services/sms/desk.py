"""The parts of an SMS process besides its providers: rules, texts, and what follows from callbacks."""

from asyncio import Future
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from services.sms import metrics
from services.sms.alerts import SentAlerts
from services.sms.callback_server import serve_callbacks
from services.sms.caps import Caps
from services.sms.confirming import Confirming
from services.sms.inbound import Inbound
from services.sms.rules import SmsRules
from services.sms.settings import SmsSettings
from services.sms.text import Texts
from services.sms.unwanted import Unwanted
from shared.core.clock import Clock
from shared.ledger.confirmations import Confirmations
from shared.runtime.providers import Parts
from shared.runtime.service import Context


class SmsParts(Parts[SmsSettings]):
    """What every provider of SMS needs to send.

    Attributes:
        texts: says what an attempt sends.
    """

    def __init__(self, settings: SmsSettings, clock: Clock, texts: Texts) -> None:
        super().__init__(settings, clock)
        self.texts = texts


class Desk(SmsParts):
    """The parts that providers and their callbacks share. Make it inside the running loop.

    Attributes:
        rules: what holds for every SMS.
        confirming: deals with status callbacks.
        inbound: deals with what people send.
    """

    def __init__(self, context: Context[SmsSettings]) -> None:
        settings, store, keys = context.settings, context.store, context.keys
        unwanted, confirmations = Unwanted(store, keys, context.clock), Confirmations(store, keys)
        alerts = SentAlerts(store, keys, context.ledger, settings.record_retention_s)
        # Nobody can answer without the endpoint.
        texts = Texts(settings.sms_max_segments, alerts if settings.callbacks else None)
        super().__init__(settings, context.clock, texts)

        def publish(topic: str, payload: str) -> "Future[bool]":
            # Read at the call: the connection exists once work is taken.
            return context.publish(topic, payload)

        self.rules = SmsRules(settings.countries, unwanted, Caps(store, keys, settings.cap_limits), confirmations)
        self.confirming = Confirming(
            confirmations, unwanted, topics=context.topics, publish=publish, clock=context.clock
        )
        self.inbound = Inbound(store, keys, unwanted, alerts)
        metrics.prepare()

    @asynccontextmanager
    async def serving(self, routes: Iterable[web.RouteDef]) -> AsyncIterator[int | None]:
        """Serve callbacks while the context stands, if the settings ask for it.

        Args:
            routes: the providers'.

        Yields:
            The port, None without an endpoint.
        """
        if self.settings.callbacks is None:
            yield None
            return
        async with serve_callbacks(self.settings.callbacks, routes) as port:
            yield port
