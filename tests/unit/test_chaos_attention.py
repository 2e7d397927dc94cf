"""The judges of what was held, folded and throttled complain of every planted bug, and of nothing in a sound run."""

from collections.abc import Callable, Iterable, Iterator

import pytest

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
from tests.chaos.evidence import Digest, Effect, Evidence, Ledger, Published, Receipt, Record, Row
from tests.chaos.traffic import Publish

_EMAIL = ("email",)


class _Run:
    """Evidence, and what was published."""

    def __init__(self) -> None:
        self.evidence = Evidence(ledger=Ledger())
        self.publishes: list[Publish] = []

    def add(self, name: str, person: str, sent_at: float, rows: Iterable[Row], **payload: str) -> None:
        """Publish something that is receipted after 100 ms and stored after 50."""
        topic = f"notifications/realtime/user/{person}"
        self.publishes.append(Publish(name, person.rstrip("0123456789"), topic, payload))
        receipt = Receipt("accepted", name, sent_at + 0.1)
        self.evidence.published[name] = Published(name, topic, sent_at, [receipt])
        record = Record(name, name, sent_at, 0, list(rows), stored_at=sent_at + 0.05)
        self.evidence.ledger.records[name] = record

    def digest(self, name: str, group: str, at: float, ends_at: float, members: list[str], row: Row) -> None:
        """Write a digest's record."""
        digest = Digest("closed", "email", group, ends_at, members)
        self.evidence.ledger.records[name] = Record(
            name, None, at, 0, [row], stored_at=at, category="fixed", digest=digest
        )

    def comes(self, name: str, at: float) -> None:
        """Have a provider take a mail."""
        self.evidence.effects.append(Effect("smtp", "somebody@example.com", at, name))

    def row(self, name: str, key: str) -> Row:
        """Return a row."""
        return next(row for row in self.evidence.ledger.records[name].rows if row.key == key)

    def told(self) -> list[Told]:
        """Return everything."""
        return told(self.evidence, self.publishes, {publish.sort for publish in self.publishes})


def _task(key: str, ended_at: float = 0.0) -> Row:
    return Row(key, "router", "delivered", "", 1, 1, ended_at=ended_at)


def _mail(person: str, state: str = "delivered", reason: str = "", **more: object) -> Row:
    row = Row(f"email:{person}", "email", state, reason, 1, 1)
    for name, value in more.items():
        setattr(row, name, value)
    return row


def _holds() -> _Run:
    """Quiet from 100 to 200: one is held, one is critical, one comes later."""
    run = _Run()
    run.add("held", "quiet0", 150, [_task("held:email:quiet0:200500"), _mail("quiet0")])
    run.add("urgent", "quiet0", 150, [_mail("quiet0")], priority="critical")
    run.add("later", "quiet0", 250, [_mail("quiet0")])
    for name, at in (("held", 200.6), ("urgent", 150.3), ("later", 250.3)):
        run.comes(name, at)
    return run


def _judged_holds(run: _Run) -> list[str]:
    return list(judge_holds(run.evidence, run.told(), {"quiet0": Quiet(((100, 200),))}, _EMAIL, 2))


def _early(run: _Run) -> None:
    run.evidence.effects[0] = Effect("smtp", "somebody@example.com", 199.0, "held")


def _not_held(run: _Run) -> None:
    run.evidence.ledger.records["held"].rows.pop(0)


def _held_for_nothing(run: _Run) -> None:
    run.evidence.ledger.records["later"].rows.append(_task("held:email:quiet0:200500"))


def _critical_held(run: _Run) -> None:
    run.evidence.ledger.records["urgent"].rows.append(_task("held:email:quiet0:200500"))


def _held_too_long(run: _Run) -> None:
    run.row("held", "held:email:quiet0:200500").key = "held:email:quiet0:202500"


def _lost(run: _Run) -> None:
    run.evidence.ledger.records["held"].rows.pop()


def _released_twice(run: _Run) -> None:
    run.evidence.ledger.records["held"].rows.append(_mail("quiet0"))


@pytest.mark.parametrize(
    ("bug", "words"),
    [
        (_early, "came before the time"),
        (_not_held, "were not held"),
        (_held_for_nothing, "it was not quiet"),
        (_critical_held, "are critical"),
        (_held_too_long, "no end of a quiet time"),
        (_lost, "were not delivered once"),
        (_released_twice, "were not delivered once"),
    ],
)
def test_a_bug_in_what_is_held_is_found(bug: Callable[[_Run], None], words: str) -> None:
    run = _holds()
    assert _judged_holds(run) == []
    bug(run)
    assert any(words in line for line in _judged_holds(run))


