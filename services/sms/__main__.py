"""Run the SMS service: ``python -m services.sms`` from the repository root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from services.sms.desk import Desk
from services.sms.providers import PROVIDERS, SmsServiceSettings
from services.sms.settings import SmsSettings
from shared.core.model import Channel
from shared.delivery.rules import Guarded, guarded
from shared.runtime.providers import build_providers, routes_of
from shared.runtime.service import ChannelService, Context, run_channel
from shared.runtime.settings import load_or_exit

# A second SMS costs money and trust, and providers take no idempotency key. So an SMS in doubt waits before it is tried
# again, unless it is critical. A status callback ends the wait.
DOUBT_WAIT = timedelta(minutes=2)


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(SmsServiceSettings)
    desks: list[Desk] = []

    def providers(context: Context[SmsSettings]) -> tuple[Guarded, ...]:
        desks.append(Desk(context))
        return guarded(desks[0].rules, build_providers(PROVIDERS, desks[0]))

    @asynccontextmanager
    async def serve(_context: Context[SmsSettings]) -> AsyncIterator[None]:
        async with desks[0].serving(routes_of(PROVIDERS, desks[0])):
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
