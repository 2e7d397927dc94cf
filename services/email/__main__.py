"""Run the email service: ``python -m services.email`` from the repository root."""

from collections.abc import Sequence

from services.email.providers import PROVIDERS, EmailServiceSettings
from services.email.rules import MailRules
from services.email.settings import EmailSettings
from shared.core.model import Channel
from shared.delivery.provider import Provider
from shared.delivery.rules import guarded
from shared.directory.suppression import Suppressions
from shared.runtime.providers import Parts, build_providers
from shared.runtime.service import ChannelService, Context, run_channel
from shared.runtime.settings import load_or_exit


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(EmailServiceSettings)

    def providers(context: Context[EmailSettings]) -> Sequence[Provider]:
        suppressions = Suppressions(context.store, context.keys, Channel.EMAIL, context.clock)
        carriers = build_providers(PROVIDERS, Parts(context.settings, context.clock))
        return guarded(MailRules(suppressions, context.directory.count), carriers)

    service = ChannelService[EmailSettings](
        channel=Channel.EMAIL,
        providers=providers,
        concurrency=settings.email_concurrency,
        attempt_deadline=settings.delivery_attempt_deadline,
        claims_ahead=settings.email_claim_ahead,
    )
    run_channel(service, settings)


if __name__ == "__main__":
    main()
