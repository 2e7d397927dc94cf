"""Run the SMS service: ``python -m services.sms`` from the repository root."""

from datetime import timedelta

from services.sms.providers import TwilioProvider
from services.sms.settings import SmsSettings
from shared.model import Channel
from shared.service import ChannelService, run_channel
from shared.settings import load_or_exit

# A second SMS costs money and trust, and Twilio has no idempotency key. What is in doubt waits, critical ones excepted.
DOUBT_WAIT = timedelta(minutes=2)


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(SmsSettings)
    service = ChannelService[SmsSettings](
        channel=Channel.SMS,
        providers=lambda _: (TwilioProvider(settings),),
        concurrency=settings.sms_concurrency,
        attempt_deadline=settings.delivery_attempt_deadline,
        doubt_wait=DOUBT_WAIT,
    )
    run_channel(service, settings)


if __name__ == "__main__":
    main()
