"""Who heard what, and when: judges of what was held, folded and throttled while everything was killed.

Pure functions of the evidence and of what was published. They reckon for themselves what had to become of each
notification, and ask nothing of the code under test. Beside what they find, ``checker`` finds losses and duplicates.

When something was counted or put into a digest, nobody saw. It was after its publish had left, and not after the store
had its record: both are times of one machine. So the judges complain of what cannot be right whenever in this span it
was. A span is some milliseconds, or as long as a fault that it fell into.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.evidence import Digest, Evidence, Record, Row
from tests.chaos.traffic import Publish

_LANES = {"smtp": "email", "apns": "push", "fcm": "push"}

# The sandbox's times are cut to milliseconds.
_ROUNDING_S = 0.001


@dataclass(frozen=True, slots=True)
class Told:
    """One notification for one person.

    Attributes:
        receipted_at: when its publisher knew; it was planned before.
        last_at: when it was last asked about: a publish that is sent again is counted before it is known to be one.
    """

    publish: Publish
    record: Record
    sent_at: float
    receipted_at: float
    last_at: float = 0.0

    @property
    def person(self) -> str:
        """Whom it is for."""
        return self.publish.topic.rpartition("/")[2]

    @property
    def span(self) -> tuple[float, float]:
        """Between which times it was counted, and planned."""
        return self.sent_at, self.record.stored_at

    def ends(self, channel: str) -> list[Row]:
        """Return the deliveries by a channel."""
        return [row for row in self.record.rows if row.lane == channel]

    def held_until(self, channel: str) -> list[float]:
        """Return until when a channel was held, each time that it was."""
        start = f"held:{channel}:{self.person}:"
        times = (row.key.removeprefix(start) for row in self.record.rows if row.key.startswith(start))
        # Of what was released and held again, behind the time stands when that was.
        return sorted(int(time_ms.partition("@")[0]) / 1000 for time_ms in times)

    def folded(self, channel: str) -> str | None:
        """Return the name of what was put into a digest, None where nothing was."""
        key = f"fold:{channel}:{self.person}"
        return f"{self.record.notification_id}|{key}" if any(row.key == key for row in self.record.rows) else None


@dataclass(slots=True)
class Found:
    """Counts what is wrong, and keeps an example of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, example: str) -> None:
        """Count it."""
        self.counts[what] += 1
        self.examples.setdefault(what, example)

    def lines(self) -> Iterator[str]:
        """Say it in words."""
        return (f"{times} {what}, such as {self.examples[what]}" for what, times in self.counts.items())


def told(evidence: Evidence, publishes: Iterable[Publish], sorts: Iterable[str]) -> list[Told]:
    """Find what became of the publishes of some sorts; those without a record are for the checker to find."""
    records = {record.key: record for record in evidence.ledger.records.values() if record.key is not None}
    sorts = set(sorts)
    found = []
    for publish in publishes:
        if publish.sort in sorts and publish.key in records and publish.key in evidence.published:
            published = evidence.published[publish.key]
            receipted_at = min((receipt.at for receipt in published.receipts), default=float("inf"))
            again = [receipt.at for receipt in published.receipts if receipt.sends > 1 or receipt.status == "duplicate"]
            last_at = max([records[publish.key].stored_at, *again])
            found.append(Told(publish, records[publish.key], published.sent_at, receipted_at, last_at))
    return found


@dataclass(frozen=True, slots=True)
class Quiet:
    """When a person wants to hear nothing, in seconds since 1970.

    Attributes:
        spans: begin and end of each time.
        ends: what was ever said to be an end, and was put off later.
    """

    spans: tuple[tuple[float, float], ...]
    ends: tuple[float, ...] = ()