def _digests() -> _Run:
    """Three items in two digests of one group, and one that went out alone."""
    run = _Run()
    for name, sent_at, digest in (("a", 10, "one"), ("b", 11, "one"), ("c", 15, "two")):
        rows = [_task("fold:email:fixed0", sent_at + 0.1), _mail("fixed0", "suppressed", "digested", digest=digest)]
        run.add(name, "fixed0", sent_at, rows)
    run.add("alone", "first0", 30, [_task("fold:email:first0", 30.1), _mail("first0")])
    items = ["a|fold:email:fixed0", "b|fold:email:fixed0", "c|fold:email:fixed0"]
    run.digest("one", "group", 10.1, 13.1, items[:2], _mail("fixed0", count=2, ended_at=13.5))
    run.digest("two", "group", 15.1, 18.1, items[2:], _mail("fixed0", count=1, ended_at=18.5))
    return run


def _digest(run: _Run, name: str) -> Digest:
    digest = run.evidence.ledger.records[name].digest
    assert digest is not None
    return digest


def _judged_digests(run: _Run) -> Iterator[str]:
    yield from judge_digests(run.evidence, run.told(), _EMAIL, alone={"first"})
    windows = {"fixed": Window(3, 3)}
    yield from judge_windows(run.evidence, windows, windows, (1000, 1000))
    yield from judge_alone(run.told(), _EMAIL, 3, until=1000)


def _in_two(run: _Run) -> None:
    _digest(run, "two").members.append("a|fold:email:fixed0")


def _dropped(run: _Run) -> None:
    _digest(run, "one").members.pop()


def _names_none(run: _Run) -> None:
    run.row("a", "email:fixed0").digest = "three"


def _not_closed(run: _Run) -> None:
    _digest(run, "one").state = "open"


def _told_twice(run: _Run) -> None:
    run.evidence.ledger.records["one"].rows.append(_mail("fixed0", count=2))


def _miscounted(run: _Run) -> None:
    run.row("one", "email:fixed0").count = 3


def _to_another(run: _Run) -> None:
    run.row("one", "email:fixed0").key = "email:fixed1"


def _too_soon(run: _Run) -> None:
    run.row("one", "email:fixed0").ended_at = 12.0


def _two_open(run: _Run) -> None:
    run.evidence.ledger.records["two"].stored_at = 12.9
    _digest(run, "two").ends_at = 15.9


def _other_window(run: _Run) -> None:
    _digest(run, "one").ends_at = 14.1


def _two_alone(run: _Run) -> None:
    run.add("also", "first0", 31, [_task("fold:email:first0", 31.1), _mail("first0")])


def _not_folded(run: _Run) -> None:
    run.add("also", "fixed0", 31, [_task("fold:email:fixed0", 31.1), _mail("fixed0")])


def _cancelled(run: _Run) -> None:
    run.evidence.ledger.records["a"].cancelled_at = 12.0


def _left_out(run: _Run) -> None:
    _digest(run, "one").left_out.append("a|fold:email:fixed0")
    run.row("one", "email:fixed0").count = 1


def _vanished(run: _Run) -> None:
    run.evidence.ledger.records["c"].rows.pop()


@pytest.mark.parametrize(
    ("bug", "words"),
    [
        (_in_two, "in more than one digest"),
        (_dropped, "other items"),
        (_names_none, "not there"),
        (_not_closed, "are open"),
        (_told_twice, "not told once"),
        (_miscounted, "wrong count"),
        (_to_another, "somebody else"),
        (_too_soon, "before their end"),
        (_cancelled, "was cancelled before"),
        (_left_out, "was not cancelled"),
        (_two_open, "while another one"),
        (_other_window, "another window"),
        (_not_folded, "1 went out alone"),
        (_two_alone, "more than one go out alone"),
        (_vanished, "did not end once"),
    ],
)
def test_a_bug_in_what_is_folded_is_found(bug: Callable[[_Run], None], words: str) -> None:
    run = _digests()
    assert list(_judged_digests(run)) == []
    bug(run)
    assert any(words in line for line in _judged_digests(run))


