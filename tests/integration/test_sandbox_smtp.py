"""The sandbox's SMTP relay, spoken to by aiosmtplib and by hand."""

import asyncio
import ssl
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path

import aiosmtplib
import pytest

from sandbox.script import Rule
from sandbox.server import Options, Sandbox, running


def play(box: Sandbox, fault: dict[str, object], to: str | None = None) -> None:
    box.script.add(Rule.model_validate({"provider": "smtp", "to": to, "fault": fault}))


def a_mail(to: str = "user@example.com", subject: str = "Hello") -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "sender@example.com"
    mail["To"] = to
    mail["Subject"] = subject
    mail["X-Carillon-Notification"] = "notification-1"
    mail.set_content("Good morning.\n.A line that starts with a dot.\n")
    return mail


async def send(box: Sandbox, mail: EmailMessage | None = None, timeout_s: float = 5) -> None:
    port = box.addresses.smtp_port
    await aiosmtplib.send(mail or a_mail(), hostname="127.0.0.1", port=port, timeout=timeout_s)


def entries(box: Sandbox) -> list[dict[str, object]]:
    return [entry.as_json() for entry in box.kept.select()]


async def test_a_mail_stands_in_the_outbox_with_text_html_and_headers(box: Sandbox) -> None:
    mail = a_mail(subject="Grüße, and a subject that is long enough to be folded over two lines of the header")
    mail.add_alternative("<p>Good morning.</p>", subtype="html")
    await send(box, mail)
    [entry] = entries(box)
    assert entry["to"] == "user@example.com"
    assert entry["title"] == mail["Subject"]
    assert entry["body"] == "Good morning.\n.A line that starts with a dot.\n"
    assert entry["html_body"] == "<p>Good morning.</p>\n"
    assert ["X-Carillon-Notification", "notification-1"] in entry["headers"]  # type: ignore[operator]
    assert entry["notification_id"] == "notification-1"
    assert entry["size_bytes"] == len(mail.as_bytes(policy=SMTP_POLICY))
    assert entry["answered"] is True


async def test_every_recipient_has_an_entry_of_his_own(box: Sandbox) -> None:
    await send(box, a_mail(to="one@example.com, two@example.com"))
    assert [entry["to"] for entry in entries(box)] == ["one@example.com", "two@example.com"]
    assert len({str(entry["id"]) for entry in entries(box)}) == 2


async def test_addresses_and_headers_may_be_utf8(box: Sandbox) -> None:
    await send(box, a_mail(to="jörg@example.com"))
    assert entries(box)[0]["to"] == "jörg@example.com"


async def test_an_attachment_is_named_and_a_broken_mail_still_shown(box: Sandbox) -> None:
    mail = a_mail()
    mail.add_attachment(b"\x00" * 100, maintype="application", subtype="pdf", filename="report.pdf")
    await send(box, mail)
    broken = b"Subject: =?utf-9?q?x?=\r\nContent-Type: text/plain; charset=none\r\n\r\n\xff\r\n"
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=box.addresses.smtp_port) as client:
        await client.sendmail("sender@example.com", ["user@example.com"], broken)
    first, second = entries(box)
    assert first["attachments"] == [{"type": "application/pdf", "name": "report.pdf", "size_bytes": 100}]
    assert second["title"] == "=?utf-9?q?x?="
    assert second["body"] == "\ufffd\n"


async def test_pipelined_commands_are_answered_one_by_one(box: Sandbox) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", box.addresses.smtp_port)
    writer.write(b"EHLO client\r\n")
    greeting = b""
    while not greeting.endswith(b"250 HELP\r\n"):
        greeting += await reader.read(1000)
    assert b"250-PIPELINING\r\n" in greeting
    writer.write(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n")
    replies = [await reader.readline() for _ in range(3)]
    assert [reply[:3] for reply in replies] == [b"250", b"250", b"354"]
    writer.write(b"Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
    assert (await reader.readline()).startswith(b"250 2.0.0")
    writer.close()
    await writer.wait_closed()
    assert len(entries(box)) == 1


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ({"reply": "451 4.7.1 Greylisted", "at": "mail"}, aiosmtplib.SMTPSenderRefused, 451),
        ({"reply": "550 5.1.1 No such user", "at": "rcpt"}, aiosmtplib.SMTPRecipientsRefused, None),
        ({"reply": "452 4.3.1 Full"}, aiosmtplib.SMTPDataError, 452),
        ({"reply": "421 4.3.2 Closing", "at": "mail"}, aiosmtplib.SMTPSenderRefused, 421),
        ({"status": 554, "code": "5.6.0", "body": "Bad content"}, aiosmtplib.SMTPDataError, 554),
        ({"operator": True}, aiosmtplib.SMTPSenderRefused, 535),
    ],
)
async def test_a_scripted_refusal_reaches_the_client_once(
    box: Sandbox, fault: dict[str, object], error: type[aiosmtplib.SMTPException], code: int | None
) -> None:
    play(box, fault)
    with pytest.raises(error) as caught:
        await send(box)
    if code is not None:
        assert getattr(caught.value, "code") == code  # noqa: B009  # the union of errors has no common code.
    assert entries(box) == []
    await send(box)
    assert len(entries(box)) == 1


