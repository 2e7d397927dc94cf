"""The part of the audit that looks at digests: what came in has left, was taken out, or waits in an open digest.

The scripts of ``shared.ledger.digests`` count the items by channel. One script reads these counts of a shard, so they
must balance at any moment. The open digests are read in pages while the system goes on. So the counts are read before
and after that, and what waits in the open digests must be what it was before, less at most what has left since, and
more by at most what has come.
"""

import asyncio
from collections.abc import Sequence

from shared.core.channels import Channel
from shared.ledger.audit_report import Finding, ItemAccounts, Kind
from shared.store.replies import scored
from shared.store.store import Store, load_script

_CHANNELS = tuple(channel.value for channel in Channel)

# Open digests in one page.
_DIGESTS = 200

_counters = load_script(__package__, "audit_digests", "ledger")
_open = load_script(__package__, "audit_open_digests", "ledger")


class AuditDigests:
    """Compares the accounts of digests on one store with the open ones."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def check(self, base: str, *, everything: bool) -> tuple[dict[str, ItemAccounts], list[Finding]]:
        """Check the digests of one shard.

        Args:
            base: the shard's base key.
            everything: look at each open digest, and do not believe how many items it is said to have.

        Returns:
            The accounts of each channel, and what is wrong.
        """
        before = await self._accounts(base)
        findings = [
            Finding(Kind.DIGEST, channel, abs(accounts.difference), numbers=accounts.named)
            for channel, accounts in before.items()
            if accounts.difference
        ]
        read = [channel for channel, accounts in before.items() if accounts.digests or accounts.waiting]
        if read:
            pages = await asyncio.gather(*(self._open(base, channel, everything=everything) for channel in read))
            after = await self._accounts(base)
            for channel, (waiting, wrong) in zip(read, pages, strict=True):
                findings += wrong
                findings += _compare(channel, before[channel], waiting, after[channel])
        return before, findings

    async def _accounts(self, base: str) -> dict[str, ItemAccounts]:
        answer: Sequence[Sequence[int]] = await self._store.script(_counters, base, *_CHANNELS)
        return {channel: ItemAccounts(*numbers) for channel, numbers in zip(_CHANNELS, answer, strict=True)}

    async def _open(self, base: str, channel: str, *, everything: bool) -> tuple[int, list[Finding]]:
        """Count what waits in the open digests of a channel, and find those that are wrong themselves."""
        counts: dict[bytes, int] = {}
        findings: list[Finding] = []
        cursor = b"0"
        while True:
            cursor, page, *wrong = await self._store.script(_open, base, channel, cursor, _DIGESTS, int(everything))
            # A page may show one again that was shown before.
            fresh = {digest_id: count for digest_id, count in scored(page) if digest_id not in counts}
            counts |= fresh
            findings += [
                Finding(
                    Kind.DIGEST, channel, max(1, abs(fresh[digest_id] - items)),
                    numbers={"counted": fresh[digest_id], "members": items},
                    notification_ids=frozenset((digest_id.decode(),)),
                )
                for digest_id, items in wrong
                if digest_id in fresh
            ]  # fmt: skip
            if cursor == b"0":
                return sum(counts.values()), findings


def _compare(channel: str, before: ItemAccounts, waiting: int, after: ItemAccounts) -> list[Finding]:
    """Find what waits in the open digests and cannot be what was said to wait at any time in between."""
    ended = after.left + after.taken_out - before.left - before.taken_out
    least, most = before.waiting - ended, before.waiting + after.came_in - before.came_in
    if least <= waiting <= most:
        return []
    amiss = least - waiting if waiting < least else waiting - most
    return [Finding(Kind.DIGEST, channel, amiss, numbers={"waiting": before.waiting, "in_open_digests": waiting})]
