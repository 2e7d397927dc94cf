"""The faults, one scenario each: what happens while notifications flow, and what the run may show afterwards."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from carillon.publisher import Publisher, Refused
from sandbox.journal import Journal
from tests.chaos import stopped
from tests.chaos.checker import Harm, Limits, Verdict
from tests.chaos.evidence import PUBLISHED, Evidence
from tests.chaos.recovery import Recovery, percentile_ms, publishing_began_at, publishing_ended_at
from tests.chaos.rig import Plan, Rig, StoreSet
from tests.chaos.traffic import MIX, Publish

Faults = Callable[[Rig], Coroutine[Any, Any, None]]
Judge = Callable[[Rig, Evidence, Verdict], Iterator[str]]

# Shares and percentiles of a few say nothing.
_LARGE_RUN = 10_000
SAMPLES_LEAST = 300

# Twenty kills and their recoveries, six long stops, fifteen restarts: they need the time, and one process left alone
# must cope.
_UNHURRIED = 100.0

# An SMS in doubt waits for two minutes (services/sms/__main__.py), and may be in doubt again on a busy machine.
_DOUBT_S = 300.0

# How long the links are cut; a run with fewer faults leaves the longer ones out.
_CUTS_S = (1.0, 3.0, 30.0)
# How soon it should be back after that.
_RECOVERY_S = 10.0

# How long a relay refuses everybody, and how many mails a process hands it before it is sure: those of two seconds.
_REFUSES_S = 60.0
_UNTIL_SURE = 250

_CLOCK_SHIM = Path(__file__).parent / "clock"
_CLOCK_SHIFT_S = 300


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault of the table.

    Attributes:
        what: for the table.
        times: how often the fault is played in a full run.
        limits: what a run of this size may show.
        prepare: called before anything is published.
        judge: called at the end with the system still running; yields what is wrong beyond the limits.
        ttl_s: see ``Traffic``, as for ``mix``.
        processes: more settings for single processes.
        after_end: recovery counts from the end of each fault.
        recovers_within: names of ``Recovery``'s fields and the figure to reach, seconds.
        drain_s: how long the rest may take once everything is whole again.
        per_second: slower than asked, where the faults need the time.
        answer_s: how long providers take; None for the plan's figure.
        may_end: processes may end by themselves; otherwise that is wrong.
        store_set: describes the servers of a store with replicas; None for one server.
        own_relay: mail goes to a process of its own.
        notifications: no more are published, however many are asked for.
    """

    what: str
    faults: Faults
    limits: Callable[[Plan], Limits] = lambda _plan: Limits()
    times: int = 20
    services: tuple[str, ...] = ()
    prepare: Callable[[Rig], Awaitable[None]] | None = None
    judge: Judge | None = None
    ttl_s: Callable[[Plan], float] | None = None
    mix: Mapping[str, int] = field(default_factory=lambda: MIX)
    processes: Mapping[tuple[str, int], Mapping[str, str]] = field(default_factory=dict)
    proxied: bool = False
    after_end: bool = False
    recovers_within: Mapping[str, float] = field(default_factory=dict)
    drain_s: float = _DOUBT_S
    per_second: float | None = None
    answer_s: float | None = None
    may_end: bool = False
    store_set: Callable[[Path], StoreSet] | None = None
    own_relay: bool = False
    notifications: int | None = None

    def too_slow(self, recovery: Recovery) -> list[str]:
        """Say in words which recovery took longer than it may."""
        found = []
        for name, most_s in self.recovers_within.items():
            took_s = getattr(recovery, name)
            if took_s is not None and took_s > most_s:
                found.append(f"{name.removesuffix('_s')} again after {took_s:.1f} s (at most {most_s:g} s)")
        return found


async def slow_providers(rig: Rig) -> None:
    """Have every provider accept at once and answer late, as real ones do."""
    for provider in ("smtp", "twilio", "apns", "fcm"):
        await rig.sandbox.play(provider, {"delay_s": rig.plan.answer_s}, times=None)


async def _kill(rig: Rig, service: str) -> None:
    """Kill one process of a service at a time, and start it again a moment later."""
    async for _ in rig.every():
        await rig.bounce(service, rig.draw.randrange(rig.plan.processes), rig.draw.uniform(0.0, 1.0))


# The services' own defaults; a repeated inbox entry is no second one.
CONCURRENCY = {"email": 10, "sms": 10, "push": 50, "realtime": 0}


def _killed_channel_limits(service: str, plan: Plan) -> Limits:
    share = 0.001 if plan.notifications >= _LARGE_RUN else 1.0
    return Limits({Harm.DUPLICATE: plan.faults * CONCURRENCY[service]}, duplicate_share=share)


