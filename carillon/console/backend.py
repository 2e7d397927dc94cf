"""What the console's pages read from and act through: one store, and the way to the broker.

Promises that the console stands without the broker: it is only asked for when something is published, and then a
publish ends within its time.
"""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from carillon.console.prometheus import Prometheus
from carillon.console.rates import Rates
from carillon.publisher import NotConnected, Publisher, Receipt, Refused
from services.router.explaining.rules import RouterRules
from shared.core.topics import Topics
from shared.store.keys import Keys
from shared.store.store import Store

PUBLISH_S = 5.0
RECORD_RETENTION_S = 7 * 86400


class Backend:
    """One system, as operators reach it.

    Attributes:
        rules: what the router goes by.
        record_retention_s: how long the services keep what is over.
        without: services that this system does without.
        rates: what became due lately.
        prometheus: None where the console is told of none.

    Args:
        mqtt_url: None where the console cannot publish.
    """

    def __init__(
        self,
        store: Store,
        rules: RouterRules,
        *,
        topic_prefix: str = "",
        mqtt_url: str | None = None,
        record_retention_s: int = RECORD_RETENTION_S,
        mqtt_ca_file: Path | None = None,
        without: Collection[str] = (),
        prometheus_url: str | None = None,
    ) -> None:
        self.store = store
        self.rules = rules
        self.topic_prefix = topic_prefix
        self.record_retention_s = record_retention_s
        self.keys = Keys(topic_prefix)
        self.topics = Topics(topic_prefix)
        self.without = frozenset(without)
        self.rates = Rates(store, self.keys)
        self.prometheus = Prometheus(prometheus_url) if prometheus_url else None
        self._mqtt = (mqtt_url, mqtt_ca_file)
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()

    async def publish(self, topic: str, payload: Mapping[str, Any] | bytes, key: str | None = None) -> Receipt:
        """Publish, and return the receipt whatever it says; an empty payload deletes a record.

        Args:
            topic: without the prefix.

        Raises:
            NotConnected: the broker does not answer.
            NoReceipt: nobody knows whether it happened.
        """
        publisher = await self._opened()
        try:
            return await publisher.publish(topic, payload, key=key, timeout_s=PUBLISH_S)
        except Refused as refused:
            return refused.receipt

    async def close(self) -> None:
        """Disconnect."""
        if self._publisher is not None:
            await self._publisher.__aexit__(None, None, None)
            self._publisher = None

    async def _opened(self) -> Publisher:
        async with self._opening:
            if self._publisher is None:
                url, ca_file = self._mqtt
                if not url:
                    raise NotConnected("MQTT_URL is not set")
                # A broker with roles takes a login's connection under the login's own name alone.
                publisher = Publisher(url, urlsplit(url).username, self.topic_prefix, ca_file=ca_file)
                await publisher.__aenter__()
                self._publisher = publisher
            return self._publisher
