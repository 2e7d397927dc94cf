"""Everything is killed at random while alerts escalate, are answered by several ways, and open again."""

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import aiohttp
import jwt

from carillon.publisher import NoReceipt, NotConnected, Publisher, Refused
from shared.core.errors import StoreUnavailable
from shared.core.incidents import Way
from shared.ledger.incidents import Entry, Incidents
from shared.store.keys import Keys
from shared.store.store import Store
from tests.chaos.attention_scenarios import Accepted, kill_unanswered, write
from tests.chaos.checker import Harm, Limits, Verdict
from tests.chaos.courses import HOLDS_S, POLICIES, Answer, Course, course, escalated
from tests.chaos.escalations import Answered, Bounds, judge_escalations
from tests.chaos.evidence import PUBLISHED, Evidence
from tests.chaos.rig import Plan, Rig
from tests.chaos.scenarios import CONCURRENCY, Scenario, judge_doubts, lose_broker, slow_providers
from tests.chaos.traffic import phone_of_escalated

ESCALATIONS = 200
_PER_SECOND = 2.0

_ANSWERS = "answers.json"
# Beyond the leases, for a busy machine.
_LATER_S = 3.0
_ASK_AGAIN_S, _TRY_S, _GIVE_UP_S = 0.3, 4.0, 90.0
_LINK = re.compile(r"^https?://\S+/v1/answer\?token=\S+$", re.MULTILINE)


async def _prepare(rig: Rig) -> None:
    """Write the policies that the on-call entries name."""
    await slow_providers(rig)
    await write(rig, {f"directory/policy/{name}": policy for name, policy in POLICIES.items()})


async def _kill_at_random(rig: Rig) -> None:
    """Kill one thing at a time, any of them, and start it again."""
    async for _ in rig.every(1.0):
        match rig.draw.choice(("store", "broker", "router, unanswered", *rig.services)):
            case "broker":
                await lose_broker(rig)
            case "store":
                await rig.bounce("store", 0, rig.draw.uniform(0.2, 2.0))
            case "router, unanswered":
                await kill_unanswered(rig, rig.draw.randrange(rig.plan.processes))
            case service:
                await rig.bounce(service, rig.draw.randrange(rig.plan.processes), rig.draw.uniform(0.0, 1.0))


class _Answering:
    """Answers incidents as their courses say, again and again until their timelines have it."""

    def __init__(self, rig: Rig, incidents: Incidents, http: aiohttp.ClientSession) -> None:
        self._rig = rig
        self._incidents = incidents
        self._http = http
        self.given: defaultdict[str, list[Answered]] = defaultdict(list)

    async def follow(self, incident: str, number: int, course: Course) -> None:
        """Give all answers to one incident."""
        for answer in course.answers:
            await self._until(incident, partial(_has_turn, answer.turn))
            await asyncio.sleep(answer.after_s)
            by = None if answer.place is None else escalated(number)[answer.place]
            before = sum(each.verb == answer.verb and each.by == (by or "-") for each in self.given[incident])
            sends = await self._give(incident, number, answer, by, before)
            self.given[incident].append(Answered(answer.verb, answer.way.value, by or "-", sends))

    async def _give(self, incident: str, number: int, answer: Answer, by: str | None, before: int) -> int:
        """Return how often it was sent."""
        if answer.way is Way.SMS:
            # Before that there is nothing to answer to.
            await self._until(incident, partial(_was_delivered, f"sms:{by}"))
        deadline_s, sends = time.monotonic() + _GIVE_UP_S, 0
        while time.monotonic() < deadline_s:
            sends += 1
            with suppress(TimeoutError, aiohttp.ClientError, NoReceipt, NotConnected, Refused):
                async with asyncio.timeout(_TRY_S):
                    await self._send(incident, number, answer, by)
            with suppress(StoreUnavailable):
                if _count(await self._incidents.timeline(incident), answer.verb, by) > before:
                    return sends
            await asyncio.sleep(_ASK_AGAIN_S)
        return sends

    async def _send(self, incident: str, number: int, answer: Answer, by: str | None) -> None:
        match answer.way, answer.verb:
            case Way.MQTT, verb:
                word = {"acknowledged": "acknowledge", "snoozed": "snooze", "resolved": "resolve"}[verb]
                said = {} if by is None else {"user_id": by}
                more = {"for": f"{HOLDS_S:.0f}s"} if verb == "snoozed" else {}
                async with Publisher(self._rig.stack.broker.url) as publisher:
                    await publisher.publish(f"notifications/alerts/{word}/{incident}", {**said, **more})
            case Way.HTTP, _:
                secret = self._rig.stack.environment["REALTIME_JWT_SECRET"]
                token = jwt.encode({"sub": by, "exp": time.time() + 600}, secret, algorithm="HS256")
                url = f"{self._rig.stack.http_url(number % self._rig.plan.processes)}/v1/alerts/{incident}/acknowledge"
                async with self._http.post(url, headers={"Authorization": f"Bearer {token}"}):
                    pass
            case Way.MAIL_LINK, _:
                mails = await self._rig.sandbox.outbox(to=f"{by}@example.com")
                found = next(filter(None, (_LINK.search(mail["body"]) for mail in mails)), None)
                if found is not None:
                    async with self._http.post(found[0]):
                        pass
            case Way.SMS, _ if answer.place is not None:
                await self._rig.sandbox.inbound_sms(phone_of_escalated(number, answer.place), "ACK")

    async def _until(self, incident: str, is_so: Callable[[list[Entry]], bool]) -> None:
        deadline_s = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < deadline_s:
            with suppress(StoreUnavailable):
                if is_so(await self._incidents.timeline(incident)):
                    return
            await asyncio.sleep(_ASK_AGAIN_S)


