"""Everything is killed in turn while notifications are held, folded and released.

Each scenario has categories of its own, and people who hear of these alone (``tests.chaos.traffic``).
"""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from carillon.publisher import NoReceipt, NotConnected, Publisher
from tests.chaos.attention import (
    Quiet,
    Throttled,
    Told,
    Window,
    judge_alone,
    judge_digests,
    judge_holds,
    judge_quiet_digests,
    judge_throttle,
    judge_windows,
    told,
)
from tests.chaos.checker import Harm, Limits, Verdict
from tests.chaos.evidence import PUBLISHED, Evidence
from tests.chaos.rig import RELEASE_WITHIN_S, Plan, Rig
from tests.chaos.scenarios import CONCURRENCY, Scenario, judge_doubts, lose_broker, slow_providers
from tests.chaos.traffic import ATTENTIVE

_PER_SECOND = 100.0
# Each is folded twice, for mail and push. A backlog would keep digests open, and what a killed router had in hand would
# come back into the same one, whether it is remembered or not.
_FOLDED_PER_SECOND = 60.0

# What is killed, one after the other; what does not run is left out. Realtime is killed elsewhere: what it had written
# into an inbox may end as cancelled afterwards.
_TURNS = ("router", "store", "email", "broker", "store", "push")

_STORE_STOPPED_S = 0.2

_RECEIPT_WITHIN_S, _TRIES = 5.0, 12

# What was accepted and whose receipt was lost is known when it is sent again.
_ACCEPTED = ("accepted", "duplicate")

_MAILED = {"channels": {"email": True}}

# Until when people are left alone, as shares of the publishing time. Some say on the way that they want it for longer.
_SNOOZES = (0.3, 0.6, 0.8)
_PUT_OFF_AT, _PUT_OFF = 0.25, (0.5, 0.75)
# A run that lasts for minutes has people who are quiet in every second minute of it.
_MINUTES_LEAST_S = 120.0
_QUIET = "quiet.json"

_BEFORE: Mapping[str, Mapping[str, Any]] = {
    "fixed": {"window": "3s"},
    "sliding": {"window": "1s", "at_most": "4s", "mode": "sliding"},
    "first": {"window": "3s", "first": "now"},
}
_AFTER: Mapping[str, Mapping[str, Any]] = {
    "fixed": {"window": "2s", "at_most": "5s", "mode": "sliding"},
    "sliding": {"window": "5s"},
    "first": {"window": "2s"},
}
_WINDOWS_BEFORE = {"fixed": Window(3, 3), "sliding": Window(1, 4), "first": Window(0, 3)}
# A window that was begun by one that went out alone before the deploy is no longer than it was.
_WINDOWS_AFTER = {"fixed": Window(2, 5), "sliding": Window(5, 5), "first": Window(0, 3)}
_FIRST_WINDOW_S = 3.0
_DEPLOY = "deploy with other digests"

# What goes into a digest however soon it comes.
_CERTAIN = frozenset({"fixed", "sliding"})
_ALONE = frozenset({"first"})
# One in so many of those is cancelled: before it is there, while it waits there, or after it has been told.
_CANCELLED_ONE_IN = 10
_CANCEL_WITHIN_S = 5.0
_CANCEL_EVERY_S = 0.2
# One reader in so many is left alone for this share of the publishing time.
_LEFT_ALONE_ONE_IN, _LEFT_ALONE = 4, 0.4

# Of what is published for one person within a window, a throttle lets through this share.
_THROTTLE_WINDOW_S = 3
_SHARES = {"dropped": ("drop", 0.5), "delayed": ("hold", 0.85), "gathered": ("fold", 0.5)}


async def _kill_in_turn(rig: Rig, halfway: Callable[[Rig], Awaitable[None]] | None = None) -> None:
    """Kill one thing after the other, and start it again.

    Args:
        halfway: called once, between two faults.
    """
    turns = cycle(name for name in _TURNS if name in ("store", "broker", *rig.services))
    async for number in rig.every():
        if halfway is not None and number == rig.plan.faults // 2:
            await halfway(rig)
        match next(turns):
            case "broker":
                await lose_broker(rig)
            case "store":
                await rig.bounce("store", 0, rig.draw.uniform(0.2, 2.0))
                # The routers work off what has waited, and have their hands full.
                await asyncio.sleep(rig.draw.uniform(0.1, 0.5))
                await kill_unanswered(rig, rig.draw.randrange(rig.plan.processes))
            case service:
                await rig.bounce(service, rig.draw.randrange(rig.plan.processes), rig.draw.uniform(0.0, 1.0))


