"""A session's queue and order, against a sink that the test holds back."""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from services.realtime.sessions import frames
from services.realtime.sessions.close_codes import TOO_SLOW
from services.realtime.sessions.frames import Frame
from services.realtime.sessions.session import BATCH_BYTES, QUEUE_BYTES, QUEUE_FRAMES, LiveEntry, Phase, Session, User
from shared.inbox.cursor import Cursor, key_of
from shared.mqtt.byte_budget import ByteBudget


class HeldSink:
    """Takes frames only while ``open`` is set, as a client does that reads or does not."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.writes: list[list[str]] = []
        self.code: int | None = None

    def send_now(self, frames: Sequence[Frame]) -> bool:
        if self.open.is_set():
            self.writes.append([frame.data.decode() for frame in frames])
        return self.open.is_set()

    async def send(self, frames: Sequence[Frame]) -> None:
        await self.open.wait()
        self.send_now(frames)

    @property
    def sent(self) -> list[str]:
        return [text for write in self.writes for text in write]

    async def close(self, code: int) -> None:
        self.code = code


def spawn(work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
    return asyncio.create_task(work, name=name)


def frame(text: str) -> Frame:
    return Frame("notification", text.encode())


def live_session(sink: HeldSink, room: ByteBudget | None = None) -> Session:
    session = Session("s1", User("user1"), sink, spawn, room or ByteBudget(QUEUE_BYTES * 100))
    session.user.sessions.append(session)
    session.go_live()
    return session


async def until_idle(session: Session) -> None:
    async with asyncio.timeout(30):
        await session.written()


async def test_frames_wait_until_the_session_is_live_and_keep_their_order() -> None:
    sink = HeldSink()
    sink.open.set()
    session = Session("s1", User("user1"), sink, spawn, ByteBudget(QUEUE_BYTES))
    session.offer(frame("a"))
    session.offer(frame("b"))
    await asyncio.sleep(0)
    assert sink.sent == []
    await session.replay([frame("past")])
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


async def test_while_too_much_waits_for_all_clients_only_those_stay_that_take_what_they_are_sent() -> None:
    room = ByteBudget(8 * BATCH_BYTES)
    slow, fast = [HeldSink() for _ in range(10)], [HeldSink() for _ in range(10)]
    sessions = [live_session(sink, room) for sink in (*slow, *fast)]
    for sink in fast:
        sink.open.set()
    # More at one time than there is room for, as a broadcast is.
    for number in range(3):
        for session in sessions:
            session.offer(frame(str(number) * BATCH_BYTES))
        await asyncio.sleep(0)
    assert {sink.code for sink in fast} == {None}
    assert [len(sink.sent) for sink in fast] == [3] * 10
    assert sum(sink.code == TOO_SLOW for sink in slow) >= 2
    assert room.held_bytes <= 12 * BATCH_BYTES
    for sink in slow:
        sink.open.set()
    for session in sessions:
        await until_idle(session)
    assert room.held_bytes == 0


async def test_what_was_offered_before_a_replay_is_written_before_it() -> None:
    sink = HeldSink()
    session = live_session(sink)
    session.offer(frame("a"))
    await asyncio.sleep(0)
    session.offer(frame("b"))
    session.phase = Phase.REPLAYING

    async def catch_up() -> None:
        await session.written()
        await session.replay([frame("missed")])
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


async def test_what_is_offered_at_one_time_leaves_in_one_write() -> None:
    sink = HeldSink()
    sink.open.set()
    session = live_session(sink)
    session.offer(frame("a"))
    session.tell_unread()
    session.offer(frame("b"))
    await asyncio.sleep(0)
    assert sink.writes == [["a", "b", '{"type":"unread","unread":0}']]
    await session.replay(frame(text) for text in ("c", "d"))
    assert sink.writes[1:] == [["c", "d"]]


async def test_a_write_is_of_bounded_size() -> None:
    sink = HeldSink()
    session = live_session(sink)
    session.offer(frame("first"))
    await asyncio.sleep(0)
    large = ["x" * (BATCH_BYTES // 2)] * 3
    for text in large:
        session.offer(frame(text))
    sink.open.set()
    await until_idle(session)
    assert sink.writes == [["first"], large[:2], large[2:]]
    await session.replay(map(frame, large))
    assert sink.writes[3:] == [large[:2], large[2:]]


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_message_has_the_header_of_a_whole_unmasked_text(size: int, header: str) -> None:
    assert frame("x" * size).message == bytes.fromhex(header) + b"x" * size


def entry(number: int, order: int, *, broadcast: bool = False) -> LiveEntry:
    return LiveEntry(number, key_of(order, broadcast=broadcast), f'{{"n":{order}}}'.encode())


def shown(sink: HeldSink) -> list[tuple[int, Cursor | None]]:
    frames_sent = [json.loads(text) for text in sink.sent]
    return [(sent["notification"]["n"], Cursor.decode(sent["cursor"])) for sent in frames_sent]


async def test_notifications_that_wait_together_leave_by_their_order_with_their_own_cursors() -> None:
    sink = HeldSink()
    sink.open.set()
    session = live_session(sink)
    session.pass_on(Cursor(user_seq=1), entry(1, 12))
    session.pass_on(Cursor(user_seq=1, feed_seq=5), entry(5, 11, broadcast=True))
    session.pass_on(Cursor(user_seq=2, feed_seq=5), None)
    session.pass_on(Cursor(user_seq=3, feed_seq=5), entry(3, 10))
    await until_idle(session)
    assert [number for number, _ in shown(sink)] == [10, 11, 12]
    own, broadcast, last = (cursor for _, cursor in shown(sink))
    assert own is not None
    assert broadcast is not None
    assert [own.passed(each) for each in (entry(3, 10), entry(1, 12), entry(5, 11, broadcast=True))] == [
        True, False, False,
    ]  # fmt: skip
    assert [broadcast.passed(each) for each in (entry(3, 10), entry(5, 11, broadcast=True), entry(1, 12))] == [
        True, True, False,
    ]  # fmt: skip
    assert not broadcast.passed(entry(4, 9))
    assert last == session.place == Cursor(user_seq=3, feed_seq=5)


async def test_another_frame_stays_between_the_notifications_that_came_before_and_after_it() -> None:
    sink = HeldSink()
    sink.open.set()
    session = live_session(sink)
    session.pass_on(Cursor(user_seq=1), entry(1, 12))
    session.offer(frame('{"notification":{"n":0},"cursor":""}'))
    session.pass_on(Cursor(user_seq=2), entry(2, 11))
    await until_idle(session)
    assert [number for number, _ in shown(sink)] == [12, 0, 11]


async def test_what_comes_while_others_are_being_written_waits_for_them() -> None:
    sink = HeldSink()
    session = live_session(sink)
    for number, order in ((1, 12), (2, 11)):
        session.pass_on(Cursor(user_seq=number), entry(number, order))
    await asyncio.sleep(0)
    session.pass_on(Cursor(user_seq=3), entry(3, 10))
    sink.open.set()
    await until_idle(session)
    assert [number for number, _ in shown(sink)] == [11, 12, 10]
    assert shown(sink)[-1][1] == session.place


async def test_too_many_waiting_notifications_close_the_session() -> None:
    sink = HeldSink()
    session = live_session(sink)
    for number in range(1, QUEUE_FRAMES + 3):
        session.pass_on(Cursor(user_seq=number), entry(number, number))
        await asyncio.sleep(0)
    assert (session.phase, sink.code) == (Phase.CLOSED, TOO_SLOW)
    sink.open.set()
    await until_idle(session)