async def _kill_store(rig: Rig) -> None:
    async for _ in rig.every(0.8):
        await rig.bounce("store", 0, rig.draw.uniform(0.2, 2.0))


async def _kill_broker(rig: Rig) -> None:
    async for _ in rig.every(0.8):
        await lose_broker(rig)


async def lose_broker(rig: Rig) -> None:
    """Kill the broker, delete everything that it had written, and start it again."""
    begin = time.time()
    await rig.stack.kill("broker")
    for file in rig.stack.broker.folder.glob("*.db*"):
        file.unlink()
    await asyncio.sleep(rig.draw.uniform(0.2, 2.0))
    await rig.stack.restart(rig.stack.broker)
    rig.note("SIGKILL, state deleted", "broker", begin)


async def _cut_links(rig: Rig) -> None:
    """Cut every link for each length: those that everything goes through one by one, the others kind by kind."""
    for length_s in _CUTS_S[: rig.plan.faults]:
        for together in _links_together(rig.proxies):
            await asyncio.sleep(rig.draw.uniform(0.1, 0.5))
            await _at_once(_cut_link(rig, name, length_s) for name in together)
            # Its recovery must be seen before the next link is cut.
            await asyncio.sleep(min(length_s, _RECOVERY_S))


async def _cut_link(rig: Rig, name: str, length_s: float) -> None:
    """Cut one link, by RST and refusal or by a black hole."""
    proxy, begin = rig.proxies[name], time.time()
    if rig.draw.random() < 0.5:
        await proxy.cut(length_s)
        rig.note(f"cut for {length_s:g} s", name, begin)
    else:
        proxy.black_hole()
        await asyncio.sleep(length_s)
        proxy.heal()
        rig.note(f"black hole for {length_s:g} s", name, begin)


def _links_together(names: Iterable[str]) -> list[list[str]]:
    """Group the channel services' links by what they lead to, and leave alone those through which everything goes."""
    groups: dict[str, list[str]] = {}
    for name in names:
        service, _, server = name.partition("-")
        kind = server if server in ("broker", "store") else "providers"
        if service in ("publisher", "router"):
            kind = name
        groups.setdefault(kind, []).append(name)
    return list(groups.values())


