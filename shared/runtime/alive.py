"""Every process says every few seconds that it is alive, and how it is; others read who is there.

Promises:

- One write to the store per process and ``INTERVAL_S``. A store that is away, or refuses the write, does no harm: the
  process works on, and tries again.
- A process that ends takes itself out. One that dies counts as silent after ``SILENT_AFTER_S``, and is remembered for
  an hour, so that somebody who looks can tell when it was last heard of.
- A service has ``PROCESSES_MOST`` processes at most here; of more, those heard of last are kept.

What a process says holds no setting but which channels are left out, no address and no text of a notification. A
process of a release before this one says nothing.
"""

import asyncio
import json
import logging
import os
import random
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import ResponseError

from shared.core.channels import ROUTER_LANE
from shared.core.clock import from_epoch_ms, rfc3339
from shared.core.errors import StoreUnavailable
from shared.core.version import VERSION
from shared.delivery.standing import Standing
from shared.runtime.ops import Check, ask
from shared.store.keys import Keys
from shared.store.replies import object_or_none, pairs, scored
from shared.store.store import Store, each, load_script

log = logging.getLogger(__name__)

INTERVAL_S = 3.0
# Three times in a row nothing was heard.
SILENT_AFTER_S = 10.0
REMEMBERED_S = 3600
PROCESSES_MOST = 1000
# How long a process that ends takes to say so.
_GOODBYE_S = 1.0

# The write itself shows whether the store takes writes. Readiness writes for that, which would be a second write.
_ASKED_BY_THE_WRITE = frozenset({"store"})
# What is not ready in a process that was told to end.
RUNNING = "running"

_alive = load_script(__package__, "alive")


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as it was last heard of.

    Attributes:
        name: unique among all that run now.
        since: when it began.
        heard_at: when it said so last; ``silent_s`` is the time since then.
        not_ready: the parts that are not ready, by the names in ``/readyz``; ``not_ready_s`` is for how long.
        standings: of a channel's service, its providers in the operator's order.
        without: channels that its settings leave out.
    """

    service: str
    name: str
    host: str
    version: str
    since: datetime
    heard_at: datetime
    silent_s: float
    not_ready: tuple[str, ...] = ()
    not_ready_s: float = 0.0
    standings: tuple[Standing, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether it was heard of lately."""
        return self.silent_s < SILENT_AFTER_S

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end and finishes what it has in hand."""
        return RUNNING in self.not_ready

    @property
    def is_ready(self) -> bool:
        """Whether it is alive and works."""
        return self.is_alive and not self.not_ready

    @property
    def word(self) -> str:
        """How it is, in one word."""
        if not self.is_alive:
            return "silent"
        if self.is_ending:
            return "ending"
        return "not ready" if self.not_ready else "ready"


class Alive:
    """Says of this process that it is alive.

    Args:
        process: its name.
        checks: what readiness asks; read anew each time.
        standings: says how its providers are.
        without: channels that its settings leave out.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        *,
        service: str,
        process: str,
        checks: Mapping[str, Check],
        standings: Callable[[], Sequence[Standing]],
        now: Callable[[], datetime],
        without: Collection[str] = (),
    ) -> None:
        self._store = store
        self._base = keys.alive(service)
        self._process = process
        self._checks = checks
        self._standings = standings
        self._now = now
        self._without = sorted(without)
        self._since = now()
        self._not_ready_since: datetime | None = None
        self._is_refused = False

    async def work_forever(self, stopping: asyncio.Event) -> None:
        """Say so again and again until cancelled, and at once when ``stopping`` is set."""
        while True:
            try:
                await self._say(json.dumps(await self._document(), ensure_ascii=False, separators=(",", ":")))
            except Exception:
                # Others see that this process is silent. Its work goes on.
                if not self._is_refused:
                    log.exception("cannot say that this process is alive")
                self._is_refused = True
            pause_s = INTERVAL_S * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
            if stopping.is_set():
                await asyncio.sleep(pause_s)
                continue
            try:
                async with asyncio.timeout(pause_s):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def leave(self) -> None:
        """Take this process out; if the store does not answer at once, it will count as silent."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._say("")
        except TimeoutError:
            log.debug("store slow, this process stays in the list for a while")

    async def _document(self) -> dict[str, Any]:
        asked = {name: check for name, check in self._checks.items() if name not in _ASKED_BY_THE_WRITE}
        not_ready = [name for name, ok in (await ask(asked)).items() if not ok]
        now = self._now()
        self._not_ready_since = (self._not_ready_since or now) if not_ready else None
        since = {} if self._not_ready_since is None else {"not_ready_since": rfc3339(self._not_ready_since)}
        return {
            "host": socket.gethostname(), "pid": os.getpid(), "version": VERSION, "since": rfc3339(self._since),
            "not_ready": not_ready, **since, "providers": [each.document() for each in self._standings()],
            **({"without": self._without} if self._without else {}),
        }  # fmt: skip

    async def _say(self, text: str) -> None:
        try:
            await self._store.script(_alive, self._base, self._process, text, REMEMBERED_S * 1000, PROCESSES_MOST)
        except StoreUnavailable:
            log.debug("store away, not said that this process is alive")
        except ResponseError as error:
            if not self._is_refused:
                why = str(error).partition(" ")[0]
                log.warning("the store refuses to note that this process is alive", extra={"why": why})
            self._is_refused = True
        else:
            self._is_refused = False


class Processes:
    """Reads who is there, on one store."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    async def left_out(self) -> frozenset[str]:
        """Return the channels that this system does without, as its routers say."""
        return left_out((await self.of([ROUTER_LANE]))[ROUTER_LANE])

    async def of(self, services: Iterable[str]) -> dict[str, list[Process]]:
        """Return the processes of each service, the longest running first; those silent for an hour are forgotten.

        It takes one exchange with each server of the store.
        """
        names = list(services)
        asked = [self._store.submit("TIME")]
        for name in names:
            base = self._keys.alive(name)
            asked.append(self._store.submit("HGETALL", base))
            asked.append(self._store.submit("ZRANGE", f"{base}:heard", 0, -1, "WITHSCORES"))
        now, *answers = await each(asked)
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        found = zip(names, answers[::2], answers[1::2], strict=True)
        return {name: _read(name, said, heard, now_ms) for name, said, heard in found}


