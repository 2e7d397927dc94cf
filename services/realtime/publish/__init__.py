"""HTTP for publishers: what is posted is published on MQTT, and the router's receipt is the answer."""
