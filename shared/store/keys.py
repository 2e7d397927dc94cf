"""Every Redis key name, with its lifetime and hash tag, and the ids that carry a shard.

A script touches keys of one hash tag only, so that a Redis Cluster can place the tags where it likes. There are eleven
kinds of tag: a ledger shard ``{s07}``, a shard of the sources that are to be heard of ``{live07}``, a user ``{u:ID}``,
a group ``{g:ID}``, a suppressed address ``{x:DIGEST}``, a device ``{d:DIGEST}``, what SMS need ``{sms:…}``
(``services/sms/keys.py``), a provider's report of bad addresses ``{report:DIGEST}`` (string, kept for a day), what
keeps incidents mute ``{m:silence:ID}``, the processes of a service ``{alive:NAME}``, and a few singletons such as
``{feed}``.

A ledger script gets the shard's base key (``carillon:{s07}``) and builds the rest itself, see ``shared/ledger/lua``:

    base:n:ID            hash   one notification: content, deliveries (d:KEY), their status (s:KEY), attempts (a:KEY:N),
                                later confirmations (k:KEY, b:KEY), failures of our own and refusals (e:KEY, r:KEY),
                                when somebody read its entry of the inbox (v:USER), and how many have (seen);
                                no expiry while anything is open, RECORD_RETENTION_S after its end
    base:parts:ID        list   ids of the records into which its fan-out was written; as long as those
    base:planned:ID      set    keys of the rows in them, where several may have the same people; as long as those
    base:due:LANE        zset   "ID|KEY" by the time at which somebody must look at it again (schedule and lease in one;
                                of what waits in base:ready its deadline, or ten minutes)
    base:out:LANE:PRIORITY
                         zset   "ID|KEY" of what is handed over and not yet claimed, by when that counts as lost
    base:ready:LANE:PRIORITY
                         zset   "ID|KEY" of what is due and waits until it is handed over, by its turn
    base:fair:LANE:PRIORITY
                         hash   publisher -> its last turn, and '' -> the turn taken last; while anything waits
    base:age:LANE        hash   second of becoming due -> number of open rows
    base:since:LANE      zset   the same seconds in their order; for the age of the oldest
    base:open            hash   LANE -> number of open rows
    base:idem:KEY        string id and fingerprint of the first publish with this key, 24 h
    base:packet:KEY      string the same for a publish without a key: the broker's packet, 1 h
    base:alert:KEY       string the last alert with this dedup_key; 62 days, and 24 h once it is over
    base:tally:MINUTE    hash   "LANE|STATE" -> count of rows that became due in this minute; kept 8 days after it
    base:born:MINUTE     set    ids of the notifications of these rows, for the audit and for replays of decisions; kept
                                8 days after it
    base:dead            zset   "LANE|ID|KEY" by time of the dead letter; kept RECORD_RETENTION_S
    base:digest:GROUP    hash   a group's digest window: id of the open digest, begin, end; as long as the window
    base:members:ID      zset   "ID|KEY" of what was folded into a digest, by its time; as long as the digest's record
    base:texts:ID        list   the newest texts of a digest's items; as long as its record
    base:left_out:ID     set    "ID|KEY" of the items that are not told in it; as long as its record
    base:folded:ID|KEY   string the digest into which a row was folded, '' if it went out alone; a day beyond the window
    base:digests:CHANNEL zset   open digests by how many items they have
    base:items           hash   "CHANNEL|in", "|out", "|taken_out", "|waiting" -> number of items of digests; kept
    base:timeline:ID     list   "ms|JSON": what happened to an incident, only added to; as long as its record
    base:incidents       zset   ids of open incidents by when they were opened; one that is forgotten leaves it when it
                                is listed
    base:over            zset   ids of incidents that are over by when, about the newest 250 of the shard; kept
                                RECORD_RETENTION_S
    base:alerts:ID       hash   members of an incident by their keys: "state|first ms|last ms|count|number|id"; as long
                                as its record, and likewise
    base:alerts_said:ID  hash   what each of them says, as JSON
    base:told:DAY:PART   hash   hash of a person, an address or a publisher's own id -> places of the newest records
                                that it stands in, see ``shared/ledger/told.py``; RECORD_RETENTION_S after the end of
                                the next day, and a week longer at most where something is tried for so long
    base:unreadable:ID   any    what was found in place of a record and is not one; kept RECORD_RETENTION_S
"""

import os
import re
import zlib
from hashlib import sha256

from shared.core.clock import SystemClock, epoch_ms

# A constant, not a setting: ids in flight carry it. 16 spreads well over a few cluster masters and keeps the sweeper's
# round over all shards at 16 short commands.
SHARDS = 16

IDEMPOTENCY_WINDOW_S = 24 * 3600

# An incident is known by its key until it is over. One that is forgotten leaves its key for so long: longer than what
# is snoozed or silenced may wait.
DEDUP_WINDOW_S = 62 * 24 * 3600

