"""Measures, as a table for docs/performance.md: ``make bench``, or ``python -m tests.load --help``.

Everything runs on this machine, on free ports and in a temporary folder, and stops by itself.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from carillon.stack import Stack
from tests.load.intake import measure_bare_loop, measure_intake
from tests.load.latency import measure_latency
from tests.load.mail import CONNECTIONS, measure_bare_mail, measure_mail, settings, sink
from tests.load.push import measure_push
from tests.load.wait import measure_wait

PUSHES = 10_000


async def measure(notifications: int, seconds: int) -> list[str]:
    """Run every measurement and return the table's lines."""
    lines = ["| what | figure |", "| --- | --- |"]
    with tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder:
        router_only = Stack(Path(folder) / "intake", services=("router",))
        await router_only.start()
        try:
            bare = await measure_bare_loop(router_only, notifications)
            intake = await measure_intake(router_only, notifications)
        finally:
            await router_only.stop()
        lines += [
            f"| user notifications accepted, planned and receipted, one router | {intake.per_second:,.0f} / s |",
            f"| router's own time per notification | {intake.cpu_us:,.0f} µs |",
            f"| the bare loop: take, publish twice, await, ack | {bare.per_second:,.0f} / s |",
            f"| router to bare loop | {intake.per_second / bare.per_second:.2f} |",
        ]
        realtime = Stack(Path(folder) / "latency", services=("router", "realtime"))
        await realtime.start()
        try:
            latency = await measure_latency(realtime, per_second=50, seconds=seconds)
        finally:
            await realtime.stop()
        lines.append(
            f"| publish to WebSocket at 50 / s | p50 {latency.p50_ms:.1f} ms, p99 {latency.p99_ms:.1f} ms, "
            f"{latency.received} of {latency.sent} |"
        )
        lines += await measure_relay(Path(folder) / "mail", notifications // 5)
        push = await measure_push(Path(tempfile.mkdtemp(dir=folder)), PUSHES)
        what = f"{push.sends:,} pushes to an APNs that misbehaves in 1 of 50 answers, 50 in flight"
        lines += [
            f"| {what} | {push.wrong} ended wrong, {push.sends / push.seconds:,.0f} / s |",
            f"| memory after the first 1,000 and the last of them | {push.first_mib:.1f} and {push.last_mib:.1f} MiB |",
        ]
    return lines


async def measure_relay(folder: Path, mails: int) -> list[str]:
    """Measure the mail rate, where there is a relay to measure it with."""
    async with sink() as port:
        if port is None:
            return [f"| mails to a relay over {CONNECTIONS} connections | needs smtp-sink (Debian package postfix) |"]
        stack = Stack(folder, services=("router", "email"), settings=settings(port))
        await stack.start()
        try:
            bare = await measure_bare_mail(port, mails)
            mail = await measure_mail(stack, mails)
        finally:
            await stack.stop()
    return [
        f"| mails to a relay over {CONNECTIONS} connections, one email service | {mail.per_second:,.0f} / s |",
        f"| email service's own time per mail | {mail.cpu_us:,.0f} µs |",
        f"| the bare loop: aiosmtplib's sendmail | {bare.per_second:,.0f} / s, {bare.cpu_us:,.0f} µs |",
    ]


def main() -> None:
    """Measure and write the table to stdout."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--notifications", type=int, default=20_000, help="user notifications for the rates")
    parser.add_argument("--seconds", type=int, default=20, help="length of the latency measurement")
    parser.add_argument("--wait", action="store_true", help="only what REDIS_WAIT_REPLICAS costs, on a Sentinel set")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    sys.stdout.write(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load before: {load:.1f}\n\n"
    )
    if options.wait:
        lines = asyncio.run(measure_wait(options.notifications))
    else:
        lines = asyncio.run(measure(options.notifications, options.seconds))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
