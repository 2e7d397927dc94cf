"""What a run left behind, read back: the publisher's journal, the sandbox's, inboxes, and the ledger.

Promises to leave out a line that was torn by a kill (nobody was told of it), and to ask no running service. It reads
the ledger and the inboxes by scanning the store's keys, not through the code under test. They are kept as files, so
that a run can be checked again later.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio

from tests.chaos.traffic import key_in

PUBLISHED, EFFECTS, LEDGER, INBOXES, FAULTS = (
    f"{name}.jsonl" for name in ("published", "effects", "ledger", "inboxes", "faults")
)

_STATES = {
    "p": "pending", "s": "sending", "d": "delivered", "x": "suppressed", "e": "expired", "l": "dead_lettered",
}  # fmt: skip
OPEN_STATES = frozenset({"pending", "sending"})

_RECORD = re.compile(rb".*:n:([0-9a-f-]{36})")
_INBOX_ENTRIES = re.compile(rb".*\{u:(.+)\}:entries")
_TALLY = re.compile(rb".*:tally:(\d+)")
_DUE = re.compile(rb".*:due:(\w+)")
_DEAD = re.compile(rb".*:dead")

# A hash of a thousand fields comes in a few milliseconds; more at once would only hold the store for longer.
_SCAN_COUNT = 1_000
_PAGE = 200


@dataclass(slots=True)
class Receipt:
    """The answer that the publisher got for a key."""

    status: str
    notification_id: str | None
    at: float
    sends: int = 1
    code: str | None = None


@dataclass(slots=True)
class Published:
    """A key, as the publisher's journal has it."""

    key: str
    topic: str
    sent_at: float
    receipts: list[Receipt] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a provider took; ``notification_id`` where it can be seen."""

    provider: str
    to: str
    at: float
    notification_id: str | None = None


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A notification that stands in somebody's inbox."""

    user_id: str
    notification_id: str


@dataclass(slots=True)
class Attempt:
    """One line of a row's history; ``at`` of a lapsed lease is the end of that lease."""

    number: int
    at: float
    outcome: str
    reason: str


@dataclass(slots=True)
class Row:
    """A delivery or a task, as the ledger has it.

    Attributes:
        to: the address that a provider is given, or the user of an inbox.
        is_scheduled: it stands in the schedule, so somebody will process it.
        digest: the record of the digest that it names as its own.
        count: how many items a digest says that it has.
    """

    key: str
    lane: str
    state: str
    reason: str
    token: int
    attempts: int
    to: str = ""
    ended_at: float = 0.0
    is_scheduled: bool = False
    digest: str | None = None
    count: int | None = None
    history: list[Attempt] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Tell whether it has not ended."""
        return self.state in OPEN_STATES


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of an incident's timeline; ``said`` is all that it says, ``what`` among it."""

    at: float
    what: str
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Digest:
    """What a digest's record has beside the others.

    Attributes:
        group: of one group no two are open at a time.
        members: ``ID|KEY`` of everything in it; those that are not told in it are ``left_out``.
    """

    state: str
    channel: str
    group: str
    ends_at: float
    members: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Record:
    """A notification in the ledger.

    Attributes:
        key: the publisher's, read from the notification's text.
        open_rows: what the record's own counter says.
        stored_at: when it was written, by the store's clock; ``cancelled_at`` likewise, 0 where it was not.
        timeline: of an incident, by the same clock.
    """

    notification_id: str
    key: str | None
    accepted_at: float
    open_rows: int
    rows: list[Row] = field(default_factory=list)
    stored_at: float = 0.0
    cancelled_at: float = 0.0
    category: str | None = None
    digest: Digest | None = None
    timeline: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """Everything in the ledger.

    Attributes:
        tallies: by lane, how many rows were created and how many ended in each state, as the ledger counted them.
        schedule: ``LANE|ID|KEY`` of everything that is scheduled.
        dead: the same for everything in the list of dead letters.
    """

    records: dict[str, Record] = field(default_factory=dict)
    tallies: dict[str, Counter[str]] = field(default_factory=dict)
    schedule: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the schedule; ``end`` is when what was broken was whole again."""

    what: str
    target: str
    begin: float
    end: float


@dataclass(slots=True)
class Evidence:
    """All of it."""

    published: dict[str, Published] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    inboxes: list[InboxEntry] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    faults: list[Fault] = field(default_factory=list)


def read_evidence(folder: Path) -> Evidence:
    """Read what a run left in a folder."""
    return Evidence(
        published=_read_published(folder / PUBLISHED),
        effects=[
            Effect(line["provider"], line["to"], _epoch(line["at"]), line.get("notification_id"))
            for line in _lines(folder / EFFECTS)
        ],
        inboxes=[InboxEntry(**line) for line in _lines(folder / INBOXES)],
        ledger=_read_ledger(folder / LEDGER),
        faults=[Fault(**line) for line in _lines(folder / FAULTS)],
    )


async def dump_store(url: str, folder: Path) -> None:
    """Write ledger and inboxes of a store into the folder."""
    async with await _client(url) as store:
        ledger, inboxes = await _scan(store)
    write_ledger(folder / LEDGER, ledger)
    _write(folder / INBOXES, (asdict(entry) for entry in inboxes))


def write_ledger(file: Path, ledger: Ledger) -> None:
    """Write a ledger so that ``read_evidence`` reads it back."""
    lines: list[dict[str, Any]] = [
        {"tallies": ledger.tallies, "schedule": sorted(ledger.schedule), "dead": sorted(ledger.dead)}
    ]
    lines += [asdict(record) for record in ledger.records.values()]
    _write(file, iter(lines))


def add_fault(folder: Path, fault: Fault) -> None:
    """Append a fault to the folder's list."""
    with (folder / FAULTS).open("a") as file:
        file.write(json.dumps(asdict(fault)) + "\n")


