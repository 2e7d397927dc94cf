"""The broker that comes with Carillon: ``python -m carillon.local.embedded_broker PORT``.

This is rumqttd, from the wheel iotcore, behind a proxy of ours on a loopback port. rumqttd has three faults that the
proxy hides. It speaks MQTT 5 and 3.1.1 on different ports: the proxy connects each client to the right one. It confuses
shared subscriptions with the same group name and different filters: the proxy gives each shared filter its own group.
It fails when messages expire: the proxy hides the expiry from it. It runs until it gets a signal.

Keeps everything in memory: a restart forgets sessions, retained messages and queues. Does not honour a session's expiry
or a client's Receive Maximum, and answers Success where nobody is subscribed. Cuts off an MQTT 3.1.1 subscriber that
would get a message with MQTT 5 properties; MQTT 3.1.1 publishers are served.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from iotcore import IotCoreBroker

from carillon.local.message_expiry import hidden, shown
from carillon.local.ports import LOOPBACK, free_port
from carillon.local.share_groups import LEVEL_5, NotMqtt, Packet

# rumqttd's TOML.
_CONFIGURATION = """
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
# A ring of this size for every topic filter, in memory; the oldest messages fall out of it.
max_segment_size = 8388608
max_segment_count = 4
shared_subscriptions_strategy = "roundrobin"

[v5.1]
name = "mqtt5"
listen = "127.0.0.1:{mqtt5}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
# A payload of 1 MiB with its topic and properties, as in deploy/mosquitto/mosquitto.conf.
max_payload_size = 1114112
max_inflight_count = 4000
dynamic_filters = true

[v4.1]
name = "mqtt3"
listen = "127.0.0.1:{mqtt3}"
next_connection_delay_ms = 1

[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = 1114112
max_inflight_count = 4000
dynamic_filters = true
"""

_CHUNK_BYTES = 64 * 1024


class _Door:
    """Takes the clients' connections and forwards each to the port of its protocol version."""

    def __init__(self, *, mqtt5: int, mqtt3: int) -> None:
        self._mqtt5 = mqtt5
        self._mqtt3 = mqtt3

    async def serve(self, port: int) -> None:
        """Listen for ever."""
        server = await asyncio.start_server(self._pass_on, LOOPBACK, port)
        async with server:
            await server.serve_forever()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner: asyncio.StreamWriter | None = None
        try:
            connect = await Packet.read(reader)
            is_5 = connect.protocol_level() == LEVEL_5
            from_broker, inner = await asyncio.open_connection(LOOPBACK, self._mqtt5 if is_5 else self._mqtt3)
            inner.write(connect.encoded())
            there, back = (
                asyncio.create_task(work, name=name)
                for name, work in (
                    ("to broker", _packets(reader, inner, _for_broker) if is_5 else _bytes(reader, inner)),
                    ("to client", _packets(from_broker, writer, _for_client) if is_5 else _bytes(from_broker, writer)),
                )
            )
            # If a connection ends on one side, it ends on the other.
            _, pending = await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
        except (OSError, NotMqtt, asyncio.IncompleteReadError):
            logging.getLogger(__name__).debug("a connection ended before its session began")
        finally:
            for side in (writer, inner):
                if side is not None:
                    side.close()
                    with suppress(OSError):
                        await side.wait_closed()


def _for_broker(packet: Packet) -> Packet:
    return hidden(packet.with_own_groups(), time.time())


def _for_client(packet: Packet) -> Packet:
    return shown(packet, time.time())


async def _packets(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, changed: Callable[[Packet], Packet]
) -> None:
    while True:
        packet = await Packet.read(reader)
        writer.write(changed(packet).encoded())
        await writer.drain()


async def _bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()


def _start_rumqttd(*, mqtt5: int, mqtt3: int) -> None:
    with TemporaryDirectory(prefix="carillon-broker-") as folder:
        configuration = Path(folder) / "rumqttd.toml"
        configuration.write_text(_CONFIGURATION.format(mqtt5=mqtt5, mqtt3=mqtt3))
        # It reads the file only here.
        broker = IotCoreBroker(config_path=str(configuration))
    # It cannot be stopped; it ends with the process.
    threading.Thread(target=broker.run_forever, name="rumqttd", daemon=True).start()


def main() -> None:
    """Run the broker in this process."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # rumqttd logs a record of level ERROR for every packet, with the client's id and no error in it.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    mqtt5 = free_port()
    mqtt3 = free_port({mqtt5})
    _start_rumqttd(mqtt5=mqtt5, mqtt3=mqtt3)
    asyncio.run(_Door(mqtt5=mqtt5, mqtt3=mqtt3).serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