def _count(there: list[Entry], what: str, by: str | None) -> int:
    return sum(entry.what == what and (by is None or entry.said.get("by") == by) for entry in there)


def _has_turn(turn: int, there: list[Entry]) -> bool:
    return _count(there, "reopened", None) >= turn


def _was_delivered(key: str, there: list[Entry]) -> bool:
    return any(entry.what == "delivered" and str(entry.said.get("key")).partition("@")[0] == key for entry in there)


def _numbers(rig: Rig) -> Mapping[str, int]:
    return {publish.key: number for number, publish in enumerate(rig.traffic)}


async def _answer_all(rig: Rig) -> None:
    """Answer everything that is accepted, until all courses are at their end."""
    numbers, accepted = _numbers(rig), Accepted(rig.folder / PUBLISHED)
    async with Store(rig.store_url) as store, aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        answering, is_last = _Answering(rig, Incidents(store, Keys()), http), False
        while not is_last:
            is_last = rig.publisher is None or not rig.publisher.alive
            for key, incident in accepted.more():
                number = numbers[key]
                following = answering.follow(incident, number, course(rig.plan.seed, number, rig.plan.services))
                group.create_task(following, name=key)
            await asyncio.sleep(0.1)
    given = {
        incident: [[one.verb, one.way, one.by, one.sends] for one in some] for incident, some in answering.given.items()
    }
    (rig.folder / _ANSWERS).write_text(json.dumps(given))


async def _escalate_and_kill(rig: Rig) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_answer_all(rig), name="answer all")
        group.create_task(_kill_at_random(rig), name="kill at random")


def _judge(rig: Rig, evidence: Evidence, verdict: Verdict) -> Iterator[str]:
    plan = rig.plan
    answers = {
        incident: [Answered(*one) for one in some]
        for incident, some in json.loads((rig.folder / _ANSWERS).read_text()).items()
    }
    courses = {key: (number, course(plan.seed, number, plan.services)) for key, number in _numbers(rig).items()}
    bounds = Bounds(
        step_s=plan.lease_margin_s + _LATER_S,
        delivery_s=plan.lease_s + _LATER_S,
        in_hand_s=plan.attempt_deadline_s + 1.0,
    )
    figures, wrong = judge_escalations(evidence, courses, answers, plan.services, bounds)
    rig.notes.extend(figures.lines())
    yield from wrong
    yield from judge_doubts(rig, evidence, replace(verdict, doubts=verdict.doubts + _replies(verdict, answers)))


def _replies(verdict: Verdict, answers: Mapping[str, Sequence[Answered]]) -> Counter[str]:
    """Count what may have come beside an SMS: whoever sends an answer again by SMS gets a reply to it."""
    replies: Counter[str] = Counter()
    for name in verdict.repeated:
        incident, _, key = name.partition("/")
        by_sms = [one for one in answers.get(incident, ()) if one.way == Way.SMS.value]
        replies[name] = sum(one.sends - 1 for one in by_sms if key.partition("@")[0] == f"sms:{one.by}")
    return replies


def _limits(plan: Plan) -> Limits:
    """Allow one repeat of what was in a killed worker's hands, and what answers have ended; the judge says of what."""
    in_hand = sum(CONCURRENCY[service] for service in plan.services)
    return Limits({Harm.DUPLICATE: plan.faults * in_hand, Harm.SUPPRESSED: 100 * plan.notifications})


ESCALATION_SCENARIOS: dict[str, Scenario] = {
    "escalation-kill": Scenario(
        "everything SIGKILL at random while alerts escalate and are answered",
        _escalate_and_kill,
        prepare=_prepare,
        mix={"escalation": 1},
        times=24,
        limits=_limits,
        judge=_judge,
        per_second=_PER_SECOND,
        notifications=ESCALATIONS,
        # Few are told at a time. What is killed shall have something in hand.
        answer_s=0.3,
    ),
}
