"""Run the email service: ``python -m services.email`` from the repository root."""

from services.email.providers import smtp_providers
from services.email.screen import MailScreen
from services.email.settings import EmailSettings
from shared.model import Channel
from shared.service import ChannelService, run_channel
from shared.settings import load_or_exit
from shared.suppression import Suppressions


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(EmailSettings)
    service = ChannelService[EmailSettings](
        channel=Channel.EMAIL,
        screen=lambda context: MailScreen(
            Suppressions(context.store, context.keys, Channel.EMAIL, context.clock), context.directory.count
        ),
        providers=lambda _: smtp_providers(settings),
        concurrency=settings.email_concurrency,
        attempt_deadline=settings.delivery_attempt_deadline,
    )
    run_channel(service, settings)


if __name__ == "__main__":
    main()
