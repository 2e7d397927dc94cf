"""The queue of calls to one server of the store: what waits is sent in one exchange, each answer goes to its caller.

Promises:

- A call is answered once, by the server or with StoreUnavailable.
- If the queue has a ``Barrier``, an answer is given only when enough replicas have everything that the server had
  written by then.
- A call is not sent twice, unless the server itself said that it did not run it.
- An answer that cannot be read ends the connection. Its next answers would otherwise go to the wrong callers.

It does not retry a call that may have run.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any, Protocol

import hiredis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

from shared.core.errors import StoreUnavailable
from shared.telemetry import metrics

log = logging.getLogger(__name__)

# One exchange carries at most this many calls, so that a burst does not hold the server's single thread for long.
PIPELINE_LIMIT = 500
# The server looks at no other connection while it runs what has come on one, and a script of long work may take some
# milliseconds. Fewer calls at a time would mean more exchanges (docs/explanation/performance.md).
TASKS_PIPELINE_LIMIT = 8

# And about so many bytes; one call may have more.
EXCHANGE_BYTES = 4 * 1024 * 1024

# What may wait for one server. Whoever comes with more while it is away, or slow, is told so at once.
WAITING_BYTES = 64 * 1024 * 1024

# A command that takes longer than this is as good as lost; the connection is dropped.
SOCKET_TIMEOUT_S = 5.0

# A store is called back when nothing has failed for so long: longer than callers wait between two tries, so that one
# node of a cluster that is away is not reported after every call to another one.
BACK_AFTER_S = 3.0

# A server that answers so will be replaced or will recover; to a caller it is away. ASK is said of a slot that is
# moving: a script that ran then would see those of its keys only that have moved already.
_AWAY = (AskError, ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
# The same, where the client knows no class: a script runs too long, the append-only file cannot be written, too few
# replicas (Redis, server.c, createSharedObjects).
_AWAY_WORDS = ("BUSY ", "MISCONF ", "NOREPLICAS ")

# A connection that was used so recently is used again as it is.
FRESH_S = 1.0

_READ_BYTES = 64 * 1024
# What the reader returns for "not yet".
_MORE = object()

_TOO_FEW_REPLICAS = "TooFewReplicas"
_TOO_MUCH_WAITS = "TooMuchWaits"
CLOSED = "closed"

type_of_arg = str | bytes | int | float


class Line(StrEnum):
    """Which calls travel together; those of another line are sent beside them."""

    USUAL = "usual"
    URGENT = "urgent"
    """It waits for no large exchange of the others."""
    TASKS = "tasks"
    """Long work, for whose large exchanges the others do not wait."""


_line: ContextVar[Line] = ContextVar("store_line", default=Line.USUAL)


@contextmanager
def on_line(line: Line) -> Iterator[None]:
    """Send the calls of this task, and of tasks that it starts, on that line, until the end of the context."""
    before = _line.set(line)
    try:
        yield
    finally:
        _line.reset(before)


class Script:
    """One Lua script."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        # How Redis names scripts (EVALSHA); no secret depends on it.
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Call:
    """One command, or one script with its arguments, and the future of its answer.

    What cannot be sent is answered at once, and disturbs no other.

    Attributes:
        words: its first two: a script's key, or a command's name and key.
        packed: what is sent.
        line: with which others it travels.
    """

    __slots__ = ("future", "line", "packed", "redirected", "script", "words")

    def __init__(
        self, future: "asyncio.Future[Any]", script: Script | None, arguments: tuple[type_of_arg, ...]
    ) -> None:
        self.future = future
        self.script = script
        self.words = arguments[:2]
        self.redirected = 0
        self.line = _line.get()
        self.packed = b""
        try:
            self.packed = _packed(arguments if script is None else ("EVALSHA", script.sha, 1, *arguments))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Tell the caller, if it still waits."""
        if not self.future.done():
            self.future.set_exception(error)
            # Marked as seen: a caller that was cancelled meanwhile never looks, so asyncio need not warn.
            self.future.exception()


@dataclass(frozen=True, slots=True)
class Barrier:
    """On how many replicas a write must be before it is answered, and how long that may take."""

    replicas: int
    timeout_ms: int


class Pool(Protocol):
    """What is used of redis-py's connection pools."""

    async def get_connection(self) -> Any:  # noqa: ANN401 - the client's connections have no common type
        """Return a connection that stands."""
        ...

    async def release(self, connection: Any) -> None:  # noqa: ANN401
        """Take a connection back."""
        ...

    async def aclose(self) -> None:
        """End every connection."""
        ...


