"""The table of the providers whose reports are read; a provider whose secret is not set is not there."""

from collections.abc import Callable, Mapping

from services.realtime.bounces import mailgun, postmark, sendgrid, ses
from services.realtime.bounces.report import BounceProvider
from services.realtime.settings import RealtimeSettings

# By the last part of the path.
PROVIDERS: Mapping[str, Callable[[RealtimeSettings], BounceProvider | None]] = {
    "ses": ses.build,
    "sendgrid": sendgrid.build,
    "postmark": postmark.build,
    "mailgun": mailgun.build,
}


def configured(settings: RealtimeSettings) -> dict[str, BounceProvider]:
    """Build those whose secret is set."""
    built = {name: build(settings) for name, build in PROVIDERS.items()}
    return {name: provider for name, provider in built.items() if provider is not None}
