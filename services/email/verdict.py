"""What a relay's answer, or its silence, means for the delivery: a pure function.

The enhanced status code (RFC 3463) outranks the reply code, and a code that is in no table means what its class means
(RFC 5321, 4.2.1). The text of a reply is not kept: relays quote addresses in it.
"""

import re
import ssl

import aiosmtplib

from shared.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)

# RFC 2034, 4: the code stands at the start of the text and repeats the class of the reply.
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\S)")

# RFC 3463, 3.2, unless another document is named.
_GONE = frozenset(
    {
        "5.1.1",  # bad destination mailbox address
        "5.1.2",  # bad destination system address
        "5.1.6",  # the mailbox has moved, no forwarding address
        "5.1.10",  # RFC 7505, 5: the domain has a null MX
        "5.2.1",  # RFC 3463, 3.3: mailbox disabled, not accepting messages
    }
)
_MAILBOX_FULL = frozenset({"4.2.2", "5.2.2"})  # RFC 3463, 3.3
_TOO_LARGE = frozenset({"5.2.3", "5.3.4"})  # RFC 3463, 3.3 and 3.4: over a limit of the mailbox, of the system

# RFC 4954, 6, and RFC 3207, 4 for 530: authentication or encryption required, refused, or too weak.
_AUTH_REPLIES = frozenset({530, 534, 535, 538})
_TOO_MUCH_STORAGE = 552  # RFC 5321, 4.2.3: exceeded storage allocation
_NO_MAIL_THERE = 556  # RFC 7504, 4: the domain does not accept mail


def verdict(error: Exception) -> DeliveryError:
    """Say what an error of aiosmtplib or of the connection means while the mail has not been handed over.

    After the final dot the same silence means ``OutcomeUnknown``; ``verdict_after_data`` is for that.
    """
    match error:
        case _ if _is_tls_refusal(error):
            return ProviderMisconfigured(Reason.AUTH, f"TLS {type(_root(error)).__name__}")
        case aiosmtplib.SMTPRecipientsRefused() if error.recipients:
            return verdict(error.recipients[0])
        case aiosmtplib.SMTPConnectResponseError() if error.code >= 500:
            # RFC 5321, 3.1: 554 instead of a greeting; it knows nothing of any recipient yet.
            return ProviderMisconfigured(Reason.REJECTED, f"greeting {error.code}")
        case aiosmtplib.SMTPResponseException():
            return _of_reply(error)
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return TemporaryFailure(Reason.TIMEOUT, "connect")
        case ConnectionError() | OSError():
            return TemporaryFailure(Reason.NETWORK, type(error).__name__)
        case _:
            # aiosmtplib says only so, without a class of its own, that STARTTLS or AUTH is not offered.
            return ProviderMisconfigured(Reason.AUTH, "STARTTLS or AUTH is not offered as configured")


def verdict_after_data(error: Exception) -> DeliveryError:
    """Say what an error means after the mail was sent to its final dot: only a clear refusal is one."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        if 400 <= error.code < 600:
            return _of_reply(error)
        return OutcomeUnknown(Reason.BAD_ANSWER, "no SMTP reply after the final dot")
    reason = Reason.TIMEOUT if isinstance(error, TimeoutError) else Reason.NETWORK
    return OutcomeUnknown(reason, f"{type(error).__name__} after the final dot")


def _of_reply(error: aiosmtplib.SMTPResponseException) -> DeliveryError:
    if not 400 <= error.code < 600:
        return TemporaryFailure(Reason.BAD_ANSWER, "not an SMTP reply that fits")
    found = _ENHANCED.match(error.message)
    enhanced = found[0] if found and found[1] != "2" else ""
    detail = f"{error.code} {enhanced}".rstrip()
    refuses_us = isinstance(
        error, aiosmtplib.SMTPAuthenticationError | aiosmtplib.SMTPSenderRefused | aiosmtplib.SMTPHeloError
    )
    known = _of_recipient(enhanced, detail) if not refuses_us else None
    if known := known or _of_enhanced(enhanced, detail):
        return known
    if (enhanced or str(error.code)).startswith("4"):
        return TemporaryFailure(Reason.UNAVAILABLE, detail)
    if error.code in _AUTH_REPLIES or isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return ProviderMisconfigured(Reason.AUTH, detail)
    if error.code == _TOO_MUCH_STORAGE:
        return PermanentFailure(Reason.TOO_LARGE, detail)
    if refuses_us:
        return ProviderMisconfigured(Reason.REJECTED, detail)
    return RecipientGone(detail) if error.code == _NO_MAIL_THERE else PermanentFailure(Reason.REJECTED, detail)


def _of_recipient(enhanced: str, detail: str) -> DeliveryError | None:
    """Read a code about an address; in an answer to MAIL or AUTH the address would be ours."""
    if enhanced in _GONE:
        return RecipientGone(detail)
    # RFC 6647, 2.1: greylisting; sending limits come with codes of this group, too.
    return TemporaryFailure(Reason.RATE_LIMITED, detail) if enhanced.startswith("4.7.") else None


def _of_enhanced(enhanced: str, detail: str) -> DeliveryError | None:
    if enhanced in _MAILBOX_FULL:
        return TemporaryFailure(Reason.MAILBOX_FULL, detail)
    if enhanced in _TOO_LARGE:
        return PermanentFailure(Reason.TOO_LARGE, detail)
    if enhanced.startswith("5.7."):
        # RFC 3463, 3.8: security or policy; RFC 4954, 6: 5.7.8, 5.7.9 and 5.7.11 are about credentials.
        return ProviderMisconfigured(Reason.AUTH, detail)
    # RFC 3463, 3.7: the content or its encoding.
    return PermanentFailure(Reason.REJECTED, detail) if enhanced.startswith("5.6.") else None


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_tls_refusal(error: Exception) -> bool:
    """Tell a failed handshake from a connection that was cut during one."""
    root = _root(error)
    return isinstance(root, ssl.SSLError) and not isinstance(root, ssl.SSLEOFError | ssl.SSLZeroReturnError)