class Availability:
    """Whether the store answers, as one process sees it: one log line when it goes and one when it is back."""

    def __init__(self) -> None:
        self._away_since_s: float | None = None
        self._failed_at_s = 0.0
        metrics.store_up.set(1)

    def failed(self, why: str, calls: int) -> None:
        """Take note of calls that got no answer, or none to rely on."""
        self._failed_at_s = monotonic()
        if why == _TOO_FEW_REPLICAS:
            metrics.store_short_writes.inc(calls)
        if self._away_since_s is None:
            self._away_since_s = self._failed_at_s
            metrics.store_up.set(0)
            log.warning("store away", extra={"why": why})

    def answered(self) -> None:
        """Take note that a server answered."""
        if self._away_since_s is not None and monotonic() - self._failed_at_s >= BACK_AFTER_S:
            log.info("store back", extra={"away_s": round(self._failed_at_s - self._away_since_s, 1)})
            self._away_since_s = None
            metrics.store_up.set(1)


def _keep(_call: Call, _answer: ResponseError) -> bool:
    return False


class CallQueue:
    """A queue of calls to one server, sent in the order in which they came.

    Args:
        barrier: what each exchange waits for; None to answer at once.
        marker: a key of this server that nothing else uses, for the barrier.
        redirect: takes a call that another server must answer; False when it has not.
        broken: told of every exchange that failed, before its callers are.
        pipeline_limit: so many calls are sent in one exchange.
    """

    def __init__(
        self,
        pool: Pool,
        availability: Availability,
        *,
        barrier: Barrier | None = None,
        marker: str = "",
        redirect: Callable[[Call, ResponseError], bool] = _keep,
        broken: Callable[[], None] = lambda: None,
        pipeline_limit: int = PIPELINE_LIMIT,
    ) -> None:
        self.marker = marker
        self._pipeline_limit = pipeline_limit
        self._pool = pool
        self._availability = availability
        self._barrier = barrier
        self._redirect = redirect
        self._broken = broken
        self._loaded: set[str] = set()
        self._waiting: deque[Call] = deque()
        self._waiting_bytes = 0
        self._in_hand: Sequence[Call] = ()
        self._connection: _PooledConnection | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def put(self, call: Call) -> None:
        """Send a call with the next exchange."""
        if self._closed:
            call.fail(StoreUnavailable(CLOSED))
            return
        if self._waiting_bytes >= WAITING_BYTES:
            call.fail(StoreUnavailable(_TOO_MUCH_WAITS))
            return
        self._waiting.append(call)
        self._waiting_bytes += len(call.packed)
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="store-calls")

    async def close(self) -> None:
        """Send nothing more; waiting calls, and later ones, end with StoreUnavailable."""
        self._closed = True
        self._wake.set()
        if self._task is not None:
            # Python 3.11's wait_for may swallow it; then the task sees that it is over.
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for call in (*self._in_hand, *self._waiting):
            call.fail(StoreUnavailable(CLOSED))

    async def _run(self) -> None:
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._closed:
                self._in_hand = self._next()
                try:
                    if self._in_hand:
                        await self._flush(self._in_hand)
                except Exception:
                    # Everybody's calls pass here: it goes on, whatever happened to these.
                    log.exception("exchange failed")
                    self._fail_all(self._in_hand, "internal")
                self._in_hand = ()

    def _next(self) -> list[Call]:
        """Take the calls of one exchange, without those that are answered already or that nobody waits for."""
        calls: list[Call] = []
        size_bytes = 0
        while self._waiting and len(calls) < self._pipeline_limit and size_bytes < EXCHANGE_BYTES:
            call = self._waiting.popleft()
            self._waiting_bytes -= len(call.packed)
            if not call.future.done():
                calls.append(call)
                size_bytes += len(call.packed)
        return calls

    async def _flush(self, calls: Sequence[Call]) -> None:
        try:
            answers, short = await self._exchange(calls)
        except (RedisError, OSError, TimeoutError) as error:
            self._fail_all(calls, type(error).__name__)
            return
        if short:
            self._broken()
            self._availability.failed(_TOO_FEW_REPLICAS, len(calls))
        away = ""
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, ResponseError) and self._redirect(call, answer):
                continue
            if not isinstance(answer, Exception):
                if short:
                    call.fail(StoreUnavailable(_TOO_FEW_REPLICAS))
                elif not call.future.done():
                    call.future.set_result(answer)
            elif isinstance(answer, ResponseError) and not means_away(answer):
                call.fail(answer)
            else:
                away = type(answer).__name__
                call.fail(StoreUnavailable(away))
        if away:
            self._broken()
            self._availability.failed(away, 1)
        elif not short:
            self._availability.answered()

    def _fail_all(self, calls: Sequence[Call], why: str) -> None:
        # Whoever answers next may be a server that knows no script.
        self._loaded.clear()
        self._broken()
        self._availability.failed(why, len(calls))
        for call in calls:
            call.fail(StoreUnavailable(why))

    async def _exchange(self, calls: Sequence[Call]) -> tuple[list[Any], bool]:
        """Return the answers, and whether too few replicas have what was written.

        redis-py's own pipeline packs in Python and sets a timer and measures for every single answer; for batches of
        small scripts that costs more than the scripts.
        """
        reusable = False
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S + self._wait_s):
                line = await self._connected()
                answers, short = await self._send(line, calls)
                # After a failover the server may not know a script; it then ran nothing, so repeating is safe.
                unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                if unknown:
                    self._loaded.clear()
                    again, short = await self._send(line, [calls[index] for index in unknown])
                    for index, answer in zip(unknown, again, strict=True):
                        answers[index] = answer
            # A server that cannot serve may have been replaced by another one at the same name.
            reusable = not short and not any(isinstance(answer, Exception) and means_away(answer) for answer in answers)
        finally:
            if not reusable:
                # Answers that are still to come would be taken for those of the next commands.
                await self._give_back(broken=True)
        line.used_at_s = monotonic()
        return answers, short

    async def _connected(self) -> "_PooledConnection":
        """Return the connection of the last exchange, if that was a moment ago, or else one from the pool."""
        # Before the pool hands a connection out it looks whether the server has closed it meanwhile, which costs as
        # much as sending a few scripts.
        if self._connection is not None and not self._connection.is_fresh:
            await self._give_back()
        if self._connection is None:
            self._connection = _PooledConnection(await self._pool.get_connection())
        return self._connection

    async def _give_back(self, *, broken: bool = False) -> None:
        line, self._connection = self._connection, None
        if line is not None:
            if broken:
                await line.connection.disconnect(nowait=True)
            await self._pool.release(line.connection)

    @property
    def _wait_s(self) -> float:
        return self._barrier.timeout_ms / 1000 if self._barrier else 0.0

    async def _send(self, line: "_PooledConnection", calls: Sequence[Call]) -> tuple[list[Any], bool]:
        scripts = {call.script.sha: call.script for call in calls if call.script}
        new = [script for sha, script in scripts.items() if sha not in self._loaded]
        commands = [_packed(("SCRIPT", "LOAD", script.source)) for script in new]
        commands += [call.packed for call in calls]
        if self._barrier:
            # WAIT counts up to what its connection wrote last, which for a repeated write that found everything done
            # is nothing. A write of our own makes it cover all that the server has (docs/decisions/0008).
            wait = ("WAIT", self._barrier.replicas, self._barrier.timeout_ms)
            commands += [_packed(("SET", self.marker, "")), _packed(wait)]
        answers = await line.exchange(commands)
        self._loaded.update(
            script.sha for script, answer in zip(new, answers, strict=False) if not isinstance(answer, Exception)
        )
        answers, ends = answers[len(new) : len(new) + len(calls)], answers[len(new) + len(calls) :]
        short = self._barrier is not None and not _reached(ends, self._barrier.replicas)
        return answers, short


