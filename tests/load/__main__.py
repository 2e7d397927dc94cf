"""Measures, as a table for docs/explanation/performance.md: ``make bench``, or ``python -m tests.load --help``.

Everything runs on this machine, on free ports and in a temporary folder, and stops by itself.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median, quantiles

from carillon.local.stack import Stack
from tests.load.at_rest import audit_deep, measure_at_rest, schedule
from tests.load.attention import measure_digest, measure_stages
from tests.load.backlog import RELAY_S, measure_backlog, percentiles, slow_relay
from tests.load.consoles import OPEN, measure_consoles
from tests.load.directory_size import measure_broadcast_writes
from tests.load.find import Times, measure_find
from tests.load.http_publish import LATENCY_PER_SECOND, measure_http
from tests.load.intake import Rate, measure_bare_loop, measure_intake
from tests.load.latency import Latency, measure_half_rate, measure_latency
from tests.load.mail import CONNECTIONS, measure_bare_mail, measure_mail, settings, sink
from tests.load.publishers import measure_flood, measure_shares
from tests.load.push import measure_push
from tests.load.sessions import SETTINGS, measure_sessions, raise_file_limit
from tests.load.storm import Size, measure_storm
from tests.load.wait import measure_wait

PUSHES = 10_000
FLOOD = 50_000
ROUNDS = 5


@asynccontextmanager
async def running(*services: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Stack]:
    """Run these services, with a broker and a store of their own, until the end of the context."""
    with tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder:
        chosen = {**(SETTINGS if "realtime" in services else {}), **(settings or {})}
        stack = Stack(Path(folder), services=services, settings=chosen)
        await stack.start()
        try:
            yield stack
        finally:
            await stack.stop()


async def intake(options: Namespace) -> list[str]:
    """Measure the router."""
    async with running("router") as stack:
        bare = await measure_bare_loop(stack, options.notifications)
        rate = await measure_intake(stack, options.notifications)
    return [
        f"| user notifications accepted, planned and receipted, one router | {rate.per_second:,.0f} / s |",
        f"| router's own time per notification | {rate.cpu_us:,.0f} µs |",
        f"| the bare loop: take, publish twice, await, ack | {bare.per_second:,.0f} / s |",
        f"| router to bare loop | {rate.per_second / bare.per_second:.2f} |",
    ]


async def http(options: Namespace) -> list[str]:
    """Measure publishing over HTTP."""
    async with running("router", "realtime") as stack:
        rate, found = await measure_http(stack, options.notifications // 2, options.seconds)
    percentiles = f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, {found.received} of {found.sent}"
    return [
        f"| publishes over HTTP with their receipts, one realtime process | {rate.per_second:,.0f} / s |",
        f"| realtime process's own time per publish | {rate.cpu_us:,.0f} µs |",
        f"| publish over HTTP to its receipt at {LATENCY_PER_SECOND} / s | {percentiles} |",
    ]


async def latency(options: Namespace) -> list[str]:
    """Measure the way to one WebSocket."""
    async with running("router", "realtime") as stack:
        found = await measure_latency(stack, per_second=50, seconds=options.seconds)
    return [_row("at 50 / s", found)]


def _row(rate: str, found: Latency) -> str:
    percentiles = f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms"
    return f"| publish to WebSocket {rate} | {percentiles}, {found.received} of {found.sent} |"


async def consoles(options: Namespace) -> list[str]:
    """Measure the way to one WebSocket beside open consoles."""
    with tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder:
        stack = Stack(Path(folder), services=("router", "realtime"), settings=SETTINGS, console=True)
        await stack.start()
        try:
            found = await measure_consoles(stack, seconds=options.seconds)
        finally:
            await stack.stop()
    return [
        _row("at 50 / s, no console open", found.without),
        _row(f"at 50 / s, {OPEN} consoles open", found.beside),
        f"| p99 beside open consoles to without | {found.beside.p99_ms / found.without.p99_ms:.2f} |",
        f"| pages and pieces of live pages that they were sent | {found.reads:,} |",
    ]


async def half_rate(options: Namespace) -> list[str]:
    """Measure the highest rate to WebSockets, and the way at half of it."""
    async with running("router", "realtime") as stack:
        most, found = await measure_half_rate(stack, seconds=options.seconds)
    return [f"| publish to WebSocket, highest rate, 100 users | {most:,.0f} / s |", _row("at half of it", found)]


async def sessions(options: Namespace) -> list[str]:
    """Measure many sessions on one process."""
    raise_file_limit(options.sessions)
    async with running("router", "realtime") as stack:
        found = await measure_sessions(stack, options.sessions)
    storm = f"{found.storm_s:.1f} s, {found.gaps} gaps, {found.wrong} sessions that missed or repeated one"
    return [
        f"| memory of an idle session, {found.sessions:,} on one process | {found.kib_per_session:.1f} KiB |",
        f"| a broadcast to all of them, publish to the last socket | {found.broadcast_s:.2f} s |",
        f"| all cut off and back, with broadcasts meanwhile | {storm} |",
    ]


async def broadcast(options: Namespace) -> list[str]:
    """Measure what a broadcast writes."""
    async with running("router", "realtime") as stack:
        found = await measure_broadcast_writes(stack, options.users)
    return [
        f"| store writes of a broadcast, {users:,} users in the directory | {writes:.1f} |" for users, writes in found
    ]


async def mail(options: Namespace) -> list[str]:
    """Measure the mail rate, where there is a relay to measure it with."""
    mails = options.notifications // 2
    lines: list[str] = []
    async with sink() as port:
        if port is None:
            return ["| mails to a relay | needs smtp-sink (Debian package postfix) |"]
        for connections, ahead in product(CONNECTIONS, (False, True)):
            chosen = settings(port, connections, claims_ahead=ahead)
            async with running("router", "email", settings=chosen) as stack:
                # In turn, because other work on the machine comes and goes.
                rounds = [
                    (await measure_bare_mail(port, connections, mails), await measure_mail(stack, mails))
                    for _ in range(ROUNDS)
                ]
            bare, found = (_median(rates) for rates in zip(*rounds, strict=True))
            share = median(ours.per_second / theirs.per_second for theirs, ours in rounds)
            what = f"mails to a relay over {connections} connections" + ", claimed ahead" * ahead
            lines += [
                f"| {what}, one email service | {found.per_second:,.0f} / s, {found.cpu_us:,.0f} µs |",
                f"| {what}, the bare loop: aiosmtplib's sendmail | {bare.per_second:,.0f} / s, {bare.cpu_us:,.0f} µs |",
                f"| email service to bare loop, median of {ROUNDS} rounds in turn | {share:.2f} |",
            ]
    return lines


def _median(rates: Sequence[Rate]) -> Rate:
    return Rate(median(rate.per_second for rate in rates), median(rate.cpu_us for rate in rates))


async def push(_options: Namespace) -> list[str]:
    """Measure whether pushes end right, and what they leave in memory, at an APNs that misbehaves."""
    with tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder:
        found = await measure_push(Path(folder), PUSHES)
    what = f"{found.sends:,} pushes to an APNs that misbehaves in 1 of 50 answers, 50 in flight"
    return [
        f"| {what} | {found.wrong} ended wrong, {found.sends / found.seconds:,.0f} / s |",
        f"| memory after the first 1,000 and the last of them | {found.first_mib:.1f} and {found.last_mib:.1f} MiB |",
    ]


async def publishers(_options: Namespace) -> list[str]:
    """Measure what one publisher does to the others."""
    async with running("router", "realtime") as stack:
        flood = await measure_flood(stack, FLOOD)
        accepted = await measure_shares(stack, (1, 3), 15)
    answered = ", ".join(f"{count:,} {how}" for how, count in sorted(flood.answers.items()))
    ratio = accepted[1] / accepted[0]
    return [
        f"| a flood of {FLOOD:,} | answered in {flood.took_s:.1f} s: {answered} |",
        *(
            f"| another publisher's {what} meanwhile, to its receipt | p99 {p99_ms:.0f} ms |"
            for what, p99_ms in flood.p99_ms.items()
        ),
        f"| two at full speed, shares 1 and 3 | accepted {accepted[0]:,} and {accepted[1]:,}: 1 to {ratio:.2f} |",
    ]


async def wait(options: Namespace) -> list[str]:
    """Measure what REDIS_WAIT_REPLICAS costs, on a Sentinel set."""
    return await measure_wait(options.notifications // 4)


async def at_rest(options: Namespace) -> list[str]:
    """Measure what the store does while everything waits for its time, and the audit of that."""
    lines: list[str] = []
    async with running() as stack:
        await schedule(stack.store.url, options.scheduled)
        for routers in (2, 4):
            found = await measure_at_rest(stack, routers, options.seconds)
            lines.append(
                f"| store at rest, {options.scheduled:,} scheduled deliveries, {routers} routers | {found.cpu:.2%} of a"
                f" core, {found.scripts:,.0f} scripts and {found.commands:,.0f} commands / s, the longest"
                f" {found.slowest_ms:.1f} ms |"
            )
        report, took_s, slowest_ms = await audit_deep(stack.store.url)
    verdict = "balances" if report.holds else "DOES NOT HOLD"
    return [*lines, f"| audit of all of them | {verdict}, {took_s:.0f} s, longest call {slowest_ms:.1f} ms |"]


async def backlog(options: Namespace) -> list[str]:
    """Measure what many mails that wait for a slow relay cost, and what they do to a critical one."""
    async with slow_relay() as (relay, settings), running("router", "email", settings=settings) as stack:
        found = await measure_backlog(stack, relay, options.backlog, options.seconds)
    what = f"{found.mails:,} mails of high priority to a relay that takes {RELAY_S * 1000:.0f} ms"
    lines = [
        f"| {what} | published in {found.publish_s:.0f} s, {found.delivered:,} taken meanwhile |",
        f"| jobs published again | {found.redriven:,} |",
        f"| most memory: broker, email service | {found.broker_mib:.0f} and {found.email_mib:.0f} MiB |",
    ]
    return lines + [
        f"| a critical {what} to the relay while {when} | {percentiles(times_ms)} |"
        for what, probes_ms in (("mail", found.probes_ms), ("alert", found.alerts_ms))
        for when, times_ms in probes_ms.items()
    ]


async def attention(options: Namespace) -> list[str]:
    """Measure what it costs to decide for people, and a digest for many at one time."""
    async with running("router") as stack:
        plain, attentive, ratio = await measure_stages(stack, options.notifications // 2, ROUNDS)
    async with slow_relay() as (relay, settings), running("router", "email", settings=settings) as stack:
        found = await measure_digest(stack, relay, options.digests, options.seconds)
    after = f"{attentive.per_second:,.0f} / s, {attentive.cpu_us:,.0f} µs"
    return [
        f"| user notifications without a category | {plain.per_second:,.0f} / s, {plain.cpu_us:,.0f} µs |",
        f"| with category, choices, throttle and quiet hours | {after} |",
        f"| with to without, median of {ROUNDS} rounds in turn | {ratio:.2f} |",
        f"| {found.people:,} mails to a relay that takes {RELAY_S * 1000:.0f} ms | {found.mail_per_second:,.0f} / s |",
        f"| a digest of {found.people:,} people that closes at one minute | {found.drain_per_second:,.0f} / s |",
        f"| a critical mail while nothing else is to do | {percentiles(found.idle_ms)} |",
        f"| a critical mail while those mails leave | {percentiles(found.mail_ms)} |",
        f"| a critical mail while the digests leave | {percentiles(found.drain_ms)} |",
    ]


async def storm(options: Namespace) -> list[str]:
    """Measure a storm of alerts of 20 kinds within a minute, told in groups."""
    size = Size(options.alerts, kinds=20, lasts_s=60, wait_s=10, interval_s=30)
    async with slow_relay() as (relay, settings), running("router", "email", "realtime", settings=settings) as stack:
        found = await measure_storm(stack, relay, size)
    traced = found.alerts - len(found.untold)
    each = ", ".join(f"{count:,}" for count in found.messages.values())
    return [
        f"| {found.alerts:,} critical alerts of {found.kinds} kinds, told in groups | {found.publish_s:.0f} s |",
        f"| messages that each of {len(found.messages)} people got of them | {each} (at most {found.most}) |",
        f"| alerts whose trace names the incident that told it | {traced:,}, in {found.incidents} incidents |",
        f"| a critical alert of another kind to the relay meanwhile | {percentiles(list(found.probes_ms))} |",
    ]


async def find(options: Namespace) -> list[str]:
    """Measure searches in a store that is full of records, and their index."""
    async with running() as stack:
        found = await measure_find(stack, options.records, options.searches)
    each, share = found.index_bytes / found.deliveries, found.index_bytes / found.store_bytes
    what = f"{found.deliveries:,} deliveries of {options.records:,} notifications"
    return [
        f"| the index of {what} | {each:.0f} bytes a delivery, {share:.1%} of the store |",
        *(f"| find by {how} | {_times(times)} |" for how, times in found.times.items()),
    ]


def _times(found: Times) -> str:
    cuts = quantiles(found.each_ms, n=100, method="inclusive")
    return f"p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms; own time {found.cpu_ms:.1f} ms"


PARTS: dict[str, Callable[[Namespace], Awaitable[list[str]]]] = {
    "intake": intake, "http": http, "latency": latency, "consoles": consoles, "half_rate": half_rate,
    "sessions": sessions,
    "broadcast": broadcast, "mail": mail, "push": push, "publishers": publishers, "wait": wait, "at_rest": at_rest,
    "backlog": backlog, "attention": attention, "storm": storm, "find": find,
}  # fmt: skip


async def measure(options: Namespace) -> None:
    """Run the chosen measurements and write the table's lines as they come."""
    sys.stdout.write("| what | figure |\n| --- | --- |\n")
    for name in options.only or PARTS:
        for line in await PARTS[name](options):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def main() -> None:
    """Measure and write the table to stdout."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--notifications", type=int, default=20_000, help="user notifications for the rates")
    parser.add_argument("--seconds", type=int, default=20, help="length of each latency measurement")
    parser.add_argument("--sessions", type=int, default=10_000, help="WebSocket sessions on one process")
    parser.add_argument(
        "--users", type=int, nargs="+", default=[1_000, 100_000], help="sizes of the directory for the broadcasts"
    )
    parser.add_argument("--scheduled", type=int, default=1_000_000, help="scheduled deliveries for the store at rest")
    parser.add_argument("--backlog", type=int, default=100_000, help="mails that wait at a slow relay")
    parser.add_argument("--digests", type=int, default=10_000, help="people whose digest closes at one minute")
    parser.add_argument("--alerts", type=int, default=10_000, help="alerts of the storm")
    parser.add_argument("--records", type=int, default=1_000_000, help="notifications that are searched")
    parser.add_argument("--searches", type=int, default=300, help="searches of each sort")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    sys.stdout.write(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load before: {load:.1f}\n\n"
    )
    asyncio.run(measure(options))


if __name__ == "__main__":
    main()