def judge_holds(
    evidence: Evidence, every: Sequence[Told], quiet: Mapping[str, Quiet], channels: Sequence[str], within_s: float
) -> Iterator[str]:
    """Say in words what was not held, held for no reason, or let go at a wrong time.

    Args:
        channels: by which each of these people hears of each notification, once.
        within_s: what was held leaves so long after the quiet time at most.
    """
    found, effects = Found(), _effects(evidence)
    for one in every:
        spans = quiet[one.person].spans
        ends = {end for _, end in spans} | set(quiet[one.person].ends)
        first, last = one.span
        is_critical = one.publish.payload.get("priority") == "critical"
        for channel in channels:
            name = f"{one.record.notification_id}/{channel}"
            held, came = one.held_until(channel), effects[channel, one.record.notification_id]
            if [row.state for row in one.ends(channel)] != ["delivered"]:
                found.add("were not delivered once", name)
            if held and came and min(came) < held[-1] - _ROUNDING_S:
                found.add("came before the time until which they were held", name)
            if is_critical:
                if held:
                    found.add("are critical and were held", name)
                continue
            if any(not any(end <= until <= end + within_s for end in ends) for until in held):
                found.add("were held until a time that is no end of a quiet time", name)
            for begin, end in spans:
                if begin <= first and one.receipted_at < end:
                    if not held:
                        found.add("were not held in a quiet time", name)
                    elif came and min(came) < end - _ROUNDING_S:
                        found.add("came in a quiet time", name)
            if held and not any(begin <= last and first < end for begin, end in spans):
                found.add("were held and it was not quiet", name)
    yield from found.lines()


def judge_digests(
    evidence: Evidence, every: Sequence[Told], channels: Sequence[str], *, alone: Collection[str] = ()
) -> Iterator[str]:
    """Say in words which account of a digest does not balance.

    What was folded must have ended as told in a digest or gone out alone. Each must be in the digest that it names, and
    in no other; and each digest must have closed, and have been told once, to the right person, with the right count.
    What was cancelled before the end of its digest must be left out of it.

    Args:
        every: all that may have been folded.
        channels: on which they are.
        alone: the sorts of which some may go out alone.
    """
    found = Found()
    records = evidence.ledger.records
    digests: dict[str | None, Digest] = {name: one.digest for name, one in records.items() if one.digest is not None}
    named: defaultdict[str | None, set[str]] = defaultdict(set)
    people: defaultdict[str | None, set[str]] = defaultdict(set)
    for one in every:
        for channel in channels:
            name, folded = f"{one.record.notification_id}/{channel}", one.folded(channel)
            ends = one.ends(channel)
            if not ends and one.record.cancelled_at:
                continue
            if len(ends) != 1:
                found.add("did not end once", name)
                continue
            (row,) = ends
            if row.reason == "digested" and folded is not None and row.digest in digests:
                named[row.digest].add(folded)
                people[row.digest].add(one.person)
            else:
                _judge_end(one, row, name, is_alone=folded is None or one.publish.sort in alone, found=found)
    members = Counter(member for digest in digests.values() for member in digest.members)
    for member, times in members.items():
        if times > 1:
            found.add("are in more than one digest", member)
    for digest_id, record in records.items():
        if record.digest is not None:
            _judge_items(evidence, digest_id, record.digest, named[digest_id], found)
            _judge_telling(record, record.digest, people[digest_id], found)
    yield from found.lines()


def _judge_end(one: Told, row: Row, name: str, *, is_alone: bool, found: Found) -> None:
    """Judge the end of what is in no digest."""
    if row.reason == "digested":
        found.add("name a digest that is not there", name)
    elif row.state == "delivered":
        if not is_alone:
            found.add("went out alone", name)
    elif not (row.reason == "cancelled" and one.record.cancelled_at):
        found.add(f"ended as {row.state} {row.reason}", name)


def _judge_items(evidence: Evidence, name: str, digest: Digest, named: set[str], found: Found) -> None:
    if digest.state != "closed":
        found.add(f"digests are {digest.state}", name)
    records = {member: evidence.ledger.records[member.partition("|")[0]] for member in digest.members}
    cancelled = {member: record.cancelled_at for member, record in records.items() if record.cancelled_at}
    # The row of one that was cancelled may have ended before a router could write where it is.
    if not named <= records.keys() or records.keys() - named - cancelled.keys():
        found.add("digests have other items than those that name them", name)
    if not cancelled.keys() >= set(digest.left_out):
        found.add("digests leave out what was not cancelled", name)
    if any(at < digest.ends_at and member not in digest.left_out for member, at in cancelled.items()):
        found.add("digests tell what was cancelled before", name)


