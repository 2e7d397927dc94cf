"""MQTT 5: packets, one connection, and one that reconnects."""
