"""The watch over sources on a real store whose clock the test moves, and the routers that it tells."""

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.router.intake.liveness import LivenessActions
from services.router.payloads import control
from services.router.payloads.parse import parse
from services.router.payloads.receipts import AcceptedReceipt
from services.router.planning.compose import compose
from services.router.upkeep.liveness_watch import LivenessWatch
from services.router.upkeep.router_link import NoReceipt, Receipt
from shared.core.topics import LIVENESS_PUBLISHER, PLAIN_PUBLISHER, Topics
from shared.directory.liveness import NamedLiveness
from shared.directory.rulebook import Rulebook
from shared.ledger.sources import Noted, Sources, Standing, Untold
from shared.store.keys import Keys
from tests.sim.system import SimulatedStore

# A Monday noon.
BEGIN_MS = 1_796_040_000_000


class Killed(BaseException):
    """The watch died at this point. No error that it could handle."""


class Routers:
    """What the routers know: they take a key once, and an incident is one by its dedup key.

    Attributes:
        log: of each source, what became of its incidents in order: opened and resolved.
        said: each payload that was new, with its topic.
    """

    def __init__(self) -> None:
        self.log: defaultdict[str, list[str]] = defaultdict(list)
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.are_away = False
        self.answer = Receipt()
        self._bodies: dict[str, dict[str, Any]] = {}
        self._open: dict[tuple[str, str], str] = {}

    async def take(self, topic: str, payload: dict[str, Any]) -> Receipt:
        """Do with an alert what the intake does, as far as it matters here."""
        if self.are_away:
            raise NoReceipt("no receipt in time")
        if self.answer.code:
            return self.answer
        self._check(topic, payload)
        key, incident, source = payload["id"], (topic, payload["dedup_key"]), payload["source"]
        if payload.get("status") == "resolved":
            # A router does not ask for its key; it ends what began no later than the publish says.
            if self._open.get(incident, "later") <= payload["starts_at"]:
                del self._open[incident]
                self.log[source].append("resolved")
                self.said.append((topic, payload))
            return Receipt()
        if key in self._bodies:
            return Receipt() if self._bodies[key] == payload else Receipt("idempotency_conflict")
        assert incident not in self._open, "it is open already"
        self._bodies[key] = payload
        self._open[incident] = payload["starts_at"]
        self.log[source].append("opened")
        self.said.append((topic, payload))
        return Receipt()

    @staticmethod
    def _check(topic: str, payload: dict[str, Any]) -> None:
        """Every payload is one that a router takes."""
        route = Topics().parse(topic)
        assert route is not None
        publish: Any = parse(route.kind, route.params, json_of(payload))
        compose(route.kind, publish, now_ms=BEGIN_MS, lifetime_s=86400, publisher=LIVENESS_PUBLISHER)


class MortalSources(Sources):
    """Dies before or after a step is in the store, when the test says so.

    Attributes:
        steps: how many steps are made before that; None for as many as there are.
    """

    steps: int | None = None

    async def step(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do one step, or die before it or behind it."""
        if self.steps is None:
            return await work()
        self.steps -= 2
        if self.steps < -1:
            raise Killed
        done = await work()
        if self.steps < 0:
            raise Killed
        return done

    async def _decide(self, due: Any, *decision: Any) -> bool:
        return bool(await self.step(lambda: super(MortalSources, self)._decide(due, *decision)))

    async def _noted(self, untold: Untold, later: Any) -> Noted:
        return Noted(await self.step(lambda: super(MortalSources, self)._noted(untold, later)))


class LivenessBench:
    """One watch, what is published about sources, and the routers."""

    def __init__(self, store: SimulatedStore) -> None:
        self.store = store
        self.now_ms = BEGIN_MS
        self.rulebook = Rulebook(store, Keys())
        self.sources = MortalSources(store, Keys())
        self.actions = LivenessActions(self.rulebook, self.sources)
        self.routers = Routers()
        self.watch = LivenessWatch(self.sources, self.rulebook, Topics(), self._ask)

    async def _ask(self, topic: str, payload: dict[str, Any]) -> Receipt:
        receipt: Receipt = await self.sources.step(lambda: self.routers.take(topic, payload))
        return receipt

    async def move(self, seconds: float) -> None:
        """Let time pass; nobody watches meanwhile."""
        self.now_ms += round(seconds * 1000)
        await self.store.set_clock(self.now_ms)

    async def pass_(self, seconds: int) -> None:
        """Let time pass, with a look now and then, and in the last two seconds."""
        while seconds:
            step = min(10, max(1, seconds - 1))
            await self.move(step)
            await self.watch.look()
            seconds -= step

    async def look(self, steps: int | None = None) -> bool:
        """Look once; return whether the watch lives on.

        Args:
            steps: half steps after which it dies.
        """
        self.sources.steps = steps
        try:
            await self.watch.look()
        except Killed:
            return False
        finally:
            self.sources.steps = None
        return True

    async def expect(self, source: str, **record: Any) -> AcceptedReceipt:
        """Publish a record."""
        return await self._act(NamedLiveness.model_validate({"source": source, **record}))

    async def forget(self, source: str) -> None:
        """Delete a record."""
        await self._act(control.DeleteLiveness(source=source))

    async def beat(self, source: str, publisher: str = PLAIN_PUBLISHER) -> None:
        """Let a source say that it is alive."""
        await self._act(control.Beat(source=source), publisher)

    async def birth(self, source: str, session: int | None = None) -> None:
        """Let a source connect."""
        await self._act(control.Birth(source=source, session=session))

    async def death(self, source: str, session: int | None = None, *, clean: bool = False) -> None:
        """Let a source's connection break, or the source go."""
        await self._act(control.Death(source=source, session=session, clean=clean))

    async def _act(self, publish: Any, publisher: str = PLAIN_PUBLISHER) -> AcceptedReceipt:
        receipt: AcceptedReceipt = {"status": "accepted", "accepted_at": ""}
        await self.actions.carry_out(publish, publisher, receipt)
        return receipt

    async def standing(self, source: str) -> Standing:
        """Say how a source is."""
        return (await self.sources.standings([source]))[source]

    async def state(self, source: str) -> str:
        """Say how a source is, in a word."""
        return (await self.standing(source)).state.value

    @property
    def log(self) -> Mapping[str, list[str]]:
        """What the routers were told of each source."""
        return self.routers.log


def json_of(payload: Mapping[str, Any]) -> bytes:
    """Write a payload."""
    return json.dumps(payload).encode()