def _read_published(file: Path) -> dict[str, Published]:
    published: dict[str, Published] = {}
    for line in _lines(file):
        if "sent" in line:
            published.setdefault(line["sent"], Published(line["sent"], line["topic"], line["at"]))
        else:
            receipt = Receipt(line["status"], line["notification_id"], line["at"], line["sends"], line["code"])
            published[line["receipt"]].receipts.append(receipt)
    return published


def _read_ledger(file: Path) -> Ledger:
    ledger = Ledger()
    for line in _lines(file):
        if "tallies" in line:
            ledger.tallies = {lane: Counter(words) for lane, words in line["tallies"].items()}
            ledger.schedule = set(line["schedule"])
            ledger.dead = set(line["dead"])
            continue
        rows = [
            Row(**{**row, "history": [Attempt(**attempt) for attempt in row["history"]]}) for row in line.pop("rows")
        ]
        digest = line.pop("digest")
        timeline = [Entry(**entry) for entry in line.pop("timeline")]
        ledger.records[line["notification_id"]] = Record(
            **line, rows=rows, digest=None if digest is None else Digest(**digest), timeline=timeline
        )
    return ledger


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.exists():
        return
    with file.open("rb") as lines:
        for line in lines:
            # The last one may be torn: its writer was killed before it told anybody.
            if line.endswith(b"\n"):
                yield json.loads(line)


def _write(file: Path, lines: Iterator[Mapping[str, Any]]) -> None:
    with file.open("w") as output:
        output.writelines(json.dumps(line) + "\n" for line in lines)


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# Any: the client's stubs mix answers of every type and both of its kinds.
async def _client(url: str) -> Any:
    """Return redis-py's own client for a URL as the services read it."""
    parts = urlsplit(url)
    if parts.scheme == "redis+cluster":
        return redis.asyncio.RedisCluster.from_url(f"redis://{parts.netloc.split(',')[0]}")
    if parts.scheme == "redis+sentinel":
        sentinel: Any
        async with redis.asyncio.from_url(f"redis://{parts.netloc.split(',')[0]}") as sentinel:
            host, port = await sentinel.sentinel_get_master_addr_by_name(parts.path.strip("/"))
        return redis.asyncio.Redis(host=host, port=port)
    return redis.asyncio.from_url(url)


async def _scan(store: Any) -> tuple[Ledger, list[InboxEntry]]:
    ledger, inboxes = Ledger(), list[InboxEntry]()
    records: list[bytes] = []
    seen: set[bytes] = set()
    async for key in store.scan_iter(count=_SCAN_COUNT):
        if key in seen:
            continue
        seen.add(key)
        if _RECORD.fullmatch(key):
            records.append(key)
        elif found := _INBOX_ENTRIES.fullmatch(key):
            entries = await store.hkeys(key)
            inboxes += [InboxEntry(found[1].decode(), entry.decode()) for entry in entries]
        elif _TALLY.fullmatch(key):
            for name, count in (await store.hgetall(key)).items():
                lane, _, word = name.decode().partition("|")
                ledger.tallies.setdefault(lane, Counter())[word] += int(count)
        elif found := _DUE.fullmatch(key):
            members = await store.zrange(key, 0, -1)
            ledger.schedule |= {f"{found[1].decode()}|{member.decode(errors='replace')}" for member in members}
        elif _DEAD.fullmatch(key):
            ledger.dead |= {member.decode(errors="replace") for member in await store.zrange(key, 0, -1)}
    await _read_records(store, records, ledger)
    return ledger, inboxes


