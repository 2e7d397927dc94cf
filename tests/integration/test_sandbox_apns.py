"""The sandbox's APNs, spoken to by aioapns and, where that would hang, by hand over HTTP/2."""

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
from aioapns import APNs, NotificationRequest
from aioapns.connection import APNsTLSClientProtocol
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset

from sandbox.script import Rule
from sandbox.server import Options, Sandbox, running
from tests.waiting import eventually

DEVICE = "ab" * 32


def play(box: Sandbox, fault: dict[str, object], to: str | None = None) -> None:
    box.script.add(Rule.model_validate({"provider": "apns", "to": to, "fault": fault}))


def entries(box: Sandbox) -> list[dict[str, object]]:
    return [entry.as_json() for entry in box.kept.select()]


@dataclass
class Seen:
    """What a client saw of one request; data_frames are the sizes of the DATA frames."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    data_frames: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None
    goaway: int | None = None
    closed: bool = False

    @property
    def status(self) -> int:
        return int(self.headers[":status"])

    @property
    def reason(self) -> object:
        return json.loads(self.body)["reason"]

    def note(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            case DataReceived():
                self.body += event.data
                self.data_frames.append(len(event.data))
            case StreamReset():
                self.reset = event.error_code
            case StreamEnded():
                self.ended = True
            case ConnectionTerminated():
                self.goaway = event.last_stream_id


class Client:
    """One HTTP/2 connection that sends one request after the other."""

    def __init__(self, box: Sandbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.box = box
        self._reader = reader
        self._writer = writer
        self._http2 = H2Connection()
        self._http2.initiate_connection()

    async def send(
        self,
        payload: object = None,
        headers: Mapping[str, str | None] | None = None,
        path: str = f"/3/device/{DEVICE}",
        method: str = "POST",
    ) -> Seen:
        """Send one request and read until its stream, or the connection, is over; None leaves a header out."""
        self.begin(payload, headers, path, method)
        seen = Seen()
        while not (seen.ended or seen.reset is not None or seen.goaway is not None or seen.closed):
            self._writer.write(self._http2.data_to_send())
            incoming = await self._receive()
            seen.closed = not incoming
            for event in self._http2.receive_data(incoming):
                seen.note(event)
        return seen

    def begin(
        self,
        payload: object = None,
        headers: Mapping[str, str | None] | None = None,
        path: str = f"/3/device/{DEVICE}",
        method: str = "POST",
    ) -> int:
        """Add one request to what is sent next, and return its stream."""
        usual: dict[str, str | None] = {
            ":method": method,
            ":scheme": "https",
            ":authority": "localhost",
            ":path": path,
            "authorization": f"bearer {provider_token(self.box)}",
            "apns-topic": self.box.credentials.apns_topic,
        }
        stream_id = self._http2.get_next_available_stream_id()
        wanted = [(name, value) for name, value in (usual | dict(headers or {})).items() if value is not None]
        self._http2.send_headers(stream_id, wanted)
        body = payload if isinstance(payload, bytes) else json.dumps(payload or a_payload()).encode()
        self._http2.send_data(stream_id, body, end_stream=True)
        return stream_id

    async def read_until_closed(self) -> list[Event]:
        """Send what has been begun, and read until the server closes the connection."""
        events: list[Event] = []
        while True:
            self._writer.write(self._http2.data_to_send())
            incoming = await self._receive()
            if not incoming:
                return events
            events += self._http2.receive_data(incoming)

    async def _receive(self) -> bytes:
        try:
            return await self._reader.read(65_536)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def connected(box: Sandbox) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=str(box.credentials.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", box.addresses.apns_port, ssl=context)
    try:
        yield Client(box, reader, writer)
    finally:
        writer.transport.abort()


async def send(box: Sandbox, payload: object = None, headers: Mapping[str, str | None] | None = None) -> Seen:
    async with connected(box) as client:
        return await client.send(payload, headers)


def provider_token(box: Sandbox, *, age_s: float = 0, key_id: str | None = None, team_id: str | None = None) -> str:
    return jwt.encode(
        {"iss": team_id or box.credentials.apns_team_id, "iat": int(time.time() - age_s)},
        box.credentials.apns_key_file.read_text(),
        algorithm="ES256",
        headers={"kid": key_id or box.credentials.apns_key_id},
    )


def a_payload() -> dict[str, object]:
    return {"aps": {"alert": {"title": "Hello", "body": "Good morning."}}, "carillon_id": "notification-1", "a": 1}


async def test_aioapns_gets_a_notification_through(box: Sandbox) -> None:
    class Protocol(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = box.addresses.apns_port

    context = ssl.create_default_context(cafile=str(box.credentials.ca_file))
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=box.credentials.apns_key_file.read_text(),
        key_id=box.credentials.apns_key_id,
        team_id=box.credentials.apns_team_id,
        topic=box.credentials.apns_topic,
        ssl_context=context,
        max_connection_attempts=1,
    )
    client.pool.protocol_class = Protocol
    request = NotificationRequest(device_token=DEVICE, message=a_payload(), time_to_live=60, collapse_key="c")
    result = await asyncio.wait_for(client.send_notification(request), 5)
    play(box, {"status": 410})
    refused = await asyncio.wait_for(client.send_notification(request), 5)
    client.pool.close()
    assert (result.is_successful, result.notification_id) == (True, request.notification_id)
    assert (refused.status, refused.description) == ("410", "Unregistered")
    assert refused.timestamp is not None
    [entry] = entries(box)
    assert (entry["to"], entry["title"], entry["body"]) == (DEVICE, "Hello", "Good morning.")
    assert entry["data"] == {"carillon_id": "notification-1", "a": 1}
    assert (entry["id"], entry["notification_id"]) == (request.notification_id, "notification-1")
    assert ["apns-collapse-id", "c"] in entry["headers"]  # type: ignore[operator]


async def test_the_apns_id_is_answered_or_made(box: Sandbox) -> None:
    given = str(uuid.uuid4())
    async with connected(box) as client:
        assert (await client.send(headers={"apns-id": given})).headers["apns-id"] == given
        made = await client.send({"aps": {"alert": "Just text"}})
    assert uuid.UUID(made.headers["apns-id"])
    assert (made.status, made.body) == (200, b"")
    assert (entries(box)[1]["title"], entries(box)[1]["body"]) == ("", "Just text")


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"authorization": None}, 403, "MissingProviderToken"),
        ({"authorization": "bearer nonsense"}, 403, "InvalidProviderToken"),
        ({"apns-topic": None}, 400, "MissingTopic"),
        ({"apns-topic": "com.example.other"}, 400, "DeviceTokenNotForTopic"),
        ({"apns-id": "not-a-uuid"}, 400, "BadMessageId"),
        ({"apns-collapse-id": "x" * 65}, 400, "BadCollapseId"),
        ({"apns-priority": "11"}, 400, "BadPriority"),
        ({"apns-expiration": "tomorrow"}, 400, "BadExpirationDate"),
        ({"apns-push-type": "telegram"}, 400, "InvalidPushType"),
    ],
)
async def test_headers_are_checked_with_apples_reasons(
    box: Sandbox, headers: dict[str, str | None], status: int, reason: str
) -> None:
    seen = await send(box, headers=headers)
    assert (seen.status, seen.reason) == (status, reason)
    assert entries(box) == []


async def test_provider_tokens_are_checked_for_key_team_and_age(box: Sandbox) -> None:
    tokens = {
        provider_token(box, key_id="OTHERKEY00"): "InvalidProviderToken",
        provider_token(box, team_id="OTHERTEAM0"): "InvalidProviderToken",
        provider_token(box, age_s=3_700): "ExpiredProviderToken",
    }
    async with connected(box) as client:
        for token, reason in tokens.items():
            seen = await client.send(headers={"authorization": f"bearer {token}"})
            assert (seen.status, seen.reason) == (403, reason)


@pytest.mark.parametrize(
    ("path", "method", "payload", "refusal"),
    [
        (f"/3/device/{'ab' * 31}", "POST", None, (400, "BadDeviceToken")),
        (f"/3/device/{'xy' * 32}", "POST", None, (400, "BadDeviceToken")),
        ("/3/device/", "POST", None, (400, "MissingDeviceToken")),
        ("/4/device", "POST", None, (404, "BadPath")),
        (f"/3/device/{DEVICE}", "PUT", None, (405, "MethodNotAllowed")),
        (f"/3/device/{DEVICE}", "POST", b"", (400, "PayloadEmpty")),
        (f"/3/device/{DEVICE}", "POST", {"aps": {"alert": "x" * 4096}}, (413, "PayloadTooLarge")),
    ],
)
async def test_path_and_payload_are_checked_with_apples_reasons(
    box: Sandbox, path: str, method: str, payload: object, refusal: tuple[int, str]
) -> None:
    async with connected(box) as client:
        seen = await client.send(payload, path=path, method=method)
    assert (seen.status, seen.reason) == refusal


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ({"status": 503}, 503, "ServiceUnavailable"),
        ({"status": 429, "headers": {"Retry-After": "2"}}, 429, "TooManyRequests"),
        ({"status": 429, "code": "TooManyProviderTokenUpdates"}, 429, "TooManyProviderTokenUpdates"),
        ({"status": 400, "code": "BadDeviceToken"}, 400, "BadDeviceToken"),
        ({"operator": True}, 403, "InvalidProviderToken"),
    ],
)
async def test_a_scripted_refusal_reaches_the_client_once(
    box: Sandbox, fault: dict[str, object], status: int, reason: str
) -> None:
    play(box, fault, to=DEVICE)
    async with connected(box) as client:
        seen = await client.send()
        assert (seen.status, seen.reason) == (status, reason)
        assert "apns-id" in seen.headers
        assert (await client.send()).status == 200


async def test_the_misbehaviour_that_clients_mishandle_can_be_played(box: Sandbox) -> None:
    async with connected(box) as client:
        play(box, {"apns": "no_body"})
        no_body = await client.send()
        assert (no_body.status, no_body.body, no_body.data_frames) == (503, b"", [])
        play(box, {"apns": "no_id"})
        no_id = await client.send()
        assert no_id.status == 200
        assert "apns-id" not in no_id.headers
        play(box, {"apns": "empty_data"})
        empty_data = await client.send()
        assert (empty_data.status, empty_data.data_frames) == (200, [0])
        play(box, {"apns": "rst"})
        assert (await client.send()).reset == ErrorCodes.INTERNAL_ERROR
        assert len(entries(box)) == 2
        play(box, {"apns": "goaway"})
        # Streams are 1, 3, 5, ...: this is the fifth, and only the four before it count as processed.
        assert (await client.send()).goaway == 7
        assert len(entries(box)) == 2


async def test_goaway_never_denies_a_request_that_was_taken(box: Sandbox) -> None:
    devices = [f"{number:064x}" for number in range(9)]
    play(box, {"apns": "goaway"}, to=devices[4])
    async with connected(box) as client:
        streams = {client.begin(path=f"/3/device/{device}"): device for device in devices}
        events = await client.read_until_closed()
    goaway = next(event for event in events if isinstance(event, ConnectionTerminated))
    refused = {
        event.stream_id
        for event in events
        if isinstance(event, StreamReset) and event.error_code == ErrorCodes.REFUSED_STREAM
    }
    denied = {streams[each] for each in {*refused, *(each for each in streams if each > (goaway.last_stream_id or 0))}}
    assert devices[4] in denied
    assert not denied & {entry["to"] for entry in entries(box)}


@pytest.mark.parametrize(("fault", "kept"), [({"cut": "before"}, 0), ({"cut": "after"}, 1)])
async def test_a_cut_connection_keeps_what_was_taken(box: Sandbox, fault: dict[str, object], kept: int) -> None:
    play(box, fault)
    assert (await send(box)).closed
    assert [entry["answered"] for entry in entries(box)] == [False] * kept


async def test_a_hanging_request_does_not_hold_up_the_sandbox(data: Path) -> None:
    async with running(Options(data=data)) as box:
        play(box, {"hang": True})
        async with connected(box) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.send(), 0.2)
        async with connected(box) as other:
            assert (await other.send()).status == 200
            play(box, {"hang": True})
            hanging = asyncio.create_task(other.send(), name="hanging")
            await eventually(lambda: all(scripted.spent for scripted in box.script.rules))
            stopping_from = time.monotonic()
    assert time.monotonic() - stopping_from < 5
    hanging.cancel()
    await asyncio.wait([hanging])


async def test_answers_wait_for_the_clients_flow_control_window(box: Sandbox) -> None:
    play_always = {"provider": "apns", "times": None, "fault": {"status": 400, "body": {"reason": "x" * 20_000}}}
    box.script.add(Rule.model_validate(play_always))
    async with connected(box) as client:
        for _ in range(3):
            assert (await client.send()).ended
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send(), 0.2)
        client._http2.increment_flow_control_window(100_000)
        assert (await client.send()).ended


async def test_a_client_that_does_not_speak_http2_is_dropped(box: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(box.credentials.ca_file))
    reader, writer = await asyncio.open_connection("localhost", box.addresses.apns_port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.transport.abort()
