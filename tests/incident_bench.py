"""Incidents on a real store whose clock the test moves: what router and channels do, one row after the other."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any, Self

from services.router.intake.records import first_lines, new_member
from services.router.payloads.parse import parse
from services.router.planning.compose import Draft, compose, grouped, of_its_own
from services.router.planning.digesting import Digesting
from services.router.planning.holding import Holding
from services.router.planning.performer import Performer
from services.router.planning.planner import Planner
from services.router.planning.tasks import Task
from services.router.templates.texts import Template
from shared.core.channels import ROUTER_LANE
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.core.errors import Reason
from shared.core.incidents import AlertState, Way
from shared.core.model import Channel, Delivery, Feed, Notification, State
from shared.core.topics import Kind, Topics
from shared.directory.directory import Directory
from shared.directory.people import OnCall, Person
from shared.directory.policies import EscalationPolicy
from shared.directory.rulebook import Rulebook
from shared.directory.silences import Silence
from shared.ledger.alerts import Answered
from shared.ledger.answering import Answering
from shared.ledger.claims import Claim, ClaimVerdict, Finish, Outcome
from shared.ledger.confirmations import Confirmations
from shared.ledger.confirmations import Outcome as Said
from shared.ledger.digests import Digests
from shared.ledger.held import Held, Muted
from shared.ledger.incidents import Entry, Incidents
from shared.ledger.inhibiting import InhibitingIncidents
from shared.ledger.ledger import Ledger, Verdict
from shared.ledger.new_records import NewRecord, NewRow
from shared.store.keys import Keys
from shared.store.replies import scored
from tests.fakes.clock import StandingClock
from tests.records import LEASE
from tests.router import a_planner
from tests.sim.system import SimulatedStore

# A Monday noon.
BEGIN_MS = 1_796_040_000_000
RETENTION_S = 7 * 86400


class Bench:
    """One router and all channels; nothing happens by itself.

    Attributes:
        told: what was delivered, in its order: seconds since the beginning, channel, and who.
        texts: what the mails said; ``pushed``: the titles of pushes.
        fed: what everybody read, and when.
        failing: channels and people whose deliveries end as dead letters.
        refusing: those whose deliveries are refused, and nobody knows whose fault that is.
        paused: those whose providers are paused by hand.
        doubtful: those whose first attempt gets no answer.
    """

    def __init__(
        self, store: SimulatedStore, alert_template: Template | None = None, without: Collection[Channel] = ()
    ) -> None:
        self.store = store
        self.clock = StandingClock(from_epoch_ms(BEGIN_MS))
        self.keys = keys = Keys()
        self.directory = Directory(store, keys, self.clock)
        self.rulebook = Rulebook(store, keys)
        self.ledger = Ledger(store, keys, RETENTION_S)
        self.muted = Muted(store, keys)
        self.answering = Answering(self.ledger, self.directory, self.muted)
        self.incidents = Incidents(store, keys)
        self.planner: Planner = a_planner(
            store,
            self.clock,
            alert_template=alert_template,
            incidents=InhibitingIncidents(store, keys).read,
            incidents_known_s=-1,
            without=without,
        )
        self.holding = Holding(Held(store, keys), self.muted, self.planner.lookups)
        self.performer = Performer(
            self.planner,
            Digesting(self.planner, Digests(store, keys, RETENTION_S)),
            self.ledger,
            Topics(),
            self.clock,
            holding=self.holding,
            answering=self.answering,
        )
        self.told: list[tuple[int, str, str]] = []
        self.texts: list[str] = []
        self.pushed: list[str] = []
        self.fed: list[tuple[int, str]] = []
        self.failing: set[tuple[Channel, str]] = set()
        self.refusing: set[tuple[Channel, str]] = set()
        self.refused: Counter[str] = Counter()
        self.paused: set[tuple[Channel, str]] = set()
        self.doubtful: set[tuple[Channel, str]] = set()

    async def begin(self) -> Self:
        """Set the store's clock."""
        await self.store.set_clock(BEGIN_MS)
        return self

    @property
    def now_s(self) -> int:
        """Seconds since the beginning."""
        return (epoch_ms(self.clock.now()) - BEGIN_MS) // 1000

    async def people(self, *user_ids: str, **more: Any) -> None:
        """Put people into the directory who have a mailbox and a telephone."""
        for number, user_id in enumerate(user_ids):
            person = {"email": f"{user_id}@example.com", "phone": f"+1500555{number:04}", **more}
            await self.directory.put(Person.model_validate({"user_id": user_id, **person}))

    async def on_call(self, alert_type: str, entry: Mapping[str, Any], policy: Mapping[str, Any] | None = None) -> None:
        """Write an on-call entry, and the policy that it goes by."""
        if policy is not None:
            await self.rulebook.put(alert_type, EscalationPolicy.model_validate(policy))
            entry = {**entry, "policy": alert_type}
        await self.directory.put_oncall(alert_type, OnCall.model_validate({"alert_type": alert_type, **entry}))

    async def alert(self, alert_type: str, level: str = "critical", **said: Any) -> tuple[Verdict, str]:
        """Do what the intake does with an alert."""
        kind = Kind(f"alert_{level}")
        draft = compose(
            kind,
            parse(kind, {"alert_type": alert_type}, _json({"message": "It burns.", **said})),  # type: ignore[arg-type]
            now_ms=epoch_ms(self.clock.now()),
            lifetime_s=86400,
        )
        return await self._accept(draft)

    async def maintain(self, services: list[str], only: str | None = None, **said: Any) -> str:
        """Do what the intake does with a maintenance."""
        kind = Kind.SYSTEM_MAINTENANCE
        draft = compose(
            kind,
            parse(kind, {}, _json({"message": "We upgrade.", "services": services, **said})),  # type: ignore[arg-type]
            now_ms=epoch_ms(self.clock.now()),
            lifetime_s=86400,
        )
        if only is not None:
            draft = of_its_own(draft, only)
        _, notification_id = await self._accept(draft)
        return notification_id

    async def over(self, alert_type: str, level: str = "critical", **said: Any) -> Answered:
        """Do what the intake does when a publisher says that an alert is over."""
        kind = Kind(f"alert_{level}")
        draft = compose(
            kind,
            parse(kind, {"alert_type": alert_type}, _json({"message": "Over.", "status": "resolved", **said})),  # type: ignore[arg-type]
            now_ms=epoch_ms(self.clock.now()),
            lifetime_s=86400,
        )
        draft = grouped(draft, (await self.planner.lookups.policies({alert_type})).get(alert_type))
        alert = draft.notification.content.alert
        starts_at = alert.starts_at if alert is not None else None
        answered, incident_id = await self.ledger.members.resolve(
            draft.dedup_key, draft.member_key, Way.MQTT, starts_ms=epoch_ms(starts_at) if starts_at else 0
        )
        return await self.answering.over(incident_id, "-", way=Way.MQTT) if answered is Answered.OVER else answered

    async def _accept(self, draft: Draft) -> tuple[Verdict, str]:
        known = await self.planner.look_up([draft])
        draft = self.planner.settled(draft, known)
        rows = self.planner.first_rows(draft, known)
        record = NewRecord(
            draft.notification,
            rows,
            fingerprint=draft.fingerprint,
            idempotency_key=draft.idempotency_key,
            dedup_key=draft.dedup_key,
            alert=AlertState.OPEN if draft.alert_type is not None else None,
            is_incident=draft.is_incident,
            says=first_lines(draft, rows, Way.MQTT) if draft.is_incident else (),
            member=new_member(draft) if draft.member_key else None,
        )
        verdict, incident_id = await self.ledger.accept(record)
        if verdict is Verdict.ACCEPTED:
            self.holding.watch(draft.notification, rows)
            await self._take(draft.notification, rows)
            await self.holding.watched()
        return verdict, incident_id

    async def _take(self, notification: Notification, rows: Iterable[NewRow]) -> None:
        """Do at once what is due, as a job that was handed over."""
        for new in rows:
            if not new.state.is_end and new.row.due_ms <= epoch_ms(self.clock.now()):
                await self._work(notification, new.row.key, new.row.written())

    async def silence(self, name: str, for_s: float, *matchers: str) -> None:
        """Write a silence."""
        ends_at = self.clock.now().timestamp() + for_s
        await self.rulebook.put(
            name, Silence.model_validate({"matchers": matchers, "ends_at": ends_at, "comment": "test"})
        )

    async def run(self, until_s: float) -> None:
        """Let everything happen that is due until then, at its time."""
        until_ms = BEGIN_MS + round(until_s * 1000)
        while (next_ms := await self._next_ms()) is not None and next_ms <= until_ms:
            await self._move(max(next_ms, epoch_ms(self.clock.now())))
            await self._sweep()
        await self._move(until_ms)

    async def _move(self, at_ms: int) -> None:
        self.clock.move((at_ms - epoch_ms(self.clock.now())) / 1000)
        await self.store.set_clock(at_ms)

    async def _next_ms(self) -> int | None:
        times = []
        for lane in (ROUTER_LANE, *Channel):
            for shard in range(16):
                key = f"{self.keys.shard(shard)}:due:{lane}"
                times += [at_ms for _, at_ms in scored(await self.store.command("ZRANGE", key, 0, 0, "WITHSCORES"))]
        return min(times, default=None)

    async def _sweep(self) -> None:
        swept = await self.ledger.schedule.sweep(1000)
        for due in sorted(swept.due, key=lambda row: (row.lane != ROUTER_LANE, row.notification_id, row.key)):
            await self._work(Notification.model_validate_json(due.content), due.key, due.spec)

    async def _work(self, notification: Notification, key: str, spec: str) -> None:
        (claim,) = await self.ledger.claim([(notification.id, key)], LEASE)
        if claim.verdict is not ClaimVerdict.CLAIMED:
            return
        if '"channel"' in spec and '"do"' not in spec:
            outcome = self._deliver(notification, Delivery.model_validate_json(spec), claim)
        else:
            outcome = await self.performer.perform(notification, Task.model_validate_json(spec), claim)
        finished = await self.ledger.finish(claim, outcome)
        await self.holding.watched()
        assert finished in (Finish.FINISHED, Finish.VOID)
        if finished is Finish.FINISHED:
            await self._take(notification, outcome.then)
            if outcome.part is not None:
                await self._take(outcome.part.notification, outcome.part.rows)

    def _deliver(self, notification: Notification, delivery: Delivery, claim: Claim) -> Outcome:
        who = delivery.recipient or ""
        if (delivery.channel, who) in self.doubtful and claim.attempt == 1:
            return Outcome(State.PENDING, Reason.TIMEOUT, wait=timedelta(minutes=2), in_doubt=True, provider="sandbox")
        if (delivery.channel, who) in self.refusing:
            self.refused[delivery.key] += 1
            wait = timedelta(seconds=10)
            return Outcome(
                State.PENDING, Reason.REJECTED, wait=wait, refusals=self.refused[delivery.key], provider="sandbox"
            )
        if (delivery.channel, who) in self.paused:
            return Outcome(State.PENDING, Reason.PAUSED, wait=timedelta(seconds=60), counts=False)
        if (delivery.channel, who) in self.failing:
            return Outcome(State.DEAD_LETTERED, Reason.REJECTED, provider="sandbox")
        content = delivery.content or notification.content
        if isinstance(delivery.address, Feed):
            self.fed.append((self.now_s, content.title.partition(" (")[0]))
        if delivery.channel is Channel.PUSH:
            self.pushed.append(content.title)
        if delivery.channel is Channel.EMAIL:
            self.texts.append(f"{content.title}\n{content.message}")
        self.told.append((self.now_s, delivery.channel.value, who))
        return Outcome(State.DELIVERED, provider="sandbox")

    async def confirm(self, incident_id: str, key: str, outcome: str, code: str) -> None:
        """Let a provider say later what has become of a delivery."""
        assert (
            await Confirmations(self.store, self.keys).write(incident_id, key, Said(outcome), code, "SM1") is not None
        )

    def heard(self, channel: str = "email") -> list[tuple[int, str]]:
        """Return who was told on a channel, and when."""
        return sorted((at_s, who) for at_s, by, who in self.told if by == channel)

    async def timeline(self, incident_id: str) -> list[Entry]:
        """Return what happened to an incident."""
        return await self.incidents.timeline(incident_id)

    async def words(self, incident_id: str) -> list[str]:
        """Return what happened to an incident, but for single deliveries."""
        return [entry.what for entry in await self.timeline(incident_id) if "key" not in entry.said]


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()
