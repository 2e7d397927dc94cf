"""The file of an outbox: an SQLite database with one row per publish that has no receipt, or that needs somebody.

Promises that a committed write survives the death of this process and of the machine (write-ahead log, synced at every
commit). One connection at a time has the file. A file that is damaged, or that belongs to another program or to a later
Carillon, is not changed. Belongs to one thread; ``carillon_publisher.outbox.outbox`` is its asyncio side.

Does not work on a network file system whose locks or syncs are not real. The payloads are not encrypted, but only the
file's owner can read it.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from carillon_publisher.clock import from_epoch_ms
from carillon_publisher.errors import KeyInUse, OutboxError, OutboxFull, OutboxInUse, OutboxUnusable
from carillon_publisher.outbox.entries import Ended, Entry, NewEntry, State, end_of
from carillon_publisher.receipts import Refusal

# SQLite, PRAGMA application_id: "Caro", for file(1) and for us.
_APPLICATION_ID = 0x4361726F
_SCHEMA_VERSION = 1
_SCHEMA = (
    # AUTOINCREMENT: a number is never given twice, so that a late receipt finds its own row or none.
    """
    CREATE TABLE entries (
        number        INTEGER PRIMARY KEY AUTOINCREMENT,
        key           TEXT    NOT NULL UNIQUE,
        topic         TEXT    NOT NULL,
        payload       BLOB    NOT NULL,
        state         TEXT    NOT NULL,
        written_ms    INTEGER NOT NULL,
        deadline_ms   INTEGER,           -- null: none
        first_sent_ms INTEGER,           -- null: certainly never sent
        error         TEXT               -- JSON of a Refusal, null while it waits
    )
    """,
    "CREATE INDEX entries_by_state ON entries (state, number)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_COLUMNS = "number, key, topic, payload, state, written_ms, deadline_ms, first_sent_ms, error"

# Another process may just be checking the file or closing it.
_LOCK_WAIT_S = 0.5

AnswerT = TypeVar("AnswerT")


class OutboxFile:
    """An open file.

    Args:
        limit: how many entries it may hold, of every state.
        create: make the file where there is none.

    Raises:
        OutboxInUse: somebody else has it.
        OutboxUnusable: it cannot be opened, is damaged, or is something else; it was not changed.
    """

    def __init__(self, path: Path, limit: int, *, create: bool) -> None:
        self._path = path
        self._limit = limit
        self._count = 0
        self._database = self._said(lambda: self._open(create=create))
        self._recount()

    def close(self) -> None:
        """Write everything into the one file and release it."""
        with suppress(sqlite3.Error):
            self._database.close()

    def transact(self, jobs: Sequence[Callable[["OutboxFile"], Any]]) -> list[Any]:
        """Carry out calls in one transaction; return for each what it returned, or the OutboxError that it raised.

        A call that raises an OutboxError of its own has changed nothing.
        """
        try:
            return self._said(lambda: self._transact(jobs))
        except OutboxError as error:
            if len(jobs) == 1:
                return [error]
            # A call that is too large for the disk must not stop those that make room.
            return [outcome for job in jobs for outcome in self.transact([job])]

    def insert(self, new: NewEntry, now_ms: int) -> int:
        """Keep a publish and return its number. If the same publish waits already, return that one's number.

        Raises:
            OutboxFull: nothing more is taken.
            KeyInUse: the key is that of another publish, or of a stale one.
        """
        replaced = None
        found = self._one("SELECT number, state, topic, payload FROM entries WHERE key = ?", new.key)
        if found is not None:
            number, state, topic, payload = found
            if state == State.STALE:
                raise KeyInUse("an entry with this key is stale in the outbox: drop it first")
            if state == State.WAITING:
                if (topic, payload) != (new.topic, new.payload):
                    raise KeyInUse("an entry with this key and another topic or payload waits in the outbox")
                return int(number)
            # Nothing was accepted under the key of a refused entry, so the corrected publish may use it.
            replaced = number
        if replaced is None and self._count >= self._limit:
            raise OutboxFull(self._what_fills_it())
        if replaced is not None:
            self._delete(replaced)
        cursor = self._database.execute(
            "INSERT INTO entries (key, topic, payload, state, written_ms, deadline_ms, first_sent_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                new.key,
                new.topic,
                new.payload,
                State.WAITING,
                now_ms,
                new.deadline_ms,
                now_ms if new.sending else None,
            ),
        )
        self._count += 1
        return cursor.lastrowid or 0

    def begin(self, numbers: Sequence[int], now_ms: int) -> tuple[list[Entry], list[Ended]]:
        """Mark the entries that may be sent now as sent. Return them, and those that have just ended."""
        entries, ended = [], []
        for number in numbers:
            row = self._one(f"SELECT {_COLUMNS} FROM entries WHERE number = ? AND state = ?", number, State.WAITING)  # noqa: S608 - a constant
            if row is None:
                continue
            *_, deadline_ms, first_sent_ms, _error = row
            end = end_of(number, deadline_ms, first_sent_ms, now_ms)
            if end is not None:
                self.end(end)
                ended.append(end)
                continue
            if first_sent_ms is None:
                self._database.execute("UPDATE entries SET first_sent_ms = ? WHERE number = ?", (now_ms, number))
            entries.append(_entry_of(row))
        return entries, ended

    def end_overdue(self, now_ms: int) -> list[Ended]:
        """End entries that must not be sent any more, and return them."""
        waiting = self._database.execute(
            "SELECT number, deadline_ms, first_sent_ms FROM entries WHERE state = ?", (State.WAITING,)
        ).fetchall()
        ends = [end_of(number, deadline_ms, first_sent_ms, now_ms) for number, deadline_ms, first_sent_ms in waiting]
        ended = [end for end in ends if end is not None]
        for end in ended:
            self.end(end)
        return ended

    def end(self, ended: Ended) -> None:
        """Keep a waiting entry as refused or stale."""
        self._database.execute(
            "UPDATE entries SET state = ?, error = ? WHERE number = ? AND state = ?",
            (ended.state, json.dumps(ended.error.document()), ended.number, State.WAITING),
        )

    def remove(self, number: int) -> None:
        """Forget an entry, which was accepted."""
        self._delete(number)

    def drop(self, key: str) -> bool:
        """Forget a refused or stale entry; False when there is none with this key."""
        found = self._one("SELECT number FROM entries WHERE key = ? AND state != ?", key, State.WAITING)
        if found is not None:
            self._delete(found[0])
        return found is not None

    def waiting_numbers(self) -> list[int]:
        """Return the numbers of all waiting entries, oldest first."""
        rows = self._database.execute("SELECT number FROM entries WHERE state = ? ORDER BY number", (State.WAITING,))
        return [number for (number,) in rows]

    def page(self, after: int, most: int, state: State | None) -> list[Entry]:
        """Return entries in the order in which they were written, beginning after a number."""
        states = [state] if state else list(State)
        places = ", ".join("?" * len(states))
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM entries WHERE state IN ({places}) AND number > ? ORDER BY number LIMIT ?",  # noqa: S608 - no value stands in it
            (*states, after, most),
        )
        return [_entry_of(row) for row in rows]

    def counts(self) -> dict[State, int]:
        """Return how many entries there are of every state."""
        rows = self._database.execute("SELECT state, count(*) FROM entries GROUP BY state")
        return dict.fromkeys(State, 0) | {State(state): count for state, count in rows}

    def _open(self, *, create: bool) -> sqlite3.Connection:
        if create:
            # SQLite gives its log the permissions of the file. Only where there is none: to close another handle of a
            # file that SQLite has open in this process would give up its locks (sqlite.org/howtocorrupt.html, 2.2).
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        size_bytes = self._path.stat().st_size
        if size_bytes:
            self._examine()
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_LOCK_WAIT_S)
        try:
            # Without a shared index of the log only one connection can have the file, until it ends.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN EXCLUSIVE")
            if self._is_new(database):
                for statement in _SCHEMA:
                    database.execute(statement)
            database.execute("COMMIT")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            # Takes the lock of the log, too.
            database.execute("BEGIN IMMEDIATE")
            database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        # Left from ``_examine`` if the last process was killed. Nobody else can be using it now.
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        if self._path.stat().st_mode & 0o077:
            self._path.chmod(0o600)
        return database

    def _examine(self) -> None:
        """Check a file without write access: even closing a damaged database would write its log back."""
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_LOCK_WAIT_S)
        try:
            self._is_new(database)
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise OutboxUnusable(f"{self._path} is damaged")
        except sqlite3.OperationalError as error:
            # SQLITE_READONLY: the creation of the file was interrupted and must be rolled back. Only the creation works
            # without the log.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise
        finally:
            database.close()

    def _is_new(self, database: sqlite3.Connection) -> bool:
        """Tell whether a database is still empty; OutboxUnusable if it is not one of ours."""
        (application_id,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables and not application_id:
            return True
        if application_id != _APPLICATION_ID:
            raise OutboxUnusable(f"{self._path} is a database of another program")
        if version != _SCHEMA_VERSION:
            raise OutboxUnusable(f"{self._path} has the format {version} of another Carillon")
        return False

    def _said(self, work: Callable[[], AnswerT]) -> AnswerT:
        """Do something, and translate errors of SQLite or the system into ours."""
        try:
            return work()
        except OSError as error:
            raise OutboxUnusable(f"{self._path} cannot be opened ({error.strerror})") from None
        except sqlite3.Error as error:
            # From None: SQLite's messages hold no payload, but the stack frames below do.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise OutboxInUse(f"{self._path} is used by another process") from None
            if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise OutboxUnusable(f"{self._path} is damaged or not an outbox") from None
            raise OutboxUnusable(f"{self._path} cannot be used ({error})") from None

    def _transact(self, jobs: Sequence[Callable[["OutboxFile"], Any]]) -> list[Any]:
        outcomes: list[Any] = []
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                try:
                    outcomes.append(job(self))
                except OutboxError as error:
                    outcomes.append(error)
            self._database.execute("COMMIT")
        except BaseException:
            # SQLite has ended the transaction itself after some errors.
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            self._recount()
            raise
        return outcomes

    def _recount(self) -> None:
        with suppress(sqlite3.Error):
            (self._count,) = self._database.execute("SELECT count(*) FROM entries").fetchone()

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
        return row

    def _delete(self, number: int) -> None:
        self._count -= self._database.execute("DELETE FROM entries WHERE number = ?", (number,)).rowcount

    def _what_fills_it(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts().items() if count)
        return f"the outbox is full: {counts}"


def _entry_of(row: Sequence[Any]) -> Entry:
    number, key, topic, payload, state, written_ms, deadline_ms, first_sent_ms, error = row
    return Entry(
        number=number,
        key=key,
        topic=topic,
        payload=payload,
        state=State(state),
        written_at=from_epoch_ms(written_ms),
        deadline=None if deadline_ms is None else from_epoch_ms(deadline_ms),
        first_sent_at=None if first_sent_ms is None else from_epoch_ms(first_sent_ms),
        error=None if error is None else Refusal.read(json.loads(error)),
    )