def judge_doubts(_rig: Rig, _evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    """Allow a duplicate for each attempt that was in doubt, of that very delivery."""
    more = verdict.repeated - verdict.doubts
    if more:
        yield f"{more.total()} duplicates beyond the attempts in doubt, of {len(more)} deliveries"


async def _stop_worker(rig: Rig) -> None:
    """Stop a worker for longer than its lease, and let it go on as if nothing had happened."""
    services = cycle(_stopped_services(rig))
    async for _ in rig.every(0.8):
        service, begin = next(services), time.time()
        rig.send_signal(service, 0, signal.SIGSTOP)
        await asyncio.sleep(rig.plan.lease_s + 2)
        rig.send_signal(service, 0, signal.SIGCONT)
        rig.note("SIGSTOP", f"{service}-0", begin)
    await rig.published()
    # When a worker has ended, it has reported the outcome of everything that it had in hand.
    for service in _stopped_services(rig):
        await rig.stack.stop_service(service, 0)


def _stopped_services(rig: Rig) -> list[str]:
    return [service for service in ("email", "sms", "push") if service in rig.plan.services]


def _judge_stopped(rig: Rig, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    found = stopped.hands(evidence, (line for service in _stopped_services(rig) for line in rig.log_lines(service, 0)))
    rig.notes.append(
        f"{len(found.held)} in the hands of stopped workers, {len(found.taken_over)} of them taken over, "
        f"{len(found.refused)} late outcomes refused"
    )
    yield from stopped.judge(found, verdict.repeated)


async def _stop_router(rig: Rig) -> None:
    """Stop a router for longer than its slot's lease; it finds its slot gone, ends, and is started again."""
    async for _ in rig.every(0.8):
        begin = time.time()
        rig.send_signal("router", 0, signal.SIGSTOP)
        await asyncio.sleep(6)
        rig.send_signal("router", 0, signal.SIGCONT)
        rig.note("SIGSTOP", "router-0", begin)


async def _provider_down(rig: Rig) -> None:
    """Take the mail relay down in the middle of the run: first it cuts every connection, then it defers."""
    span_s = rig.plan.lasts_s
    await asyncio.sleep(span_s * 0.3)
    begin = time.time()
    relay = rig.relay or rig.sandbox
    for fault in ({"cut": "before"}, {"reply": "451 4.3.0 Try again later", "at": "mail"}):
        await relay.play("smtp", fault, times=None)
        await asyncio.sleep(span_s * 0.2)
        await rig.clear_script()
    rig.note("down", "smtp", begin)


async def _refuse_all(rig: Rig) -> None:
    """Have the mail relay refuse everybody in the middle of the run, as one does that no longer knows us."""
    span_s = rig.plan.lasts_s
    await asyncio.sleep(span_s * 0.25)
    begin, relay = time.time(), rig.relay or rig.sandbox
    await relay.play("smtp", {"reply": "550 5.7.1 Relaying denied", "at": "rcpt"}, times=None)
    await asyncio.sleep(min(_REFUSES_S, span_s * 0.5))
    await rig.clear_script()
    rig.note("refuses everybody", "smtp", begin)


def _judge_refused(rig: Rig, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    lines = [line for index in range(rig.plan.processes) for line in rig.log_lines("email", index)]
    refused = [line for line in lines if line["event"] == "attempt" and "550 5.7.1" in str(line.get("detail"))]
    pauses = sum(line["event"] == "provider paused" for line in lines)
    mails = sum(row.lane == "email" for record in evidence.ledger.records.values() for row in record.rows)
    rig.notes.append(f"{mails:,} mails; the relay refused {len(refused):,} attempts; paused {pauses} times")
    if not pauses:
        yield "nobody paused a relay that refuses everybody"
    # Once a second and process. Before the pause come the refusals that it takes to be sure, and what is under way.
    most = rig.plan.processes * (evidence.faults[0].end - evidence.faults[0].begin + _UNTIL_SURE)
    if len(refused) > most:
        yield f"the relay was asked {len(refused):,} times while it refused everybody (at most {most:.0f})"
    yield from _judge_provider_down(rig, evidence, verdict)


def _judge_provider_down(rig: Rig, evidence: Evidence, _verdict: Verdict) -> Iterator[str]:
    """Compare the pushes of the outage with those before and after, as the machine's speed may change."""
    fault = evidence.faults[0]
    began, ended = publishing_began_at(evidence), publishing_ended_at(evidence)
    # The time while things warm up, and while the backlog is worked off, does not count as normal.
    settling_s = (ended - began) * 0.05
    before, after = (began + settling_s, fault.begin), (fault.end + settling_s, ended)
    up_ms, before_ms, after_ms, down_ms = (
        percentile_ms(evidence, ("apns", "fcm"), spans, 0.99, least=SAMPLES_LEAST)
        for spans in ([before, after], [before], [after], [(fault.begin, fault.end)])
    )
    if up_ms is None or before_ms is None or after_ms is None or down_ms is None:
        return
    rig.notes.append(
        f"p99 of push {down_ms:.0f} ms during the outage, {up_ms:.0f} ms otherwise "
        f"({before_ms:.0f} before, {after_ms:.0f} after)"
    )
    if down_ms > up_ms * 1.2:
        yield f"p99 of push rose to {down_ms / up_ms:.2f} times (at most 1.2)"


_POISON: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "email": ("smtp", {"reply": "550 5.1.1 No such mailbox", "at": "rcpt"}),
    "sms": ("twilio", {"status": 400, "code": 21211}),
    "push": ("apns", {"status": 410, "code": "Unregistered"}),
}


def _poisoned(rig: Rig, one_in: int) -> list[Publish]:
    """Choose one publish of every so many: the first that goes to an address of its own."""
    chosen: dict[int, Publish] = {}
    for number, publish in enumerate(rig.traffic):
        if publish.sort in _POISON:
            chosen.setdefault(number // one_in, publish)
    return list(chosen.values())


async def _poison(rig: Rig, one_in: int = 1_000) -> None:
    """Have the providers refuse these addresses for good."""
    for publish in _poisoned(rig, one_in):
        provider, fault = _POISON[publish.sort]
        await rig.sandbox.play(provider, fault, to=_address(publish), times=None)


def _address(publish: Publish) -> str:
    payload = publish.payload
    return str(payload.get("to") or payload.get("phone") or payload["tokens"][0])


async def _only_poison(rig: Rig) -> None:
    begin = time.time()
    await rig.published()
    rig.note("poison", "providers", begin)


def _judge_poison(rig: Rig, evidence: Evidence, _verdict: Verdict) -> Iterator[str]:
    wanted = {_address(publish) for publish in _poisoned(rig, _one_in(rig.plan))}
    dead = Counter(
        row.to for record in evidence.ledger.records.values() for row in record.rows if row.state == "dead_lettered"
    )
    rig.notes.append(f"{len(wanted)} poisoned, {dead.total()} dead letters")
    if dead != Counter(wanted):
        yield "the dead letters are not the poisoned ones, once each"
    tried = sum(
        row.attempts > 1 for record in evidence.ledger.records.values() for row in record.rows if row.to in wanted
    )
    if tried:
        yield f"{tried} poisoned ones were tried again"


def _one_in(plan: Plan) -> int:
    return min(1_000, plan.notifications // 5)


async def _rolling(rig: Rig) -> None:
    """Restart every process once, then go from one process of each service to four and back."""
    for service in rig.services:
        for index in range(rig.plan.processes):
            begin = time.time()
            status = await rig.stack.stop_service(service, index)
            await rig.start_service(service, index)
            rig.note(f"restarted, status {status}", f"{service}-{index}", begin)
    for service in rig.services:
        begin = time.time()
        await _at_once(rig.stack.stop_service(service, index) for index in range(1, rig.plan.processes))
        await _at_once(rig.start_service(service, index) for index in range(1, 4))
        await _at_once(rig.stack.stop_service(service, index) for index in range(1, 4))
        rig.note("scaled 1 to 4 to 1", service, begin)


async def _at_once(steps: Iterable[Coroutine[Any, Any, object]]) -> None:
    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(step, name="step")


def _judge_rolling(_rig: Rig, evidence: Evidence, _verdict: Verdict) -> Iterator[str]:
    for fault in evidence.faults:
        if "status" in fault.what and not fault.what.endswith("status 0"):
            yield f"{fault.target}: {fault.what}"


async def _same_again(rig: Rig) -> None:
    """Send one publish again and again on two connections, and its key with another body."""
    publish = Publish(f"chaos-{rig.plan.seed}-same", "realtime", "notifications/realtime/user/person0", {})
    body = {"message": f"Published in a chaos run under the key {publish.key}"}
    begin, answers = time.time(), Counter[tuple[str, str]]()
    journal = Journal(rig.folder / PUBLISHED)

    async def send(publisher: Publisher, times: int) -> None:
        for _ in range(times):
            receipt = await publisher.publish(publish.topic, body, publish.key, timeout_s=60)
            answers[receipt.status, str(receipt.notification_id)] += 1

    async with asyncio.TaskGroup() as journalling:
        journalling.create_task(journal.run(), name="journal")
        await journal.write({"sent": publish.key, "topic": publish.topic, "at": begin})
        async with Publisher(rig.stack.broker.url) as one, Publisher(rig.stack.broker.url) as other:
            async with asyncio.TaskGroup() as group:
                for number in range(100):
                    times = rig.plan.notifications // 200
                    group.create_task(send((one, other)[number % 2], times), name=f"same-{number}")
            try:
                await one.publish(publish.topic, {"message": "Another body"}, publish.key, timeout_s=60)
                rig.notes.append("another body was accepted")
            except Refused as refused:
                code = refused.receipt.error.code if refused.receipt.error else None
                rig.notes.append(f"another body: {code}")
        for (status, notification_id), times in answers.items():
            line = {"receipt": publish.key, "status": status, "notification_id": notification_id}
            await journal.write({**line, "code": None, "sends": times, "at": time.time()})
        journal.stop()
    journal.close()
    rig.notes.append(", ".join(f"{times:,} {status}" for (status, _), times in sorted(answers.items())))
    rig.note(f"sent {answers.total()} times", "publisher", begin)


def _judge_same(rig: Rig, evidence: Evidence, _verdict: Verdict) -> Iterator[str]:
    key = f"chaos-{rig.plan.seed}-same"
    statuses = Counter(receipt.status for receipt in evidence.published[key].receipts for _ in range(receipt.sends))
    if statuses["accepted"] != 1:
        yield f"{statuses['accepted']} receipts say accepted"
    if "another body: idempotency_conflict" not in rig.notes:
        yield "another body under the key was not refused"


def _shifted(shift_s: float) -> Mapping[str, str]:
    return {"PYTHONPATH": str(_CLOCK_SHIM), "CHAOS_CLOCK_SHIFT_S": str(shift_s)}


async def _wrong_clock(rig: Rig) -> None:
    begin = time.time()
    await rig.published()
    rig.note("clock off by 300 s", "one process of each service", begin)


SCENARIOS: dict[str, Scenario] = {
    "router-kill": Scenario(
        "router SIGKILL, two routers",
        partial(_kill, service="router"),
        recovers_within={"accepting_s": 2.0},
        per_second=_UNHURRIED,
    ),
    **{
        f"{service}-kill": Scenario(
            f"{service} SIGKILL, two processes",
            partial(_kill, service=service),
            prepare=slow_providers,
            limits=partial(_killed_channel_limits, service),
            # Most notifications of a run become a push. How many are in hand depends on how long an answer takes.
            answer_s=0.02 if service == "push" else None,
            recovers_within={"retaken_s": 3.0},
            per_second=_UNHURRIED,
        )
        for service in ("email", "sms", "push", "realtime")
    },
    "store-kill": Scenario(
        "Redis SIGKILL (AOF always)",
        _kill_store,
        times=5,
        after_end=True,
        recovers_within={"flowing_s": 5.0},
    ),
    "broker-kill": Scenario(
        "broker SIGKILL, its state deleted",
        _kill_broker,
        times=5,
        after_end=True,
        recovers_within={"flowing_s": 10.0},
    ),
    "links": Scenario(
        "every link cut for 1, 3 and 30 s",
        _cut_links,
        times=len(_CUTS_S),
        limits=lambda plan: Limits({Harm.DUPLICATE: plan.notifications}),
        judge=judge_doubts,
        proxied=True,
        after_end=True,
        recovers_within={"flowing_s": _RECOVERY_S},
        per_second=65.0,
    ),
    "worker-stop": Scenario(
        "worker SIGSTOP for its lease and 2 s more",
        _stop_worker,
        times=6,
        prepare=slow_providers,
        answer_s=0.3,
        limits=lambda plan: Limits({Harm.DUPLICATE: plan.faults * 50}),
        judge=_judge_stopped,
        per_second=_UNHURRIED,
    ),
    "router-stop": Scenario(
        "router SIGSTOP for 6 s (lease 4 s)",
        _stop_router,
        times=6,
        may_end=True,
        recovers_within={"accepting_s": 2.0},
    ),
    "provider-down": Scenario(
        "mail relay down for 40 % of the run",
        _provider_down,
        times=1,
        ttl_s=lambda plan: plan.lasts_s * 0.15,
        limits=lambda plan: Limits({Harm.EXPIRED: plan.notifications}, least={Harm.EXPIRED: 1}),
        judge=_judge_provider_down,
        # The wait between attempts grows up to five minutes (shared/delivery/retry.py).
        drain_s=360.0,
        # Pushes are timed meanwhile, and a real relay does not slow a real APNs down.
        own_relay=True,
        per_second=_UNHURRIED,
    ),
    "relay-refuses-all": Scenario(
        "mail relay says 5.7.1 to everything for 60 s",
        _refuse_all,
        times=1,
        judge=_judge_refused,
        # Enough of it is mail, and pushes are timed meanwhile.
        services=("email", "push"),
        own_relay=True,
        per_second=_UNHURRIED,
    ),
    "poison": Scenario(
        "one poisonous notification in 1,000",
        _only_poison,
        times=1,
        prepare=lambda rig: _poison(rig, _one_in(rig.plan)),
        limits=lambda plan: Limits({Harm.DEAD_LETTERED: plan.notifications // _one_in(plan)}),
        judge=_judge_poison,
    ),
    "rolling": Scenario(
        "rolling restart of everything, scale 1 to 4 to 1",
        _rolling,
        times=1,
        judge=_judge_rolling,
        per_second=_UNHURRIED,
    ),
    "same-publish": Scenario(
        "the same publish again and again, then with another body",
        _same_again,
        times=1,
        judge=_judge_same,
    ),
    "clock": Scenario(
        "clock of one process of each service off by 5 minutes",
        _wrong_clock,
        times=1,
        prepare=slow_providers,
        answer_s=0.3,
        processes={
            ("router", 0): _shifted(_CLOCK_SHIFT_S),
            ("email", 0): _shifted(_CLOCK_SHIFT_S),
            ("sms", 0): _shifted(-_CLOCK_SHIFT_S),
            ("push", 0): _shifted(_CLOCK_SHIFT_S),
            ("realtime", 0): _shifted(-_CLOCK_SHIFT_S),
        },
        limits=lambda _plan: Limits(takeovers=False),
    ),
}


def sized(scenario: Scenario, plan: Plan) -> Plan:
    """Return the plan of a run with this scenario's number of faults, services and speed."""
    per_second = min(plan.per_second, scenario.per_second or plan.per_second)
    return replace(
        plan,
        notifications=min(plan.notifications, scenario.notifications or plan.notifications),
        faults=plan.faults or scenario.times,
        services=scenario.services or plan.services,
        per_second=per_second,
        answer_s=scenario.answer_s or plan.answer_s,
    )
