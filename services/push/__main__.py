"""Run the push service: ``python -m services.push`` from the repository root."""

from services.push.providers import build_providers
from services.push.settings import PushSettings
from shared.model import Channel
from shared.service import ChannelService, run_channel
from shared.settings import load_or_exit


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(PushSettings)
    service = ChannelService[PushSettings](
        channel=Channel.PUSH,
        providers=lambda context: build_providers(settings, context.clock),
        concurrency=settings.push_concurrency,
        attempt_deadline=settings.delivery_attempt_deadline,
    )
    run_channel(service, settings)


if __name__ == "__main__":
    main()