def _judge_telling(record: Record, digest: Digest, people: set[str], found: Found) -> None:
    name = record.notification_id
    deliveries = [row for row in record.rows if row.lane == digest.channel]
    if set(digest.left_out) == set(digest.members) and not deliveries:
        return
    if [row.state for row in deliveries] != ["delivered"]:
        found.add("digests were not told once", name)
        return
    (delivery,) = deliveries
    if delivery.count != len(digest.members) - len(digest.left_out):
        found.add("digests tell a wrong count", name)
    if people and people != {delivery.key.split(":")[1]}:
        found.add("digests came to somebody else", name)
    if delivery.ended_at < digest.ends_at - _ROUNDING_S:
        found.add("digests came before their end", name)


def judge_quiet_digests(evidence: Evidence, until: Mapping[str, float]) -> Iterator[str]:
    """Say in words which digests came while their reader wanted to be left alone.

    Args:
        until: by person; from before the run.
    """
    found, effects = Found(), _effects(evidence)
    for name, record in evidence.ledger.records.items():
        if record.digest is None:
            continue
        for row in record.rows:
            person = row.key.split(":")[1]
            came = effects[record.digest.channel, name]
            if row.lane == record.digest.channel and came and min(came) < until.get(person, 0) - _ROUNDING_S:
                found.add("digests came in a quiet time", name)
    yield from found.lines()


@dataclass(frozen=True, slots=True)
class Window:
    """How long the windows of a category's digests are.

    Attributes:
        at_least_s: from the digest's record to its end.
        at_most_s: it is longer than that where items move the end.
    """

    at_least_s: float
    at_most_s: float


def judge_windows(
    evidence: Evidence, before: Mapping[str, Window], after: Mapping[str, Window], deploy: tuple[float, float]
) -> Iterator[str]:
    """Say in words which digest did not keep the specification that it was opened with.

    Args:
        before: by category, what held until the deploy; ``after`` what holds since.
        deploy: when it began, and when the last router had been restarted. In between both hold.
    """
    found = Found()
    groups: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    for name, record in evidence.ledger.records.items():
        if record.digest is None:
            continue
        groups[record.digest.channel, record.digest.group].append(record)
        lasted_s = record.digest.ends_at - record.stored_at
        windows = []
        if record.stored_at <= deploy[1]:
            windows.append(before[str(record.category)])
        if record.stored_at >= deploy[0]:
            windows.append(after[str(record.category)])
        if not any(window.at_least_s - _ROUNDING_S <= lasted_s <= window.at_most_s + _ROUNDING_S for window in windows):
            found.add("digests have another window than was said", f"{name}: {record.category}, {lasted_s:.3f} s")
    for of_group in groups.values():
        of_group.sort(key=lambda record: record.stored_at)
        for one, following in pairwise(of_group):
            if one.digest is not None and following.stored_at < one.digest.ends_at - _ROUNDING_S:
                found.add("digests were opened while another one of their group was open", following.notification_id)
    yield from found.lines()


def judge_alone(every: Sequence[Told], channels: Sequence[str], window_s: float, until: float) -> Iterator[str]:
    """Say in words which windows let more than their first one go out alone.

    Args:
        every: of one category.
        until: what was sent later is not judged.
    """
    found = Found()
    for channel in channels:
        alone: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for one in every:
            for row in one.ends(channel):
                # Its fold has written it, so it was decided before.
                folds = [task.ended_at for task in one.record.rows if task.key == f"fold:{channel}:{one.person}"]
                if row.state == "delivered" and folds and max(folds) < until:
                    alone[one.person].append((one.sent_at, max(folds)))
        for person, spans in alone.items():
            for times in _too_many(spans, 1, window_s):
                found.add("windows let more than one go out alone", f"{person}/{channel}: {times}")
        if not alone:
            found.add("channels let nothing go out alone", channel)
    yield from found.lines()


@dataclass(frozen=True, slots=True)
class Throttled:
    """A throttle of a category.

    Attributes:
        then: drop, hold or fold.
    """

    limit: int
    window_s: float
    then: str


@dataclass(slots=True)
class _Counted:
    """What a throttle decided for one person.

    Attributes:
        slots: when those that it let in were counted, earliest and latest.
        reserved: the times of those that were held.
        perhaps: those that were asked about again after the window, because a router had died or a receipt was lost.
            By then the answer is forgotten, and they count a second time.
    """

    slots: list[tuple[float, float]] = field(default_factory=list)
    reserved: list[float] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    perhaps: list[tuple[float, float]] = field(default_factory=list)


