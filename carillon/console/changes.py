"""The log of changes: who did what to what, and how it ended. It is only ever added to.

Promises that nothing is done that is not in the log: a line is written before the deed, and a second one after it. A
deed without its second line was cut short, and nobody knows how it ended. Lines are kept for ``KEPT_DAYS``, and the
newest ``LINES_KEPT`` of them, about.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from carillon.console.roles import Role
from carillon.console.sessions import Session
from shared.core.clock import epoch_ms, from_epoch_ms
from shared.store.keys import Keys
from shared.store.replies import read_object
from shared.store.store import Store

KEPT_DAYS = 400
# About 40 MB, and far more than people do by hand in that time.
LINES_KEPT = 100_000
# Of what was given, and of each side of a change. What is longer is named and not kept.
_LONGEST_BYTES = 4096
# The second line of a deed stands close behind the first.
_ENDS_WITHIN = 200
_FIELD = "said"


class Outcome(StrEnum):
    """How a deed ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It is under way, or it was cut short."""


@dataclass(frozen=True, slots=True)
class Change:
    """One deed.

    Attributes:
        way: how the person had signed in.
        what: a word such as ``incident.acknowledge``.
        target: what it was done to.
        given: what the person typed or chose, as far as it is kept.
        said: the answer that the person got.
        before: what it was, where the deed says so; likewise ``after``.
    """

    id: str
    at: datetime
    who: str
    role: Role | None
    way: str
    what: str
    target: str
    given: Mapping[str, Any]
    outcome: Outcome
    said: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    ended_at: datetime | None


class Changes:
    """Writes and reads the log on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._key = f"{keys.console}:changes"

    async def begin(self, session: Session, what: str, target: str, given: Mapping[str, Any]) -> str:
        """Write what somebody is about to do, and return the id of the change.

        Raises:
            StoreUnavailable: it is not written, so it is not to be done.
        """
        return await self._add(
            {
                "who": session.who, "role": session.role.word, "way": session.way, "what": what, "target": target,
                "given": _bounded(given),
            }
        )  # fmt: skip

    async def end(
        self,
        change_id: str,
        outcome: Outcome,
        said: str,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Write how it ended."""
        line: dict[str, Any] = {"of": change_id, "outcome": outcome, "said": said}
        line |= {name: _bounded(side) for name, side in (("before", before), ("after", after)) if side is not None}
        await self._add(line)

    async def _add(self, line: dict[str, Any]) -> str:
        text = json.dumps(line, ensure_ascii=False).encode(errors="replace")
        made = await self._store.command("XADD", self._key, "MAXLEN", "~", LINES_KEPT, "*", _FIELD, text, lasting=True)
        change_id: str = made.decode()
        oldest = int(change_id.partition("-")[0]) - epoch_ms(from_epoch_ms(0) + timedelta(days=KEPT_DAYS))
        self._store.submit("XTRIM", self._key, "MINID", "~", max(0, oldest))
        return change_id

    async def page(self, most: int, before: str | None = None) -> tuple[list[Change], str | None]:
        """Return changes, the newest first, and from where to go on; None where there are no more.

        Args:
            before: what an earlier page returned.
        """
        found: list[tuple[str, dict[str, Any]]] = []
        ends: dict[str, tuple[str, dict[str, Any]]] = {}
        newest = "+" if before is None else f"({before}"
        first_id = ""
        more = True
        while more and len(found) <= most:
            lines = await self._store.command("XREVRANGE", self._key, newest, "-", "COUNT", 2 * most)
            more = len(lines) == 2 * most
            for line_id, line in map(_read, lines):
                first_id = first_id or line_id
                if "of" in line:
                    ends.setdefault(str(line["of"]), (line_id, line))
                else:
                    found.append((line_id, line))
                newest = f"({line_id}"
        shown = found[:most]
        if before is not None and any(line_id not in ends for line_id, _ in shown):
            later = await self._store.command("XRANGE", self._key, first_id, "+", "COUNT", _ENDS_WITHIN)
            for line_id, line in map(_read, later):
                if "of" in line:
                    ends.setdefault(str(line["of"]), (line_id, line))
        changes = [_change(line_id, line, ends.get(line_id)) for line_id, line in shown]
        return changes, shown[-1][0] if len(found) > most else None


def _read(entry: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - as the store writes it
    line_id, fields = entry
    values = list(fields.values()) if isinstance(fields, Mapping) else fields[1::2]
    return line_id.decode(), read_object(values[0] if values else None)


def _change(line_id: str, line: dict[str, Any], end: tuple[str, dict[str, Any]] | None) -> Change:
    end_id, ended = end or (None, {})
    outcome = str(ended.get("outcome"))
    return Change(
        id=line_id,
        at=_moment(line_id),
        who=str(line.get("who", "")),
        role=Role.of(line.get("role")),
        way=str(line.get("way", "")),
        what=str(line.get("what", "")),
        target=str(line.get("target", "")),
        given=_object(line.get("given")) or {},
        outcome=Outcome(outcome) if outcome in list(Outcome) else Outcome.UNKNOWN,
        said=str(ended.get("said", "")),
        before=_object(ended.get("before")),
        after=_object(ended.get("after")),
        ended_at=_moment(end_id) if end_id else None,
    )


def _moment(line_id: str) -> datetime:
    return from_epoch_ms(int(line_id.partition("-")[0]))


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _bounded(document: Mapping[str, Any]) -> dict[str, Any]:
    size_bytes = len(json.dumps(document, ensure_ascii=False).encode(errors="replace"))
    return dict(document) if size_bytes <= _LONGEST_BYTES else {"left_out": f"{size_bytes} bytes"}
