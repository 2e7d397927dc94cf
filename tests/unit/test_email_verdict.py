"""The relays' answers as a table."""

import ssl

import aiosmtplib
import pytest

from services.email.smtp.verdict import verdict, verdict_after_data
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)

SECRET = "user123@example.com"
Kind = type[DeliveryError]


def rcpt(reply: str) -> Exception:
    return aiosmtplib.SMTPRecipientRefused(int(reply[:3]), f"{reply[4:]} <{SECRET}>", SECRET)


def sender(reply: str) -> Exception:
    return aiosmtplib.SMTPSenderRefused(int(reply[:3]), f"{reply[4:]} <{SECRET}>", SECRET)


def data(reply: str) -> Exception:
    return aiosmtplib.SMTPDataError(int(reply[:3]), f"{reply[4:]} <{SECRET}>")


def auth(reply: str) -> Exception:
    return aiosmtplib.SMTPAuthenticationError(int(reply[:3]), reply[4:])


REPLIES: list[tuple[Exception, Kind, Reason]] = [
    # Temporary, by class or by enhanced code.
    (rcpt("421 4.3.2 closing"), TemporaryFailure, Reason.UNAVAILABLE),
    (rcpt("450 busy"), TemporaryFailure, Reason.UNAVAILABLE),
    (rcpt("451 4.7.1 greylisted"), TemporaryFailure, Reason.RATE_LIMITED),
    (data("451 local error"), TemporaryFailure, Reason.UNAVAILABLE),
    (data("452 4.3.1 disk full"), TemporaryFailure, Reason.UNAVAILABLE),
    (rcpt("452 4.2.2 over quota"), TemporaryFailure, Reason.MAILBOX_FULL),
    (rcpt("552 5.2.2 over quota"), TemporaryFailure, Reason.MAILBOX_FULL),
    (rcpt("550 4.2.1 the enhanced code outranks the class"), TemporaryFailure, Reason.UNAVAILABLE),
    (rcpt("552 4.5.3 too many recipients"), TemporaryFailure, Reason.UNAVAILABLE),
    (auth("454 4.7.0 try later"), TemporaryFailure, Reason.UNAVAILABLE),
    (sender("451 4.1.8 cannot resolve"), TemporaryFailure, Reason.UNAVAILABLE),
    # The address is gone.
    (rcpt("550 5.1.1 no such user"), RecipientGone, Reason.GONE),
    (rcpt("550 5.1.2 no such system"), RecipientGone, Reason.GONE),
    (rcpt("551 5.1.6 moved"), RecipientGone, Reason.GONE),
    (rcpt("556 5.1.10 null MX"), RecipientGone, Reason.GONE),
    (rcpt("556 no mail here"), RecipientGone, Reason.GONE),
    (rcpt("550 5.2.1 disabled"), RecipientGone, Reason.GONE),
    (data("550 5.1.1 no such user"), RecipientGone, Reason.GONE),
    (rcpt("450 5.1.1 the enhanced code outranks the class"), RecipientGone, Reason.GONE),
    # The mail is bad, or the refusal says nothing of the address.
    (sender("552 5.3.4 too big"), PermanentFailure, Reason.TOO_LARGE),
    (data("552 5.3.4 too big"), PermanentFailure, Reason.TOO_LARGE),
    (data("552 too big"), PermanentFailure, Reason.TOO_LARGE),
    (data("550 5.2.3 too big for the mailbox"), PermanentFailure, Reason.TOO_LARGE),
    (data("554 5.6.0 bad content"), PermanentFailure, Reason.REJECTED),
    (rcpt("550 refused"), PermanentFailure, Reason.REJECTED),
    (rcpt("550 5.1.10x is no code"), PermanentFailure, Reason.REJECTED),
    (rcpt("550 2.1.5 is no refusal"), PermanentFailure, Reason.REJECTED),
    (rcpt("553 5.1.3 syntax"), PermanentFailure, Reason.REJECTED),
    (data("554 refused"), PermanentFailure, Reason.REJECTED),
    # Policy about this recipient or this mail (RFC 3463, 3.8): everybody else's mail goes on.
    (rcpt("550 5.7.1 relaying denied"), PermanentFailure, Reason.REJECTED),
    (rcpt("550 5.7.1 members of the list only"), PermanentFailure, Reason.REJECTED),
    (rcpt("530 5.7.0 authentication required"), PermanentFailure, Reason.REJECTED),
    (rcpt("538 encryption required"), PermanentFailure, Reason.REJECTED),
    (data("535 5.7.8 odd"), PermanentFailure, Reason.REJECTED),
    (data("550 5.7.26 not authenticated"), PermanentFailure, Reason.REJECTED),
    (data("554 5.7.1 spam"), PermanentFailure, Reason.REJECTED),
    (data("552 5.7.0 virus"), PermanentFailure, Reason.REJECTED),
    (rcpt("450 4.7.1 greylisted"), TemporaryFailure, Reason.RATE_LIMITED),
    # They refuse us.
    (auth("535 5.7.8 wrong password"), ProviderMisconfigured, Reason.AUTH),
    (auth("535 wrong password"), ProviderMisconfigured, Reason.AUTH),
    (auth("500 5.5.6 line too long"), ProviderMisconfigured, Reason.AUTH),
    (auth("501 5.5.2 not base64"), ProviderMisconfigured, Reason.AUTH),
    (sender("530 5.7.0 authentication required"), ProviderMisconfigured, Reason.AUTH),
    (sender("538 encryption required"), ProviderMisconfigured, Reason.AUTH),
    (sender("550 5.7.1 you may not use this sender"), ProviderMisconfigured, Reason.AUTH),
    (aiosmtplib.SMTPHeloError(550, "5.7.1 blocked"), ProviderMisconfigured, Reason.AUTH),
    (aiosmtplib.SMTPConnectResponseError(550, "5.7.1 blocked"), ProviderMisconfigured, Reason.REJECTED),
    # What STARTTLS is answered with.
    (aiosmtplib.SMTPResponseException(554, "5.7.0 no TLS for you"), ProviderMisconfigured, Reason.AUTH),
    (sender("550 5.1.8 your domain does not exist"), ProviderMisconfigured, Reason.REJECTED),
    (sender("550 5.1.1 the address is ours"), ProviderMisconfigured, Reason.REJECTED),
    (sender("553 not your address"), ProviderMisconfigured, Reason.REJECTED),
    (aiosmtplib.SMTPHeloError(550, "bad name"), ProviderMisconfigured, Reason.REJECTED),
    (aiosmtplib.SMTPConnectResponseError(554, "no service"), ProviderMisconfigured, Reason.REJECTED),
    (aiosmtplib.SMTPConnectResponseError(421, "busy"), TemporaryFailure, Reason.UNAVAILABLE),
    (aiosmtplib.SMTPException("STARTTLS is not supported"), ProviderMisconfigured, Reason.AUTH),
    (ssl.SSLCertVerificationError("unknown CA"), ProviderMisconfigured, Reason.AUTH),
    # The connection.
    (ssl.SSLEOFError("cut"), TemporaryFailure, Reason.NETWORK),
    (aiosmtplib.SMTPServerDisconnected("cut"), TemporaryFailure, Reason.NETWORK),
    (aiosmtplib.SMTPConnectError("refused"), TemporaryFailure, Reason.NETWORK),
    (ConnectionRefusedError(), TemporaryFailure, Reason.NETWORK),
    (aiosmtplib.SMTPReadTimeoutError("slow"), TemporaryFailure, Reason.TIMEOUT),
    (TimeoutError(), TemporaryFailure, Reason.TIMEOUT),
    (aiosmtplib.SMTPResponseException(-1, "HTTP/1.1 400"), TemporaryFailure, Reason.BAD_ANSWER),
    (rcpt("354 what?"), TemporaryFailure, Reason.BAD_ANSWER),
]


