"""Header fields by which a relay's later report can be told to be about one mail.

Most reports name the mail by its Message-ID. These relays replace it, or leave it out of complaints, and repeat a field
of their own instead.
"""

from collections.abc import Mapping

from services.email.smtp.relays import Relay

# twilio.com/docs/sendgrid/for-developers/sending-email/unique-arguments: repeated in every event, as a property of it.
_SENDGRID = {"X-SMTPAPI": '{"unique_args":{"carillon":"{}"}}'}
# postmarkapp.com/support/article/1125-custom-metadata-faq: repeated in bounces and complaints as Metadata.
_POSTMARK = {"X-PM-Metadata-carillon": "{}"}

_BY_HOST: Mapping[str, Mapping[str, str]] = {"sendgrid.net": _SENDGRID, "postmarkapp.com": _POSTMARK}
_NONE: Mapping[str, str] = {}


def marks(relay: Relay) -> Mapping[str, str]:
    """Return the fields for mails through a relay, with ``{}`` for the reference of the mail."""
    host = relay.host.lower().rstrip(".")
    return next((fields for domain, fields in _BY_HOST.items() if host.endswith(f".{domain}")), _NONE)
