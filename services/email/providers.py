"""Which providers carry mail, the preferred one first: one line each."""

from collections.abc import Sequence
from typing import Any

from services.email.ses import SES
from services.email.settings import EmailSettings
from services.email.smtp.provider import SMTP
from shared.runtime.providers import Parts, ProviderKind, groups_of

PROVIDERS: Sequence[ProviderKind[Any, Parts[EmailSettings]]] = [
    SMTP,
    SES,
]


class EmailServiceSettings(EmailSettings):
    """All that the email service reads: the channel's settings and those of its providers."""

    groups = groups_of(PROVIDERS)