async def kill_unanswered(rig: Rig, index: int) -> None:
    """Kill a router that waits for the store, which then does what nobody is there to hear of."""
    begin = time.time()
    rig.send_signal("store", 0, signal.SIGSTOP)
    await asyncio.sleep(_STORE_STOPPED_S)
    await rig.stack.kill("router", index)
    rig.send_signal("store", 0, signal.SIGCONT)
    await asyncio.sleep(rig.draw.uniform(0.0, 1.0))
    await rig.start_service("router", index)
    rig.note("SIGKILL, writes unanswered", f"router-{index}", begin)


async def write(rig: Rig, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Publish what announces nothing itself, whatever is being killed."""
    while records:
        try:
            async with Publisher(rig.stack.broker.url) as publisher, asyncio.TaskGroup() as group:
                for topic, record in records.items():
                    group.create_task(_receipted(publisher, topic, record), name=topic)
        except NotConnected:
            await asyncio.sleep(0.1)
        else:
            return


async def _receipted(publisher: Publisher, topic: str, record: Mapping[str, Any]) -> None:
    """Publish until there is a receipt: a broker that has lost its state drops what comes before the routers are back.

    Raises:
        NoReceipt: not even after a long time.
    """
    for _ in range(_TRIES):
        with suppress(NoReceipt):
            await publisher.publish(topic, record, timeout_s=_RECEIPT_WITHIN_S)
            return
    await publisher.publish(topic, record, timeout_s=_RECEIPT_WITHIN_S)


def _channels(rig: Rig) -> list[str]:
    """Return the channels that disturb, as many as run."""
    return [channel for channel in ("email", "push") if channel in rig.plan.services]


def _note_taken_over(rig: Rig, evidence: Evidence) -> None:
    """Say how many tasks were in the hands of killed routers."""
    lapsed = Counter(
        row.key.partition(":")[0].partition("@")[0]
        for record in evidence.ledger.records.values()
        for row in record.rows
        if row.lane == "router" and any(attempt.reason == "lease_lapsed" for attempt in row.history)
    )
    if lapsed:
        words = ", ".join(f"{times} {task}" for task, times in sorted(lapsed.items()))
        rig.notes.append(f"taken over from routers: {words}")


def _told(rig: Rig, evidence: Evidence, *sorts: str) -> list[Told]:
    return told(evidence, rig.traffic, sorts)


async def _prepare_holds(rig: Rig) -> None:
    """Leave some people alone until times within the run."""
    await slow_providers(rig)
    began, lasts_s = time.time(), rig.plan.lasts_s
    records: dict[str, Mapping[str, Any]] = {"directory/category/quiet": _MAILED}
    quiet: dict[str, Any] = {}
    for number in range(ATTENTIVE["quiet"]):
        user_id, which = f"quiet{number}", number % 5
        record = rig.traffic.person(user_id)
        if which == 4:
            until = round(began + lasts_s * _PUT_OFF[0], 3)
            quiet[user_id] = {"until": until, "put_off_to": round(began + lasts_s * _PUT_OFF[1], 3)}
            record |= {"snooze_until": until}
        elif which == 3 and lasts_s >= _MINUTES_LEAST_S:
            minute = datetime.fromtimestamp(began, UTC).replace(second=0, microsecond=0)
            minutes = [minute + timedelta(minutes=2 * step) for step in range(21)]
            ends = [one + timedelta(minutes=1) for one in minutes]
            windows = [{"from": f"{one:%H:%M}", "to": f"{end:%H:%M}"} for one, end in zip(minutes, ends, strict=True)]
            record |= {"quiet_hours": {"timezone": "UTC", "windows": windows}}
            quiet[user_id] = {
                "spans": [(one.timestamp(), end.timestamp()) for one, end in zip(minutes, ends, strict=True)]
            }
        else:
            until = round(began + lasts_s * _SNOOZES[which % 3], 3)
            record |= {"snooze_until": until}
            quiet[user_id] = {"spans": [(0.0, until)]}
        records[f"directory/user/{user_id}"] = record
    await write(rig, records)
    (rig.folder / _QUIET).write_text(json.dumps(quiet))


async def _put_off(rig: Rig) -> None:
    """Let some people want to be left alone for longer, while much is held for them."""
    await asyncio.sleep(rig.plan.lasts_s * _PUT_OFF_AT)
    file = rig.folder / _QUIET
    quiet = json.loads(file.read_text())
    late = {user_id: said for user_id, said in quiet.items() if "put_off_to" in said}
    await write(rig, {
        f"directory/user/{user_id}": {**rig.traffic.person(user_id), "snooze_until": said["put_off_to"]}
        for user_id, said in late.items()
    })  # fmt: skip
    now = time.time()
    for said in late.values():
        said["said_at"] = now
    file.write_text(json.dumps(quiet))


async def _hold_and_kill(rig: Rig) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_put_off(rig), name="put off")
        group.create_task(_kill_in_turn(rig), name="kill in turn")


def _judge_holds(rig: Rig, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    quiet: dict[str, Quiet] = {}
    for user_id, said in json.loads((rig.folder / _QUIET).read_text()).items():
        if "spans" in said:
            quiet[user_id] = Quiet(tuple(map(tuple, said["spans"])))
        elif said["said_at"] < said["until"]:
            quiet[user_id] = Quiet(((0.0, said["put_off_to"]),), ends=(said["until"],))
    every = [one for one in _told(rig, evidence, "quiet") if one.person in quiet]
    held = [len(one.held_until(channel)) for one in every for channel in _channels(rig)]
    again = sum(times > 1 for times in held)
    rig.notes.append(f"{sum(map(bool, held)):,} of {len(held):,} held, {again:,} of them again")
    _note_taken_over(rig, evidence)
    if not any(held):
        yield "nothing was held"
    if not any(one.ends for one in quiet.values()):
        rig.notes.append("nobody put it off in time")
    yield from judge_holds(evidence, every, quiet, _channels(rig), RELEASE_WITHIN_S)
    yield from judge_doubts(rig, evidence, verdict)


async def _prepare_digests(rig: Rig) -> None:
    """Open digests, and leave some of those alone who read them."""
    await slow_providers(rig)
    until = round(time.time() + rig.plan.lasts_s * _LEFT_ALONE, 3)
    alone = [f"{sort}{number}" for sort in sorted(_CERTAIN) for number in range(0, ATTENTIVE[sort], _LEFT_ALONE_ONE_IN)]
    records = {f"directory/category/{name}": {**_MAILED, "digest": spec} for name, spec in _BEFORE.items()}
    people = {f"directory/user/{one}": {**rig.traffic.person(one), "snooze_until": until} for one in alone}
    await write(rig, {**records, **people})
    (rig.folder / _QUIET).write_text(json.dumps(dict.fromkeys(alone, until)))


async def _deploy(rig: Rig) -> None:
    """Change what digests are, and restart one router after the other, as a deploy does."""
    begin = time.time()
    await write(rig, {f"directory/category/{name}": {**_MAILED, "digest": spec} for name, spec in _AFTER.items()})
    for index in range(rig.plan.processes):
        await rig.stack.stop_service("router", index)
        await rig.start_service("router", index)
    rig.note(_DEPLOY, "routers", begin)


class Accepted:
    """Reads the publisher's journal as it grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = 0

    def more(self) -> list[tuple[str, str]]:
        """Return the keys and ids that were accepted since it was read last, or had been before."""
        with self._file.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self._read += len(lines)
        found = map(json.loads, lines.splitlines())
        return [(line["receipt"], line["notification_id"]) for line in found if line.get("status") in _ACCEPTED]


async def _cancel_some(rig: Rig) -> None:
    """Cancel some of what goes into digests within seconds, whatever is being killed."""
    chosen = {
        publish.key
        for number, publish in enumerate(rig.traffic)
        if publish.sort in _CERTAIN and number % _CANCELLED_ONE_IN == 0
    }
    accepted, is_last = Accepted(rig.folder / PUBLISHED), False
    draw = random.Random(rig.plan.seed)  # noqa: S311 - repeatable, and no secret
    waiting: list[tuple[float, str]] = []
    while not is_last or waiting:
        is_last = rig.publisher is None or not rig.publisher.alive
        now_s = time.monotonic()
        waiting += [(now_s + draw.uniform(0, _CANCEL_WITHIN_S), one) for key, one in accepted.more() if key in chosen]
        some = [one for due_s, one in waiting if due_s <= now_s]
        waiting = [one for one in waiting if one[0] > now_s]
        await write(rig, {f"notifications/cancel/{notification_id}": {} for notification_id in some})
        await asyncio.sleep(_CANCEL_EVERY_S)


async def _fold_and_kill(rig: Rig) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_cancel_some(rig), name="cancel some")
        group.create_task(_kill_in_turn(rig, _deploy), name="kill in turn")


