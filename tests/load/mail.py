"""How many mails one email service hands to a relay per second, compared with a bare loop over aiosmtplib.

The relay is Postfix's ``smtp-sink``, the cheapest relay there is. Both use the same number of connections. All mails
wait already when the clock starts.
"""

import asyncio
import json
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiosmtplib

from carillon.local.ports import LOOPBACK, free_port
from carillon.local.servers import find_server
from carillon.local.stack import Stack
from carillon.publisher import Publisher
from shared.core.model import Priority
from shared.delivery.capacity import SHARES
from shared.store.keys import SHARDS, Keys
from shared.store.store import Store
from tests.load.intake import Rate, cpu_s

# The default of ``EMAIL_CONCURRENCY``, what the settings for production have, and what Postfix allows one client.
CONNECTIONS = (10, 20, 50)
# A batch is one publish of at most 64 KiB.
BATCH = 300
_TEXT = "Good morning. Your deployment has finished without an error; the details are in the log."
_POLL_S = 0.02


def settings(port: int, connections: int, *, claims_ahead: bool) -> Mapping[str, str]:
    """Return what points the email service at the relay."""
    # Mails of normal priority use as many places as there are connections. The other places are for more urgent mails.
    places = math.ceil(connections / SHARES[Priority.NORMAL])
    return {
        "EMAIL_SMTP_URL": f"smtp://{LOOPBACK}:{port}?tls=none",
        "EMAIL_CONCURRENCY": str(places),
        "EMAIL_CLAIM_AHEAD": str(claims_ahead),
    }


@asynccontextmanager
async def sink() -> AsyncIterator[int | None]:
    """Run the relay and say its port; None on a machine that has no ``smtp-sink``."""
    program = find_server("smtp-sink")
    if program is None:
        yield None
        return
    port = free_port()
    rights = ("-u", "nobody") if os.getuid() == 0 else ()
    relay = await asyncio.create_subprocess_exec(str(program), *rights, f"{LOOPBACK}:{port}", "100")
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                await asyncio.sleep(_POLL_S)
                continue
            writer.close()
            break
        yield port
    finally:
        relay.kill()
        await relay.wait()


async def measure_mail(stack: Stack, mails: int) -> Rate:
    """Publish mails in batches and return the rate at which the stack's one email service delivers them."""
    pid = stack.child("email").pid
    assert pid is not None
    async with Publisher(stack.broker.url) as publisher, Store(stack.store.url) as store:
        # The first ones find connections closed and scripts not loaded.
        await publisher.publish("notifications/email/batch", _batch(0, BATCH))
        await _until_all_have_ended(store)
        # The service is stopped meanwhile, so that the mails wait for it as for the bare loop.
        os.kill(pid, signal.SIGSTOP)
        try:
            for first in range(0, mails, BATCH):
                await publisher.publish("notifications/email/batch", _batch(first, min(BATCH, mails - first)))
        finally:
            os.kill(pid, signal.SIGCONT)
        cpu_before_s, began_s = cpu_s(pid), time.perf_counter()
        await _until_all_have_ended(store)
        took_s = time.perf_counter() - began_s
    return Rate(mails / took_s, (cpu_s(pid) - cpu_before_s) / mails * 1e6)


async def measure_bare_mail(port: int, connections: int, mails: int) -> Rate:
    """Send mails of the same size with aiosmtplib's own method, and return the rate."""
    raw = (
        "From: Carillon <notifications@example.com>\r\nTo: user@example.com\r\nSubject: Deployed\r\n"
        f"Message-ID: <1@example.com>\r\n\r\n{'x' * 70}\r\n" + (("y" * 70 + "\r\n") * 20)
    ).encode()

    async def send(count: int) -> None:
        async with aiosmtplib.SMTP(hostname=LOOPBACK, port=port, start_tls=False) as smtp:
            for number in range(count):
                await smtp.sendmail("notifications@example.com", [f"user{number}@example.com"], raw)

    cpu_before_s, began_s = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as sends:
        for number in range(connections):
            sends.create_task(send(mails // connections), name=f"bare-{number}")
    took_s = time.perf_counter() - began_s
    return Rate(mails / took_s, (time.process_time() - cpu_before_s) / mails * 1e6)


def _batch(first: int, count: int) -> Mapping[str, object]:
    emails = [
        {"to": f"user{number}@example.com", "subject": "Deployed", "body": _TEXT}
        for number in range(first, first + count)
    ]
    assert len(json.dumps({"emails": emails})) < 64 * 1024
    return {"emails": emails}


async def _until_all_have_ended(store: Store) -> None:
    # The schedules are asked, because mails leave them when they end. The service's metrics would cost the measured
    # process time.
    schedules = [f"{Keys().shard(shard)}:due:email" for shard in range(SHARDS)]
    while any(await asyncio.gather(*(store.submit("ZCARD", schedule) for schedule in schedules))):  # noqa: ASYNC110
        await asyncio.sleep(_POLL_S)
