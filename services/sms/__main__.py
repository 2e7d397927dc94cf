"""Run the SMS service: ``python -m services.sms`` from the repository root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from services.sms.desk import Desk
from services.sms.settings import SmsSettings
from services.sms.twilio import twilio_providers
from shared.core.model import Channel
from shared.delivery.rules import Guarded, guarded
from shared.runtime.service import ChannelService, Context, run_channel
from shared.runtime.settings import load_or_exit

# A second SMS costs money and trust, and Twilio has no idempotency key. What is in doubt waits, critical ones excepted;
# a status callback ends the wait.
DOUBT_WAIT = timedelta(minutes=2)


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(SmsSettings)
    desks: list[Desk] = []

    def providers(context: Context[SmsSettings]) -> tuple[Guarded, ...]:
        desks.append(Desk(context))
        # Another provider is one more item, behind the same rules.
        return guarded(desks[0].rules, [*twilio_providers(settings, desks[0].texts)])

    @asynccontextmanager
    async def serve(_context: Context[SmsSettings]) -> AsyncIterator[None]:
        async with desks[0].serving():
            yield

    service = ChannelService[SmsSettings](
        channel=Channel.SMS,
        providers=providers,
        serve=serve,
        concurrency=settings.sms_concurrency,
        attempt_deadline=settings.delivery_attempt_deadline,
        doubt_wait=DOUBT_WAIT,
    )
    run_channel(service, settings)


if __name__ == "__main__":
    main()