def judge_throttle(
    evidence: Evidence, every: Sequence[Told], throttle: Throttled, channels: Sequence[str], *, lenient: bool = False
) -> Iterator[str]:
    """Say in words where a throttle let through too many, or stopped one for no reason.

    Args:
        every: of one category.
        channels: on which people hear of it, beside the inbox.
        lenient: it may stop some for no reason. What a broker delivers again after the window, because a router died
            before it acknowledged it, counts a second time, and no journal knows of it.
    """
    found, effects = Found(), _effects(evidence)
    people: defaultdict[str, _Counted] = defaultdict(_Counted)
    for one in every:
        name, counted = one.record.notification_id, people[one.person]
        verdicts = {_verdict(one, channel, throttle.then) for channel in channels}
        if throttle.then == "drop":
            verdicts.add(_verdict(one, "realtime", throttle.then))
        times = {time for channel in channels for time in one.held_until(channel)}
        if len(verdicts) != 1 or None in verdicts or len(times) > 1:
            found.add("were decided otherwise on one channel than on another", name)
            continue
        if one.last_at - one.sent_at > throttle.window_s:
            counted.perhaps.append((one.sent_at, one.last_at))
        match verdicts.pop():
            case "let in":
                counted.slots.append(one.span)
            case "held":
                until = min(times)
                counted.reserved.append(until)
                counted.slots.append((until, until))
                if any(came < until - _ROUNDING_S for channel in channels for came in effects[channel, name]):
                    found.add("came before their time", name)
            case _:
                counted.refused.append(one.span)
    for person, counted in people.items():
        for too_many in _too_many(counted.slots, throttle.limit, throttle.window_s):
            found.add(f"windows hold more than {throttle.limit}", f"{person}: {too_many}")
        if not lenient:
            _judge_stopped(person, counted, throttle, found)
    if not any(counted.reserved or counted.refused for counted in people.values()):
        found.add("throttles stopped nothing", throttle.then)
    yield from found.lines()


def _judge_stopped(person: str, counted: _Counted, throttle: Throttled, found: Found) -> None:
    slots = counted.slots + counted.perhaps
    for first, last in counted.refused:
        room = throttle.limit - sum(begin <= last and first - throttle.window_s < end for begin, end in slots)
        if room > 0:
            found.add("were stopped while there was room", f"{person}: {room} at {first:.3f}")
    for until in counted.reserved:
        # It waits for one to leave the window.
        left = until - throttle.window_s
        if not any(begin - _ROUNDING_S <= left <= end + _ROUNDING_S for begin, end in slots):
            found.add("were held for longer than needed", f"{person}: {until:.3f}")


def _verdict(one: Told, channel: str, then: str) -> str | None:
    """Return what a throttle decided about one channel; None for what it cannot have decided."""
    states = [(row.state, row.reason) for row in one.ends(channel)]
    held, folded = one.held_until(channel), one.folded(channel)
    match then:
        case "drop" if states == [("suppressed", "throttled")] and not held and not folded:
            return "dropped"
        case "hold" if states == [("delivered", "")] and len(held) == 1 and not folded:
            return "held"
        case "fold" if states == [("suppressed", "digested")] and folded and not held:
            return "folded"
    return "let in" if states == [("delivered", "")] and not held and not folded else None


def _too_many(spans: Iterable[tuple[float, float]], most: int, window_s: float) -> Iterator[int]:
    """Yield how many stand within one window, for each window that certainly holds more than it may."""
    ordered = sorted(spans)
    for place, (begin, _) in enumerate(ordered):
        # [t, t + window): what counts from a moment on makes room at the end of its window.
        certain = sum(last < begin + window_s - _ROUNDING_S for _, last in ordered[place:])
        if certain > most:
            yield certain


def _effects(evidence: Evidence) -> Mapping[tuple[str, str | None], list[float]]:
    effects: defaultdict[tuple[str, str | None], list[float]] = defaultdict(list)
    for effect in evidence.effects:
        effects[_LANES.get(effect.provider, ""), effect.notification_id].append(effect.at)
    return effects