@pytest.mark.parametrize(("error", "kind", "reason"), REPLIES, ids=[str(error.args) for error, _, _ in REPLIES])
def test_before_the_content_is_sent(error: Exception, kind: Kind, reason: Reason) -> None:
    found = verdict(error)
    assert (type(found), found.reason) == (kind, reason)
    assert SECRET not in str(found)


def test_a_tls_failure_is_found_behind_the_library_s_own_error() -> None:
    error = aiosmtplib.SMTPConnectError("cannot connect")
    error.__cause__ = ssl.SSLCertVerificationError("unknown CA")
    assert isinstance(verdict(error), ProviderMisconfigured)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (data("554 5.6.0 bad content"), PermanentFailure, Reason.REJECTED),
        (data("451 4.3.0 later"), TemporaryFailure, Reason.UNAVAILABLE),
        (data("354 what?"), OutcomeUnknown, Reason.BAD_ANSWER),
        (aiosmtplib.SMTPResponseException(-1, "HTTP/1.1"), OutcomeUnknown, Reason.BAD_ANSWER),
        (aiosmtplib.SMTPServerDisconnected("cut"), OutcomeUnknown, Reason.NETWORK),
        (ConnectionResetError(), OutcomeUnknown, Reason.NETWORK),
        (ssl.SSLError("record"), OutcomeUnknown, Reason.NETWORK),
        (aiosmtplib.SMTPReadTimeoutError("slow"), OutcomeUnknown, Reason.TIMEOUT),
    ],
)
def test_after_the_final_dot_only_a_clear_refusal_is_one(error: Exception, kind: Kind, reason: Reason) -> None:
    found = verdict_after_data(error)
    assert (type(found), found.reason) == (kind, reason)
    assert SECRET not in str(found)