def _judge_digests(rig: Rig, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    every = _told(rig, evidence, *_BEFORE)
    _note_digests(rig, evidence)
    yield from judge_digests(evidence, every, _channels(rig), alone=_ALONE)
    yield from judge_quiet_digests(evidence, json.loads((rig.folder / _QUIET).read_text()))
    deploys = [(fault.begin, fault.end) for fault in evidence.faults if fault.what == _DEPLOY]
    if len(deploys) != 1:
        yield f"{len(deploys)} deploys"
        return
    yield from judge_windows(evidence, _WINDOWS_BEFORE, _WINDOWS_AFTER, deploys[0])
    first = [one for one in every if one.publish.sort == "first"]
    yield from judge_alone(first, _channels(rig), _FIRST_WINDOW_S, until=deploys[0][0])
    yield from judge_doubts(rig, evidence, verdict)


def _note_digests(rig: Rig, evidence: Evidence) -> None:
    items = [len(record.digest.members) for record in evidence.ledger.records.values() if record.digest is not None]
    left_out = sum(len(record.digest.left_out) for record in evidence.ledger.records.values() if record.digest)
    rig.notes.append(f"{sum(items):,} items in {len(items):,} digests, {left_out:,} of them cancelled")
    _note_taken_over(rig, evidence)


def _throttles(plan: Plan) -> dict[str, Throttled]:
    of_one = plan.per_second / len(_SHARES) / ATTENTIVE["dropped"] * _THROTTLE_WINDOW_S
    return {
        name: Throttled(max(1, int(of_one * share)), _THROTTLE_WINDOW_S, then)
        for name, (then, share) in _SHARES.items()
    }


async def _prepare_throttles(rig: Rig) -> None:
    await slow_providers(rig)
    await write(rig, {
        f"directory/category/{name}": {
            **_MAILED,
            "throttle": {"limit": throttle.limit, "per": f"{_THROTTLE_WINDOW_S}s", "then": throttle.then},
        }
        for name, throttle in _throttles(rig.plan).items()
    })  # fmt: skip


def _judge_throttles(rig: Rig, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    channels = _channels(rig)
    stopped = []
    for name, throttle in _throttles(rig.plan).items():
        every = _told(rig, evidence, name)
        stopped.append(f"{sum(_is_stopped(one) for one in every):,} of {len(every):,} {name}")
        yield from judge_throttle(evidence, every, throttle, channels, lenient=True)
    rig.notes.append(", ".join(stopped))
    _note_digests(rig, evidence)
    yield from judge_digests(evidence, _told(rig, evidence, "gathered"), channels)
    yield from judge_doubts(rig, evidence, verdict)


def _is_stopped(one: Told) -> bool:
    ends = one.ends("email")
    return bool(one.held_until("email")) or any(row.state == "suppressed" for row in ends)


def _limits(plan: Plan, *, suppressed: bool = True) -> Limits:
    """Allow one repeat of what was in a killed worker's hands; ``judge_doubts`` says of what."""
    in_hand = sum(CONCURRENCY[service] for service in plan.services)
    most = {Harm.DUPLICATE: plan.faults * in_hand}
    if not suppressed:
        return Limits(most)
    # The judges account for each of them.
    return Limits({**most, Harm.SUPPRESSED: 3 * plan.notifications}, least={Harm.SUPPRESSED: 1})


ATTENTION_SCENARIOS: dict[str, Scenario] = {
    "hold-kill": Scenario(
        "everything SIGKILL in turn while quiet time holds and lets go",
        _hold_and_kill,
        prepare=_prepare_holds,
        mix={"quiet": 90, "email": 5, "realtime": 5},
        limits=partial(_limits, suppressed=False),
        judge=_judge_holds,
        per_second=_PER_SECOND,
    ),
    "digest-kill": Scenario(
        "everything SIGKILL in turn while digests open and close, and a deploy with other ones",
        _fold_and_kill,
        prepare=_prepare_digests,
        mix={"fixed": 1, "sliding": 1, "first": 1},
        limits=_limits,
        judge=_judge_digests,
        per_second=_FOLDED_PER_SECOND,
    ),
    "throttle-kill": Scenario(
        "everything SIGKILL in turn while throttles drop, hold and fold",
        _kill_in_turn,
        prepare=_prepare_throttles,
        mix=dict.fromkeys(_SHARES, 1),
        limits=_limits,
        judge=_judge_throttles,
        per_second=_PER_SECOND,
    ),
}
