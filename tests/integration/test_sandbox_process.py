"""The sandbox as a process: readiness, end, journal, credentials and settings."""

import asyncio
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import aiohttp
import aiosmtplib
import pytest

from sandbox.credentials import FCM_FILE, KEY_FILES, prepare, service_environment
from sandbox.kept import Effect, Kept
from sandbox.server import Options, running

ROOT = Path(__file__).parents[2]


@contextmanager
def started(data: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m sandbox` on free ports until it is ready."""
    command = [sys.executable, "-m", "sandbox", "--data", str(data), *arguments]
    ports = ["--http-port", "0", "--smtp-port", "0", "--apns-port", "0"]
    with subprocess.Popen([*command, *ports], cwd=ROOT, stderr=subprocess.PIPE) as process:  # noqa: S603
        try:
            deadline = time.monotonic() + 30
            while not (data / "sandbox.json").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def addresses(data: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((data / "sandbox.json").read_bytes())
    return loaded


def files_in(folder: Path) -> set[str]:
    return {str(path) for path in folder.iterdir()}


async def send_mail(port: object, to: str = "user@example.com") -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "sender@example.com", to, "Hello"
    mail["X-Carillon-Notification"] = "notification-1"
    mail.set_content("Good morning.")
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=int(str(port)), timeout=5)


async def test_it_is_ready_when_sandbox_json_is_there_and_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        where = addresses(tmp_path)
        assert where["pid"] == process.pid
        async with aiohttp.ClientSession() as session, session.get(f"{where['http_url']}/healthz") as answer:
            assert await answer.json() == {"status": "ok", "entries": 0}
        async with aiohttp.ClientSession(str(where["http_url"])) as session:
            await session.post("/script", json={"provider": "webpush", "fault": {"hang": True}})
        _, hanging = await asyncio.open_connection("127.0.0.1", int(str(where["http_port"])))
        hanging.write(b"POST /webpush/user123 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=int(str(where["smtp_port"]))):
            stopping_from = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, logs = await asyncio.to_thread(process.communicate, timeout=20)
        hanging.close()
    assert process.returncode == 0
    assert time.monotonic() - stopping_from < 5
    assert not (tmp_path / "sandbox.json").exists()
    [line] = logs.splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["http_port"]) == ("The sandbox is ready.", where["http_port"])


async def test_the_journal_names_every_effect_before_it_is_answered(tmp_path: Path) -> None:
    journal = tmp_path / "journal" / "effects.jsonl"
    with started(tmp_path, "--journal", str(journal)) as process:
        port = addresses(tmp_path)["smtp_port"]
        await asyncio.gather(*(send_mail(port, f"user{number}@example.com") for number in range(10)))
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["n"] for line in lines] == list(range(1, 11))
    assert {line["to"] for line in lines} == {f"user{number}@example.com" for number in range(10)}
    assert {tuple(line) for line in lines} == {("n", "provider", "to", "id", "at", "notification_id")}
    assert {(line["provider"], line["notification_id"]) for line in lines} == {("smtp", "notification-1")}


async def test_what_a_killed_sandbox_left_behind_does_not_look_ready(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        process.kill()
        process.wait()
        assert addresses(tmp_path)["pid"] == process.pid
    async with running(Options(data=tmp_path)):
        assert addresses(tmp_path)["pid"] == os.getpid()


def test_a_taken_port_is_one_clear_line_and_a_failure(tmp_path: Path) -> None:
    with started(tmp_path) as _:
        port = str(addresses(tmp_path)["http_port"])
        command = [sys.executable, "-m", "sandbox", "--data", str(tmp_path / "other"), "--http-port", port]
        command += ["--smtp-port", "0", "--apns-port", "0"]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30, check=False)  # noqa: S603
    assert second.returncode == 1
    [line] = second.stderr.splitlines()
    assert "in use" in json.loads(line)["event"]


def test_credentials_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    first = prepare(tmp_path)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert prepare(tmp_path) == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


async def test_the_settings_point_every_channel_at_the_sandbox(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        service_environment(tmp_path)
    async with running(Options(data=tmp_path)) as box:
        environment = service_environment(tmp_path)
        account = json.loads(box.credentials.fcm_file.read_bytes())
        assert environment["EMAIL_SMTP_URL"] == f"smtp://127.0.0.1:{box.addresses.smtp_port}?tls=none"
        assert environment["PUSH_APNS_URL"] == f"https://127.0.0.1:{box.addresses.apns_port}"
        assert environment["SMS_TWILIO_BASE_URL"] == environment["PUSH_FCM_URL"] == box.addresses.http_url
        assert environment["PUSH_WEBPUSH_ALLOWED_HOSTS"] == f"127.0.0.1:{box.addresses.http_port}"
        files = {path for name, path in environment.items() if name.endswith("_FILE")}
        assert files < files_in(tmp_path)
        assert account["token_uri"] == f"{box.addresses.http_url}/token"


async def test_it_takes_the_keys_that_senders_have_and_answers_under_the_name_that_they_use(tmp_path: Path) -> None:
    keys, data = tmp_path / "keys", tmp_path / "data"
    prepared = prepare(keys)
    before = {name: (keys / name).read_bytes() for name in KEY_FILES}
    # Every address, as in a cluster; the name is one that this machine knows, too.
    async with running(Options(data=data, host="0.0.0.0", name="localhost", keys=keys)) as box:  # noqa: S104
        assert replace(box.credentials, data=keys) == prepared
        environment = service_environment(data)
        assert environment["PUSH_FCM_URL"] == f"http://localhost:{box.addresses.http_port}"
        context = ssl.create_default_context(cafile=str(prepared.ca_file))
        where = ("localhost", box.addresses.apns_port)
        _, writer = await asyncio.open_connection(*where, ssl=context)
        writer.close()
        account = json.loads(box.credentials.fcm_file.read_bytes())
        assert account["private_key"] == json.loads(before[FCM_FILE])["private_key"]
        assert account["token_uri"] == f"{environment['PUSH_FCM_URL']}/token"
    # They may be mounted read-only.
    assert {name: (keys / name).read_bytes() for name in KEY_FILES} == before
    (keys / FCM_FILE).unlink()
    with pytest.raises(FileNotFoundError):
        async with running(Options(data=tmp_path / "other", keys=keys)):
            pass


async def fill(kept: Kept, count: int) -> Kept:
    for number in range(count):
        content = {"title": str(number), "body": ""}
        await kept.keep(Effect("sms", "twilio", f"+1555{number % 2}", str(number), content, size_bytes=10))
    return kept


async def test_beyond_its_bounds_the_oldest_of_what_is_kept_goes() -> None:
    few = await fill(Kept(max_entries=3), 5)
    assert [entry.n for entry in few.select()] == [3, 4, 5]
    assert few.first_n == 3
    small = await fill(Kept(max_size_bytes=25), 5)
    assert [entry.n for entry in small.select()] == [4, 5]


async def test_what_is_kept_is_selected_by_number_address_and_count() -> None:
    kept = await fill(Kept(), 6)
    assert [entry.n for entry in kept.select(since=4)] == [5, 6]
    assert [entry.n for entry in kept.select(to="+15551")] == [2, 4, 6]
    assert [entry.n for entry in kept.select(to="+15551", limit=2)] == [4, 6]
    assert kept.select(channel="email") == []
    kept.clear()
    assert (len(kept), kept.first_n) == (0, 7)
