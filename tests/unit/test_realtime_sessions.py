"""A session's queue and order, against a sink that the test holds back."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from services.realtime import frames
from services.realtime.frames import Frame
from services.realtime.sessions import QUEUE_BYTES, QUEUE_FRAMES, TOO_SLOW, Phase, Session, User


class HeldSink:
    """Takes frames only while ``open`` is set, as a client does that reads or does not."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.sent: list[str] = []
        self.code: int | None = None

    async def send(self, frame: Frame) -> None:
        await self.open.wait()
        self.sent.append(frame.data.decode())

    async def close(self, code: int) -> None:
        self.code = code


def spawn(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    return asyncio.create_task(work, name=name)


def frame(text: str) -> Frame:
    return Frame("notification", text.encode())


def live_session(sink: HeldSink) -> Session:
    session = Session("s1", User("user1"), sink, spawn)
    session.user.sessions.append(session)
    session.go_live()
    return session


async def until_idle(session: Session) -> None:
    async with asyncio.timeout(5):
        await session.written()


async def test_frames_wait_until_the_session_is_live_and_keep_their_order() -> None:
    sink = HeldSink()
    sink.open.set()
    session = Session("s1", User("user1"), sink, spawn)
    session.offer(frame("a"))
    session.offer(frame("b"))
    await asyncio.sleep(0)
    assert sink.sent == []
    await session.replay(frame("past"))
    session.go_live()
    await until_idle(session)
    assert sink.sent == ["past", "a", "b"]


async def test_counts_are_told_once_after_the_frames_they_follow() -> None:
    sink = HeldSink()
    session = live_session(sink)
    for number in range(3):
        session.offer(frame(str(number)))
        session.user.own_unread = number + 1
        session.tell_unread()
    sink.open.set()
    await until_idle(session)
    assert sink.sent == ["0", "1", "2", '{"type":"unread","unread":3}']


async def test_too_many_waiting_frames_close_the_session() -> None:
    sink = HeldSink()
    session = live_session(sink)
    for number in range(QUEUE_FRAMES + 3):
        session.offer(frame(str(number)))
        await asyncio.sleep(0)
    assert (session.phase, sink.code) == (Phase.CLOSED, TOO_SLOW)
    session.offer(frame("late"))
    sink.open.set()
    await until_idle(session)
    assert sink.sent == ["0"]


async def test_too_many_waiting_bytes_close_the_session() -> None:
    sink = HeldSink()
    session = live_session(sink)
    for _ in range(4):
        session.offer(frame("x" * (QUEUE_BYTES // 2)))
        await asyncio.sleep(0)
    assert sink.code == TOO_SLOW
    sink.open.set()
    await until_idle(session)


async def test_what_was_offered_before_a_replay_is_written_before_it() -> None:
    sink = HeldSink()
    session = live_session(sink)
    session.offer(frame("a"))
    await asyncio.sleep(0)
    session.offer(frame("b"))
    session.phase = Phase.REPLAYING

    async def catch_up() -> None:
        await session.written()
        await session.replay(frame("missed"))
        session.go_live()

    task = asyncio.create_task(catch_up(), name="catch-up")
    await asyncio.sleep(0)
    sink.open.set()
    await task
    assert sink.sent == ["a", "b", "missed"]


def test_event_has_one_line_of_data_and_its_cursor_as_id() -> None:
    shown = Frame("notification", b'{"a":"b\\nc"}', "cursor-1")
    assert shown.event == b'id: cursor-1\nevent: notification\ndata: {"a":"b\\nc"}\n\n'
    assert frames.GAP.event == b'event: gap\ndata: {"type":"gap"}\n\n'
