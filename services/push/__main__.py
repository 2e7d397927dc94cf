"""Run the push service: ``python -m services.push`` from the repository root."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from services.push.forgetting import Forgetting, counting
from services.push.providers import PROVIDERS, PushServiceSettings
from services.push.settings import PushSettings
from shared.core.model import Channel
from shared.delivery.forgetting import ForgettingLimit
from shared.delivery.provider import Provider
from shared.delivery.rules import guarded
from shared.runtime.providers import Parts, build_providers
from shared.runtime.service import ChannelService, Context, run_channel
from shared.runtime.settings import load_or_exit


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = load_or_exit(PushServiceSettings)
    limit = ForgettingLimit(Channel.PUSH)

    def providers(context: Context[PushSettings]) -> Sequence[Provider]:
        built = build_providers(PROVIDERS, Parts(context.settings, context.clock))
        return guarded(Forgetting(context.directory, limit), built)

    def serve(context: Context[PushSettings]) -> AbstractAsyncContextManager[None]:
        return counting(context.directory, limit)

    service = ChannelService[PushSettings](
        channel=Channel.PUSH,
        providers=providers,
        concurrency=settings.push_concurrency,
        attempt_deadline=settings.delivery_attempt_deadline,
        serve=serve,
    )
    run_channel(service, settings)


if __name__ == "__main__":
    main()