async def test_a_fault_for_one_address_leaves_the_others_alone(box: Sandbox) -> None:
    play(box, {"reply": "550 5.1.1 No such user", "at": "rcpt"}, to="gone@example.com")
    await send(box)
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
        await send(box, a_mail(to="gone@example.com"))


@pytest.mark.parametrize(
    ("fault", "kept"),
    [
        ({"cut": "before"}, 0),
        ({"cut": "before", "at": "rcpt"}, 0),
        ({"hang": True}, 0),
        ({"hang": "after"}, 1),
        ({"cut": "after"}, 1),
        ({"delay_s": 30}, 1),
    ],
)
async def test_a_silent_relay_keeps_what_it_took(box: Sandbox, fault: dict[str, object], kept: int) -> None:
    play(box, fault)
    with pytest.raises(aiosmtplib.SMTPException) as caught:
        await send(box, timeout_s=0.3)
    assert isinstance(caught.value, ConnectionError | TimeoutError)
    assert len(entries(box)) == kept
    if kept:
        assert entries(box)[0]["answered"] is ("delay_s" in fault)


async def test_a_mail_that_cannot_be_journalled_is_not_answered_as_taken(data: Path) -> None:
    async with running(Options(data=data, journal=Path("/dev/full"))) as box:
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await send(box)
        assert caught.value.code == 451


async def test_a_client_that_leaves_in_the_middle_of_starttls_is_forgotten(data: Path) -> None:
    async with running(Options(data=data, smtp_user="carillon", smtp_password="right")) as box:
        reader, writer = await asyncio.open_connection("127.0.0.1", box.addresses.smtp_port)
        writer.write(b"EHLO client\r\nSTARTTLS\r\n")
        while not (await reader.readline()).startswith(b"220 Ready"):
            pass
        writer.close()
        await writer.wait_closed()
    # The end of the sandbox waits for every connection that it still knows.


async def test_a_client_that_does_not_know_the_authority_leaves_no_trace(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Options(data=data, smtp_user="carillon", smtp_password="right")) as box:
        with pytest.raises((ssl.SSLError, aiosmtplib.SMTPException)):
            await aiosmtplib.send(a_mail(), hostname="127.0.0.1", port=box.addresses.smtp_port, start_tls=True)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_with_a_user_the_relay_wants_starttls_and_the_right_password(data: Path) -> None:
    async with running(Options(data=data, smtp_user="carillon", smtp_password="right")) as box:
        trusting = ssl.create_default_context(cafile=str(box.credentials.ca_file))

        async def log_in(password: str, *, encrypted: bool = True) -> None:
            await aiosmtplib.send(
                a_mail(),
                hostname="127.0.0.1",
                port=box.addresses.smtp_port,
                start_tls=encrypted,
                tls_context=trusting if encrypted else None,
                username="carillon" if encrypted else None,
                password=password if encrypted else None,
            )

        with pytest.raises(aiosmtplib.SMTPResponseException, match="STARTTLS"):
            await log_in("right", encrypted=False)
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await log_in("wrong")
        play(box, {"reply": "454 4.7.0 Temporary authentication failure", "at": "auth"})
        with pytest.raises(aiosmtplib.SMTPAuthenticationError, match="Temporary"):
            await log_in("right")
        play(box, {"operator": True})
        with pytest.raises(aiosmtplib.SMTPAuthenticationError, match="invalid"):
            await log_in("right")
        await log_in("right")
        assert len(entries(box)) == 1
        assert box.addresses.smtp_url == f"smtp://carillon:right@127.0.0.1:{box.addresses.smtp_port}?tls=starttls"
