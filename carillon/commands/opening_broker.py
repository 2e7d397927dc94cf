"""The commands' way to the broker, with one clear line when there is none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from carillon.commands.output import CannotWork
from carillon.commands.settings import OperatorSettings
from carillon.publisher import NotConnected, Publisher
from shared.mqtt.address import BrokerAddress


def new_publisher(settings: OperatorSettings, client_id: str | None, outbox: Path | None = None) -> Publisher:
    """Return a publisher on the broker of ``MQTT_URL``; with an outbox it needs no broker to begin with.

    Raises:
        ConfigError: the setting cannot be used.
    """
    url, ca_file = settings.needed("mqtt_url"), settings.mqtt_ca_file
    # Names the setting in its error, which the publisher does not know.
    BrokerAddress.parse(url, ca_file)
    return Publisher(url, client_id, settings.topic_prefix, ca_file=ca_file, outbox=outbox)


@asynccontextmanager
async def open_publisher(settings: OperatorSettings, client_id: str | None) -> AsyncIterator[Publisher]:
    """Connect to the broker of ``MQTT_URL``.

    Raises:
        CannotWork: it does not answer, or refuses us.
    """
    try:
        async with new_publisher(settings, client_id) as publisher:
            yield publisher
    except NotConnected as error:
        raise CannotWork(f"the broker of {settings.origin('mqtt_url')} cannot be used: {error}") from None
