"""One bad item: rows that nobody can read, and a mail whose text version once took more memory than a pod has."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from carillon.publisher import Publisher
from shared.core.model import (
    Address,
    Channel,
    Content,
    Delivery,
    EmailAddress,
    MobileToken,
    Notification,
    PhoneNumber,
    Platform,
    Priority,
    UserInbox,
)
from shared.ledger.ledger import Ledger
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import Keys, new_notification_id
from shared.store.store import Store
from tests.chaos.checker import Harm, Limits, Verdict
from tests.chaos.evidence import Evidence
from tests.chaos.recovery import percentile_ms
from tests.chaos.rig import Plan, Rig
from tests.chaos.scenarios import SAMPLES_LEAST, Scenario

# What the manifests give the email service (deploy/k8s/base/email).
POD_BYTES = 256 * 1024 * 1024
_WATCH_S = 0.005
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# What part of the publishing the spans with and without the poison take together. Before them all is still warming up.
_WITHIN = 0.9
_LATER_S = 1.0
# Large mails take long everywhere. So few of them do not change a percentile.
HUGE_MAILS = 6
_HUGE = (
    # One long line beside many short ones: as text a rectangle of 150 million characters.
    "<table><tr><td>" + "a<br>" * 5_000 + "</td><td>" + "y" * 30_000 + "</td></tr></table>",
    # A hundred thousand lines for each paragraph, or blanks for each line.
    '<p style="margin-top:99999em">a</p>' * 1_500,
    '<div style="padding-left:99999em">' + "a<br>" * 8_000 + "</div>",
)

_ADDRESSES: dict[Channel, Address] = {
    Channel.EMAIL: EmailAddress(email="poison@example.com"),
    Channel.SMS: PhoneNumber(phone="+12125550199"),
    Channel.PUSH: MobileToken(platform=Platform.IOS, token="0" * 64),
    Channel.REALTIME: UserInbox(user_id="poison"),
}

# What takes the place of a whole record, and what is planted into the schedule alone.
RECORD, SCHEDULE = "record", "schedule"

# Field of the record (or the above), and what stands there instead; None is nothing. {key} is the row's.
DAMAGES: tuple[tuple[str, str | bytes | None], ...] = (
    ("s:{key}", "garbage"),
    ("s:{key}", "p|email|normal|0|0"),
    ("s:{key}", "z|email|normal|0|0|0|1|1|9999999999999|"),
    ("s:{key}", "p|email|urgent|0|0|0|1|1|9999999999999|"),
    ("s:{key}", None),
    ("d:{key}", "{"),
    ("d:{key}", b"\xff\xfe{}"),
    ("d:{key}", '{"key": "x", "channel": "nothing"}'),
    ("d:{key}", None),
    ("c", "{"),
    ("c", '{"v": 1}'),
    ("c", None),
    ("s:{key}", f"p|sms|normal|0|0|0|{'9' * 30}|1|1|"),
    ("d:{key}", "[]"),
    ("d:{key}", '{"key": "email:another"}'),
    ("c", '{"id": "01893e4a-0000-7000-8000-000000000000"}'),
    (RECORD, "something else"),
    (RECORD, None),
    (SCHEDULE, "garbage"),
    (SCHEDULE, b"\xff\xfe|\xff"),
)


def planted(plan: Plan) -> int:
    """Return how many rows are damaged in a run."""
    return len(DAMAGES) * len(plan.services)


async def _plant(ledger: Ledger, channel: Channel, field: str, value: str | bytes | None) -> None:
    """Write a row that is due in a moment, and damage it."""
    if field == SCHEDULE:
        await ledger.store.command("ZADD", f"{ledger.keys.shard(0)}:due:{channel}", 1, value or "")
        return
    key, soon_ms = f"{channel}:poison", round(time.time() * 1000) + 1_000
    row = Delivery(
        key=key, channel=channel, priority=Priority.NORMAL, address=_ADDRESSES[channel], due_ms=soon_ms,
        expires_ms=soon_ms + 3_600_000,
    )  # fmt: skip
    notification = Notification(
        id=new_notification_id(), kind="poison", priority=Priority.NORMAL, accepted_ms=round(time.time() * 1000),
        content=Content(title="Poison", message="Poison"),
    )  # fmt: skip
    await ledger.accept(NewRecord(notification, [NewRow(row)]))
    record, name = f"{ledger.keys.shard_of(notification.id)}:n:{notification.id}", field.format(key=key)
    if field == RECORD:
        await ledger.store.command("DEL", record)
        if value is not None:
            await ledger.store.command("SET", record, value)
    elif value is None:
        await ledger.store.command("HDEL", record, name)
    else:
        await ledger.store.command("HSET", record, name, value)


async def _poison_rows(rig: Rig) -> None:
    """Plant every kind of damage on every lane, and send the mails, while notifications flow."""
    async with asyncio.TaskGroup() as group:
        limit = group.create_task(_hold_to_memory(rig), name="memory limit")
        channels = [Channel(name) for name in rig.plan.services]
        kinds = [(channel, *damage) for damage in DAMAGES for channel in channels]
        rig.draw.shuffle(kinds)
        span_s = rig.plan.lasts_s * _WITHIN / (2 * rig.plan.faults)
        mails = 0
        async with Store(rig.store_url) as store, Publisher(rig.stack.broker.url) as publisher:
            ledger = Ledger(store, Keys())
            for number in range(rig.plan.faults):
                # As long without as with it, in turn: what else changes while a run lasts concerns both.
                await asyncio.sleep(span_s)
                some = kinds[number :: rig.plan.faults]
                begin = time.time()
                for place, kind in enumerate(some):
                    await _plant(ledger, *kind)
                    if Channel.EMAIL in channels and place == 0 and mails < HUGE_MAILS:
                        html = _HUGE[mails % len(_HUGE)]
                        mail = {"to": f"huge{mails}@example.com", "subject": "Poison", "html_body": html}
                        mails += 1
                        await publisher.publish("notifications/email/send", mail, timeout_s=60)
                    await asyncio.sleep(span_s / len(some))
                # The last rows become due a moment later.
                rig.note(f"{len(some)} unreadable rows", "ledger", begin)
        await rig.published()
        limit.cancel()


async def _hold_to_memory(rig: Rig) -> None:
    """Kill an email process that takes more than its pod has, as the kernel would; until cancelled."""
    while True:
        await asyncio.sleep(_WATCH_S)
        for index in range(rig.plan.processes if "email" in rig.plan.services else 0):
            pid = rig.stack.child("email", index).pid
            if pid is not None and (resident := _resident_bytes(pid)) > POD_BYTES:
                # It may be gone by itself.
                with suppress(ProcessLookupError):
                    rig.send_signal("email", index, signal.SIGKILL)
                    rig.notes.append(f"email-{index} killed at {resident >> 20} MiB")


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _judge(rig: Rig, evidence: Evidence, _verdict: Verdict) -> Iterator[str]:
    ledger = evidence.ledger
    put_away = sum(
        record.key is None and (row.state, row.reason) == ("dead_lettered", "unreadable")
        for record in ledger.records.values()
        for row in record.rows
    )
    # Those of the schedule alone have no record.
    put_away += sum(entry.split("|")[1] not in ledger.records for entry in ledger.dead)
    if not put_away == len(ledger.dead) == planted(rig.plan):
        yield f"{put_away} of {planted(rig.plan)} unreadable rows are dead letters, and {len(ledger.dead)} are listed"
    huge = Counter(effect.to for effect in evidence.effects if effect.to.startswith("huge"))
    if "email" in rig.plan.services and (len(huge) < HUGE_MAILS or set(huge.values()) != {1}):
        yield f"of the huge mails {dict(huge)} came"
    spans = [(fault.begin, fault.end + _LATER_S) for fault in evidence.faults]
    # Before the first one everything is still warming up.
    others = [(before.end + _LATER_S, after.begin) for before, after in pairwise(evidence.faults)]
    for what, providers in (("push", ("apns", "fcm")), ("mail", ("smtp",))):
        with_ms, without_ms = (
            percentile_ms(evidence, providers, chosen, 0.99, least=SAMPLES_LEAST) for chosen in (spans, others)
        )
        if with_ms is None or without_ms is None:
            continue
        rig.notes.append(f"p99 of {what} {with_ms:.0f} ms with the poison, {without_ms:.0f} ms without")
        if with_ms > without_ms * 1.2:
            yield f"p99 of {what} rose to {with_ms / without_ms:.2f} times (at most 1.2)"


POISON_SCENARIOS: dict[str, Scenario] = {
    "poison-row": Scenario(
        "unreadable rows of every kind, and mails that are huge as text",
        _poison_rows,
        times=10,
        limits=lambda plan: Limits(
            {Harm.DEAD_LETTERED: planted(plan), Harm.FOREIGN_RECORD: planted(plan) + HUGE_MAILS + 1}
        ),
        judge=_judge,
    ),
}