def left_out(routers: Iterable[Process]) -> frozenset[str]:
    """Return the channels that the living among these routers leave out."""
    return frozenset(channel for each in routers if each.is_alive for channel in each.without)


def _read(service: str, said: Any, heard: Any, now_ms: int) -> list[Process]:  # noqa: ANN401 - of the store's types
    if isinstance(said, ResponseError) or isinstance(heard, ResponseError):
        # Something else has the name.
        return []
    texts = dict(pairs(said))
    found = [
        _process(service, name.decode(errors="replace"), object_or_none(texts[name]), heard_ms, now_ms)
        for name, heard_ms in scored(heard)
        if name in texts
    ]
    return sorted((each for each in found if each is not None), key=lambda each: (each.since, each.name))


def _process(service: str, name: str, document: Mapping[str, Any] | None, heard_ms: int, now_ms: int) -> Process | None:
    if document is None:
        return None
    heard_at = from_epoch_ms(heard_ms)
    not_ready, providers, without = (document.get(name) for name in ("not_ready", "providers", "without"))
    not_ready_since = _moment(document.get("not_ready_since")) or heard_at
    standings = [Standing.read(one) for one in providers] if isinstance(providers, list) else []
    return Process(
        service=service,
        name=name,
        host=str(document.get("host", "")),
        version=str(document.get("version", "")),
        since=_moment(document.get("since")) or heard_at,
        heard_at=heard_at,
        silent_s=max(0, now_ms - heard_ms) / 1000,
        not_ready=tuple(str(part) for part in not_ready) if isinstance(not_ready, list) else (),
        not_ready_s=max(timedelta(0), heard_at - not_ready_since).total_seconds(),
        standings=tuple(one for one in standings if one is not None),
        without=tuple(str(channel) for channel in without) if isinstance(without, list) else (),
    )


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if found.tzinfo is None else found
