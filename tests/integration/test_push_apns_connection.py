"""APNs connections on bad days: what aioapns alone does not survive, against the sandbox and against worse servers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Unpack

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest

from sandbox.authority import server_context
from sandbox.credentials import prepare
from services.push.apns import pool as apns_pool
from services.push.apns.connection import ApnsConnection
from services.push.apns.provider import ApnsProvider
from services.push.settings import PushSettings
from shared.core.clock import SystemClock
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    ProviderMisconfigured,
    Reason,
    TemporaryFailure,
)
from shared.delivery.attempt import Receipt
from tests.attempts import perform
from tests.push import IOS_TOKEN, PushSandbox, What, build_providers, changed, ios, make_attempt, running_sandbox
from tests.push_soak import soak
from tests.waiting import eventually

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def push_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushSandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@asynccontextmanager
async def apns_provider(settings: PushSettings, **changes: object) -> AsyncIterator[ApnsProvider]:
    provider, *others = build_providers(changed(settings, **changes), SystemClock())
    assert isinstance(provider, ApnsProvider)
    try:
        yield provider
    finally:
        for each in (provider, *others):
            await each.close()


@pytest.fixture
async def provider(push_sandbox: PushSandbox) -> AsyncIterator[ApnsProvider]:
    await push_sandbox.clear()
    async with apns_provider(push_sandbox.settings) as provider:
        yield provider


def connections(provider: ApnsProvider) -> list[ApnsConnection]:
    return [connection for pool in provider._pools.values() for connection in pool.connections]


async def outcome(provider: ApnsProvider, token: str = IOS_TOKEN, within_s: float = 10, **what: Unpack[What]) -> object:
    """What a send ended with: a receipt, a DeliveryError, or TimeoutError, which is the delivery loop's deadline."""
    try:
        async with asyncio.timeout(within_s):
            return await provider.send(make_attempt(ios(token), **what))
    except (DeliveryError, TimeoutError) as error:
        return error


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"apns": "no_id"}, Receipt),
        ({"apns": "empty_data"}, Receipt),
        ({"apns": "no_body", "status": 503}, TemporaryFailure),
        ({"apns": "rst"}, OutcomeUnknown),
        ({"apns": "goaway"}, TemporaryFailure),
    ],
)
async def test_misbehaviour_ends_one_send_and_the_next_goes_through(
    provider: ApnsProvider, push_sandbox: PushSandbox, fault: dict[str, Any], expected: type
) -> None:
    assert isinstance(await outcome(provider), Receipt)
    await push_sandbox.play("apns", fault)
    assert isinstance(await outcome(provider), expected)
    assert isinstance(await outcome(provider), Receipt)


async def test_nothing_is_left_behind_in_a_connection(provider: ApnsProvider, push_sandbox: PushSandbox) -> None:
    # Together the bodies are larger than a window of flow control (65,535 bytes, RFC 9113, 6.9.2).
    await push_sandbox.play("apns", {"status": 503, "body": {"reason": "x" * 300}}, times=400)
    await push_sandbox.play("apns", {"apns": "rst"}, times=50)

    async def some() -> None:
        for _ in range(10):
            await outcome(provider)

    await asyncio.gather(*(some() for _ in range(50)))
    [connection] = connections(provider)
    assert (connection.requests, connection.request_streams, connection._incoming) == ({}, {}, {})
    assert connection.free_channels._value == connection.free_channels.bound
    assert connection.conn.inbound_flow_control_window > 30_000


async def test_a_send_cut_off_takes_its_connection_out_of_service_without_harming_the_others(
    provider: ApnsProvider, push_sandbox: PushSandbox
) -> None:
    await outcome(provider)
    [first] = connections(provider)
    await push_sandbox.play("apns", {"hang": True}, to="aa" * 32)
    await push_sandbox.play("apns", {"delay_s": 1}, to="bb" * 32)
    slow = asyncio.create_task(outcome(provider, "bb" * 32))
    assert isinstance(await outcome(provider, "aa" * 32, within_s=0.3), TimeoutError)
    assert connections(provider) == []
    assert isinstance(await outcome(provider), Receipt)
    assert connections(provider) != [first]
    assert isinstance(await slow, Receipt)
    await eventually(first.lost.is_set, what="the old connection closes after its last answer")


async def test_a_lost_connection_ends_every_send_even_after_one_was_cut_off(
    provider: ApnsProvider, push_sandbox: PushSandbox
) -> None:
    await outcome(provider)
    await push_sandbox.play("apns", {"hang": True}, to="aa" * 32, times=5)
    await push_sandbox.play("apns", {"delay_s": 1, "cut": "after"}, to="bb" * 32)
    hanging = [asyncio.create_task(outcome(provider, "aa" * 32)) for _ in range(4)]
    cut_off = asyncio.create_task(outcome(provider, "aa" * 32, within_s=0.2))
    cutting = asyncio.create_task(outcome(provider, "bb" * 32))
    assert isinstance(await cut_off, TimeoutError)
    for each in await asyncio.gather(cutting, *hanging):
        assert isinstance(each, OutcomeUnknown)


