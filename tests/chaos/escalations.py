"""Who was told of an alert, and when: the judge of escalations while everything was killed.

A pure function of the evidence, of the courses that the alerts took and of what people answered. The timelines are read
from the store as they stand there.

A step's time counts from the beginning of its turn: from the moment of acceptance, or from when the incident was to be
open again. It is taken from nothing that the system planned.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import quantiles
from typing import TypeAlias

from tests.chaos.attention import Found
from tests.chaos.checker import PROVIDER_LANES
from tests.chaos.courses import HOLDS_S, Course, Step, escalated
from tests.chaos.evidence import Entry, Evidence, Record, Row

_ENDS = {
    "delivered": "delivered", "suppressed": "suppressed", "expired": "expired", "dead_lettered": "dead_lettered",
}  # fmt: skip
# What else a timeline may say.
_BESIDE = frozenset({"confirmed", "seen"})
# A row that tells those who were told who has the incident, in the place of a push that told of it.
_ANSWERED = "#answered"
_CLOSED = frozenset({"acknowledged", "snoozed", "resolved"})

# A lane, an address, and the notification where it can be seen.
_Target: TypeAlias = tuple[str, str, str | None]

# Times of one machine, but of two processes: a step may look so much too early.
_CLOCKS_S = 0.05
# An SMS in doubt waits so long for its provider's word (services/sms/confirming.py), and is looked at again after that.
_SMS_DOUBT_S = 180.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long things may take.

    Attributes:
        step_s: from a step's time until its level is told: the lease of a router, and 3 s more.
        delivery_s: from then until it is at the provider: the lease of a channel, and 3 s more.
        in_hand_s: from an answer until what a provider had been given by then has arrived.
    """

    step_s: float
    delivery_s: float
    in_hand_s: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What somebody did, and how often it was sent until the timeline had it."""

    verb: str
    way: str
    by: str | None
    sends: int


@dataclass(slots=True)
class Figures:
    """What there was.

    Attributes:
        steps_s: how long after its time each level was told.
        deliveries_s: how long after that each of its deliveries arrived.
        words: how often each kind of entry stands in the timelines.
        in_hand: what arrived just after an answer.
    """

    steps_s: list[float] = field(default_factory=list)
    deliveries_s: list[float] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    in_hand: int = 0
    sent_again: int = 0

    def lines(self) -> Iterator[str]:
        """Say it in words."""
        words = self.words
        yield (
            f"{words['opened']:,} incidents, {words['told']:,} levels told, {words['reopened']:,} opened again, "
            f"{words['exhausted']:,} to their end"
        )
        yield f"levels told {_percentiles(self.steps_s)} after their time"
        yield f"at the provider {_percentiles(self.deliveries_s)} after that"
        yield "answers: " + ", ".join(f"{times} by {way}" for way, times in sorted(self.ways.items()))
        yield f"{self.sent_again} of them sent again, {self.in_hand} deliveries in a provider's hands at one"


def _percentiles(took_s: Sequence[float]) -> str:
    if len(took_s) < 2:
        return "too few"
    cuts = quantiles(took_s, n=100, method="inclusive")
    return f"p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, at most {max(took_s):.2f} s"


@dataclass(slots=True)
class _Turn:
    """From an opening to the next one: its number, when it began, and which levels were told."""

    number: int
    began_at: float
    told: list[Entry] = field(default_factory=list)

    def key(self, level: int) -> str:
        return f"{self.number}.{level}" if self.number else str(level)


def judge_escalations(
    evidence: Evidence,
    courses: Mapping[str, tuple[int, Course]],
    answers: Mapping[str, Sequence[Answered]],
    channels: Collection[str],
    bounds: Bounds,
) -> tuple[Figures, list[str]]:
    """Compare each incident with its course.

    Args:
        courses: by the publish's key, the alert's number and its course.
        answers: by incident.
        channels: that run.

    Returns:
        The figures, and what is wrong, in words.
    """
    figures, found = Figures(), Found()
    arrivals = _arrivals(evidence)
    for record in evidence.ledger.records.values():
        if record.key is not None and record.key in courses:
            number, course = courses[record.key]
            people = escalated(number)
            _Incident(record, people, course, arrivals, channels, bounds, figures, found).judge(
                answers.get(record.notification_id, ())
            )
    return figures, list(found.lines())


def _arrivals(evidence: Evidence) -> Mapping[_Target, list[float]]:
    arrivals = defaultdict(list)
    for effect in evidence.effects:
        arrivals[PROVIDER_LANES[effect.provider], effect.to, effect.notification_id].append(effect.at)
    return {target: sorted(times) for target, times in arrivals.items()}


@dataclass(slots=True)
class _Incident:
    record: Record
    people: tuple[str, str]
    course: Course
    arrivals: Mapping[_Target, list[float]]
    channels: Collection[str]
    bounds: Bounds
    figures: Figures
    found: Found
    turn: _Turn = field(init=False)
    told: dict[str, Entry] = field(default_factory=dict)
    # When it was closed, and when it was opened again or for ever.
    closed: list[tuple[float, float]] = field(default_factory=list)

    def judge(self, answers: Sequence[Answered]) -> None:
        timeline = self.record.timeline
        self.figures.words.update(entry.what for entry in timeline)
        if any(after.at < before.at for before, after in pairwise(timeline)):
            self._wrong("have entries out of order", "")
        if [entry.what for entry in timeline[:2]] != ["opened", "told"]:
            self._wrong("do not begin with being opened and told", str(timeline[:2]))
            return
        self._walk(timeline)
        self._judge_answers(timeline, answers)
        self._judge_rows(timeline)
        self._judge_arrivals()

    def _wrong(self, what: str, detail: str) -> None:
        self.found.add(what, f"{self.record.notification_id} {detail}".strip())

    def _walk(self, timeline: Sequence[Entry]) -> None:
        """Follow the incident through its timeline."""
        # The store may have had to wait for it.
        self.turn = _Turn(0, self.record.accepted_at)
        closed_by: Entry | None = None
        exhausted = False
        for entry in timeline[1:]:
            if entry.what in _ENDS or entry.what in _BESIDE:
                continue
            if entry.what in _CLOSED:
                if closed_by is None:
                    self._check_told_until(entry.at)
                    self.closed.append((entry.at, float("inf")))
                closed_by = entry
            elif closed_by is not None and (closed_by.what == "resolved" or entry.what != "reopened"):
                self._wrong(f"say {entry.what} after {closed_by.what}", str(entry.said))
            elif entry.what == "told":
                self._take_told(entry)
            elif entry.what == "exhausted":
                exhausted = True
                if len(self.turn.told) != len(self.course.steps):
                    self._wrong("are exhausted before the last level was told", "")
            elif entry.what == "reopened" and closed_by is not None:
                self._reopen(closed_by, entry)
                closed_by, exhausted = None, False
            else:
                self._wrong(f"say {entry.what}, for which there is no reason", str(entry.said))
        if closed_by is None:
            self._check_told_until(float("inf"))
            if not exhausted:
                self._wrong("are neither answered nor exhausted", "")
        elif self.course.reopens(closed_by.what):
            self._wrong("were not opened again", "")

    def _reopen(self, closed_by: Entry, entry: Entry) -> None:
        holds_until = closed_by.at + HOLDS_S
        if closed_by.what == "snoozed":
            holds_until = closed_by.said["until"] / 1000
        self._check_time(holds_until, entry, "opened again")
        self.closed[-1] = self.closed[-1][0], entry.at
        self.turn = _Turn(self.turn.number + 1, holds_until)

    def _take_told(self, entry: Entry) -> None:
        level = len(self.turn.told)
        number = str(entry.said.get("level"))
        if number in self.told:
            self._wrong("were told a level twice", number)
            return
        if level >= len(self.course.steps) or number != self.turn.key(level):
            self._wrong("were told another level than the next one", number)
            return
        self.told[number] = entry
        self.turn.told.append(entry)
        step = self.course.steps[level]
        self._check_time(self.turn.began_at + step.after_s, entry, f"level {number}")
        recipients = {name: frozenset(by) for name, by in entry.said.get("recipients", {}).items()}
        by = step.channels or frozenset(self.channels)
        expected = {name: by & frozenset(self.channels) for name in self._people_of(step, level)}
        if recipients != expected:
            self._wrong("were told to others, or by other ways", f"{number}: {recipients}")

    def _people_of(self, step: Step, level: int) -> set[str]:
        people = {self.people[place] for place in step.places}
        if level == 0 and self.turn.number:
            # Who has answered is told again when the answer does not hold any more.
            people.add(self._last_taker())
        return people

    def _last_taker(self) -> str:
        takers = [
            entry.said["by"]
            for entry in self.record.timeline
            if entry.what in ("acknowledged", "snoozed") and entry.at <= self.closed[-1][1]
        ]
        return str(takers[-1])

    def _check_time(self, due_at: float, entry: Entry, what: str) -> None:
        late_s = entry.at - due_at
        if late_s < -_CLOCKS_S:
            self._wrong("came before their time", f"{what}: {-late_s:.2f} s")
        elif late_s > self.bounds.step_s:
            self._wrong(f"came later than {self.bounds.step_s:g} s after their time", f"{what}: {late_s:.2f} s")
        # The first level is told by the acceptance itself.
        if due_at > self.record.timeline[0].at:
            self.figures.steps_s.append(late_s)

    def _check_told_until(self, until: float) -> None:
        """Look for levels that should have been told by then."""
        for level, step in enumerate(self.course.steps):
            due_at = self.turn.began_at + step.after_s
            if level >= len(self.turn.told) and due_at + self.bounds.step_s < until:
                self._wrong("were not told a level", self.turn.key(level))

    def _judge_answers(self, timeline: Sequence[Entry], answers: Sequence[Answered]) -> None:
        """Each answer stands there, as often as it was sent at most, and no other does."""
        there: Counter[tuple[str, str | None, str]] = Counter(
            (entry.what, entry.said.get("by"), str(entry.said.get("from"))) for entry in timeline
        )
        given: Counter[tuple[str, str | None, str]] = Counter()
        sent: Counter[tuple[str, str | None, str]] = Counter()
        for answer in answers:
            name = (answer.verb, answer.by, answer.way)
            given[name] += 1
            sent[name] += answer.sends
            self.figures.ways[answer.way] += 1
            self.figures.sent_again += answer.sends > 1
        for name, times in there.items():
            if name[0] in _CLOSED and not given[name] <= times <= sent[name]:
                self._wrong("have an answer that nobody gave", f"{name}: {times}")
        for name in given.keys() - there.keys():
            self._wrong("lack an answer", str(name))
        # What is sent again after the end of the first acknowledgement is one more.
        more = sum(times - given[name] for name, times in there.items() if self.course.reopens(name[0]))
        if not 0 <= self.turn.number - self.course.turns <= more:
            self._wrong("were opened again another number of times than was to be", str(self.turn.number))

    def _judge_rows(self, timeline: Sequence[Entry]) -> None:
        """Each delivery belongs to a level that was told, and its end stands there once."""
        ends: defaultdict[str, list[str]] = defaultdict(list)
        for entry in timeline:
            if entry.what in _ENDS:
                ends[str(entry.said["key"])].append(_ENDS[entry.what])
        rows = {
            row.key: row
            for row in self.record.rows
            # Who has no address for a channel is not told by it.
            if row.lane != "router" and "#" not in row.key and row.reason != "no_address"
        }
        for key, row in rows.items():
            if ends.pop(key, None) != [row.state]:
                self._wrong("lack the end of a delivery, or have another one", f"{key}: {row.state}")
            if row.state not in ("delivered", "suppressed"):
                self._wrong("have a delivery that ended badly", f"{key}: {row.state} {row.reason}")
        if ends:
            self._wrong("have the end of a delivery that there is not", next(iter(ends)))
        for number, entry in self.told.items():
            again = "" if number == "0" else f"@{number}"
            for name, by in entry.said["recipients"].items():
                for channel in by:
                    # An entry of the inbox is one, however often somebody is told.
                    key = f"{channel}:{name}{again}" if channel != "realtime" else f"{channel}:{name}"
                    if channel != "push" and key not in rows:
                        self._wrong("lack a delivery of a level", key)
        levels = {key.partition("@")[2] or "0" for key in rows if not key.startswith("realtime:")}
        if not levels <= self.told.keys():
            self._wrong("have deliveries of a level that was not told", str(sorted(levels - self.told.keys())))

    def _judge_arrivals(self) -> None:
        """What arrived did so in time, and not after an answer."""
        rows: defaultdict[_Target, list[Row]] = defaultdict(list)
        for row in self.record.rows:
            if row.to and row.lane not in ("router", "realtime"):
                rows[row.lane, row.to, None if row.lane == "sms" else self.record.notification_id].append(row)
        for target, some in rows.items():
            arrivals = _without_answers(self.arrivals.get(target, ()), some, self.closed)
            for at in arrivals:
                for closed_at, opened_at in self.closed:
                    if closed_at < at < opened_at:
                        self.figures.in_hand += 1
                        if at > closed_at + self.bounds.in_hand_s:
                            self._wrong("came after an answer", f"{target[0]}: {at - closed_at:.2f} s")
            for row in some:
                self._judge_delivery(row, arrivals)

    def _judge_delivery(self, row: Row, arrivals: Sequence[float]) -> None:
        told = self.told.get(row.key.partition("@")[2] or "0")
        if row.state != "delivered" or told is None or _ANSWERED in row.key:
            return
        came = next((at for at in arrivals if at > told.at - _CLOCKS_S), None)
        if came is None:
            # The checker finds what did not arrive.
            return
        doubts = sum(attempt.outcome == "unknown" for attempt in row.history)
        most_s = self.bounds.delivery_s * (1 + doubts) + (_SMS_DOUBT_S if row.lane == "sms" and doubts else 0)
        self.figures.deliveries_s.append(came - told.at)
        if came - told.at > most_s:
            self._wrong(f"came later than {self.bounds.delivery_s:g} s after they were told", row.key)


def _without_answers(
    arrivals: Sequence[float], rows: Sequence[Row], closed: Sequence[tuple[float, float]]
) -> list[float]:
    """Leave out what says who has the incident: for each such row, the last arrival before its end.

    One that came while the incident was closed goes first: the others tell of the incident itself. An attempt that got
    no answer may have arrived, too, while it was closed.
    """
    left = list(arrivals)
    for row in rows:
        if _ANSWERED not in row.key:
            continue
        for place in range(1 + sum(attempt.outcome == "unknown" for attempt in row.history)):
            before = [at for at in left if at <= row.ended_at + _CLOCKS_S]
            quiet = [at for at in before if any(closed_at < at < opened_at for closed_at, opened_at in closed)]
            if quiet or (before and not place):
                left.remove((quiet or before)[-1])
    return left
