"""What an SMS process is put together from, beside its providers: rules, texts, and the endpoint for callbacks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.sms.alerts import SentAlerts
from services.sms.callbacks import Callbacks, serve_callbacks
from services.sms.caps import Caps
from services.sms.confirmations import Confirmations
from services.sms.confirming import Confirming
from services.sms.inbound import Inbound
from services.sms.rules import SmsRules
from services.sms.settings import SmsSettings
from services.sms.text import Texts
from services.sms.unwanted import Unwanted
from shared.runtime.service import Context
from shared.telemetry import metrics


class Desk:
    """The parts that providers and callbacks share; to be made inside the running loop."""

    def __init__(self, context: Context[SmsSettings]) -> None:
        self._context = context
        settings, store, keys = context.settings, context.store, context.keys
        self._unwanted = Unwanted(store, keys, context.clock)
        self._confirmations = Confirmations(store, keys)
        self._alerts = SentAlerts(store, keys, context.ledger, settings.record_retention_s)
        # Nobody can answer without the endpoint.
        self.texts = Texts(settings.sms_max_segments, self._alerts if settings.callbacks else None)
        self.rules = SmsRules(
            settings.countries, self._unwanted, Caps(store, keys, settings.cap_limits), self._confirmations
        )
        metrics.prepare_sms()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int | None]:
        """Serve callbacks while the context stands, where that is asked for.

        Yields:
            The port, None without an endpoint.
        """
        context, endpoint = self._context, self._context.settings.callbacks
        if endpoint is None:
            yield None
            return
        confirming = Confirming(
            self._confirmations, self._unwanted, topics=context.topics, publish=context.publish, clock=context.clock
        )
        inbound = Inbound(context.store, context.keys, self._unwanted, self._alerts)
        token = context.settings.sms_twilio_auth_token.get_secret_value()
        async with serve_callbacks(endpoint, Callbacks(token, endpoint.url, confirming, inbound)) as port:
            yield port
