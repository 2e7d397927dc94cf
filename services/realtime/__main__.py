"""Runs the realtime service: ``python -m services.realtime``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from services.realtime.app import serve_clients
from services.realtime.node.node import RealtimeNode
from services.realtime.node.provider import InboxProvider
from services.realtime.publish.router_link import RouterLink
from services.realtime.settings import RealtimeSettings
from shared.core.model import Channel
from shared.runtime.service import ChannelService, Context, run_channel
from shared.runtime.settings import load_or_exit

# The deadline of one write to the store. A store that is slower counts as down.
ATTEMPT_DEADLINE = timedelta(seconds=10)


def main() -> None:
    """Read the settings and run until a signal."""
    settings = load_or_exit(RealtimeSettings)
    nodes: list[RealtimeNode] = []

    def providers(context: Context[RealtimeSettings]) -> tuple[InboxProvider, ...]:
        nodes.append(RealtimeNode(context))
        return (InboxProvider(nodes[0].changes),)

    @asynccontextmanager
    async def serve(context: Context[RealtimeSettings]) -> AsyncIterator[None]:
        router = RouterLink(context.address, context.topics, context.instance)
        async with nodes[0].running(), serve_clients(nodes[0], router):
            yield

    run_channel(
        ChannelService(
            channel=Channel.REALTIME,
            providers=providers,
            serve=serve,
            concurrency=settings.realtime_concurrency,
            attempt_deadline=min(ATTEMPT_DEADLINE, settings.delivery_attempt_deadline),
        ),
        settings,
    )


if __name__ == "__main__":
    main()
