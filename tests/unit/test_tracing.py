"""The W3C trace context in user properties, and when OpenTelemetry is used."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.core.errors import ConfigError
from shared.core.model import TraceContext
from shared.telemetry import tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def test_a_context_is_read_and_written_as_user_properties() -> None:
    properties = [("other", "x"), ("traceparent", TRACEPARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    context = tracing.read(properties)
    assert context == TraceContext(traceparent=TRACEPARENT, tracestate="a=1,b=2")
    assert tracing.user_properties(context) == [("traceparent", TRACEPARENT), ("tracestate", "a=1,b=2")]
    assert tracing.user_properties(TraceContext(traceparent=TRACEPARENT)) == [("traceparent", TRACEPARENT)]
    assert tracing.user_properties(None) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "x",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01\n",
        f"01-{TRACE}-{PARENT}-01more",
    ],
)
def test_an_invalid_traceparent_is_as_good_as_none(wrong: str) -> None:
    assert tracing.read([("traceparent", wrong), ("tracestate", "a=1")]) is None


def test_a_context_that_is_said_twice_is_none() -> None:
    assert tracing.read([("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)]) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = tracing.read([("traceparent", f"01-{TRACE}-{PARENT}-01-more")])
    assert context == TraceContext(traceparent=TRACEPARENT)


@pytest.mark.parametrize("unusable", ["", "a=" + "x" * 511, "a=\u00e4", "a=\n"])
def test_an_unusable_tracestate_is_left_out(unusable: str) -> None:
    assert tracing.read([("traceparent", TRACEPARENT), ("tracestate", unusable)]) == TraceContext(
        traceparent=TRACEPARENT
    )


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example.com:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector.example.com:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example.com:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example.com:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_switch_it_on(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environment) is wanted


def test_an_exporter_that_is_not_offered_is_named() -> None:
    with pytest.raises(ConfigError, match="OTEL_TRACES_EXPORTER"):
        tracing.is_wanted({"OTEL_TRACES_EXPORTER": "zipkin"})


def test_a_step_of_which_nobody_keeps_a_span_hands_on_its_context() -> None:
    context = TraceContext(traceparent=TRACEPARENT)
    with tracing.Untraced(context) as span:
        span.set(outcome="ok")
        span.fail("timeout")
        span.end()
    assert span.context is context


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True,
        check=False, timeout=30,
    )  # fmt: skip


# As on a machine that has not installed them.
WITHOUT_PACKAGES = "import sys; sys.modules['opentelemetry'] = None\n"


def test_services_and_publishers_do_without_the_packages() -> None:
    services = "\n".join(f"import services.{name}.__main__" for name in ("router", "email", "sms", "push", "realtime"))
    ran = run(
        f"{WITHOUT_PACKAGES}{services}\nimport carillon.publisher\nassert 'shared.telemetry.spans' not in sys.modules"
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("script", "environment", "named"),
    [
        (WITHOUT_PACKAGES, {}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ("", {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
    ],
)
def test_what_cannot_be_done_stops_the_service_with_one_line(
    script: str, environment: dict[str, str], named: str
) -> None:
    wanted = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "LOG_LEVEL": "ERROR"}
    needed = {"MQTT_URL": "mqtt://127.0.0.1", "REDIS_URL": "redis://127.0.0.1"}
    ran = run(f"{script}from services.router.__main__ import main; main()", **(needed | wanted | environment))
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith(f"carillon router: {named}: ")
    assert ran.stderr.count("\n") == 1
