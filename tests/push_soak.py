"""Many pushes to APNs, 50 in flight, while the sandbox misbehaves in a share of its answers.

The tests run it small, ``make bench`` runs it large. Each push is retried as in the delivery loop until it has ended.
Then the ends, the pushes that arrived and the sockets that were left are compared with the faults that were played.
"""

import asyncio
import collections
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.push.apns.provider import ApnsProvider
from shared.core.errors import (
    DeliveryError,
    OutcomeUnknown,
    PermanentFailure,
    ProviderMisconfigured,
    Reason,
    RecipientGone,
    TemporaryFailure,
)
from shared.delivery.attempt import Receipt
from tests.push import PushSandbox, ios, make_attempt

IN_FLIGHT = 50
# Longer than a busy machine takes for any answer, because a send that is cut off by mistake would count as wrong.
_DEADLINE_S = 10
_TRIES = 15

# What the sandbox plays, and what the send that meets it ends with.
FAULTS: list[tuple[Mapping[str, Any], tuple[type, ...]]] = [
    ({"apns": "no_id"}, (Receipt,)),
    ({"apns": "empty_data"}, (Receipt,)),
    ({"apns": "no_body", "status": 503}, (TemporaryFailure,)),
    ({"apns": "rst"}, (OutcomeUnknown,)),
    ({"status": 429, "headers": {"Retry-After": "3"}}, (TemporaryFailure,)),
    ({"status": 410}, (RecipientGone,)),
    ({"status": 413}, (PermanentFailure,)),
    # Web Push: of one answer nobody knows whether it is about us.
    ({"operator": True}, (ProviderMisconfigured, PermanentFailure)),
    ({"hang": True}, (TimeoutError, OutcomeUnknown)),
    ({"apns": "goaway"}, (TemporaryFailure, OutcomeUnknown)),
    ({"cut": "before"}, (OutcomeUnknown,)),
    ({"cut": "after"}, (OutcomeUnknown,)),
]


@dataclass
class Soak:
    """What came of it.

    Attributes:
        wrong: sends that did not end as the played fault says, that never arrived, or that arrived more often than once
            plus once for each try in doubt.
        ends: how many ended how, after all tries; to be compared with ``expected``.
    """

    sends: int
    wrong: list[str] = field(default_factory=list)
    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    expected: collections.Counter[str] = field(default_factory=collections.Counter)


async def soak(provider: ApnsProvider, sandbox: PushSandbox, sends: int, *, every: int) -> Soak:
    """Send to so many devices, and have every so many-th of them meet a fault."""
    await sandbox.clear()
    report = Soak(sends)
    expected: dict[str, tuple[type, ...]] = {}
    for number in range(sends):
        token = f"{number:064x}"
        expected[token] = (Receipt,)
        if number % every == 0:
            fault, expected[token] = FAULTS[number // every % len(FAULTS)]
            is_final = issubclass(expected[token][0], PermanentFailure)
            await sandbox.play("apns", dict(fault), to=token, times=None if is_final else 1)
        # A fault that is not final is played once, so a retry gets a receipt.
        final = expected[token][0] if issubclass(expected[token][0], PermanentFailure) else Receipt
        report.expected[final.__name__] += 1
    ended, doubts = await _send_all(provider, expected, report)
    report.ends.update(type(end).__name__ for end in ended.values())
    arrived = collections.Counter(entry["to"] for entry in await sandbox.outbox())
    for token, end in ended.items():
        least, most = (1, 1 + doubts[token]) if isinstance(end, Receipt) else (0, doubts[token])
        if not least <= arrived[token] <= most:
            report.wrong.append(f"{type(end).__name__} arrived {arrived[token]} times")
    return report


async def _send_all(
    provider: ApnsProvider, expected: Mapping[str, tuple[type, ...]], report: Soak
) -> tuple[dict[str, object], collections.Counter[str]]:
    gate = asyncio.Semaphore(IN_FLIGHT)
    ended: dict[str, object] = {}
    doubts: collections.Counter[str] = collections.Counter()

    async def send(token: str) -> None:
        async with gate:
            ended[token] = await send_one(provider, token, _DEADLINE_S)
        if isinstance(ended[token], OutcomeUnknown | TimeoutError):
            doubts[token] += 1

    await asyncio.gather(*(send(token) for token in expected))
    for token, end in ended.items():
        # GOAWAY and a cut end the connection for those beside them too: not taken, or unknown.
        beside = isinstance(end, DeliveryError) and end.reason is Reason.NETWORK
        if not isinstance(end, expected[token]) and not beside:
            report.wrong.append(f"{end!r} where {expected[token]} was expected")
    for _ in range(_TRIES):
        again = [token for token, end in ended.items() if not isinstance(end, Receipt | PermanentFailure)]
        await asyncio.gather(*(send(token) for token in again))
    return ended, doubts


async def send_one(provider: ApnsProvider, token: str, within_s: float) -> object:
    """Return what a send ended with: a receipt, a DeliveryError, or TimeoutError, the delivery loop's deadline."""
    try:
        async with asyncio.timeout(within_s):
            return await provider.send(make_attempt(ios(token)))
    except (DeliveryError, TimeoutError) as error:
        return error


def resident_bytes() -> int:
    """Return how much memory this process occupies (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
