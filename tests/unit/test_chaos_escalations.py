"""The judge of escalations complains of every planted bug, and of nothing in a sound run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.core.incidents import Way
from tests.chaos.courses import Answer, Course, course, escalated
from tests.chaos.escalations import Answered, Bounds, judge_escalations
from tests.chaos.evidence import Attempt, Effect, Entry, Evidence, Ledger, Record, Row

_BOUNDS = Bounds(step_s=3, delivery_s=4, in_hand_s=2)
_FIRST, _SECOND = escalated(0)
_TAKEN = Answer(0, 3.0, "acknowledged", Way.HTTP, 0)


def _entry(at: float, what: str, **said: Any) -> Entry:
    return Entry(at, what, {"what": what, **said})


class _Run:
    """One incident that began at 100 s: two levels, an answer at 103 s, open again at 107 s, and resolved."""

    def __init__(self) -> None:
        self.record = Record("id", "key", 100.0, 0, stored_at=100.1)
        self.evidence = Evidence(ledger=Ledger(records={"id": self.record}))
        self.course = Course("again", [_TAKEN, Answer(1, 1.0, "resolved", Way.MQTT)])
        self.answers = [Answered("acknowledged", "http", _FIRST, 1), Answered("resolved", "mqtt", "-", 1)]
        self.entry(100.1, "opened")
        self.level(100.1, "0", _FIRST)
        self.level(102.1, "1", _SECOND)
        self.entry(103.0, "acknowledged", by=_FIRST, **{"from": "http"})
        self.entry(107.1, "reopened")
        self.level(107.1, "1.0", _FIRST)
        self.entry(108.5, "resolved", by="-", **{"from": "mqtt"})

    def entry(self, at: float, what: str, **said: Any) -> None:
        self.record.timeline.append(_entry(at, what, **said))

    def level(self, at: float, level: str, *people: str) -> None:
        self.entry(at, "told", level=level, recipients={person: ["email"] for person in people})
        for person in people:
            key = f"email:{person}" + (f"@{level}" if level != "0" else "")
            self.record.rows.append(Row(key, "email", "delivered", "", 1, 1, to=f"{person}@example.com"))
            self.entry(at + 0.2, "delivered", key=key)
            self.evidence.effects.append(Effect("smtp", f"{person}@example.com", at + 0.1, "id"))

    def judged(self) -> list[str]:
        self.record.timeline.sort(key=lambda entry: entry.at)
        return self.judged_as_it_is()

    def judged_as_it_is(self) -> list[str]:
        courses = {"key": (0, self.course)}
        _, wrong = judge_escalations(self.evidence, courses, {"id": self.answers}, ("email",), _BOUNDS)
        return wrong

    def move(self, what: str, at: float, **said: Any) -> None:
        """Let something have happened at another time, or say something else."""
        timeline = self.record.timeline
        (place,) = [
            place
            for place, entry in enumerate(timeline)
            if entry.what == what and all(entry.said.get(name) == value for name, value in said.items())
        ]
        timeline[place] = replace(timeline[place], at=at)


def test_a_sound_run_is_sound() -> None:
    assert _Run().judged() == []


def test_what_is_left_to_its_end_is_told_every_level() -> None:
    run = _Run()
    run.course, run.answers = Course("twice"), []
    run.record.timeline, run.record.rows, run.evidence.effects = [], [], []
    run.entry(100.1, "opened")
    run.level(100.1, "0", _FIRST)
    run.level(104.2, "1", _FIRST, _SECOND)
    run.level(108.2, "2", _SECOND)
    run.entry(108.2, "exhausted")
    assert run.judged() == []
    run.record.timeline = [entry for entry in run.record.timeline if entry.what != "exhausted"]
    assert "neither answered nor exhausted" in "".join(run.judged())


def _told_after_the_answer(run: _Run) -> None:
    run.level(105.0, "2", _SECOND)


def _told_twice(run: _Run) -> None:
    run.entry(102.5, "told", level="1", recipients={_SECOND: ["email"]})


def _told_late(run: _Run) -> None:
    run.move("reopened", 110.5)
    run.move("told", 110.5, level="1.0")
    run.move("resolved", 111.0)


def _told_early(run: _Run) -> None:
    run.move("told", 101.0, level="1")


def _not_told(run: _Run) -> None:
    run.record.timeline = [entry for entry in run.record.timeline if entry.said.get("level") != "1"]
    run.move("acknowledged", 105.5)
    run.move("reopened", 109.6)
    run.move("told", 109.6, level="1.0")
    run.move("resolved", 111.0)


def _told_somebody_else(run: _Run) -> None:
    run.record.timeline[3] = replace(run.record.timeline[3], said={"level": "1", "recipients": {_FIRST: ["email"]}})


def _stale_level(run: _Run) -> None:
    run.level(108.0, "2", _SECOND)


def _no_end_of_a_delivery(run: _Run) -> None:
    run.record.timeline = [entry for entry in run.record.timeline if entry.said.get("key") != f"email:{_SECOND}@1"]


def _end_of_a_delivery_twice(run: _Run) -> None:
    run.entry(108.0, "delivered", key=f"email:{_FIRST}")


def _delivery_failed(run: _Run) -> None:
    run.record.rows[0].state = "dead_lettered"


def _answer_is_lost(run: _Run) -> None:
    run.answers.append(Answered("snoozed", "mqtt", _FIRST, 1))


def _answer_of_nobody(run: _Run) -> None:
    run.answers.pop()


def _came_after_the_answer(run: _Run) -> None:
    run.evidence.effects.append(Effect("smtp", f"{_FIRST}@example.com", 105.5, "id"))


def _came_late(run: _Run) -> None:
    run.evidence.effects = [effect for effect in run.evidence.effects if effect.to.startswith(_FIRST)]
    run.evidence.effects.append(Effect("smtp", f"{_SECOND}@example.com", 107.5, "id"))


def _not_opened_again(run: _Run) -> None:
    run.record.timeline = [entry for entry in run.record.timeline if entry.at < 107]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (_told_after_the_answer, "say told after acknowledged"),
        (_told_twice, "were told a level twice"),
        (_told_late, "came later than 3 s after their time"),
        (_told_early, "came before their time"),
        (_not_told, "were not told a level"),
        (_told_somebody_else, "were told to others"),
        (_stale_level, "were told another level than the next one"),
        (_no_end_of_a_delivery, "lack the end of a delivery"),
        (_end_of_a_delivery_twice, "lack the end of a delivery, or have another one"),
        (_delivery_failed, "have a delivery that ended badly"),
        (_answer_is_lost, "lack an answer"),
        (_answer_of_nobody, "have an answer that nobody gave"),
        (_came_after_the_answer, "came after an answer"),
        (_came_late, "came later than 4 s after they were told"),
        (_not_opened_again, "were not opened again"),
    ],
)
def test_a_planted_bug_is_found(break_it: Callable[[_Run], None], words: str) -> None:
    run = _Run()
    break_it(run)
    assert words in "\n".join(run.judged())


def test_entries_out_of_order_are_found() -> None:
    run = _Run()
    run.record.timeline.sort(key=lambda entry: entry.at)
    run.record.timeline[-1] = replace(run.record.timeline[-1], at=107.0)
    assert "out of order" in "\n".join(run.judged_as_it_is())


def test_those_who_were_told_may_hear_who_has_it() -> None:
    run = _Run()
    run.evidence.effects.append(Effect("smtp", f"{_SECOND}@example.com", 105.5, "id"))
    assert "came after an answer" in "\n".join(run.judged())
    key = f"email:{_SECOND}@1#answered103000"
    run.record.rows.append(Row(key, "email", "delivered", "", 1, 1, to=f"{_SECOND}@example.com", ended_at=105.6))
    assert run.judged() == []
    # An attempt that got no answer may have arrived, too.
    run.evidence.effects.append(Effect("smtp", f"{_SECOND}@example.com", 105.3, "id"))
    assert "came after an answer" in "\n".join(run.judged())
    run.record.rows[-1].history.append(Attempt(1, 105.4, "unknown", "lease_lapsed"))
    assert run.judged() == []
    # Its provider may answer only when the incident is open again.
    run.record.rows[-1].ended_at = 107.3
    run.evidence.effects.append(Effect("smtp", f"{_SECOND}@example.com", 107.2, "id"))
    assert run.judged() == []


def test_an_answer_that_is_sent_again_after_the_end_of_the_first_one_is_one_more() -> None:
    run = _Run()
    run.move("resolved", 112.5)
    run.entry(107.9, "acknowledged", by=_FIRST, **{"from": "http"})
    run.entry(112.0, "reopened")
    run.level(112.0, "2.0", _FIRST)
    assert "have an answer that nobody gave" in "\n".join(run.judged())
    run.answers[0] = replace(run.answers[0], sends=2)
    assert run.judged() == []


def test_a_turn_more_than_was_to_be_is_found() -> None:
    run = _Run()
    run.course = Course("again", [_TAKEN])
    run.answers.append(Answered("snoozed", "mqtt", _FIRST, 1))
    assert "lack an answer" in "\n".join(run.judged())
    run.course = Course("again", [_TAKEN, Answer(1, 1.0, "acknowledged", Way.HTTP, 0)])
    assert "were opened again another number of times" in "\n".join(run.judged())


def test_a_doubt_excuses_a_late_delivery() -> None:
    run = _Run()
    _came_late(run)
    run.record.rows[1].history.append(Attempt(1, 106.0, "unknown", "lease_lapsed"))
    assert "came later than" not in "\n".join(run.judged())


def test_courses_are_of_every_kind_and_repeatable() -> None:
    services = ("email", "sms", "push", "realtime")
    courses = [course(1, number, services) for number in range(200)]
    assert courses == [course(1, number, services) for number in range(200)]
    assert {answer.way for one in courses for answer in one.answers} == {Way.MQTT, Way.HTTP, Way.MAIL_LINK, Way.SMS}
    assert {answer.verb for one in courses for answer in one.answers} == {"acknowledged", "snoozed", "resolved"}
    assert {one.policy for one in courses} == {"holds", "again", "twice"}
    assert {one.turns for one in courses} >= {0, 1, 2}
    assert any(not one.answers for one in courses)