def test_what_was_cancelled_is_left_out_and_an_empty_digest_is_not_told() -> None:
    run = _digests()
    _cancelled(run)
    _left_out(run)
    run.evidence.ledger.records["c"].cancelled_at = 16.0
    _digest(run, "two").left_out.append("c|fold:email:fixed0")
    run.evidence.ledger.records["two"].rows = [_task("close:0")]
    assert list(_judged_digests(run)) == []
    # A router that dies before it has written where the item is finds it cancelled.
    run.evidence.ledger.records["c"].rows = [Row("fold:email:fixed0", "router", "suppressed", "cancelled", 1, 1)]
    assert list(_judged_digests(run)) == []


def test_a_digest_that_comes_in_a_quiet_time_is_found() -> None:
    run = _digests()
    run.comes("one", 13.4)
    run.comes("two", 18.4)
    assert list(judge_quiet_digests(run.evidence, {"fixed0": 13.2, "fixed1": 20})) == []
    (line,) = judge_quiet_digests(run.evidence, {"fixed0": 16})
    assert line == "1 digests came in a quiet time, such as one"


def test_a_digest_that_was_open_at_a_deploy_may_keep_what_it_was_opened_with() -> None:
    run, before, after = _digests(), {"fixed": Window(3, 3)}, {"fixed": Window(5, 5)}
    assert list(judge_windows(run.evidence, before, after, (15.0, 16.0))) == []
    assert list(judge_windows(run.evidence, before, after, (14.0, 15.0))) != []
    assert list(judge_windows(run.evidence, after, before, (14.0, 15.0))) != []


def _throttled(then: str) -> _Run:
    """Two in ten seconds: the third is stopped, and the fourth comes when there is room again."""
    ends = {
        "drop": [_mail("limited0", "suppressed", "throttled")],
        "hold": [_task("held:email:limited0:110020"), _mail("limited0")],
        "fold": [_task("fold:email:limited0"), _mail("limited0", "suppressed", "digested", digest="one")],
    }
    run = _Run()
    for name, sent_at in (("a", 100), ("b", 103), ("stopped", 105), ("d", 114)):
        rows = list(ends[then]) if name == "stopped" else [_mail("limited0")]
        state, reason = ("suppressed", "throttled") if (name, then) == ("stopped", "drop") else ("delivered", "")
        run.add(name, "limited0", sent_at, [*rows, Row("realtime:limited0", "realtime", state, reason, 1, 1)])
    return run


def _judged_throttle(run: _Run, then: str) -> list[str]:
    return list(judge_throttle(run.evidence, run.told(), Throttled(2, 10, then), _EMAIL))


@pytest.mark.parametrize("then", ["drop", "hold", "fold"])
def test_a_throttle_that_lets_in_too_many_or_too_few_is_found(then: str) -> None:
    assert _judged_throttle(_throttled(then), then) == []
    run = _throttled(then)
    run.add("more", "limited0", 105, [_mail("limited0"), Row("realtime:limited0", "realtime", "delivered", "", 1, 1)])
    assert any("windows hold more than 2" in line for line in _judged_throttle(run, then))
    run = _throttled(then)
    run.publishes.pop(0)
    words = "for longer than needed" if then == "hold" else "while there was room"
    assert any(words in line for line in _judged_throttle(run, then))


def test_what_is_sent_again_after_the_window_may_count_again() -> None:
    run = _throttled("drop")
    run.add("again", "limited0", 90, [_mail("limited0"), Row("realtime:limited0", "realtime", "delivered", "", 1, 1)])
    run.add("late", "limited0", 111.5, run.evidence.ledger.records["stopped"].rows)
    assert any("while there was room" in line for line in _judged_throttle(run, "drop"))
    run.evidence.published["again"].receipts = [Receipt("duplicate", "again", 110.5, sends=2)]
    assert _judged_throttle(run, "drop") == []


def test_what_a_throttle_holds_does_not_come_before_its_time_and_on_all_channels_alike() -> None:
    run = _throttled("hold")
    run.comes("stopped", 109.0)
    assert any("before their time" in line for line in _judged_throttle(run, "hold"))
    run = _throttled("drop")
    run.row("stopped", "realtime:limited0").state = "delivered"
    assert any("otherwise on one channel" in line for line in _judged_throttle(run, "drop"))


def test_a_throttle_that_stops_nothing_has_shown_nothing() -> None:
    run = _throttled("drop")
    run.publishes.pop(2)
    assert any("stopped nothing" in line for line in _judged_throttle(run, "drop"))