async def test_a_connection_is_replaced_after_its_share_of_sends(
    provider: ApnsProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApnsConnection, "sends_limit", 10)
    seen: set[ApnsConnection] = set()
    for _ in range(35):
        assert isinstance(await outcome(provider), Receipt)
        seen.update(connections(provider))
    assert len(seen) in (3, 4)
    await eventually(lambda: sum(not each.lost.is_set() for each in seen) <= 1, what="the old ones close")


async def test_all_connections_carry_the_same_provider_token(provider: ApnsProvider, push_sandbox: PushSandbox) -> None:
    async with apns_provider(push_sandbox.settings) as another_process:
        await outcome(provider)
        await outcome(another_process)
        tokens = {
            each.auth_provider.get_header()
            for each in connections(provider) + connections(another_process)
            if each.auth_provider
        }
    assert len(tokens) == 1


async def test_a_thousand_sends_end_as_they_should_while_some_answers_misbehave(
    provider: ApnsProvider, push_sandbox: PushSandbox
) -> None:
    report = await soak(provider, push_sandbox, 1_000, every=20)
    assert report.wrong == []
    assert report.ends == report.expected
    pools = provider._pools.values()
    await eventually(lambda: not any(pool.retired for pool in pools), what="retired connections close")
    for connection in connections(provider):
        assert (connection.requests, connection.request_streams, connection._incoming) == ({}, {}, {})


async def test_a_send_cut_off_in_the_moment_its_connection_is_lost_harms_no_other(
    provider: ApnsProvider, push_sandbox: PushSandbox
) -> None:
    await push_sandbox.play("apns", {"hang": True}, times=3)
    sends = [asyncio.create_task(outcome(provider)) for _ in range(3)]
    connection = await eventually(
        lambda: next((each for each in connections(provider) if len(each.requests) == 3), None)
    )
    assert connection is not None
    sends[0].cancel()
    connection.abort()
    connection.connection_lost(None)
    cut_off, *others = await asyncio.gather(*sends, return_exceptions=True)
    assert isinstance(cut_off, asyncio.CancelledError)
    assert all(isinstance(each, OutcomeUnknown) for each in others)


@asynccontextmanager
async def tls_server(tmp_path: Path, serve: Serve) -> AsyncIterator[dict[str, object]]:
    """A TLS server with a certificate that the settings it yields trust."""
    credentials = prepare(tmp_path)
    context = server_context(credentials.ca_key_file, credentials.ca_file, "127.0.0.1")
    context.set_alpn_protocols(["h2"])
    open_writers: list[asyncio.StreamWriter] = []

    async def track(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.append(writer)
        with suppress(ConnectionError, ssl.SSLError):
            await serve(reader, writer)

    server = await asyncio.start_server(track, "127.0.0.1", 0, ssl=context)
    try:
        port = server.sockets[0].getsockname()[1]
        yield {"push_apns_url": f"https://127.0.0.1:{port}", "push_apns_ca_file": credentials.ca_file}
    finally:
        server.close()
        for writer in open_writers:
            writer.transport.abort()


async def h2_serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    on_event: Callable[[h2.connection.H2Connection, h2.events.Event], bytes],
    settings: dict[h2.settings.SettingCodes, int],
) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    # What is set any other way is enforced but not said in the first SETTINGS frame.
    connection.local_settings = h2.settings.Settings(client=False, initial_values=settings)
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    while data := await reader.read(65536):
        for event in connection.receive_data(data):
            extra = on_event(connection, event)
            writer.write(connection.data_to_send() + extra)
        writer.write(connection.data_to_send())
        await writer.drain()


async def test_a_server_that_speaks_no_http2_is_told_from_one_that_is_away(
    push_sandbox: PushSandbox, tmp_path: Path
) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with tls_server(tmp_path, serve) as changes, apns_provider(push_sandbox.settings, **changes) as provider:
        error = await outcome(provider)
        assert isinstance(error, TemporaryFailure)
        assert error.reason is Reason.BAD_ANSWER


async def test_a_server_that_accepts_and_says_nothing_was_not_reached(
    push_sandbox: PushSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apns_pool, "CONNECT_TIMEOUT_S", 0.3)

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with tls_server(tmp_path, serve) as changes, apns_provider(push_sandbox.settings, **changes) as provider:
        # One who does not wait so long does not end it for the others; and they wait once, not one after the other.
        impatient = asyncio.create_task(outcome(provider, within_s=0.1))
        for error in await asyncio.gather(*(outcome(provider, within_s=8) for _ in range(50))):
            assert isinstance(error, TemporaryFailure)
            assert error.reason is Reason.TIMEOUT
        assert isinstance(await impatient, TimeoutError)


async def test_a_certificate_of_an_unknown_authority_is_the_operators_business(
    push_sandbox: PushSandbox, tmp_path: Path
) -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with tls_server(tmp_path, serve) as changes:
        del changes["push_apns_ca_file"]
        async with apns_provider(push_sandbox.settings, **changes) as provider:
            assert isinstance(await outcome(provider), ProviderMisconfigured)


