"""A worker of the email lane in its own process, which one delivery kills: ``python -m tests.dying_worker JSON``.

It stands for any crash in the middle of work: no outcome is written, and nothing is given back.
"""

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any

from shared.core.model import Delivery, Job, Notification, State
from shared.core.topics import Topics
from shared.delivery.worker import Worker
from shared.ledger.claims import Claim, Outcome
from shared.ledger.ledger import Ledger
from shared.mqtt.address import BrokerAddress
from shared.store.keys import Keys
from shared.store.store import Store

# In the middle of the others, in the order in which a sweep hands them out.
POISON = "email:15-poison"
# How long an attempt takes, so that the neighbours are in hand when the process dies.
_TAKES_S = 0.05


async def _perform(_notification: Notification, delivery: Delivery, _claim: Claim) -> Outcome:
    await asyncio.sleep(_TAKES_S)
    if delivery.key == POISON:
        os._exit(137)
    await asyncio.sleep(_TAKES_S)
    return Outcome(State.DELIVERED)


async def _work(options: dict[str, Any]) -> None:
    async with Store(options["store"]) as store:
        worker = Worker(
            "email",
            Job[Delivery],
            _perform,
            lambda *_: None,
            ledger=Ledger(store, Keys(), record_retention_s=600),
            topics=Topics(options["prefix"]),
            address=BrokerAddress.parse(options["broker"]),
            client_id=f"{options['prefix'].rstrip('/')}-{os.getpid()}",
            concurrency=10,
            lease=timedelta(seconds=options["lease_s"]),
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(_work(json.loads(sys.argv[1])))
