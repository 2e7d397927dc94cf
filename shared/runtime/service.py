"""Runs a service: logs, settings, store, ops endpoint, signals, drain, exit status.

The exit status of a process is:

- 0 after SIGTERM or SIGINT, also while it still waits for the store or the broker;
- 2, with one line on stderr, if a setting is wrong;
- 1 if one of its tasks failed unexpectedly, so that its supervisor starts it again.

On a signal it stops taking work, finishes what is in hand for at most ``DRAIN_S``, and leaves the rest to the ledger.
"""

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from shared.core.clock import Clock, SystemClock
from shared.core.errors import AttemptOutcome, ConfigError, Reason, StoreUnavailable
from shared.core.model import ANSWERED, RECALLED, Channel, Delivery, Job, Notification, State
from shared.core.topics import Topics
from shared.delivery.by_hand import PAUSABLE
from shared.delivery.loop import Deliverer, latency_observer
from shared.delivery.pause_watch import PauseWatch
from shared.delivery.provider import Provider
from shared.delivery.retry import RetryPolicy
from shared.delivery.standing import Standing
from shared.delivery.worker import Worker
from shared.directory.directory import Directory
from shared.inbox.presence import Presence
from shared.ledger.claims import Claim, Outcome
from shared.ledger.events import event, step_of
from shared.ledger.ledger import Ledger
from shared.mqtt.address import BrokerAddress
from shared.runtime.alive import RUNNING, Alive
from shared.runtime.ops import Check, serve_ops
from shared.runtime.settings import CommonSettings
from shared.store.keys import Keys
from shared.store.store import Store
from shared.store.until_stored import until_stored
from shared.store.watch import StoreWatch
from shared.telemetry import metrics, tracing
from shared.telemetry.log import configure

log = logging.getLogger(__name__)

SettingsT = TypeVar("SettingsT", bound=CommonSettings)

# When the garbage collector looks at young, older and all objects: after so many more were made than freed, and so many
# rounds of the younger ones. Python's own first figure, 700, makes it look at everything more than ten times while the
# sessions of a process come back, for half of the processor time that this takes (docs/explanation/performance.md).
_COLLECT_AFTER = (10_000, 10, 10)

# How long a draining process finishes what is in hand; pods are given longer than this before SIGKILL.
DRAIN_S = 25.0


def _publish_nowhere(_topic: str, _payload: str) -> "asyncio.Future[bool]":
    nowhere: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    nowhere.set_result(False)
    return nowhere


@dataclass(slots=True)
class Context(Generic[SettingsT]):
    """What a running service stands on.

    Attributes:
        instance: a name of this process, unique among all that run now; it starts its client ids.
        checks: what readiness asks, by name; a service adds its own.
        publish: publishes on a channel service's most urgent connection; see ``Worker.publish``.
        works: the service takes work by now, so that there is something to drain.
        standings: says how a channel's providers are; a channel service sets it.
    """

    settings: SettingsT
    service: str
    instance: str
    topics: Topics
    keys: Keys
    store: Store
    ledger: Ledger
    directory: Directory
    address: BrokerAddress
    clock: Clock
    checks: dict[str, Check] = field(default_factory=dict)
    publish: Callable[[str, str], "asyncio.Future[bool]"] = _publish_nowhere
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    works: bool = False
    standings: Callable[[], Sequence[Standing]] = tuple


@asynccontextmanager
async def open_context(settings: SettingsT, service: str) -> AsyncIterator[Context[SettingsT]]:
    """Connect to the store and put together what every service needs."""
    keys = Keys(settings.topic_prefix)
    clock = SystemClock()
    address = BrokerAddress.parse(settings.mqtt_url.get_secret_value(), settings.mqtt_ca_file)
    wait = (settings.redis_wait_replicas, settings.redis_wait_timeout_ms)
    async with Store(settings.redis_url.get_secret_value(), *wait) as store:
        context = Context(
            settings=settings,
            service=service,
            instance=f"{service}-{socket.gethostname()[:24]}-{os.getpid()}-{secrets.token_hex(3)}",
            topics=Topics(settings.topic_prefix),
            keys=keys,
            store=store,
            ledger=Ledger(store, keys, settings.record_retention_s),
            directory=Directory(store, keys, clock),
            address=address,
            clock=clock,
        )

        async def store_takes_writes() -> bool:
            await store.takes_writes()
            return True

        async def replicas_follow() -> bool:
            await store.replicated()
            return True

        async def not_draining() -> bool:
            return not context.stopping.is_set()

        async def not_yet() -> bool:
            # Replaced when the service begins to work.
            return False

        context.checks |= {"store": store_takes_writes, RUNNING: not_draining, "broker": not_yet}
        if settings.redis_wait_replicas:
            context.checks["replicas"] = replicas_follow
        yield context


