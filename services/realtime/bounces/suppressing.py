"""What a report does: it says what has become of mails, and suppresses addresses, each report once, never everybody.

Promises that a report which was carried out changes nothing when it comes again, and that a report whose work was cut
off can be carried out when the provider sends it again. Only the hash of a report's name and of its findings is kept.

A fault at a provider, or a stolen secret, must not suppress everybody. So ``shared.delivery.forgetting`` limits how
many addresses reports add within an hour. Over the limit they are held: nothing is written, and the next mail to such
an address is tried. If it bounces, the provider reports it again.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from pydantic_core import PydanticCustomError

from services.realtime.bounces.mails import ReportedMails
from services.realtime.bounces.report import Finding, Outcome, Report, ReportRefused
from shared.core.clock import Clock
from shared.core.fields import EMAIL_CHARS, email_address
from shared.core.model import Channel
from shared.delivery.forgetting import ForgettingLimit
from shared.directory.suppression import Cause, Suppressions, digest
from shared.store.keys import Keys
from shared.store.store import Store
from shared.telemetry import metrics

# How old a signature may be. Providers try again for hours when we are down: Postmark for ten, SendGrid for 24.
VALID_FOR = timedelta(hours=24)
# How far a provider's clock may be ahead of ours.
AHEAD = timedelta(minutes=5)
# As long as a signature could be presented again.
REMEMBERED_S = round((VALID_FOR + 2 * AHEAD).total_seconds())

# Addresses that are checked and written between two turns of the event loop; one check takes some 35 µs.
_SLICE = 100

_DONE = b"done"


class TakenReports:
    """The reports of the last day, by hash, on one store for all realtime processes."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def begin(self, provider: str, report: Report) -> None:
        """Take note that this report is carried out.

        Raises:
            ReportRefused: it was carried out before, or another one came under its name.
        """
        key, findings = self._key(provider, report), _fingerprint(report)
        if await self._store.command("SET", key, findings, "NX", "EX", REMEMBERED_S):
            return
        # A report that was begun and cut off is carried out again; it can only say the same.
        if await self._store.command("GET", key) not in (None, findings.encode()):
            raise ReportRefused(Outcome.REPLAYED)

    async def end(self, provider: str, report: Report) -> None:
        """Take note that it was carried out."""
        await self._store.command("SET", self._key(provider, report), _DONE, "EX", REMEMBERED_S)

    def _key(self, provider: str, report: Report) -> str:
        return self._keys.tagged(f"report:{hashlib.sha256(f'{provider} {report.once}'.encode()).hexdigest()}")


def _fingerprint(report: Report) -> str:
    said = [(each.address, each.cause) for each in report.entries if isinstance(each, Finding)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class Suppressing:
    """Carries reports out.

    Args:
        suppressions: of the email channel.
        mails: keeps what was reported of a mail.
        count: how many people the directory has.
        limit: counts the addresses that reports want suppressed.
    """

    def __init__(
        self,
        suppressions: Suppressions,
        mails: ReportedMails,
        taken: TakenReports,
        count: Callable[[], Awaitable[int]],
        clock: Clock,
        *,
        limit: ForgettingLimit | None = None,
    ) -> None:
        self._suppressions = suppressions
        self._mails = mails
        self._taken = taken
        self._count = count
        self._clock = clock
        self._limit = limit or ForgettingLimit(Channel.EMAIL, by_answers=False)

    async def carry_out(self, provider: str, report: Report) -> Counter[Outcome]:
        """Do what a report says, and return what became of its entries.

        Raises:
            ReportRefused: it is too old, or comes again.
            StoreUnavailable: perhaps only a part of it was done; it can come again.
        """
        if report.signed_at is not None and not -AHEAD <= self._clock.now() - report.signed_at <= VALID_FOR:
            raise ReportRefused(Outcome.STALE)
        await self._taken.begin(provider, report)
        if report.confirm is not None:
            await report.confirm()
        findings = [each for each in report.entries if isinstance(each, Finding)]
        outcomes = Counter(each for each in report.entries if isinstance(each, Outcome))
        if findings:
            self._limit.known = await self._count()
        for start in range(0, len(findings), _SLICE):
            outcomes += await self._suppress(findings[start : start + _SLICE])
        await self._taken.end(provider, report)
        return outcomes

    async def _suppress(self, findings: Sequence[Finding]) -> Counter[Outcome]:
        outcomes: Counter[Outcome] = Counter()
        wanted: dict[tuple[str, Cause], str] = {}
        digests = [_digest(finding.address) for finding in findings]
        known = [(finding, of_address) for finding, of_address in zip(findings, digests, strict=True) if of_address]
        await asyncio.gather(*(self._mails.note(finding, of_address) for finding, of_address in known))
        for finding, of_address in zip(findings, digests, strict=True):
            if of_address is None:
                outcomes[Outcome.UNREADABLE] += 1
            elif finding.cause is None:
                outcomes[Outcome.SOFT] += 1
            elif (of_address, finding.cause) in wanted:
                outcomes[Outcome.KNOWN] += 1
            else:
                wanted[of_address, finding.cause] = finding.detail
        listed = await self._suppressions.listed({of_address for of_address, _ in wanted})
        adding = []
        for (of_address, cause), detail in wanted.items():
            if any(entry.cause is cause for entry in listed.get(of_address, ())):
                outcomes[Outcome.KNOWN] += 1
            elif self._limit.may_forget():
                adding.append(self._add(of_address, cause, detail))
            else:
                outcomes[Outcome.HELD] += 1
        return outcomes + Counter(await asyncio.gather(*adding))

    async def _add(self, of_address: str, cause: Cause, detail: str) -> Outcome:
        if not await self._suppressions.add(of_address, cause, detail):
            return Outcome.KNOWN
        if cause is Cause.BOUNCE:
            metrics.forgotten_addresses.labels(Channel.EMAIL).inc()
        return Outcome.SUPPRESSED


def _digest(address: str) -> str | None:
    """Return what stands for an address in the form in which mail is sent to it; None if it is no address."""
    # Some providers repeat the name that stood before it.
    bare = address.rpartition("<")[2].removesuffix(">").strip() if address.endswith(">") else address.strip()
    if len(bare) > EMAIL_CHARS:
        return None
    try:
        return digest(email_address(bare))
    except PydanticCustomError:
        return None
