"""The publisher of a run, a process of its own: ``python -m tests.chaos.publishing``, see ``--help``.

Promises a journal that outlives every process: one line before a publish leaves, and one when its receipt is there,
each on disk before the next step. What has no receipt is sent again under the same key until the deadline. Ends with 0
when everything has a receipt, with 1 otherwise.
"""

import argparse
import asyncio
import json
import logging
import time
from contextlib import suppress
from pathlib import Path

from carillon.publisher import NoReceipt, NotConnected, Publisher, Receipt, Refused
from sandbox.journal import Journal
from tests.chaos.traffic import Publish, Traffic

# If the first connection fails, it is tried again: the broker may be one of the killed processes.
_CONNECT_AGAIN_S = 0.2

# Journalled but not yet receipted publishes; the publisher itself sends fewer at a time.
_WAITING_MOST = 2_000


class Publishing:
    """One run of publishes."""

    def __init__(self, publisher: Publisher, journal: Journal, deadline_s: float) -> None:
        self._publisher = publisher
        self._journal = journal
        self._deadline_s = deadline_s
        self._room = asyncio.Semaphore(_WAITING_MOST)
        self.missing = 0

    async def run(self, traffic: Traffic, per_second: float) -> None:
        """Publish everything at a steady rate, without waiting for receipts."""
        started_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, publish in enumerate(traffic):
                await asyncio.sleep(max(0.0, started_s + number / per_second - time.monotonic()))
                await self._room.acquire()
                group.create_task(self._one(publish), name=publish.key)

    async def _one(self, publish: Publish) -> None:
        try:
            await self._journal.write({"sent": publish.key, "topic": publish.topic, "at": time.time()})
            receipt = await self._receipted(publish)
            if receipt is None:
                self.missing += 1
                return
            error = receipt.error.code if receipt.error else None
            line = {"receipt": publish.key, "status": receipt.status, "notification_id": receipt.notification_id}
            await self._journal.write({**line, "code": error, "sends": receipt.sends, "at": time.time()})
        finally:
            self._room.release()

    async def _receipted(self, publish: Publish) -> Receipt | None:
        while time.monotonic() < self._deadline_s:
            try:
                return await self._publisher.publish(publish.topic, publish.payload, publish.key)
            except Refused as refused:
                return refused.receipt
            except NoReceipt:
                continue
        return None


async def publish_all(url: str, journal_file: Path, traffic: Traffic, *, per_second: float, within_s: float) -> int:
    """Publish a run's traffic and return how many publishes have no receipt."""
    deadline_s = time.monotonic() + within_s
    journal = Journal(journal_file)
    async with asyncio.TaskGroup() as group:
        group.create_task(journal.run(), name="journal")
        missing = traffic.count
        while time.monotonic() < deadline_s:
            with suppress(NotConnected):
                async with Publisher(url) as publisher:
                    publishing = Publishing(publisher, journal, deadline_s)
                    await publishing.run(traffic, per_second)
                    missing = publishing.missing
                    break
            await asyncio.sleep(_CONNECT_AGAIN_S)
        journal.stop()
    journal.close()
    return missing


def main() -> None:
    """Publish what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.publishing", description=__doc__)
    parser.add_argument("plan", help="a JSON object, as the rig writes it")
    plan = json.loads(parser.parse_args().plan)
    logging.basicConfig(level=logging.WARNING)
    traffic = Traffic(plan["seed"], plan["count"], tuple(plan["services"]), plan["ttl_s"], plan["mix"])
    missing = asyncio.run(
        publish_all(
            plan["url"],
            Path(plan["journal"]),
            traffic,
            per_second=plan["per_second"],
            within_s=plan["within_s"],
        )
    )
    raise SystemExit(1 if missing else 0)


if __name__ == "__main__":
    main()