def run(settings: SettingsT, service: str, main: Callable[[Context[SettingsT]], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` until a signal, and end the process with the right exit status.

    Args:
        main: returns soon after ``context.stopping`` is set, having drained.
    """
    configure(settings.log_level, settings.log_format, service)
    log.info("starting", extra={"settings": settings.masked()})
    _spare_collections()
    try:
        tracing.start(service)
        asyncio.run(_run(settings, service, main))
    except* ConfigError as group:
        sys.stderr.write(f"carillon {service}: {_first(group)}\n")
        raise SystemExit(2) from None
    finally:
        tracing.stop()
    log.info("stopped")


def _spare_collections() -> None:
    """Keep the garbage collector from looking again and again at objects that live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _run(
    settings: SettingsT, service: str, main: Callable[[Context[SettingsT]], Coroutine[Any, Any, None]]
) -> None:
    async with open_context(settings, service) as context:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, context.stopping.set)
        watch = StoreWatch(context.store, allow_eviction=settings.redis_allow_eviction)
        await watch.at_start()

        async def store_keeps_all() -> bool:
            return watch.is_safe

        context.checks["eviction"] = store_keeps_all
        alive = Alive(
            context.store,
            context.keys,
            service=service,
            process=context.instance,
            checks=context.checks,
            standings=lambda: tuple(context.standings()),
            now=context.clock.now,
            without=settings.without,
        )
        async with serve_ops(settings.ops_host, settings.ops_port, context.checks) as port:
            log.info("ops endpoint", extra={"port": port})
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(watch.run(), name="store-watch")
                saying = group.create_task(alive.work_forever(context.stopping), name="alive")
                try:
                    await _until_stopped(context, asyncio.create_task(main(context), name="main"))
                finally:
                    saying.cancel()
                    watching.cancel()
                    await alive.leave()


async def _until_stopped(context: Context[SettingsT], main: "asyncio.Task[None]") -> None:
    """Wait for the end of ``main``; on a signal, cancel it if it has not taken work yet."""
    told = asyncio.create_task(context.stopping.wait(), name="told-to-stop")
    try:
        await asyncio.wait([main, told], return_when=asyncio.FIRST_COMPLETED)
        if not main.done() and not context.works:
            log.info("stopped before it took work")
            main.cancel()
            await asyncio.wait([main])
        if not main.cancelled():
            await main
    finally:
        told.cancel()
        if not main.done():
            main.cancel()
            await asyncio.wait([main])


# Without slots: Python 3.11 cannot make a frozen generic class with them.
@dataclass(frozen=True)
class ChannelService(Generic[SettingsT]):
    """What makes a channel service: the rest is the same for all.

    Attributes:
        providers: builds the providers inside the running loop; closed at the end.
        concurrency: deliveries in flight.
        attempt_deadline: one attempt, connecting included.
        doubt_wait: see ``Deliverer``.
        claims_ahead: see ``Worker``.
        serve: entered before work is taken and left after the last attempt; realtime's sockets live here.
    """

    channel: Channel
    providers: Callable[[Context[SettingsT]], Sequence[Provider]]
    concurrency: int
    attempt_deadline: timedelta = timedelta(seconds=30)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    doubt_wait: timedelta = timedelta(0)
    claims_ahead: bool = False
    serve: Callable[[Context[SettingsT]], AbstractAsyncContextManager[None]] | None = None


def run_channel(service: ChannelService[SettingsT], settings: SettingsT) -> None:
    """Run a channel service until a signal."""

    async def main(context: Context[SettingsT]) -> None:
        async with AsyncExitStack() as stack:
            providers = service.providers(context)
            for provider in providers:
                stack.push_async_callback(provider.close)
            worker, pauses = _channel_worker(service, context, providers)
            context.publish = worker.publish
            await stack.enter_async_context(service.serve(context) if service.serve else nullcontext())
            if pauses is not None:
                # Before any work is taken: what is paused stays so when a process starts.
                await until_stored(pauses.look)
            await work_until_stopped(context, [worker], **({"pauses": pauses.run()} if pauses else {}))

    run(settings, service.channel.value, main)


def _channel_worker(
    service: ChannelService[SettingsT], context: Context[SettingsT], providers: Sequence[Provider]
) -> tuple[Worker[Delivery], PauseWatch | None]:
    def on_well() -> None:
        worker.bring_forward()

    def on_pause_end() -> None:
        worker.bring_forward_paused()

    pauses = None
    if service.channel in PAUSABLE:
        names = [provider.name for provider in providers]
        pauses = PauseWatch(context.store, context.keys, service.channel, names, on_end=on_pause_end)
    deliverer = Deliverer(
        service.channel,
        providers,
        attempt_deadline=service.attempt_deadline,
        retry=service.retry,
        doubt_wait=service.doubt_wait,
        clock=context.clock,
        on_well=on_well,
        pauses=pauses,
    )
    context.standings = deliverer.standings
    observe_latency = latency_observer(service.channel, context.clock)
    presence = Presence(context.store, context.keys)

    async def perform(notification: Notification, delivery: Delivery, claim: Claim) -> Outcome:
        said_id, recipient = notification.public_id, delivery.recipient
        if delivery.unless_seen and recipient and await presence.has_seen(recipient, said_id):
            return Outcome(State.SUPPRESSED, Reason.SEEN, counts=False, word=AttemptOutcome.SEEN)
        return await deliverer.perform(notification, delivery, claim)

    def report(notification: Notification, delivery: Delivery, _claim: Claim, outcome: Outcome) -> None:
        is_recall = bool(delivery.recalls)
        if outcome.state.is_end:
            end = RECALLED if is_recall and outcome.state is State.DELIVERED else outcome.state
            metrics.series(metrics.deliveries, service.channel, end, outcome.reason).inc()
        if outcome.word is AttemptOutcome.OK and outcome.state.is_end and not is_recall:
            observe_latency(notification, delivery)
        if notification.events and ANSWERED not in delivery.key and (outcome.state.is_end or not is_recall):
            step = event(
                context.topics, notification.public_id, step_of(delivery.key, outcome.state), context.clock,
                channel=delivery.channel, recipient=delivery.recipient, reason=outcome.reason,
            )  # fmt: skip
            worker.publish(*step)

    worker = Worker(
        service.channel.value,
        Job[Delivery],
        perform,
        report,
        ledger=context.ledger,
        topics=context.topics,
        address=context.address,
        client_id=context.instance,
        concurrency=service.concurrency,
        lease=service.attempt_deadline + context.settings.delivery_lease_margin,
        claims_ahead=service.claims_ahead,
    )
    return worker, pauses


class Work(Protocol):
    """Something that takes work from the broker until it is told to stop: a worker, or the router's intake."""

    @property
    def is_up(self) -> bool:
        """Tell whether its connections stand."""
        ...

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    async def stop_intake(self) -> None:
        """Take nothing new."""
        ...

    async def idle(self) -> None:
        """Return when what was taken has been dealt with."""
        ...

    async def abandon(self) -> None:
        """Leave the rest to others, at once."""
        ...


async def work_until_stopped(context: Context[Any], works: Sequence[Work], **others: Coroutine[Any, Any, None]) -> None:
    """Run works (and named tasks that run for ever) until the service is told to stop, then drain them in order.

    Raises:
        ExceptionGroup: a task failed; the process ends with status 1.
    """

    def connected() -> bool:
        return all(work.is_up for work in works)

    async def broker_connected() -> bool:
        return connected()

    context.works = True
    context.checks["broker"] = broker_connected
    # Read at each scrape, as readiness is at each probe.
    metrics.broker_up.set_function(connected)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work.run(), name=type(work).__name__) for work in works]
        tasks += [group.create_task(other, name=name) for name, other in others.items()]
        await context.stopping.wait()
        log.info("draining")
        try:
            async with asyncio.timeout(DRAIN_S):
                for work in works:
                    await work.stop_intake()
                    await work.idle()
        except (TimeoutError, StoreUnavailable):
            log.warning("drain cut short; the rest is driven again")
        for work in works:
            await work.abandon()
        for task in tasks:
            task.cancel()
