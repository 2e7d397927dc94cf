"""The broker that comes with Carillon: ``python -m carillon.embedded_broker PORT``.

rumqttd, from the wheel iotcore, speaking MQTT 5 with shared subscriptions on a loopback port. It runs until it is
signalled. Keeps everything in memory: a restart forgets sessions, retained messages and queues. Does not speak
MQTT 3.1.1.
"""

import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from iotcore import IotCoreBroker

# rumqttd's TOML. The section [v5.1] makes the listener speak MQTT 5; without a file iotcore speaks 3.1.1 only, and one
# listener cannot do both. A second listener for 3.1.1 would be cut off by the first message with MQTT 5 properties.
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
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
# A job of 1 MiB and its topic and properties, as in deploy/mosquitto/mosquitto.conf.
max_payload_size = 1114112
max_inflight_count = 1000
dynamic_filters = true
"""


def main() -> None:
    """Run the broker in this process."""
    port = int(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # rumqttd hands over a record of level ERROR for every packet, with the client's id and no error in it.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    with TemporaryDirectory(prefix="carillon-broker-") as folder:
        configuration = Path(folder) / "rumqttd.toml"
        configuration.write_text(_CONFIGURATION.format(port=port))
        # It reads the file here and never again.
        broker = IotCoreBroker(config_path=str(configuration))
    broker.run_forever()


if __name__ == "__main__":
    main()