# A broker sends again what was not acknowledged, when its session is taken up: after a router's restart or adoption.
PACKET_WINDOW_S = 3600

# RFC 9562, 5.7 and 4: version 7, variant 10; the group is rand_a.
_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7([0-9a-f]{3})-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

# Ids of one process in one millisecond are numbered, so that they have an order; the rest of the 62 bits is random.
_NUMBER_BITS = 12
_NUMBERS = 1 << _NUMBER_BITS
# A clock that was set back by less does not put what is accepted now before what was accepted a moment ago.
_STEP_BACK_MS = 1000

# An order is a whole number of microseconds, which the store's doubles hold exactly (below 2^53).
_HIGHEST_ORDER = 2**53 - 1

_clock = SystemClock()
_last_ms, _number = 0, 0


def shard_of_key(key: str) -> int:
    """Return the shard that owns an idempotency or deduplication key."""
    return zlib.crc32(key.encode()) % SHARDS


def new_notification_id(shard: int | None = None) -> str:
    """Make a UUIDv7 (RFC 9562, 5.7) whose 12 bits ``rand_a`` hold the ledger shard.

    The first bits of ``rand_b`` are a counter (RFC 9562, 6.2, method 1), see ``order_of``.

    Args:
        shard: 0..SHARDS-1, or None for any.
    """
    random = int.from_bytes(os.urandom(9))
    if shard is None:
        shard = (random >> 64) % SHARDS
    milliseconds, number = _next_moment()
    rest = 62 - _NUMBER_BITS
    value = milliseconds << 80 | 0x7 << 76 | shard << 64 | 0b10 << 62 | number << rest | random & (1 << rest) - 1
    # What str(UUID(int=value)) gives, at a third of the time.
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _next_moment() -> tuple[int, int]:
    """Return a millisecond and a number in it, later than what this process was given before."""
    global _last_ms, _number  # noqa: PLW0603 - one count for a process is what makes the order
    now_ms = epoch_ms(_clock.now()) & 0xFFFFFFFFFFFF
    if now_ms > _last_ms or now_ms < _last_ms - _STEP_BACK_MS:
        _last_ms, _number = now_ms, 0
    elif _number < _NUMBERS - 1:
        _number += 1
    else:
        _last_ms, _number = _last_ms + 1, 0
    return _last_ms, _number


def order_of(notification_id: str, due_ms: int = 0) -> int:
    """Return where a notification stands among others, by when it was accepted: microseconds since 1970.

    Two that one router accepted have different orders, but for more than a thousand in one millisecond.

    Args:
        due_ms: when it was to be told, of one that was to be told later; that counts instead.
    """
    digits = notification_id.replace("-", "")
    accepted_ms = int(digits[:12], 16)
    number = int(digits[16:20], 16) >> 2 & _NUMBERS - 1
    return min(max(accepted_ms, due_ms) * 1000 + min(number, 999), _HIGHEST_ORDER)


def shard_of_id(notification_id: str) -> int:
    """Return the shard that an id of ours carries.

    Raises:
        ValueError: it is not an id that this system made.
    """
    found = _ID.fullmatch(notification_id)
    shard = int(found[1], 16) if found else SHARDS
    if shard >= SHARDS:
        msg = "not a notification id"
        raise ValueError(msg)
    return shard


def is_notification_id(text: str) -> bool:
    """Tell whether this could be an id of ours."""
    try:
        shard_of_id(text)
    except ValueError:
        return False
    return True


def milliseconds_of_id(notification_id: str) -> int:
    """Return when an id of ours was made: milliseconds since 1970."""
    return int(notification_id[:8] + notification_id[9:13], 16)


def barrier_marker(number: int = 0) -> str:
    """A key that is written before ``WAIT`` so that there is something to wait for: empty string. Kept.

    Args:
        number: makes it a key of another slot; a cluster needs one on each master.
    """
    return f"carillon:{{wait{number}}}"


