"""What it costs one router to send receipts only after a replica has its writes."""

import tempfile
import time
from pathlib import Path
from statistics import median

from carillon.local.stack import Stack
from shared.store.store import Store
from tests.load.intake import Rate, measure_intake
from tests.redis_sets import SentinelSet

# In turn, so that changes in the machine's speed affect both.
_ROUNDS = 4
_WRITES = 1_000


async def measure_wait(notifications: int) -> list[str]:
    """Measure the intake without and with a wait on one Sentinel set, in turn, and return the table's lines."""
    rates: dict[int, list[Rate]] = {0: [], 1: []}
    writes_ms: dict[int, list[float]] = {0: [], 1: []}
    with tempfile.TemporaryDirectory(prefix="carillon-bench-") as folder:
        servers = SentinelSet(Path(folder) / "store")
        try:
            await servers.start()
            for turn in range(_ROUNDS):
                for replicas, found in rates.items():
                    writes_ms[replicas] += await _writes_ms(servers, replicas)
                    settings = {"REDIS_URL": servers.url, "REDIS_WAIT_REPLICAS": str(replicas)}
                    data = Path(folder) / f"stack-{turn}-{replicas}"
                    stack = Stack(data, embedded=False, services=("router",), settings=settings)
                    await stack.start()
                    try:
                        found.append(await measure_intake(stack, notifications))
                    finally:
                        await stack.stop()
        finally:
            await servers.stop()
    lines = []
    for replicas, found in rates.items():
        per_second = sorted(rate.per_second for rate in found)
        rate = f"{median(per_second):,.0f} / s ({per_second[0]:,.0f} to {per_second[-1]:,.0f})"
        own = f"{median(one.cpu_us for one in found):,.0f} µs"
        alone = f"one write alone p50 {median(writes_ms[replicas]):.2f} ms"
        lines.append(f"| intake with REDIS_WAIT_REPLICAS={replicas}, median of {_ROUNDS} | {rate}, {own}, {alone} |")
    return lines


async def _writes_ms(servers: SentinelSet, replicas: int) -> list[float]:
    """Write one key after the other, each when the one before was answered."""
    took_ms = []
    async with Store(servers.url, replicas) as store:
        for _ in range(_WRITES):
            started_s = time.perf_counter()
            await store.command("SET", "bench", "x", lasting=True)
            took_ms.append((time.perf_counter() - started_s) * 1000)
    return took_ms
