"""The limits on sizes are the same in the code, at the brokers and in the docs."""

import re

from carillon.local.servers import MOSQUITTO_CONFIGURATION, ROOT
from shared.core.limits import BATCH_BYTES, KIB, OBJECT_BYTES, PACKET_BYTES, PAYLOAD_BYTES, payload_bytes
from shared.core.topics import Kind

LOCAL_BROKER = ROOT / "carillon" / "local" / "embedded_broker.py"
EMQX = ROOT / "deploy" / "k8s" / "examples" / "emqx.yaml"


def test_only_a_batch_of_mails_is_larger_than_an_object() -> None:
    assert {kind: payload_bytes(kind) for kind in Kind} == {
        **dict.fromkeys(Kind, OBJECT_BYTES),
        Kind.EMAIL_BATCH: BATCH_BYTES,
    }


def test_the_brokers_take_what_the_router_answers() -> None:
    mosquitto, local, emqx = (file.read_text() for file in (MOSQUITTO_CONFIGURATION, LOCAL_BROKER, EMQX))
    assert re.findall(r"\nmax_packet_size ([0-9]+)\n", mosquitto) == [str(PACKET_BYTES)]
    assert set(re.findall(r"\nmax_payload_size = ([0-9]+)\n", local)) == {str(PACKET_BYTES)}
    assert re.findall(r"mqtt\.max_packet_size = ([0-9]+)KB", emqx) == [str(PACKET_BYTES // KIB)]
    assert PAYLOAD_BYTES < PACKET_BYTES


def test_the_example_of_emqx_refuses_what_no_rule_allows_and_what_is_no_mqtt() -> None:
    emqx = EMQX.read_text()
    assert "mqtt.strict_mode = true" in emqx
    assert "no_match = deny" in emqx


def test_the_docs_say_the_limits() -> None:
    text = (ROOT / "docs" / "guides" / "publishing.md").read_text()
    for size_bytes in (OBJECT_BYTES, BATCH_BYTES, PACKET_BYTES):
        assert f"{size_bytes:,} bytes" in text