class Keys:
    """Builds key names.

    Args:
        prefix: the ``TOPIC_PREFIX``: two systems that share a broker may share a Redis too.
    """

    def __init__(self, prefix: str = "") -> None:
        stem = prefix.strip("/")
        self._root = f"carillon:{stem}" if stem else "carillon"
        self._liveness = [f"{self._root}:{{live{shard:02}}}" for shard in range(SHARDS)]
        self._shards = [f"{self._root}:{{s{shard:02}}}" for shard in range(SHARDS)]

    def shard(self, shard: int) -> str:
        """The base key of one ledger shard."""
        return self._shards[shard]

    def liveness(self, shard: int) -> str:
        """The base key of one shard of the sources, see ``shared/ledger/lua/liveness.lua``."""
        return self._liveness[shard]

    def shard_of(self, notification_id: str) -> str:
        """The base key of the shard that holds this notification."""
        return self.shard(shard_of_id(notification_id))

    def parts_of(self, notification_id: str) -> str:
        """The ids of the records into which a notification's fan-out was written: list."""
        return f"{self.shard_of(notification_id)}:parts:{notification_id}"

    def user(self, user_id: str) -> str:
        """The base key of one user's record, inbox and sessions."""
        return f"{self._root}:{{u:{user_id}}}"

    def device(self, identity: str) -> str:
        """Whose a device is: user id. Kept until the device is forgotten; its token does not stand in the name."""
        return f"{self._root}:{{d:{sha256(identity.encode()).hexdigest()[:32]}}}:user"

    def group(self, group_id: str) -> str:
        """A group's members: zset of user ids, all with score 0, read in lexical order. Kept until empty."""
        return f"{self._root}:{{g:{group_id}}}:members"

    def suppressed(self, channel: str, digest: str) -> str:
        """The reasons against an address of one channel: hash of cause -> JSON. Kept until lifted."""
        return f"{self._root}:{{x:{digest}}}:{channel}"

    def everybody(self, part: int) -> str:
        """One of ``SHARDS`` parts of all user ids: zset with score 0. Kept until empty."""
        return f"{self._root}:{{all{part:02}}}:members"

    @property
    def admins(self) -> str:
        """User ids with the role admin: zset with score 0. Kept."""
        return f"{self._root}:{{admins}}:members"

    @property
    def oncall(self) -> str:
        """On-call entries: hash of alert type -> JSON. Kept."""
        return f"{self._root}:{{oncall}}"

    @property
    def oncall_watch(self) -> str:
        """The base key of what was found out about on-call entries, and whom it was told.

        ``:said`` hash of alert type -> what was published last; ``:gaps`` hash of alert type -> JSON, the gaps by their
        begin, and whether the admins were warned; both as long as the entry. ``:turn:DIGEST`` string: a person was
        warned before a turn, 2 h. ``:result`` string: what the last look found.
        """
        return f"{self.oncall}:watch"

    @property
    def categories(self) -> str:
        """Categories: hash of name -> JSON. Kept until deleted."""
        return f"{self._root}:{{categories}}"

    @property
    def tenants(self) -> str:
        """Tenants: hash of name -> JSON. Kept until deleted."""
        return f"{self._root}:{{tenants}}"

    def rules(self, kind: str) -> str:
        """Named records that decide about alerts, such as ``policy``: hash of name -> JSON. Kept until deleted.

        Beside it, under ``:matched``: hash of name -> second in which it was last about something.
        """
        return f"{self._root}:{{rules:{kind}}}"

    def muted(self, name: str) -> str:
        """Rows of incidents that wait for the end of a silence or another incident: zset, as long as the last waits."""
        return f"{self._root}:{{m:{name}}}:held"

    @property
    def providers(self) -> str:
        """The base key of what is written about providers.

        ``:paused`` hash of ``CHANNEL`` or ``CHANNEL/PROVIDER`` -> JSON: who paused it by hand, why, and until when;
        kept for a day after its end.
        """
        return f"{self._root}:{{providers}}"

    @property
    def publishers(self) -> str:
        """The base key of the publishers' records and keys: two hashes. Kept until deleted."""
        return f"{self._root}:{{publishers}}"

    def publisher(self, name: str) -> str:
        """The base key of how much one publisher has published lately."""
        return f"{self._root}:{{p:{name}}}"

    @property
    def feed(self) -> str:
        """The base key of the broadcast feed and the current system status."""
        return f"{self._root}:{{feed}}"

    @property
    def slots(self) -> str:
        """The base key of router slots and their leases.

        Beside them stands what one router does for all of them: whose turn it is (``swept``, ``counted``), and what was
        counted last (``open_work``). These end after seconds.
        """
        return f"{self._root}:{{slots}}"

    @property
    def audit(self) -> str:
        """The base key of audits: whose turn the periodic one is, and what the newest found.

        ``:turn`` string, less than an interval; ``:results`` list of JSON, the newest first, 8 days after the last, see
        ``shared.ledger.audit_results``.
        """
        return f"{self._root}:{{audit}}"

    def alive(self, service: str) -> str:
        """What each process of a service says of itself: hash of process -> JSON.

        Beside it stands ``:heard``: zset of the processes by when they were last heard of. Both end an hour after the
        last was.
        """
        return f"{self._root}:{{alive:{service}}}"

    def tagged(self, tag: str) -> str:
        """The base key of what one service alone reads, by a hash tag of its own such as ``sms:…``."""
        return f"{self._root}:{{{tag}}}"

    @property
    def console(self) -> str:
        """The base key of the operators' console.

        ``:link:DIGEST`` string: a link that signs somebody in once, as long as it may be used. ``:ended:ID`` string: a
        session that somebody signed out of, until it would have ended. ``:changes`` stream: who did what, see
        ``carillon/console/changes.py``.
        """
        return f"{self._root}:{{console}}"

    @property
    def rejected(self) -> str:
        """Refused publishes: stream, the newest ``shared.ledger.rejections.LIMIT``, about."""
        return f"{self._root}:{{rejected}}"
