"""APNs on a bad day: whether ten thousand pushes end as they should, and whether memory stays flat."""

import gc
import time
from dataclasses import dataclass
from pathlib import Path

from services.push.apns.provider import ApnsProvider
from shared.core.clock import SystemClock
from tests.push import build_providers, running_sandbox
from tests.push_soak import resident_bytes, soak

_ROUND = 1_000
_EVERY = 50


@dataclass(frozen=True, slots=True)
class PushFigures:
    """Figures of the rounds together; memory is this process's, after the first round and after the last."""

    sends: int
    wrong: int
    seconds: float
    first_mib: float
    last_mib: float


async def measure_push(folder: Path, sends: int) -> PushFigures:
    """Send in rounds of a thousand, each of which has every kind of misbehaviour.

    Args:
        folder: an empty one for the sandbox.
    """
    wrong, memory_mib = 0, []
    with running_sandbox(folder) as sandbox:
        providers = build_providers(sandbox.settings, SystemClock())
        apns = providers[0]
        if not isinstance(apns, ApnsProvider):
            raise TypeError("the first provider is not APNs")
        began_s = time.perf_counter()
        for _ in range(sends // _ROUND):
            report = await soak(apns, sandbox, _ROUND, every=_EVERY)
            wrong += len(report.wrong) + (report.ends - report.expected).total()
            gc.collect()
            memory_mib.append(resident_bytes() / 2**20)
        seconds = time.perf_counter() - began_s
        for provider in providers:
            await provider.close()
    return PushFigures(sends, wrong, seconds, memory_mib[0], memory_mib[-1])
