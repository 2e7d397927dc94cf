"""Settings of the email service.

Promises that every relay, the sender and the CA file can be used as they stand, so that a wrong setting ends the
process at once and not the first delivery.
"""

import ssl
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from services.email.smtp.relays import Relay, Sender, parse_relays, parse_sender
from services.email.unsubscribe import Unsubscribe
from shared.runtime.settings import CommonSettings, UnsubscribeSettings


class EmailSettings(UnsubscribeSettings):
    """What the email service reads."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, "EMAIL_")

    ops_port: int = Field(9101, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    email_smtp_url: SecretStr = Field(
        description="smtp://[user:pass@]host:port[?tls=none|starttls|implicit], several in order of preference"
    )
    email_from: str = Field(description="the sender: Name <address>")
    email_concurrency: int = Field(10, ge=1, le=1000, description="sends in flight")
    email_claim_ahead: bool = Field(
        False, description="true: claims more mails than it sends at once while the relay is fast"
    )
    email_ca_file: Path | None = Field(None, description="CA bundle of the relays, default the system's")

    @property
    def relays(self) -> tuple[Relay, ...]:
        """Whom to hand mail to, the preferred one first."""
        return parse_relays(self.email_smtp_url.get_secret_value())

    @property
    def sender(self) -> Sender:
        """Who the mail is from."""
        return parse_sender(self.email_from)

    @property
    def unsubscribe(self) -> Unsubscribe | None:
        """How recipients unsubscribe with one click; None where they cannot."""
        if self.email_unsubscribe_url is None or self.email_unsubscribe_secret is None:
            return None
        return Unsubscribe(self.email_unsubscribe_url.rstrip("/"), self.email_unsubscribe_secret.get_secret_value())

    def tls_context(self) -> ssl.SSLContext:
        """Build what verifies the relays' certificates; reads files."""
        return ssl.create_default_context(cafile=self.email_ca_file)

    @field_validator("email_smtp_url")
    @classmethod
    def _are_relays(cls, value: SecretStr) -> SecretStr:
        parse_relays(value.get_secret_value())
        return value

    @field_validator("email_from")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        parse_sender(value)
        return value

    @field_validator("email_ca_file")
    @classmethod
    def _is_ca_bundle(cls, value: Path | None) -> Path | None:
        try:
            ssl.create_default_context(cafile=value)
        except OSError:
            # ssl.SSLError is one, too: the file is not there, or it is not PEM.
            raise ValueError("the file cannot be read as PEM certificates") from None
        return value
