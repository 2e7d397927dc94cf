"""Settings of the email channel, whoever carries the mail.

Promises that the sender is usable: a wrong setting ends the process at the start, not the first delivery.
"""

from typing import ClassVar

from pydantic import Field, field_validator

from services.email.sender import Sender, parse_sender
from services.email.unsubscribe import Unsubscribe
from shared.core.model import Channel
from shared.runtime.settings import (
    AnswerLinkSenderSettings,
    AnswerLinkSettings,
    ChannelSettings,
    CommonSettings,
    UnsubscribeSettings,
    secrets_in,
)


class EmailSettings(UnsubscribeSettings, AnswerLinkSenderSettings, ChannelSettings):
    """What every provider of mail reads; ``services.email.providers`` adds the settings of each provider."""

    prefixes: ClassVar[tuple[str, ...]] = (*CommonSettings.prefixes, *AnswerLinkSettings.answer_link_prefixes, "EMAIL_")
    channel: ClassVar[Channel] = Channel.EMAIL

    ops_port: int = Field(9101, ge=0, le=65535, description="port of /healthz, /readyz and /metrics")
    email_from: str = Field(description="the sender: Name <address>")
    email_concurrency: int = Field(10, ge=1, le=1000, description="sends in flight")
    email_claim_ahead: bool = Field(
        False, description="true: claims more mails than it sends at once while the relay is fast"
    )

    @property
    def sender(self) -> Sender:
        """Who the mail is from."""
        return parse_sender(self.email_from)

    @property
    def unsubscribe(self) -> Unsubscribe | None:
        """How recipients unsubscribe with one click; None where they cannot."""
        if self.email_unsubscribe_url is None or self.email_unsubscribe_secret is None:
            return None
        return Unsubscribe(self.email_unsubscribe_url.rstrip("/"), secrets_in(self.email_unsubscribe_secret)[0])

    @field_validator("email_from")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        parse_sender(value)
        return value