async def test_garbage_in_the_middle_ends_every_waiting_send_and_keeps_the_answers_before_it(
    push_sandbox: PushSandbox, tmp_path: Path
) -> None:
    asked = 0

    def answer_the_first_then_talk_rubbish(connection: h2.connection.H2Connection, event: h2.events.Event) -> bytes:
        nonlocal asked
        if not isinstance(event, h2.events.StreamEnded):
            return b""
        asked += 1
        if asked < 3:
            return b""
        assert event.stream_id is not None
        connection.send_headers(1, [(":status", "200")], end_stream=True)
        return b"\x00\x00\x04\x03\x00\x00\x00\x00\x00rubbish, and more of it"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await h2_serve(reader, writer, answer_the_first_then_talk_rubbish, {})

    async with tls_server(tmp_path, serve) as changes, apns_provider(push_sandbox.settings, **changes) as provider:
        first, *others = await asyncio.gather(*(outcome(provider) for _ in range(3)))
        assert isinstance(first, Receipt)
        for error in others:
            assert isinstance(error, OutcomeUnknown)
            assert error.reason is Reason.BAD_ANSWER


async def test_a_connection_that_is_ending_still_answers_what_it_took(
    push_sandbox: PushSandbox, tmp_path: Path
) -> None:
    streams: list[int] = []

    def say_goodbye_at_the_third(connection: h2.connection.H2Connection, event: h2.events.Event) -> bytes:
        if isinstance(event, h2.events.StreamEnded) and event.stream_id is not None:
            streams.append(event.stream_id)
            if len(streams) == 3:
                for stream_id in streams[:2]:
                    connection.send_headers(stream_id, [(":status", "200")], end_stream=True)
                answers = connection.data_to_send()
                connection.close_connection(h2.errors.ErrorCodes.NO_ERROR, last_stream_id=streams[1])
                # GOAWAY first, the answers after it: both in one packet.
                return connection.data_to_send() + answers
        return b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await h2_serve(reader, writer, say_goodbye_at_the_third, {})

    async with tls_server(tmp_path, serve) as changes, apns_provider(push_sandbox.settings, **changes) as provider:
        first, second, third = await asyncio.gather(*(outcome(provider) for _ in range(3)))
        assert isinstance(first, Receipt)
        assert isinstance(second, Receipt)
        assert isinstance(third, TemporaryFailure)
        assert connections(provider) == []


async def test_a_server_that_takes_one_request_at_a_time_gets_more_connections_and_loses_nothing(
    push_sandbox: PushSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Apple allows one stream until a provider token was accepted.
    monkeypatch.setattr(apns_pool, "MAX_CONNECTIONS", 2)
    most = 0

    def answer(connection: h2.connection.H2Connection, event: h2.events.Event) -> bytes:
        nonlocal most
        most = max(most, connection.open_inbound_streams)
        if isinstance(event, h2.events.StreamEnded) and event.stream_id is not None:
            connection.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
        return b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await h2_serve(reader, writer, answer, {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})

    async with tls_server(tmp_path, serve) as changes, apns_provider(push_sandbox.settings, **changes) as provider:
        results = await asyncio.gather(*(outcome(provider) for _ in range(50)))
        assert all(isinstance(result, Receipt) for result in results), results
        assert most == 1
        assert len(connections(provider)) <= apns_pool.MAX_CONNECTIONS


async def test_a_push_that_waits_for_room_on_a_connection_was_not_sent(
    push_sandbox: PushSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apns_pool, "MAX_CONNECTIONS", 1)
    taken = 0

    def say_nothing(_: h2.connection.H2Connection, event: h2.events.Event) -> bytes:
        nonlocal taken
        taken += isinstance(event, h2.events.StreamEnded)
        return b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await h2_serve(reader, writer, say_nothing, {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})

    async with tls_server(tmp_path, serve) as changes, apns_provider(push_sandbox.settings, **changes) as provider:
        sent = asyncio.create_task(perform(provider, make_attempt(ios()), timedelta(seconds=2)), name="sent")
        await eventually(lambda: taken)
        waiting = await perform(provider, make_attempt(ios()), timedelta(seconds=0.5))
        assert (waiting.word, waiting.reason, waiting.in_doubt) == ("retry", Reason.OWN_LIMIT, False)
        assert ((await sent).word, taken) == ("unknown", 1)


async def test_more_than_a_window_of_large_payloads_in_flight_all_arrive(
    provider: ApnsProvider, push_sandbox: PushSandbox
) -> None:
    # 50 payloads of 4,096 bytes are three times the flow-control window of a connection (RFC 9113, 6.9.2).
    await outcome(provider)
    results = await asyncio.gather(*(outcome(provider, message="x" * 4000) for _ in range(50)))
    assert all(isinstance(result, Receipt) for result in results), results
    assert len(await push_sandbox.outbox()) == 51


async def test_closing_ends_every_connection(push_sandbox: PushSandbox) -> None:
    async with apns_provider(push_sandbox.settings) as provider:
        await outcome(provider)
        [connection] = connections(provider)
    assert connection.lost.is_set()