async def _read_records(store: Any, records: Sequence[bytes], ledger: Ledger) -> None:
    parts: dict[str, str] = {}
    bases: dict[str, str] = {}
    incidents: list[str] = []
    for start in range(0, len(records), _PAGE):
        page = records[start : start + _PAGE]
        async with store.pipeline(transaction=False) as pipeline:
            for key in page:
                pipeline.hgetall(key)
            for key, fields in zip(page, await pipeline.execute(), strict=True):
                base, _, name = key.decode().rpartition(":n:")
                record = _record(name, fields, ledger.schedule)
                bases[name] = base
                ledger.records[record.notification_id] = record
                if b"turn" in fields:
                    incidents.append(name)
                if part_of := _object(fields.get(b"c")).get("part_of"):
                    parts[record.notification_id] = part_of
    for record in ledger.records.values():
        if record.digest is not None:
            base, name = bases[record.notification_id], record.notification_id
            record.digest.members = _texts(await store.zrange(f"{base}:members:{name}", 0, -1))
            record.digest.left_out = _texts(await store.smembers(f"{base}:left_out:{name}"))
    for name in incidents:
        lines = await store.lrange(f"{bases[name]}:timeline:{name}", 0, -1)
        ledger.records[name].timeline = list(map(_entry, lines))
    for part, whole in parts.items():
        # The rows of a fan-out stand in their own records. Everywhere else they count as the notification's.
        if whole in ledger.records:
            record = ledger.records.pop(part)
            ledger.records[whole].rows += record.rows
            ledger.records[whole].open_rows += record.open_rows


def _record(notification_id: str, fields: Mapping[bytes, bytes], schedule: set[str]) -> Record:
    said = _object(fields.get(b"c"))
    record = Record(
        notification_id,
        key_in(said.get("content", {}).get("message", "")),
        said.get("accepted_ms", 0) / 1000,
        int(fields.get(b"open", b"0")),
        stored_at=_number(fields.get(b"at")) / 1000,
        cancelled_at=_number(fields.get(b"cancelled")) / 1000,
        category=said.get("content", {}).get("category"),
        digest=_digest(fields),
    )
    rows: dict[str, Row] = {}
    for name, value in fields.items():
        if name.startswith(b"s:"):
            key = name[2:].decode()
            rows[key] = _row(notification_id, key, value.decode(), fields.get(b"d:" + name[2:], b"{}"), schedule)
    for name, value in fields.items():
        if name.startswith(b"a:"):
            key, _, number = name[2:].decode().rpartition(":")
            at_ms, _, outcome, reason, *_ = value.decode().split("|")
            if key in rows:
                rows[key].history.append(Attempt(int(number), int(at_ms) / 1000, outcome, reason))
    for row in rows.values():
        row.history.sort(key=lambda attempt: attempt.number)
    record.rows = list(rows.values())
    return record


def _object(text: bytes | None) -> dict[str, Any]:
    """Read a JSON object of the ledger, which a scenario may have damaged."""
    try:
        read = json.loads(text or b"{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _digest(fields: Mapping[bytes, bytes]) -> Digest | None:
    """Read what ``shared/ledger/lua/digest_add.lua`` writes."""
    if b"digest:as" not in fields:
        return None
    channel, group, *_ = fields[b"digest:as"].decode().split("|")
    return Digest(fields[b"digest"].decode(), channel, group, _number(fields[b"digest:ends"]) / 1000)


def _entry(line: bytes) -> Entry:
    at_ms, _, text = line.partition(b"|")
    said = _object(text)
    return Entry(_number(at_ms) / 1000, str(said.get("what")), said)


def _number(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _texts(members: Iterable[bytes]) -> list[str]:
    return [member.decode(errors="replace") for member in members]


def _row(notification_id: str, key: str, status: str, spec: bytes, schedule: set[str]) -> Row:
    """Read a row as ``shared/ledger/lua/ledger.lua`` writes it."""
    letter, lane, _, token, attempts, _, until, _, _, reason = status.split("|", 9)
    said = _object(spec)
    address, content = said.get("address") or {}, said.get("content") or {}
    to = next((str(address[name]) for name in ("email", "phone", "token", "user_id") if name in address), "")
    return Row(
        key,
        lane,
        _STATES[letter],
        reason,
        int(token),
        int(attempts),
        to=to,
        ended_at=int(until) / 1000,
        is_scheduled=f"{lane}|{notification_id}|{key}" in schedule,
        digest=said.get("digest"),
        count=(content.get("data") or {}).get("count"),
    )
