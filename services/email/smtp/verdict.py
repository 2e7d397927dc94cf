"""What a relay's answer or its silence means for the delivery: pure functions.

The enhanced status code (RFC 3463) outranks the reply code. A code that is in no table means what its class means (RFC
5321, 4.2.1). The text of a reply is not kept: relays quote addresses in it. A code may blame the recipient where the
relay refuses us; ``shared.delivery.witnesses`` finds that out.
"""

import re
import ssl

import aiosmtplib

from shared.core.errors import (
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

    Use ``verdict_after_data`` after the final dot: there the same silence means ``OutcomeUnknown``.
    """
    match error:
        case _ if _is_tls_refusal(error):
            return ProviderMisconfigured(Reason.AUTH, f"TLS {type(_root(error)).__name__}")
        case aiosmtplib.SMTPRecipientsRefused() if error.recipients:
            return verdict(error.recipients[0])
        case aiosmtplib.SMTPConnectResponseError() if error.code >= 500:
            # RFC 5321, 3.1: 554 instead of a greeting. The relay knows no recipient yet.
            return ProviderMisconfigured(Reason.REJECTED, f"greeting {error.code}")
        case aiosmtplib.SMTPResponseException():
            return _of_reply(error)
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return TemporaryFailure(Reason.TIMEOUT, "connect")
        case ConnectionError() | OSError():
            return TemporaryFailure(Reason.NETWORK, type(error).__name__)
        case _:
            # aiosmtplib has no error class for a relay that does not offer STARTTLS or AUTH.
            return ProviderMisconfigured(Reason.AUTH, "STARTTLS or AUTH is not offered as configured")


def verdict_after_data(error: Exception) -> DeliveryError:
    """Say what an error means after the mail was sent up to its final dot: only a clear refusal counts as one."""
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
    # Security and policy have many codes for one cause (RFC 3463, 3.8).
    return _of_code(error, enhanced, detail).said("5.7" if enhanced.startswith("5.7.") else enhanced or str(error.code))


def _of_code(error: aiosmtplib.SMTPResponseException, enhanced: str, detail: str) -> DeliveryError:
    if enhanced in _MAILBOX_FULL:
        return TemporaryFailure(Reason.MAILBOX_FULL, detail)
    if enhanced in _TOO_LARGE:
        return PermanentFailure(Reason.TOO_LARGE, detail)
    if isinstance(error, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError):
        return _about_this_mail(error.code, enhanced, detail)
    return _about_us(error, enhanced, detail)


def _about_this_mail(code: int, enhanced: str, detail: str) -> DeliveryError:
    """Read an answer to RCPT, to DATA or to the content: it judges this recipient and this mail.

    This holds for 5.7.1, too, which every spam filter and closed mailing list says (RFC 3463, 3.8: "the sender is not
    authorized to send to the destination"): one such recipient must not stop the mail of all others. Only if many
    recipients get it, it is about us.
    """
    if enhanced in _GONE:
        return RecipientGone(detail)
    # RFC 6647, 2.1: greylisting; sending limits come with codes of this group, too.
    if enhanced.startswith("4.7."):
        return TemporaryFailure(Reason.RATE_LIMITED, detail)
    if (enhanced or str(code)).startswith("4"):
        return TemporaryFailure(Reason.UNAVAILABLE, detail)
    if code == _NO_MAIL_THERE:
        return RecipientGone(detail)
    # Of these, 552 is older than its finer codes.
    return PermanentFailure(Reason.TOO_LARGE if code == _TOO_MUCH_STORAGE and not enhanced else Reason.REJECTED, detail)


def _about_us(error: aiosmtplib.SMTPResponseException, enhanced: str, detail: str) -> DeliveryError:
    """Read an answer to EHLO, STARTTLS, AUTH or MAIL: no recipient was named yet, so an address in it is ours."""
    if (enhanced or str(error.code)).startswith("4"):
        return TemporaryFailure(Reason.UNAVAILABLE, detail)
    if enhanced.startswith("5.6."):
        # RFC 3463, 3.7: the content or its encoding, which MAIL announces.
        return PermanentFailure(Reason.REJECTED, detail)
    if error.code == _TOO_MUCH_STORAGE:
        # RFC 1870, 6.1: the answer to a SIZE that the relay does not take.
        return PermanentFailure(Reason.TOO_LARGE, detail)
    # RFC 3463, 3.8: security or policy; RFC 4954, 6: 5.7.8, 5.7.9 and 5.7.11 are about credentials.
    is_auth = enhanced.startswith("5.7.") or error.code in _AUTH_REPLIES
    is_auth |= isinstance(error, aiosmtplib.SMTPAuthenticationError)
    return ProviderMisconfigured(Reason.AUTH if is_auth else Reason.REJECTED, detail)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_tls_refusal(error: Exception) -> bool:
    """Tell a failed handshake from a connection that was cut during one."""
    root = _root(error)
    return isinstance(root, ssl.SSLError) and not isinstance(root, ssl.SSLEOFError | ssl.SSLZeroReturnError)