class _PooledConnection:
    """A connection of redis-py's pool, on which many commands are sent and answered at once.

    redis-py makes the connection and owns it; the answers are read here, because its ``read_response`` costs as much as
    all the rest of a call.
    """

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - the client's connections have no common type
        self.connection = connection
        self.used_at_s = monotonic()
        # Without an interface for it: the stream, and the classes that the client has for errors.
        self._stream: asyncio.StreamReader = connection._reader  # noqa: SLF001
        self._reader = hiredis.Reader(
            replyError=connection._parser.parse_error,  # noqa: SLF001
            protocolError=InvalidResponse,
            notEnoughData=_MORE,
        )

    @property
    def is_fresh(self) -> bool:
        """Whether it may be used again without the pool's check."""
        return monotonic() - self.used_at_s < FRESH_S and not self._stream.at_eof()

    async def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands and return an answer, or an error of Redis, for each.

        Raises:
            RedisError, OSError: the connection is of no use any more; an answer that cannot be read is one of them.
        """
        self._be_in_step()
        await self.connection.send_packed_command(commands, check_health=False)
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = self._reader.gets()
            if answer is _MORE:
                data = await self._stream.read(_READ_BYTES)
                if not data:
                    raise RedisConnectionError("closed by the server")
                self._reader.feed(data)
            elif isinstance(answer, RedisConnectionError):
                # For example LOADING.
                raise answer
            elif not isinstance(answer, hiredis.PushNotification):
                answers.append(answer)
        self._be_in_step()
        return answers

    def _be_in_step(self) -> None:
        """Refuse to go on after one answer too many: an answer before it went to the wrong call."""
        if self._reader.has_data() or self._stream._buffer:  # type: ignore[attr-defined]  # noqa: SLF001 - no interface
            raise InvalidResponse("more answers than calls")


def _packed(command: tuple[type_of_arg, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


def _reached(ends: Sequence[Any], replicas: int) -> bool:
    marked, count = ends
    return not isinstance(marked, Exception) and isinstance(count, int) and count >= replicas


def means_away(answer: Exception) -> bool:
    """Tell whether an answer says that the server cannot serve for the moment."""
    return isinstance(answer, _AWAY) or str(answer).startswith(_AWAY_WORDS)


class Server:
    """One server with its connections: one for calls that are answered at once, one for those that must last.

    Each line has two of its own. The server reads some 16 KiB of one connection and then looks at the others (Redis,
    ``PROTO_IOBUF_LEN``), so a call waits for a small part of another line's large exchange.

    Args: see ``CallQueue``.
    """

    def __init__(
        self,
        pool: Pool,
        availability: Availability,
        barrier: Barrier | None,
        marker: str,
        *,
        redirect: Callable[[Call, ResponseError, bool], bool] | None = None,
        broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool

        def queue(line: Line, barrier: Barrier | None, *, lasting: bool) -> CallQueue:
            return CallQueue(
                pool,
                availability,
                barrier=barrier,
                marker=marker,
                redirect=(lambda call, answer: redirect(call, answer, lasting)) if redirect else _keep,
                broken=broken,
                pipeline_limit=TASKS_PIPELINE_LIMIT if line is Line.TASKS else PIPELINE_LIMIT,
            )

        # Each connects when it is first used.
        self._quick = {line: queue(line, None, lasting=False) for line in Line}
        self._lasting = {line: queue(line, barrier, lasting=True) for line in Line} if barrier else self._quick

    def put(self, call: Call, *, lasting: bool) -> None:
        """Send a call with the next exchange."""
        (self._lasting if lasting else self._quick)[call.line].put(call)

    async def everywhere(self, call: Callable[[str], Call], *, lasting: bool) -> list[Any]:
        """Send a call, and return its answer as the only one."""
        each = call(self.marker)
        self.put(each, lasting=lasting)
        return [await each.future]

    @property
    def marker(self) -> str:
        """A key of this server that nothing else uses."""
        return self._lasting[Line.USUAL].marker

    def mark_with(self, marker: str) -> None:
        """Use another key for the barrier."""
        for queue in self._lasting.values():
            queue.marker = marker

    async def close(self) -> None:
        """End everything."""
        for queue in (*self._quick.values(), *self._lasting.values()):
            await queue.close()
        with suppress(RedisError, OSError):
            await self._pool.aclose()
