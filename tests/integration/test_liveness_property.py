"""Whatever sources say and wherever the watch dies: what routers are told equals a model in plain Python."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from shared.store.keys import shard_of_key
from tests.conftest import EmptyStore
from tests.liveness import LivenessBench
from tests.sim.system import SimulatedStore

pytestmark = pytest.mark.real_store

T = TypeVar("T")

PARENTS = {"gateway": None, "valve": "gateway", "pump": "gateway", "seal": "valve"}
EVERY_S = {"gateway": 30, "valve": 5, "pump": 60, "seal": 30}
GRACE_S = 5
LATE_BEAT_MS, AWAY_MS, COMEBACK_MS = 5_000, 15_000, 120_000

sources = st.sampled_from([*PARENTS])
sessions = st.sampled_from([None, 1, 2])


@dataclass(slots=True)
class Model:
    """What is expected of a source, and what it must be."""

    is_expected: bool = False
    patience_ms: int = 0
    due_ms: int | None = None
    due_patience_ms: int = 0
    state: str | None = None
    since_ms: int = 0
    session: int | None = None

    def becomes(self, state: str, now_ms: int) -> None:
        if self.state != state:
            self.state, self.since_ms = state, now_ms


class LivenessMachine(RuleBasedStateMachine):
    """Beats, births, deaths, records and looks, some of which the watch does not survive."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(debug=False)
        self.models = {source: Model() for source in PARENTS}
        self.log: defaultdict[str, list[str]] = defaultdict(list)
        self.seen_ms: int | None = None
        self.resumed_ms = 0
        self.run(self._open())
        for source in PARENTS:
            self.expect(source, EVERY_S[source])

    async def _open(self) -> None:
        self.store = SimulatedStore(self.url)
        await self.store.command("FLUSHDB")
        self.bench = LivenessBench(self.store)
        await self.bench.move(0)

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    @property
    def now_ms(self) -> int:
        return self.bench.now_ms

    @rule(seconds=st.sampled_from([0.001, 1, 4, 5.5, 10, 14, 35, 200]))
    def time_passes(self, seconds: float) -> None:
        self.run(self.bench.move(seconds))

    @rule(source=sources, steps=st.integers(0, 8))
    def a_beat_is_missed(self, source: str, steps: int) -> None:
        due_ms = self.models[source].due_ms
        if due_ms is None:
            self.beat(source)
        else:
            # In steps that are no pause of the watch.
            while self.now_ms < due_ms:
                self.look()
                self.run(self.bench.move(min(10.0, (due_ms - self.now_ms) / 1000)))
        self.look_and_die(steps)

    # What is published.

    @rule(source=sources, every_s=st.sampled_from([5, 30, 60]))
    def expect(self, source: str, every_s: int) -> None:
        record = {"every": every_s, "grace": GRACE_S, "children_of": PARENTS[source]}
        self.run(self.bench.expect(source, **record))
        model = self.models[source]
        model.is_expected, model.patience_ms = True, (every_s + GRACE_S) * 1000

    @rule(source=sources)
    def forget(self, source: str) -> None:
        # An incident has its number by the time at which it began.
        self.run(self.bench.move(0.001))
        self.run(self.bench.forget(source))
        if self.models[source].state == "open":
            self.log[source].append("resolved")
        self.models[source] = Model()

    @rule(source=sources)
    def beat(self, source: str) -> None:
        model = self.models[source]
        if not model.is_expected:
            return
        # No two beats come in the same millisecond: incidents are told apart by the last one before them.
        self.run(self.bench.move(0.001))
        self.run(self.bench.beat(source))
        if model.state != "clean" or self.now_ms >= model.since_ms + LATE_BEAT_MS:
            self._is_alive(source)

    @rule(source=sources, session=sessions)
    def birth(self, source: str, session: int | None) -> None:
        if self.models[source].is_expected:
            self.run(self.bench.move(0.001))
            self.run(self.bench.birth(source, session))
            self.models[source].session = session
            self._is_alive(source)

    def _is_alive(self, source: str) -> None:
        model = self.models[source]
        if model.state == "open":
            self.log[source].append("resolved")
        model.becomes("alive", self.now_ms)
        model.due_ms, model.due_patience_ms = self.now_ms + model.patience_ms, model.patience_ms

    @rule(source=sources, session=sessions, clean=st.booleans())
    def death(self, source: str, session: int | None, clean: bool) -> None:
        model = self.models[source]
        if not model.is_expected:
            return
        self.run(self.bench.death(source, session, clean=clean))
        if model.state in (None, "clean") or model.session != session:
            return
        if clean:
            if model.state == "open":
                self.log[source].append("resolved")
            model.becomes("clean", self.now_ms)
            model.due_ms = None
        elif model.state == "alive":
            model.due_ms = self.now_ms

    # The watch.

    @rule()
    def look(self) -> None:
        assert self.run(self.bench.look())
        self._expect_look()
        self._compare()
        assert {source: log for source, log in self.bench.log.items() if log} == {
            source: log for source, log in self.log.items() if log
        }

    @rule(steps=st.integers(0, 12))
    def look_and_die(self, steps: int) -> None:
        if self.run(self.bench.look(steps)):
            self._expect_look()
            self._compare()
            return
        # What it has decided before is decided, and nothing else.
        before = {source: (model.state, model.due_ms) for source, model in self.models.items()}
        predicted = self._expect_look(dry=True)
        for source, model in self.models.items():
            found = self.run(self.bench.standing(source))
            state, due_ms = (None if found.state == "unarmed" else found.state.value), found.due_ms or None
            assert (state, due_ms) in (before[source], predicted[source])
            if state == "open" and model.state != "open":
                self.log[source].append("opened")
            if state is not None:
                model.becomes(state, self.now_ms)
            model.due_ms = due_ms

    def _expect_look(self, *, dry: bool = False) -> dict[str, tuple[str | None, int | None]]:
        if self.seen_ms is not None and self.now_ms - self.seen_ms > AWAY_MS:
            self.resumed_ms = self.now_ms
        self.seen_ms = self.now_ms
        for model in self.models.values():
            quiet_ms = self.resumed_ms + min(model.due_patience_ms, COMEBACK_MS)
            if model.due_ms is not None and model.due_ms <= self.now_ms < quiet_ms:
                model.due_ms = quiet_ms
        decided: dict[str, tuple[str | None, int | None]] = {}
        since: dict[str, int] = {}
        # Each stands behind its parent.
        for source, parent in PARENTS.items():
            model = self.models[source]
            state, due_ms, since_ms = model.state, model.due_ms, model.since_ms
            if due_ms is not None and due_ms <= self.now_ms:
                again_ms = self.now_ms + model.due_patience_ms
                back_ms = since[parent] + model.due_patience_ms if parent is not None and state == "inhibited" else 0
                if parent is not None and decided[parent][0] in ("open", "inhibited"):
                    state, due_ms = "inhibited", again_ms
                elif back_ms > self.now_ms:
                    due_ms = back_ms
                else:
                    state, due_ms = "open", None
                since_ms = self.now_ms if state != model.state else since_ms
            decided[source], since[source] = (state, due_ms), since_ms
            if not dry and state is not None:
                if state == "open" and model.state != "open":
                    self.log[source].append("opened")
                model.becomes(state, self.now_ms)
                model.due_ms = due_ms
        return decided

    def _compare(self) -> None:
        for source, model in self.models.items():
            found = self.run(self.bench.standing(source))
            state = None if found.state == "unarmed" else found.state.value
            assert (source, state, found.due_ms or None) == (source, model.state, model.due_ms)

    def teardown(self) -> None:
        try:
            self.look()
            counts = self.run(self.bench.sources.counts())
            for state in ("alive", "open", "inhibited", "clean"):
                found = sum(count for each, count in counts.items() if each == state)
                assert found == sum(model.state == state for model in self.models.values())
        finally:
            self.run(self.store.__aexit__())
            self.runner.close()


def test_routers_are_told_what_a_model_says_wherever_the_watch_dies(store: EmptyStore) -> None:
    assert len({shard_of_key(source) for source in PARENTS}) > 1
    machine = type("Machine", (LivenessMachine,), {"url": store.url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            suppress_health_check=[*HealthCheck],
            deadline=None,
        ),
    )
