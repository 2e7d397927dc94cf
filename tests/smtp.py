"""What the tests of the email channel share: attempts, settings, and a relay that follows a script line by line."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.email.settings import EmailSettings
from shared.model import Attempt, Channel, Content, Delivery, EmailAddress, Notification, Priority
from tests.waiting import eventually

ID = "01893e4a-0000-7003-8000-000000000000"


def attempt(to: str = "user123@example.com", title: str = "Hello", message: str = "Good morning.") -> Attempt:
    delivery = Delivery(
        key="email:user123",
        channel=Channel.EMAIL,
        priority=Priority.NORMAL,
        address=EmailAddress(email=to),
        due_ms=0,
        expires_ms=10**13,
    )
    notification = Notification(
        id=ID,
        kind="email_send",
        priority=Priority.NORMAL,
        accepted_ms=0,
        content=Content(title=title, message=message),
    )
    return Attempt(notification, delivery, number=1, in_doubt=False, deadline=datetime.now(UTC))


def email_settings(*urls: str, **others: Any) -> EmailSettings:
    return EmailSettings.model_validate(
        {
            "mqtt_url": "mqtt://localhost",
            "redis_url": "redis://localhost",
            "email_smtp_url": ",".join(urls),
            "email_from": "Carillon <notifications@example.com>",
            **others,
        }
    )


@dataclass
class Relay:
    """A relay that answers each command from a script, and counts.

    Attributes:
        script: for each connection in turn, the answers that differ from a polite relay's, by the command's first word;
            GREETING and CONTENT stand for the two that follow no command, None for closing without a word.
    """

    script: list[dict[str, str | None]] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    commands: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        special = self.script[self.connections] if self.connections < len(self.script) else {}
        self.connections += 1
        self.open += 1
        self.writers.append(writer)
        usual = {
            "GREETING": "220 localhost", "EHLO": "250-localhost\r\n250 SIZE 1000000", "DATA": "354 go on",
            "CONTENT": "250 2.0.0 Ok: queued as 4bQ7xyz", "QUIT": "221 bye",
        }  # fmt: skip
        word = "GREETING"
        try:
            while (answer := {**usual, **special}.get(word, "250 2.0.0 Ok")) is not None:
                writer.write(f"{answer}\r\n".encode())
                await writer.drain()
                if answer.startswith("354"):
                    self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                    word = "CONTENT"
                elif word == "QUIT" or answer.startswith("421"):
                    break
                else:
                    word = (await reader.readuntil(b"\r\n")).split()[0].decode()
                    self.commands.append(word)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def relay(*script: dict[str, str | None], tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    scripted = Relay(list(script))
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        scripted.url = f"smtp://127.0.0.1:{port}?tls={'implicit' if tls else 'none'}"
        yield scripted
        for writer in scripted.writers:
            writer.transport.abort()
        await eventually(lambda: scripted.open == 0)
